"""Reads about sources and their files."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import today
from app.core.ids import ConnectionId, MerchantId, public_id
from app.core.money import Money
from app.core.paging import fetch_page
from app.core.settings import settings
from app.payouts import queries as payouts
from app.psp import queries as psp
from app.reconciliation import queries
from app.reconciliation.domain.arrivals import UNDER_WAY
from app.reconciliation.domain.feeds import FetchOutcome
from app.reconciliation.domain.formats import FORMATS
from app.reconciliation.models import Source, SourceFile
from app.reconciliation.models.arrivals import Arrival, Feed
from app.reconciliation.schemas import FilePage, FileRow, MappingPage, SourceFormPage, SourceListPage, SourceRow
from app.reconciliation.schemas.arrivals import ArrivalRow, FeedRow, SourcePage

MOST_PROBLEMS, MOST_UNDER_WAY = 50, 20
FIRST_LOOK = timedelta(days=7)
_ROWS = text("""
select s.id, s.name, s.side, s.format, coalesce(f.files, 0) as files, coalesce(f.refused, 0) as refused, f.newest_at, coalesce(b.breaks, 0) as breaks
  from recon_source s
  left join (select source_id, count(*) as files, count(*) filter (where status = 'refused') as refused, max(imported_at) as newest_at
               from recon_file where merchant_id = :merchant group by 1) f on f.source_id = s.id
  left join (select source_id, count(*) as breaks from recon_break where merchant_id = :merchant and status in ('open', 'parked', 'awaiting_approval') group by 1) b
    on b.source_id = s.id
 where s.merchant_id = :merchant and (cast(:source as uuid) is null or s.id = :source) order by s.name
