"""Reads about breaks."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, or_, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.approvals.domain import EVERYTHING, Part, Waiting
from app.approvals.queries import part_of
from app.core.actors import Actor
from app.core.clock import today
from app.core.db import unit_of_work
from app.core.ids import AttemptId, MerchantId, public_id
from app.core.money import Money
from app.core.paging import Page, fetch_page
from app.ledger.domain import Code, Line, Side
from app.reconciliation import queries
from app.reconciliation.domain import journals
from app.reconciliation.domain.breaks import (
    BREAK,
    RESOLVING,
    UNSETTLED,
    Action,
    BreakKind,
    BreakStatus,
    Policy,
    business_days_between,
    parts_text,
)
from app.reconciliation.models import Break, Item, Resolution, Source
from app.reconciliation.schemas import TARGET_NAMES, BreakPage, BreakRow, Candidate, PreviewLine, StepRow
from app.reconciliation.schemas.breaks import BreakFilter, BreakListPage
from app.reconciliation.schemas.kinds import CAUSES, KIND_NAMES
from app.reconciliation.sources import queries as sources

ITEM = "rit"
NEAR_DAYS, MOST_CANDIDATES = 10, 5
CLOSED_BY = [action.replace("_", " ").capitalize() for action in RESOLVING]
CSV_COLUMNS = ["id", "kind", "reference", "source", "status", "ledger", "other", "difference", "currency", "owner", "opened_on", "due_on"]
First, Other = aliased(Item), aliased(Item)
Statement = Select[*tuple[Any, ...]]
FieldReader = Callable[[Item], str]


def _rows(merchant_id: MerchantId) -> Statement:
    return (
        select(Break.id, Break, Source.name.label("source"), First, Other)
        .join(Source, (Source.merchant_id == Break.merchant_id) & (Source.id == Break.source_id))
        .outerjoin(First, (First.merchant_id == Break.merchant_id) & (First.id == Break.item_id))
        .outerjoin(Other, (Other.merchant_id == Break.merchant_id) & (Other.id == Break.other_id))
        .where(Break.merchant_id == merchant_id)
    )


def _narrowed(statement: Statement, actor_id: UUID | None, chosen: BreakFilter) -> Statement:
    wanted = [chosen.status] if chosen.status in set(BreakStatus) else list(UNSETTLED)
    statement = statement.where(Break.status.in_(wanted))
    if chosen.kind in set(BreakKind):
        statement = statement.where(Break.kind == chosen.kind)
    if chosen.source:
        statement = statement.where(Break.source_id == queries.source_id(chosen.source))
    if chosen.owner == "me":
        statement = statement.where(Break.owner_id == actor_id)
    elif chosen.owner == "nobody":
        statement = statement.where(Break.owner_id.is_(None))
    if chosen.due == "overdue":
        statement = statement.where(Break.due_on < today())
    elif chosen.due == "today":
        statement = statement.where(Break.due_on == today())
    return statement


async def break_list_page(session: AsyncSession, actor: Actor, *, chosen: BreakFilter, after: str | None = None) -> BreakListPage:
    """The inbox: what is open, newest first."""
    merchant_id = actor.merchant
    rows = await fetch_page(session, _narrowed(_rows(merchant_id), actor.id, chosen), keys=[Break.id], after=after)
    counted = select(Break.status, func.count()).where(Break.merchant_id == merchant_id).group_by(Break.status)
    counts: dict[str, int] = {row.status: row[1] for row in await session.execute(counted)}
    shown = [("", "Needs work", sum(counts.get(state, 0) for state in UNSETTLED))]
    shown += [
        (state.value, _label(state), counts.get(state, 0))
        for state in (BreakStatus.AWAITING_APPROVAL, BreakStatus.PARKED, BreakStatus.RESOLVED, BreakStatus.CLEARED)
    ]
    summed = select(Break.currency, func.count(), func.sum(Break.minor)).where(Break.merchant_id == merchant_id)
    sums = list(await session.execute(_narrowed(summed, actor.id, chosen).group_by(Break.currency).order_by(Break.currency)))
    return BreakListPage(
        rows=rows.map(_row),
        filter=chosen,
        counts=shown,
        kinds=[(name.value, KIND_NAMES[name][0]) for name in BreakKind],
        sources=[(public_id(queries.SOURCE, one.id), one.name) for one in await queries.sources(session, merchant_id=merchant_id)],
        matching=sum(count for _, count, _ in sums),
        totals=[Money(int(minor), currency) for currency, _, minor in sums if currency],
    )


def break_public_id(break_id: UUID) -> str:
    """A break's id as people see it."""
    return public_id(queries.BREAK, break_id)


