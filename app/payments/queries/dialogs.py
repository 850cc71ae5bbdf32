"""Reads for the dialogs that move money."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId, PaymentId, SellerId
from app.payments import queries
from app.payments.domain import NothingToCapture, Operation, RefundExceedsCaptured
from app.payments.fees.domain import kept_fees
from app.payments.schemas.details import can_void
from app.payments.schemas.forms import OperationPage, operation_page, room
from app.sellers import queries as sellers


async def operation_dialog(session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId, kind: Operation) -> OperationPage:
    """The dialog of a capture, refund or release; refused when nothing is left to move."""
    payment = await queries.payment(session, merchant_id=merchant_id, payment_id=payment_id)
    if kind is Operation.REFUND and not room(payment, kind).is_positive:
        raise RefundExceedsCaptured("Nothing of this payment can be refunded now.")
    if (kind is Operation.CAPTURE and not room(payment, kind).is_positive) or (kind is Operation.VOID and not can_void(payment)):
        raise NothingToCapture("Nothing is authorised any more that could be captured or released.")
    parts = await queries.parts(session, merchant_id=merchant_id, payment_id=payment_id)
    names = await sellers.seller_names(session, merchant_id=merchant_id, ids={SellerId(part.seller_id) for part in parts})
    done = await queries.operations(session, merchant_id=merchant_id, payment_id=payment_id) if kind is Operation.REFUND else []
    return operation_page(payment, parts, names, kind, kept_fees((each.kind, each.status, each.split) for each in done))
