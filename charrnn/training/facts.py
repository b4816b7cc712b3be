"""What a run says about itself."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from charrnn.data.encoding import EncodedSplit
from charrnn.evaluation.score import Score, bits_per
from charrnn.model.shapes import parameter_count, table_size
from charrnn.runtime.distributed import ConnectionLost, ProcessGroup
from charrnn.storage.container import Arrays
from charrnn.training.plan import Plan
from charrnn.training.progress import Progress


@dataclass(frozen=True)
class Speed:
    """The time that a run has taken, in seconds, and the number of processes."""

    seconds: float
    ranks: int


def summary(
    out: Path,
    plan: Plan,
    data: EncodedSplit,
    progress: Progress,
    speed: Speed,
    whole: Score | None = None,
) -> dict[str, Any]:
    """Return a run's result as JSON values.

    Args:
        out: The run's folder.
        plan: The settings.
        data: The text.
        progress: How far the run is.
        speed: How long it took.
        whole: Score of the whole validation text, if evaluations scored a part of it.
    """
    train, valid, seconds = data.train, data.valid, speed.seconds
    best = whole.nats_per_token if whole else progress.best_nats
    characters = progress.tokens * train.characters / len(train.ids)
    return {
        "out": str(out),
        "step": progress.step,
        "best_step": progress.best_step,
        "valid_nats": best,
        "valid_bits_per_char": bits_per(best * len(valid.ids), valid.characters),
        "parameters": parameter_count(plan.model),
        "table_parameters": table_size(plan.model),
        "epochs": plan.epochs,
        "tokens": progress.tokens,
        "seconds": round(seconds, 3),
        "chars_per_second": round(characters / max(1e-9, seconds)),
        "precision": plan.precision,
        "ranks": speed.ranks,
    }


def check_same_weights(group: ProcessGroup, arrays: Arrays, step: int) -> None:
    """Raise `ConnectionLost` unless all processes have the same weights.

    They may differ if the machines are of different kinds.
    """
    if group.size == 1:
        return
    names = sorted(name for name in arrays if name.startswith("model."))
    weights = b"".join(arrays[name].tobytes() for name in names)
    what = f"The SHA-256 of the weights at step {step:,}"
    hint = "Use machines of one kind, with one version of torch. What was saved before is good."
    group.check_same({what: sha256(weights).hexdigest()}, hint, ConnectionLost)
