"""The audit trail: every change of it shows, also when the database's own walls were taken down for it; people find what they look for."""

import asyncio
import csv
import io
from datetime import timedelta

import psycopg
import pytest

from app.cli.main import run
from app.core.audit import record
from app.core.clock import now, travel
from app.core.db import unit_of_work
from app.core.ids import public_id
from app.tenancy.audit import flows, queries, service
from app.tenancy.audit.domain import Block, FieldChange, Verdict, changes
from tests.support.factories.tenancy import Tenant
from tests.support.web import Browser, text_of
from workers import audit as jobs
from workers.jobs import Message


async def write(tenant: Tenant, action: str = "test.noted", **values: object) -> str:
    async with unit_of_work(tenant.id) as session:
        entry_id = await record(session, tenant.actor(), action=action, object_type="merchant", object_id=tenant.id, after=values or None)
    return public_id("aud", entry_id)


async def seal(tenant: Tenant) -> Block | None:
    async with unit_of_work(tenant.id) as session:
        return await service.seal(session, merchant_id=tenant.id)


async def verify(tenant: Tenant, head: str | None = None) -> Verdict:
    async with unit_of_work(tenant.id) as session:
        return await queries.verify(session, merchant_id=tenant.id, expected_head=head)


async def three_blocks(tenant: Tenant) -> list[Block]:
    made = []
    for number in range(3):
        await write(tenant, number=number)
        block = await seal(tenant)
        assert block is not None
        made.append(block)
    return made


def tamper(superuser: psycopg.Connection, statement: str) -> None:
    superuser.execute(f"set session_replication_role = replica; {statement}; set session_replication_role = origin")


OURS = "where merchant_id = '{merchant}' and action = 'test.noted'"
TAMPERED = {
    "a value": "update audit_entry set after = '{{\"number\": 7}}' " + OURS,
    "who it was": "update audit_entry set actor_name = 'Somebody else' " + OURS,
    "when it was": "update audit_entry set at = at - interval '1 day' " + OURS,
    "from where": "update audit_entry set address = '203.0.113.9' " + OURS,
    "a reason": "update audit_entry set reason = 'because' " + OURS,
    "an entry less": "delete from audit_entry where id = (select id from audit_entry " + OURS + " limit 1)",
    "an entry and its place less": "delete from audit_sealed where entry_id = (select id from audit_entry " + OURS + " limit 1)",
    "an entry in another block": "update audit_sealed set number = 3 where merchant_id = '{merchant}' and number = 2",
    "a block less": "delete from audit_block where merchant_id = '{merchant}' and number = 2",
    "a block retold": "update audit_block set content = repeat('0', 64) where merchant_id = '{merchant}' and number = 3",
    "a signature": "update audit_block set signature = 'x' where merchant_id = '{merchant}' and number = 1",
}


