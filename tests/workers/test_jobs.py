"""Jobs: counted before they run, done once, given up after five tries."""

from collections.abc import Callable

import pytest

from app.core import failpoints
from app.core.embedded import Urls
from app.core.failpoints import FailpointRaised
from app.core.ids import new_id
from workers import jobs
from workers.jobs import MAX_ATTEMPTS, Message, TryAgain, delay, run_job

LookAtRun = Callable[[object], tuple[str, int, str | None]]


def message(**payload: object) -> Message:
    return Message(event_id=new_id(), topic="test.happened", payload=payload)


class TestRunJob:
    async def test_does_the_work_and_remembers_it(self, database: Urls, seen: list[Message], job_run: LookAtRun) -> None:
        sent = message()
        await run_job("test.note", sent)
        assert seen == [sent]
        assert job_run(sent.event_id) == ("done", 1, None)

    async def test_a_second_delivery_does_nothing(self, database: Urls, seen: list[Message]) -> None:
        sent = message()
        await run_job("test.note", sent)
        await run_job("test.note", sent)
        assert len(seen) == 1

    async def test_asks_for_another_try_and_gives_up_after_five(self, database: Urls, seen: list[Message], job_run: LookAtRun) -> None:
        sent = message(fails=True)
        for attempt in range(1, MAX_ATTEMPTS):
            with pytest.raises(TryAgain):
                await run_job("test.note", sent)
            assert job_run(sent.event_id) == ("failed", attempt, "RuntimeError: as asked")
        await run_job("test.note", sent)
        assert job_run(sent.event_id) == ("dead", MAX_ATTEMPTS, "RuntimeError: as asked")
        await run_job("test.note", sent)
        assert len(seen) == MAX_ATTEMPTS

    async def test_a_job_that_kills_its_process_is_counted(self, database: Urls, seen: list[Message], job_run: LookAtRun) -> None:
        sent = message()
        failpoints.enable("workers.job_begun", "raise")
        try:
            for _ in range(MAX_ATTEMPTS):
                with pytest.raises(FailpointRaised):
                    await run_job("test.note", sent)
        finally:
            failpoints.enable("workers.job_begun", "off")
        assert job_run(sent.event_id) == ("running", MAX_ATTEMPTS, None)
        await run_job("test.note", sent)
        assert seen == []
        assert job_run(sent.event_id)[0] == "dead"

    async def test_killed_after_the_work_it_runs_again(self, database: Urls, seen: list[Message], job_run: LookAtRun) -> None:
        sent = message()
        failpoints.enable("workers.job_worked", "raise")
        try:
            with pytest.raises(FailpointRaised):
                await run_job("test.note", sent)
        finally:
            failpoints.enable("workers.job_worked", "off")
        await run_job("test.note", sent)
        assert len(seen) == 2
        assert job_run(sent.event_id) == ("done", 2, None)


class TestJob:
    def test_two_jobs_of_one_name_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jobs, "JOBS", {})

        async def twice(message: Message) -> None:
            """Nothing."""

        jobs.job(twice)
        with pytest.raises(ValueError, match="two jobs"):
            jobs.job(twice)

    def test_waits_longer_each_time_but_never_over_72_seconds(self) -> None:
        assert 800 <= delay(1) <= 1_200
        assert 3_200 <= delay(2) <= 4_800
        assert 48_000 <= delay(9) <= 72_000


class TestMessage:
    def test_a_house_wide_event_has_no_merchant(self) -> None:
        with pytest.raises(ValueError, match="no merchant"):
            _ = message().merchant
