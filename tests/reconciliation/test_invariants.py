"""The nightly proof: it passes on a day with every kind of break, and says so when anybody tampers."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg
import pytest

from app.cli.main import run
from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.ids import new_id, public_id
from app.ledger.seals import service as seals
from app.reconciliation import flows
from app.reconciliation.invariants import service as invariants
from app.reconciliation.invariants.queries import AGAIN, BALANCE, IMPORT, INVARIANTS, SEAL, Proof
from tests.reconciliation.conftest import Desk, line_of, settlement, statement
from tests.support.console import soup, words
from tests.support.web import Browser, text_of
from workers import reconciliation as jobs
from workers.jobs import Message


async def a_day(desk: Desk) -> None:
    """Two payments, one short, one refunded; a bank line for the batch and one for nothing."""
    good, short = await desk.take(10_000, 5_000)
    await desk.hand_in(settlement([line_of(good, fee=40), line_of(short, gross=4_000)]))
    await desk.hand_in(statement(("set_1", 13_930), ("nobody", 77)), to=desk.bank)
    await desk.compare()


async def prove(desk: Desk) -> Proof:
    async with unit_of_work(desk.shop.merchant_id) as session:
        return await invariants.check(session, desk.shop.actor)


RESTLESS = """create function restless() returns trigger language plpgsql as $$ begin
  if exists (select from recon_item i where i.merchant_id = new.merchant_id and i.id = new.item_id and i.side = 'bank') then return null; end if; return new; end $$"""
"""What forgets, whenever a bank line is booked, that it was: no second run can then leave things as they are."""
TAMPERED = {
    "I4": "update recon_item set net_minor = net_minor + 1 where side = 'bank'",
    "I5": "update recon_booking k set fee_minor = k.fee_minor + 1 from recon_item i where i.id = k.item_id and i.side = 'psp' and i.kind = 'charge'",
    "I6": "delete from recon_break where kind = 'bank_unidentified'",
    "I7": "update recon_match_item set minor = minor + 1 where item_id in (select id from recon_item where side = 'bank')",
    "I7 ": "update recon_pair a set ledger_id = l.id from recon_item l where l.side = 'ledger' and l.id <> a.ledger_id",
    "I10": "set session_replication_role = replica; update ledger.txn set description = 'nothing' where id = (select min(id) from ledger.txn)",
    "I11": "update recon_item set fee_minor = fee_minor + 1 where side = 'psp' and kind = 'charge'",
    "I12": "create trigger restless before insert on recon_booking for each row execute function restless();"
    " delete from recon_booking where item_id in (select id from recon_item where side = 'bank')",
    "I9": "update payment set captured_minor = captured_minor - 1",
}


async def test_everything_holds_whatever_is_open(desk: Desk) -> None:
    await a_day(desk)
    assert len(desk.breaks()) == 2
    proof = await prove(desk)
    assert [outcome for outcome in proof.invariants if not outcome.holds] == []
    assert {outcome.name for outcome in proof.invariants} == {*(invariant.name for invariant in INVARIANTS), BALANCE, SEAL, IMPORT, AGAIN}
    assert {outcome.name.split(" ")[0] for outcome in proof.invariants} == {f"I{number}" for number in range(1, 13)}


@pytest.mark.parametrize("name", TAMPERED)
async def test_tampering_is_found(desk: Desk, superuser: psycopg.Connection, name: str) -> None:
    await a_day(desk)
    async with unit_of_work(desk.shop.merchant_id) as session:
        await seals.seal(session, merchant_id=desk.shop.merchant_id, quiet=timedelta(seconds=-5))
    superuser.execute(RESTLESS)
    superuser.execute(TAMPERED[name])
    broken = {outcome.name.split(" ")[0] for outcome in (await prove(desk)).invariants if not outcome.holds}
    superuser.execute("drop function restless() cascade; set session_replication_role = origin")
    assert name.strip() in broken


async def test_the_clock_compares_and_proves_every_merchant(desk: Desk, owner: Browser) -> None:
    await desk.take(10_000)
    with travel(timedelta(days=30)):
        await jobs.compare_all(Message(event_id=new_id(), topic="clock.reconciliation_due"))
        ((merchant_id,),) = desk.query("select merchant_id from outbox where topic = 'reconciliation.comparison_due'")
        assert isinstance(merchant_id, UUID)
        await jobs.compare_one(Message(event_id=new_id(), topic="reconciliation.comparison_due", merchant_id=merchant_id))
    assert [kind for kind, *_ in desk.breaks()] == ["missing_in_psp"]
    page = soup(await owner.get("/reconciliation/invariants"))
    assert "Everything holds" in words(page)
    assert flows.NIGHTLY in words(page)
    assert "Everything holds" in text_of(await owner.follow(await owner.post("/reconciliation/invariants")))


async def test_the_command_says_so_with_its_exit_code(desk: Desk, superuser: psycopg.Connection, capfd: pytest.CaptureFixture[str]) -> None:
    await a_day(desk)
    assert await asyncio.to_thread(run, ["check", "invariants"], as_json=True) == 0
    assert msgspec.json.decode(capfd.readouterr().out)["is_sound"] is True
    superuser.execute(TAMPERED["I7"])
    assert await asyncio.to_thread(run, ["check", "invariants"]) == 1
    assert "✗ I7" in capfd.readouterr().out


async def test_a_folder_is_handed_in_from_the_command_line(desk: Desk, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (taken,) = await desk.take(10_000)
    (tmp_path / "good.csv").write_bytes(settlement([line_of(taken)]))
    (tmp_path / "bad.csv").write_bytes(settlement([line_of(taken)]).replace(b"10000,30,9970", b"10001,30,9971"))
    names = ["--merchant", public_id("mer", desk.shop.merchant_id), "--source", public_id("rsc", desk.psp.id)]
    call = ["recon", "import", *names]
    assert await asyncio.to_thread(run, [*call, str(tmp_path / "good.csv")]) == 0
    assert await asyncio.to_thread(run, [*call, str(tmp_path / "good.csv"), str(tmp_path / "bad.csv")], as_json=True) == 1
    assert "does not add up" in capfd.readouterr().out
    assert [kind for kind, *_ in desk.breaks()] == ["batch_total"]
    assert desk.query("select count(*)::int from recon_pair") == [(1,)]
