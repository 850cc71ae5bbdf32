"""The scheduler: what the calendar says is published once, by whichever process is first."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from app.core.embedded import Urls
from workers.jobs import JOBS, load_jobs
from workers.routes import CALENDAR, ROUTES, Recurring
from workers.scheduler import next_time, publish_due, write_calendar

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOURLY = {"test.hourly": Recurring("0 * * * *")}
Look = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def rows(relay: psycopg.Connection[Any]) -> Look:
    return lambda query: relay.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]


class TestNextTime:
    def test_is_strictly_later(self) -> None:
        assert next_time(Recurring("0 * * * *"), NOON) == NOON + timedelta(hours=1)

    def test_follows_the_clocks_of_the_zone(self) -> None:
        # In Berlin the night of 29 March 2026 has no 02:30.
        berlin = Recurring("30 6 * * *", "Europe/Berlin")
        assert next_time(berlin, datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(2026, 3, 29, 4, 30, tzinfo=UTC)

    def test_six_fields_begin_with_the_seconds(self) -> None:
        assert next_time(Recurring("*/5 * * * * *"), NOON + timedelta(seconds=3)) == NOON + timedelta(seconds=5)

    def test_days_of_the_week_are_named(self) -> None:
        assert next_time(Recurring("0 3 * * sun"), NOON) == datetime(2026, 3, 8, 3, tzinfo=UTC)
        with pytest.raises(ValueError, match="name the days"):
            next_time(Recurring("0 3 * * 0"), NOON)

    def test_refuses_a_date_that_never_comes(self) -> None:
        with pytest.raises(ValueError, match="never"):
            next_time(Recurring("0 0 31 2 *"), NOON)


class TestPublishDue:
    def test_publishes_at_the_time_and_plans_the_next(self, relay: psycopg.Connection[Any], rows: Look) -> None:
        write_calendar(relay, HOURLY, at=NOON)
        assert publish_due(relay, at=NOON + timedelta(minutes=59)) == []
        assert publish_due(relay, at=NOON + timedelta(minutes=60)) == ["test.hourly"]
        assert publish_due(relay, at=NOON + timedelta(minutes=61)) == []
        assert rows("select topic, merchant_id, published_at from outbox") == [("test.hourly", None, None)]
        assert rows("select next_at from recurring_job") == [(NOON + timedelta(hours=2),)]

    def test_makes_up_for_a_long_absence_once(self, relay: psycopg.Connection[Any], rows: Look) -> None:
        write_calendar(relay, HOURLY, at=NOON)
        assert publish_due(relay, at=NOON + timedelta(hours=30)) == ["test.hourly"]
        assert publish_due(relay, at=NOON + timedelta(hours=30)) == []
        assert len(rows("select id from outbox")) == 1

    def test_a_row_claimed_by_another_is_left(self, relay: psycopg.Connection[Any], database: Urls) -> None:
        write_calendar(relay, HOURLY, at=NOON)
        with psycopg.connect(database.relay) as other:
            other.execute("select name from recurring_job for update")
            assert publish_due(relay, at=NOON + timedelta(hours=2)) == []


class TestWriteCalendar:
    def test_keeps_the_plan_of_an_unchanged_line(self, relay: psycopg.Connection[Any], rows: Look) -> None:
        write_calendar(relay, HOURLY, at=NOON)
        write_calendar(relay, HOURLY, at=NOON + timedelta(hours=5))
        assert rows("select next_at from recurring_job") == [(NOON + timedelta(hours=1),)]

    def test_follows_a_changed_line_and_forgets_a_removed_one(self, relay: psycopg.Connection[Any], rows: Look) -> None:
        write_calendar(relay, {**HOURLY, "test.gone": Recurring("0 0 * * *")}, at=NOON)
        write_calendar(relay, {"test.hourly": Recurring("30 * * * *")}, at=NOON)
        assert rows("select name, next_at from recurring_job") == [("test.hourly", NOON + timedelta(minutes=30))]


class TestRoutes:
    def test_every_route_leads_to_a_job_and_every_job_has_a_route(self) -> None:
        load_jobs()
        routed = {actor for actors in ROUTES.values() for actor in actors}
        assert routed == {name for name in JOBS if not name.startswith("test")}

    def test_what_the_clock_publishes_is_heard(self) -> None:
        assert set(CALENDAR) <= set(ROUTES)

    @pytest.mark.parametrize("name", sorted(CALENDAR))
    def test_the_calendar_can_be_read(self, name: str) -> None:
        assert next_time(CALENDAR[name], NOON) > NOON
