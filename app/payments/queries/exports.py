"""Payments as a file: the server's COPY, streamed. Memory stays flat however long the file gets."""

from collections.abc import AsyncIterator
from uuid import UUID

from psycopg import AsyncConnection
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import ConnectionId, MerchantId, public_ids
from app.core.money import CURRENCIES
from app.payments.queries.conditions import any_state, conditions
from app.payments.schemas.lists import PaymentFilters, Sort

ROWS_AT_ONCE = 1000
MINUTES = 10
_UUID = 36


def _decimal(column: str) -> str:
    """The amount as a decimal number in its own currency, without floating point."""
    cases = "".join(
        f" when currency in ({_codes(places)}) then {_with_places(column, places)}" for places in sorted(set(CURRENCIES.values()) - {2})
    )
    return f"case{cases} else {_with_places(column, 2)} end"


def _codes(places: int) -> str:
    return ", ".join(f"'{code}'" for code, other in CURRENCIES.items() if other == places)


def _with_places(column: str, places: int) -> str:
    if places == 0:
        return f"{column}::text"
    unit = 10**places
    return f"({column} / {unit})::text || '.' || lpad(mod({column}, {unit})::text, {places}, '0')"


def _harmless(column: str) -> str:
    """A spreadsheet takes a text that begins so for a formula; an apostrophe before it makes it a text again."""
    return f"case when {column} ~ '^[=+@\\t\\r-]' then '''' || {column} else {column} end"


COLUMNS: dict[str, str] = {
    "payment": "id",
    "created_at_utc": "created_at at time zone 'UTC'",
    "status": "status",
    "currency": "currency",
    "amount_minor": "amount_minor",
    "amount": _decimal("amount_minor"),
    "captured_minor": "captured_minor",
    "captured": _decimal("captured_minor"),
    "refunded_minor": "refunded_minor",
    "refunded": _decimal("refunded_minor"),
    "order_reference": _harmless("order_reference"),
    "buyer_name": _harmless("buyer_name"),
    "buyer_email": _harmless("buyer_email"),
    "method": "coalesce(method_brand, method_kind)",
    "last4": "last4",
    "connection": "case connection_id{} end",
    "psp_reference": _harmless("provider_reference"),
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
    """The payments that match as CSV, a thousand rows at a time, in the order of the list; ``only`` keeps the ticked ones."""
    where = conditions(merchant_id, filters)
    if only is not None:
        where.add("id = any(%(only)s)", only=only)
    cases = ""
    for number, (connection_id, name) in enumerate(names.items()):
        where.values |= {f"connection_{number}": connection_id, f"name_{number}": _quoted(name)}
        cases += f" when %(connection_{number})s then %(name_{number})s"
    columns = ", ".join(COLUMNS.values()).replace("case connection_id{} end", f"case connection_id{cases} else '' end" if cases else "''")
    order = "amount_minor, id" if filters.sort is Sort.AMOUNT else "id"
    direction = "" if filters.ascending else " desc"
    select = f"select {columns} from payment where {where.sql(*any_state(filters.statuses))} order by {order.replace(',', direction + ',')}{direction}"  # noqa: S608
    yield (",".join(COLUMNS) + "\r\n").encode()
    async for rows in _copied(await _driver(session), f"copy ({select}) to stdout (format csv)", where.values):
        yield rows


def _quoted(name: str) -> str:
    return f"'{name}" if name[:1] in "=+-@\t\r" else name


async def _driver(session: AsyncSession) -> AsyncConnection:
    raw = await (await session.connection()).get_raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, AsyncConnection)
    return connection


async def _copied(connection: AsyncConnection, statement: str, values: dict[str, object]) -> AsyncIterator[bytes]:
    async with connection.cursor() as cursor:
        # a file may take longer than a page may
        await cursor.execute(f"set local statement_timeout = '{MINUTES}min'")
        async with cursor.copy(statement, values) as copy:
            rows: list[bytes] = []
            async for row in copy:
                rows.append(bytes(row))
                if len(rows) == ROWS_AT_ONCE:
                    yield _with_public_ids(rows)
                    rows = []
            if rows:
                yield _with_public_ids(rows)


def _with_public_ids(rows: list[bytes]) -> bytes:
    """Each row begins with the bare uuid; put the id that people know in its place."""
    values = bytes.fromhex(b"".join([row[:_UUID] for row in rows]).decode().replace("-", ""))
    ids = public_ids("pay", values)
    width = len(ids) // len(rows)
    return b"".join([part for place, row in enumerate(rows) for part in (ids[place * width : (place + 1) * width], row[_UUID:])])
