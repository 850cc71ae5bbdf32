"""What waits for a person, and what is done about it."""

from uuid import UUID

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import parse_id
from app.core.money import Money
from app.reconciliation import queries
from app.reconciliation.breaks import flows
from app.reconciliation.breaks import queries as break_queries
from app.reconciliation.breaks import service as breaks
from app.reconciliation.domain.breaks import MONEY_ACTIONS, MOST_AT_ONCE, BulkAction, NothingChosen
from app.reconciliation.domain.journals import Target
from app.reconciliation.schemas.breaks import BreakFilter, ChosenPage, ChosenRow
from app.reconciliation.schemas.forms import AdjustForm, ApproveForm, ChosenForm, LinkForm, ReasonForm
from app.tenancy import queries as tenancy
from app.web.context import HttpRequest
from app.web.downloads import csv_download
from app.web.forms import InvalidForm, read_form
from app.web.guards import may_export, requires
from app.web.rendering import answer_invalid_with, redirect, render

READ, WRITE, APPROVE = "reconciliation.read", "reconciliation.write", "reconciliation.approve"
BASE = "/reconciliation"
BREAK, CHOSEN = "reconciliation/break.html", "reconciliation/chosen.html"
SAME_ADDRESS = {"HX-Push-Url": "false"}
"""For answers to a POST that are no page of their own: the address stays that of the list."""


@get(f"{BASE}/breaks", name="reconciliation:breaks", guards=[requires(READ)])
async def list_breaks(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """What waits for a person."""
    page = await break_queries.break_list_page(session, actor, chosen=_filter(request), after=request.query_params.get("after"))
    return render(request, "reconciliation/breaks.html", page)


def _filter(request: HttpRequest) -> BreakFilter:
    asked = request.query_params
    return BreakFilter(**{name: asked.get(name, "") for name in BreakFilter.__struct_fields__})


@get(f"{BASE}/breaks.csv", name="reconciliation:export", guards=[may_export()])
async def export_breaks(request: HttpRequest, actor: NamedDependency[Actor]) -> Stream:
    """The list of breaks as a file."""
    return csv_download("breaks", break_queries.CSV_COLUMNS, break_queries.break_rows(actor, chosen=_filter(request)))


@post(f"{BASE}/breaks/chosen", name="reconciliation:chosen", status_code=200, guards=[requires(WRITE)])
async def choose_breaks(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """What would come of something that is done about several breaks; nothing is done yet."""
    page = await _tried(session, actor, await read_form(request, ChosenForm))
    return render(request, CHOSEN, page, headers=SAME_ADDRESS)


@post(f"{BASE}/breaks/chosen/do", name="reconciliation:chosen_do", status_code=200, guards=[requires(WRITE)])
async def do_chosen(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Take, assign or park several breaks; each by itself."""
    form = await read_form(request, ChosenForm)
    if form.action in MONEY_ACTIONS:
        raise NothingChosen("This moves money; look at it first.")
    if form.action is BulkAction.ASSIGN and not form.person:
        await _ask_again(request, session, actor, form, {"person": "Choose somebody."})
    rows = await flows.do_each(actor, _step(form), _chosen(form))
    return render(request, CHOSEN, await _chosen_page(session, actor, form, rows, is_done=True), headers=SAME_ADDRESS)


@post(f"{BASE}/breaks/chosen/book", name="reconciliation:chosen_book", status_code=200, guards=[requires(WRITE, fresh=True)])
async def book_chosen(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Write off or move what several breaks leave over; each by itself."""
    form = await read_form(request, ChosenForm)
    if form.action not in MONEY_ACTIONS:
        raise NothingChosen("Choose what is to be written off or moved.")
    if form.action is BulkAction.MOVE and (form.target is None or not form.reason):
        wrong = {} if form.target else {"target": "Choose an account."}
        await _ask_again(request, session, actor, form, wrong if form.reason else wrong | {"reason": "Say why."})
    rows = await flows.do_each(actor, _step(form), _chosen(form))
    return render(request, CHOSEN, await _chosen_page(session, actor, form, rows, is_done=True), headers=SAME_ADDRESS)


def _chosen(form: ChosenForm) -> list[UUID]:
    ids = list(dict.fromkeys(queries.break_id(text) for text in form.id))
    if not ids:
        raise NothingChosen("Tick the breaks first, then say what is to be done about them.")
    if len(ids) > MOST_AT_ONCE:
        raise NothingChosen(f"At most {MOST_AT_ONCE} at once.")
    return ids


def _step(form: ChosenForm, *, target: Target | None = None) -> flows.Step:
    member = parse_id("mem", form.person) if form.person else None
    return flows.Step(action=form.action, reason=form.reason, member_id=member, target=form.target or target)


async def _tried(session: AsyncSession, actor: Actor, form: ChosenForm) -> ChosenPage:
    # any account gives the same answer: whether something is left over, and how much
    rows = await flows.try_each(actor, _step(form, target=Target.PSP_FEE), _chosen(form))
    return await _chosen_page(session, actor, form, rows)


async def _chosen_page(
    session: AsyncSession, actor: Actor, form: ChosenForm, rows: list[ChosenRow], *, is_done: bool = False
) -> ChosenPage:
    people = [(member.id, member.name) for member in (await tenancy.team(session, actor)).members]
    return ChosenPage(action=form.action, rows=rows, is_done=is_done, people=people)


async def _ask_again(request: HttpRequest, session: AsyncSession, actor: Actor, form: ChosenForm, wrong: dict[str, str]) -> None:
    """Show what was chosen again, with what is wrong."""
    answer_invalid_with(request, CHOSEN, await _tried(session, actor, form))
    raise InvalidForm("Some of it cannot be accepted.", fields=wrong)


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
    """Approve what somebody else asked for."""
    await _refusing(request, session, actor, break_id)
    form = await read_form(request, ApproveForm)
    await breaks.approve(session, actor, break_id=queries.break_id(break_id), seen=form.amount, seen_parts=form.parts)
    return _done(request, break_id, f"{abs(form.amount).format()} {'moved' if form.parts else 'written off'}")


@post(f"{BASE}/breaks/{{break_id:str}}/reject", name="reconciliation:reject", status_code=200, guards=[requires(APPROVE, fresh=True)])
async def reject_write_off(
    request: HttpRequest, break_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Refuse what somebody asked for."""
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
    found = await breaks.adjust(session, actor, break_id=queries.break_id(break_id), parts=parts, reason=reason)
    return _done(request, break_id, "Moved" if found.status == "resolved" else "Somebody else has to approve this now")


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
    choose_breaks,
    do_chosen,
    book_chosen,
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
