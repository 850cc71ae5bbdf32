"""How each provider is made to misbehave for the contract; a new adapter adds its bench here."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
from standardwebhooks import Webhook

from app.psp.adapters import ADAPTERS
from app.psp.domain import PspAdapter
from tests.psp.contract import Bench
from tests.support.simulator import SimulatedAccount

TOKENS = {
    "accepted": "tok_visa",
    "declined": "tok_visa_declined_insufficient_funds",
    "challenged": "tok_visa_3ds_required",
    "reviewed": "tok_visa_review",
}


class SimulatedBench:
    """The simulator's process."""

    def __init__(self, account: SimulatedAccount) -> None:
        self.account = account
        self.adapter = self._connect(**account.settings)
        self.secrets = [account.secret_key, account.webhook_secret]

    def _connect(self, **settings: str) -> PspAdapter:
        of = ADAPTERS["simulated"]
        return of.adapter(msgspec.convert(settings, of.config))

    def token(self, behaviour: str) -> str:
        return TOKENS[behaviour]

    def provoke(self, fault: str, operation: str = "authorise") -> None:
        self.account.fault(fault, operation=operation)

    def charges(self, reference: str) -> int:
        return int(self.account.charges(reference)["count"])

    def captured(self, reference: str) -> int:
        return sum(payment["amount_captured"] for payment in self.account.charges(reference)["payments"])

    def settle_later(self) -> None:
        self.account.scenario(async_captures=True, async_refunds=True, settle_seconds=60)

    def settle(self) -> None:
        self.account.simulator.post("/_clock", {"advance_seconds": 61})

    def webhook(self, *, age_seconds: int = 0) -> tuple[bytes, dict[str, str]]:
        event = self.account.events()[-1]
        raw = msgspec.json.encode(event)
        moment = datetime.now(UTC) - timedelta(seconds=age_seconds)
        signature = Webhook(self.account.webhook_secret).sign(event["id"], moment, raw.decode())
        return raw, {"webhook-id": event["id"], "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": signature}

    def without_provider(self) -> PspAdapter:
        return self._connect(**{**self.account.settings, "api_base_url": "http://127.0.0.1:1"})

    def with_wrong_key(self) -> PspAdapter:
        return self._connect(**{**self.account.settings, "secret_key": "sk_sim_wrong0000"})


BENCHES: dict[str, Callable[[SimulatedAccount], Bench]] = {"simulated": SimulatedBench}
