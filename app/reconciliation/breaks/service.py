"""What people do about breaks: every step is kept for good, with the transaction it wrote beside it."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now, today
from app.core.ids import MerchantId, new_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import AccountRef, Kind, Line, Owner, Posting, TransactionId
from app.reconciliation import queries
from app.reconciliation.domain import journals
from app.reconciliation.domain.breaks import (
    BREAK,
    RESOLVING,
    UNSETTLED,
    Action,
    BreakStatus,
    NeedsSecondPerson,
    Policy,
    ResolutionImpossible,
    parts_text,
)
from app.reconciliation.domain.journals import TARGETS, Target, netted
from app.reconciliation.models import Booking, Break, Item, Match, MatchItem, Pair, Resolution
from app.reconciliation.queries import CONNECTION, Place
from app.tenancy import queries as tenancy

BREAK_SOURCE = "break"
COMPARING = "Everything is being compared right now. Try again in a minute."


async def claim(session: AsyncSession, actor: Actor, *, break_id: UUID) -> Break:
    """Say that you look after a break."""
    found = await _unsettled(session, actor, break_id)
    found.owner_id, found.owner_name = actor.id, actor.name
    await _keep(session, actor, found, Action.CLAIM)
    return found


async def assign(session: AsyncSession, actor: Actor, *, break_id: UUID, member_id: UUID) -> Break:
    """Say who of the team looks after a break."""
    found = await _unsettled(session, actor, break_id)
    member = await tenancy.membership(session, actor, member_id=member_id)
    row = await tenancy.member(session, actor, member_id=member_id)
    found.owner_id, found.owner_name = member.person_id, row.name
    await _keep(session, actor, found, Action.ASSIGN, reason=f"To {row.name}")
    return found


async def park(session: AsyncSession, actor: Actor, *, break_id: UUID, reason: str) -> Break:
    """Put a break aside until somebody outside has answered."""
    found = await _locked(session, actor, break_id)
    return await _step(session, actor, found, "park", Action.PARK, reason=reason)


async def unpark(session: AsyncSession, actor: Actor, *, break_id: UUID) -> Break:
    """Take a parked break up again."""
    found = await _locked(session, actor, break_id)
    return await _step(session, actor, found, "unpark", Action.UNPARK)


async def write_off(session: AsyncSession, actor: Actor, *, break_id: UUID, reason: str, policy: Policy | None = None) -> Break:
    """Book what is left over as a loss or gain (28). Above the limit a second person has to agree first."""
    found = await _settling(session, actor, break_id)
    left = await _left_over(session, found)
    if abs(left).minor <= (policy or Policy()).write_off_alone_minor:
        transaction = await _write_off(session, actor, found, left)
        return await _step(session, actor, found, "resolve", Action.WRITE_OFF, reason=reason, money=left, transaction=transaction)
    return await _request(session, actor, found, left, {}, reason)


async def _request(session: AsyncSession, actor: Actor, found: Break, left: Money, parts: Mapping[Target, Money], reason: str) -> Break:
    found.requested_by = actor.id
    found.requested_parts = {str(target): money.minor for target, money in parts.items()}
    return await _step(session, actor, found, "request", Action.REQUEST, reason=reason, money=left)


async def approve(session: AsyncSession, actor: Actor, *, break_id: UUID, seen: Money, seen_parts: str = "") -> Break:
    """Agree to what somebody else asked for: exactly the amount, and the accounts, that were shown."""
    found = await _settling(session, actor, break_id)
    if actor.id is None or actor.id == found.requested_by:
        raise NeedsSecondPerson("You asked for this; somebody else has to approve it.")
    left = await _left_over(session, found)
    if left != seen:
        raise ResolutionImpossible(f"{left.format()} is left over now, not {seen.format()}. Look again, then approve.")
    BREAK.next(BreakStatus(found.status), "approve")
    if parts_text(found.requested_parts) != seen_parts:
        raise ResolutionImpossible("Something else is being asked for. Look again, then approve.")
    found.approved_by = actor.id
    if found.requested_parts:
        parts = {Target(name): Money(minor, left.currency) for name, minor in found.requested_parts.items()}
        transaction = await _adjust(session, actor, found, left, parts)
    else:
        transaction = await _write_off(session, actor, found, left)
    return await _step(session, actor, found, "approve", Action.APPROVE, money=left, transaction=transaction)


async def reject(session: AsyncSession, actor: Actor, *, break_id: UUID, reason: str) -> Break:
    """Refuse or withdraw what was asked for; the break is open again."""
    found = await _locked(session, actor, break_id)
    found.requested_by = found.requested_parts = None
    return await _step(session, actor, found, "reject", Action.REJECT, reason=reason)


async def adjust(
    session: AsyncSession, actor: Actor, *, break_id: UUID, parts: Mapping[Target, Money], reason: str, policy: Policy | None = None
) -> Break:
    """Move what is left over where it belongs: to one account, or split over several that come to the same sum.

    What becomes a cost or an income is a write-off by another name: above the same limit a second person has to agree first.
    """
    found = await _settling(session, actor, break_id)
    left = await _left_over(session, found)
    _check_parts(parts, left)
    booked = sum(abs(money).minor for target, money in parts.items() if target is not Target.UNIDENTIFIED)
    if booked > (policy or Policy()).write_off_alone_minor:
        return await _request(session, actor, found, left, parts, reason)
    transaction = await _adjust(session, actor, found, left, parts)
    action = Action.SPLIT if len(parts) > 1 else Action.ADJUST
    return await _step(session, actor, found, "resolve", action, reason=reason, money=left, transaction=transaction)


def _check_parts(parts: Mapping[Target, Money], left: Money) -> None:
    if sum(part.minor for part in parts.values()) != left.minor or any(part.currency != left.currency for part in parts.values()):
        raise ResolutionImpossible(f"The parts have to come to {left.format()}.", fields={"amount": f"Together {left.format()}."})
    if any(part.minor and part.is_negative != left.is_negative for part in parts.values()):
        # a part against the others would let any sum be moved between two accounts on the occasion of a small one
        raise ResolutionImpossible("Every part has to have the sign of what is left over.", fields={"amount": f"Parts of {left.format()}."})


async def _adjust(session: AsyncSession, actor: Actor, found: Break, left: Money, parts: Mapping[Target, Money]) -> TransactionId:
    _check_parts(parts, left)
    return await _post(session, actor, found, adjustment(await _place(session, found), found, parts), "adjust")


def adjustment(place: Place, found: Break, parts: Mapping[Target, Money]) -> list[Line]:
    """The lines an adjustment posts. What nobody can name yet is kept under a key of its own, so that it can clear later."""
    key = f"break:{found.id}"
    chosen = [
        (_target(place, target), key if target is Target.UNIDENTIFIED else None, money)
        for target, money in parts.items()
        if not money.is_zero
    ]
    return netted(journals.move(place.account, place.key, chosen))


def _target(place: Place, target: Target) -> AccountRef:
    code = TARGETS[target]
    return Owner(place.account.owner_type or CONNECTION, place.owner).account(code) if target is Target.UNIDENTIFIED else AccountRef(code)


async def link(session: AsyncSession, actor: Actor, *, break_id: UUID, other_id: UUID, reason: str) -> Break:
    """Say that two items are the same money: a provider's line and a ledger item, or a bank line and a batch. They must agree to the cent."""
    if not await queries.try_lock(session, merchant_id=actor.merchant):
        raise ResolutionImpossible(COMPARING)
    found = await _locked(session, actor, break_id)
    first, second = await _pair(session, found, other_id)
    match = Match(
        merchant_id=actor.merchant,
        id=new_id(),
        leg="line" if second.side == "ledger" else "batch",
        rule="manual",
        rule_version=1,
        key="|".join(sorted((str(first.id), str(second.id)))),
        is_manual=True,
        made_by=actor.name,
        made_at=now(),
    )
    session.add(match)
    await session.flush()
    money = Money(first.gross_minor, first.currency) if match.leg == "line" else Money(first.net_minor, first.net_currency)
    for item, part in ((first, money), (second, -money)):
        values = {"merchant_id": actor.merchant, "match_id": match.id, "item_id": item.id}
        session.add(MatchItem(**values, minor=part.minor, currency=part.currency, is_live=True))
    transaction = await _assign(session, actor, found, first, second)
    return await _step(session, actor, found, "resolve", Action.LINK, reason=reason, money=money, transaction=transaction)