async def chosen_breaks(session: AsyncSession, *, merchant_id: MerchantId, ids: Sequence[UUID]) -> list[BreakRow]:
    """Some breaks, newest first; one that is not this merchant's is not among them."""
    found = await session.execute(_rows(merchant_id).where(Break.id.in_(ids)).order_by(Break.id.desc()))
    return [_row(row) for row in found]


def _label(state: BreakStatus) -> str:
    return {"awaiting_approval": "To approve", "cleared": "Cleared"}.get(state.value, state.value.capitalize())


async def open_breaks(session: AsyncSession, *, merchant_id: MerchantId, size: int = 10) -> list[BreakRow]:
    """The newest open breaks."""
    page: Page[BreakRow] = (await fetch_page(session, _narrowed(_rows(merchant_id), None, BreakFilter()), keys=[Break.id], size=size)).map(
        _row
    )
    return page.items


async def breaks_of_file(session: AsyncSession, *, merchant_id: MerchantId, file_id: UUID, size: int = 10) -> list[BreakRow]:
    """The newest open breaks about a file or one of its lines."""
    about = or_(Break.file_id == file_id, First.file_id == file_id, Other.file_id == file_id)
    page: Page[BreakRow] = (
        await fetch_page(session, _narrowed(_rows(merchant_id), None, BreakFilter()).where(about), keys=[Break.id], size=size)
    ).map(_row)
    return page.items


async def break_rows(actor: Actor, *, chosen: BreakFilter) -> AsyncIterator[Sequence[Sequence[object]]]:
    """Every break that matches, for a file, a page at a time."""
    after: str | None = None
    async with unit_of_work(actor.merchant) as session:
        while True:
            page = await fetch_page(session, _narrowed(_rows(actor.merchant), actor.id, chosen), keys=[Break.id], after=after, size=100)
            yield [_cells(_row(row), row.Break) for row in page.items]
            if page.next is None:
                return
            after = page.next


def _cells(row: BreakRow, found: Break) -> list[object]:
    amounts = [money.decimal() if money else "" for money in (row.ledger, row.other, row.difference)]
    return [row.id, row.kind, row.reference, row.source, row.status, *amounts, found.currency, row.owner or "", found.opened_on, row.due_on]


def _row(row: Any) -> BreakRow:
    found: Break = row.Break
    first, second = row[3], row[4]
    sides = {item.side if item.kind != "batch" else "ledger": item for item in (first, second) if item is not None}
    ledger = sides.pop("ledger", None)
    other = next(iter(sides.values()), None)
    return BreakRow(
        id=public_id(queries.BREAK, found.id),
        kind=BreakKind(found.kind),
        reference=found.reference,
        source=row.source,
        ledger=_told(ledger, found),
        other=_told(other, found),
        difference=Money(found.minor, found.currency) if found.currency else None,
        status=found.status,
        owner=found.owner_name,
        age_days=business_days_between(found.opened_on, today()),
        due_on=found.due_on,
        is_overdue=found.status in set(UNSETTLED) and found.due_on < today(),
    )


def _told(item: Item | None, found: Break) -> Money | None:
    if item is None:
        return None
    if found.kind == BreakKind.FEE:
        return Money(item.fee_minor, item.net_currency)
    return (
        Money(item.net_minor, item.net_currency) if item.side == "bank" or item.kind == "batch" else Money(item.gross_minor, item.currency)
    )


async def break_page(session: AsyncSession, actor: Actor, *, break_id: UUID) -> BreakPage:
    """One break: both sides next to each other, what is left over in the books, and what may be done."""
    merchant_id = actor.merchant
    found = await queries.one_break(session, merchant_id=merchant_id, break_id=break_id)
    row: Any = (await session.execute(_rows(merchant_id).where(Break.id == break_id))).one()
    place, left, policy = await queries.place_of(session, found=found), None, Policy()
    if place is not None and found.currency:
        left = await queries.residual(session, merchant_id=merchant_id, place=place.account, key=place.key, currency=found.currency)
    is_left = left is not None and not left.is_zero
    lines = journals.netted(journals.write_off(place.account, place.key, left)) if place and left and is_left else []
    steps = await _steps(session, found)
    return BreakPage(
        row=_row(row),
        compared=_compared(row[3], row[4], found),
        cause=CAUSES[BreakKind(found.kind)],
        left_over=left if is_left else None,
        write_off=preview(lines),
        alone_up_to=Money(policy.write_off_alone_minor, found.currency) if found.currency else None,
        candidates=await _candidates(session, row[3]) if found.other_id is None else [],
        steps=steps,
        asked_parts=parts_text(found.requested_parts),
        asked_for=asked_for(found, left) if left else "",
        requested_by_you=found.requested_by is not None and found.requested_by == actor.id,
        can_be_undone=BREAK.can(BreakStatus(found.status), "reopen"),
        is_linked=next((step.action for step in steps if step.action in CLOSED_BY), None) == CLOSED_BY[0],
        file=await sources.file_row(session, merchant_id=merchant_id, file_id=found.file_id) if found.file_id else None,
    )


