"""Deciding about an attempt that the PSP never settled."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import AttemptId, path_id
from app.payments.decisions import flows, service
from app.payments.domain import AttemptNotFound
from app.payments.pages.details import payment_of
from app.payments.schemas.decisions import DecideForm, DecidePage, decide_page
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.step_up import spend

DIALOG = ("payments/decide.html", "payments/_decide.html")
PATH = "/payments/{payment_id:str}/attempts/{attempt_id:str}/decide"


def _attempt_of(text: str) -> AttemptId:
    return AttemptId(path_id("att", text, otherwise=AttemptNotFound("There is no attempt with this id of this payment.")))


async def _page(actor: Actor, payment_id: str, attempt_id: str) -> DecidePage:
    async with unit_of_work(actor.merchant) as session:
        found = await service.to_decide(session, actor, payment_id=payment_of(payment_id), attempt_id=_attempt_of(attempt_id))
        return decide_page(*found)


@get(PATH, name="payments:decide_dialog", guards=[requires("payments.approve")])
async def ask_decision(
    request: HttpRequest, payment_id: FromPath[str], attempt_id: FromPath[str], actor: NamedDependency[Actor]
) -> Response[str]:
    """What is known of the attempt, and what would follow from either answer."""
    return render(request, DIALOG[0], await _page(actor, payment_id, attempt_id), fragment=DIALOG[1])


@post(PATH, name="payments:decide", status_code=200, guards=[requires("payments.approve", fresh=True)])
async def decide(
    request: HttpRequest, payment_id: FromPath[str], attempt_id: FromPath[str], actor: NamedDependency[Actor]
) -> Response[str]:
    """Record what a person found out at the PSP."""
    page = await _page(actor, payment_id, attempt_id)
    answer_invalid_with(request, DIALOG[0], page, fragment=DIALOG[1])
    form = await read_form(request, DecideForm)
    payment, decision = payment_of(payment_id), form.decision(_attempt_of(attempt_id))
    if await flows.ask_others(actor, payment_id=payment, decision=decision):
        return redirect(
            request, "/approvals/requested", toast=f"The decision about {page.amount.format()} waits for the approval of others"
        )
    await spend(request, page.amount)
    status = await flows.decide(actor, payment_id=payment, decision=decision)
    return redirect(request, page.path, toast=f"Decided; the payment is {status.replace('_', ' ')}")


ROUTES = [ask_decision, decide]
