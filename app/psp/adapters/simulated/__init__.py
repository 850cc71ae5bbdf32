"""The simulated provider as an adapter: a template for real ones."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, BinaryIO
from urllib.parse import quote

import msgspec

from app.psp import domain
from app.psp.adapters.simulated import translate
from app.psp.adapters.simulated.client import Client
from app.psp.domain import Balance, Capability, Instruction, PspEvent, Report, ReportKind, ReportList, Result

CAPABILITIES = frozenset(Capability)


class Config(domain.Config, frozen=True, kw_only=True):
    """What a connection to the simulator needs."""

    api_base_url: Annotated[str, msgspec.Meta(title="API address", description="Where the simulator listens.")]
    account: Annotated[str, msgspec.Meta(title="Account", description="The name of the account, as on the simulator's page.")]
    secret_key: Annotated[str, msgspec.Meta(title="Secret key", description="Begins with sk_sim_.", min_length=8, extra={"secret": True})]
    webhook_secret: Annotated[
        str,
        msgspec.Meta(
            title="Webhook secret",
            description="Begins with whsec_; proves that a webhook is genuine.",
            pattern="^whsec_[A-Za-z0-9+/=_-]+$",
            extra={"secret": True},
        ),
    ]


class Adapter:
    """Talks to one account of the simulated provider."""

    name = "simulated"
    capabilities = CAPABILITIES

    def __init__(self, config: Config) -> None:
        self._client = Client(base_url=config.api_base_url, secret_key=config.secret_key)
        self._webhook_secret = config.webhook_secret

    async def authorise(self, instruction: Instruction) -> Result:
        """Ask to reserve (or, with `capture`, to take) the amount on a tokenised method."""
        body = translate.payment_request(instruction, hosted=False)
        return translate.result(await self._client.post("/v1/payments", body, key=instruction.idempotency_key))

    async def start_redirect(self, instruction: Instruction) -> Result:
        """Open the hosted payment page."""
        body = translate.payment_request(instruction, hosted=True)
        return translate.result(await self._client.post("/v1/payments", body, key=instruction.idempotency_key))

    async def capture(self, instruction: Instruction) -> Result:
        """Take an authorised amount, or a part of it; the final one releases the rest."""
        more = {"final": True} if instruction.is_final else {}
        return await self._operate(f"/v1/payments/{_id(instruction)}/captures", instruction, **more)

    async def void(self, instruction: Instruction) -> Result:
        """Release what is authorised and not captured."""
        return await self._operate(f"/v1/payments/{_id(instruction)}/voids", instruction)

    async def refund(self, instruction: Instruction) -> Result:
        """Give back a captured amount, or a part of it."""
        return await self._operate("/v1/refunds", instruction, payment=instruction.original or "")

    async def lookup(self, reference: str) -> Result:
        """Ask what became of our reference."""
        return translate.first_found(await self._client.get(f"/v1/operations?reference={quote(reference, safe='')}"))

    async def ping(self) -> Result:
        """Ask for the account's name, which proves address and key."""
        return translate.account(await self._client.get("/v1/account"))

    def verify_webhook(self, raw: bytes, headers: Mapping[str, str]) -> list[PspEvent]:
        """Check the signature over the raw body and read its event."""
        return translate.events(raw, headers, self._webhook_secret)

    async def fetch_event_object(self, event: PspEvent) -> Result:
        """Fetch the present state of what an event is about."""
        return translate.found(await self._client.get(f"/v1/operations/{quote(event.provider_reference, safe='')}"))

    async def balance(self, *, since: date) -> Balance:
        """Ask what is owed, a batch a day and currency."""
        return translate.balance(await self._client.get(f"/v1/balance?since={since}"))

    async def list_reports(self, kind: ReportKind, *, since: date) -> ReportList:
        """Ask which reports of finished days there are."""
        return translate.report_list(await self._client.get(f"/v1/reports/{kind}?since={since}"))

    async def fetch_report(self, kind: ReportKind, name: str, *, into: BinaryIO, most_bytes: int) -> Report:
        """Fetch one report."""
        path = f"/v1/reports/{kind}/{quote(name, safe='')}"
        return translate.report(await self._client.fetch(path, into=into, most=most_bytes))

    async def _operate(self, path: str, instruction: Instruction, **more: str | bool) -> Result:
        body = translate.operation_request(instruction) | more
        return translate.result(await self._client.post(path, body, key=instruction.idempotency_key))


def _id(instruction: Instruction) -> str:
    return quote(instruction.original or "", safe="")


def _connect(config: domain.Config) -> Adapter:
    return Adapter(msgspec.convert(config, Config, from_attributes=True))


PROVIDER = domain.Provider(
    name="simulated",
    title="Simulator",
    monogram="SI",
    methods=("Cards",),
    capabilities=CAPABILITIES,
    webhook_kinds=tuple(translate.EVENTS),
    config=Config,
    adapter=_connect,
)