def asked_for(found: Break, left: Money) -> str:
    """What a request wants done with what is left over."""
    if not found.requested_parts:
        return f"Write off {abs(left).format()}"
    names = {str(target): name for target, name in TARGET_NAMES}
    parts = [f"{abs(Money(minor, left.currency)).format()} to {names[target]}" for target, minor in found.requested_parts.items()]
    return f"Move {' and '.join(parts)}"


def preview(lines: Sequence[Line]) -> list[PreviewLine]:
    """Lines as a person reads them before they are posted."""
    return [
        PreviewLine(
            Code(line.account.code).name.replace("_", " ").capitalize(),
            line.amount if line.side is Side.DEBIT else None,
            line.amount if line.side is Side.CREDIT else None,
        )
        for line in lines
    ]


def _compared(first: Item | None, other: Item | None, found: Break) -> list[tuple[str, str, str]]:
    """The two sides field by field: the ledger's (or the batch's) word, then the other's."""
    items = [item for item in (first, other) if item is not None]
    ledger = next((item for item in items if item.side == "ledger" or item.kind == "batch"), None)
    told = next((item for item in items if item is not ledger), None)
    fields: list[tuple[str, FieldReader]] = [
        ("Amount", lambda item: (_told(item, found) or Money(0, item.currency)).format()),
        ("Fee", lambda item: Money(item.fee_minor, item.net_currency).format()),
        ("Kind", lambda item: item.kind.replace("_", " ")),
        ("Date", lambda item: item.day.isoformat()),
        ("Reference", lambda item: item.object_ref or item.parent_ref or item.ext_id),
        ("Our reference", lambda item: item.merchant_ref or "–"),
        ("Batch", lambda item: item.batch_ref or "–"),
    ]
    return [(label, read(ledger) if ledger else "–", read(told) if told else "–") for label, read in fields] if items else []


_CANDIDATES = text("""
select i.id, i.side, i.kind, i.ext_id, i.object_ref, i.batch_ref, i.day, i.currency, i.gross_minor, i.net_currency, i.net_minor, abs(i.day - :day) as apart
  from recon_item i where i.merchant_id = :merchant and i.id <> :item and abs(i.day - :day) <= :days
   and ((:side = 'psp' and i.side = 'ledger' and i.source_id = :source and i.kind = :kind and i.currency = :currency and i.gross_minor = :gross)
     or (:side = 'ledger' and i.side = 'psp' and i.source_id = :source and i.kind = :kind and i.currency = :currency and i.gross_minor = :gross)
     or (:side = 'bank' and i.kind = 'batch' and i.net_currency = :net_currency and i.net_minor = :net)
     or (:side = 'batch' and i.side = 'bank' and i.net_currency = :net_currency and i.net_minor = :net))
   and not exists (select from recon_match_item x where x.merchant_id = i.merchant_id and x.item_id = i.id and x.is_live)
   and not exists (select from recon_pair a where a.merchant_id = i.merchant_id and a.psp_id = i.id)
   and not exists (select from recon_pair a where a.merchant_id = i.merchant_id and a.ledger_id = i.id)
 order by apart, i.ext_id limit :most
""")


async def _candidates(session: AsyncSession, item: Item | None) -> list[Candidate]:
    """What may be the same money (P6): the same sum within days, and free. Suggested only, however sure it looks."""
    if item is None:
        return []
    values = {
        "merchant": item.merchant_id,
        "item": item.id,
        "source": item.source_id,
        "side": "batch" if item.kind == "batch" else item.side,
        "kind": item.kind,
        "day": item.day,
        "currency": item.currency,
        "gross": item.gross_minor,
        "net_currency": item.net_currency,
        "net": item.net_minor,
        "days": NEAR_DAYS,
        "most": MOST_CANDIDATES,
    }
    return [_candidate(row) for row in await session.execute(_CANDIDATES, values)]


def _candidate(row: Any) -> Candidate:
    lined = row.side in {"psp", "ledger"} and row.kind != "batch"
    return Candidate(
        id=public_id(ITEM, row.id),
        title=row.batch_ref if row.kind == "batch" else row.object_ref or row.ext_id,
        amount=Money(row.gross_minor, row.currency) if lined else Money(row.net_minor, row.net_currency),
        on=row.day,
        days_apart=row.apart,
    )


