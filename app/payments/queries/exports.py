"""Payments as a file."""

from collections.abc import AsyncIterator
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.exports import copied, decimal, harmless, harmless_text
from app.core.ids import ConnectionId, MerchantId
from app.payments.queries.conditions import any_state, conditions
from app.payments.schemas.lists import PaymentFilters, Sort

COLUMNS: dict[str, str] = {
    "payment": "id",
    "created_at_utc": "created_at at time zone 'UTC'",
    "status": "status",
    "currency": "currency",
    "amount_minor": "amount_minor",
    "amount": decimal("amount_minor"),
    "captured_minor": "captured_minor",
    "captured": decimal("captured_minor"),
    "refunded_minor": "refunded_minor",
    "refunded": decimal("refunded_minor"),
    "order_reference": harmless("order_reference"),
    "buyer_name": harmless("buyer_name"),
    "buyer_email": harmless("buyer_email"),
    "method": "coalesce(method_brand, method_kind)",
    "last4": "last4",
    "connection": "''",
    "psp_reference": harmless("provider_reference"),
    "failure_code": "failure_code",
}


async def payment_rows(
    session: AsyncSession,
    *,
    merchant_id: MerchantId,
    filters: PaymentFilters,
    names: dict[ConnectionId, str],
    only: list[UUID] | None = None,
) -> AsyncIterator[bytes]:
    """The payments that match as CSV, in the order of the list; ``only`` keeps the ticked ones."""
    where = conditions(merchant_id, filters)
    if only is not None:
        where.add("id = any(%(only)s)", only=only)
    cases = ""
    for number, (connection_id, name) in enumerate(names.items()):
        where.values |= {f"connection_{number}": connection_id, f"name_{number}": harmless_text(name)}
        cases += f" when %(connection_{number})s then %(name_{number})s"
    columns = COLUMNS | ({"connection": f"case connection_id{cases} end"} if cases else {})
    direction = "asc" if filters.ascending else "desc"
    order = f"amount_minor {direction}, id {direction}" if filters.sort is Sort.AMOUNT else f"id {direction}"
    rest = f"from payment where {where.sql(*any_state(filters.statuses))} order by {order}"
    async for rows in copied(session, columns, rest, where.values, prefix="pay"):
        yield rows
