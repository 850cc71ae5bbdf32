"""The nightly proof: what the database can be asked, and what has to be tried and is taken back."""

import time

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import new_id, public_id
from app.reconciliation import queries as reconciliation
from app.reconciliation.domain.formats import CSV
from app.reconciliation.files import service as files
from app.reconciliation.invariants import queries
from app.reconciliation.invariants.queries import AGAIN, IMPORT, Outcome, Proof
from app.reconciliation.models import FilePart, InvariantCheck, SourceFile
from app.reconciliation.runs import service as runs
from app.reconciliation.schemas import Finding

MOST_FILES, MOST_BYTES = 20, 64 << 20
"""How many of the newest files are read again, and how large together: a month of daily files, or one of a million lines."""

_STATE = text("""
select (select count(*) from recon_pair where merchant_id = :merchant) as pairs,
       (select coalesce(bit_xor(hashtextextended(psp_id::text || ledger_id::text || rule, 0)), 0) from recon_pair where merchant_id = :merchant) as paired,
       (select coalesce(bit_xor(hashtextextended(id::text, 0)), 0) from recon_match where merchant_id = :merchant and undone_at is null) as matches,
       (select coalesce(bit_xor(hashtextextended(concat_ws('|', kind, subject, status, minor), 0)), 0) from recon_break where merchant_id = :merchant) as breaks,
       (select count(*) from recon_item where merchant_id = :merchant) as items,
       (select coalesce(sum(times), 0) from recon_booking where merchant_id = :merchant) as postings,
       (select coalesce(max(id), 0) from ledger.txn where merchant_id = :merchant) as last
""")


async def check(session: AsyncSession, actor: Actor, *, balances: Proof | None = None) -> Proof:
    """Check every invariant of a merchant and keep what was found, beside what its providers said before they owe."""
    asked = await queries.prove(session, merchant_id=actor.merchant)
    proof = queries.merged([asked, balances or queries.nobody_asked(), await trial(session, actor)])
    session.add(
        InvariantCheck(merchant_id=actor.merchant, id=new_id(), checked_at=now(), checked_by=actor.name, proof=msgspec.to_builtins(proof))
    )
    await session.flush()
    return proof


async def trial(session: AsyncSession, actor: Actor) -> Proof:
    """Check a merchant's seal, and try what must change nothing: reading the newest files again, comparing again. All of it is taken back."""
    began = time.monotonic()
    outcomes = [await queries.prove_seal(session, merchant_id=actor.merchant)]
    await session.execute(text(f"set local statement_timeout = '{runs.MINUTES}min'"))
    await reconciliation.lock_for(session, actor)
    savepoint = await session.begin_nested()
    try:
        outcomes += [await _read_again(session, actor), await _compare_again(session, actor)]
    finally:
        await savepoint.rollback()
    took = int((time.monotonic() - began) * 1000)
    return Proof(is_sound=all(outcome.holds for outcome in outcomes), milliseconds=took, invariants=outcomes)


async def _read_again(session: AsyncSession, actor: Actor) -> Outcome:
    sources = {source.id: source for source in await reconciliation.sources(session, merchant_id=actor.merchant)}
    kept = select(FilePart.file_id).where(FilePart.merchant_id == actor.merchant, FilePart.number == 1)
    newest = select(SourceFile).where(SourceFile.merchant_id == actor.merchant, SourceFile.status == "imported", SourceFile.id.in_(kept))
    # a CSV is read by a mapping that people may have changed since
    newest = newest.where(SourceFile.format != CSV).order_by(SourceFile.id.desc()).limit(MOST_FILES)
    found, size = [], 0
    for file in (await session.execute(newest)).scalars().all():
        size += file.size_bytes
        if size > MOST_BYTES and size != file.size_bytes:
            break
        count = await files.differences(session, file=file, source=sources[file.source_id])
        if count:
            detail = f"{count} lines would be taken again, or differently"
            found.append(Finding(merchant=public_id("mer", actor.merchant), subject=file.name, detail=detail))
    return Outcome(name=IMPORT, violations=found)


async def _compare_again(session: AsyncSession, actor: Actor) -> Outcome:
    """Compare, which may well find something new, and compare again, which may not."""
    states = []
    for _ in range(2):
        await runs.compare(session, actor)
        states.append((await session.execute(_STATE, {"merchant": actor.merchant})).one()._asdict())
    changed = [name for name, value in states[0].items() if states[1][name] != value]
    detail = f"a second comparison changed {', '.join(changed)}"
    found = [Finding(merchant=public_id("mer", actor.merchant), subject="comparison", detail=detail)] if changed else []
    return Outcome(name=AGAIN, violations=found)
