"""Taking files in: read once as a stream, kept byte for byte, refused whole when they do not prove themselves."""

import asyncio
import hashlib
import tempfile
import zlib
from collections.abc import Iterable
from typing import BinaryIO
from uuid import UUID

import msgspec
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now, today
from app.core.db import driver
from app.core.errors import Invalid
from app.core.ids import new_id
from app.reconciliation import queries
from app.reconciliation.domain import formats, staging
from app.reconciliation.domain.breaks import SLA_DAYS, BreakKind, business_days_after
from app.reconciliation.domain.formats.mapped import ColumnMapping
from app.reconciliation.domain.lines import FileRefused, Tally
from app.reconciliation.models import Break, FilePart, Source, SourceFile

MINUTES = 10
PART = 1 << 20
SORT_MEMORY = "128MB"

_TABLE = (
    'create temp table recon_staged (ordinal bigint, side text, kind text, raw_type text, ext_id text collate "C", parent_ref text, our_id uuid, merchant_ref text,'
    " batch_ref text, refs text[], words text, currency text, gross_minor bigint, net_currency text, fee_minor bigint, net_minor bigint,"
    " happened_at timestamptz, day date, content jsonb) on commit drop"
)
_COPY = f"copy recon_staged ({', '.join(staging.COLUMNS)}) from stdin (null '')"
_INSERT = """
insert into recon_item as i (merchant_id, id, source_id, file_id, ordinal, side, kind, raw_type, ext_id, parent_ref, our_id, merchant_ref, batch_ref,
    refs, words, currency, gross_minor, net_currency, fee_minor, net_minor, happened_at, day, clear_key, created_at)
  select :merchant, numbered_id(:first, row_number() over ()), :source, :file, ordinal, side, kind, coalesce(raw_type, ''), ext_id, parent_ref, our_id, merchant_ref, batch_ref,
         coalesce(refs, '{}'), words, currency, gross_minor, net_currency, fee_minor, net_minor, happened_at, day,
         side || ':' || :source || ':' || ext_id || case side when 'psp' then ':' || kind else '' end, :at
"""
_ITEMS = f"{_INSERT} from recon_staged where net_minor is not null"
# Nearly always every line is new. In the order of their keys, which providers give at random, they find their places in the index side by side.
# What is there already is left out beforehand, under the source's lock: telling the database what to do with a conflict costs each line that has none.
_LOCK = text("select pg_advisory_xact_lock(hashtextextended(cast(:source as text), 4219))")
_NEW = text(f"""{_INSERT} from (
    select s.*, row_number() over (partition by s.ext_id, s.side, s.kind order by s.ordinal) as copy
      from recon_staged s where s.net_minor is not null) s
   where copy = 1 and not exists (
     select from recon_item k where k.merchant_id = :merchant and k.source_id = :source and k.side = s.side and k.ext_id = s.ext_id and k.kind = s.kind)
""")  # noqa: S608 - constants of this module
_READABLE = text("select count(*) from recon_staged where net_minor is not null")
_COPIES = text(
    "update recon_staged s set ext_id = s.ext_id || '#' || c.copy from (select ordinal, row_number() over (partition by ext_id, kind order by ordinal) as copy"
    " from recon_staged where net_minor is not null) c where c.ordinal = s.ordinal and c.copy > 1"
)
# A line that is there already, under the same key and with the same content, is the same line again. One that names a batch for the first
# time is not another line: providers report it as pending before it is paid out.
_SAME = "(i.currency, i.gross_minor, i.net_currency, i.fee_minor, i.net_minor, i.parent_ref, i.happened_at)"
_AGAIN = text(f"""
with known as ({_ITEMS}
  on conflict (merchant_id, source_id, side, ext_id, kind) do update set batch_ref = excluded.batch_ref, refs = excluded.refs
    where i.batch_ref is null and excluded.batch_ref is not null and {_SAME} is not distinct from {_SAME.replace("i.", "excluded.")}
  returning i.file_id)
select count(*) filter (where file_id = :file) from known
""")  # noqa: S608 - constants of this module
_BREAK = "insert into recon_break (merchant_id, id, source_id, kind, subject, item_id, file_id, reference, currency, minor, status, opened_on, due_on, opened_at)"
_RESTATED = text(f"""
with again as (
  select i.id, coalesce(i.parent_ref, i.ext_id) as reference, s.net_currency, s.gross_minor - i.gross_minor as minor, s.ordinal, to_jsonb(s) as content
    from recon_staged s join recon_item i on i.merchant_id = :merchant and i.source_id = :source and i.side = s.side and i.ext_id = s.ext_id and i.kind = s.kind
   where s.net_minor is not null and i.file_id is distinct from :file and {_SAME} is distinct from {_SAME.replace("i.", "s.")}),
kept as (insert into recon_line (merchant_id, file_id, ordinal, content) select :merchant, :file, ordinal, content from again where content ->> 'content' is null)
{_BREAK}
  select :merchant, new_id(:at), :source, :kind, 'line:' || :file || ':' || ordinal, id, :file, left(reference, 200), net_currency, minor, 'open', :today, :due, :at from again
""")  # noqa: S608 - constants of this module
_UNREADABLE = text(f"""
with problem as (select ordinal, ext_id, net_currency, content from recon_staged where content is not null),
kept as (insert into recon_line (merchant_id, file_id, ordinal, content) select :merchant, :file, ordinal, content from problem)
{_BREAK}
  select :merchant, new_id(:at), :source, :kind, 'line:' || :file || ':' || ordinal, null, :file, left(coalesce(ext_id, 'line ' || ordinal), 200),
         coalesce(net_currency, ''), 0, 'open', :today, :due, :at from problem
""")  # noqa: S608 - constants of this module


