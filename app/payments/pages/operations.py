"""The dialogs that move money: capture, refund, release. Each shows what will happen, asks for a fresh second factor and happens once."""

from collections.abc import Mapping, Sequence

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import idempotency
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import Invalid
from app.payments import flows
from app.payments.domain import Operation, OperationStatus
from app.payments.pages.details import payment_of
from app.payments.queries.dialogs import operation_dialog
from app.payments.refund_requests import flows as refund_requests
from app.payments.schemas import PaymentView
from app.payments.schemas.forms import CaptureForm, OperationPage, PreviewForm, RefundForm, VoidForm, check_amount, split_from, with_preview
from app.web.context import CSRF_FIELD, HttpRequest
from app.web.forms import parse_form, posted_values, read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.step_up import STEP_UP_FIELD, spend

KEY_FIELD = "idempotency_key"
NOT_THE_REQUEST = {CSRF_FIELD, STEP_UP_FIELD, KEY_FIELD}
DIALOG = ("payments/operation.html", "payments/_operation.html")


def fingerprint_of(path: str, values: Mapping[str, Sequence[str]]) -> bytes:
    """What was asked for, whatever the order of the fields and however the person proved who they are."""
    asked = sorted((name, list(texts)) for name, texts in values.items() if name not in NOT_THE_REQUEST)
    return idempotency.fingerprint("POST", path, msgspec.json.encode(asked))


async def _ask_again_with(request: HttpRequest, actor: Actor, payment_id: str, kind: Operation) -> OperationPage:
    """The dialog as it is shown again should anything be wrong with what was typed."""
    async with unit_of_work(actor.merchant) as session:
        page = await operation_dialog(session, merchant_id=actor.merchant, payment_id=payment_of(payment_id), kind=kind)
    answer_invalid_with(request, DIALOG[0], page, fragment=DIALOG[1])
    return page


def done(request: HttpRequest, payment_id: str, answered: flows.Answered, *, noun: str) -> Response[str]:
    view = msgspec.json.decode(answered.body, type=PaymentView)
    operations = view.refunds if noun == "refund" else view.captures
    last = operations[-1] if operations and noun != "release" else None
    amount = f" of {last.amount.format()}" if last is not None else ""
    failed = last is not None and last.status is OperationStatus.FAILED
    settled = last is None or last.status is OperationStatus.SUCCEEDED
    said = f"The {noun}{amount} failed; the page says why" if failed else f"The {noun}{amount} {'is done' if settled else 'is on its way'}"
    return redirect(request, f"/payments/{payment_id}", toast=said)


def _preview(page: OperationPage, query: Mapping[str, Sequence[str]]) -> OperationPage:
    """What would happen for what is typed so far; text that is no amount yet is said, not refused."""
    try:
        form = parse_form(query, PreviewForm)
        split = split_from(page, query)
    except Invalid as wrong:
        problem = next(iter(wrong.fields.values()), wrong.detail)
        return msgspec.structs.replace(page, preview=msgspec.structs.replace(page.preview, problem=problem))
    return with_preview(page, form.amount, split=split, keep_fee=form.keep_fee, is_final=form.is_final)


async def _show(request: HttpRequest, session: AsyncSession, actor: Actor, payment_id: str, kind: Operation) -> Response[str]:
    page = await operation_dialog(session, merchant_id=actor.merchant, payment_id=payment_of(payment_id), kind=kind)
    query = request.query_params.dict()
    if "amount" in query:
        return render(request, DIALOG[0], _preview(page, query), fragment="payments/_preview.html")
    return render(request, DIALOG[0], page, fragment=DIALOG[1])


@get("/payments/{payment_id:str}/capture", name="payments:capture_dialog", guards=[requires("payments.capture")])
async def ask_capture(
    request: HttpRequest, payment_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """What a capture would do; with an amount in the address, for that amount."""
    return await _show(request, session, actor, payment_id, Operation.CAPTURE)


@post("/payments/{payment_id:str}/capture", name="payments:capture", status_code=200, guards=[requires("payments.capture", fresh=True)])
async def capture(request: HttpRequest, payment_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """Take what is authorised, or a part of it."""
    page = await _ask_again_with(request, actor, payment_id, Operation.CAPTURE)
    form, values = await read_form(request, CaptureForm), await posted_values(request)
    idempotency.check_key(form.idempotency_key)
    check_amount(page, form.amount)
    answered = await flows.capture(
        actor,
        payment_id=payment_of(payment_id),
        amount=form.amount,
        is_final=form.is_final,
        split=split_from(page, values),
        key=f"page:{form.idempotency_key}",
        request=fingerprint_of(request.url.path, values),
    )
    return done(request, payment_id, answered, noun="capture")


@get("/payments/{payment_id:str}/refund", name="payments:refund_dialog", guards=[requires("payments.refund")])
async def ask_refund(
    request: HttpRequest, payment_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """What a refund would take from whom; with an amount in the address, for that amount."""
    return await _show(request, session, actor, payment_id, Operation.REFUND)


@post("/payments/{payment_id:str}/refund", name="payments:refund", status_code=200, guards=[requires("payments.refund", fresh=True)])
async def refund(request: HttpRequest, payment_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """Give back what was captured, or a part of it."""
    page = await _ask_again_with(request, actor, payment_id, Operation.REFUND)
    form, values = await read_form(request, RefundForm), await posted_values(request)
    idempotency.check_key(form.idempotency_key)
    check_amount(page, form.amount)
    payment, split = payment_of(payment_id), split_from(page, values)
    if await refund_requests.others_needed(actor, form.amount):
        await refund_requests.ask(actor, payment_id=payment, amount=form.amount, split=split, reason=form.reason, keep_fee=form.keep_fee)
        return redirect(request, "/approvals/requested", toast=f"The refund of {form.amount.format()} waits for the approval of others")
    await spend(request, form.amount)
    answered = await flows.refund(
        actor,
        payment_id=payment,
        amount=form.amount,
        split=split,
        reason=form.reason,
        keep_fee=form.keep_fee,
        key=f"page:{form.idempotency_key}",
        request=fingerprint_of(request.url.path, values),
    )
    return done(request, payment_id, answered, noun="refund")


@get("/payments/{payment_id:str}/void", name="payments:void_dialog", guards=[requires("payments.void")])
async def ask_void(
    request: HttpRequest, payment_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """What a release would give up."""
    return await _show(request, session, actor, payment_id, Operation.VOID)


@post("/payments/{payment_id:str}/void", name="payments:void", status_code=200, guards=[requires("payments.void", fresh=True)])
async def void(request: HttpRequest, payment_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """Release what is authorised and not captured."""
    await _ask_again_with(request, actor, payment_id, Operation.VOID)
    form, values = await read_form(request, VoidForm), await posted_values(request)
    idempotency.check_key(form.idempotency_key)
    key, asked = f"page:{form.idempotency_key}", fingerprint_of(request.url.path, values)
    answered = await flows.void(actor, payment_id=payment_of(payment_id), reason=form.reason, key=key, request=asked)
    return done(request, payment_id, answered, noun="release")


ROUTES = [ask_capture, capture, ask_refund, refund, ask_void, void]
