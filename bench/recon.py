"""How fast a provider's file of a million lines is reconciled with a million payments, and whether what is wrong in it is found.

The floor is the same data in the same database: both sides copied in, joined, and the result stored; once into tables without any key, once into
such as let nothing in twice and find a line and its match again. What is compared with them takes the file in by the product's own service and compares by it, in a process of its own whose memory is watched.
"""

import asyncio
import csv
import io
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg

from app.cli.installation import ROOT
from app.core import db
from app.core.actors import Actor
from app.core.ids import ConnectionId, public_ids
from app.ledger import service as ledger
from app.ledger.domain import AccountRef, Code, Owner
from app.reconciliation.domain.formats import CSV
from app.reconciliation.domain.formats.mapped import ColumnMapping, Field
from app.reconciliation.domain.lines import Side
from app.reconciliation.sources import service as sources
from bench.figures import Figure, table
from bench.house import House, Shop, open_house, open_shop
from bench.settle import Settled

PLAN = Path(__file__).with_name("recon.sql")
FLOOR = "COPY both sides, join, store"
KEYED_FLOOR = "COPY both sides, join, store, with keys"
AT_ONCE = 10_000
PLANTED = (
    "missing_in_psp",
    "missing_in_ledger",
    "amount",
    "fee",
    "duplicate_psp",
    "status",
    "orphan_refund",
    "orphan_dispute",
    "unknown_type",
)
OF_EACH = 111
"""So many discrepancies of each kind in a large file; in a small one every thirtieth line or so is wrong."""
LEDGER_COLUMNS = ("payment_id", "attempt_id", "reference", "at", "amount", "fee", "clear_key")
COLUMNS = ("batch", "line", "type", "payment", "reference", "created_at", "available_on", "currency", "gross", "fee", "net")
BARE = """
create schema bare;
create table bare.psp (batch text, line text, type text, payment text, reference text, created_at timestamptz, available_on date, currency text,
  gross bigint, fee bigint, net bigint);
create table bare.ledger (payment_id uuid, attempt_id uuid, reference text, at timestamptz, amount bigint, fee bigint, clear_key text);
"""
JOINED = """
create table bare.result as
  select p.line, l.payment_id, coalesce(p.gross, 0) - coalesce(l.amount, 0) as gross_off, coalesce(p.fee, 0) - coalesce(l.fee, 0) as fee_off, p.batch,
         p is null as is_missing, l is null as is_unknown
    from bare.psp p full join bare.ledger l on l.reference = p.payment
"""
KEYED = """
create schema keyed;
create table keyed.psp (id uuid primary key default uuidv7(), batch text, line text unique, type text, payment text, reference text,
  created_at timestamptz, available_on date, currency text, gross bigint, fee bigint, net bigint);
create table keyed.ledger (id uuid primary key default uuidv7(), payment_id uuid unique, attempt_id uuid, reference text, at timestamptz, amount bigint,
  fee bigint, clear_key text);
create table keyed.pair (psp_id uuid primary key, ledger_id uuid, gross_off bigint, fee_off bigint);
create index on keyed.pair (ledger_id);
"""
PAIRED = """
insert into keyed.pair select p.id, l.id, p.gross - l.amount, p.fee - l.fee from keyed.psp p join keyed.ledger l on l.reference = p.payment
"""
_VALUES = {"api_base_url": "https://psp.example", "account": "bench", "secret_key": "sk_sim_bench", "webhook_secret": "whsec_YmVuY2g="}
Row = tuple[object, ...]


def run(house: House, *, rows: int = 1_000_000) -> list[Figure]:
    """Fill a house, write the provider's file and the bank's, measure the floor, then the product."""
    desk = asyncio.run(_open_desk())
    began = time.perf_counter()
    path = house.here.data / "settlement.csv"
    with psycopg.connect(house.superuser, autocommit=True) as connection:
        _fill(connection, desk, rows)
        planted = _write_file(connection, path, rows)
        size = path.stat().st_size / 1e6
        print(f"  {rows:,} payments and a file of {size:,.0f} MB written in {time.perf_counter() - began:.0f} s", flush=True)
        floors = {FLOOR: _floor(connection, path, BARE, JOINED), KEYED_FLOOR: _floor(connection, path, KEYED, PAIRED)}
    settled = _settle(house, desk, path)
    _verify(house.superuser, desk, planted)
    return figures(rows, floors, settled)


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """The merchant and the sources of its files."""

    shop: Shop
    psp: UUID
    bank: UUID
    accounts: dict[str, int]


