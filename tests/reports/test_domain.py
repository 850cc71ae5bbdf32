"""Periods and figures: the arithmetic of the start page."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.reports.domain import Figures, Period, PeriodName, growth, growth_text, percent_text, points_text

DAY = date(2026, 11, 21)
COUNTS = st.builds(Figures, **dict.fromkeys(Figures.__struct_fields__, st.integers(0, 10**12)))


class TestPeriod:
    @pytest.mark.parametrize("name", PeriodName)
    def test_ends_with_the_day_it_is_asked_for_and_follows_the_one_before(self, name: PeriodName) -> None:
        period = Period.ending(name, DAY)
        assert period.until == datetime(2026, 11, 22, tzinfo=UTC)
        assert period.before.until == period.since
        assert period.before.until - period.before.since == period.until - period.since

    @given(st.sampled_from(PeriodName), st.timedeltas(timedelta(days=-200), timedelta(days=200)))
    def test_every_moment_has_one_step_or_lies_outside(self, name: PeriodName, span: timedelta) -> None:
        period = Period.ending(name, DAY)
        moment = period.since + span
        place = period.place(moment)
        assert (place is not None) == (period.since <= moment < period.until)
        if place is not None:
            assert period.start(place) <= moment < period.start(place) + period.step


class TestFigures:
    @given(COUNTS, COUNTS)
    def test_sums_are_sums_of_every_figure(self, one: Figures, other: Figures) -> None:
        both = one + other
        assert both.net_minor == one.net_minor + other.net_minor
        assert both.decided == one.decided + other.decided

    def test_a_rate_of_nothing_is_unknown_not_zero(self) -> None:
        assert Figures().success_rate is None
        assert Figures().refund_rate is None
        assert Figures(succeeded=3, failed=1).success_rate == 0.75


class TestWords:
    def test_growth_needs_something_to_compare_with(self) -> None:
        assert growth(100, 0) is None
        assert growth(100, None) is None
        assert growth(90, 100) == pytest.approx(-0.1)
        assert growth(-50, -100) == pytest.approx(0.5)

    def test_growth_is_written_with_true_signs_and_without_absurd_percentages(self) -> None:
        assert growth_text(0.124) == "+12.4%"
        assert growth_text(-0.124) == "−12.4%"
        assert growth_text(33.6) == "×34.6"

    def test_rates_are_compared_in_points(self) -> None:
        assert points_text(0.938, 0.929) == "+0.9 pt"
        assert points_text(0.02, 0.023) == "−0.3 pt"
        assert points_text(0.5, 0.5) is None
        assert points_text(0.5, None) is None
        assert percent_text(0.938) == "93.8%"
