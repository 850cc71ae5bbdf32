"""The list of payouts, the inbox of approvals, and the form of a new payout."""

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.response import Response, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals.domain import Part
from app.core import idempotency
from app.core.actors import Actor
from app.core.clock import today
from app.core.db import unit_of_work
from app.core.ids import public_id
from app.payouts import flows, queries
from app.payouts.domain import PayoutStatus
from app.payouts.queries import details, lists
from app.payouts.schemas import BulkForm, PayoutForm, PayoutView
from app.sellers import queries as sellers
from app.web.context import HttpRequest
from app.web.downloads import csv_download
from app.web.forms import InvalidForm, read_form
from app.web.guards import may_export, requires
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.step_up import spend

NEW = ("payouts/new.html", "payouts/_new.html")
COLUMNS = [
    "payout", "seller", "seller_name", "status", "amount_minor", "amount", "currency", "fee_minor", "bank", "account", "end_to_end_id",
    "value_on", "failure_code", "created_at", "sent_at", "paid_at",
]  # fmt: skip


@get("/payouts", name="payouts:list", guards=[requires("payouts.read")])
async def list_payouts(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """What waits for people, and every payout."""
    asked = request.query_params
    page = await lists.payout_list_page(
        session, actor, view=asked.get("view", ""), query=asked.get("q", "")[:200], after=asked.get("after")
    )
    return render(request, "payouts/list.html", page, fragment="payouts/_rows.html")


@get("/payouts/export", name="payouts:export", guards=[may_export()])
async def export_payouts(request: HttpRequest, actor: NamedDependency[Actor]) -> Stream:
    """The list as a file."""
    actor.require("payouts.read")
    asked = request.query_params
    rows = lists.every_payout(actor.merchant, view=asked.get("view", ""), query=asked.get("q", "")[:200])
    return csv_download(f"payouts-{today()}", COLUMNS, rows)


@get("/payouts/approvals", name="payouts:inbox", guards=[requires("payouts.approve")])
async def show_inbox(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Everything that waits for a yes or no."""
    return render(request, "payouts/inbox.html", await lists.inbox_page(session, actor))


@post("/payouts/approvals", name="payouts:approve_many", status_code=200, guards=[requires("payouts.approve", fresh=True)])
async def approve_many(request: HttpRequest, actor: NamedDependency[Actor]) -> Response[str]:
    """Agree to the chosen payouts, each as it was shown, and say for each what came of it."""
    async with unit_of_work(actor.merchant) as session:
        asked = await lists.inbox_page(session, actor)
    answer_invalid_with(request, "payouts/inbox.html", asked)
    form = await read_form(request, BulkForm)
    pairs = [text.partition(":") for text in form.payout]
    chosen = [(queries.payout_id(payout), digest) for payout, _, digest in pairs]
    # what is chosen counts, whether the page shows it or not
    async with unit_of_work(actor.merchant) as session:
        leaving = await lists.waiting(session, actor, Part(only=frozenset(payout_id for payout_id, _ in chosen)))
    await spend(request, *(each.row.amount for each in leaving if each.may_decide))
    results = await flows.approve_each(actor, chosen)
    shown = [(public_id("po", payout_id), problem is None, problem or "Approved") for payout_id, problem in results]
    async with unit_of_work(actor.merchant) as session:
        page = await lists.inbox_page(session, actor, results=shown)
    done = sum(1 for _, is_done, _ in shown if is_done)
    return render(request, "payouts/inbox.html", page, toast=f"{done} of {len(shown)} approved")


@get("/payouts/new", name="payouts:new", guards=[requires("payouts.request")])
async def new_payout(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """The form of a new payout; without a seller, the question whose money it is."""
    asked = request.query_params
    if not asked.get("seller"):
        page = await details.choose_seller_page(session, merchant_id=actor.merchant, query=asked.get("q", ""))
        return render(request, "payouts/choose.html", page)
    seller_id = sellers.seller_id(asked["seller"])
    form = await details.payout_form_page(session, merchant_id=actor.merchant, seller_id=seller_id, currency=asked.get("currency", ""))
    return render(request, NEW[0], form, fragment=NEW[1])


@post("/payouts", name="payouts:request", status_code=200, guards=[requires("payouts.request", fresh=True)])
async def request_payout(request: HttpRequest, actor: NamedDependency[Actor]) -> Response[str]:
    """Set a seller's money aside for its bank account; others approve it."""
    asked = request.query_params
    seller_id = sellers.seller_id(asked.get("seller", ""))
    async with unit_of_work(actor.merchant) as session:
        page = await details.payout_form_page(session, merchant_id=actor.merchant, seller_id=seller_id, currency=asked.get("currency", ""))
    answer_invalid_with(request, NEW[0], page, fragment=NEW[1])
    form = await read_form(request, PayoutForm)
    if not form.idempotency_key:
        raise InvalidForm("Open the form again.", fields={"amount": "Open the form again."})
    await spend(request, form.amount)
    content = msgspec.json.encode((form.amount, form.statement_text, asked.get("seller", "")))
    requested = await flows.request(
        actor,
        seller_id=seller_id,
        amount=form.amount,
        statement_text=form.statement_text,
        key=f"page:{form.idempotency_key}",
        request=idempotency.fingerprint("POST", request.url.path, content),
    )
    view = msgspec.json.decode(requested.body, type=PayoutView)
    said = {PayoutStatus.ON_HOLD: "is on hold; its page says why", PayoutStatus.PENDING_APPROVAL: "waits for approval"}
    toast = f"The payout of {view.amount.format()} {said.get(view.status, 'is on its way')}"
    return redirect(request, f"/payouts/{view.id}", toast=toast)


ROUTES = [list_payouts, export_payouts, show_inbox, approve_many, new_payout, request_payout]
