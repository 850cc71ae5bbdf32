"""The page of one payment, and asking the PSP about it."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import PaymentId, path_id
from app.payments import flows, queries
from app.payments.domain import PaymentNotFound
from app.payments.queries import details
from app.web.context import HttpRequest
from app.web.guards import requires
from app.web.rendering import redirect, render


def payment_of(text: str) -> PaymentId:
    """The payment an address names; a malformed id leads nowhere, like an unknown one."""
    return PaymentId(path_id("pay", text, otherwise=PaymentNotFound(queries.MISSING)))


@get("/payments/{payment_id:str}", name="payments:detail", guards=[requires("payments.read")])
async def show_payment(
    request: HttpRequest, payment_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One payment: its money, its history and why it is where it is. While it moves, the page asks again by itself."""
    page = await details.payment_detail_page(session, actor, payment_id=payment_of(payment_id))
    return render(request, "payments/detail.html", page, fragment="payments/_detail.html")


@post("/payments/{payment_id:str}/ask", name="payments:ask", status_code=200, guards=[requires("payments.read")])
async def ask_psp(request: HttpRequest, payment_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """Ask the PSP now about what is not decided yet."""
    found = payment_of(payment_id)
    await flows.refresh(merchant_id=actor.merchant, payment_id=found)
    return redirect(request, f"/payments/{payment_id}", toast="The PSP was asked; this is what it says now")


ROUTES = [show_payment, ask_psp]
