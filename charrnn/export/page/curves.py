"""The curves of a run as inline SVG, without scripts and without colours of their own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 28, 36
MAX_POINTS = 400  # of a curve; more would not be seen
TICKS = 4

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A named curve: points (x, y), ascending in x."""

    name: str
    points: Sequence[Point]


def curve(name: str, metrics: Sequence[Mapping[str, Any]], entry: str) -> Curve:
    """Return the curve of one entry of a metrics log over the steps."""
    return Curve(name, thinned(points_of(metrics, "step", entry)))


def points_of(metrics: Sequence[Mapping[str, Any]], x: str, y: str) -> list[Point]:
    """Return the points of the lines of a metrics log that have numbers for entries `x` and `y`."""
    return [
        (float(line[x]), float(line[y]))
        for line in metrics
        if is_number(line.get(x)) and is_number(line.get(y))
    ]


def is_number(value: Any) -> bool:
    """Return whether an entry of a log is a number that can be drawn."""
    return type(value) in (int, float) and math.isfinite(value)


def thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most `MAX_POINTS` points: the means of equally many neighbours."""
    each = -(-len(points) // MAX_POINTS) if points else 1
    groups = [points[begin : begin + each] for begin in range(0, len(points), each)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def draw(title: str, description: str, curves: Sequence[Curve], best: Point | None = None) -> str:
    """Return curves in one frame as SVG; `best` is a point to be marked.

    Args:
        title: What is shown.
        description: The same for people who do not see it.
        curves: One or two, of which at least one has a point.
        best: A point to be marked.
    """
    points = [point for one in curves for point in one.points]
    xs, ys = ([point[axis] for point in points] for axis in (0, 1))
    frame = _Frame((min(xs), max(xs)), (min(ys), max(ys)))
    names = "".join(
        f'<text class="name-{number}" x="{LEFT + 130 * (number - 1)}" y="16">{escape(one.name)}'
        "</text>"
        for number, one in enumerate(curves, 1)
    )
    lines = "".join(
        f'<polyline class="curve{" second" if number else ""}" points="{frame.path(one.points)}"/>'
        for number, one in enumerate(curves)
    )
    mark = ""
    if best is not None:
        x, y = frame.place(best)
        mark = f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    label = f'role="img" aria-label="{escape(description)}"'
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" {label}>'
        f"{frame.axes()}{names}{lines}{mark}</svg><figcaption>{escape(title)}</figcaption></figure>"
    )


@dataclass(frozen=True)
class _Frame:
    """The part of the plane that is drawn."""

    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, point: Point) -> Point:
        """Return where a point is in the picture."""
        right = _fraction(point[0], self.x) * (WIDTH - LEFT - RIGHT)
        down = (1 - _fraction(point[1], self.y)) * (HEIGHT - TOP - BOTTOM)
        return LEFT + right, TOP + down

    def path(self, points: Sequence[Point]) -> str:
        """Return points as SVG writes them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.place, points))

    def axes(self) -> str:
        """Return the axes with their ticks."""
        bottom = HEIGHT - BOTTOM
        parts = [f'<path class="axis" d="M{LEFT},{TOP}V{bottom}H{WIDTH - RIGHT}"/>']
        for number in range(TICKS + 1):
            x, y = (low + (high - low) * number / TICKS for low, high in (self.x, self.y))
            right, _ = self.place((x, self.y[0]))
            _, down = self.place((self.x[0], y))
            anchor = "end" if number == TICKS else "middle"
            parts.append(
                f'<text x="{right:.0f}" y="{bottom + 18}" text-anchor="{anchor}">{x:,.0f}</text>'
                f'<text x="{LEFT - 8}" y="{down + 4:.0f}" text-anchor="end">{y:.2g}</text>'
            )
        return "".join(parts)


def _fraction(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return (value - low) / (high - low) if high > low else 0.5
