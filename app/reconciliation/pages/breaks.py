"""What waits for a person, and what is done about it."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import parse_id
from app.core.money import Money
from app.reconciliation import queries
from app.reconciliation.breaks import queries as break_queries
from app.reconciliation.breaks import service as breaks
from app.reconciliation.domain.journals import Target
from app.reconciliation.schemas.forms import AdjustForm, ApproveForm, LinkForm, ReasonForm
from app.web.context import HttpRequest
from app.web.downloads import csv_download
from app.web.forms import InvalidForm, read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

READ, WRITE, APPROVE = "reconciliation.read", "reconciliation.write", "reconciliation.approve"
BASE = "/reconciliation"
BREAK = "reconciliation/break.html"


@get(f"{BASE}/breaks", name="reconciliation:breaks", guards=[requires(READ)])
async def list_breaks(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """What waits for a person."""
    asked = request.query_params
    page = await break_queries.break_list_page(
        session, merchant_id=actor.merchant, status=asked.get("status", ""), kind=asked.get("kind", ""), after=asked.get("after")
    )
    return render(request, "reconciliation/breaks.html", page)


@get(f"{BASE}/breaks.csv", name="reconciliation:export", guards=[requires("reports.export")])
async def export_breaks(request: HttpRequest, actor: NamedDependency[Actor]) -> Stream:
    """The list of breaks as a file."""
    asked = request.query_params
    rows = break_queries.break_rows(actor.merchant, status=asked.get("status", ""), kind=asked.get("kind", ""))
    return csv_download("breaks", break_queries.CSV_COLUMNS, rows)


@get(f"{BASE}/breaks/{{break_id:str}}", name="reconciliation:break", guards=[requires(READ)])
async def show_break(
    request: HttpRequest, break_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One break."""
    return render(request, BREAK, await break_queries.break_page(session, actor, break_id=queries.break_id(break_id)))


async def _refusing(request: HttpRequest, session: AsyncSession, actor: Actor, break_id: str) -> None:
    """Show the break again should a step be refused."""
    answer_invalid_with(request, BREAK, await break_queries.break_page(session, actor, break_id=queries.break_id(break_id)))


def _done(request: HttpRequest, break_id: str, toast: str) -> Response[str]:
    return redirect(request, f"{BASE}/breaks/{break_id}", toast=toast)


@post(f"{BASE}/breaks/{{break_id:str}}/claim", name="reconciliation:claim", status_code=200, guards=[requires(WRITE)])
async def claim_break(
    request: HttpRequest, break_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Say that you look after a break."""
    await breaks.claim(session, actor, break_id=queries.break_id(break_id))
    return _done(request, break_id, "The break is yours")


@post(f"{BASE}/breaks/{{break_id:str}}/park", name="reconciliation:park", status_code=200, guards=[requires(WRITE)])
async def park_break(
    request: HttpRequest, break_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Put a break aside."""
    await _refusing(request, session, actor, break_id)
    form = await read_form(request, ReasonForm)
    await breaks.park(session, actor, break_id=queries.break_id(break_id), reason=form.reason)
    return _done(request, break_id, "Parked")


@post(f"{BASE}/breaks/{{break_id:str}}/unpark", name="reconciliation:unpark", status_code=200, guards=[requires(WRITE)])
async def unpark_break(
    request: HttpRequest, break_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Take a break up again."""
    await breaks.unpark(session, actor, break_id=queries.break_id(break_id))
    return _done(request, break_id, "The break is open again")


@post(f"{BASE}/breaks/{{break_id:str}}/write-off", name="reconciliation:write_off", status_code=200, guards=[requires(WRITE, fresh=True)])
async def write_off_break(
    request: HttpRequest, break_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Write off what is left over, or ask for it above the limit."""
    await _refusing(request, session, actor, break_id)
    form = await read_form(request, ReasonForm)
    found = await breaks.write_off(session, actor, break_id=queries.break_id(break_id), reason=form.reason)
    return _done(request, break_id, "Written off" if found.status == "resolved" else "Somebody else has to approve this now")


@post(f"{BASE}/breaks/{{break_id:str}}/approve", name="reconciliation:approve", status_code=200, guards=[requires(APPROVE, fresh=True)])
async def approve_write_off(
    request: HttpRequest, break_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Approve a write-off somebody else asked for."""
    await _refusing(request, session, actor, break_id)
    form = await read_form(request, ApproveForm)
    await breaks.approve(session, actor, break_id=queries.break_id(break_id), seen=form.amount)
    return _done(request, break_id, f"{abs(form.amount).format()} written off")


@post(f"{BASE}/breaks/{{break_id:str}}/reject", name="reconciliation:reject", status_code=200, guards=[requires(APPROVE)])
async def reject_write_off(
    request: HttpRequest, break_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Refuse a write-off."""
    form = await read_form(request, ReasonForm)
    await breaks.reject(session, actor, break_id=queries.break_id(break_id), reason=form.reason)
    return _done(request, break_id, "Refused; the break is open again")


@post(f"{BASE}/breaks/{{break_id:str}}/adjust", name="reconciliation:adjust", status_code=200, guards=[requires(WRITE, fresh=True)])
async def adjust_break(
    request: HttpRequest, break_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Move what is left over where it belongs, in one or two parts."""
    await _refusing(request, session, actor, break_id)
    parts, reason = _parts(await read_form(request, AdjustForm))
    await breaks.adjust(session, actor, break_id=queries.break_id(break_id), parts=parts, reason=reason)
    return _done(request, break_id, "Moved")


def _parts(form: AdjustForm) -> tuple[dict[Target, Money], str]:
    parts = {form.target: form.amount}
    if form.other_target is not None and form.other_amount is not None:
        if form.other_target in parts:
            raise InvalidForm("Some of it cannot be accepted.", fields={"other_target": "Choose another account than the first."})
        parts[form.other_target] = form.other_amount
    return parts, form.reason


@post(f"{BASE}/breaks/{{break_id:str}}/link", name="reconciliation:link", status_code=200, guards=[requires(WRITE, fresh=True)])
async def link_break(
    request: HttpRequest, break_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Say what a break is the same money as."""
    await _refusing(request, session, actor, break_id)
    form = await read_form(request, LinkForm)
    other = parse_id(break_queries.ITEM, form.item)
    await breaks.link(session, actor, break_id=queries.break_id(break_id), other_id=other, reason=form.reason)
    return _done(request, break_id, "Linked")


@post(f"{BASE}/breaks/{{break_id:str}}/reopen", name="reconciliation:reopen", status_code=200, guards=[requires(WRITE, fresh=True)])
async def reopen_break(
    request: HttpRequest, break_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Take a resolution back."""
    await _refusing(request, session, actor, break_id)
    form = await read_form(request, ReasonForm)
    await breaks.reopen(session, actor, break_id=queries.break_id(break_id), reason=form.reason)
    return _done(request, break_id, "Open again; what was written is reversed")


ROUTES = [
    list_breaks,
    export_breaks,
    show_break,
    claim_break,
    park_break,
    unpark_break,
    write_off_break,
    approve_write_off,
    reject_write_off,
    adjust_break,
    link_break,
    reopen_break,
]
