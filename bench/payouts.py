"""How many payouts a second a run takes from due schedules to money paid: scheduled and requested, approved by a second person, sent, paid.

The run is made by the product's own flows in this process, as a worker makes it; the simulated bank is another process, called over HTTP,
which carries every order out before it answers. The floor is the same call for the same number of orders with one row written for each.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import httpx2
import msgspec
import psycopg
from sqlalchemy import select

from app.core import db, outbound, secrets
from app.core.actors import Actor, ActorKind
from app.core.clock import now, today
from app.core.db import unit_of_work
from app.core.ids import ConnectionId, MerchantId, SellerId, new_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import AccountRef, Code, Kind, Owner, Posting, credit, debit, journals
from app.payouts import flows
from app.payouts.adapters import RAILS
from app.payouts.domain import PayoutId, Rail
from app.payouts.domain.port import BankOrder
from app.payouts.domain.schedules import Amounts, Interval, Plan
from app.payouts.models import Payout
from app.payouts.service import policies, schedules, steps
from app.sellers.domain.bank_accounts import BankAccountId, BankAccountKind, VerifiedBy
from app.sellers.queries.bank_accounts import context
from app.sellers.service import bank_accounts
from app.tenancy.domain import Role, permissions_of
from bench.figures import Figure, table
from bench.house import House, open_house, open_shop
from bench.payin import check_books

FLOOR = "bare orders"
AT_ONCE = flows.LANES * flows.CALLS_AT_ONCE
IBAN = "DE89370400440532013000"

CLONE = """
insert into {table} select made.* from {table} first, unnest(%(ids)s::uuid[], %(sellers)s::uuid[], %(texts)s::text[]) each (id, seller, text),
  lateral jsonb_populate_record(first, jsonb_build_object({values})) made
 where first.merchant_id = %(merchant)s and first.id = %(first)s
