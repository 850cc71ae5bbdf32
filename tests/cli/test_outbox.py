"""The outbox from the command line: what waits, what failed, and once more."""

import json
from typing import Any

import psycopg
import pytest

from app.cli.main import run
from app.core.clock import now
from app.core.embedded import Urls
from app.core.ids import new_id


@pytest.fixture
def dead_job(database: Urls, superuser: psycopg.Connection[Any]) -> str:
    """An event that was published and whose job was given up."""
    event_id, moment = new_id(), now()
    superuser.execute(
        "insert into outbox (id, topic, payload, created_at, due_at, published_at) values (%s, 'test.happened', '{}', %s, %s, %s)",
        (event_id, moment, moment, moment),
    )
    superuser.execute(
        "insert into job_run (event_id, actor, topic, payload, attempts, state, error, first_at, last_at)"
        " values (%s, 'test.note', 'test.happened', '{}', 5, 'dead', 'RuntimeError: no', %s, %s)",
        (event_id, moment, moment),
    )
    return str(event_id)


class TestList:
    def test_shows_the_dead(self, dead_job: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["outbox", "list"], as_json=True) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["waiting"] == []
        assert [(job["event_id"], job["state"]) for job in shown["stuck"]] == [(dead_job, "dead")]


class TestReplay:
    def test_gives_the_dead_new_tries(self, dead_job: str, superuser: psycopg.Connection[Any], capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["outbox", "replay", "--dead"]) == 0
        assert superuser.execute("select published_at from outbox").fetchone() == (None,)
        assert superuser.execute("select state, attempts from job_run").fetchone() == ("failed", 0)

    def test_a_job_that_is_done_stays_done(self, dead_job: str, superuser: psycopg.Connection[Any]) -> None:
        superuser.execute("update job_run set state = 'done', attempts = 1")
        assert run(["outbox", "replay", dead_job]) == 0
        assert superuser.execute("select state, attempts from job_run").fetchone() == ("done", 1)

    def test_an_unknown_event_changes_nothing(
        self, dead_job: str, superuser: psycopg.Connection[Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["outbox", "replay", dead_job, str(new_id())]) == 1
        assert "outbox_event_not_found" in capsys.readouterr().err
        row = superuser.execute("select published_at from outbox").fetchone()
        assert row is not None
        assert row[0] is not None

    def test_nothing_named_is_a_wrong_call(self, database: Urls) -> None:
        assert run(["outbox", "replay"]) == 2