async def _pair(session: AsyncSession, found: Break, other_id: UUID) -> tuple[Item, Item]:
    """The provider's or bank's item first, what it is linked to second; both free and of the same money."""
    items = [await _item(session, found, item_id) for item_id in (found.item_id, other_id)]
    order = {"bank": 0, "psp": 1, "ledger": 2}
    first, second = sorted(items, key=lambda item: order[item.side])
    lines = (first.side, second.side) == ("psp", "ledger") and first.kind != "batch"
    batches = first.side == "bank" and second.kind == "batch"
    same = (first.currency, first.gross_minor) == (second.currency, second.gross_minor) if lines else first.net_minor == second.net_minor
    if not (lines or batches) or not same or (batches and first.net_currency != second.net_currency):
        raise ResolutionImpossible(
            "Only a provider's line and a ledger item, or a bank line and a batch, of the same amount can be linked."
        )
    taken = select(MatchItem.item_id).where(
        MatchItem.merchant_id == found.merchant_id, MatchItem.item_id.in_([first.id, second.id]), MatchItem.is_live
    )
    paired = select(Pair.psp_id).where(Pair.merchant_id == found.merchant_id, or_(Pair.psp_id == first.id, Pair.ledger_id == second.id))
    if (await session.execute(taken)).first() is not None or (await session.execute(paired)).first() is not None:
        raise ResolutionImpossible("One of the two is matched already. Unlink it first.")
    return first, second


