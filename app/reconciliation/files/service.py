"""Taking files in: read as a stream, kept line by line, refused whole when they do not prove themselves."""

import asyncio
import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO
from uuid import UUID

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now, today
from app.core.errors import Invalid
from app.core.ids import new_id
from app.reconciliation.domain import formats
from app.reconciliation.domain.breaks import SLA_DAYS, BreakKind, business_days_after
from app.reconciliation.domain.formats.mapped import ColumnMapping
from app.reconciliation.domain.lines import FileRefused, Line, Tally
from app.reconciliation.models import Break, Source, SourceFile

LINES_AT_ONCE = 2_000
MINUTES = 10

_LINES = text(
    "insert into recon_line (merchant_id, file_id, ordinal, content)"
    " select :merchant, :file, o, c::jsonb from unnest(cast(:ordinals as bigint[]), cast(:contents as text[])) u(o, c)"
)
# A line that is there already, under the same key and with the same content, is the same line again. One that names a batch for the first
# time is not another line: providers report it as pending before it is paid out.
_ITEMS = text("""
with line as (
  select l.ordinal, l.content, l.content ->> 'ext_id' as ext, l.content ->> 'kind' as kind, l.content ->> 'merchant_ref' as ours,
         row_number() over (partition by l.content ->> 'ext_id', l.content ->> 'kind' order by l.ordinal) as copy
    from recon_line l where l.merchant_id = :merchant and l.file_id = :file and l.content -> 'net' <> 'null'),
known as (
  insert into recon_item as i (merchant_id, id, source_id, file_id, ordinal, side, kind, raw_type, ext_id, parent_ref, our_id, merchant_ref, batch_ref,
      refs, words, currency, gross_minor, net_currency, fee_minor, net_minor, happened_at, day, clear_key, fingerprint, created_at)
  select :merchant, new_id(:at), :source, :file, ordinal, content ->> 'side', kind, content ->> 'raw_type', ext || case when copy > 1 then '#' || copy else '' end,
         content ->> 'parent_ext_id', case when ours ~ '^(att|pay|cap|ref)_' then public_uuid(ours) end, ours, content ->> 'batch',
         array(select jsonb_array_elements_text(content -> 'references')), content ->> 'text',
         coalesce(content -> 'gross' ->> 'currency', content -> 'net' ->> 'currency'),
         coalesce((content -> 'gross' ->> 'minor')::bigint, (content -> 'net' ->> 'minor')::bigint), content -> 'net' ->> 'currency',
         coalesce((content -> 'fee' ->> 'minor')::bigint, 0), (content -> 'net' ->> 'minor')::bigint, (content ->> 'occurred_at')::timestamptz,
         coalesce((content ->> 'booked_on')::date, (content ->> 'occurred_at')::timestamptz::date, (content ->> 'available_on')::date, :today),
         content ->> 'side' || ':' || :source || ':' || ext || case when copy > 1 then '#' || copy else '' end || case when content ->> 'side' = 'psp' then ':' || kind else '' end,
         md5(concat_ws('|', content -> 'gross', content -> 'fee', content -> 'net', content -> 'parent_ext_id', content -> 'occurred_at')), :at
    from line
  on conflict (merchant_id, source_id, side, ext_id, kind) do update set batch_ref = excluded.batch_ref, refs = excluded.refs
    where i.batch_ref is null and excluded.batch_ref is not null and i.fingerprint = excluded.fingerprint
  returning i.file_id)
select count(*) filter (where file_id = :file) from known
""")
_RESTATED = text("""
select i.id, coalesce(i.parent_ref, i.ext_id) as reference, l.content -> 'net' ->> 'currency' as currency, l.ordinal,
       coalesce((l.content -> 'gross' ->> 'minor')::bigint, (l.content -> 'net' ->> 'minor')::bigint) - i.gross_minor as minor
  from recon_line l join recon_item i on i.merchant_id = l.merchant_id and i.source_id = :source and i.side = l.content ->> 'side'
   and i.ext_id = l.content ->> 'ext_id' and i.kind = l.content ->> 'kind'
 where l.merchant_id = :merchant and l.file_id = :file and i.file_id is distinct from l.file_id and l.content -> 'net' <> 'null'
   and i.fingerprint <> md5(concat_ws('|', l.content -> 'gross', l.content -> 'fee', l.content -> 'net', l.content -> 'parent_ext_id', l.content -> 'occurred_at'))
""")
_UNREADABLE = text(
    "select ordinal, content ->> 'ext_id' as ext_id, coalesce(content -> 'net' ->> 'currency', '') as currency from recon_line"
    " where merchant_id = :merchant and file_id = :file and content ->> 'problem' is not null order by ordinal"
)