async def _open_desk() -> Desk:
    try:
        shop = await open_shop("recon", psp="simulated", values=_VALUES, seller_count=1)
        async with db.unit_of_work(shop.merchant_id) as session:
            actor = Actor.system(shop.merchant_id, "bench")
            psp = await sources.add_source(session, actor, name="PSP", format="simulated", connection_id=ConnectionId(shop.connection_id))
            columns = {Field.EXT_ID: "no", Field.CREDIT: "in", Field.TEXT: "text"}
            mapping = ColumnMapping(columns=columns, side=Side.BANK, currency="EUR", minor_units=True)
            bank = await sources.add_source(session, actor, name="Bank", format=CSV, mapping=mapping)
            owned = (
                Owner("connection", shop.connection_id).account(Code.PSP_RECEIVABLE),
                Owner("seller", shop.sellers[0]).account(Code.SELLER_PENDING),
                AccountRef(Code.PSP_FEE),
            )
            numbers = [
                await ledger.open_account(session, merchant_id=shop.merchant_id, account=account, currency="EUR") for account in owned
            ]
        return Desk(shop=shop, psp=psp.id, bank=bank.id, accounts=dict(zip(("receivable", "seller", "fees"), numbers, strict=True)))
    finally:
        await db.dispose()


def figures(rows: int, floors: dict[str, float], settled: Settled) -> list[Figure]:
    """The steps one by one and together, each as lines a second and beside the floor."""
    seconds = settled.seconds
    stored = max(seconds["import"] - seconds["read"], 0.001)
    matched = sum(seconds[step] for step in ("batches", "lines", "bank", "breaks", "record"))
    whole = stored + seconds["expected"] + matched
    memory = f"process {settled.before_mb:.0f} MB before, {settled.peak_mb:.0f} MB at its peak"
    shown = {
        "read and normalise in Python (a)": (seconds["read"], ""),
        "import: read, COPY, store lines (a+b)": (seconds["import"], memory),
        "COPY and store lines, less reading (b)": (stored, ""),
        "expect from the ledger": (seconds["expected"], ""),
        "match, sum, store breaks (c)": (matched, ""),
        "store, expect, match (b + c)": (whole, f"{whole / floors[KEYED_FLOOR]:.1f} × the floor with keys"),
        "all of it with reading": (seconds["import"] + seconds["expected"] + matched, ""),
        "book into the ledger": (seconds["books"], "settled lines, fees and receipts as journals"),
        "compare again, nothing new": (sum(took for step, took in seconds.items() if step.startswith("again ")), ""),
    }
    floor = floors[FLOOR]
    bare = [Figure(part="recon", name=name, clients=1, per_second=rows / took, note=f"{took:.1f} s") for name, took in floors.items()]
    return bare + [
        Figure(
            part="recon",
            name=name,
            clients=1,
            per_second=rows / took,
            floor=FLOOR,
            ratio=floor / took,
            note=f"{took:.1f} s, {took / floor:.1f} × the floor{'; ' if note else ''}{note}",
        )
        for name, (took, note) in shown.items()
    ]


def _fill(connection: psycopg.Connection, desk: Desk, rows: int) -> None:
    values = {"merchant": desk.shop.merchant_id, "connection": desk.shop.connection_id, "rows": rows, **desk.accounts}
    connection.execute("set session_replication_role = replica; set synchronous_commit = off; set work_mem = '128MB'")
    for statement in PLAN.read_text().split(";\n\n"):
        text = "\n".join(line for line in statement.splitlines() if not line.startswith("--"))
        connection.execute(text.rstrip().rstrip(";").encode(), values if "%(" in text else None)
    connection.execute("set session_replication_role = origin; set synchronous_commit = on; reset work_mem")
    connection.execute("vacuum analyze")
    connection.execute("checkpoint")


