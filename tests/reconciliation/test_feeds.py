"""Reports that are fetched by the clock: each once, whatever goes wrong on the way, and what goes wrong is seen."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio

from app.core.clock import now, today, travel
from app.core.failpoints import FailpointRaised, enable
from app.core.ids import public_id
from app.core.outbound import close
from app.reconciliation import flows
from app.reconciliation.domain.feeds import LEASE, wait_after
from app.reconciliation.queries import SOURCE
from tests.reconciliation.conftest import Desk, open_desk
from tests.support.console import OpenAs
from tests.support.shop import ScriptedPsp, open_shop
from tests.support.simulator import SimulatedAccount, Simulator
from tests.support.web import Browser, text_of

BASE = "/reconciliation"
DAY = 86_400


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A provider of these tests' own, because they move its clock."""
    running = Simulator(tmp_path_factory.mktemp("reports") / "journal.jsonl").start()
    yield running
    running.stop()


@pytest_asyncio.fixture
async def settled(house: Simulator, database: object, superuser: psycopg.Connection) -> AsyncIterator[tuple[Desk, SimulatedAccount]]:
    """A shop that took money two days ago, as the provider's clock has it."""
    account = house.account()
    desk = await open_desk(await open_shop(ScriptedPsp(), settings=account.settings), superuser)
    for minor in (10_000, 5_000):
        await desk.shop.pay(await desk.shop.order(anna=minor, bert=0))
    house.post("/_clock", {"advance_seconds": 2 * DAY})
    yield desk, account
    house.post("/_clock", {"advance_seconds": -2 * DAY})
    close()


def feeds(desk: Desk) -> list[tuple[object, ...]]:
    """How the last looks went, the provider's first."""
    return desk.query("select f.outcome, f.tries from recon_feed f join recon_source s on s.id = f.source_id order by s.side desc")


def fetched(desk: Desk) -> list[str]:
    """What was fetched."""
    return [str(name) for (name,) in desk.query("select report from recon_arrival where origin = 'fetch' order by report")]


async def switch_on(browser: Browser, desk: Desk) -> None:
    """Fetch the provider's files and the bank's statement, as a person sets it up."""
    for source in (desk.psp, desk.bank):
        path = f"{BASE}/sources/{public_id(SOURCE, source.id)}"
        await browser.get(path)
        form = {"minutes": "60", "since": today().isoformat(), "is_on": "on"}
        through = {"feed_connection": public_id("con", desk.shop.connection_id)} if source is desk.bank else {}
        assert (await browser.post(f"{path}/feed", form | through)).status_code == 303


class TestFetching:
    async def test_by_the_clock_each_report_once_and_both_agree(self, settled: tuple[Desk, SimulatedAccount], open_as: OpenAs) -> None:
        desk, _ = settled
        owner = await open_as(desk.shop.tenant)
        await switch_on(owner, desk)
        await asyncio.gather(flows.fetch_due(), flows.fetch_due())
        day = today()
        assert fetched(desk) == [f"settlement_{day}.csv", f"statement_EUR_{day + timedelta(days=1)}.xml"]
        assert feeds(desk) == [("fetched", 0), ("fetched", 0)]
        await desk.work()
        assert (desk.breaks(), desk.left_over()) == ([], {})
        assert await flows.fetch_due() == 0
        with travel(timedelta(minutes=61)):
            await flows.fetch_due()
        assert feeds(desk) == [("nothing_new", 0), ("nothing_new", 0)]
        assert len(fetched(desk)) == 2
        assert "Nothing new" in text_of(await owner.get(f"{BASE}/sources/{public_id(SOURCE, desk.psp.id)}"))

    async def test_what_goes_wrong_is_seen_and_tried_again(self, settled: tuple[Desk, SimulatedAccount], open_as: OpenAs) -> None:
        desk, account = settled
        owner = await open_as(desk.shop.tenant)
        await switch_on(owner, desk)
        desk.query("update recon_feed set is_on = false where report = 'statement' returning id")
        account.fault("error_before", operation="lookup")
        await flows.fetch_due()
        path = f"{BASE}/sources/{public_id(SOURCE, desk.psp.id)}"
        said = text_of(await owner.get(path))
        assert "No clear answer" in said
        assert "The list of reports did not come: server error. Tried 1 time; it is tried again by itself." in said
        assert desk.query("select next_at < %s from recon_feed where report = 'settlement'", now() + timedelta(minutes=2)) == [(True,)]
        # a person need not wait: the button publishes what a job acts on
        await owner.post(f"{path}/fetch")
        ((feed_id,),) = desk.query("select object_id from outbox where topic = 'reconciliation.fetch_asked'")
        # whoever dies on the way leaves the look to the next one, when its lease has ended
        for ended, place in enumerate(("reconciliation.listed", "reconciliation.fetched")):
            enable(place, "raise")
            try:
                with travel(ended * (LEASE + timedelta(seconds=1))), pytest.raises(FailpointRaised):
                    await flows.fetch(merchant_id=desk.shop.merchant_id, feed_id=UUID(str(feed_id)))
            finally:
                enable(place, "off")
        assert "Looking now" in text_of(await owner.get(path))
        assert await flows.fetch_due() == 0
        with travel(2 * (LEASE + timedelta(seconds=1))):
            await flows.fetch_due()
        assert fetched(desk) == [f"settlement_{today()}.csv"]

    async def test_a_key_the_provider_does_not_know_is_a_clear_failure(
        self, house: Simulator, database: object, superuser: psycopg.Connection, open_as: OpenAs
    ) -> None:
        settings = house.account().settings | {"secret_key": "sk_sim_wrong_key"}
        desk = await open_desk(await open_shop(ScriptedPsp(), settings=settings), superuser)
        await switch_on(await open_as(desk.shop.tenant), desk)
        await flows.fetch_due()
        assert feeds(desk) == [("failed", 1), ("failed", 1)]
        close()

    async def test_a_form_that_cannot_be_is_refused_field_by_field(self, settled: tuple[Desk, SimulatedAccount], open_as: OpenAs) -> None:
        desk, _ = settled
        owner = await open_as(desk.shop.tenant)
        path = f"{BASE}/sources/{public_id(SOURCE, desk.bank.id)}"
        await owner.get(path)
        answer = await owner.post(f"{path}/feed", {"minutes": "60", "since": today().isoformat(), "is_on": "on"})
        assert answer.status_code == 422
        assert "Choose a connection." in text_of(answer)
        assert (await owner.post(f"{path}/fetch")).status_code == 409

    def test_the_wait_grows_and_never_beyond_the_interval(self) -> None:
        waits = [wait_after(tries, 60) for tries in range(6)]
        assert waits == [timedelta(minutes=minutes) for minutes in (60, 1, 5, 15, 60, 60)]
        assert wait_after(9, 15) == timedelta(minutes=15)
