"""The clock: aware, travelling, and back where it was."""

from datetime import UTC, datetime, timedelta

import pytest

from app.core.clock import nanoseconds, now, today, travel


class TestTravel:
    def test_a_span_and_a_moment(self) -> None:
        here = now()
        with travel(timedelta(days=3)):
            assert timedelta(days=3) <= now() - here < timedelta(days=3, minutes=1)
            with travel(timedelta(hours=1)):
                assert now() - here >= timedelta(days=3, hours=1)
        with travel(datetime(2020, 2, 29, 23, 30, tzinfo=UTC)):
            assert now().date().isoformat() == "2020-02-29"
            assert abs(nanoseconds() / 1e9 - now().timestamp()) < 5
            assert (today().isoformat(), today("Asia/Tokyo").isoformat(), today("America/New_York").isoformat()) == (
                "2020-02-29",
                "2020-03-01",
                "2020-02-29",
            )
        assert timedelta(0) <= now() - here < timedelta(minutes=1)

    def test_it_comes_back_when_something_goes_wrong(self) -> None:
        with pytest.raises(RuntimeError), travel(timedelta(days=400)):
            raise RuntimeError
        assert abs((now() - datetime.now(UTC)).total_seconds()) < 5

    def test_the_present_is_in_utc(self) -> None:
        assert now().tzinfo is UTC
