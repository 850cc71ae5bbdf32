"""What a seller sold lately."""

from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId, SellerId, public_id
from app.core.money import Money
from app.reports.schemas import SaleRow, SellerActivityPage
from app.sellers import queries as sellers

MOST = 10
_SALES = text(
    "select p.id, p.order_reference, p.buyer_name, p.buyer_email, p.status, p.currency, t.amount_minor, t.fee_minor, t.refunded_minor, p.created_at"
    " from (select * from payment_part where merchant_id = :merchant and seller_id = :seller order by payment_id desc limit :most) t"
    " join payment p on p.merchant_id = t.merchant_id and p.id = t.payment_id order by p.id desc"
)


async def seller_activity_page(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> SellerActivityPage:
    """The last payments with a part for the seller."""
    seller = await sellers.seller(session, merchant_id=merchant_id, seller_id=seller_id)
    rows = await session.execute(_SALES, {"merchant": merchant_id, "seller": seller_id, "most": MOST})
    return SellerActivityPage(seller=seller.name, sales=[_sale(row) for row in rows])


def _sale(row: Row[Any]) -> SaleRow:
    return SaleRow(
        id=public_id("pay", row.id),
        order=row.order_reference,
        buyer=row.buyer_name or row.buyer_email,
        status=row.status,
        part=Money(row.amount_minor, row.currency),
        fee=Money(row.fee_minor, row.currency),
        refunded=Money(row.refunded_minor, row.currency),
        at=row.created_at,
    )
