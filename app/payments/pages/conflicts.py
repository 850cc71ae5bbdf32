"""Ending a conflict: the PSP is asked what it has, a person says what becomes of it."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response

from app.core import idempotency
from app.core.actors import Actor
from app.core.errors import Invalid
from app.core.money import Money
from app.payments.conflicts import flows
from app.payments.pages.details import payment_of
from app.payments.pages.operations import done, fingerprint_of
from app.payments.reported.domain import Way
from app.payments.schemas.conflicts import ConflictForm, conflict_page
from app.web.context import HttpRequest
from app.web.forms import posted_values, read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.step_up import spend

DIALOG = ("payments/conflict.html", "payments/_conflict.html")
ALSO_NEEDED = {Way.ACCEPT: "payments.capture", Way.GIVE_BACK: "payments.refund", Way.CLOSE: "payments.void"}


@get("/payments/{payment_id:str}/conflict", name="payments:conflict_dialog", guards=[requires("payments.refund")])
async def ask_conflict(request: HttpRequest, payment_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """What the PSP has of it now, and what can be done."""
    page = conflict_page(payment_id, await flows.look(actor, payment_id=payment_of(payment_id)))
    return render(request, DIALOG[0], page, fragment=DIALOG[1])


@post(
    "/payments/{payment_id:str}/conflict",
    name="payments:settle_conflict",
    status_code=200,
    guards=[requires("payments.refund", fresh=True)],
)
async def settle_conflict(request: HttpRequest, payment_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """Accept what was taken, give it back, or close what the PSP let go of."""
    payment = payment_of(payment_id)
    report = await flows.look(actor, payment_id=payment)
    page = conflict_page(payment_id, report)
    answer_invalid_with(request, DIALOG[0], page, fragment=DIALOG[1])
    form = await read_form(request, ConflictForm)
    actor.require(ALSO_NEEDED[form.way])
    if form.way is Way.CLOSE:
        await flows.close(actor, payment_id=payment, reason=form.reason)
        return redirect(request, page.path, toast="The payment is closed; the order can be paid again")
    if form.amount is None:
        raise Invalid("The amount is missing. Open the dialog again.")
    if form.way is Way.ACCEPT:
        await flows.accept(actor, payment_id=payment, amount=form.amount, reason=form.reason)
        return redirect(request, page.path, toast=f"{form.amount.format()} accepted; the sellers have their parts")
    if await flows.ask_others(actor, payment_id=payment, report=report, amount=form.amount, reason=form.reason):
        return redirect(request, "/approvals/requested", toast=f"Giving back {form.amount.format()} waits for the approval of others")
    return await _give_back(request, actor, payment_id, form, form.amount)


async def _give_back(request: HttpRequest, actor: Actor, payment_id: str, form: ConflictForm, amount: Money) -> Response[str]:
    payment = payment_of(payment_id)
    idempotency.check_key(form.idempotency_key)
    await spend(request, amount)
    asked = fingerprint_of(request.url.path, await posted_values(request))
    answered = await flows.give_back(
        actor, payment_id=payment, amount=amount, reason=form.reason, key=f"page:{form.idempotency_key}", request=asked
    )
    return done(request, payment_id, answered, noun="refund")


ROUTES = [ask_conflict, settle_conflict]
