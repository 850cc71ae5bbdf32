"""Collecting an order on the PSP's page, the buyer's way back, and the search of the command palette."""

from urllib.parse import urlsplit

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import OrderId, path_id, public_id
from app.orders.domain import OrderNotFound
from app.payments import flows, queries
from app.payments.domain import returning_payment
from app.payments.pages.operations import KEY_FIELD, fingerprint_of
from app.payments.queries import checkout
from app.payments.schemas import PaymentView
from app.payments.schemas.checkout import GoPage, return_page
from app.web.context import HttpRequest
from app.web.forms import posted_values
from app.web.guards import public, requires
from app.web.rendering import redirect, render

LOOK_AGAIN_AFTER = 4
MISSING_ORDER = "There is no order with this id for this merchant."


def order_of(text: str) -> OrderId:
    return OrderId(path_id("ord", text, otherwise=OrderNotFound(MISSING_ORDER)))


@get("/orders/{order_id:str}/payments", name="payments:of_order", guards=[requires("payments.read")])
async def payments_of_order(
    request: HttpRequest, order_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The payments of an order and what happened to them."""
    page = await checkout.order_payments_page(session, merchant_id=actor.merchant, order_id=order_of(order_id))
    return render(request, "payments/of_order.html", page, fragment="payments/_of_order.html")


@post("/orders/{order_id:str}/pay", name="payments:collect", status_code=200, guards=[requires("payments.create")])
async def collect_payment(request: HttpRequest, order_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """Open the PSP's hosted page for an order. A second click leads to the same payment."""
    values = await posted_values(request)
    key = (values.get(KEY_FIELD) or [""])[-1]
    answered = await flows.pay(
        actor, order_id=order_of(order_id), key=f"page:{key}" if key else "", request=fingerprint_of(request.url.path, values)
    )
    view = msgspec.json.decode(answered.body, type=PaymentView)
    url = view.next_action.url if view.next_action else ""
    if urlsplit(url).scheme not in {"http", "https"}:
        return redirect(request, f"/payments/{view.id}", toast="The payment was started")
    # A policy for forms (form-action) also counts where a redirect leads, so the browser is told to go there instead of being redirected.
    if request.headers.get("hx-request") == "true":
        return Response("", status_code=200, media_type="text/html", headers={"HX-Redirect": url, "Cache-Control": "no-store"})
    return render(request, "payments/go.html", GoPage(payment=view.id, url=url, amount=view.amount))


@get("/payments/{payment_id:str}/return", name="payments:return", guards=[public()])
async def return_from_psp(request: HttpRequest, payment_id: FromPath[str]) -> Response[str]:
    """Where a buyer comes back to from the PSP: asks the PSP how it went and says only that. The address proves itself."""
    key = request.query_params.get("key", "")
    merchant_id, found = returning_payment(payment_id, key)
    await flows.refresh(merchant_id=merchant_id, payment_id=found)
    async with unit_of_work(merchant_id) as session:
        payment = await queries.payment(session, merchant_id=merchant_id, payment_id=found)
        page = return_page(payment, f"/payments/{public_id('pay', found)}")
    headers = {"Refresh": str(LOOK_AGAIN_AFTER)} if page.waits else {}
    return render(request, "payments/return.html", page, headers=headers)


@get("/search", name="payments:search", guards=[requires("merchant.read")])
async def search(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Payments, orders and sellers by id, reference, e-mail, name, last four digits or amount."""
    page = await checkout.search_page(session, actor, query=request.query_params.get("q", ""))
    return render(request, "payments/search.html", page, fragment="payments/_search.html")


ROUTES = [payments_of_order, collect_payment, return_from_psp, search]
