"""Writing off what a seller owes and will not repay. One transaction, with the locks under which debts are repaid."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import service as approvals
from app.approvals.domain import Act
from app.core import audit, outbox
from app.core.actors import Actor
from app.core.ids import SellerId, new_id, public_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import Kind, Owner, journals
from app.wallets import service
from app.wallets.domain import DebtWrittenOff, NoSuchDebt
from app.wallets.service import SELLER


def instruction(*, seller_id: SellerId, amount: Money, reason: str) -> Mapping[str, object]:
    """The write-off as others are asked to agree to it."""
    return {"seller": str(seller_id), "amount_minor": amount.minor, "currency": amount.currency, "reason": reason}


async def check(session: AsyncSession, actor: Actor, *, seller_id: SellerId, amount: Money) -> int:
    """Refuse more than the seller owes and cannot repay from what is available, with both locked; says what is owed, in minor units."""
    has, owes = await service.lock_debts(session, actor.merchant, [seller_id], amount.currency)
    owed, available = max(0, owes.get(seller_id, 0)), max(0, has.get(seller_id, 0))
    most = Money(max(0, owed - available), amount.currency)
    if not amount.is_positive or amount > most:
        first = f" {Money(available, amount.currency).format()} is available and repays it first." if available and owed else ""
        problem = f"At most {most.format()} can be written off.{first}"
        raise NoSuchDebt(problem, fields={"amount": problem})
    return owed


async def write_off(
    session: AsyncSession, actor: Actor, *, seller_id: SellerId, amount: Money, reason: str, approval_id: UUID | None = None
) -> None:
    """Make a seller's debt, or a part of it, the platform's loss. Above the limit of one person only with an approval of exactly this."""
    if approval_id is None:
        await approvals.refuse_unapproved(session, actor, act=Act.WRITE_OFF, amount=amount)
    else:
        told = instruction(seller_id=seller_id, amount=amount, reason=reason)
        await approvals.use(session, actor, approval_id=approval_id, act=Act.WRITE_OFF, object_id=seller_id, instruction=told)
    owed = await check(session, actor, seller_id=seller_id, amount=amount)
    seller, name = Owner(SELLER, seller_id), new_id()
    lines = journals.write_off_debt(seller=seller, amount=amount)
    posting = service.debt_posting(name, Kind.DEBT_WRITTEN_OFF, seller, lines, description=reason, actor=actor)
    await ledger.post(session, merchant_id=actor.merchant, postings=[posting])
    await audit.record(
        session,
        actor,
        action="wallet.debt_written_off",
        object_type="seller",
        object_id=seller_id,
        before={"owed_minor": owed, "currency": amount.currency},
        after={"owed_minor": owed - amount.minor, "written_off_minor": amount.minor, "currency": amount.currency},
        reason=reason,
    )
    event = DebtWrittenOff(seller_id=public_id("sel", seller_id), amount_minor=amount.minor, currency=amount.currency)
    await outbox.publish(session, merchant_id=actor.merchant, event=event, object_id=name)
