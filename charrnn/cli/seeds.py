"""Several runs that differ in their seed alone, and what they have in common."""

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from charrnn.config.fields import check_number
from charrnn.data.text import text_name
from charrnn.errors import UsageError
from charrnn.runtime.rendezvous import group_from
from charrnn.training.request import TrainRequest


def requests_for(request: TrainRequest, seeds: int) -> Iterator[TrainRequest]:
    """Yield a request for each seed, from the one given (or 0) on; each has a folder of its own.

    Raises:
        UsageError: There is no seed, the request continues a single run, or there are several
            processes.
    """
    check_number("seeds", seeds, low=1)
    if request.resume is not None:
        raise UsageError("`seeds` cannot be used with `resume`, which continues a single run.")
    if group_from(os.environ).size > 1:
        raise UsageError("`seeds` cannot be used with several ranks.", "Start one run at a time.")
    folder = request.out or Path("checkpoints") / text_name(request.texts)
    first = request.settings.get("seed", 0)
    for seed in range(first, first + seeds):
        settings = {**request.settings, "seed": seed}
        yield replace(request, out=folder / f"seed-{seed}", settings=settings)


def in_common(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean and the standard deviation of the runs' validation scores.

    Args:
        summaries: One of each run; see `charrnn.training.facts.summary`.

    Returns:
        JSON values: "runs", the summaries, and a mean and a standard deviation for each score; the
        latter is None for a single run.
    """
    found: dict[str, Any] = {"out": str(Path(summaries[0]["out"]).parent), "runs": list(summaries)}
    for name in ("valid_nats_per_token", "valid_bits_per_char"):
        values = [one[name] for one in summaries]
        found[name] = {
            "mean": statistics.fmean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
        }
    return found
