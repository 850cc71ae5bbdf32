"""Payouts as JSON. Requesting one takes an ``Idempotency-Key``; people approve it in the console."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import idempotency
from app.core.actors import Actor
from app.core.paging import Page
from app.payouts import flows, queries
from app.payouts.domain import PayoutStatus
from app.payouts.queries import details, lists
from app.payouts.schemas import CancelBody, PayoutRequestBody, PayoutView
from app.payouts.service import requests
from app.web.context import HttpRequest
from app.web.forms import filter_of
from app.web.guards import requires


@get("/v1/payouts", name="payouts:api_list", guards=[requires("payouts.read")])
async def list_payouts(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Page[PayoutView]:
    """Payouts, newest first; `status` narrows them, `after` is the `next` of the page before."""
    asked = request.query_params
    status = filter_of(asked, "status", PayoutStatus, of="a payout")
    return await lists.payout_views(session, merchant_id=actor.merchant, status=status, after=asked.get("after"))


@post("/v1/payouts", name="payouts:api_create", guards=[requires("payouts.request")])
async def create_payout(request: HttpRequest, data: JSONBody[PayoutRequestBody], actor: NamedDependency[Actor]) -> Response[bytes]:
    """Request a payout to the seller's bank account in that currency. 201: the money is set aside; people approve it."""
    requested = await flows.request(
        actor,
        seller_id=data.seller_id(),
        amount=data.amount,
        statement_text=data.text,
        key=request.headers.get("idempotency-key", ""),
        request=idempotency.fingerprint(request.method, request.url.path, await request.body()),
    )
    headers = {"Idempotent-Replayed": "true"} if requested.replayed else {}
    return Response(requested.body, status_code=requested.status, media_type="application/json", headers=headers)


@get("/v1/payouts/{payout_id:str}", name="payouts:api_detail", guards=[requires("payouts.read")])
async def show_payout(payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> PayoutView:
    """One payout."""
    return await details.payout_view(session, merchant_id=actor.merchant, payout_id=queries.payout_id(payout_id))


@post("/v1/payouts/{payout_id:str}/cancel", name="payouts:api_cancel", status_code=200, guards=[requires("payouts.request")])
async def cancel_payout(
    payout_id: FromPath[str], data: JSONBody[CancelBody], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> PayoutView:
    """Take a payout back before the bank hears of it. Cancelling twice is refused, so that a repeated request changes nothing."""
    found = queries.payout_id(payout_id)
    await requests.cancel_payout(session, actor, payout_id=found, reason=data.reason)
    await session.flush()
    return await details.payout_view(session, merchant_id=actor.merchant, payout_id=found)


ROUTES = [list_payouts, create_payout, show_payout, cancel_payout]
