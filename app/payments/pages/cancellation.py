"""Cancelling an order, at whatever stage its money is: the plan is shown before it runs."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import idempotency
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId, OrderId
from app.orders import queries as orders
from app.payments.cancellation import flows, queries
from app.payments.pages.checkout import order_of
from app.payments.schemas.checkout import CancelForm, CancelPage, cancel_page
from app.sellers import queries as sellers
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

DIALOG = ("payments/cancel.html", "payments/_cancel.html")


async def _page(session: AsyncSession, merchant_id: MerchantId, order_id: OrderId, text: str) -> CancelPage:
    plan = await queries.cancellation_plan(session, merchant_id=merchant_id, order_id=order_id)
    order = await orders.order(session, merchant_id=merchant_id, order_id=order_id)
    names = await sellers.seller_names(session, merchant_id=merchant_id, ids=[share.seller_id for share in plan.shares])
    shares = [(names.get(share.seller_id, "–"), share.amount) for share in plan.shares]
    return cancel_page(text, order.reference, released=plan.released, refunded=plan.refunded, shares=shares)


@get("/orders/{order_id:str}/cancel", name="orders:cancel_dialog", guards=[requires("orders.write")])
async def ask_cancel(
    request: HttpRequest, order_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """What cancelling would release and refund, before it happens."""
    page = await _page(session, actor.merchant, order_of(order_id), order_id)
    return render(request, DIALOG[0], page, fragment=DIALOG[1])


@post("/orders/{order_id:str}/cancel", name="orders:cancel", status_code=200, guards=[requires("orders.write", fresh=True)])
async def cancel_order(request: HttpRequest, order_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """Cancel an order: release what is authorised, refund what was captured, close it."""
    found = order_of(order_id)
    async with unit_of_work(actor.merchant) as session:
        page = await _page(session, actor.merchant, found, order_id)
    answer_invalid_with(request, DIALOG[0], page, fragment=DIALOG[1])
    form = await read_form(request, CancelForm)
    idempotency.check_key(form.idempotency_key)
    plan = await flows.cancel_order(actor, order_id=found, reason=form.reason, key=f"page:{form.idempotency_key}")
    said = "was cancelled" if plan.payment_id is None else "is being cancelled; its payment shows how that goes"
    return redirect(request, f"/orders/{order_id}", toast=f"Order {page.reference} {said}")


ROUTES = [ask_cancel, cancel_order]