"""
BARE = "create table bench_order (id uuid primary key, name text not null unique, answered_at timestamptz not null)"


class Run(msgspec.Struct, kw_only=True):
    """A merchant whose sellers all are to be paid today."""

    house: House
    merchant_id: MerchantId
    requester: Actor
    approver: Actor
    values: dict[str, str]
    count: int
    figures: list[Figure] = []


def run(house: House, *, count: int = 10_000) -> list[Figure]:
    """Fill a house, make one run, and look whether bank, payouts and books agree."""
    return asyncio.run(_run(house, house.simulator, count))


async def _run(house: House, url: str, count: int) -> list[Figure]:
    try:
        made = await _fill(house, url, count)
        floor = await _floor(made)
        began = time.perf_counter()
        await _step(made, "scheduled and requested", flows.run_schedules)
        choices = await _shown(made)
        await _step(made, "approved", lambda: _approve(made, choices))
        _sql(house, "update payout set send_at = now()")  # whatever day it is, banks work
        await _step(made, "sent and paid", flows.send_due, floor=floor)
        whole = count / (time.perf_counter() - began)
        _verify(made)
        made.figures.append(_figure("from schedule to paid", whole, floor=floor))
        await check_books(house.here.urls.owner)
        return made.figures
    finally:
        outbound.close()
        await db.dispose()


async def _step(made: Run, name: str, work: Callable[[], Awaitable[int]], *, floor: float | None = None) -> None:
    """Do one step until nothing is left of it."""
    began, cpu, database = time.perf_counter(), time.process_time(), made.house.database_cpu_seconds()
    done = 0
    while some := await work():
        done += some
    took = time.perf_counter() - began
    if done != made.count:
        raise RuntimeError(f"{name}: {done} payouts of {made.count}")
    spent = (time.process_time() - cpu) * 1000 / done
    figure = _figure(name, done / took, floor=floor)
    database_ms = (made.house.database_cpu_seconds() - database) * 1000 / done
    made.figures.append(msgspec.structs.replace(figure, web_cpu_ms=spent, database_cpu_ms=database_ms))
    print(f"  {name}: {done / took:,.0f}/s, {spent:.2f} ms of a core each, database {database_ms:.2f} ms", flush=True)


def _figure(name: str, per_second: float, *, floor: float | None) -> Figure:
    ratio = None if floor is None else per_second / floor
    return Figure(part="payouts", name=name, clients=1, per_second=per_second, floor="" if floor is None else FLOOR, ratio=ratio)


async def _floor(made: Run) -> float:
    """Orders to the bank with as many connections, and a row for each."""
    _sql(made.house, BARE)
    rail, gate = RAILS["simulated"](made.values), asyncio.Semaphore(AT_ONCE)
    rows: list[tuple[UUID, str]] = []

    async def one(name: str) -> None:
        async with gate:
            order = BankOrder(end_to_end_id=name, amount=Money(1_000, "EUR"), creditor_name="Bare", account_kind="iban", number=IBAN)
            await rail.send(order)
            rows.append((new_id(), name))

    began = time.perf_counter()
    await asyncio.gather(*(one(f"BARE{number}") for number in range(made.count)))
    with psycopg.connect(made.house.superuser, autocommit=True) as connection:
        for row in rows:
            connection.execute("insert into bench_order values (%s, %s, now())", row)
    per_second = made.count / (time.perf_counter() - began)
    made.figures.append(_figure(FLOOR, per_second, floor=None))
    print(f"  {FLOOR}: {per_second:,.0f}/s", flush=True)
    return per_second


async def _fill(house: House, url: str, count: int) -> Run:
    opened = httpx2.post(f"{url}/_accounts", json={"name": "bank"}, timeout=10).raise_for_status().json()
    values = {
        "api_base_url": url,
        "account": "bank",
        "secret_key": opened["secret_keys"][0],
        "webhook_secret": opened["webhook_secret"],
    }
    scenario = {"payout_seconds": 0, "webhooks": {"drop": 1.0}}
    httpx2.post(f"{url}/_scenario", params={"account": "bank"}, json=scenario, timeout=10).raise_for_status()
    shop = await open_shop("payouts", psp="simulated", values=values, seller_count=1)
    people = [_person(shop.merchant_id, name) for name in ("Mara", "Aiko")]
    made = Run(house=house, merchant_id=shop.merchant_id, requester=people[0], approver=people[1], values=values, count=count)
    await _first(made, shop.connection_id, shop.sellers[0])
    sellers = _more(made, shop.sellers[0])
    for start in range(0, count, 1_000):
        async with unit_of_work(made.merchant_id) as session:
            await ledger.post(
                session, merchant_id=made.merchant_id, postings=[_filled(seller) for seller in sellers[start : start + 1_000]]
            )
    _sql(house, "analyze")
    return made


def _person(merchant_id: MerchantId, name: str) -> Actor:
    permissions = permissions_of(Role.OWNER, sandbox=False)
    return Actor(kind=ActorKind.USER, id=new_id(), name=name, merchant_id=merchant_id, permissions=permissions, factor_at=now())


async def _first(made: Run, connection_id: ConnectionId, seller_id: SellerId) -> None:
    """One seller, made as people make it; the others are copies."""
    async with unit_of_work(made.merchant_id) as session:
        await policies.add_funding_account(
            session, made.requester, name="Main", currency="EUR", rail=Rail.API, connection_id=connection_id, calendar="WEEKDAYS"
        )
        account = await bank_accounts.propose_account(
            session,
            _person(made.merchant_id, "Jo"),
            seller_id=seller_id,
            kind=BankAccountKind.IBAN,
            currency="EUR",
            holder_name="Seller",
            number=IBAN,
        )
    async with unit_of_work(made.merchant_id) as session:
        approved = await bank_accounts.approve_account(
            session, made.requester, account_id=BankAccountId(account.id), digest=account.digest, verified_by=VerifiedBy.BANK_LETTER
        )
        approved.usable_from = now()
        plan = Plan(interval=Interval.DAILY)
        await schedules.set_schedule(
            session, made.requester, seller_id=seller_id, currency="EUR", plan=plan, amounts=Amounts(keep_minor=1_000)
        )


def _more(made: Run, first: SellerId) -> list[SellerId]:
    sellers = [first, *(SellerId(new_id()) for _ in range(made.count - 1))]
    kinds = {
        "seller": "'id', each.seller, 'reference', 'p-' || each.seller",
        "bank_account": "'id', each.id, 'seller_id', each.seller, 'number', each.text",
        "payout_schedule": "'id', each.id, 'seller_id', each.seller",
    }
    with psycopg.connect(made.house.superuser, autocommit=True) as connection:
        for kind, values in kinds.items():
            of_first = "id" if kind == "seller" else "seller_id"
            found = connection.execute(f"select id from {kind} where {of_first} = %s", (first,)).fetchone()
            assert found is not None
            ids = [new_id() for _ in sellers[1:]]
            texts = [secrets.seal(IBAN, context(made.merchant_id, BankAccountId(one))) if kind == "bank_account" else "" for one in ids]
            what = {"ids": ids, "sellers": sellers[1:], "texts": texts, "merchant": made.merchant_id, "first": found[0]}
            connection.execute(CLONE.format(table=kind, values=values).encode(), what)
        connection.execute("update payout_schedule set next_run_at = now(), next_run_on = current_date")
    return sellers


def _filled(seller_id: SellerId) -> Posting:
    amount, bank = Money(10_000, "EUR"), AccountRef(Code.BANK_SAFEGUARDED, "bank", UUID(int=1))
    return Posting(
        kind=Kind.ADJUSTED,
        source_type="bench",
        source_id=new_id(),
        event_key="bench",
        effective_on=today(),
        lines=[debit(bank, amount), credit(journals.wallet_available(Owner("seller", seller_id)), amount)],
    )


async def _shown(made: Run) -> list[tuple[PayoutId, str]]:
    """What the second person is shown."""
    async with unit_of_work(made.merchant_id) as session:
        rows = (await session.execute(select(Payout).where(Payout.merchant_id == made.merchant_id))).scalars()
        return [(PayoutId(row.id), steps.digest(row)) for row in rows]


async def _approve(made: Run, choices: list[tuple[PayoutId, str]]) -> int:
    """All that is left to approve."""
    results = await flows.approve_each(made.approver, choices)
    choices.clear()
    refused = [problem for _, problem in results if problem]
    if refused:
        raise RuntimeError(f"{len(refused)} were not approved: {refused[0]}")
    return len(results)


def _sql(house: House, statement: str) -> None:
    with psycopg.connect(house.superuser, autocommit=True) as connection:
        connection.execute(statement.encode())


def _verify(made: Run) -> None:
    """Nothing fast counts unless every order was carried out once."""
    taken = httpx2.get(f"{made.values['api_base_url']}/_payouts", params={"account": "bank"}, timeout=60).raise_for_status().json()
    with psycopg.connect(made.house.superuser) as connection:
        found = connection.execute(
            "select count(*), count(distinct end_to_end_id), sum(amount_minor) from payout where status = 'paid'"
        ).fetchone()
    assert found is not None
    ours = (taken["count"] - made.count, taken["amount"] - 1_000 * made.count)  # less those of the floor
    if (found[0], found[1], int(found[2])) != (made.count, made.count, ours[1]) or ours[0] != made.count:
        raise RuntimeError(f"{found} paid, the bank carried out {ours}")
    print(f"  {made.count:,} payouts paid = orders carried out by the bank, to the cent", flush=True)


if __name__ == "__main__":
    with open_house() as here:
        print(table(run(here, count=int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)))
