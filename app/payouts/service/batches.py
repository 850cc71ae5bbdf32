"""Batches that travel in files: written from what is stored, counted as sent before they leave, and followed when a person says they were handed in."""

import hashlib

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, secrets
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, public_id
from app.payouts import queries
from app.payouts.domain import (
    BATCH,
    BatchNotFound,
    BatchStatus,
    FundingAccountId,
    PayoutBatchId,
    PayoutIsStale,
    PayoutStatus,
    PayoutSubmitted,
    Rail,
)
from app.payouts.domain.files import BankFile, Debtor, write_file
from app.payouts.models import FundingAccount, Payout, PayoutBatch
from app.payouts.service import history, sending, sheets

MISSING = "There is no batch with this id for this merchant."


async def locked(session: AsyncSession, *, merchant_id: MerchantId, batch_id: PayoutBatchId) -> PayoutBatch:
    """The batch, with nobody else working on it until the transaction ends."""
    statement = select(PayoutBatch).where(PayoutBatch.merchant_id == merchant_id, PayoutBatch.id == batch_id).with_for_update()
    found = (await session.execute(statement)).scalar_one_or_none()
    if found is None:
        raise BatchNotFound(MISSING)
    return found


async def download_batch(session: AsyncSession, actor: Actor, *, batch_id: PayoutBatchId) -> BankFile:
    """The batch as a file for the bank. With the first download its payouts count as sent; a later one gives the same bytes again."""
    batch = await locked(session, merchant_id=actor.merchant, batch_id=batch_id)
    statement = select(Payout).where(Payout.merchant_id == actor.merchant, Payout.batch_id == batch_id)
    payouts = list((await session.execute(statement.order_by(Payout.id).with_for_update())).scalars())
    if batch.downloaded_at is None:
        payouts = await sending.may_leave(session, actor.merchant, payouts)
        if not payouts:
            raise PayoutIsStale("Everything in this batch is on hold now. Release the holds first, then download it.")
    funding = await queries.funding_account(session, merchant_id=actor.merchant, funding_id=FundingAccountId(batch.funding_account_id))
    file = write_file(
        Rail(batch.rail),
        reference=reference(batch),
        debtor=_debtor(funding),
        orders=await sending.orders(session, merchant_id=actor.merchant, payouts=payouts),
        value_on=batch.value_on,
        created_at=batch.created_at,
    )
    digest = hashlib.sha256(file.body).hexdigest()
    if batch.digest not in (None, digest):
        raise PayoutIsStale("The file is not the one that was downloaded before. Do not hand it in.")
    if batch.downloaded_at is None:
        batch.digest, batch.downloaded_at, batch.downloaded_by_name = digest, now(), actor.name
        waiting = [payout for payout in payouts if payout.status == PayoutStatus.BATCHED]
        await sending.begin_attempts(session, actor, payouts=waiting, asked_about=False)
    after = {"payouts": batch.payouts, "total_minor": batch.total_minor, "currency": batch.currency, "sha256": digest}
    await audit.record(session, actor, action="payout.batch_downloaded", object_type="payout_batch", object_id=batch_id, after=after)
    return file


def reference(batch: PayoutBatch) -> str:
    """The batch's name at the bank: short and plain."""
    return f"BT{public_id('pob', batch.id).removeprefix('pob_').upper()}"


def _debtor(funding: FundingAccount) -> Debtor:
    merchant_id, funding_id = MerchantId(funding.merchant_id), FundingAccountId(funding.id)
    number = secrets.unseal(funding.number, queries.funding_context(merchant_id, funding_id)) if funding.number else ""
    return Debtor(name=funding.holder_name, number=number, routing=funding.routing, bic=funding.bic, company_id=funding.company_id)


async def hand_in(session: AsyncSession, actor: Actor, *, batch_id: PayoutBatchId) -> PayoutBatch:
    """Say that the bank has the file; its payouts are followed from here on."""
    batch = await locked(session, merchant_id=actor.merchant, batch_id=batch_id)
    if batch.rail == Rail.API or batch.downloaded_at is None:
        raise PayoutIsStale("Download the file first, then hand it in.")
    batch.status, batch.sent_at = BATCH.next(BatchStatus(batch.status), "send"), now()
    statement = select(Payout).where(
        Payout.merchant_id == actor.merchant, Payout.batch_id == batch_id, Payout.status == PayoutStatus.SENDING
    )
    payouts = list((await session.execute(statement.order_by(Payout.id).with_for_update())).scalars())
    async with sheets.together(session, actor.merchant):
        for payout in payouts:
            await history.move(session, actor, payout=payout, event="acknowledge", tells=PayoutSubmitted)
    await audit.record(session, actor, action="payout.batch_handed_in", object_type="payout_batch", object_id=batch_id)
    return batch
