"""Operators ask a merchant's PSP or bank about what nobody knows yet; first it is written down that they do."""

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId, PaymentId, path_id
from app.ops.console import service
from app.payments import flows as payments
from app.payments.domain import PaymentNotFound
from app.payouts import flows as payouts
from app.payouts import queries as payout_queries


async def ask(actor: Actor, *, merchant_id: MerchantId, noun: str, item: str, reason: str) -> None:
    """Ask now how a payment or a payout ended."""
    here = service.at(actor, merchant_id, "payments.read" if noun == "payment" else "payouts.read")
    found = path_id("pay", item, otherwise=PaymentNotFound()) if noun == "payment" else payout_queries.payout_id(item)
    async with unit_of_work(merchant_id) as session:
        await service.note_act(session, here, object_type=noun, object_id=found, what="asked_psp", reason=reason)
    if noun == "payment":
        await payments.refresh(merchant_id=merchant_id, payment_id=PaymentId(found))
    else:
        await payouts.refresh(merchant_id=merchant_id, payout_id=payout_queries.payout_id(item))
