"""Charts as SVG from the server: no script draws them, no style attribute is needed, and each has its numbers as a table.

Shapes are drawn on a 1000 × 200 canvas that stretches; colours come from classes of the design system.
"""

import json
import math
import zlib
from collections.abc import Sequence
from itertools import pairwise

import msgspec
from markupsafe import Markup, escape

WIDTH = 1000
HEIGHT = 200
_GRID_LINES = 4

Point = tuple[float, float]
_NOTHING = Markup("")


class AreaChart(msgspec.Struct, kw_only=True):
    """A series over time, with an optional earlier one to compare with; `texts` are the values as people read them."""

    title: str
    labels: list[str]
    values: list[float]
    texts: list[str]
    previous: list[float] | None = None
    previous_texts: list[str] | None = None
    axis: list[str] | None = None
    ticks: list[str] | None = None
    top: float | None = None


class ColumnChart(msgspec.Struct, kw_only=True):
    """Stacked columns: one stack of (value, class) per label; `texts` are the totals as people read them."""

    title: str
    labels: list[str]
    stacks: list[list[tuple[float, str]]]
    texts: list[str]
    axis: list[str] | None = None
    top: float | None = None


Chart = AreaChart | ColumnChart


def nice_top(highest: float) -> float:
    """The end of the axis: the next round number at or above the highest value."""
    if highest <= 0:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(highest))
    steps = (step * magnitude for step in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10))
    return next((end for end in steps if end >= highest), highest)


def place(values: Sequence[float], low: float, high: float, width: float = WIDTH, height: float = HEIGHT) -> list[Point]:
    """Where the values lie on the canvas; a single value lies in the middle."""
    span = (high - low) or 1.0
    if len(values) == 1:
        return [(width / 2, height - (values[0] - low) / span * height)]
    return [(i * width / (len(values) - 1), height - (value - low) / span * height) for i, value in enumerate(values)]


def smooth(points: Sequence[Point]) -> str:
    """A path through the points that never overshoots them (monotone cubic, Fritsch and Carlson 1980)."""
    if len(points) < 3:
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    slopes = _tangents(points)
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
        third = (x1 - x0) / 3
        path.append(f"C{x0 + third:.1f} {y0 + slopes[i] * third:.1f} {x1 - third:.1f} {y1 - slopes[i + 1] * third:.1f} {x1:.1f} {y1:.1f}")
    return "".join(path)


