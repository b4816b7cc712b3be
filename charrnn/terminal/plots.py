"""Gradient flow over lags, as a table and as a plot in plain text."""

import math
from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

from charrnn.errors import counted
from charrnn.evaluation.gradient_flow import EXPLODED, VANISHED
from charrnn.terminal.curves import HEIGHT, MARKS, WIDTH, grid

if TYPE_CHECKING:
    from charrnn.evaluation.gradient_flow import GradientFlow
    from charrnn.evaluation.retention import Retention

DECADES = 16  # powers of ten that the plot shows below its highest point

Flows = Mapping[str, "GradientFlow"]


def lag_table(flows: Flows) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table of norms at lags 1, 2, 4, ... and the last.

    There is a column for each model.
    """
    last = _last_lag(flows)
    lags = sorted({1 << power for power in range(last.bit_length())} | {last})
    width = max(3, len(str(last)))
    rows = [
        [f"{lag:{width}}", *(f"{flow.norms[lag - 1]:.3e}" for flow in flows.values())]
        for lag in lags
    ]
    return [f"{'lag':>{width}}", *flows], rows


def _last_lag(flows: Flows) -> int:
    return min(len(flow.norms) for flow in flows.values())


def plot(flows: Flows) -> list[str]:
    """Return the lines of a plot of norms over lags, on a logarithmic scale, for all models."""
    last = _last_lag(flows)
    columns = min(WIDTH, last)
    lags = [1 + round(column * (last - 1) / max(1, columns - 1)) for column in range(columns)]
    curves = [[_log(flow.norms[lag - 1]) for lag in lags] for flow in flows.values()]
    heights = [height for curve in curves for height in curve if height is not None]
    if not heights:
        return ["All norms are 0."]
    high = math.ceil(max(heights))
    low = min(high - 1, math.floor(max(min(heights), max(heights) - DECADES)))
    labels = [f"1e{high:+03}", *[""] * (HEIGHT - 2), f"1e{low:+03}"]
    rows = zip(labels, grid(curves, low, high), strict=True)
    lines = [f"{label:>6} |{''.join(row)}".rstrip() for label, row in rows]
    axis = f"{'':>7} 1{last:>{columns - 1}}  steps back" if columns > 1 else f"{'':>7} 1"
    names = [f"{'':>7} {mark} {name}" for mark, name in zip(cycle(MARKS), flows, strict=False)]
    return [*lines, f"{'':>6} +{'-' * columns}", axis, *names]


def _log(norm: float) -> float | None:
    return math.log10(norm) if 0 < norm < math.inf else None


def flow_rows(flow: "GradientFlow") -> list[tuple[str, str]]:
    """Return rows that describe how far a model's gradients reach, and why."""
    rows = [("gradient", verdict(flow))]
    for number, gate in enumerate(flow.gates, 1):
        if gate is not None:
            rows.append((f"layer {number} keeps", _retention_text(gate)))
    layers: dict[str, list[str]] = {}
    for name, value in flow.singular_values.items():
        layer, gate_name = name.split(".")
        layers.setdefault(layer, []).append(f"{gate_name} {value:.2f}")
    what = "largest singular value of the recurrent matrix"
    rows += [(f"layer {n} norm", f"{', '.join(v)} ({what})") for n, v in layers.items()]
    return rows


def verdict(flow: "GradientFlow") -> str:
    """Say whether the gradient explodes or vanishes, where, and by which criterion."""
    findings = []
    if flow.explodes_at is not None:
        factor = f"more than {EXPLODED:g} times its norm at lag 1"
        findings.append(f"explodes: {factor} at lag {flow.explodes_at}")
    if flow.vanishes_at is not None:
        fraction = f"less than {VANISHED:.0%} of its norm at lag 1"
        findings.append(f"vanishes: {fraction} from lag {flow.vanishes_at} on")
    left = flow.norms[-1] / flow.norms[0] if flow.norms[0] else 0.0
    reaches = f"reaches all {counted(len(flow.norms), 'step')} back"
    return "; ".join(findings) or f"{reaches}, where {left:.1%} of its norm at lag 1 is left"


def _retention_text(gate: "Retention") -> str:
    facts = gate.to_dict()
    mean, slowest = _steps_text(facts["time_constant"]), _steps_text(facts["slowest_time_constant"])
    own = f"{gate.mean:.3f} of its state (time constant {mean})"
    return f"{own}, its slowest unit {gate.slowest:.3f} ({slowest})"


def _steps_text(constant: float | None) -> str:
    return "for ever" if constant is None else f"{constant:,.1f} steps"
