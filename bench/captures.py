"""The product's own hot writes called directly: how many complete captures a second the database takes.

``take`` is one statement: the payment moves to captured, with attempt, sellers' parts, operation, the day of availability, history,
outbox, the request's idempotency key, order, and a ledger transaction of four entries with its balances. ``begin and take`` are the
two statements of a whole pay-in, the one before the provider is called and the one after it.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg

from bench.work import MERCHANT, SELLERS, Work

PREPARE = """
insert into psp_connection (merchant_id, id, name, psp, status, config, credentials, credentials_version, fingerprints, created_at, updated_at)
  values (%(merchant)s, bench.party(1, 1), 'Bench', 'instant', 'active', '{}', 'none', 1, '{}', now(), now());
insert into seller (merchant_id, id, reference, name, name_lc, email, country, status, created_at, updated_at)
  select %(merchant)s, bench.party(2, n), 's-' || n, 'Seller ' || n, 'seller ' || n, '', 'DE', 'active', now(), now() from generate_series(1, %(sellers)s) n;
insert into platform_fee (merchant_id, id, currency, basis_points, fixed_minor, updated_at) values (%(merchant)s, bench.party(3, 1), 'EUR', 1000, 25, now());
"""
ORDERS = """
with fresh as (
  insert into sales_order (merchant_id, id, reference, status, currency, total_minor, buyer_name, buyer_email, buyer_email_lc, description, details,
      created_at, updated_at)
    select %(merchant)s, bench.party(5, n), 'B-' || n, 'open', 'EUR', 10000, 'Lena Hoffmann', 'lena@buyers.example', 'lena@buyers.example', '', '{}',
      now(), now() from generate_series(%(first)s::int, %(last)s::int) n returning id)
insert into sales_order_line (merchant_id, order_id, position, seller_id, description, quantity, amount_minor)
  select %(merchant)s, bench.party(5, n), side, bench.party(2, bench.seller_of(n, side::int, %(hot)s)), 'Oak chair', 1, 4000 + 2000 * side
    from generate_series(%(first)s::int, %(last)s::int) n, generate_series(0, 1) side
"""
FUNCTIONS = """
-- The two sellers of an order: any two, or always the first one and another.
create function bench.seller_of(n int, side int, hot boolean) returns int language sql immutable as
  $$ select case when side = 0 then case when hot then 1 else 2 + (spread & 1023)::int end else 1030 + (spread >> 10 & 511)::int end
       from (select (n * 2654435761 % 4294967296) >> 8 as spread) s $$;

create function bench.begin(n int) returns text language sql as $$
  select claim from payments_begin('{merchant}', json_build_array(json_build_object('key', 'pay-' || n, 'request', '00', 'lease', now() + interval '30 seconds',
    'payment', bench.party(6, n), 'attempt', bench.party(7, n), 'order_id', bench.party(5, n), 'mode', 'automatic', 'actor_kind', 'api_key',
    'actor_name', 'Bench', 'at', now(), 'expires', now() + interval '1 hour', 'ask', now() + interval '1 minute', 'event', bench.party(8, n),
    'message', bench.party(9, n), 'named', '{{}}'::json))) $$;
