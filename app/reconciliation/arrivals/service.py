"""Files on their way in: the bytes are stored first and read afterwards, by a job that may die at any moment and be begun again."""

import hashlib
from typing import BinaryIO
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbox
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, new_id
from app.reconciliation import queries
from app.reconciliation.domain.arrivals import (
    ARRIVAL,
    MAX_FILE,
    UNDER_WAY,
    ArrivalNotFound,
    ArrivalStatus,
    FileEmpty,
    FileReceived,
    FileTooLarge,
    Origin,
)
from app.reconciliation.domain.lines import Tally, pieces
from app.reconciliation.files import service as files
from app.reconciliation.models import Run, Source, SourceFile
from app.reconciliation.models.arrivals import Arrival, ArrivalPiece

PIECE = 1 << 20
MINUTES = 10
_LOCK = text("select pg_advisory_xact_lock(hashtextextended(cast(:arrival as text), 4219))")
_PATIENCE = text(f"select set_config('lock_timeout', '{MINUTES}min', true), set_config('statement_timeout', '{MINUTES}min', true)")
# what the job holds locked while it writes its result is not waited for: the result says more than the progress
_SEEN = text("""
update recon_arrival set read_bytes = :read_bytes, read_lines = :read_lines, seen_at = :at where merchant_id = :merchant and id in (
  select id from recon_arrival where merchant_id = :merchant and id = :id and status in ('reading', 'comparing') for update skip locked)
""")


async def receive(
    session: AsyncSession,
    actor: Actor,
    *,
    source: Source,
    name: str,
    content: BinaryIO,
    origin: Origin = Origin.UPLOAD,
    report: str | None = None,
) -> Arrival:
    """Store a file's bytes, so that a job reads them. A file that was taken before, or is being read, is not taken again."""
    digest, size = _digest(content)
    file = await files.imported(session, source=source, digest=digest)
    if file is None and (under_way := await _under_way(session, source, digest)) is not None:
        return under_way
    arrival = await _keep(session, actor, source, name=name, digest=digest, size=size, origin=origin, report=report, file=file)
    if arrival is None:  # the same file, in the same moment, from somebody else
        return await queries.arrival_of(session, source=source, digest=digest)
    after = {"name": name, "sha256": digest, "bytes": size, "origin": origin.value, "status": arrival.status}
    await audit.record(
        session, actor, action="reconciliation.file_received", object_type="recon_arrival", object_id=arrival.id, after=after
    )
    if file is None:
        await _keep_pieces(session, arrival, content)
        await outbox.publish(session, merchant_id=actor.merchant, event=FileReceived(), object_id=arrival.id)
    return arrival


def _digest(content: BinaryIO) -> tuple[str, int]:
    found, size = hashlib.sha256(), 0
    while some := content.read(PIECE):
        found.update(some)
        size += len(some)
        if size > MAX_FILE:
            raise FileTooLarge(
                f"A file has {MAX_FILE >> 20} MB at most.", fields={"file": f"Choose a file of {MAX_FILE >> 20} MB at most."}
            )
    if not size:
        raise FileEmpty("There is nothing in this file.", fields={"file": "Choose a file that is not empty."})
    content.seek(0)
    return found.hexdigest(), size