async def import_file(session: AsyncSession, actor: Actor, *, source: Source, name: str, content: BinaryIO) -> SourceFile:
    """Take a file in. The same content again changes nothing; one that fails its own totals is kept as refused, and nothing of it counts."""
    digest, size = _digest(content)
    before = await imported(session, source=source, digest=digest)
    if before is not None:
        return before
    # a large file takes longer than a page may
    await session.execute(text(f"set local statement_timeout = '{MINUTES}min'"))
    await session.execute(text(f"set local idle_in_transaction_session_timeout = '{MINUTES}min'"))
    mapping = msgspec.convert(source.mapping, ColumnMapping) if source.mapping else None
    file = _file(actor, source, name, digest, size)
    try:
        # read twice, so that nothing of a refused file ever reaches a table
        tally = await asyncio.to_thread(formats.prove, source.format, content, mapping=mapping)
    except Invalid as error:
        return await _refuse(session, actor, file, error)
    file.lines, file.problems = tally.lines, tally.problems
    file.totals = [msgspec.to_builtins(total) for total in tally.totals()]
    session.add(file)
    await session.flush()
    await _keep_lines(session, file, formats.read(source.format, content, Tally(), mapping=mapping))
    await _make_items(session, file, source)
    after = {"name": name, "sha256": digest, "lines": tally.lines}
    await audit.record(session, actor, action="reconciliation.file_imported", object_type="recon_file", object_id=file.id, after=after)
    return file


def _digest(content: BinaryIO) -> tuple[str, int]:
    found, size = hashlib.sha256(), 0
    while some := content.read(1 << 16):
        found.update(some)
        size += len(some)
    content.seek(0)
    return found.hexdigest(), size


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


async def _refuse(session: AsyncSession, actor: Actor, file: SourceFile, error: Invalid) -> SourceFile:
    file.status = "refused"
    file.reason = error.reason if isinstance(error, FileRefused) else error.detail
    file.reason_line = error.line if isinstance(error, FileRefused) else None
    session.add(file)
    await session.flush()
    session.add(_broken(file, BreakKind.BATCH_TOTAL, f"file:{file.sha256}:{file.id}", reference=file.name))
    after = {"name": file.name, "reason": file.reason}
    await audit.record(session, actor, action="reconciliation.file_refused", object_type="recon_file", object_id=file.id, after=after)
    return file


async def _keep_lines(session: AsyncSession, file: SourceFile, lines: Iterator[Line]) -> None:
    start = 1
    encode = msgspec.json.Encoder().encode
    while some := list(islice(lines, LINES_AT_ONCE)):
        values = {"merchant": file.merchant_id, "file": file.id, "ordinals": list(range(start, start + len(some)))}
        await session.execute(_LINES, {**values, "contents": [encode(line).decode() for line in some]})
        start += len(some)


async def _make_items(session: AsyncSession, file: SourceFile, source: Source) -> None:
    scope: dict[str, object] = {"merchant": file.merchant_id, "file": file.id}
    values = {**scope, "source": source.id, "at": file.imported_at, "today": today()}
    file.new_lines = int(await session.scalar(_ITEMS, values) or 0)
    # the new lines have no statistics yet; guessing that they are few, the planner would compare each with every item
    await session.execute(text("set local enable_nestloop = off"))
    restated = list(await session.execute(_RESTATED, {**scope, "source": source.id}))
    await session.execute(text("set local enable_nestloop = on"))
    for row in restated:
        subject = f"line:{file.id}:{row.ordinal}"
        session.add(
            _broken(file, BreakKind.RESTATED, subject, item_id=row.id, reference=row.reference, currency=row.currency, minor=row.minor)
        )
    for row in await session.execute(_UNREADABLE, scope):
        subject = f"line:{file.id}:{row.ordinal}"
        session.add(_broken(file, BreakKind.UNREADABLE, subject, reference=row.ext_id or f"line {row.ordinal}", currency=row.currency))


def _broken(
    file: SourceFile,
    kind: BreakKind,
    subject: str,
    *,
    reference: str,
    item_id: UUID | None = None,
    currency: str = "",
    minor: int = 0,
) -> Break:
    return Break(
        merchant_id=file.merchant_id,
        id=new_id(),
        source_id=file.source_id,
        kind=kind,
        subject=subject,
        item_id=item_id,
        file_id=file.id,
        reference=reference[:200],
        currency=currency,
        minor=minor,
        status="open",
        opened_on=today(),
        due_on=business_days_after(today(), SLA_DAYS[kind]),
        opened_at=now(),
    )