def _tangents(points: Sequence[Point]) -> list[float]:
    secants = [(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in pairwise(points)]
    inner = [0.0 if a * b <= 0 else (a + b) / 2 for a, b in pairwise(secants)]
    slopes = [secants[0], *inner, secants[-1]]
    for i, secant in enumerate(secants):
        if secant == 0:
            slopes[i] = slopes[i + 1] = 0.0
            continue
        a, b = slopes[i] / secant, slopes[i + 1] / secant
        if a * a + b * b > 9:
            scale = 3 / math.hypot(a, b)
            slopes[i], slopes[i + 1] = scale * a * secant, scale * b * secant
    return slopes


def area_markup(chart: AreaChart, small: bool = False) -> Markup:
    """The line with its tinted area, the earlier period dashed behind it."""
    if not chart.values:
        return Markup("")
    top = chart.top or nice_top(max([*chart.values, *(chart.previous or [])]))
    points = place(chart.values, 0, top)
    line = smooth(points)
    before = f'<path class="c-line c-line--prev" d="{smooth(place(chart.previous, 0, top))}"/>' if chart.previous else ""
    x, y = points[-1]
    gradient = f"g{zlib.crc32((chart.title + line).encode())}"
    shapes = (
        f'<defs><linearGradient id="{gradient}" x1="0" x2="0" y1="0" y2="1"><stop class="g-a" offset="0"/><stop class="g-b" offset="1"/>'
        f"</linearGradient></defs>{_grid()}"
        f'<path class="c-area" fill="url(#{gradient})" d="{line}L{x:.1f} {HEIGHT}L{points[0][0]:.1f} {HEIGHT}Z"/>{before}'
        f'<path class="c-line" d="{line}"/><path class="c-dot c-dot--ring" d="M{x:.1f} {y:.1f}h.01"/><path class="c-dot" d="M{x:.1f} {y:.1f}h.01"/>'
    )
    return _frame(chart, shapes, chart.axis or _axis(top), chart.ticks or _ticks(chart.labels), small=small, data=_readings(chart))


def column_markup(chart: ColumnChart, small: bool = True) -> Markup:
    """Stacked columns, one per label."""
    if not chart.stacks:
        return Markup("")
    top = chart.top or nice_top(max(sum(value for value, _ in stack) for stack in chart.stacks))
    slot = WIDTH / len(chart.stacks)
    bars = "".join(_stack(stack, i * slot + slot * 0.2, slot * 0.6, top) for i, stack in enumerate(chart.stacks))
    return _frame(chart, _grid() + bars, chart.axis or _axis(top), chart.labels, small=small, bars=True)


def _stack(stack: Sequence[tuple[float, str]], x: float, width: float, top: float) -> str:
    parts, y = [], float(HEIGHT)
    for value, shade in stack:
        height = value / top * HEIGHT
        y -= height
        parts.append(f'<rect class="{escape(shade)}" x="{x:.1f}" width="{width:.1f}" y="{y:.1f}" height="{max(0.0, height - 1.2):.1f}"/>')
    return "".join(parts)


def spark_markup(values: Sequence[float], cls: str = "") -> Markup:
    """A line the size of a word, without axes."""
    if len(values) < 2:
        return Markup("")
    low, high = min(values), max(values)
    pad = (high - low) * 0.12 or 1
    path = smooth(place(values, low - pad, high + pad, 100, 28))
    return Markup(
        '<svg class="spark" viewBox="0 0 100 28" preserveAspectRatio="none" aria-hidden="true"><path class="c-line {}" d="{}"/></svg>'
    ).format(cls, path)


def meter_markup(parts: Sequence[tuple[float, str]], label: str, size: str = "") -> Markup:
    """One stacked bar; the parts are widths of 100 with a colour class."""
    gap = 0.5 if len(parts) > 1 else 0.0
    bars, x = [], 0.0
    for width, shade in parts:
        bars.append(f'<rect class="{escape(shade)}" x="{x:.2f}" width="{max(0.0, width - gap):.2f}" height="10"/>')
        x += width
    cls = f"meter meter--{size}" if size else "meter"
    return Markup(
        '<div class="{}" role="img" aria-label="{}"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{}</svg></div>'
    ).format(cls, label, _drawn("".join(bars)))


def chart_rows(chart: Chart) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The chart as the head and rows of a table."""
    if isinstance(chart, AreaChart) and chart.previous_texts:
        pairs = zip(chart.labels, chart.texts, chart.previous_texts, strict=True)
        return ["Value", "Before"], [(label, [text, before]) for label, text, before in pairs]
    return ["Value"], [(label, [text]) for label, text in zip(chart.labels, chart.texts, strict=True)]


def shares(values: Sequence[int], cls: Sequence[str]) -> list[tuple[float, str]]:
    """Widths of a meter from whole numbers: together 100, nothing at all stays empty."""
    whole = sum(values)
    return [(value * 100 / whole, shade) for value, shade in zip(values, cls, strict=True) if value > 0] if whole > 0 else []


def _drawn(shapes: str) -> Markup:
    return Markup(shapes)  # noqa: S704 - drawn above from numbers and escaped class names


def _grid() -> str:
    step = HEIGHT // _GRID_LINES
    return "".join(
        f'<path class="c-grid{" c-grid--0" if i == _GRID_LINES else ""}" d="M0 {step * i}H{WIDTH}"/>' for i in range(_GRID_LINES + 1)
    )


def _axis(top: float) -> list[str]:
    return [_compact(top * (_GRID_LINES - i) / _GRID_LINES) for i in range(_GRID_LINES + 1)]


def _compact(value: float) -> str:
    for size, unit in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _ticks(labels: Sequence[str]) -> list[str]:
    if len(labels) <= 5:
        return list(labels)
    last = len(labels) - 1
    return [labels[round(i * last / 4)] for i in range(5)]


def _spans(texts: Sequence[str]) -> Markup:
    return Markup("").join(Markup("<span>{}</span>").format(text) for text in texts)


def _readings(chart: AreaChart) -> Markup:
    data = Markup(' data-labels="{}" data-a="{}"').format(json.dumps(chart.labels), json.dumps(chart.texts))
    return data + Markup(' data-b="{}"').format(json.dumps(chart.previous_texts)) if chart.previous_texts else data


def _frame(
    chart: Chart, shapes: str, axis: Sequence[str], ticks: Sequence[str], *, small: bool, bars: bool = False, data: Markup = _NOTHING
) -> Markup:
    focus = Markup(' tabindex="0" aria-roledescription="chart, arrow keys read each value"') if data else Markup("")
    reading = (
        Markup('<span class="c-cross"></span><span class="c-tip"></span><span class="vh" role="status" data-reading></span>')
        if data
        else Markup("")
    )
    return Markup(
        '<div class="chart{small}"><div class="chart-y" aria-hidden="true">{axis}</div><div class="chart-p"{focus} role="group" aria-label="{title}"{data}>'
        '<svg viewBox="0 0 1000 200" preserveAspectRatio="none" aria-hidden="true">{shapes}</svg>{reading}</div>'
        '<div class="chart-x{bars}" aria-hidden="true">{ticks}</div></div>'
    ).format(
        small=" chart--sm" if small else "",
        axis=_spans(axis),
        focus=focus,
        title=chart.title,
        data=data,
        shapes=_drawn(shapes),
        reading=reading,
        bars=" chart-x--bars" if bars else "",
        ticks=_spans(ticks),
    )