def _write_file(connection: psycopg.Connection, path: Path, rows: int) -> Counter[str]:
    """The provider's file, a batch of ten thousand payments each with the payout that closes it, and beside it the bank's statement that pays
    them all; gives what was planted."""
    every = max(1, rows // max(1, min(OF_EACH, rows // 300)) // len(PLANTED))
    planted: Counter[str] = Counter()
    paid: list[Row] = [("no", "in", "text")]
    with path.open("w", newline="") as out, connection.cursor() as cursor:
        write = csv.writer(out, lineterminator="\n").writerows
        write([COLUMNS])
        with cursor.copy("copy (select n, to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), to_char(at, 'YYYY-MM-DD'), reference, amount, fee,"
                         " batch, replace(attempt_id::text, '-', '') from recon.plan order by n) to stdout (format csv)") as copy:  # fmt: skip
            for batch in _by_batch(line for block in copy for line in bytes(block).decode().splitlines()):
                lines = _settled(batch, every, planted)
                write(lines)
                paid.append((f"b{len(paid)}", -int(str(lines[-1][10])), lines[-1][0]))
    with path.with_name("statement.csv").open("w", newline="") as out:
        csv.writer(out).writerows(paid)
    return planted


def _by_batch(lines: Iterator[str]) -> Iterator[list[list[str]]]:
    plan = csv.reader(lines)
    while some := list(islice(plan, AT_ONCE)):
        yield some


def _settled(plan: list[list[str]], every: int, planted: Counter[str]) -> list[Row]:
    names = public_ids("att", b"".join(bytes.fromhex(row[7]) for row in plan)).decode()
    width = len(names) // len(plan)
    lines: list[Row] = []
    for place, (number, at, on, reference, amount, fee, batch, _) in enumerate(plan):
        line = (f"set_{batch}", f"st_{reference[4:]}", "charge", reference, names[place * width : place * width + width], at, on, "EUR")
        if int(number) % every == every // 2:
            kind = PLANTED[int(number) // every % len(PLANTED)]
            planted[kind] += 1
            lines += _wrong(kind, line, int(amount), int(fee), int(number))
        else:
            lines.append((*line, amount, fee, int(amount) - int(fee)))
    paid = -sum(int(str(line[10])) for line in lines)
    return [*lines, (f"set_{batch}", f"set_{batch}_out", "payout", "", "", at, on, "EUR", paid, 0, paid)]


def _wrong(kind: str, line: Row, amount: int, fee: int, number: int) -> list[Row]:
    """The lines of one payment with one thing wrong."""
    batch, _, _, reference, _, *when = line
    good, stray = (*line, amount, fee, amount - fee), f"stray_{number}"

    def other(type: str, payment: str, gross: int, cost: int = 0) -> Row:
        return (batch, stray, type, payment, "", *when, gross, cost, gross - cost)

    wrong: dict[str, list[Row]] = {
        "missing_in_psp": [],
        "missing_in_ledger": [good, other("charge", stray, 777, 7)],
        "amount": [(*line, amount - 100, fee, amount - 100 - fee)],
        "fee": [(*line, amount, fee + 500, amount - fee - 500)],
        "duplicate_psp": [good, other("charge", str(reference), amount, fee)],
        "status": [good, other("dispute", str(reference), -amount, 15)],
        "orphan_refund": [good, other("refund", stray, -50)],
        "orphan_dispute": [good, other("dispute", stray, -50)],
        "unknown_type": [good, other("moonshot", stray, 5)],
    }
    return wrong[kind]


def _floor(connection: psycopg.Connection, path: Path, tables: str, join: str) -> float:
    """Seconds to copy both sides in, join them and store the result, in a schema that is dropped afterwards."""
    connection.execute(tables.encode())
    schema = tables.split()[2].rstrip(";")
    sides = {
        "psp": f"({', '.join(COLUMNS)}) from stdin (format csv, header)",
        "ledger": f"({', '.join(LEDGER_COLUMNS)}) from stdin",
    }
    with connection.cursor().copy(f"copy (select {', '.join(LEDGER_COLUMNS)} from recon.plan) to stdout".encode()) as copy:
        ledger_side = b"".join(bytes(block) for block in copy)
    began = time.perf_counter()
    for side, columns in sides.items():
        with (
            connection.cursor().copy(f"copy {schema}.{side} {columns}".encode()) as copy,
            path.open("rb") if side == "psp" else io.BytesIO(ledger_side) as content,
        ):
            while some := content.read(1 << 20):
                copy.write(some)
    connection.execute("set work_mem = '128MB'")
    connection.execute(join.encode())
    took = time.perf_counter() - began
    connection.execute(f"reset work_mem; drop schema {schema} cascade".encode())
    connection.execute("checkpoint")
    return took


def _settle(house: House, desk: Desk, path: Path) -> Settled:
    command = [sys.executable, "-m", "bench.settle", str(desk.shop.merchant_id), str(desk.psp), str(desk.bank), str(path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ.copy(), stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Settled)


def _verify(superuser: str, desk: Desk, planted: Counter[str]) -> None:
    """Nothing fast counts if what was planted is not found, or anything else is."""
    with psycopg.connect(superuser) as connection:
        found: Counter[str] = Counter(
            dict(connection.execute("select kind, count(*) from recon_break where status = 'open' group by 1").fetchall())
        )
    if found != planted:
        raise RuntimeError(f"planted {dict(planted)}, found {dict(found)}")


if __name__ == "__main__":
    with open_house() as here:
        print(table(run(here, rows=int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)))
