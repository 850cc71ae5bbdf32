"""Pages about reconciliation."""

from typing import BinaryIO, cast

from litestar import get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import ConnectionId, parse_id, path_id, public_id
from app.core.money import Money
from app.psp.domain import connection_id_of
from app.reconciliation import queries
from app.reconciliation.breaks import queries as break_queries
from app.reconciliation.breaks import service as breaks
from app.reconciliation.domain.breaks import FileNotFound
from app.reconciliation.domain.formats import CSV
from app.reconciliation.domain.formats.mapped import ColumnMapping
from app.reconciliation.domain.journals import Target
from app.reconciliation.files import service as files
from app.reconciliation.invariants import queries as invariant_queries
from app.reconciliation.invariants import service as invariants
from app.reconciliation.runs import queries as run_queries
from app.reconciliation.runs import service as runs
from app.reconciliation.schemas.forms import AdjustForm, ApproveForm, LinkForm, MappingForm, ReasonForm, SourceForm
from app.reconciliation.sources import queries as source_queries
from app.reconciliation.sources import service as sources
from app.web.context import HttpRequest
from app.web.downloads import csv_download
from app.web.forms import InvalidForm, read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

READ, WRITE, APPROVE = "reconciliation.read", "reconciliation.write", "reconciliation.approve"
MAX_FILE = 50 << 20
BASE = "/reconciliation"
BREAK = "reconciliation/break.html"


