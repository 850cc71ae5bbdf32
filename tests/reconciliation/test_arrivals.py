"""Files on their way in: stored by the request, read by a job that may die at any moment, and taken once."""

import asyncio
import io

import msgspec
import pytest

from app.core.db import unit_of_work
from app.core.failpoints import FailpointRaised, enable
from app.core.ids import public_id
from app.reconciliation import flows
from app.reconciliation.arrivals import service as arrivals
from app.reconciliation.domain.arrivals import MAX_FILE
from app.reconciliation.models.arrivals import Arrival
from app.reconciliation.queries import SOURCE
from tests.reconciliation.conftest import Desk, line_of, settlement
from tests.support.console import soup, words
from tests.support.web import Browser, text_of
from workers.jobs import JOBS, load_jobs
from workers.routes import ROUTES, Queue, queue_of

BASE = "/reconciliation"


async def arrive(desk: Desk, content: bytes, name: str = "day.csv") -> Arrival:
    """Store a file as the page does."""
    async with unit_of_work(desk.shop.merchant_id) as session:
        return await arrivals.receive(session, desk.shop.actor, source=desk.psp, name=name, content=io.BytesIO(content))


def state(desk: Desk) -> tuple[object, ...]:
    """What must be the same however often the job died."""
    counts = ("recon_file", "recon_item where side = 'psp'", "recon_pair", "recon_run", "ledger.txn", "recon_break")
    found = [desk.query(f"select count(*) from {what}")[0][0] for what in counts]
    return (*found, desk.query("select status from recon_arrival")[0][0], desk.query("select count(*) from recon_arrival_piece")[0][0])


class TestArriving:
    async def test_the_request_stores_and_the_job_reads(self, owner: Browser, desk: Desk) -> None:
        taken, other = await desk.take(10_000, 5_000)
        source = public_id(SOURCE, desk.psp.id)
        await owner.get(f"{BASE}/sources/{source}")
        content = settlement([line_of(taken), line_of(other, gross=4_000)])
        answer = await owner.post(f"{BASE}/sources/{source}/files", files={"file": ("day.csv", content, "text/csv")})
        page = await owner.follow(answer)
        assert "Waits to be read" in text_of(page)
        assert soup(page).select_one("#arrival")["hx-get"] == page.request.url.path  # type: ignore[index]
        assert desk.query("select count(*) from recon_file") == [(0,)]
        assert "day.csv" in text_of(await owner.get(f"{BASE}/sources/{source}"))
        await desk.work()
        read = await owner.client.get(page.request.url.path, headers={"hx-request": "true", "hx-request-type": "partial"})
        assert "<html" not in read.text
        assert "hx-get" not in read.text
        assert (
            words(soup(read).select_one(".steps"))
            == f"Received {len(content)} bytes Read 3 lines Compared 1 match Review 1 break of this file"
        )
        assert "Unexplained €10.00 short" in text_of(read)

    async def test_the_same_file_again_changes_nothing(self, desk: Desk) -> None:
        content = settlement([line_of(*await desk.take(10_000))])
        first, second = await arrive(desk, content), await arrive(desk, content)
        assert first.id == second.id
        await desk.work()
        before = state(desk)
        third = await arrive(desk, content, name="again.csv")
        assert (third.status, third.file_id is not None) == ("repeated", True)
        await desk.work()
        assert state(desk)[:6] == before[:6]

    async def test_more_than_may_be_sent_is_refused_with_a_clear_word(self, owner: Browser, desk: Desk) -> None:
        await owner.get(f"{BASE}/sources/{public_id(SOURCE, desk.psp.id)}")
        path = f"{BASE}/sources/{public_id(SOURCE, desk.psp.id)}/files"
        headers = {"content-type": "multipart/form-data; boundary=x", "content-length": str(MAX_FILE * 2)}
        answer = await owner.client.post(path, content=b"--x--", headers=headers)
        assert answer.status_code == 413
        assert "Nothing was taken. Send 50 MB at most." in text_of(answer)

    async def test_a_page_with_scripts_is_told_in_a_form_that_it_can_use(self, owner: Browser, desk: Desk) -> None:
        page = f"{BASE}/sources/{public_id(SOURCE, desk.psp.id)}"
        asked = {"accept": "application/problem+json", "hx-request": "true", "hx-request-type": "partial"}
        await owner.get(page)
        empty = await owner.post(f"{page}/files", files={"file": ("day.csv", b"", "text/csv")}, headers=asked)
        assert (empty.status_code, empty.json()["fields"]) == (422, {"file": "Choose a file that is not empty."})
        taken = await owner.post(f"{page}/files", files={"file": ("day.csv", b"no columns", "text/csv")}, headers=asked)
        assert "/reconciliation/arrivals/rar_" in taken.headers["hx-location"]
        await desk.work()
        said = text_of(await owner.get(msgspec.json.decode(taken.headers["hx-location"])["path"]))
        assert "Refused at line 1" in said


class TestDying:
    async def test_wherever_the_job_dies_nothing_is_lost_or_doubled(self, desk: Desk) -> None:
        taken = await desk.take(10_000, 5_000)
        arrival = await arrive(desk, settlement([line_of(taken[0]), line_of(taken[1], gross=4_000)]))
        for place in ("reconciliation.begun", "reconciliation.reading", "reconciliation.read", "reconciliation.comparing"):
            enable(place, "raise")
            try:
                with pytest.raises(FailpointRaised):
                    await flows.take_file(merchant_id=desk.shop.merchant_id, arrival_id=arrival.id)
            finally:
                enable(place, "off")
        for _ in range(2):
            await flows.take_file(merchant_id=desk.shop.merchant_id, arrival_id=arrival.id)
            # three lines and their batch; two payments with two transactions each, and one of this file
            assert state(desk) == (1, 4, 1, 1, 5, 1, "compared", 0)

    async def test_two_jobs_at_once_take_it_once(self, desk: Desk) -> None:
        arrival = await arrive(desk, settlement([line_of(*await desk.take(10_000))]))
        both = [flows.take_file(merchant_id=desk.shop.merchant_id, arrival_id=arrival.id) for _ in range(2)]
        await asyncio.gather(*both)
        assert desk.query("select count(*), min(status) from recon_file") == [(1, "imported")]
        assert desk.query("select status from recon_arrival") == [("compared",)]

    async def test_one_that_was_given_up_is_gone_on_with(self, owner: Browser, desk: Desk) -> None:
        arrival = await arrive(desk, settlement([line_of(*await desk.take(10_000))]))
        path = f"{BASE}/arrivals/{public_id('rar', arrival.id)}"
        assert "Go on with it" not in text_of(await owner.get(path))
        desk.query("update recon_arrival set status = 'reading', seen_at = seen_at - interval '1 hour' returning id")
        assert "No sign of life" in text_of(await owner.get(path))
        assert "No sign of life" not in text_of(await owner.follow(await owner.post(f"{path}/again")))
        assert desk.query("select count(*) from outbox where topic = 'reconciliation.file_received'") == [(2,)]
        await desk.work()
        assert "Compared" in text_of(await owner.get(path))

    def test_large_files_wait_behind_everything_else(self) -> None:
        load_jobs()
        (actor,) = ROUTES["reconciliation.file_received"]
        assert actor in JOBS
        assert queue_of(actor) == Queue.BULK
