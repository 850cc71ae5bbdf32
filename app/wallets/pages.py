"""Pages about wallets."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import idempotency
from app.core.actors import Actor
from app.core.clock import today
from app.core.db import unit_of_work
from app.core.ids import SellerId
from app.sellers import queries as sellers
from app.wallets import queries, service
from app.wallets.domain import Bucket
from app.wallets.schemas import PolicyForm, WriteOffForm
from app.wallets.write_offs import flows as write_offs
from app.web.context import HttpRequest
from app.web.downloads import csv_download
from app.web.forms import read_form
from app.web.guards import may_export, requires
from app.web.rendering import answer_invalid_with, redirect, render

POLICY = ("wallets/policy.html", "wallets/_policy.html")
WRITE_OFF = ("wallets/write_off.html", "wallets/_write_off.html")
LIST_COLUMNS = ["seller", "reference", "name", "currency", *(f"{bucket}{unit}" for bucket in Bucket for unit in ("_minor", ""))]
STATEMENT_COLUMNS = [
    "transaction", "booked_at", "effective_on", "kind", "source", "event", "description", "amount_minor", "amount", "balance_minor", "balance", "currency",
]  # fmt: skip


def _id(text: str) -> SellerId:
    return sellers.seller_id(text)


@get("/wallets", name="wallets:list", guards=[requires("wallets.read")])
async def list_wallets(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """What every seller has."""
    asked = request.query_params
    page = await queries.wallet_list_page(
        session, merchant_id=actor.merchant, query=asked.get("q", ""), currency=asked.get("currency", ""), after=asked.get("after")
    )
    return render(request, "wallets/list.html", page, fragment="wallets/_rows.html")


@get("/wallets/export", name="wallets:export", guards=[may_export()])
async def export_wallets(request: HttpRequest, actor: NamedDependency[Actor]) -> Stream:
    """The list as a file."""
    actor.require("wallets.read")
    asked = request.query_params
    rows = queries.every_wallet(actor.merchant, query=asked.get("q", ""), currency=asked.get("currency", ""))
    return csv_download(f"wallets-{today()}", LIST_COLUMNS, rows)


@get("/wallets/policy", name="wallets:policy_form", guards=[requires("sellers.write")])
async def policy_form(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """The rules for all wallets."""
    return render(request, POLICY[0], await queries.policy_page(session, merchant_id=actor.merchant), fragment=POLICY[1])


@post("/wallets/policy", name="wallets:set_policy", status_code=200, guards=[requires("sellers.write", fresh=True)])
async def set_policy(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Change the rules for all wallets."""
    answer_invalid_with(request, POLICY[0], await queries.policy_page(session, merchant_id=actor.merchant), fragment=POLICY[1])
    form = await read_form(request, PolicyForm)
    await service.set_policy(
        session, actor, availability_days=form.availability_days, timezone=form.timezone, allow_negative=form.allow_negative
    )
    return redirect(request, "/wallets", toast="The rules are set; they hold for captures from here on")


@get("/wallets/{seller_id:str}", name="wallets:show", guards=[requires("wallets.read")])
async def show_wallet(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One wallet with its statement."""
    found, asked = _id(seller_id), request.query_params
    page = await queries.statement_page(
        session,
        merchant_id=actor.merchant,
        seller_id=found,
        currency=asked.get("currency", ""),
        bucket=asked.get("bucket", ""),
        after=asked.get("after"),
    )
    if page.wallet.owed.is_positive and actor.can("wallets.write_off"):
        page.asked = await write_offs.requested(session, actor, seller_id=found, name=page.seller.name, currency=page.wallet.currency)
    return render(request, "wallets/show.html", page)


@get("/wallets/{seller_id:str}/export", name="wallets:export_statement", guards=[may_export()])
async def export_statement(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Stream:
    """A bucket's whole statement as a file."""
    actor.require("wallets.read")
    asked = request.query_params
    page = await queries.statement_page(
        session, merchant_id=actor.merchant, seller_id=_id(seller_id), currency=asked.get("currency", ""), bucket=asked.get("bucket", "")
    )
    rows = queries.every_booking(actor.merchant, seller_id=_id(seller_id), currency=page.wallet.currency, bucket=page.bucket)
    name = f"statement-{page.seller.reference}-{page.wallet.currency}-{page.bucket}-{today()}"
    return csv_download(name, STATEMENT_COLUMNS, rows)


@get("/wallets/{seller_id:str}/write-off", name="wallets:write_off_form", guards=[requires("wallets.write_off")])
async def write_off_form(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """What is owed, before any of it is written off."""
    page = await queries.write_off_page(session, actor, seller_id=_id(seller_id), currency=request.query_params.get("currency", ""))
    return render(request, WRITE_OFF[0], page, fragment=WRITE_OFF[1])


@post("/wallets/{seller_id:str}/write-off", name="wallets:write_off", status_code=200, guards=[requires("wallets.write_off", fresh=True)])
async def write_off(request: HttpRequest, seller_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """Write off what a seller will not repay; above the limit of one person others are asked."""
    async with unit_of_work(actor.merchant) as session:
        page = await queries.write_off_page(session, actor, seller_id=_id(seller_id), currency=request.query_params.get("currency", ""))
    answer_invalid_with(request, WRITE_OFF[0], page, fragment=WRITE_OFF[1])
    form = await read_form(request, WriteOffForm)
    idempotency.check_key(form.idempotency_key)
    key = f"page:{form.idempotency_key}"
    done = await write_offs.write_off(actor, seller_id=_id(seller_id), amount=form.amount, reason=form.reason, key=key)
    said = "is written off" if done else "waits for the agreement of others"
    return redirect(request, page.path, toast=f"{form.amount.format()} {said}")


@post(
    "/wallets/{seller_id:str}/write-off/{write_off_id:str}/withdraw",
    name="wallets:withdraw_write_off",
    status_code=200,
    guards=[requires("wallets.write_off")],
)
async def withdraw_write_off(
    request: HttpRequest, seller_id: FromPath[str], write_off_id: FromPath[str], actor: NamedDependency[Actor]
) -> Response[str]:
    """Take back one's own request to write off a debt."""
    currency = await write_offs.withdraw(actor, seller_id=_id(seller_id), item=write_off_id)
    return redirect(request, f"/wallets/{seller_id}?currency={currency}", toast="Taken back; it is owed still")


@get("/wallets/{seller_id:str}/summary", name="wallets:summary", guards=[requires("wallets.read")])
async def wallet_summary(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """A seller's wallets in a few lines, for the seller's page."""
    page = await queries.wallet_summary_page(session, merchant_id=actor.merchant, seller_id=_id(seller_id))
    return render(request, "wallets/summary.html", page, fragment="wallets/_summary.html")


ROUTES = [
    *(list_wallets, export_wallets, policy_form, set_policy, show_wallet, export_statement),
    *(write_off_form, write_off, withdraw_write_off, wallet_summary),
]
