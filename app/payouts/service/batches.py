"""Batches that travel in files: written from what is stored, counted as sent before they leave, and followed when a person says they were handed in."""

import hashlib
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbox, secrets
from app.core.actors import Actor
from app.core.clock import now, today
from app.core.ids import MerchantId, new_id, public_id
from app.ledger import service as ledger
from app.ledger.domain import Kind, Posting
from app.ledger.domain import payouts as journals
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
from app.payouts.models import FundingAccount, Payout, PayoutAttempt, PayoutBatch, PayoutHistory
from app.payouts.service import postings, sending

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
        await _claim_all(session, actor, [payout for payout in payouts if payout.status == PayoutStatus.BATCHED])
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


async def _claim_all(session: AsyncSession, actor: Actor, payouts: list[Payout]) -> None:
    """The same claim as for a call, for all payouts of a file in a handful of statements."""
    if not payouts:
        return
    moment, merchant_id = now(), MerchantId(payouts[0].merchant_id)
    attempts = [
        {
            "merchant_id": merchant_id,
            "id": new_id(),
            "payout_id": payout.id,
            "number": 1,
            "end_to_end_id": payout.end_to_end_id,
            "evidence": {},
            "asked_times": 0,
            "begun_at": moment,
        }
        for payout in payouts
    ]
    await session.execute(insert(PayoutAttempt), attempts)
    await ledger.post(session, merchant_id=merchant_id, postings=[_sent(actor, payout) for payout in payouts])
    await _move_all(session, actor, payouts, to=PayoutStatus.SENDING, kind="payout.claim", moment=moment, sent_at=moment)


def _sent(actor: Actor, payout: Payout) -> Posting:
    key = public_id("po", payout.id)
    lines = journals.send_payout(
        payout=key,
        seller=postings.seller(payout),
        rail=postings.bank(payout),
        amount=postings.amount(payout),
        fee=postings.fee(payout),
    )
    return Posting(
        kind=Kind.PAYOUT_SENT,
        source_type="payout",
        source_id=payout.id,
        event_key=f"payout:{key}:sent",
        effective_on=today(),
        lines=lines,
        actor=actor,
    )


async def _move_all(
    session: AsyncSession, actor: Actor, payouts: list[Payout], *, to: PayoutStatus, kind: str, moment: datetime, **values: object
) -> None:
    rows = [
        {
            "merchant_id": payout.merchant_id,
            "id": new_id(),
            "payout_id": payout.id,
            "at": moment,
            "kind": kind,
            "from_status": payout.status,
            "to_status": to,
            "actor_kind": actor.kind,
            "actor_name": actor.name,
            "details": {},
        }
        for payout in payouts
    ]
    where = (Payout.merchant_id == payouts[0].merchant_id, Payout.id.in_([payout.id for payout in payouts]))
    await session.execute(update(Payout).where(*where).values(status=to, updated_at=moment, **values))
    await session.execute(insert(PayoutHistory), rows)


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
    if payouts:
        await _move_all(session, actor, payouts, to=PayoutStatus.SUBMITTED, kind="payout.acknowledge", moment=now())
    for payout in payouts:
        await outbox.publish(session, merchant_id=actor.merchant, event=_submitted(payout), object_id=payout.id)
    await audit.record(session, actor, action="payout.batch_handed_in", object_type="payout_batch", object_id=batch_id)
    return batch


def _submitted(payout: Payout) -> PayoutSubmitted:
    return PayoutSubmitted(
        payout_id=public_id("po", payout.id),
        seller_id=public_id("sel", payout.seller_id),
        status=PayoutStatus.SUBMITTED,
        amount_minor=payout.amount_minor,
        currency=payout.currency,
    )