async def _item(session: AsyncSession, found: Break, item_id: UUID | None) -> Item:
    item = await session.get(Item, (found.merchant_id, item_id)) if item_id else None
    if item is None:
        raise ResolutionImpossible("There is no such item to link.")
    return item


async def _assign(session: AsyncSession, actor: Actor, found: Break, first: Item, second: Item) -> TransactionId | None:
    """Book a linked item under the key of what it was linked to, if it is in the books already; the next run books the others."""
    place, booked = await queries.place(session, item=first), await queries.booking(session, item=first)
    if booked is None or place is None:
        return None
    target = await queries.place(session, item=second)
    assert target is not None
    converted = first.side == "psp" and first.currency != first.net_currency
    money = Money(first.gross_minor, first.currency) if converted else Money(first.net_minor, first.net_currency)
    # a provider's line took its net from 1100 under its own key, a bank line from 2400 under its own: what it took, it takes elsewhere now
    lines = netted(journals.move(place.account, place.key, [(target.account, target.key, -money)]))
    booked.key = msgspec.json.encode({second.clear_key: money.minor}).decode() if first.side == "bank" else second.clear_key
    return await _post(session, actor, found, lines, "link")


async def reopen(session: AsyncSession, actor: Actor, *, break_id: UUID, reason: str) -> Break:
    """Take a resolution back. What it wrote is reversed by a transaction of its own; a link is undone, and stays on record as undone."""
    found = await _settling(session, actor, break_id)
    BREAK.next(BreakStatus(found.status), "reopen")
    # who looks after it may have changed since; what was booked is what has to be taken back
    latest = select(Resolution).where(
        Resolution.merchant_id == actor.merchant, Resolution.break_id == found.id, Resolution.action.in_(RESOLVING)
    )
    last = (await session.execute(latest.order_by(Resolution.id.desc()).limit(1))).scalar_one()
    if last.action == Action.SETTLE:
        raise ResolutionImpossible("A rule settled this, and would settle it again. There is nothing to take back.")
    transaction = None
    if last.transaction_id is not None:
        transaction = await ledger.reverse(
            session,
            merchant_id=actor.merchant,
            transaction_id=TransactionId(last.transaction_id),
            effective_on=today(),
            actor=actor,
            reason=reason or "Resolution taken back",
        )
    action = Action.REOPEN
    if last.action == Action.LINK:
        action = Action.UNLINK
        await _undo_link(session, found)
    found.requested_by = found.approved_by = found.requested_parts = None
    return await _step(session, actor, found, "reopen", action, reason=reason, transaction=transaction)


async def _undo_link(session: AsyncSession, found: Break) -> None:
    of_item = (MatchItem.merchant_id == found.merchant_id, MatchItem.item_id == found.item_id, MatchItem.is_live)
    match_id = (await session.execute(select(MatchItem.match_id).where(*of_item))).scalar_one()
    both = (MatchItem.merchant_id == found.merchant_id, MatchItem.match_id == match_id)
    ids = list((await session.execute(select(MatchItem.item_id).where(*both))).scalars())
    await session.execute(update(MatchItem).where(*both).values(is_live=False))
    await session.execute(update(Match).where(Match.merchant_id == found.merchant_id, Match.id == match_id).values(undone_at=now()))
    # the books are back where they were before the link: under the item's own key
    booked = select(Booking, Item).join(Item, and_(Item.merchant_id == Booking.merchant_id, Item.id == Booking.item_id))
    for booking, item in await session.execute(booked.where(Booking.merchant_id == found.merchant_id, Booking.item_id.in_(ids))):
        booking.key = item.clear_key if item.side == "psp" else msgspec.json.encode({item.clear_key: item.net_minor}).decode()


