"""Every adapter keeps the contract, and the contract notices an adapter that does not."""

from collections.abc import Mapping

import msgspec
import pytest

from app.core.ids import new_id
from app.core.money import Money
from app.psp.adapters import ADAPTERS
from app.psp.domain import Instruction, Outcome, PspAdapter, PspEvent, Result, SignatureRejected
from tests.psp import contract_balance
from tests.psp.benches import BENCHES, SimulatedBench
from tests.psp.contract import CHECKS
from tests.support.simulator import SimulatedAccount

assert contract_balance, "its checks are part of the contract"
pytestmark = pytest.mark.usefixtures("short_deadline")


def test_every_adapter_has_a_bench() -> None:
    assert set(BENCHES) == set(ADAPTERS)


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("psp", ADAPTERS)
async def test_adapter_keeps_the_contract(psp: str, name: str, account: SimulatedAccount) -> None:
    await CHECKS[name](BENCHES[psp](account))


class Wrong:
    """An adapter with one mistake, around one that has none."""

    def __init__(self, right: PspAdapter) -> None:
        self.right = right

    def __getattr__(self, name: str) -> object:
        return getattr(self.right, name)


class NewKeyPerTry(Wrong):
    async def authorise(self, instruction: Instruction) -> Result:
        return await self.right.authorise(msgspec.structs.replace(instruction, idempotency_key=new_id().hex))


class TimeoutIsFailure(Wrong):
    async def authorise(self, instruction: Instruction) -> Result:
        result = await self.right.authorise(instruction)
        return msgspec.structs.replace(result, outcome=Outcome.NOT_SENT) if result.outcome is Outcome.UNKNOWN else result


class FailureIsUnknown(Wrong):
    async def authorise(self, instruction: Instruction) -> Result:
        result = await self.right.authorise(instruction)
        return msgspec.structs.replace(result, outcome=Outcome.UNKNOWN) if result.outcome is Outcome.NOT_SENT else result


class BelievesWhatWasAsked(Wrong):
    async def authorise(self, instruction: Instruction) -> Result:
        return msgspec.structs.replace(await self.right.authorise(instruction), amount=instruction.amount)


class DeclineIsSuccess(Wrong):
    async def authorise(self, instruction: Instruction) -> Result:
        result = await self.right.authorise(instruction)
        return msgspec.structs.replace(result, outcome=Outcome.SUCCEEDED) if result.outcome is Outcome.DECLINED else result


class BlindLookup(Wrong):
    async def lookup(self, reference: str) -> Result:
        return Result(outcome=Outcome.NOT_SENT, code="not_found")


class LookupFailureIsCertainty(Wrong):
    async def lookup(self, reference: str) -> Result:
        result = await self.right.lookup(reference)
        return msgspec.structs.replace(result, outcome=Outcome.NOT_SENT) if result.outcome is Outcome.UNKNOWN else result


class CapturesEverything(Wrong):
    async def capture(self, instruction: Instruction) -> Result:
        return await self.right.capture(msgspec.structs.replace(instruction, amount=Money(1000, "EUR")))


class PendingIsSuccess(Wrong):
    async def capture(self, instruction: Instruction) -> Result:
        result = await self.right.capture(instruction)
        return msgspec.structs.replace(result, outcome=Outcome.SUCCEEDED) if result.outcome is Outcome.PENDING else result


class BelievesEveryWebhook(Wrong):
    def verify_webhook(self, raw: bytes, headers: Mapping[str, str]) -> list[PspEvent]:
        try:
            return list(self.right.verify_webhook(raw, headers))
        except SignatureRejected:
            return []


class ShowsItsKey(Wrong):
    async def authorise(self, instruction: Instruction) -> Result:
        result = await self.right.authorise(instruction)
        key = self.right._client._headers["authorization"]  # type: ignore[attr-defined]
        return msgspec.structs.replace(result, evidence={"request": key})


class CaseFolds(Wrong):
    async def lookup(self, reference: str) -> Result:
        return await self.right.lookup(reference.upper())


CANARIES: dict[type[Wrong], str] = {
    NewKeyPerTry: "the_same_key_twice_is_one_charge",
    TimeoutIsFailure: "a_lost_answer_is_unknown",
    FailureIsUnknown: "too_many_requests_is_not_sent",
    BelievesWhatWasAsked: "another_amount_than_asked_is_reported_as_it_is",
    DeclineIsSuccess: "a_no_of_the_issuer_is_declined_with_its_code",
    BlindLookup: "an_error_after_the_charge_is_unknown",
    LookupFailureIsCertainty: "a_question_that_fails_leaves_the_operation_unknown",
    CapturesEverything: "captures_in_parts_add_up_and_no_further",
    PendingIsSuccess: "what_is_settled_later_is_pending_until_then",
    BelievesEveryWebhook: "a_forged_webhook_is_refused",
    ShowsItsKey: "no_secret_and_no_card_number_leaves_in_a_result",
    CaseFolds: "looking_up_our_reference_finds_it",
}


@pytest.mark.parametrize("mistake", CANARIES)
async def test_contract_notices_a_wrong_adapter(mistake: type[Wrong], account: SimulatedAccount) -> None:
    bench = SimulatedBench(account)
    bench.adapter = mistake(bench.adapter)  # type: ignore[assignment]
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await CHECKS[CANARIES[mistake]](bench)
