"""How fast the ledger posts, as ratios to a bare update and insert on the same server in the same run.

A capture is complete and guarded: idempotency row, payment, a transaction of four entries through ``ledger.post1`` with every check and
both balance triggers, balances, outbox; one call, one database transaction, fsync on. The clients are processes of their own, one
connection each.
"""

import multiprocessing as mp
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg

from app.cli.migrate import upgrade
from app.core.embedded import EmbeddedPostgres
from app.core.roles import DATABASE, OWNER
from app.core.settings import settings

MERCHANT = UUID("00000000-0000-7000-8000-00000000000a")
SELLERS, CONNECTIONS, PAYMENTS, BATCH = 2_000, 2_000, 200_000, 1_000

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


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one workload reached with so many clients."""

    name: str
    clients: int
    per_second: float
    p50_ms: float
    p99_ms: float


def bare(connection: psycopg.Connection) -> None:
    """One update and one insert."""
    connection.execute("select bench.bare(%s)", (random.randint(1, PAYMENTS),))


def capture(connection: psycopg.Connection) -> None:
    """A capture on random accounts."""
    connection.execute(
        "select bench.capture(%s, %s, %s)", (random.randint(1, PAYMENTS), random.randint(1, CONNECTIONS), random.randint(1, SELLERS))
    )


def hot_capture(connection: psycopg.Connection) -> None:
    """A capture where everything comes through one PSP account, as in a real shop: that account is deferred."""
    connection.execute("select bench.capture(%s, 1, %s)", (random.randint(1, PAYMENTS), random.randint(1, SELLERS)))


def one_wallet(connection: psycopg.Connection) -> None:
    """A capture for one seller only, whose wallet row every capture must lock."""
    connection.execute("select bench.capture(%s, 1, 1)", (random.randint(1, PAYMENTS),))


def batch(connection: psycopg.Connection) -> None:
    """A thousand transfers in one call."""
    connection.execute("select bench.batch(%s, false)", (BATCH,))


def client(
    url: str, work: Callable[[psycopg.Connection], None], seconds: float, start: "mp.synchronize.Barrier", out: "mp.Queue[list[float]]"
) -> None:
    """One client process: warm up, wait for the others, work, report how long each call took."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection:
        random.seed()
        until = time.perf_counter() + min(1.0, seconds / 4)
        while time.perf_counter() < until:
            work(connection)
        start.wait(60)
        took, until = [], time.perf_counter() + seconds
        while (begun := time.perf_counter()) < until:
            work(connection)
            took.append(time.perf_counter() - begun)
    out.put(took)


def measure(url: str, work: Callable[[psycopg.Connection], None], *, clients: int, seconds: float, each: int = 1) -> Measured:
    """Run the work on so many connections at once; ``each`` is how many things one call does."""
    context = mp.get_context("fork")
    start, out = context.Barrier(clients), context.Queue()
    processes = [context.Process(target=client, args=(url, work, seconds, start, out)) for _ in range(clients)]
    for process in processes:
        process.start()
    took = sorted(one for _ in processes for one in out.get(timeout=seconds + 120))
    for process in processes:
        process.join()
    milliseconds = [one * 1000 for one in took]
    return Measured(
        name=work.__name__,
        clients=clients,
        per_second=len(took) * each / seconds,
        p50_ms=statistics.median(milliseconds),
        p99_ms=milliseconds[min(len(milliseconds) - 1, len(milliseconds) * 99 // 100)],
    )


@contextmanager
def prepared_server() -> Iterator[str]:
    """A migrated server of its own with fsync on and every account opened; gives the owner's address."""
    with tempfile.TemporaryDirectory(prefix="countinghouse-bench-") as directory:
        Path(directory).chmod(0o711)
        server = EmbeddedPostgres(Path(directory) / "postgres").start()
        try:
            settings.cache_clear()
            upgrade(server.urls.owner)
            fill(server.url(OWNER, DATABASE))
            yield server.url(OWNER, DATABASE)
        finally:
            server.destroy()


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
        connection.execute("vacuum analyze")


def run(seconds: float = 4.0) -> list[Measured]:
    """Measure everything once: the bare floor first at each number of clients, then what is compared with it."""
    with prepared_server() as url:
        alone = [measure(url, work, clients=n, seconds=seconds) for n in (1, 8) for work in (bare, capture, hot_capture, one_wallet)]
        batches = [measure(url, batch, clients=n, seconds=seconds, each=BATCH) for n in (1, 4)]
        verify(url)
    return [*alone, *batches]


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


def report(results: list[Measured]) -> str:
    """The results as lines, each with its ratio to the bare transaction at the same number of clients."""
    floors = {result.clients: result.per_second for result in results if result.name == "bare"}
    random_rate = {result.clients: result.per_second for result in results if result.name == "capture"}
    lines = ["workload        clients   per second   of bare   of random   p50 ms   p99 ms"]
    for result in results:
        of_bare = f"{result.per_second / floors[result.clients]:.2f}" if result.clients in floors else "-"
        of_random = f"{result.per_second / random_rate[result.clients]:.2f}" if result.name in {"hot_capture", "one_wallet"} else "-"
        lines.append(
            f"{result.name:<15} {result.clients:>7} {result.per_second:>12,.0f} {of_bare:>9} {of_random:>11} {result.p50_ms:>8.2f} {result.p99_ms:>8.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table; the first argument is the seconds per workload."""
    print(report(run(float(sys.argv[1]) if len(sys.argv) > 1 else 4.0)))


if __name__ == "__main__":
    main()