"""
BEGIN = "select bench.begin(%s)"
TAKE = "select payments_take(%s, %s, %s, 2)"


def taking(numbers: Sequence[int], *, hot: bool) -> tuple[UUID, str, str]:
    """What the application sends when the provider has said yes: payments to two sellers each, and their journals of four entries each."""
    sellers = [[_seller(n, side, hot=hot) for side in range(2)] for n in numbers]
    takings = [_taken(n, both) for n, both in zip(numbers, sellers, strict=True)]
    journals = [_journal(n, both, place) for place, (n, both) in enumerate(zip(numbers, sellers, strict=True), 1)]
    journal = {column: [value for one in journals for value in one[column]] for column in journals[0]}
    return MERCHANT, msgspec.json.encode(takings).decode(), msgspec.json.encode(journal).decode()


def _taken(n: int, sellers: list[UUID]) -> dict[str, object]:
    return {
        "payment": _party(6, n),
        "currency": "EUR",
        "attempt": _party(7, n),
        "operation": uuid4(),
        "at": datetime.now(UTC),
        "at_once": True,
        "from_status": "processing",
        "to_status": "captured",
        "captured_before": 0,
        "amount": 10000,
        "is_final": True,
        "sellers": sellers,
        "amounts": [4000, 6000],
        "fees": [425, 625],
        "platform_fee": 1050,
        "psp_fee": 0,
        "provider_reference": f"psp_{n}",
        "method": ["card", "visa", "4242", "08/29", "fp"],
        "evidence": {},
        "latency": 20,
        "actor_kind": "api_key",
        "actor_name": "Bench",
        "event": uuid4(),
        "outbox": uuid4(),
        "payload": {"status": "captured"},
        "finish_key": f"pay-{n}",
        "finish_status": 201,
        "finish_body": "{}",
    }


def _journal(n: int, sellers: list[UUID], place: int) -> dict[str, list[Any]]:
    return {
        "kinds": ["payment.captured"],
        "source_ids": [_party(6, n)],
        "event_keys": [f"capture:{n}"],
        "effective_ons": [datetime.now(UTC).date()],
        "descriptions": [f"B-{n}"],
        "lines_of": [place] * 4,
        "codes": ["1100", "2100", "2100", "4100"],
        "owner_types": ["connection", "seller", "seller", None],
        "owners": [_party(1, 1), *sellers, None],
        "currencies": ["EUR"] * 4,
        "sides": [1, -1, -1, -1],
        "amounts": [10000, 3575, 5375, 1050],
        "clear_keys": [f"pay_{n}", None, None, None],
        "actor_kinds": ["api_key"],
        "actor_ids": [None],
        "request_ids": ["request"],
    }


def _party(kind: int, number: int) -> UUID:
    return UUID(f"00000000-0000-7000-8000-{kind}{number:011}")


def _seller(n: int, side: int, *, hot: bool) -> UUID:
    """The two sellers of an order: any two, or always the first one and another; the same as bench.seller_of."""
    spread = n * 2654435761 % 2**32 >> 8
    number = (1 if hot else 2 + (spread & 1023)) if side == 0 else 1030 + (spread >> 10 & 511)
    return _party(2, number)


BATCH = 5_000


class Prepared:
    """Numbers of orders, some of them with a payment begun; each client gets its own, none is used twice."""

    def __init__(self, superuser: str, url: str) -> None:
        self.superuser, self.url, self.used = superuser, url, 0
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute(FUNCTIONS.format(merchant=MERCHANT).encode())
            _enter(connection)
            for statement in PREPARE.strip().split(";\n"):
                connection.execute(statement.encode(), {"merchant": MERCHANT, "sellers": SELLERS} if "%(" in statement else None)

    def orders(self, count: int, *, hot: bool, begun: bool) -> range:
        """So many fresh orders; when ``begun``, with a payment that waits for the provider's answer."""
        first, self.used = self.used + 1, self.used + count
        numbers = range(first, first + count)
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            _enter(connection)
            connection.execute(ORDERS.encode(), {"merchant": MERCHANT, "first": first, "last": numbers[-1], "hot": hot})
            connection.execute("analyze sales_order, sales_order_line")
            for start in range(first, numbers[-1] + 1, BATCH) if begun else ():
                connection.execute(
                    "select count(bench.begin(n)) from generate_series(%s::int, %s::int) n", (start, min(start + BATCH - 1, numbers[-1]))
                )
            connection.execute("vacuum analyze")
        return numbers


def _enter(connection: psycopg.Connection) -> None:
    connection.execute("select set_config('app.merchant_id', %s, false)", (str(MERCHANT),))


def taker(numbers: range, clients: int, *, hot: bool, begins: bool) -> Work:
    """What each client does: take its share of the payments, one after the other, beginning them first if they are not."""

    def work(connection: psycopg.Connection, client: int) -> Iterator[None]:
        for n in numbers[client::clients]:
            if begins:
                connection.execute(BEGIN, (n,))
            connection.execute(TAKE.encode(), taking([n], hot=hot))
            yield

    return work


def together(numbers: range, clients: int, size: int) -> Work:
    """As ``taker``, with so many payments in each call, as a busy web worker sends them."""

    def work(connection: psycopg.Connection, client: int) -> Iterator[None]:
        mine = numbers[client::clients]
        for start in range(0, len(mine) - size + 1, size):
            connection.execute(TAKE.encode(), taking(mine[start : start + size], hot=False))
            yield

    return work