async def import_file(
    session: AsyncSession, actor: Actor, *, source: Source, name: str, chunks: Iterable[bytes], tally: Tally | None = None
) -> SourceFile:
    """Take a file in, given as its bytes in pieces. The same content again changes nothing; one that fails its own totals is kept as refused, and
    nothing of it counts. Memory does not grow with the file. Who looks into ``tally`` meanwhile sees how far the reading is."""
    with tempfile.TemporaryFile() as content, tempfile.TemporaryFile() as packed:
        digest, size = await asyncio.to_thread(_spool, chunks, content)
        before = await imported(session, source=source, digest=digest)
        if before is not None:
            return before
        # a large file takes longer than a page may
        await session.execute(text(f"set local statement_timeout = '{MINUTES}min'"))
        await session.execute(text(f"set local idle_in_transaction_session_timeout = '{MINUTES}min'"))
        file = _file(actor, source, name, digest, size)
        tally, refused = tally or Tally(), None
        try:
            await _stage(session, source, content, tally)
        except Invalid as error:
            refused = error
        # the file is compressed while the database makes its items
        packing = asyncio.create_task(asyncio.to_thread(_pack, content, packed))
        try:
            await (_take(session, actor, file, tally) if refused is None else _refuse(session, actor, file, refused))
        finally:
            sizes = await packing
        await _keep(session, file, packed, sizes)
    return file


def _spool(chunks: Iterable[bytes], into: BinaryIO) -> tuple[str, int]:
    found, size = hashlib.sha256(), 0
    for some in chunks:
        found.update(some)
        into.write(some)
        size += len(some)
    into.seek(0)
    return found.hexdigest(), size


async def _stage(session: AsyncSession, source: Source, content: BinaryIO, tally: Tally) -> None:
    """Read every line into a table of this transaction alone, so that nothing of a refused file ever reaches another."""
    mapping = msgspec.convert(source.mapping, ColumnMapping) if source.mapping else None
    lines = formats.read(source.format, content, tally, mapping=mapping)
    rows, refused = staging.blocks(lines, today()), None
    await session.execute(text("drop table if exists pg_temp.recon_staged"))
    await session.execute(text(_TABLE))
    async with driver(session).cursor().copy(_COPY.encode()) as copy:
        try:
            while block := await asyncio.to_thread(next, rows, b""):
                await copy.write(block)
                tally.read_bytes = content.tell()
        except Invalid as error:
            # COPY is ended properly: one that fails would take the transaction with it
            refused = error
    if refused is not None:
        raise refused


async def _take(session: AsyncSession, actor: Actor, file: SourceFile, tally: Tally) -> None:
    file.lines, file.problems = tally.lines, tally.problems
    file.totals = [msgspec.to_builtins(total) for total in tally.totals()]
    session.add(file)
    await session.flush()
    await _make_items(session, file)
    after = {"name": file.name, "sha256": file.sha256, "lines": tally.lines}
    await audit.record(session, actor, action="reconciliation.file_imported", object_type="recon_file", object_id=file.id, after=after)


_DIFFERS = text(f"""
select count(*) from recon_staged s
  left join recon_item i on i.merchant_id = :merchant and i.source_id = :source and i.side = s.side and i.ext_id = s.ext_id and i.kind = s.kind
 where s.net_minor is not null and (i.id is null or {_SAME} is distinct from {_SAME.replace("i.", "s.")} and not exists (
   select from recon_break b where b.merchant_id = :merchant and b.kind = 'restated' and b.subject = 'line:' || :file || ':' || s.ordinal))
""")  # noqa: S608 - constants of this module


