"""The rules for payouts, and the batches in which they leave."""

from typing import BinaryIO, cast

from litestar import get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.payouts.queries import details
from app.payouts.queries import rules as queries
from app.payouts.schemas.rules import FundingForm, LimitsForm, RulesPage, ThresholdsForm
from app.payouts.service import batches, policies, status_files
from app.web.context import HttpRequest
from app.web.forms import InvalidForm, read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

RULES = "payouts/rules.html"
MAX_STATUS_FILE = 20 << 20


async def _rules(request: HttpRequest, session: AsyncSession, actor: Actor) -> RulesPage:
    page = await queries.rules_page(session, actor, currency=request.query_params.get("currency", ""))
    answer_invalid_with(request, RULES, page)
    return page


@get("/payouts/rules", name="payouts:rules", guards=[requires("merchant.write")])
async def show_rules(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Limits, who must agree, and what is paid from."""
    return render(request, RULES, await _rules(request, session, actor))


@post("/payouts/rules/limits", name="payouts:set_limits", status_code=200, guards=[requires("rules.write", fresh=True)])
async def set_limits(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Set how much may be paid out how fast."""
    page = await _rules(request, session, actor)
    form = await read_form(request, LimitsForm)
    await policies.set_limits(session, actor, currency=page.currency, limits=form.limits(page.currency))
    return redirect(request, f"/payouts/rules?currency={page.currency}", toast="The limits hold from here on")


@post("/payouts/rules/approvals", name="payouts:set_thresholds", status_code=200, guards=[requires("rules.write", fresh=True)])
async def set_thresholds(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Set from which amounts how many people must agree."""
    page = await _rules(request, session, actor)
    form = await read_form(request, ThresholdsForm)
    await policies.set_thresholds(session, actor, currency=page.currency, thresholds=form.thresholds(page.currency))
    return redirect(request, f"/payouts/rules?currency={page.currency}", toast="Set; payouts that wait already keep their number")


@post("/payouts/rules/funding", name="payouts:set_funding", status_code=200, guards=[requires("merchant.write", fresh=True)])
async def set_funding(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Set from which account payouts in a currency are made."""
    page = await _rules(request, session, actor)
    form = await read_form(request, FundingForm)
    own = policies.OwnAccount(
        holder_name=form.holder_name, number=form.number or "", routing=form.routing or "", company_id=form.company_id
    )
    await policies.add_funding_account(
        session,
        actor,
        name=form.name,
        currency=page.currency,
        rail=form.rail,
        connection_id=form.connection_id(),
        own=own,
        calendar=form.calendar,
        cutoff=form.cutoff,
        timezone=form.timezone,
    )
    return redirect(request, f"/payouts/rules?currency={page.currency}", toast=f"Payouts in {page.currency} are made from {form.name}")


@get("/payouts/batches", name="payouts:batches", guards=[requires("payouts.read")])
async def list_batches(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Payouts that left, or leave, together."""
    page = await queries.batch_list_page(session, merchant_id=actor.merchant, after=request.query_params.get("after"))
    return render(request, "payouts/batches.html", page)


@get("/payouts/batches/{batch_id:str}", name="payouts:batch", guards=[requires("payouts.read")])
async def show_batch(
    request: HttpRequest, batch_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One batch."""
    page = await details.batch_page(
        session, merchant_id=actor.merchant, batch_id=details.batch_id(batch_id), after=request.query_params.get("after")
    )
    return render(request, "payouts/batch.html", page)


@post("/payouts/batches/{batch_id:str}/file", name="payouts:batch_file", status_code=200, guards=[requires("payouts.request", fresh=True)])
async def download_batch(batch_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[bytes]:
    """The batch as a file for the bank; with the first download its payouts count as sent."""
    file = await batches.download_batch(session, actor, batch_id=details.batch_id(batch_id))
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"', "Cache-Control": "no-store"}
    return Response(file.body, media_type=file.media_type, headers=headers)


@post(
    "/payouts/batches/{batch_id:str}/handed-in",
    name="payouts:batch_handed_in",
    status_code=200,
    guards=[requires("payouts.request", fresh=True)],
)
async def hand_in_batch(
    request: HttpRequest, batch_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Say that the bank has the file."""
    await batches.hand_in(session, actor, batch_id=details.batch_id(batch_id))
    return redirect(request, f"/payouts/batches/{batch_id}", toast="The bank has it; its payouts are followed from here on")


@post(
    "/payouts/batches/{batch_id:str}/status",
    name="payouts:batch_status",
    status_code=200,
    guards=[requires("payouts.request", fresh=True)],
    request_max_body_size=MAX_STATUS_FILE + (1 << 16),
)
async def read_batch_status(
    request: HttpRequest, batch_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Take in what the bank answered to the file."""
    page = await details.batch_page(session, merchant_id=actor.merchant, batch_id=details.batch_id(batch_id))
    answer_invalid_with(request, "payouts/batch.html", page)
    given = (await request.form()).get("file")
    if not isinstance(given, UploadFile) or not given.filename:
        raise InvalidForm("Some of it cannot be accepted.", fields={"file": "Choose a file."})
    content = cast(BinaryIO, given.file)
    said = await status_files.apply_status_file(session, actor, batch_id=details.batch_id(batch_id), content=content)
    toast = f"The bank has {said.accepted} of these orders and refused {said.refused}"
    return redirect(request, f"/payouts/batches/{batch_id}", toast=toast)


ROUTES = [show_rules, set_limits, set_thresholds, set_funding, list_batches, show_batch, download_batch, hand_in_batch, read_batch_status]