@get(BASE, name="reconciliation:overview", guards=[requires(READ)])
async def show_overview(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Where reconciliation stands."""
    return render(request, "reconciliation/overview.html", await run_queries.overview_page(session, merchant_id=actor.merchant))


@post(f"{BASE}/runs", name="reconciliation:compare", status_code=200, guards=[requires(WRITE)])
async def compare(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Compare everything now."""
    run = await runs.compare(session, actor)
    return redirect(request, f"{BASE}/runs/{public_id(run_queries.RUN, run.id)}", toast=f"Compared: {run.open_breaks} breaks are open")


@get(f"{BASE}/runs/{{run_id:str}}", name="reconciliation:run", guards=[requires(READ)])
async def show_run(
    request: HttpRequest, run_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One run."""
    page = await run_queries.run_page(session, merchant_id=actor.merchant, run_id=run_queries.run_id(run_id))
    return render(request, "reconciliation/run.html", page)


@get(f"{BASE}/breaks", name="reconciliation:breaks", guards=[requires(READ)])
async def list_breaks(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """What waits for a person."""
    asked = request.query_params
    page = await break_queries.break_list_page(
        session, merchant_id=actor.merchant, status=asked.get("status", ""), kind=asked.get("kind", ""), after=asked.get("after")
    )
    return render(request, "reconciliation/breaks.html", page)


@get(f"{BASE}/breaks.csv", name="reconciliation:export", guards=[requires("reports.export", fresh=True)])
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


@post(f"{BASE}/breaks/{{break_id:str}}/reject", name="reconciliation:reject", status_code=200, guards=[requires(APPROVE, fresh=True)])
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


@get(f"{BASE}/sources", name="reconciliation:sources", guards=[requires(READ)])
async def list_sources(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Where files come from."""
    return render(request, "reconciliation/sources.html", await source_queries.source_list_page(session, merchant_id=actor.merchant))


@get(f"{BASE}/sources/new", name="reconciliation:new_source", guards=[requires(WRITE)])
async def new_source(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """The form of a new source."""
    page = await source_queries.source_form_page(session, merchant_id=actor.merchant)
    return render(request, "reconciliation/new_source.html", page, fragment="reconciliation/_source.html")


@post(f"{BASE}/sources", name="reconciliation:add_source", status_code=200, guards=[requires(WRITE)])
async def add_source(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Add a source."""
    page = await source_queries.source_form_page(session, merchant_id=actor.merchant)
    answer_invalid_with(request, "reconciliation/new_source.html", page, fragment="reconciliation/_source.html")
    form = await read_form(request, SourceForm)
    connection = ConnectionId(connection_id_of(form.connection)) if form.connection else None
    source = await sources.add_source(session, actor, name=form.name, format=form.format, connection_id=connection)
    return redirect(request, f"{BASE}/sources/{public_id(queries.SOURCE, source.id)}", toast=f"{source.name} was added")


@get(f"{BASE}/sources/mapping", name="reconciliation:new_mapping", guards=[requires(WRITE)])
async def new_mapping(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """The form of a new CSV source."""
    return render(request, "reconciliation/mapping.html", await source_queries.mapping_page(session, merchant_id=actor.merchant))


@post(f"{BASE}/sources/mapping", name="reconciliation:add_mapping", status_code=200, guards=[requires(WRITE)])
async def add_mapping(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Add a source whose CSV files are read by a mapping."""
    answer_invalid_with(request, "reconciliation/mapping.html", await source_queries.mapping_page(session, merchant_id=actor.merchant))
    named, form = await read_form(request, SourceForm), await read_form(request, MappingForm)
    connection = ConnectionId(connection_id_of(named.connection)) if named.connection else None
    source = await sources.add_source(session, actor, name=named.name, format=CSV, connection_id=connection, mapping=_mapping(form))
    return redirect(request, f"{BASE}/sources/{public_id(queries.SOURCE, source.id)}", toast=f"{source.name} was added")


def _mapping(form: MappingForm) -> ColumnMapping:
    return ColumnMapping(
        columns=form.columns(),
        kinds=form.kinds(),
        side=form.side,
        delimiter=form.delimiter,
        encoding=form.encoding,
        skip_lines=form.skip_lines,
        decimal_comma=form.decimal_comma,
        minor_units=form.minor_units,
        date_format=form.date_format,
        time_zone=form.time_zone,
        currency=form.currency,
        fee_is_negative=form.fee_is_negative,
        closes_to_zero=form.closes_to_zero,
    )


@get(f"{BASE}/sources/{{source_id:str}}", name="reconciliation:source", guards=[requires(READ)])
async def show_source(
    request: HttpRequest, source_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One source with its files."""
    after = request.query_params.get("after")
    page = await source_queries.source_page(session, merchant_id=actor.merchant, source_id=queries.source_id(source_id), after=after)
    return render(request, "reconciliation/source.html", page)


@post(
    f"{BASE}/sources/{{source_id:str}}/files",
    name="reconciliation:upload",
    status_code=200,
    guards=[requires(WRITE)],
    request_max_body_size=MAX_FILE + (1 << 16),
)
async def upload_file(
    request: HttpRequest, source_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Hand a file in; it is read as a stream, and everything is compared when it was taken."""
    source = await queries.source(session, merchant_id=actor.merchant, source_id=queries.source_id(source_id))
    page = await source_queries.source_page(session, merchant_id=actor.merchant, source_id=source.id)
    answer_invalid_with(request, "reconciliation/source.html", page)
    given = (await request.form()).get("file")
    if not isinstance(given, UploadFile) or not given.filename:
        raise InvalidForm("Some of it cannot be accepted.", fields={"file": "Choose a file."})
    file = await files.import_file(session, actor, source=source, name=given.filename, content=cast(BinaryIO, given.file))
    if file.status == "imported":
        await runs.compare(session, actor)
    toast = f"{file.lines:,} lines were read" if file.status == "imported" else "The file was refused"
    return redirect(request, f"{BASE}/files/{public_id(queries.FILE, file.id)}", toast=toast)


@get(f"{BASE}/files/{{file_id:str}}", name="reconciliation:file", guards=[requires(READ)])
async def show_file(
    request: HttpRequest, file_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One file: what it proved, or why it was refused."""
    found = path_id(queries.FILE, file_id, otherwise=FileNotFound("There is no file with this id for this merchant."))
    return render(request, "reconciliation/file.html", await source_queries.file_page(session, merchant_id=actor.merchant, file_id=found))


@get(f"{BASE}/invariants", name="reconciliation:invariants", guards=[requires(READ)])
async def show_invariants(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """The nightly proof."""
    page = await invariant_queries.invariant_page(session, merchant_id=actor.merchant)
    return render(request, "reconciliation/invariants.html", page)


@post(f"{BASE}/invariants", name="reconciliation:prove", status_code=200, guards=[requires(WRITE)])
async def check_invariants(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Prove it now."""
    proof = await invariants.check(session, actor)
    return redirect(request, f"{BASE}/invariants", toast="Everything holds" if proof.is_sound else "Something does not hold")


ROUTES = [
    show_invariants,
    check_invariants,
    show_overview,
    compare,
    show_run,
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
    list_sources,
    new_source,
    add_source,
    new_mapping,
    add_mapping,
    show_source,
    upload_file,
    show_file,
]