async def differences(session: AsyncSession, *, file: SourceFile, source: Source) -> int:
    """How many lines of a file that was taken would be new or other ones if it were taken again; reads it as it came, changes nothing."""
    parts = select(FilePart.content).where(FilePart.merchant_id == file.merchant_id, FilePart.file_id == file.id).order_by(FilePart.number)
    with tempfile.TemporaryFile() as content:
        async for packed in await session.stream_scalars(parts):
            content.write(zlib.decompress(packed))
        content.seek(0)
        await _stage(session, source, content, Tally())
    await session.execute(text("set local enable_nestloop = off"))
    await session.execute(_COPIES)
    values = {"merchant": file.merchant_id, "source": file.source_id, "file": file.id}
    found = int(await session.scalar(_DIFFERS, values) or 0)
    await session.execute(text("set local enable_nestloop = on"))
    return found


async def _make_items(session: AsyncSession, file: SourceFile) -> None:
    scope = {"merchant": file.merchant_id, "file": file.id, "source": file.source_id, "at": file.imported_at}
    await session.execute(_LOCK, {"source": str(file.source_id)})
    await session.execute(text(f"set local work_mem = '{SORT_MEMORY}'"))
    made = await session.execute(_NEW, scope | {"first": new_id()})
    file.new_lines = int(made.rowcount)  # type: ignore[attr-defined]
    if file.new_lines < int(await session.scalar(_READABLE) or 0):
        # the new lines have no statistics yet; guessing that they are few, the planner would compare each with every item
        await session.execute(text("set local enable_nestloop = off"))
        await session.execute(_COPIES)
        file.new_lines += int(await session.scalar(_AGAIN, scope | {"first": new_id()}) or 0)
        await session.execute(_RESTATED, scope | _opening(BreakKind.RESTATED))
        await session.execute(text("set local enable_nestloop = on"))
    if file.problems:
        await session.execute(_UNREADABLE, scope | _opening(BreakKind.UNREADABLE))


def _opening(kind: BreakKind) -> dict[str, object]:
    return {"kind": str(kind), "today": today(), "due": business_days_after(today(), SLA_DAYS[kind])}


def _pack(content: BinaryIO, into: BinaryIO) -> list[int]:
    """The file in compressed parts, one behind the other; gives their sizes."""
    content.seek(0)
    sizes = []
    while some := content.read(PART):
        sizes.append(into.write(zlib.compress(some, 3)))
    into.seek(0)
    return sizes


async def _keep(session: AsyncSession, file: SourceFile, packed: BinaryIO, sizes: list[int]) -> None:
    """Keep the file as it came, in compressed parts."""
    for number, size in enumerate(sizes, start=1):
        part = {"merchant_id": file.merchant_id, "file_id": file.id, "number": number, "content": packed.read(size)}
        await session.execute(insert(FilePart).values(part))


async def download(session: AsyncSession, actor: Actor, *, file_id: UUID) -> SourceFile:
    """The file somebody takes away, noted in the audit trail; its bytes are read by ``queries.file_bytes``."""
    file = await queries.source_file(session, merchant_id=actor.merchant, file_id=file_id)
    after = {"name": file.name, "sha256": file.sha256}
    await audit.record(session, actor, action="reconciliation.file_downloaded", object_type="recon_file", object_id=file.id, after=after)
    return file


async def imported(session: AsyncSession, *, source: Source, digest: str) -> SourceFile | None:
    """The file of this content that was taken in before, if there is one."""
    statement = select(SourceFile).where(
        SourceFile.merchant_id == source.merchant_id,
        SourceFile.source_id == source.id,
        SourceFile.sha256 == digest,
        SourceFile.status == "imported",
    )
    return (await session.execute(statement)).scalar_one_or_none()


def _file(actor: Actor, source: Source, name: str, digest: str, size: int) -> SourceFile:
    return SourceFile(
        merchant_id=source.merchant_id,
        id=new_id(),
        source_id=source.id,
        name=name[:200],
        format=source.format,
        sha256=digest,
        size_bytes=size,
        status="imported",
        lines=0,
        new_lines=0,
        problems=0,
        totals=[],
        imported_by=actor.name,
        imported_at=now(),
    )


async def _refuse(session: AsyncSession, actor: Actor, file: SourceFile, error: Invalid) -> None:
    file.status = "refused"
    file.reason = error.reason if isinstance(error, FileRefused) else error.detail
    file.reason_line = error.line if isinstance(error, FileRefused) else None
    session.add(file)
    await session.flush()
    opened = Break(
        merchant_id=file.merchant_id,
        id=new_id(),
        source_id=file.source_id,
        subject=f"file:{file.sha256}:{file.id}",
        file_id=file.id,
        reference=file.name,
        currency="",
        minor=0,
        status="open",
        opened_at=now(),
        kind=BreakKind.BATCH_TOTAL,
        opened_on=today(),
        due_on=business_days_after(today(), SLA_DAYS[BreakKind.BATCH_TOTAL]),
    )
    session.add(opened)
    after = {"name": file.name, "reason": file.reason}
    await audit.record(session, actor, action="reconciliation.file_refused", object_type="recon_file", object_id=file.id, after=after)
