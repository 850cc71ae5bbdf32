"""How fast the ledger posts, as ratios to a bare update and insert on the same server in the same run.

``post`` is the ledger's own cost as in its design: idempotency row, payment, a transaction of four entries through ``ledger.post1`` with
every check and both balance triggers, balances, outbox, on small tables beside it. ``take`` is the product's complete capture
(bench.captures). Each is one call and one database transaction with fsync on; every client is a process of its own. ``eight together`` is the
same in calls of eight, as a web worker with eight requests under way sends them (app.core.gathering).
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence

import psycopg

from bench.captures import Prepared, taker, together
from bench.figures import Figure, table
from bench.house import House, open_house
from bench.work import BATCH, CONNECTIONS, MERCHANT, PAYMENTS, SELLERS, TOGETHER, Measured, Work, measure

SCHEMA = """
create schema bench;
create table bench.payment (id int primary key, captured bigint not null default 0, version int not null default 0, updated_at timestamptz);
insert into bench.payment select g from generate_series(1, {payments}) g;
create table bench.idempotency (merchant_id uuid, key uuid, fingerprint bytea not null, primary key (merchant_id, key));
create table bench.outbox (id bigint generated always as identity primary key, merchant_id uuid not null, topic text not null, payload jsonb not null);

create function bench.party(kind int, number int) returns uuid language sql immutable as
  $$ select ('00000000-0000-7000-8000-' || kind || lpad(number::text, 11, '0'))::uuid $$;

create function bench.bare(p int) returns void language plpgsql as $$
begin
  update bench.payment set captured = captured + 1, version = version + 1 where id = p;
  insert into bench.outbox (merchant_id, topic, payload) values ('{merchant}', 'payment.captured', '{{}}');
end $$;

create function bench.capture(p int, connection int, seller int) returns bigint language plpgsql as $$
declare event uuid := gen_random_uuid();
begin
  insert into bench.idempotency values ('{merchant}', event, '\\x00') on conflict do nothing;
  update bench.payment set captured = captured + 10000, version = version + 1, updated_at = now() where id = p;
  insert into bench.outbox (merchant_id, topic, payload) values ('{merchant}', 'payment.captured', jsonb_build_object('payment', p));
  perform set_config('app.merchant_id', '{merchant}', true);
  return ledger.post1('{merchant}', 'payment.captured', 'payment', event, 'capture:1', '2026-11-21', '{{1100,2100,2300,4100}}',
    '{{connection,seller,NULL,NULL}}', array[bench.party(1, connection), bench.party(2, seller), null, null], '{{EUR,EUR,EUR,EUR}}',
    '{{1,-1,-1,-1}}', '{{10000,8500,1000,500}}', array[event::text, null, null, null]);
end $$;

create function bench.captures(p int[], connections int[], sellers int[]) returns int language plpgsql as $$
declare n int := cardinality(p); events uuid[] := array(select gen_random_uuid() from generate_series(1, n));
begin
  insert into bench.idempotency select '{merchant}', e, '\\x00' from unnest(events) e order by e on conflict do nothing;
  update bench.payment set captured = captured + 10000, version = version + 1, updated_at = now() where id = any (p);
  insert into bench.outbox (merchant_id, topic, payload) select '{merchant}', 'payment.captured', jsonb_build_object('payment', one) from unnest(p) one;
  perform set_config('app.merchant_id', '{merchant}', true);
  return (select cardinality(ledger.post('{merchant}', array_fill('payment.captured'::text, array[n]), array_fill('payment'::text, array[n]), events,
    array_fill('capture:1'::text, array[n]), array_fill('2026-11-21'::date, array[n]), array_agg(g order by g, k),
    array_agg((array['1100', '2100', '2300', '4100'])[k] order by g, k), array_agg((array['connection', 'seller', null, null])[k] order by g, k),
    array_agg(case k when 1 then bench.party(1, connections[g]) when 2 then bench.party(2, sellers[g]) end order by g, k),
    array_fill('EUR'::text, array[4 * n]), array_agg((array[1, -1, -1, -1])[k]::smallint order by g, k),
    array_agg((array[10000, 8500, 1000, 500])[k]::bigint order by g, k), array_agg(case k when 1 then events[g]::text end order by g, k)))
    from generate_series(1, n) g, generate_series(1, 4) k);
end $$;

