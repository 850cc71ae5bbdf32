"""A provider inside our own process that says yes at once, so that no provider's time is measured."""

from collections.abc import Mapping

from app.core.ids import new_id
from app.core.money import Money
from app.psp import domain
from app.psp.adapters import ADAPTERS
from app.psp.domain import Capability, Instruction, MethodSummary, Outcome, ProviderStatus, PspEvent, Result

NAME = "instant"
CARD = MethodSummary(brand="visa", last4="4242", expiry="08/29", fingerprint="fp_instant")


class Adapter:
    """Says yes to everything and charges a fee, as the simulated provider does."""

    name = NAME
    capabilities = frozenset(Capability)

    async def authorise(self, instruction: Instruction) -> Result:
        """Yes."""
        return _yes(instruction, ProviderStatus.CAPTURED if instruction.capture else ProviderStatus.AUTHORISED)

    async def start_redirect(self, instruction: Instruction) -> Result:
        """Yes."""
        return _yes(instruction, ProviderStatus.REQUIRES_ACTION)

    async def capture(self, instruction: Instruction) -> Result:
        """Yes."""
        return _yes(instruction, ProviderStatus.CAPTURED)

    async def void(self, instruction: Instruction) -> Result:
        """Yes."""
        return _yes(instruction, ProviderStatus.VOIDED)

    async def refund(self, instruction: Instruction) -> Result:
        """Yes."""
        return _yes(instruction, ProviderStatus.REFUNDED)

    async def lookup(self, reference: str) -> Result:
        """Nothing is remembered."""
        return Result(outcome=Outcome.NOT_SENT, code="not_found")

    async def ping(self) -> Result:
        """Yes."""
        return Result(outcome=Outcome.SUCCEEDED)

    def verify_webhook(self, raw: bytes, headers: Mapping[str, str]) -> list[PspEvent]:
        """It sends none."""
        return []

    async def fetch_event_object(self, event: PspEvent) -> Result:
        """Nothing is remembered."""
        return await self.lookup("")


def _yes(instruction: Instruction, status: ProviderStatus) -> Result:
    fee = Money(max(1, instruction.amount.minor * 29 // 1000), instruction.amount.currency) if status is ProviderStatus.CAPTURED else None
    reference = f"instant_{new_id().hex}"
    return Result(outcome=Outcome.SUCCEEDED, provider_reference=reference, status=status, amount=instruction.amount, fee=fee, method=CARD)


def _connect(config: domain.Config) -> Adapter:
    return Adapter()


PROVIDER = domain.Provider(
    name=NAME,
    title="Instant",
    monogram="IN",
    methods=("Cards",),
    capabilities=Adapter.capabilities,
    webhook_kinds=(),
    config=domain.Config,
    adapter=_connect,
)


def plug_in() -> None:
    """Let this process, and no other, know the instant provider."""
    ADAPTERS[NAME] = PROVIDER


def unplug() -> None:
    """Forget it again."""
    ADAPTERS.pop(NAME, None)
