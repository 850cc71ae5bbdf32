"""The unit of work: all or nothing, and no merchant left behind on a pooled connection."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import pytest
from psycopg import Connection, OperationalError
from psycopg.errors import DivisionByZero
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.exc import UnmappedInstanceError

from app.core.actors import Actor
from app.core.audit import AuditEntry, record
from app.core.db import Database, TransactionLost, call, changed, database, enter_merchant, known, unit_of_work
from app.core.ids import MerchantId, PersonId
from app.core.settings import settings

pytestmark = pytest.mark.usefixtures("database")
SCOPE = text(
    "select coalesce(current_setting('app.merchant_id', true), ''), coalesce(current_setting('app.person_id', true), ''), pg_backend_pid()"
)


async def note(session: AsyncSession, merchant_id: MerchantId) -> None:
    await record(session, Actor.system(merchant_id), action="test.noted", object_type="test", object_id=None)


def noted(superuser: Connection) -> int:
    row = superuser.execute("select count(*) from audit_entry where action = 'test.noted'").fetchone()
    assert row is not None
    return int(row[0])


class TestUnitOfWork:
    async def test_it_commits_at_the_end(self, superuser: Connection) -> None:
        merchant_id = MerchantId(uuid4())
        async with unit_of_work(merchant_id) as session:
            await note(session, merchant_id)
            assert noted(superuser) == 0
        assert noted(superuser) == 1

    @pytest.mark.parametrize("wrong", [RuntimeError, KeyboardInterrupt, asyncio.CancelledError])
    async def test_whatever_goes_wrong_nothing_stays(self, superuser: Connection, wrong: type[BaseException]) -> None:
        merchant_id = MerchantId(uuid4())
        with pytest.raises(wrong):  # noqa: PT012 - the whole unit is what must not stay
            async with unit_of_work(merchant_id) as session:
                await note(session, merchant_id)
                raise wrong
        assert noted(superuser) == 0

    async def test_a_cancelled_task_leaves_nothing_and_gives_its_connection_back(self, superuser: Connection) -> None:
        merchant_id, begun = MerchantId(uuid4()), asyncio.Event()

        async def slow() -> None:
            async with unit_of_work(merchant_id) as session:
                await note(session, merchant_id)
                begun.set()
                await session.execute(text("select pg_sleep(10)"))

        task = asyncio.create_task(slow())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert noted(superuser) == 0
        assert database().engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    async def test_when_the_server_went_away_one_unit_fails_and_the_next_finds_it_again(
        self, superuser: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        three = Database(settings().database_url, pool_size=3)  # a pool of this test's own: the shared one may lend a backend that lives
        monkeypatch.setattr("app.core.db.database", lambda: three)

        async def backend() -> int:
            async with unit_of_work(None) as session:
                await session.execute(text("select pg_sleep(0.05)"))
                return int((await session.execute(SCOPE)).one()[2])

        try:
            before = set(await asyncio.gather(*(backend() for _ in range(3))))
            assert len(before) == 3
            superuser.execute("select pg_terminate_backend(pid, 2000) from unnest(%s::int[]) pid", (list(before),))
            with pytest.raises(OperationalError):
                await backend()
            assert before.isdisjoint(await asyncio.gather(*(backend() for _ in range(3))))
        finally:
            await three.dispose()

    async def test_the_next_borrower_of_the_connection_finds_no_merchant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        one = Database(settings().database_url, pool_size=1)
        monkeypatch.setattr("app.core.db.database", lambda: one)
        merchant_id, person_id = MerchantId(uuid4()), PersonId(uuid4())
        try:
            for fails in (False, True):
                with suppress(RuntimeError):
                    async with unit_of_work(merchant_id, person_id=person_id) as session:
                        first = (await session.execute(SCOPE)).one()
                        assert tuple(first)[:2] == (str(merchant_id), str(person_id))
                        if fails:
                            raise RuntimeError
                async with one.sessions() as session:
                    assert tuple((await session.execute(SCOPE)).one()) == ("", "", first[2])
        finally:
            await one.dispose()

    async def test_an_error_that_was_caught_inside_is_not_committed_in_silence(self, superuser: Connection) -> None:
        merchant_id = MerchantId(uuid4())
        with pytest.raises(TransactionLost):  # noqa: PT012 - the whole unit is what must not stay
            async with unit_of_work(merchant_id) as session:
                await note(session, merchant_id)
                with suppress(DBAPIError):
                    await session.execute(text("select 1 / 0"))
        assert noted(superuser) == 0

    async def test_nor_is_what_follows_a_transaction_that_somebody_ended(self) -> None:
        merchant_id = MerchantId(uuid4())
        with pytest.raises(TransactionLost):  # noqa: PT012 - the whole unit is what must not stay
            async with unit_of_work(merchant_id) as session:
                await session.rollback()
                assert tuple((await session.execute(SCOPE)).one())[:2] == ("", ""), "nothing is seen or written for a merchant then"

    async def test_every_unit_says_for_whom_and_no_other_hears_it(self) -> None:
        async def own(merchant_id: MerchantId, person_id: PersonId) -> None:
            async with unit_of_work(merchant_id, person_id=person_id) as session:
                await session.execute(text("select pg_sleep(0.001)"))
                assert tuple((await session.execute(SCOPE)).one())[:2] == (str(merchant_id), str(person_id))

        await asyncio.gather(*(own(MerchantId(uuid4()), PersonId(uuid4())) for _ in range(60)))
        async with unit_of_work(None) as session:
            assert tuple((await session.execute(SCOPE)).one())[:2] == ("", "")

    async def test_a_merchant_sees_and_writes_only_its_own_rows(self) -> None:
        ours, theirs = MerchantId(uuid4()), MerchantId(uuid4())
        async with unit_of_work(ours) as session:
            await note(session, ours)
        count = text("select count(*) from audit_entry")
        for merchant_id, seen in ((ours, 1), (theirs, 0), (None, 0)):
            async with unit_of_work(merchant_id) as session:
                assert (await session.execute(count)).scalar_one() == seen
        with pytest.raises(Exception, match="row-level security"):
            async with unit_of_work(theirs) as session:
                await note(session, ours)

    async def test_a_transaction_may_go_on_for_another_merchant_once_it_knows_which(self, superuser: Connection) -> None:
        merchant_id = MerchantId(uuid4())
        async with unit_of_work(None) as session:
            await enter_merchant(session, merchant_id)
            await note(session, merchant_id)
        assert noted(superuser) == 1

    async def test_the_limits_are_set_on_every_connection(self) -> None:
        shown = {"lock_timeout": "5s", "statement_timeout": "15s", "idle_in_transaction_session_timeout": "30s"}
        async with unit_of_work(None) as session:
            for name, limit in shown.items():
                assert (await session.execute(text(f"show {name}"))).scalar_one() == limit
        row = await call(text("select current_setting('statement_timeout') as limit"), {})
        assert row.limit == "15s"


class TestKnown:
    def test_a_known_row_has_the_values_it_was_told_and_no_others(self) -> None:
        row = known(AuditEntry, action="test.noted", object_type="test")
        assert (row.action, row.object_type) == ("test.noted", "test")
        with pytest.raises(AttributeError):
            _ = row.actor_name

    def test_a_changed_copy_leaves_the_row_as_it_is(self) -> None:
        row = known(AuditEntry, action="test.noted", object_type="test")
        copy = changed(row, action="test.other")
        assert (row.action, copy.action, copy.object_type) == ("test.noted", "test.other", "test")

    async def test_a_known_row_cannot_be_written(self) -> None:
        async with unit_of_work(None) as session:
            with pytest.raises(UnmappedInstanceError):
                session.add(known(AuditEntry, action="test.noted"))


class TestCall:
    async def test_a_call_that_was_given_up_or_refused_gives_its_connection_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One connection for all: whatever became of the call before, the next one gets it."""
        one = Database(settings().database_url, pool_size=1)
        monkeypatch.setattr("app.core.db.database", lambda: one)
        try:
            first = (await call(text("select pg_backend_pid() as pid"), {})).pid
            given_up = asyncio.ensure_future(call(text("select pg_sleep(30) as slept"), {}))
            await asyncio.sleep(0.1)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            with pytest.raises(DivisionByZero):
                await call(text("select 1 / :nothing::int as q"), {"nothing": 0})
            assert (await call(text("select pg_backend_pid() as pid"), {})).pid == first
        finally:
            await one.dispose()

    async def test_when_the_server_went_away_one_call_fails_and_the_next_find_it_again(
        self, superuser: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        three = Database(settings().database_url, pool_size=3)
        monkeypatch.setattr("app.core.db.database", lambda: three)
        backend = text("select pg_backend_pid() as pid, pg_sleep(0.05) as slept")

        async def three_at_once() -> set[int]:
            return {row.pid for row in await asyncio.gather(*(call(backend, {}) for _ in range(3)))}

        try:
            # lent at the same time, so that there are three, however long opening one takes
            pool = await three.calls()
            lent = [await pool.getconn() for _ in range(3)]
            before = {one.info.backend_pid for one in lent}
            for one in lent:
                await pool.putconn(one)
            assert len(before) == 3
            superuser.execute("select pg_terminate_backend(pid, 2000) from unnest(%s::int[]) pid", (list(before),))
            with pytest.raises(OperationalError):
                await call(backend, {})
            assert before.isdisjoint(await three_at_once())
        finally:
            await three.dispose()

    async def test_values_are_values_and_casts_stay_casts(self) -> None:
        row = await call(
            text("select :word::text as word, :number::int + 1 as number"), {"word": "'; drop table payment; --", "number": 41}
        )
        assert (row.word, row.number) == ("'; drop table payment; --", 42)

    async def test_of_two_that_wait_for_each_other_both_are_done(self) -> None:
        both = text("select pg_advisory_xact_lock(:first) as a, pg_sleep(0.1) as b, pg_advisory_xact_lock(:second) as c")
        turns = [{"first": 4_401, "second": 4_402}, {"first": 4_402, "second": 4_401}]
        assert None not in await asyncio.gather(*(call(both, turn) for turn in turns)), "without another try one is given up"

    async def test_it_leaves_no_merchant_behind(self) -> None:
        scope = text("select current_setting('app.merchant_id', true) as merchant")
        await call(text("select set_config('app.merchant_id', 'x', true)"), {})
        for _ in range(20):
            assert not (await call(scope, {})).merchant