create function bench.batch(n int, hot boolean) returns int language plpgsql as $$
begin
  perform set_config('app.merchant_id', '{merchant}', true);
  return (select cardinality(ledger.post('{merchant}', array_fill('ledger.adjusted'::text, array[n]), array_fill('batch'::text, array[n]),
    array_agg(gen_random_uuid()), array_fill('transfer'::text, array[n]), array_fill('2026-11-21'::date, array[n]),
    (select array_agg(g order by g, k) from generate_series(1, n) g, generate_series(1, 2) k),
    (select array_agg(case k when 1 then '1100' else '2100' end order by g, k) from generate_series(1, n) g, generate_series(1, 2) k),
    (select array_agg(case k when 1 then 'connection' else 'seller' end order by g, k) from generate_series(1, n) g, generate_series(1, 2) k),
    (select array_agg(case k when 1 then bench.party(1, case when hot then 1 else 1 + (random() * {last})::int end)
       else bench.party(2, 1 + (random() * {last})::int) end order by g, k) from generate_series(1, n) g, generate_series(1, 2) k),
    array_fill('EUR'::text, array[2 * n]),
    (select array_agg((case k when 1 then 1 else -1 end)::smallint order by g, k) from generate_series(1, n) g, generate_series(1, 2) k),
    (select array_agg((1 + g % 1000)::bigint order by g, k) from generate_series(1, n) g, generate_series(1, 2) k)))
    from generate_series(1, n));
end $$;
"""


def repeated(one: Callable[[psycopg.Connection], None]) -> Work:
    """A workload that is the same thing over and over."""

    def work(connection: psycopg.Connection, number: int) -> Iterator[None]:
        random.seed(number)
        while True:
            one(connection)
            yield

    return work


GRANTS = """
grant usage on schema bench to countinghouse_app;
grant select, insert, update on all tables in schema bench to countinghouse_app;
"""


def bare(connection: psycopg.Connection) -> None:
    """One update and one insert."""
    connection.execute("select bench.bare(%s)", (random.randint(1, PAYMENTS),))


def post(connection: psycopg.Connection) -> None:
    """A posting on random accounts."""
    connection.execute(
        "select bench.capture(%s, %s, %s)", (random.randint(1, PAYMENTS), random.randint(1, CONNECTIONS), random.randint(1, SELLERS))
    )


def post_hot(connection: psycopg.Connection) -> None:
    """A posting where everything comes through one PSP account, as in a real shop: that account is deferred."""
    connection.execute("select bench.capture(%s, 1, %s)", (random.randint(1, PAYMENTS), random.randint(1, SELLERS)))


def post_one_wallet(connection: psycopg.Connection) -> None:
    """Postings for one seller only, whose wallet row each of them must lock."""
    connection.execute("select bench.capture(%s, 1, 1)", (random.randint(1, PAYMENTS),))


def post_together(connection: psycopg.Connection) -> None:
    """As many postings in one call as there are requests under way in a busy web worker."""
    payments = sorted(random.sample(range(1, PAYMENTS + 1), TOGETHER))  # in one order everywhere, as the product locks them
    parties = [[random.randint(1, last) for _ in range(TOGETHER)] for last in (CONNECTIONS, SELLERS)]
    connection.execute("select bench.captures(%s::int[], %s::int[], %s::int[])", (payments, *parties))


def batch(connection: psycopg.Connection) -> None:
    """A thousand transfers in one call."""
    connection.execute("select bench.batch(%s, false)", (BATCH,))


def fill(url: str) -> None:
    """The tables of the benchmark and the accounts it uses."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA.format(payments=PAYMENTS, merchant=MERCHANT, last=min(SELLERS, CONNECTIONS) - 1).encode())
        connection.execute("select set_config('app.merchant_id', %s, false)", (str(MERCHANT),))
        connection.execute(
            "select ledger.open_account(%(m)s, code, kind, bench.party(number_of, n), 'EUR') from generate_series(1, %(n)s) n,"
            " (values ('1100', 'connection', 1), ('2100', 'seller', 2)) accounts(code, kind, number_of)",
            {"m": MERCHANT, "n": max(SELLERS, CONNECTIONS)},
        )
        connection.execute(GRANTS)
        connection.execute("vacuum analyze")


