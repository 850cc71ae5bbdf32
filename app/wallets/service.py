"""Writes about wallets: when pending funds become available, and where the money of a refund is taken from."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbox
from app.core.actors import Actor
from app.core.clock import now, timezones, today
from app.core.ids import MerchantId, PaymentId, SellerId, new_id, public_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import AccountRef, Code, Kind, Line, Owner, Posting, inverse, journals
from app.ledger.owners import queries as ledger_owners
from app.wallets import queries
from app.wallets.domain import MAX_AVAILABILITY_DAYS, RELEASE, AvailabilityOutOfRange, DebtRecovered, FundsReleased, ReleaseStatus, spread
from app.wallets.models import FundsRelease, WalletPolicy

SELLER = "seller"
"""How the ledger knows the owner of a wallet."""

_DUE = text("select merchant_id, id from funds_due(:moment, :most)")


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """From where a refund took a seller's money, so that a refund that fails puts it back there. Minor units."""

    pending: list[tuple[str, int]] = []
    available_minor: int = 0
    receivable_minor: int = 0

    @property
    def pending_minor(self) -> int:
        """What came out of funds that were not available yet."""
        return sum(minor for _, minor in self.pending)


async def release_funds(session: AsyncSession, *, merchant_id: MerchantId, release_ids: Sequence[UUID]) -> int:
    """Make pending funds available and say how many of them; doing it twice, or after a refund used them up, moves nothing."""
    statement = select(FundsRelease).where(FundsRelease.merchant_id == merchant_id, FundsRelease.id.in_(list(release_ids)))
    found = (await session.execute(statement.order_by(FundsRelease.id).with_for_update())).scalars()
    moment = now()
    due = [release for release in found if release.status == ReleaseStatus.WAITING and release.due_at <= moment]
    for release in due:
        release.status = RELEASE.next(ReleaseStatus.WAITING, "release" if _left(release) else "use_up")
        release.released_at = moment
    await session.flush()
    left = [release for release in due if _left(release)]
    await ledger.post(session, merchant_id=merchant_id, postings=[_release_posting(release) for release in left])
    await outbox.publish_all(session, merchant_id=merchant_id, events=[(_released(release), release.id) for release in left])
    await recover_debts(session, merchant_id=merchant_id, seller_ids={SellerId(release.seller_id) for release in left})
    return len(due)


async def recover_debts(session: AsyncSession, *, merchant_id: MerchantId, seller_ids: Collection[SellerId]) -> None:
    """Take what sellers owe from what they have available, as far as it goes."""
    owing = await queries.debts(session, merchant_id=merchant_id, seller_ids=seller_ids) if seller_ids else {}
    taken: list[tuple[UUID, Owner, Money]] = []
    for currency in sorted({currency for _, currency in owing}):
        debtors = [seller_id for seller_id, of in owing if of == currency]
        # read anew: a refund that failed, or another release, may have settled it before the locks were ours
        has, owes = await lock_debts(session, merchant_id, debtors, currency)
        parts = {owner: min(has.get(owner, 0), minor) for owner, minor in sorted(owes.items())}
        taken += [(new_id(), Owner(SELLER, owner), Money(minor, currency)) for owner, minor in parts.items() if minor > 0]
    await ledger.post(session, merchant_id=merchant_id, postings=[_recovery(*each) for each in taken])
    events = [(_recovered(owner, amount), owner.id) for _, owner, amount in taken]
    await outbox.publish_all(session, merchant_id=merchant_id, events=events)


async def lock_debts(
    session: AsyncSession, merchant_id: MerchantId, sellers: Collection[SellerId], currency: str
) -> tuple[dict[UUID, int], dict[UUID, int]]:
    """Keep others from what sellers have available and what they owe, in this order; says both, in minor units."""

    async def lock(code: Code) -> dict[UUID, int]:
        return await ledger.lock_all_available(
            session, merchant_id=merchant_id, code=code, owner_type=SELLER, owners=sellers, currency=currency
        )

    return await lock(Code.SELLER_AVAILABLE), await lock(Code.SELLER_RECEIVABLE)


def _recovery(name: UUID, seller: Owner, amount: Money) -> Posting:
    return debt_posting(name, Kind.DEBT_RECOVERED, seller, journals.recover_debt(seller=seller, amount=amount))


def debt_posting(name: UUID, kind: Kind, seller: Owner, lines: list[Line], *, description: str = "", actor: Actor | None = None) -> Posting:
    """What happens to a seller's debt, as the ledger takes it."""
    return Posting(
        kind=kind,
        source_type=SELLER,
        source_id=seller.id,
        event_key=f"debt:{name}",
        effective_on=today(),
        lines=lines,
        description=description or None,
        actor=actor,
    )


def _recovered(seller: Owner, amount: Money) -> DebtRecovered:
    return DebtRecovered(seller_id=public_id("sel", seller.id), amount_minor=amount.minor, currency=amount.currency)


def _left(release: FundsRelease) -> int:
    return release.amount_minor - release.taken_minor


def _release_posting(release: FundsRelease) -> Posting:
    return Posting(
        kind=Kind.AVAILABLE,
        source_type="payment",
        source_id=release.payment_id,
        event_key=f"available:{release.id}",
        effective_on=today(),
        lines=journals.become_available(seller=Owner(SELLER, release.seller_id), amount=Money(_left(release), release.currency)),
    )


def _released(release: FundsRelease) -> FundsReleased:
    return FundsReleased(seller_id=public_id("sel", release.seller_id), amount_minor=_left(release), currency=release.currency)


