"""Reads of the audit trail: the list, one entry, the file, the chain and its comparison with the trail."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, Select, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.audit import AuditEntry
from app.core.chain import FIRST, is_signed
from app.core.ids import MalformedId, MerchantId, first_id_at, parse_id, public_id
from app.core.paging import fetch_page
from app.tenancy.audit.domain import PURPOSE, AuditEntryNotFound, Block, Verdict, changes
from app.tenancy.audit.schemas import AuditEntryPage, AuditFilters, AuditPage, AuditRow, ChainState, shown_object
from app.tenancy.models import AuditBlock, AuditCheck, AuditSealed

_COLUMNS = AuditEntry.__table__.c
_BATCH = 1_000
_SAME_REQUEST = 20
# a loose index scan: one probe of (merchant, action, id) per distinct action, however long the log is
_ACTIONS = text(
    "with recursive a as ((select action from audit_entry where merchant_id = :merchant order by action limit 1) union all"
    " select (select e.action from audit_entry e where e.merchant_id = :merchant and e.action > a.action order by e.action limit 1)"
    " from a where a.action is not null) select action from a where action is not null"
)
_UNSEALED = text("select * from audit_unsealed(:merchant, :back, :most)")
_CONTENT = text("select o_entries as entries, o_hash as content from audit_content(:merchant, :ids)")


async def audit_page(session: AsyncSession, actor: Actor, *, filters: AuditFilters, after: str | None = None) -> AuditPage:
    """What happened at the merchant, newest first, and where the chain over it stands."""
    page = await fetch_page(session, entries(actor.merchant, filters), keys=[AuditEntry.id], after=after)
    actions = await session.scalars(_ACTIONS, {"merchant": actor.merchant})
    return AuditPage(
        entries=page.map(_row),
        actions=[("", "Every action"), *((name, name) for name in actions)],
        filters=filters,
        chain=await chain_state(session, merchant_id=actor.merchant),
    )


def entries(merchant_id: MerchantId, filters: AuditFilters) -> Select[Any]:
    """The entries that fit the filters."""
    found = select(*_COLUMNS).where(_COLUMNS.merchant_id == merchant_id)
    if filters.action:
        found = found.where(_COLUMNS.action == filters.action)
    if filters.who:
        found = found.where(_COLUMNS.actor_name == filters.who)
    if filters.address:
        found = found.where(_COLUMNS.address == filters.address)
    if filters.q:
        found = found.where((_COLUMNS.request_id == filters.q) | (_COLUMNS.object_id == _object_id(filters.q)))
    if filters.since:
        found = found.where(_COLUMNS.id >= first_id_at(datetime.combine(filters.since, time(), UTC)))
    if filters.end:
        found = found.where(_COLUMNS.id < first_id_at(datetime.combine(filters.end, time(), UTC)))
    return found


async def entry_page(session: AsyncSession, actor: Actor, *, entry_id: UUID) -> AuditEntryPage:
    """One entry: what changed, what else the same request did, and the block that seals it."""
    found = (await session.execute(_whole(actor.merchant, entry_id))).one_or_none()
    if found is None:
        raise AuditEntryNotFound("It may belong to another merchant; go back to the audit log.")
    beside = select(*_COLUMNS).where(
        _COLUMNS.merchant_id == actor.merchant,
        _COLUMNS.request_id == found.request_id,
        _COLUMNS.id != entry_id,
        # a request lasts seconds; without the bounds the whole trail would be read
        _COLUMNS.id.between(*_around(found.at)),
    )
    others = (await session.execute(beside.order_by(_COLUMNS.id).limit(_SAME_REQUEST))).all() if found.request_id else []
    return AuditEntryPage(
        row=_row(found),
        factor_at=found.factor_at,
        changes=changes(found.before, found.after),
        block=found.number,
        block_hash=found.hash,
        sealed_at=found.made_at,
        same_request=[_row(other) for other in others],
    )


def _whole(merchant_id: MerchantId, entry_id: UUID) -> Select[Any]:
    of_block = (AuditBlock.merchant_id == AuditSealed.merchant_id) & (AuditBlock.number == AuditSealed.number)
    of_entry = (AuditSealed.merchant_id == AuditEntry.merchant_id) & (AuditSealed.entry_id == AuditEntry.id)
    return (
        select(*_COLUMNS, AuditBlock.number, AuditBlock.hash, AuditBlock.made_at)
        .outerjoin(AuditSealed, of_entry)
        .outerjoin(AuditBlock, of_block)
        .where(_COLUMNS.merchant_id == merchant_id, _COLUMNS.id == entry_id)
    )


def _around(moment: datetime) -> tuple[UUID, UUID]:
    return first_id_at(moment - timedelta(minutes=5)), first_id_at(moment + timedelta(minutes=5))


async def file_rows(session: AsyncSession, *, merchant_id: MerchantId, filters: AuditFilters) -> AsyncIterator[Sequence[Sequence[object]]]:
    """The entries for a file, newest first, some at a time."""
    result = await session.stream(entries(merchant_id, filters).order_by(_COLUMNS.id.desc()).execution_options(yield_per=_BATCH))
    async for rows in result.partitions(_BATCH):
        yield [_cells(row) for row in rows]


def _cells(row: Row[Any]) -> list[object]:
    shown, _ = shown_object(row.object_type, row.object_id)
    factor = row.factor_at and row.factor_at.isoformat()
    whole = [None if part is None else msgspec.json.encode(part).decode() for part in (row.before, row.after)]
    who = [row.action, row.actor_name, row.actor_kind, row.object_type, shown, row.address, factor, row.request_id, row.reason]
    return [public_id("aud", row.id), row.at.isoformat(), *who, *whole]


async def chain_state(session: AsyncSession, *, merchant_id: MerchantId) -> ChainState | None:
    """The last block, and what the last comparison found; nothing before the first block."""
    block = await _last(session, merchant_id)
    if block is None:
        return None
    state = ChainState(number=block.number, head=block.hash, made_at=block.made_at)
    check = await session.scalar(select(AuditCheck).where(AuditCheck.merchant_id == merchant_id).order_by(AuditCheck.id.desc()).limit(1))
    if check is not None:
        state.checked_at, state.checked_by, state.checked_entries = check.checked_at, check.checked_by, check.entries
        state.problem = check.problem
    return state


async def last_sound_head(session: AsyncSession, *, merchant_id: MerchantId) -> str | None:
    """The head that the last comparison without a problem ended at; nothing before the first one that saw a block."""
    sound = select(AuditCheck.head).where(AuditCheck.merchant_id == merchant_id, AuditCheck.problem.is_(None), AuditCheck.blocks > 0)
    return await session.scalar(sound.order_by(AuditCheck.id.desc()).limit(1))


async def unsealed(session: AsyncSession, *, merchant_id: MerchantId, back: timedelta, most: int) -> list[UUID]:
    """Entries that are in no block yet, oldest first."""
    return list(await session.scalars(_UNSEALED, {"merchant": merchant_id, "back": back, "most": most}))


async def content(session: AsyncSession, *, merchant_id: MerchantId, ids: list[UUID]) -> tuple[int, str]:
    """How many of these entries there are, and one hash over all of them."""
    row = (await session.execute(_CONTENT, {"merchant": merchant_id, "ids": ids})).one()
    return int(row.entries), str(row.content)


async def head(session: AsyncSession, *, merchant_id: MerchantId) -> Block | None:
    """The last block; its hash stands for the whole trail."""
    found = await _last(session, merchant_id)
    return _block(found) if found else None


async def _last(session: AsyncSession, merchant_id: MerchantId) -> AuditBlock | None:
    newest = select(AuditBlock).where(AuditBlock.merchant_id == merchant_id).order_by(AuditBlock.number.desc()).limit(1)
    return await session.scalar(newest)


async def verify(session: AsyncSession, *, merchant_id: MerchantId, expected_head: str | None = None) -> Verdict:
    """Compare every block with the trail, its predecessor and its signature. Blocks cut off at the end show only against a head kept elsewhere."""
    previous, number, counted, problem = FIRST, 0, 0, None
    seen: set[str] = set()
    blocks = select(AuditBlock).where(AuditBlock.merchant_id == merchant_id).order_by(AuditBlock.number)
    for row in await session.scalars(blocks):
        number += 1
        block = _block(row)
        problem = _broken_link(block, number, previous, merchant_id) or await _changed_content(session, block, merchant_id)
        if problem is not None:
            break
        previous, counted = block.hash, counted + block.entries
        seen.add(block.hash)
    if problem is None and expected_head is not None and expected_head not in seen:
        problem = "the expected head is not among the blocks: blocks were cut off, or the trail is another one"
    return Verdict(blocks=number, entries=counted, head=previous, problem=problem)


async def _changed_content(session: AsyncSession, block: Block, merchant_id: MerchantId) -> str | None:
    own = select(AuditSealed.entry_id).where(AuditSealed.merchant_id == merchant_id, AuditSealed.number == block.number)
    ids = list(await session.scalars(own))
    if await content(session, merchant_id=merchant_id, ids=ids) != (block.entries, block.content):
        return f"block {block.number}: its {block.entries} entries are not as they were chained"
    return None


def _broken_link(block: Block, number: int, previous: str, merchant_id: MerchantId) -> str | None:
    if block.number != number:
        return f"block {number} is missing; block {block.number} comes in its place"
    if block.previous != previous:
        return f"block {number} names another predecessor"
    if not block.has_its_hash:
        return f"block {number} does not have the hash of what it says"
    if not is_signed(block.signature, merchant_id, block.hash, purpose=PURPOSE):
        return f"block {number} was not signed by this installation"
    return None


def _block(row: AuditBlock) -> Block:
    return Block(
        number=row.number,
        entries=row.entries,
        content=row.content,
        previous=row.previous,
        hash=row.hash,
        signature=row.signature,
    )


def _row(row: Row[Any]) -> AuditRow:
    shown, href = shown_object(row.object_type, row.object_id)
    return AuditRow(
        id=public_id("aud", row.id),
        at=row.at,
        actor=row.actor_name,
        actor_kind=row.actor_kind,
        action=row.action,
        object_type=row.object_type,
        object_id=shown,
        object_href=href,
        address=row.address,
        request_id=row.request_id,
        reason=row.reason,
        changed=[change.name for change in changes(row.before, row.after) if change.is_changed],
    )


def _object_id(q: str) -> UUID:
    """The uuid behind a public id of any kind, or a bare uuid; anything else matches nothing."""
    prefix = q.strip().partition("_")[0]
    try:
        return parse_id(prefix, q) if "_" in q else UUID(q)
    except (ValueError, MalformedId):
        return UUID(int=0)
