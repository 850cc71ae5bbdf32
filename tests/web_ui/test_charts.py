"""Charts are drawn by the server; the drawing keeps to its canvas and carries its numbers."""

import json
import re

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from app.web.charts import (
    HEIGHT,
    AreaChart,
    ColumnChart,
    area_markup,
    chart_rows,
    column_markup,
    meter_markup,
    nice_top,
    place,
    shares,
    smooth,
    spark_markup,
)

AMOUNTS = st.floats(0, 1e9, allow_nan=False, allow_infinity=False)
NUMBER = re.compile(r"-?\d+\.\d")


def area(values: list[float]) -> AreaChart:
    return AreaChart(title="Volume", labels=[f"day {i}" for i in range(len(values))], values=values, texts=[f"€{v:.2f}" for v in values])


class TestAxis:
    @given(highest=st.floats(0.01, 1e12))
    def test_ends_at_or_a_little_above_the_highest_value(self, highest: float) -> None:
        assert highest <= nice_top(highest) * 1.0000001
        assert nice_top(highest) <= highest * 1.5

    def test_nothing_at_all_still_has_an_axis(self) -> None:
        assert nice_top(0) == 1


class TestLine:
    @given(values=st.lists(AMOUNTS, min_size=3, max_size=40))
    def test_never_leaves_the_range_of_its_values(self, values: list[float]) -> None:
        high = nice_top(max(values))
        points = place(values, 0, high)
        ys = [float(number) for number in NUMBER.findall(smooth(points))][1::2]
        top, bottom = min(y for _, y in points), max(y for _, y in points)
        assert min(ys) >= top - 0.11
        assert max(ys) <= bottom + 0.11

    @given(values=st.lists(AMOUNTS, min_size=1, max_size=40))
    def test_goes_through_every_point(self, values: list[float]) -> None:
        points = place(values, 0, nice_top(max(values)))
        path = smooth(points)
        for x, y in points:
            assert f"{x:.1f} {y:.1f}" in path

    def test_one_value_lies_in_the_middle(self) -> None:
        assert place([5], 0, 10) == [(500.0, 100.0)]


class TestAreaChart:
    @given(values=st.lists(AMOUNTS, min_size=1, max_size=31))
    def test_carries_every_value_for_the_crosshair_and_the_table(self, values: list[float]) -> None:
        chart = area(values)
        plot = BeautifulSoup(area_markup(chart), "html.parser").select_one(".chart-p")
        assert plot is not None
        assert json.loads(str(plot["data-a"])) == chart.texts
        assert [cells for _, cells in chart_rows(chart)[1]] == [[text] for text in chart.texts]

    def test_what_people_typed_stays_text(self) -> None:
        chart = AreaChart(title='"><script>alert(1)</script>', labels=["<b>"], values=[1], texts=['"quoted"'])
        markup = area_markup(chart)
        assert "<script>" not in markup
        assert "<b>" not in markup

    def test_has_no_style_attribute(self) -> None:
        assert "style=" not in area_markup(area([1, 2, 3]))

    def test_without_values_there_is_no_picture(self) -> None:
        assert area_markup(area([])) == ""


class TestColumnChart:
    @given(stacks=st.lists(st.lists(AMOUNTS, min_size=1, max_size=3), min_size=1, max_size=12))
    def test_columns_stay_on_the_canvas(self, stacks: list[list[float]]) -> None:
        chart = ColumnChart(
            title="Due", labels=["x"] * len(stacks), stacks=[[(v, "c-f1") for v in stack] for stack in stacks], texts=["x"] * len(stacks)
        )
        bars = BeautifulSoup(column_markup(chart), "html.parser").select("rect")
        assert len(bars) == sum(len(stack) for stack in stacks)
        for bar in bars:
            assert -0.11 <= float(str(bar["y"])) <= HEIGHT
            assert float(str(bar["height"])) >= 0


class TestMeter:
    @given(values=st.lists(st.integers(0, 10**12), min_size=1, max_size=5))
    def test_shares_fill_the_bar_exactly(self, values: list[int]) -> None:
        parts = shares(values, ["c-f1"] * len(values))
        assert sum(width for width, _ in parts) == pytest.approx(100 if any(values) else 0)

    def test_says_what_it_shows(self) -> None:
        assert 'aria-label="Captured &lt;all&gt;"' in meter_markup([(100, "c-ok")], "Captured <all>")

    def test_a_line_needs_two_points(self) -> None:
        assert spark_markup([1]) == ""
        assert "c-line" in spark_markup([1, 1])
