"""A shop for tests: a merchant with a connection, two sellers and terms, and a PSP that answers what the test scripts."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from uuid import UUID

import msgspec

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import ConnectionId, MerchantId, OrderId, PaymentId, SellerId, new_id
from app.core.money import Money
from app.orders import service as orders
from app.orders.domain import NewLine
from app.payments import flows
from app.payments.domain import CaptureMode
from app.psp.domain import Capability, Instruction, Outcome, ProviderStatus, PspEvent, Result
from app.psp.service import connections
from app.sellers import service as sellers
from app.sellers.domain import FeeTerms
from tests.support.factories.tenancy import Tenant, make_tenant

Answer = Result | Callable[[Instruction], Result]


def ok(status: ProviderStatus | None = None, **values: object) -> Result:
    """A yes."""
    return Result(outcome=Outcome.SUCCEEDED, provider_reference="sim_1", status=status, **values)  # type: ignore[arg-type]


class ScriptedPsp:
    """An adapter that answers what the test says, and remembers what it was asked; without a script it says yes."""

    name = "scripted"
    capabilities = frozenset(Capability)

    def __init__(self) -> None:
        self.script: defaultdict[str, list[Answer]] = defaultdict(list)
        self.calls: list[tuple[str, Instruction | str]] = []
        self.known: dict[str, Result] = {}

    def answers(self, verb: str, *results: Answer) -> None:
        """What to answer the next calls of a verb."""
        self.script[verb].extend(results)

    def made(self, verb: str) -> int:
        """How often a verb was called."""
        return sum(1 for called, _ in self.calls if called == verb)

    async def _act(self, verb: str, instruction: Instruction, otherwise: Result) -> Result:
        self.calls.append((verb, instruction))
        answer = self.script[verb].pop(0) if self.script[verb] else otherwise
        result = answer(instruction) if callable(answer) else answer
        if result.outcome is Outcome.SUCCEEDED:
            self.known[instruction.reference] = result
        return result

    async def authorise(self, instruction: Instruction) -> Result:
        status = ProviderStatus.CAPTURED if instruction.capture else ProviderStatus.AUTHORISED
        fee = Money(30, instruction.amount.currency) if instruction.capture else None
        return await self._act("authorise", instruction, ok(status, amount=instruction.amount, fee=fee))

    async def start_redirect(self, instruction: Instruction) -> Result:
        waiting = Result(
            outcome=Outcome.PENDING, provider_reference="sim_1", redirect_url="http://psp.test/pay", status=ProviderStatus.REQUIRES_ACTION
        )
        return await self._act("start_redirect", instruction, waiting)

    async def capture(self, instruction: Instruction) -> Result:
        return await self._act("capture", instruction, ok(amount=instruction.amount, fee=Money(30, instruction.amount.currency)))

    async def void(self, instruction: Instruction) -> Result:
        return await self._act("void", instruction, ok(amount=instruction.amount))

    async def refund(self, instruction: Instruction) -> Result:
        return await self._act("refund", instruction, ok(amount=instruction.amount))

    async def lookup(self, reference: str) -> Result:
        self.calls.append(("lookup", reference))
        if self.script["lookup"]:
            answer = self.script["lookup"].pop(0)
            assert isinstance(answer, Result)
            return answer
        return self.known.get(reference) or Result(outcome=Outcome.NOT_SENT, code="not_found")

    async def ping(self) -> Result:
        return ok()

    def verify_webhook(self, raw: bytes, headers: Mapping[str, str]) -> list[PspEvent]:
        return []

    async def fetch_event_object(self, event: PspEvent) -> Result:
        return await self.lookup(event.our_reference or "")


class Shop(msgspec.Struct, kw_only=True):
    """Everything a payment needs."""

    tenant: Tenant
    actor: Actor
    connection_id: ConnectionId
    anna: SellerId
    bert: SellerId
    psp: ScriptedPsp

    @property
    def merchant_id(self) -> MerchantId:
        """The merchant."""
        return self.actor.merchant

    async def order(self, *, anna: int = 6000, bert: int = 4000, currency: str = "EUR") -> OrderId:
        """An order with a line for each of the two sellers."""
        lines = [
            NewLine(seller_id=seller, description="Goods", amount=Money(minor, currency))
            for seller, minor in ((self.anna, anna), (self.bert, bert))
            if minor
        ]
        async with unit_of_work(self.merchant_id) as session:
            made = await orders.create_order(
                session,
                self.actor,
                reference=f"order-{new_id().hex}",
                currency=currency,
                lines=lines,
                buyer_name="Lena Hoffmann",
                buyer_email="Lena@example.org",
            )
        return OrderId(made.id)

    async def pay(
        self,
        order_id: OrderId | None = None,
        *,
        mode: CaptureMode = CaptureMode.AUTOMATIC,
        token: str | None = "tok_visa",
        key: str | None = None,
        request: bytes = b"r",
    ) -> flows.Answered:
        """Pay an order (a new one, unless given)."""
        order_id = order_id or await self.order()
        return await flows.pay(self.actor, order_id=order_id, token=token, capture_mode=mode, key=key or new_id().hex, request=request)

    async def refund(self, payment_id: PaymentId, minor: int | None = None, **options: object) -> flows.Answered:
        """Refund a payment, wholly or in part."""
        amount = None if minor is None else Money(minor, "EUR")
        return await flows.refund(self.actor, payment_id=payment_id, amount=amount, key=new_id().hex, request=b"r", **options)  # type: ignore[arg-type]

    async def capture(self, payment_id: PaymentId, minor: int | None = None, *, is_final: bool = False) -> flows.Answered:
        """Capture a payment, wholly or in part."""
        amount = None if minor is None else Money(minor, "EUR")
        return await flows.capture(self.actor, payment_id=payment_id, amount=amount, is_final=is_final, key=new_id().hex, request=b"r")

    async def void(self, payment_id: PaymentId) -> flows.Answered:
        """Release what is authorised."""
        return await flows.void(self.actor, payment_id=payment_id, key=new_id().hex, request=b"r")


SETTINGS = {
    "api_base_url": "http://127.0.0.1:9",
    "account": "test",
    "secret_key": "sk_sim_0123456789",
    "webhook_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}


async def add_connection(actor: Actor, settings: Mapping[str, str] | None = None, *, name: str = "Simulator") -> ConnectionId:
    """An enabled connection to the simulated provider."""
    async with unit_of_work(actor.merchant) as session:
        row = await connections.add_connection(session, actor, psp="simulated", name=name, values=dict(settings or SETTINGS))
        await connections.enable_connection(session, actor, connection_id=ConnectionId(row.id))
    return ConnectionId(row.id)


async def open_shop(psp: ScriptedPsp, *, settings: Mapping[str, str] | None = None) -> Shop:
    """A merchant with a connection, two sellers, and a platform fee of 5 % (Anna) and 10 % (everybody else)."""
    tenant = await make_tenant()
    actor = tenant.actor()
    connection_id = await add_connection(actor, settings)
    async with unit_of_work(tenant.id) as session:
        anna = await sellers.add_seller(session, actor, reference="anna", name="Anna's Antiques")
        bert = await sellers.add_seller(session, actor, reference="bert", name="Bert's Books")
        await sellers.set_fee(session, actor, currency="EUR", terms=FeeTerms(basis_points=1000))
        await sellers.set_fee(session, actor, currency="EUR", terms=FeeTerms(basis_points=500), seller_id=SellerId(anna.id))
    return Shop(tenant=tenant, actor=actor, connection_id=connection_id, anna=SellerId(anna.id), bert=SellerId(bert.id), psp=psp)


def balances(superuser: object, merchant_id: UUID) -> dict[tuple[str, str], int]:
    """Every account of a merchant that is not at zero, from the entries themselves: (code, owner) to debits minus credits."""
    rows = superuser.execute(  # type: ignore[attr-defined]
        "select a.code, a.owner_id::text, sum(e.side * e.amount)::bigint from ledger.entry e"
        " join ledger.account a on a.merchant_id = e.merchant_id and a.id = e.account_id where e.merchant_id = %s group by 1, 2",
        (merchant_id,),
    ).fetchall()
    return {(code, owner): minor for code, owner, minor in rows if minor}
