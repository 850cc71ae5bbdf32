"""Pages of what waits for an operator: the queue, a rehearsal of what is chosen, the act, one payment, and a refund of it."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId, PaymentId, path_id
from app.ops.console.pages import operating_of, query_of
from app.ops.console.service import at, note_act, note_look, noting
from app.ops.queue import flows, queries
from app.ops.queue.domain import Act, Item, Kind
from app.ops.queue.schemas import CheckPage, OperatorPaymentPage, OperatorRefundForm, QueueFilter, QueueRow, RunForm
from app.payments.domain import PaymentNotFound
from app.web.context import HttpRequest
from app.web.forms import parse_form, read_form
from app.web.guards import operator
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.step_up import spend

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
VISITING, ACTING = [operator(visiting=True)], [operator(visiting=True, fresh=True)]
CHECK, PAYMENT = "operator/check.html", "operator/payment.html"
SEEN = "payments_queue"


@get("/operator/queue", name="operator:queue", guards=VISITING)
async def list_queue(request: HttpRequest, session: Session, actor: Who, after: FromQuery[str | None] = None) -> Response[str]:
    """Payments, webhooks and payouts of all merchants that need a person."""
    operating = operating_of(request)
    page = await queries.queue(session, operating, chosen=parse_form(query_of(request), QueueFilter), after=after)
    await note_look(session, actor, visit=operating.visit, merchants=[row.merchant_id for row in page.rows.items], what=SEEN)
    return render(request, "operator/queue.html", page)


@get("/operator/queue/check", name="operator:check", guards=VISITING)
async def check_chosen(request: HttpRequest, actor: Who, act: FromQuery[Act] = Act.REPAIR) -> Response[str]:
    """What would come of an act for each that was chosen; nothing is done."""
    items = queries.read_items(query_of(request).get("item", []))
    rows = await _rows(request, items)
    operating = operating_of(request)
    async with unit_of_work(None) as session:
        await note_look(session, actor, visit=operating.visit, merchants=[row.merchant_id for row in rows], what=SEEN)
    return render(request, CHECK, await _rehearsed(request, actor, rows, act, asked=len(items)))


@post("/operator/queue/run", name="operator:run", status_code=200, guards=ACTING)
async def run_chosen(request: HttpRequest, actor: Who) -> Response[str]:
    """Ask, try again, release, apply again or set aside what was chosen, and say for each what came of it."""
    tokens, act = await _posted_items(request)
    items = queries.read_items(tokens)
    rows = await _rows(request, items)
    answer_invalid_with(request, CHECK, await _rehearsed(request, actor, rows, act, asked=len(items)))
    operating = operating_of(request)
    async with noting(actor, visit=operating.visit, merchants=[row.merchant_id for row in rows], what=SEEN):
        form = await read_form(request, RunForm)
    leaving = [row.amount for row in rows if row.amount and row.kind is Kind.FAILED and row.what == "refund" and form.act is Act.REPAIR]
    await spend(request, *leaving)
    waiting = [Item.read(row.token) for row in rows]
    verdicts = await flows.run(actor, waiting, act=form.act, reason=form.reason.strip())
    # what was done is written down by the act; what was refused is shown all the same
    refused = [row.merchant_id for row, verdict in zip(rows, verdicts, strict=True) if not verdict.is_possible]
    async with unit_of_work(None) as session:
        await note_look(session, actor, visit=operating.visit, merchants=refused, what=SEEN)
    page = queries.check_page(operating, rows, verdicts, act=form.act, asked=len(items), is_done=True)
    return render(request, CHECK, page)


async def _posted_items(request: HttpRequest) -> tuple[list[str], Act]:
    data = await request.form()
    tokens = [str(value) for name, value in data.multi_items() if name == "item"]
    return tokens, Act.SET_ASIDE if data.get("act") == Act.SET_ASIDE else Act.REPAIR


async def _rows(request: HttpRequest, items: list[Item]) -> list[QueueRow]:
    # a transaction of its own: none stays open while providers are asked
    async with unit_of_work(None) as session:
        return await queries.chosen_rows(session, operating_of(request), items)


async def _rehearsed(request: HttpRequest, actor: Actor, rows: list[QueueRow], act: Act, *, asked: int) -> CheckPage:
    verdicts = await flows.rehearse(actor, [Item.read(row.token) for row in rows], act=act)
    return queries.check_page(operating_of(request), rows, verdicts, act=act, asked=asked)


@get("/operator/merchants/{merchant_id:str}/payments/{payment_id:str}", name="operator:payment", guards=VISITING)
async def show_payment(request: HttpRequest, merchant_id: FromPath[str], payment_id: FromPath[str], actor: Who) -> Response[str]:
    """One payment of a merchant: where its money is, what was asked and answered, and what can be done."""
    return render(request, PAYMENT, await _payment(request, actor, merchant_id, payment_id))


@post("/operator/merchants/{merchant_id:str}/payments/{payment_id:str}/ask", name="operator:ask", status_code=200, guards=ACTING)
async def ask_about_payment(request: HttpRequest, merchant_id: FromPath[str], payment_id: FromPath[str], actor: Who) -> Response[str]:
    """Ask the provider now about everything of the payment that is undecided."""
    item = Item(kind=Kind.UNKNOWN, merchant_id=_merchant(merchant_id), id=_payment_id(payment_id))
    (verdict,) = await flows.run(actor, [item], act=Act.REPAIR, reason=operating_of(request).reason or "")
    return redirect(request, f"/operator/merchants/{merchant_id}/payments/{payment_id}", toast=verdict.said)


@post("/operator/merchants/{merchant_id:str}/payments/{payment_id:str}/refund", name="operator:refund", status_code=200, guards=ACTING)
async def refund_payment(request: HttpRequest, merchant_id: FromPath[str], payment_id: FromPath[str], actor: Who) -> Response[str]:
    """Give the buyer back what was captured, or a part of it, by the merchant's rules."""
    page = await _payment(request, actor, merchant_id, payment_id)
    answer_invalid_with(request, PAYMENT, page)
    form = await read_form(request, OperatorRefundForm)
    await spend(request, form.amount)
    said = await flows.refund(
        actor,
        merchant_id=_merchant(merchant_id),
        payment_id=_payment_id(payment_id),
        amount=form.amount,
        reason=form.reason.strip(),
        keep_fee=form.keep_fee,
        key=form.idempotency_key,
    )
    return redirect(request, page.path, toast=said)


async def _payment(request: HttpRequest, actor: Actor, merchant_id: str, payment_id: str) -> OperatorPaymentPage:
    here, reason = at(actor, _merchant(merchant_id), "payments.read"), operating_of(request).reason or ""
    async with unit_of_work(here.merchant) as session:
        found = _payment_id(payment_id)
        page = await queries.payment_page(session, here, payment_id=found, reason=reason)
        await note_act(session, here, object_type="payment", object_id=found, what="saw_payment", reason=reason)
    return page


def _merchant(text: str) -> MerchantId:
    return MerchantId(path_id("mer", text, otherwise=PaymentNotFound()))


def _payment_id(text: str) -> PaymentId:
    return PaymentId(path_id("pay", text, otherwise=PaymentNotFound()))


ROUTES = [list_queue, check_chosen, run_chosen, show_payment, ask_about_payment, refund_payment]