async def _steps(session: AsyncSession, found: Break) -> list[StepRow]:
    statement = (
        select(Resolution)
        .where(Resolution.merchant_id == found.merchant_id, Resolution.break_id == found.id)
        .order_by(Resolution.id.desc())
    )
    return [
        StepRow(
            action=row.action.replace("_", " ").capitalize(),
            by=row.actor_name,
            at=row.at,
            reason=row.reason,
            amount=Money(row.minor, row.currency) if row.minor is not None and row.currency else None,
            transaction=f"txn_{row.transaction_id}" if row.transaction_id else None,
        )
        for row in (await session.execute(statement)).scalars()
    ]


_AGES = text(
    "select opened_on, count(*) as breaks from recon_break where merchant_id = :merchant and status in ('open', 'parked', 'awaiting_approval') group by 1"
)
_OVERDUE = text(
    "select count(*) from recon_break where merchant_id = :merchant and status in ('open', 'parked', 'awaiting_approval') and due_on < :today"
)


_UNDECIDED = text("""
select distinct x.id from recon_break b join recon_item i on i.merchant_id = b.merchant_id and i.id = b.item_id
  join payment_attempt x on x.merchant_id = i.merchant_id and x.id = i.our_id
 where b.merchant_id = :merchant and b.status = 'open' and b.kind in ('missing_in_ledger', 'status', 'orphan_refund') and b.opened_on >= :since
   and (x.outcome is null or x.outcome in ('unknown', 'pending')) order by x.id limit :most
""")
ASK_DAYS, MOST_ASKED = 7, 200


async def undecided_attempts(session: AsyncSession, *, merchant_id: MerchantId) -> list[AttemptId]:
    """The attempts that open breaks are about and whose outcome is not known: a webhook was lost, or an answer."""
    values = {"merchant": merchant_id, "since": today() - timedelta(days=ASK_DAYS), "most": MOST_ASKED}
    return [AttemptId(row.id) for row in await session.execute(_UNDECIDED, values)]


async def ages(session: AsyncSession, *, merchant_id: MerchantId) -> list[tuple[date, int]]:
    """How many open breaks were opened on which day."""
    return [(row.opened_on, row.breaks) for row in await session.execute(_AGES, {"merchant": merchant_id})]


async def overdue(session: AsyncSession, *, merchant_id: MerchantId) -> int:
    """How many open breaks should have been dealt with by now."""
    return int(await session.scalar(_OVERDUE, {"merchant": merchant_id, "today": today()}) or 0)


async def how_many_wait(session: AsyncSession, actor: Actor) -> int:
    """How many write-offs, and moves that come to the same, wait for a second person."""
    mine = (Break.merchant_id == actor.merchant, Break.status == BreakStatus.AWAITING_APPROVAL)
    return await session.scalar(select(func.count()).select_from(Break).where(*mine)) or 0


async def waiting(session: AsyncSession, actor: Actor, part: Part = EVERYTHING) -> list[Waiting]:
    """Write-offs, and moves that come to the same, that wait for a second person, oldest first: with what was left over when they were asked for."""
    asked = (Resolution.merchant_id == Break.merchant_id) & (Resolution.break_id == Break.id) & (Resolution.action == Action.REQUEST)
    statement = select(Break, Resolution).join(Resolution, asked).ext(distinct_on(Break.id))
    mine = statement.where(Break.merchant_id == actor.merchant, Break.status == BreakStatus.AWAITING_APPROVAL)
    rows = await session.execute(part_of(mine, Break.id, part).order_by(Resolution.id.desc()))
    return [_waiting(actor, found, resolution) for found, resolution in rows]


def _waiting(actor: Actor, found: Break, asked: Resolution) -> Waiting:
    amount, shown = Money(asked.minor or 0, found.currency), public_id("brk", found.id)
    return Waiting(
        kind="write_off",
        id=shown,
        title=asked_for(found, amount),
        detail=KIND_NAMES[BreakKind(found.kind)][0],
        href=f"/reconciliation/breaks/{shown}",
        digest=f"{amount.minor}:{amount.currency}:{parts_text(found.requested_parts)}",
        requested_by=asked.actor_name,
        requested_at=asked.at,
        may_decide=actor.can("reconciliation.approve") and actor.id != found.requested_by,
        amount=abs(amount),
        reason=asked.reason,
        facts=[("Reference", found.reference), ("Left over", amount.format())],
    )
