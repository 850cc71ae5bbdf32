"""A bank's answer to a file of orders, written down order by order. The same file again changes nothing."""

from typing import BinaryIO

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.payouts.domain import BATCH, OUT, BatchStatus, PayoutBatchId
from app.payouts.domain.port import BankAnswer, BankWord
from app.payouts.domain.status_files import OrderStatus, StatusFileRefused, read_status_file
from app.payouts.models import Payout
from app.payouts.service import batches, records


class StatusFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a status file changed: orders that moved on, orders the bank refused."""

    accepted: int
    refused: int


async def apply_status_file(session: AsyncSession, actor: Actor, *, batch_id: PayoutBatchId, content: BinaryIO) -> StatusFile:
    """Take in what the bank answered to a batch's file (pain.002): accepted orders are followed, refused ones give the wallet its money back."""
    batch = await batches.locked(session, merchant_id=actor.merchant, batch_id=batch_id)
    statement = select(Payout.end_to_end_id).where(Payout.merchant_id == actor.merchant, Payout.batch_id == batch_id)
    ours = list((await session.execute(statement.order_by(Payout.id))).scalars())
    said = _by_order(read_status_file(content), batches.reference(batch), ours)
    if batch.status == BatchStatus.READY and batch.downloaded_at is not None:
        batch.status, batch.sent_at = BATCH.next(BatchStatus(batch.status), "send"), now()
    changed = {BankWord.REFUSED: 0, BankWord.ACCEPTED: 0, BankWord.IN_TRANSIT: 0}
    payouts = await records.record_by_orders(
        session, actor, merchant_id=actor.merchant, answers=[(name, _answer(status)) for name, status in said.items()]
    )
    for name, payout in payouts.items():
        changed[said[name].word] += payout.status in OUT or said[name].word is BankWord.REFUSED
    accepted = changed[BankWord.ACCEPTED] + changed[BankWord.IN_TRANSIT]
    after = {"accepted": accepted, "refused": changed[BankWord.REFUSED]}
    await audit.record(session, actor, action="payout.batch_answered", object_type="payout_batch", object_id=batch_id, after=after)
    return StatusFile(accepted=accepted, refused=changed[BankWord.REFUSED])


def _answer(status: OrderStatus) -> BankAnswer:
    return BankAnswer(word=status.word, code=status.code, message=status.message, evidence={"status_file": "pain.002"})


def _by_order(statuses: list[OrderStatus], reference: str, ours: list[str]) -> dict[str, OrderStatus]:
    """The bank's word on each order: its own, else that on the whole file."""
    said: dict[str, OrderStatus] = {}
    for status in statuses:
        if status.end_to_end_id is None:
            said |= dict.fromkeys(ours if status.file == reference else [], status)
        elif status.end_to_end_id in ours:
            said[status.end_to_end_id] = status
    if not said:
        raise StatusFileRefused("This status file is about other orders than those of this batch.")
    return said