class TestChain:
    async def test_blocks_follow_each_other_and_cover_everything(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        made = await three_blocks(tenant)
        assert [block.previous for block in made[1:]] == [block.hash for block in made[:2]]
        (count,) = superuser.execute("select count(*) from audit_entry where merchant_id = %s", [tenant.id]).fetchall()[0]
        assert await verify(tenant, made[0].hash) == Verdict(blocks=3, entries=count, head=made[-1].hash)
        assert await seal(tenant) is None, "nothing new makes no block"

    async def test_what_is_committed_late_goes_into_the_next_block(self, tenant: Tenant) -> None:
        async with unit_of_work(tenant.id) as slow:
            await record(slow, tenant.actor(), action="test.slow", object_type="merchant", object_id=tenant.id)
            await write(tenant)
            assert await seal(tenant) is not None
        late = await seal(tenant)
        assert late is not None
        assert (late.number, late.entries) == (2, 1)
        assert (await verify(tenant)).is_sound

    async def test_history_brought_along_is_found_by_the_nightly_round(self, tenant: Tenant) -> None:
        await three_blocks(tenant)
        with travel(-timedelta(days=30)):
            await write(tenant, "test.old")
        assert await seal(tenant) is None
        await flows.check_all()
        verdict = await verify(tenant)
        assert (verdict.blocks, verdict.problem) == (4, None)

    async def test_the_minute_seals_every_merchant(self, tenant: Tenant) -> None:
        await write(tenant)
        assert await flows.seal_due() >= 2, "the merchant and its sandbox"
        assert await flows.seal_due() == 0

    async def test_of_many_at_once_the_chain_stays_one(self, tenant: Tenant) -> None:
        async def one() -> None:
            await write(tenant)
            await seal(tenant)

        await asyncio.gather(*(one() for _ in range(12)))
        await seal(tenant)
        assert (await verify(tenant)).is_sound

    @pytest.mark.parametrize("what", TAMPERED)
    async def test_every_change_shows(self, tenant: Tenant, superuser: psycopg.Connection, what: str) -> None:
        await three_blocks(tenant)
        tamper(superuser, TAMPERED[what].format(merchant=tenant.id))
        assert (await verify(tenant)).problem is not None

    async def test_a_cut_off_tail_shows_against_a_head_kept_elsewhere(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        head = (await three_blocks(tenant))[-1].hash
        tamper(superuser, f"delete from audit_block where merchant_id = '{tenant.id}' and number = 3")
        assert (await verify(tenant)).problem is None
        assert "cut off" in str((await verify(tenant, head)).problem)

    async def test_a_tail_cut_off_with_its_entries_shows_at_every_comparison_after_a_sound_one(
        self, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        """Who wants it to stay unseen without the log has to change what was compared as well."""
        await three_blocks(tenant)

        async def check() -> str | None:
            async with unit_of_work(tenant.id) as session:
                return (await service.check(session, tenant.actor())).problem

        assert await check() is None
        mine = f"merchant_id = '{tenant.id}' and number = 3"
        entries = f"delete from audit_entry e using audit_sealed s where s.{mine} and e.merchant_id = s.merchant_id and e.id = s.entry_id"
        tamper(superuser, f"{entries}; delete from audit_sealed where {mine}; delete from audit_block where {mine}")
        assert "cut off" in str(await check())
        await write(tenant)
        await seal(tenant)
        assert "cut off" in str(await check()), "nor does it pass when the chain has grown again"

    async def test_the_database_refuses_to_change_what_is_written(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        await three_blocks(tenant)
        for table in ("audit_entry", "audit_block", "audit_sealed"):
            with pytest.raises(psycopg.errors.DatabaseError, match="append"):
                superuser.execute(f"delete from {table}")

    async def test_the_command_says_so_with_its_exit_code(
        self, tenant: Tenant, superuser: psycopg.Connection, capfd: pytest.CaptureFixture[str]
    ) -> None:
        await three_blocks(tenant)
        call = ["audit", "verify", "--merchant", public_id("mer", tenant.id)]
        assert await asyncio.to_thread(run, call) == 0
        tamper(superuser, TAMPERED["a value"].format(merchant=tenant.id))
        assert await asyncio.to_thread(run, call) == 1
        assert "not as it was written: block" in capfd.readouterr().out


class TestChanges:
    def test_fields_inside_fields_are_named_with_dots(self) -> None:
        found = changes({"name": "A", "bank": {"last4": "1234"}}, {"name": "A", "bank": {"last4": "9876"}, "open": True})
        assert found == [
            FieldChange(name="name", before="A", after="A"),
            FieldChange(name="bank.last4", before="1234", after="9876"),
            FieldChange(name="open", before="", after="true"),
        ]
        assert [change.is_changed for change in found] == [False, True, True]

    def test_nothing_is_no_change(self) -> None:
        assert changes(None, None) == []


class TestPages:
    async def test_days_and_addresses_narrow_the_list(self, owner: Browser, tenant: Tenant) -> None:
        with travel(-timedelta(days=3)):
            await write(tenant, "test.earlier")
        await write(tenant, "test.today")
        today, earlier = f"{now():%Y-%m-%d}", f"{now() - timedelta(days=3):%Y-%m-%d}"
        assert "test.earlier" not in rows(await owner.get(f"/audit?since={today}"))
        only = rows(await owner.get(f"/audit?since={earlier}&until={earlier}"))
        assert "test.earlier" in only
        assert "test.today" not in only
        assert "No entry fits" in text_of(await owner.get("/audit?address=198.51.100.77"))

    async def test_a_day_that_is_none_is_refused_by_its_name(self, owner: Browser) -> None:
        answer = await owner.get("/audit?since=yesterday")
        assert answer.status_code == 422
        assert "is not a day" in answer.text

    async def test_an_entry_shows_what_changed_and_its_block(self, owner: Browser, tenant: Tenant) -> None:
        entry = await write(tenant, colour="green")
        page = text_of(await owner.get(f"/audit/{entry}"))
        assert "colour" in page
        assert "green" in page
        assert "Not chained yet" in page
        block = await seal(tenant)
        assert block is not None
        assert block.hash[:24] in (await owner.get(f"/audit/{entry}")).text

    async def test_a_check_that_somebody_asked_for_shows_its_result(
        self, owner: Browser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        await write(tenant)
        assert (await owner.post("/audit/check")).status_code == 303
        asked = superuser.execute("select id, payload from outbox where topic = 'audit.check_asked'").fetchone()
        assert asked is not None
        message = Message(event_id=asked[0], topic="audit.check_asked", merchant_id=tenant.id, payload=asked[1])
        await jobs.check(message)
        assert "are as they were written" in text_of(await owner.get("/audit"))
        tamper(superuser, "update audit_entry set actor_name = 'x' where action = 'test.noted'")
        await flows.check_one(tenant.id)
        assert "The trail is not as it was written" in text_of(await owner.get("/audit"))

    async def test_the_file_holds_the_same_entries_and_its_taking_is_one(self, owner: Browser, tenant: Tenant) -> None:
        await write(tenant, note="=1+1")
        answer = await owner.get("/audit/export.csv?action=test.noted")
        lines = list(csv.DictReader(io.StringIO(answer.text)))
        assert [line["action"] for line in lines] == ["test.noted"]
        assert lines[0]["after"] == '{"note": "=1+1"}'.replace(": ", ":")
        assert "export.taken" in text_of(await owner.get("/audit?action=export.taken"))


def rows(answer: object) -> str:
    """What the list says, without the filter's own words."""
    html = str(answer.text)  # type: ignore[attr-defined]
    return html[html.index('id="entries"') :]
