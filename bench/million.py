"""A merchant with a million payments, written in bulk."""

import re
import time
from pathlib import Path
from uuid import UUID

import psycopg

from bench.house import House, Shop

PLAN = Path(__file__).with_name("million.sql")
OTHERS = 4
BOOKED = 20_000
"""So many of the newest captures are in the ledger as well: enough for every wallet to hold money."""

PARENTS = """
insert into psp_connection (merchant_id, id, name, psp, status, config, credentials, credentials_version, fingerprints, created_at, updated_at)
  select %(other)s, id, name, psp, status, config, credentials, credentials_version, fingerprints, created_at, updated_at from psp_connection where merchant_id = %(main)s;
insert into seller (merchant_id, id, reference, name, name_lc, email, country, status, created_at, updated_at)
  select %(other)s, id, reference, name, name_lc, email, country, status, created_at, updated_at from seller where merchant_id = %(main)s;
"""
CONNECTION = """
insert into psp_connection (merchant_id, id, name, psp, status, config, credentials, credentials_version, fingerprints, created_at, updated_at)
  select merchant_id, gen_random_uuid(), %s, psp, status, config, credentials, credentials_version, fingerprints, created_at, updated_at
    from psp_connection where merchant_id = %s limit 1 returning id
"""
INDEXES = """
select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index i join pg_class t on t.oid = i.indrelid
where t.relname = any(%s) and not exists (select from pg_constraint c where c.conindid = i.indexrelid)
"""
TABLES = ["sales_order", "sales_order_line", "payment", "payment_part", "payment_attempt", "payment_event", "payment_operation"]
POST = """
with batch as (
  select row_number() over (order by n)::int as t, * from million.plan where merchant_id = %(merchant)s and is_captured and n > %(after)s order by n limit 1000),
lines as (
  select t, l.* from batch, lateral (values
    (1, '1100', 'connection', connection_id, 1::smallint, amount::bigint, payment_id::text), (2, '2100', 'seller', seller_id, -1::smallint, (amount - fee)::bigint, null),
    (3, '4100', null, null::uuid, -1::smallint, fee::bigint, null)) l(k, code, owner_type, owner_id, side, minor, clear_key) where l.minor > 0)
select (select max(n) from batch), cardinality(ledger.post(%(merchant)s, array_agg(kind order by t), array_agg('payment'::text order by t), array_agg(payment_id order by t),
  array_agg('capture:' || capture_id order by t), array_agg(at::date order by t),
  (select array_agg(t order by t, k) from lines), (select array_agg(code order by t, k) from lines), (select array_agg(owner_type order by t, k) from lines),
  (select array_agg(owner_id order by t, k) from lines), (select array_agg(b.currency order by l.t, l.k) from lines l join batch b using (t)),
  (select array_agg(side order by t, k) from lines), (select array_agg(minor order by t, k) from lines), (select array_agg(clear_key order by t, k) from lines)))
from (select *, 'payment.captured'::text as kind from batch) b
"""


def fill(house: House, shop: Shop, *, rows: int) -> float:
    """Write the rows with triggers and foreign keys at rest and the secondary indexes built at the end; gives the seconds it took."""
    began = time.perf_counter()
    with psycopg.connect(house.superuser, autocommit=True) as connection:
        for name, value in (("max_wal_size", "8GB"), ("checkpoint_timeout", "30min")):
            connection.execute(f"alter system set {name} = '{value}'".encode())
        connection.execute("select pg_reload_conf()")
        connection.execute(
            "set session_replication_role = replica; set synchronous_commit = off; set maintenance_work_mem = '512MB'; set work_mem = '256MB'"
        )
        indexes = connection.execute(INDEXES, (TABLES,)).fetchall()
        for name, _ in indexes:
            connection.execute(f"drop index {name}".encode())
        _write(connection, shop, rows)
        for _, definition in indexes:
            connection.execute(definition.encode())
        connection.execute("set session_replication_role = origin")
        _book(connection, shop.merchant_id, min(BOOKED, rows // 5))
        connection.execute("alter system reset all")
        connection.execute("select pg_reload_conf()")
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
    return time.perf_counter() - began


def _write(connection: psycopg.Connection, shop: Shop, rows: int) -> None:
    others = [UUID(int=shop.merchant_id.int ^ number) for number in range(1, OTHERS + 1)]
    connections = [shop.connection_id]
    for name in ("Bench EU", "Bench UK"):
        connections += [row[0] for row in connection.execute(CONNECTION, (name, shop.merchant_id))]
    for other in others:
        for statement in PARENTS.strip().rstrip(";").split(";\n"):
            connection.execute(statement.encode(), {"main": shop.merchant_id, "other": other})
    values = {"merchant": shop.merchant_id, "others": others, "sellers": shop.sellers, "connections": connections, "rows": rows}
    text = "\n".join(line for line in PLAN.read_text().splitlines() if not line.startswith("--"))
    for statement in text.split(";\n\n"):
        for one in statement.split(";\ninsert "):
            whole = one if one.lstrip().startswith(("create", "insert")) else f"insert {one}"
            # in the plan, the only statement with values, a percent sign is the remainder
            prepared = re.sub(r"%(?!\()", "%%", whole) if "%(" in whole else whole
            connection.execute(prepared.rstrip().rstrip(";").encode(), values if "%(" in whole else None)


def _book(connection: psycopg.Connection, merchant_id: UUID, most: int) -> None:
    connection.execute("select set_config('app.merchant_id', %s, false)", (str(merchant_id),))
    start = connection.execute(
        "select n from million.plan where merchant_id = %s and is_captured order by n desc offset %s limit 1", (merchant_id, most)
    ).fetchone()
    after, posted = (start[0] if start else 0), 0
    while posted < most:
        row = connection.execute(POST.encode(), {"merchant": merchant_id, "after": after}).fetchone()
        assert row is not None
        if row[1] is None:
            return
        after, posted = row[0], posted + row[1]
