"""What stops payouts: the list of holds, a hold on all payouts of a seller, and the end of one."""

from datetime import UTC, datetime, time

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import public_id
from app.core.money import Money
from app.payouts.queries import details
from app.payouts.schemas import HoldForm, PartHoldForm
from app.payouts.service import holds
from app.sellers import queries as sellers
from app.sellers.queries import bank_accounts
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

MORE = ("payouts/hold_more.html", "payouts/_hold_more.html")


@get("/payouts/holds", name="payouts:holds", guards=[requires("payouts.read")])
async def list_holds(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Everything that stops payouts now."""
    page = await details.hold_list_page(session, merchant_id=actor.merchant, after=request.query_params.get("after"))
    return render(request, "payouts/holds.html", page)


@get("/sellers/{seller_id:str}/hold", name="payouts:hold_seller_form", guards=[requires("payouts.request")])
async def hold_seller_form(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Why payouts of a seller are held, how much of them, and until when."""
    page = await details.seller_hold_page(session, merchant_id=actor.merchant, seller_id=sellers.seller_id(seller_id))
    return render(request, MORE[0], page, fragment=MORE[1])


@post("/sellers/{seller_id:str}/hold", name="payouts:hold_seller", status_code=200, guards=[requires("payouts.request", fresh=True)])
async def hold_seller(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Stop all payouts of a seller, or keep a part of its money back."""
    found = sellers.seller_id(seller_id)
    page = await details.seller_hold_page(session, merchant_id=actor.merchant, seller_id=found)
    answer_invalid_with(request, MORE[0], page, fragment=MORE[1])
    form = await read_form(request, PartHoldForm)
    if form.amount is None and not form.payment:
        await holds.place_hold(session, actor, seller_id=found, reason=form.reason, expires_at=end_of(form))
        return redirect(request, "/payouts/holds", toast=f"Nothing is paid out to {page.seller} while the hold stands")
    payment_id = form.payment_id()
    hold = await holds.hold_part(
        session, actor, seller_id=found, payment_id=payment_id, amount=form.amount, reason=form.reason, expires_at=end_of(form)
    )
    held = Money(hold.amount_minor or 0, hold.currency or page.currency)
    return redirect(request, "/payouts/holds", toast=f"{held.format()} of {page.seller} stays here while the hold stands")


@get("/bank-accounts/{bank_account_id:str}/hold", name="payouts:hold_destination_form", guards=[requires("payouts.request")])
async def hold_destination_form(
    request: HttpRequest, bank_account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Why nothing is paid to a bank account, and until when."""
    found = bank_accounts.bank_account_id(bank_account_id)
    page = await details.destination_hold_page(session, merchant_id=actor.merchant, account_id=found)
    return render(request, MORE[0], page, fragment=MORE[1])


@post(
    "/bank-accounts/{bank_account_id:str}/hold",
    name="payouts:hold_destination",
    status_code=200,
    guards=[requires("payouts.request", fresh=True)],
)
async def hold_destination(
    request: HttpRequest, bank_account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Stop everything that would be paid to a bank account."""
    found = bank_accounts.bank_account_id(bank_account_id)
    page = await details.destination_hold_page(session, merchant_id=actor.merchant, account_id=found)
    answer_invalid_with(request, MORE[0], page, fragment=MORE[1])
    form = await read_form(request, HoldForm)
    await holds.hold_destination(session, actor, account_id=found, reason=form.reason, expires_at=end_of(form))
    return redirect(request, "/payouts/holds", toast="Nothing is paid to this account while the hold stands")


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


ROUTES = [list_holds, hold_seller_form, hold_seller, hold_destination_form, hold_destination, release_hold]