async def left_over(session: AsyncSession, actor: Actor, *, break_id: UUID) -> Money:
    """What the books have left over for a break; refused when that is nothing."""
    return await _left_over(session, await _locked(session, actor, break_id))


async def move_all(session: AsyncSession, actor: Actor, *, break_id: UUID, target: Target, reason: str) -> Break:
    """Move all that is left over of a break to one account."""
    left = await _left_over(session, await _locked(session, actor, break_id))
    return await adjust(session, actor, break_id=break_id, parts={target: left}, reason=reason)


async def _locked(session: AsyncSession, actor: Actor, break_id: UUID) -> Break:
    return await queries.one_break(session, merchant_id=actor.merchant, break_id=break_id, lock=True)


async def _settling(session: AsyncSession, actor: Actor, break_id: UUID) -> Break:
    """A break that is about to be booked away. A comparison under way may be booking the same money, which nobody sees before it ends."""
    if not await queries.try_lock_shared(session, merchant_id=actor.merchant):
        raise ResolutionImpossible(COMPARING)
    return await _locked(session, actor, break_id)


async def _unsettled(session: AsyncSession, actor: Actor, break_id: UUID) -> Break:
    found = await _locked(session, actor, break_id)
    if BreakStatus(found.status) not in UNSETTLED:
        raise ResolutionImpossible(f"The break is {found.status}; nobody needs to look after it any more.")
    return found


async def _place(session: AsyncSession, found: Break) -> Place:
    place = await queries.place_of(session, found=found)
    if place is None:
        raise ResolutionImpossible("There is nothing in the books for this break yet; nothing can be moved or written off.")
    return place


async def _left_over(session: AsyncSession, found: Break) -> Money:
    place = await _place(session, found)
    left = await queries.residual(
        session, merchant_id=MerchantId(found.merchant_id), place=place.account, key=place.key, currency=found.currency
    )
    if left.is_zero:
        raise ResolutionImpossible("The books have nothing left over here.")
    return left


async def _write_off(session: AsyncSession, actor: Actor, found: Break, left: Money) -> TransactionId:
    place = await _place(session, found)
    return await _post(session, actor, found, netted(journals.write_off(place.account, place.key, left)), "writeoff")


def posting(actor: Actor, break_id: UUID, lines: Sequence[Line], event_key: str) -> Posting:
    """What a resolution writes into the ledger."""
    return Posting(
        kind=Kind.BREAK_RESOLVED,
        source_type=BREAK_SOURCE,
        source_id=break_id,
        event_key=event_key,
        effective_on=today(),
        lines=list(lines),
        actor=actor,
    )


async def _post(session: AsyncSession, actor: Actor, found: Break, lines: Sequence[Line], what: str) -> TransactionId:
    # a break that was reopened may be written off again: each time is an event of its own, guarded by the break's state
    written = posting(actor, found.id, lines, f"{what}:{new_id()}")
    (transaction,) = await ledger.post(session, merchant_id=actor.merchant, postings=[written])
    return transaction


async def _step(
    session: AsyncSession,
    actor: Actor,
    found: Break,
    event: str,
    action: Action,
    *,
    reason: str = "",
    money: Money | None = None,
    transaction: TransactionId | None = None,
) -> Break:
    found.status = BREAK.next(BreakStatus(found.status), event)
    found.closed_at = now() if found.status == BreakStatus.RESOLVED else None
    await _keep(session, actor, found, action, reason=reason, money=money, transaction=transaction)
    return found


async def _keep(
    session: AsyncSession,
    actor: Actor,
    found: Break,
    action: Action,
    *,
    reason: str = "",
    money: Money | None = None,
    transaction: TransactionId | None = None,
) -> None:
    session.add(resolution(actor, found.id, action, reason, money, transaction))
    await session.flush()
    after = {"status": found.status, "amount": money.decimal() if money else None, "transaction": transaction}
    name = f"reconciliation.break_{action}"
    await audit.record(session, actor, action=name, object_type="recon_break", object_id=found.id, after=after, reason=reason or None)


def resolution(
    actor: Actor, break_id: UUID, action: Action, reason: str, money: Money | None, transaction: TransactionId | None
) -> Resolution:
    """A line of a break's record; nobody changes it afterwards."""
    return Resolution(
        merchant_id=actor.merchant,
        id=new_id(),
        break_id=break_id,
        action=action,
        reason=reason,
        currency=money.currency if money else None,
        minor=money.minor if money else None,
        transaction_id=transaction,
        actor_id=actor.id,
        actor_name=actor.name,
        at=now(),
    )