""")
_PROBLEMS = text(
    "select content ->> 'number' as number, content ->> 'ext_id' as ext_id, content ->> 'problem' as problem from recon_line"
    " where merchant_id = :merchant and file_id = :file and content ->> 'problem' is not null order by ordinal limit :most"
)


async def source_rows(session: AsyncSession, *, merchant_id: MerchantId, source_id: UUID | None = None) -> list[SourceRow]:
    """Every source, or one, with how its files fare."""
    return [
        SourceRow(
            id=public_id(queries.SOURCE, row.id),
            name=row.name,
            side=row.side,
            format=FORMATS[row.format].title,
            files=row.files,
            refused=row.refused,
            newest_at=row.newest_at,
            open_breaks=row.breaks,
        )
        for row in await session.execute(_ROWS, {"merchant": merchant_id, "source": source_id})
    ]


async def source_list_page(session: AsyncSession, *, merchant_id: MerchantId) -> SourceListPage:
    """Every source."""
    return SourceListPage(sources=await source_rows(session, merchant_id=merchant_id))


async def source_form_page(session: AsyncSession, *, merchant_id: MerchantId) -> SourceFormPage:
    """The form of a new source."""
    return SourceFormPage(connections=await _free_connections(session, merchant_id), banks=await _free_banks(session, merchant_id))


async def mapping_page(session: AsyncSession, *, merchant_id: MerchantId) -> MappingPage:
    """The form of a new CSV source."""
    return MappingPage(connections=await _free_connections(session, merchant_id), banks=await _free_banks(session, merchant_id))


async def _free_connections(session: AsyncSession, merchant_id: MerchantId) -> list[tuple[str, str]]:
    names = await psp.connection_names(session, merchant_id=merchant_id)
    taken = {source.connection_id for source in await queries.sources(session, merchant_id=merchant_id)}
    return [(public_id("con", connection_id), name) for connection_id, name in names.items() if connection_id not in taken]


async def _free_banks(session: AsyncSession, merchant_id: MerchantId) -> list[tuple[str, str]]:
    accounts = await payouts.funding_accounts(session, merchant_id=merchant_id)
    taken = {source.funding_account_id for source in await queries.sources(session, merchant_id=merchant_id)}
    return [
        (public_id(queries.FUNDING, account.id), f"{account.name}, {account.currency}") for account in accounts if account.id not in taken
    ]


async def source_page(
    session: AsyncSession, *, merchant_id: MerchantId, source_id: UUID, reporting: Collection[str], after: str | None = None
) -> SourcePage:
    """One source with its files, newest first; ``reporting`` are the providers whose reports can be fetched."""
    source = await queries.source(session, merchant_id=merchant_id, source_id=source_id)
    statement = select(SourceFile.id, SourceFile).where(SourceFile.merchant_id == merchant_id, SourceFile.source_id == source_id)
    files = await fetch_page(session, statement, keys=[SourceFile.id], after=after)
    (row,) = await source_rows(session, merchant_id=merchant_id, source_id=source_id)
    under_way = await _under_way(session, source)
    names = await psp.connections_of(session, merchant_id=merchant_id, providers=reporting)
    own = {id: name for id, name in names.items() if source.connection_id in (None, id)}
    return SourcePage(
        source=row,
        feed=await _feed(session, source, names),
        feed_connections=[(public_id("con", connection_id), name) for connection_id, name in own.items()],
        first_day=today() - FIRST_LOOK,
        drop_folder=f"{public_id('mer', merchant_id)}/{row.id}" if settings().drop_folder else None,
        under_way=under_way,
        files=files.map(lambda found: _file(found.SourceFile, source)),
    )


async def _feed(session: AsyncSession, source: Source, names: Mapping[ConnectionId, str]) -> FeedRow | None:
    statement = select(Feed).where(Feed.merchant_id == source.merchant_id, Feed.source_id == source.id)
    found = (await session.execute(statement)).scalar_one_or_none()
    if found is None:
        return None
    return FeedRow(
        connection=names.get(ConnectionId(found.connection_id), "–"),
        connection_id=public_id("con", found.connection_id),
        minutes=found.minutes,
        since=found.since,
        is_on=found.is_on,
        next_at=found.next_at,
        tried_at=found.tried_at,
        outcome=FetchOutcome(found.outcome) if found.outcome else None,
        reason=found.reason,
        tries=found.tries,
        is_looking=found.claim is not None,
    )


async def _under_way(session: AsyncSession, source: Source) -> list[ArrivalRow]:
    """What is being read for a source now."""
    statement = select(Arrival).where(
        Arrival.merchant_id == source.merchant_id, Arrival.source_id == source.id, Arrival.status.in_(UNDER_WAY)
    )
    rows = (await session.execute(statement.order_by(Arrival.id.desc()).limit(MOST_UNDER_WAY))).scalars()
    return [ArrivalRow.of(row, source) for row in rows]


async def file_row(session: AsyncSession, *, merchant_id: MerchantId, file_id: UUID) -> FileRow:
    """One file in a line."""
    file = await queries.source_file(session, merchant_id=merchant_id, file_id=file_id)
    return _file(file, await queries.source(session, merchant_id=merchant_id, source_id=file.source_id))


async def file_page(session: AsyncSession, *, merchant_id: MerchantId, file_id: UUID) -> FilePage:
    """One file: its control totals, and the lines that could not be read."""
    file = await queries.source_file(session, merchant_id=merchant_id, file_id=file_id)
    source = await queries.source(session, merchant_id=merchant_id, source_id=file.source_id)
    found = await session.execute(_PROBLEMS, {"merchant": merchant_id, "file": file_id, "most": MOST_PROBLEMS})
    return FilePage(
        file=_file(file, source),
        totals=[
            (
                str(total["batch"] or "–"),
                int(total["count"]),
                *(Money(int(total[name]), str(total["currency"])) for name in ("gross_minor", "fee_minor", "net_minor")),
                bool(total["is_proven"]),
            )  # type: ignore[misc]
            for total in file.totals
        ],
        problems=[(int(row.number), row.ext_id or "–", row.problem) for row in found],
    )


def _file(file: SourceFile, source: Source) -> FileRow:
    return FileRow(
        id=public_id(queries.FILE, file.id),
        name=file.name,
        status=file.status,
        lines=file.lines,
        new_lines=file.new_lines,
        problems=file.problems,
        size_bytes=file.size_bytes,
        at=file.imported_at,
        by=file.imported_by,
        reason=file.reason,
        reason_line=file.reason_line,
        sha256=file.sha256,
        source_id=public_id(queries.SOURCE, source.id),
        source=source.name,
    )