async def _under_way(session: AsyncSession, source: Source, digest: str) -> Arrival | None:
    statement = select(Arrival).where(
        Arrival.merchant_id == source.merchant_id,
        Arrival.source_id == source.id,
        Arrival.sha256 == digest,
        Arrival.status.in_(UNDER_WAY),
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def _keep(
    session: AsyncSession,
    actor: Actor,
    source: Source,
    *,
    name: str,
    digest: str,
    size: int,
    origin: Origin,
    report: str | None,
    file: SourceFile | None,
) -> Arrival | None:
    moment = now()
    values = {
        "merchant_id": source.merchant_id,
        "id": new_id(),
        "source_id": source.id,
        "name": name[:200],
        "origin": origin,
        "report": report,
        "sha256": digest,
        "size_bytes": size,
        "status": ArrivalStatus.REPEATED if file else ArrivalStatus.RECEIVED,
        "file_id": file.id if file else None,
        "brought_by": actor.name,
        "received_at": moment,
        "seen_at": moment,
        "finished_at": moment if file else None,
    }
    statement = insert(Arrival).values(values).on_conflict_do_nothing().returning(Arrival)
    return (await session.execute(statement)).scalar_one_or_none()


async def _keep_pieces(session: AsyncSession, arrival: Arrival, content: BinaryIO) -> None:
    number = 0
    while some := content.read(PIECE):
        values = {"merchant_id": arrival.merchant_id, "arrival_id": arrival.id, "number": number, "content": some}
        await session.execute(insert(ArrivalPiece), values)
        number += 1


async def ask_again(session: AsyncSession, actor: Actor, *, arrival_id: UUID) -> Arrival:
    """Let a job go on with a file whose own was given up; one that is still at it is not disturbed, and nothing is taken twice."""
    arrival = await _locked(session, actor.merchant, arrival_id)
    if ArrivalStatus(arrival.status) in UNDER_WAY:
        arrival.seen_at = now()
        await outbox.publish(session, merchant_id=actor.merchant, event=FileReceived(), object_id=arrival.id)
        await audit.record(session, actor, action="reconciliation.reading_asked", object_type="recon_arrival", object_id=arrival.id)
    return arrival


async def begin(session: AsyncSession, *, merchant_id: MerchantId, arrival_id: UUID) -> Arrival:
    """Begin to read a file, or go on where a job that died left it."""
    arrival = await _locked(session, merchant_id, arrival_id)
    if arrival.status == ArrivalStatus.RECEIVED:
        _step(arrival, "read")
    return arrival


async def copy_bytes(session: AsyncSession, *, merchant_id: MerchantId, arrival_id: UUID, into: BinaryIO) -> None:
    """Write a file's bytes into another place, a piece at a time."""
    number = 0
    of = (ArrivalPiece.merchant_id == merchant_id, ArrivalPiece.arrival_id == arrival_id)
    while (piece := await session.scalar(select(ArrivalPiece.content).where(*of, ArrivalPiece.number == number))) is not None:
        into.write(piece)
        number += 1
    into.seek(0)


async def tell_progress(session: AsyncSession, *, merchant_id: MerchantId, arrival_id: UUID, read_bytes: int, read_lines: int) -> None:
    """Say how much of a file was read so far, and that somebody is still at it."""
    values = {"merchant": merchant_id, "id": arrival_id, "read_bytes": read_bytes, "read_lines": read_lines, "at": now()}
    await session.execute(_SEEN, values)


async def take(session: AsyncSession, *, merchant_id: MerchantId, arrival_id: UUID, content: BinaryIO, tally: Tally) -> Arrival:
    """Import a file's bytes, or refuse them, and let the bytes go. Two jobs that do this at once do it once."""
    await session.execute(_PATIENCE)
    await session.execute(_LOCK, {"arrival": str(arrival_id)})
    arrival = await queries.arrival(session, merchant_id=merchant_id, arrival_id=arrival_id)
    if arrival.status != ArrivalStatus.READING:
        return arrival
    source = await queries.source(session, merchant_id=merchant_id, source_id=arrival.source_id)
    actor = Actor.worker(merchant_id, arrival.brought_by)
    before = await files.imported(session, source=source, digest=arrival.sha256)
    file = before or await files.import_file(session, actor, source=source, name=arrival.name, chunks=pieces(content), tally=tally)
    arrival = await _locked(session, merchant_id, arrival_id)
    arrival.file_id, arrival.read_lines, arrival.read_bytes = file.id, file.lines, arrival.size_bytes
    arrival.reason, arrival.reason_line = file.reason, file.reason_line
    _step(arrival, "repeat" if before else "refuse" if file.status == "refused" else "take")
    await session.execute(delete(ArrivalPiece).where(ArrivalPiece.merchant_id == merchant_id, ArrivalPiece.arrival_id == arrival_id))
    return arrival


async def finish(session: AsyncSession, *, merchant_id: MerchantId, arrival_id: UUID, run: Run) -> None:
    """Say that everything was compared with the file."""
    arrival = await _locked(session, merchant_id, arrival_id)
    if arrival.status == ArrivalStatus.COMPARING:
        arrival.run_id = run.id
        _step(arrival, "compare")


def _step(arrival: Arrival, event: str) -> None:
    arrival.status = ARRIVAL.next(ArrivalStatus(arrival.status), event)
    arrival.seen_at = now()
    arrival.finished_at = arrival.seen_at if ArrivalStatus(arrival.status) in ARRIVAL.terminal else None


async def _locked(session: AsyncSession, merchant_id: MerchantId, arrival_id: UUID) -> Arrival:
    statement = select(Arrival).where(Arrival.merchant_id == merchant_id, Arrival.id == arrival_id)
    found = (await session.execute(statement.with_for_update().execution_options(populate_existing=True))).scalar_one_or_none()
    if found is None:
        raise ArrivalNotFound("There is no arrival with this id for this merchant.")
    return found
