"""Where files come from, the files, and those on their way in."""

from typing import BinaryIO, cast

from litestar import get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import ConnectionId, path_id, public_id
from app.psp import service as psp
from app.psp.domain import connection_id_of
from app.reconciliation import queries
from app.reconciliation.arrivals import queries as arrival_queries
from app.reconciliation.arrivals import service as arrivals
from app.reconciliation.domain.arrivals import MAX_FILE, ArrivalStatus
from app.reconciliation.domain.breaks import FileNotFound
from app.reconciliation.domain.feeds import EVERY
from app.reconciliation.domain.formats import CSV
from app.reconciliation.domain.formats.mapped import ColumnMapping
from app.reconciliation.feeds import service as feeds
from app.reconciliation.files import service as files
from app.reconciliation.schemas.arrivals import SourcePage
from app.reconciliation.schemas.forms import FeedForm, MappingForm, SourceForm
from app.reconciliation.sources import queries as source_queries
from app.reconciliation.sources import service as sources
from app.web.context import HttpRequest
from app.web.downloads import file_download
from app.web.forms import InvalidForm, read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

READ, WRITE = "reconciliation.read", "reconciliation.write"
BASE = "/reconciliation"
SOURCE_PAGE = "reconciliation/source.html"
FORM_AROUND_IT = 1 << 16
"""Room for the other fields of the form and the lines between its parts."""


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
    bank = queries.funding_id(form.bank) if form.bank else None
    source = await sources.add_source(
        session,
        actor,
        name=form.name,
        format=form.format,
        connection_id=connection,
        funding_id=bank,
        time_zone=form.time_zone,
        file_days=form.file_days,
    )
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
    bank = queries.funding_id(named.bank) if named.bank else None
    source = await sources.add_source(
        session, actor, name=named.name, format=CSV, connection_id=connection, funding_id=bank, mapping=_mapping(form)
    )
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
    return render(request, SOURCE_PAGE, await _source_page(session, actor, source_id, after=request.query_params.get("after")))


async def _source_page(session: AsyncSession, actor: Actor, source_id: str, *, after: str | None = None) -> SourcePage:
    reporting, found = psp.reporting_providers(), queries.source_id(source_id)
    return await source_queries.source_page(session, merchant_id=actor.merchant, source_id=found, reporting=reporting, after=after)


@post(f"{BASE}/sources/{{source_id:str}}/feed", name="reconciliation:set_feed", status_code=200, guards=[requires(WRITE)])
async def set_feed(
    request: HttpRequest, source_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Say from where a source's reports are fetched, and how often."""
    answer_invalid_with(request, SOURCE_PAGE, await _source_page(session, actor, source_id))
    form = await read_form(request, FeedForm)
    source = await queries.source(session, merchant_id=actor.merchant, source_id=queries.source_id(source_id))
    connection = ConnectionId(connection_id_of(form.feed_connection)) if form.feed_connection else None
    await feeds.set_feed(session, actor, source=source, connection_id=connection, minutes=form.minutes, since=form.since, is_on=form.is_on)
    toast = f"{EVERY[form.minutes]}, beginning now" if form.is_on else "Nothing is fetched by the clock any more"
    return redirect(request, f"{BASE}/sources/{source_id}", toast=toast)


@post(f"{BASE}/sources/{{source_id:str}}/fetch", name="reconciliation:fetch", status_code=200, guards=[requires(WRITE)])
async def fetch_now(
    request: HttpRequest, source_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Look for a source's new reports now."""
    source = await queries.source(session, merchant_id=actor.merchant, source_id=queries.source_id(source_id))
    await feeds.ask_now(session, actor, source=source)
    return redirect(request, f"{BASE}/sources/{source_id}", toast="Somebody is looking now; what is new appears here")


@post(
    f"{BASE}/sources/{{source_id:str}}/files",
    name="reconciliation:upload",
    status_code=200,
    guards=[requires(WRITE)],
    request_max_body_size=MAX_FILE + FORM_AROUND_IT,
)
async def upload_file(
    request: HttpRequest, source_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Hand a file in. Its bytes are stored as they come; a job reads them, and the page it leads to shows how far that is."""
    answer_invalid_with(request, SOURCE_PAGE, await _source_page(session, actor, source_id))
    source = await queries.source(session, merchant_id=actor.merchant, source_id=queries.source_id(source_id))
    given = (await request.form()).get("file")
    if not isinstance(given, UploadFile) or not given.filename:
        raise InvalidForm("Some of it cannot be accepted.", fields={"file": "Choose a file."})
    arrival = await arrivals.receive(session, actor, source=source, name=given.filename, content=cast(BinaryIO, given.file))
    if arrival.status == ArrivalStatus.REPEATED and arrival.file_id is not None:
        return redirect(
            request, f"{BASE}/files/{public_id(queries.FILE, arrival.file_id)}", toast="This file was taken before; nothing changed"
        )
    return redirect(request, f"{BASE}/arrivals/{public_id(queries.ARRIVAL, arrival.id)}", toast="The file is here and is being read")


@get(f"{BASE}/arrivals/{{arrival_id:str}}", name="reconciliation:arrival", guards=[requires(READ)])
async def show_arrival(
    request: HttpRequest, arrival_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """How far a file is on its way in, and what came of it; asked for again until it has arrived."""
    page = await arrival_queries.arrival_page(session, merchant_id=actor.merchant, arrival_id=queries.arrival_id(arrival_id))
    return render(request, "reconciliation/arrival.html", page, fragment="reconciliation/_arrival.html")


@post(f"{BASE}/arrivals/{{arrival_id:str}}/again", name="reconciliation:read_again", status_code=200, guards=[requires(WRITE)])
async def read_again(
    request: HttpRequest, arrival_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Go on with a file that nobody reads any more."""
    await arrivals.ask_again(session, actor, arrival_id=queries.arrival_id(arrival_id))
    return redirect(request, f"{BASE}/arrivals/{arrival_id}", toast="Somebody goes on with it now")


@get(f"{BASE}/files/{{file_id:str}}", name="reconciliation:file", guards=[requires(READ)])
async def show_file(
    request: HttpRequest, file_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One file: what it proved, or why it was refused."""
    found = path_id(queries.FILE, file_id, otherwise=FileNotFound("There is no file with this id for this merchant."))
    return render(request, "reconciliation/file.html", await source_queries.file_page(session, merchant_id=actor.merchant, file_id=found))


@get(f"{BASE}/files/{{file_id:str}}/content", name="reconciliation:download", guards=[requires("reports.export", fresh=True)])
async def download_file(file_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Stream:
    """A file as it was handed in, byte for byte."""
    found = path_id(queries.FILE, file_id, otherwise=FileNotFound("There is no file with this id for this merchant."))
    file = await files.download(session, actor, file_id=found)
    return file_download(file.name, queries.file_bytes(actor.merchant, file.id))


ROUTES = [
    list_sources,
    new_source,
    add_source,
    new_mapping,
    add_mapping,
    show_source,
    set_feed,
    fetch_now,
    upload_file,
    show_arrival,
    read_again,
    show_file,
    download_file,
]
