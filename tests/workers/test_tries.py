"""The count of tries survives what happens to its connections."""

from typing import Any

import psycopg

from app.core.embedded import Urls
from app.core.ids import new_id
from workers.jobs import Message, run_job


class TestConnections:
    async def test_a_connection_the_server_dropped_is_replaced(
        self, database: Urls, superuser: psycopg.Connection[Any], seen: list[Message]
    ) -> None:
        await run_job("test.note", Message(event_id=new_id(), topic="test.happened"))
        dropped = superuser.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'countinghouse-jobs' and datname = current_database()"
        ).fetchone()
        assert dropped is not None
        assert dropped[0] >= 1
        await run_job("test.note", Message(event_id=new_id(), topic="test.happened"))
        assert len(seen) == 2