async def due_releases(session: AsyncSession, *, moment: datetime, most: int = 1000) -> list[tuple[MerchantId, UUID]]:
    """Pending funds of all merchants whose day has come."""
    rows = await session.execute(_DUE, {"moment": moment, "most": most})
    return [(MerchantId(row.merchant_id), row.id) for row in rows]


async def take_for_refund(
    session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId, seller_id: SellerId, amount: Money
) -> Taken:
    """Find the seller's money for a refund: first what this payment still has pending, then available funds, then, if the merchant allows it, debt."""
    pending = await _take_pending(session, merchant_id, payment_id, seller_id, amount.minor)
    left = amount.minor - sum(minor for _, minor in pending)
    if not left:
        return Taken(pending=pending)
    policy = await queries.policy(session, merchant_id=merchant_id)
    if not policy.allow_negative:
        return Taken(pending=pending, available_minor=left)
    wallet = AccountRef(Code.SELLER_AVAILABLE, SELLER, seller_id)
    available = await ledger.lock_available(session, merchant_id=merchant_id, account=wallet, currency=amount.currency)
    from_wallet = min(left, max(0, available or 0))
    return Taken(pending=pending, available_minor=from_wallet, receivable_minor=left - from_wallet)


async def _take_pending(
    session: AsyncSession, merchant_id: MerchantId, payment_id: PaymentId, seller_id: SellerId, minor: int
) -> list[tuple[str, int]]:
    statement = (
        select(FundsRelease)
        .where(FundsRelease.merchant_id == merchant_id, FundsRelease.payment_id == payment_id, FundsRelease.seller_id == seller_id)
        .where(FundsRelease.status == ReleaseStatus.WAITING)
        .order_by(FundsRelease.id)
        .with_for_update()
    )
    releases = list((await session.execute(statement)).scalars())
    parts = spread([_left(release) for release in releases], minor)
    for release, part in zip(releases, parts, strict=True):
        release.taken_minor += part
    await session.flush()
    return [(str(release.id), part) for release, part in zip(releases, parts, strict=True) if part]


async def give_back(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str, taken: Taken) -> Taken:
    """Where a failed refund's money returns to: pending funds that became available meanwhile, and a debt that was repaid, return as available ones."""
    still_pending, available = [], taken.available_minor
    for release_id, minor in taken.pending:
        statement = (
            select(FundsRelease).where(FundsRelease.merchant_id == merchant_id, FundsRelease.id == UUID(release_id)).with_for_update()
        )
        release = (await session.execute(statement)).scalar_one()
        if release.status == ReleaseStatus.WAITING:
            release.taken_minor -= minor
            still_pending.append((release_id, minor))
        else:
            available += minor
    await session.flush()
    still_owed = 0
    if taken.receivable_minor:
        _, owes = await lock_debts(session, merchant_id, [seller_id], currency)
        still_owed = min(taken.receivable_minor, max(0, owes.get(seller_id, 0)))
        still_owed += await _restore(session, merchant_id, seller_id, Money(taken.receivable_minor - still_owed, currency))
    return Taken(pending=still_pending, available_minor=available + taken.receivable_minor - still_owed, receivable_minor=still_owed)


async def _restore(session: AsyncSession, merchant_id: MerchantId, seller_id: SellerId, missing: Money) -> int:
    """Undo as much of what was written off for the seller as a failed refund gives back, so that the platform has it again and not the seller: it
    never repaid that. Says how much is owed again, to be settled by the refund's money. The debt's account is locked by the caller."""
    seller = Owner(SELLER, seller_id)
    lost = await ledger_owners.written(
        session,
        merchant_id=merchant_id,
        owner=seller,
        kinds=[Kind.DEBT_WRITTEN_OFF, Kind.DEBT_RESTORED],
        code=Code.BAD_DEBT,
        currency=missing.currency,
    )
    again = Money(min(missing.minor, lost), missing.currency)
    if again.is_positive:
        posting = debt_posting(new_id(), Kind.DEBT_RESTORED, seller, inverse(journals.write_off_debt(seller=seller, amount=again)))
        await ledger.post(session, merchant_id=merchant_id, postings=[posting])
    return again.minor


async def set_policy(session: AsyncSession, actor: Actor, *, availability_days: int, timezone: str, allow_negative: bool) -> None:
    """Set when funds become available and whether a wallet may go below zero; captures made before keep their day."""
    if not 0 <= availability_days <= MAX_AVAILABILITY_DAYS:
        detail = f"Use 0 to {MAX_AVAILABILITY_DAYS} days."
        raise AvailabilityOutOfRange(detail, fields={"availability_days": detail})
    if timezone not in timezones():
        detail = f"“{timezone[:60]}” is not a time zone. Use a name such as Europe/Berlin."
        raise AvailabilityOutOfRange(detail, fields={"timezone": detail})
    before = await queries.policy(session, merchant_id=actor.merchant)
    values = {"availability_days": availability_days, "timezone": timezone, "allow_negative": allow_negative, "updated_at": now()}
    row = insert(WalletPolicy).values(merchant_id=actor.merchant, **values)
    await session.execute(row.on_conflict_do_update(index_elements=["merchant_id"], set_=values))
    await audit.record(
        session,
        actor,
        action="wallet.policy_set",
        object_type="wallet_policy",
        object_id=actor.merchant,
        before={"availability_days": before.availability_days, "timezone": before.timezone, "allow_negative": before.allow_negative},
        after={"availability_days": availability_days, "timezone": timezone, "allow_negative": allow_negative},
    )
