"""What stops payouts: the list of holds, a hold on all payouts of a seller, and the end of one."""

from datetime import UTC, datetime, time

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import public_id
from app.payouts.queries import details
from app.payouts.schemas import HoldForm
from app.payouts.service import holds
from app.sellers import queries as sellers
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

SELLER = ("payouts/hold_seller.html", "payouts/_hold_seller.html")


@get("/payouts/holds", name="payouts:holds", guards=[requires("payouts.read")])
async def list_holds(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Everything that stops payouts now."""
    page = await details.hold_list_page(session, merchant_id=actor.merchant, after=request.query_params.get("after"))
    return render(request, "payouts/holds.html", page)


@get("/sellers/{seller_id:str}/hold", name="payouts:hold_seller_form", guards=[requires("payouts.request")])
async def hold_seller_form(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Why all payouts of a seller are held, and until when."""
    page = await details.seller_hold_page(session, merchant_id=actor.merchant, seller_id=sellers.seller_id(seller_id))
    return render(request, SELLER[0], page, fragment=SELLER[1])


@post("/sellers/{seller_id:str}/hold", name="payouts:hold_seller", status_code=200, guards=[requires("payouts.request", fresh=True)])
async def hold_seller(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Stop all payouts of a seller."""
    page = await details.seller_hold_page(session, merchant_id=actor.merchant, seller_id=sellers.seller_id(seller_id))
    answer_invalid_with(request, SELLER[0], page, fragment=SELLER[1])
    form = await read_form(request, HoldForm)
    await holds.place_hold(session, actor, seller_id=sellers.seller_id(seller_id), reason=form.reason, expires_at=end_of(form))
    return redirect(request, "/payouts/holds", toast=f"Nothing is paid out to {page.seller} while the hold stands")


@post(
    "/payouts/holds/{hold_id:str}/release", name="payouts:release_hold", status_code=200, guards=[requires("payouts.approve", fresh=True)]
)
async def release_hold(
    request: HttpRequest, hold_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """End a hold."""
    released = await holds.release_hold(session, actor, hold_id=details.hold_id(hold_id))
    back = f"/payouts/{public_id('po', released.payout_id)}" if released.payout_id else "/payouts/holds"
    return redirect(request, back, toast="The hold is released")


def end_of(form: HoldForm) -> datetime | None:
    """The end of the day until which something is held; none when it has no end."""
    return None if form.expires_on is None else datetime.combine(form.expires_on, time(23, 59, 59), tzinfo=UTC)


ROUTES = [list_holds, hold_seller_form, hold_seller, release_hold]
