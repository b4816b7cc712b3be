"""Curves of runs as characters."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import cycle

from charrnn.export.run_curves import AXES, QUANTITIES, RunCurve, label
from charrnn.terminal.escape import visible

MARKS = "*o+x#@%&"
WIDTH, HEIGHT = 60, 14

Heights = list[float | None]  # one a column; None where there is none
Point = tuple[float, float]


def plot_curves(curves: Sequence[RunCurve], quantity: str, axis: str) -> list[str]:
    """Return the lines of a plot of one or more curves, each with at least one point."""
    xs, ys = ([point[side] for one in curves for point in one.points] for side in (0, 1))
    (left, right), (low, high) = (min(xs), max(xs)), (min(ys), max(ys))
    if low == high:
        low, high = low - 1, high + 1
    columns = [left + (right - left) * column / (WIDTH - 1) for column in range(WIDTH)]
    heights = [[height_at(one.points, x) for x in columns] for one in curves]
    middle = (low + high) / 2
    labels = {0: high, HEIGHT // 2: middle, HEIGHT - 1: low}
    lines = [f"{QUANTITIES[quantity][1]}"]
    for number, row in enumerate(grid(heights, low, high)):
        shown = f"{labels[number]:.4g}" if number in labels else ""
        lines.append(f"{shown:>8} |{''.join(row)}".rstrip())
    ends = f"{left:,.4g}", f"{right:,.4g}"
    lines.append(f"{'':>8} +{'-' * WIDTH}")
    lines.append(f"{'':>9} {ends[0]}{ends[1]:>{WIDTH - len(ends[0])}}  {AXES[axis]}")
    names = zip(cycle(MARKS), curves, strict=False)
    return lines + [f"{'':>9} {mark} {visible(label(one, curves))}" for mark, one in names]


def height_at(points: Sequence[Point], x: float) -> float | None:
    """Return a curve's height at `x`, between its points; None before and after them."""
    places = [place for place, _ in points]
    after = bisect_right(places, x)
    if after == 0 or (after == len(points) and x > places[-1]):
        return None
    if after == len(points):
        return points[-1][1]
    (begin, low), (end, high) = points[after - 1], points[after]
    return low + (high - low) * (x - begin) / (end - begin)


def grid(curves: Sequence[Heights], low: float, high: float) -> list[list[str]]:
    """Return the characters of a plot, row by row from the top."""
    grid = [[" "] * len(curves[0]) for _ in range(HEIGHT)]
    for mark, curve in zip(cycle(MARKS), curves, strict=False):
        for column, height in enumerate(curve):
            if height is not None and height >= low:
                row = round((high - height) / (high - low) * (HEIGHT - 1))
                grid[row][column] = mark
    return grid
