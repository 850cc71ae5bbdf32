"""The product's own hot writes called directly: how many complete captures a second the database takes.

``take`` is one statement: the payment moves to captured, with attempt, sellers' parts, operation, the day of availability, history,
outbox, the request's idempotency key, order, and a ledger transaction of four entries with its balances. ``begin and take`` are the
two statements of a whole pay-in, the one before the provider is called and the one after it.
"""

from collections.abc import Iterator

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
  $$ select case when side = 0 then case when hot then 1 else 2 + (hashint4(n) & 1023) end else 1030 + (hashint4(n + 7) & 511) end $$;

create function bench.begin(n int) returns text language sql as $$
  select claim from payment_begin('{merchant}', 'pay-' || n, '\\x00', now() + interval '30 seconds', bench.party(6, n), bench.party(7, n),
    bench.party(5, n), null, 'automatic', null, 'api_key', 'Bench', now(), now() + interval '1 hour', now() + interval '1 minute',
    bench.party(8, n), bench.party(9, n), '{{}}'::jsonb) $$;
"""
BEGIN = "select bench.begin(%s)"
TAKE = """
select payment_take(m, bench.party(6, n), bench.party(7, n), gen_random_uuid(), now(), true, 'processing', 'captured', 0, 10000, true,
  array[s1, s2], '{4000,6000}', '{425,625}', 0, 2, 'psp_' || n, '{card,visa,4242,08/29,fp}', null, '{}', 20, 'api_key', 'Bench', null, 'request',
  gen_random_uuid(), gen_random_uuid(), '{"status":"captured"}', current_date, '{payment.captured}', array['capture:' || n], '{1,1,1,1}',
  '{1100,2100,2100,4100}', '{connection,seller,seller,NULL}', array[bench.party(1, 1), s1, s2, null], '{1,-1,-1,-1}', '{10000,3575,5375,1050}',
  array['pay_' || n, null, null, null], 'pay-' || n, 201, '\\x7b7d')
from (select %(merchant)s::uuid m, %(n)s::int n, bench.party(2, bench.seller_of(%(n)s, 0, %(hot)s)) s1, bench.party(2, bench.seller_of(%(n)s, 1, %(hot)s)) s2) a
"""

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
            connection.execute(TAKE.encode(), {"merchant": MERCHANT, "n": n, "hot": hot})
            yield

    return work