FLOOR = "bare update and insert"
POSTS = {"post, random accounts": post, "post, one hot PSP account": post_hot, "post, one hot wallet": post_one_wallet}
TAKES = {"take, random wallets": False, "take, one hot wallet": True}
RANDOM = {
    "post, one hot PSP account": "post, random accounts",
    "post, one hot wallet": "post, random accounts",
    "take, one hot wallet": "take, random wallets",
}
"""What a hot account is compared with besides the floor."""
PER_SECOND = {True: 2_500, False: 6_000}
"""Orders are prepared for at most so many captures a second: by one client alone, by several."""


def run(house: House, *, seconds: float = 3.0, clients: Sequence[int] = (1, 8)) -> list[Figure]:
    """Measure everything once: the bare floor first at each number of clients, then what is compared with it."""
    fill(house.superuser)
    prepared = Prepared(house.superuser, house.here.urls.app)
    url = house.here.urls.app
    results = []
    _settle(house.superuser, url, prepared, max(clients), seconds)
    for number in clients:
        results.append(measure(url, FLOOR, repeated(bare), clients=number, seconds=seconds))
        results += [measure(url, name, repeated(one), clients=number, seconds=seconds) for name, one in POSTS.items()]
        results.append(measure(url, "post, eight together", repeated(post_together), clients=number, seconds=seconds, each=TOGETHER))
        results += _takes(prepared, number, seconds)
    batches = [
        measure(url, "batches of 1,000", repeated(batch), clients=n, seconds=seconds, each=BATCH) for n in sorted({1, min(4, max(clients))})
    ]
    verify(house.superuser)
    return _figures([*results, *batches])


def _settle(superuser: str, url: str, prepared: Prepared, clients: int, seconds: float) -> None:
    """Do a little of everything first and let PostgreSQL count its tables, as autovacuum does in a database that is older than a minute."""
    measure(url, "post", repeated(post), clients=clients, seconds=seconds / 6)
    measure(
        url,
        "take",
        taker(prepared.orders(2_000, hot=False, begun=False), clients, hot=False, begins=True),
        clients=clients,
        seconds=seconds / 6,
    )
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute("vacuum analyze")


def _takes(prepared: Prepared, clients: int, seconds: float) -> list[Measured]:
    """The product's captures: with the payment begun before the clock runs, and with both statements on the clock."""
    enough = int(PER_SECOND[clients == 1] * (seconds + min(1.0, seconds / 4))) + 100
    results = []
    for name, hot in TAKES.items():
        work = taker(prepared.orders(enough, hot=hot, begun=True), clients, hot=hot, begins=False)
        results.append(measure(prepared.url, name, work, clients=clients, seconds=seconds))
    work = together(prepared.orders(enough, hot=False, begun=True), clients, TOGETHER)
    results.append(measure(prepared.url, "take, eight together", work, clients=clients, seconds=seconds, each=TOGETHER))
    work = taker(prepared.orders(enough // 2, hot=False, begun=False), clients, hot=False, begins=True)
    return [*results, measure(prepared.url, "begin and take", work, clients=clients, seconds=seconds)]


def _figures(results: Sequence[Measured]) -> list[Figure]:
    rates = {(result.name, result.clients): result.per_second for result in results}
    return [_figure(result, rates) for result in results]


def _figure(result: Measured, rates: dict[tuple[str, int], float]) -> Figure:
    floor, random_rate = rates.get((FLOOR, result.clients)), rates.get((RANDOM.get(result.name, ""), result.clients))
    is_floor = result.name == FLOOR
    return Figure(
        part="ledger",
        name=result.name,
        clients=result.clients,
        per_second=result.per_second,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        floor="" if is_floor or floor is None else FLOOR,
        ratio=None if is_floor or floor is None else result.per_second / floor,
        note=f"{result.per_second / random_rate:.0%} of its random rate" if random_rate else "",
    )


def verify(url: str) -> None:
    """Nothing fast counts if the books are off afterwards."""
    with psycopg.connect(url) as connection:
        off = connection.execute(
            "select count(*) from (select account_id, sum(side * amount) net from ledger.entry group by 1) e full join"
            " (select account_id, sum(net) net from (select account_id, debits_posted - credits_posted net from ledger.balance"
            "  union all select account_id, debits - credits from ledger.balance_delta) s group by 1) b using (account_id)"
            " where coalesce(e.net, 0) <> coalesce(b.net, 0)"
        ).fetchone()
    if off != (0,):
        raise RuntimeError(f"{off} accounts differ from their entries after the run")


if __name__ == "__main__":
    with open_house() as here:
        print(table(run(here, seconds=float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)))
