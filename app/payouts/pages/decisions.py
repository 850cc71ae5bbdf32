"""Deciding about a payout that the bank never settled."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.payouts import flows, queries
from app.payouts.queries import details
from app.payouts.schemas import DecideForm
from app.payouts.schemas.details import PayoutDetailPage
from app.payouts.service import decisions
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.step_up import spend

DIALOG = ("payouts/decide.html", "payouts/_decide.html")


async def _page(actor: Actor, payout_id: str) -> PayoutDetailPage:
    found = queries.payout_id(payout_id)
    async with unit_of_work(actor.merchant) as session:
        await decisions.to_decide(session, actor, payout_id=found)
        return await details.payout_detail_page(session, actor, payout_id=found)


@get("/payouts/{payout_id:str}/decide", name="payouts:decide_dialog", guards=[requires("payouts.approve")])
async def ask_decision(request: HttpRequest, payout_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """What is known of the payout, and what would follow from either answer."""
    return render(request, DIALOG[0], await _page(actor, payout_id), fragment=DIALOG[1])


@post("/payouts/{payout_id:str}/decide", name="payouts:decide", status_code=200, guards=[requires("payouts.approve", fresh=True)])
async def decide(request: HttpRequest, payout_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """Record what a person found out at the bank."""
    page = await _page(actor, payout_id)
    answer_invalid_with(request, DIALOG[0], page, fragment=DIALOG[1])
    form = await read_form(request, DecideForm)
    await spend(request, page.row.amount)
    status = await flows.decide(
        actor, payout_id=queries.payout_id(payout_id), verdict=form.verdict, reference=form.reference, reason=form.reason
    )
    return redirect(request, page.path, toast=f"Decided; the payout is {status.replace('_', ' ')}")


ROUTES = [ask_decision, decide]
