"""The seal of a book: every change of what was sealed shows, also when the database's own walls were taken down for it."""

import asyncio
from datetime import timedelta

import psycopg
import pytest

from app.cli.main import run
from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.ids import public_id
from app.ledger import flows
from app.ledger.domain.seals import Block, Verdict
from app.ledger.seals import queries, service
from tests.support.console import psp, shop
from tests.support.shop import Shop

__all__ = ["psp", "shop"]
AT_ONCE = timedelta(seconds=-5)


async def seal(shop: Shop) -> Block | None:
    async with unit_of_work(shop.merchant_id) as session:
        return await service.seal(session, merchant_id=shop.merchant_id, quiet=AT_ONCE)


async def verify(shop: Shop, head: str | None = None) -> Verdict:
    async with unit_of_work(shop.merchant_id) as session:
        return await queries.verify(session, merchant_id=shop.merchant_id, expected_head=head)


async def three_blocks(shop: Shop) -> list[Block]:
    made = []
    for _ in range(3):
        await shop.pay()
        block = await seal(shop)
        assert block is not None
        made.append(block)
    return made


TAMPERED = {
    "an amount": "update ledger.entry set amount = amount + 1",
    "a key": "update ledger.entry set clear_key = 'pay_other' where clear_key is not null",
    "a description": "update ledger.txn set description = 'nothing' where id = (select min(id) from ledger.txn)",
    "a day": "update ledger.txn set effective_on = effective_on - 1 where id = (select max(id) from ledger.txn)",
    "a line less": "delete from ledger.entry where ctid = (select min(ctid) from ledger.entry)",
    "a block less": "delete from ledger.seal where number = 2",
    "a block retold": "update ledger.seal set content = repeat('0', 64) where number = 3",
    "a signature": "update ledger.seal set signature = 'x' where number = 1",
}


class TestSealing:
    async def test_blocks_follow_each_other_and_cover_everything(self, shop: Shop, superuser: psycopg.Connection) -> None:
        made = await three_blocks(shop)
        assert [block.number for block in made] == [1, 2, 3]
        assert [block.previous for block in made[1:]] == [block.hash for block in made[:2]]
        verdict = await verify(shop, made[0].hash)
        (count,) = superuser.execute("select count(*) from ledger.txn").fetchall()[0]
        assert (verdict.problem, verdict.transactions, verdict.head) == (None, count, made[-1].hash)

    async def test_nothing_new_makes_no_block(self, shop: Shop) -> None:
        await three_blocks(shop)
        assert await seal(shop) is None

    async def test_what_could_still_be_joined_by_something_earlier_waits(self, shop: Shop) -> None:
        await shop.pay()
        assert await flows.seal_due() == 0
        with travel(timedelta(hours=2)):
            assert await flows.seal_due() == 1
            assert await flows.seal_due() == 0


class TestTampering:
    @pytest.mark.parametrize("what", TAMPERED)
    async def test_every_change_shows(self, shop: Shop, superuser: psycopg.Connection, what: str) -> None:
        await three_blocks(shop)
        superuser.execute(f"set session_replication_role = replica; {TAMPERED[what]}; set session_replication_role = origin")
        assert (await verify(shop)).problem is not None

    async def test_a_cut_off_tail_shows_against_a_head_kept_elsewhere(self, shop: Shop, superuser: psycopg.Connection) -> None:
        head = (await three_blocks(shop))[-1].hash
        superuser.execute(
            "set session_replication_role = replica; delete from ledger.seal where number = 3; set session_replication_role = origin"
        )
        assert (await verify(shop)).problem is None
        assert "cut off" in str((await verify(shop, head)).problem)

    async def test_the_application_cannot_change_a_block(self, shop: Shop, superuser: psycopg.Connection) -> None:
        await three_blocks(shop)
        with pytest.raises(psycopg.errors.DatabaseError, match="append"):
            superuser.execute("update ledger.seal set hash = 'x'")

    async def test_the_command_says_so_with_its_exit_code(
        self, shop: Shop, superuser: psycopg.Connection, capfd: pytest.CaptureFixture[str]
    ) -> None:
        await three_blocks(shop)
        call = ["ledger", "verify", "--merchant", public_id("mer", shop.merchant_id)]
        assert await asyncio.to_thread(run, call) == 0
        superuser.execute(f"set session_replication_role = replica; {TAMPERED['an amount']}; set session_replication_role = origin")
        assert await asyncio.to_thread(run, call) == 1
        assert "not as it was sealed: block 1" in capfd.readouterr().out
