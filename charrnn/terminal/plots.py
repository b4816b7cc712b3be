"""Numbers over lags, as a table and as a plot of plain characters."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from charrnn.evaluation.gradient_flow import EXPLODED, VANISHED

if TYPE_CHECKING:
    from charrnn.evaluation.gradient_flow import Gate, Reach

MARKS = "*o+x#@%&"
WIDTH, HEIGHT = 64, 14


def lag_table(reaches: Mapping[str, "Reach"]) -> list[str]:
    """Return the lines of a table: the norm at lags 1, 2, 4, ...

    And at the last, a column for each model.
    """
    last = min(len(reach.norms) for reach in reaches.values())
    lags = sorted({1 << power for power in range(last.bit_length())} | {last})
    width = max(10, *(len(name) for name in reaches))
    head = "  ".join(["lag".rjust(5), *(name.rjust(width) for name in reaches)])
    rows = (
        "  ".join(
            [f"{lag:5}", *(f"{reach.norms[lag - 1]:{width}.3e}" for reach in reaches.values())]
        )
        for lag in lags
    )
    return [head, *rows]


def plot(reaches: Mapping[str, "Reach"]) -> list[str]:
    """Return the lines of a plot of the norms over the lags, on a logarithmic scale.

    A mark for each model.
    """
    last = min(len(reach.norms) for reach in reaches.values())
    columns = min(WIDTH, last)
    lags = [1 + round(column * (last - 1) / max(1, columns - 1)) for column in range(columns)]
    curves = [[_log(reach.norms[lag - 1]) for lag in lags] for reach in reaches.values()]
    heights = [height for curve in curves for height in curve if height is not None]
    if not heights:
        return ["All norms are 0."]
    low, high = math.floor(max(min(heights), max(heights) - DECADES)), math.ceil(max(heights))
    low = min(low, high - 1)
    grid = [[" "] * columns for _ in range(HEIGHT)]
    for mark, curve in zip(MARKS * (1 + len(curves) // len(MARKS)), curves, strict=False):
        for column, height in enumerate(curve):
            if height is not None and height >= low:
                grid[round((high - height) / (high - low) * (HEIGHT - 1))][column] = mark
    labels = [f"1e{high:+03}", *[""] * (HEIGHT - 2), f"1e{low:+03}"]
    lines = [
        f"{label:>6} |{''.join(row)}".rstrip() for label, row in zip(labels, grid, strict=True)
    ]
    axis = (
        f"{'':>6} +{'-' * columns}",
        f"{'':>7} 1{last:>{columns - 1}}  steps back" if columns > 1 else f"{'':>7} 1",
    )
    names = [
        f"{'':>7} {mark} {name}"
        for mark, name in zip(MARKS * (1 + len(curves)), reaches, strict=False)
    ]
    return [*lines, *axis, *names]


DECADES = 16  # that the plot shows below its highest point


def _log(norm: float) -> float | None:
    return math.log10(norm) if 0 < norm < math.inf else None


def reach_lines(reach: "Reach") -> list[tuple[str, str]]:
    """Return the lines that say in words how far a model's gradients reach, and why."""
    rows = [("gradient", verdict(reach))]
    for number, gate in enumerate(reach.gates, 1):
        if gate is not None:
            rows.append((f"layer {number} keeps", _kept(gate)))
    layers = sorted({name.split(".")[0] for name in reach.singular_values}, key=int)
    for layer in layers:
        values = [
            f"{name.split('.')[1]} {value:.2f}"
            for name, value in reach.singular_values.items()
            if name.split(".")[0] == layer
        ]
        rows.append(
            (
                f"layer {layer} norm",
                f"{', '.join(values)} (largest singular value of the recurrent matrix)",
            )
        )
    return rows


def verdict(reach: "Reach") -> str:
    """Name vanishing and exploding where they are, with the rule that says so."""
    said = []
    if reach.explodes_at is not None:
        said.append(
            f"explodes: more than {EXPLODED:g} times its norm at lag 1 at lag {reach.explodes_at}"
        )
    if reach.vanishes_at is not None:
        said.append(
            f"vanishes: less than {VANISHED:.0%} of its norm at lag 1 from lag {reach.vanishes_at} on"
        )
    left = reach.norms[-1] / reach.norms[0] if reach.norms[0] else 0.0
    return (
        "; ".join(said)
        or f"reaches all {len(reach.norms)} steps back, where {left:.1%} of its norm at lag 1 is left"
    )


def _kept(gate: "Gate") -> str:
    facts = gate.to_dict()
    mean, slowest = _steps(facts["time_constant"]), _steps(facts["slowest_time_constant"])
    return f"{gate.mean:.3f} of its state (time constant {mean}), its slowest unit {gate.slowest:.3f} ({slowest})"


def _steps(constant: float | None) -> str:
    return "for ever" if constant is None else f"{constant:,.1f} steps"
