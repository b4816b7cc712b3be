"""What a run says about itself: in its model file, in its record and at its end."""

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from charrnn.data.encoding import EncodedSplit
from charrnn.errors import counted
from charrnn.evaluation.score import Score, bits_per
from charrnn.model.shapes import parameter_count, table_size
from charrnn.runtime.device import prepare_cpu
from charrnn.runtime.distributed import ConnectionLost, ProcessGroup
from charrnn.storage.container import Arrays
from charrnn.training.events import Evaluated
from charrnn.training.plan import Plan
from charrnn.training.progress import Progress
from charrnn.version import __version__


@dataclass(frozen=True)
class Speed:
    """The time that a run has taken, in seconds, and the number of processes."""

    seconds: float
    ranks: int


def describe_machine(plan: Plan, device: torch.device, group: ProcessGroup) -> dict[str, Any]:
    """Return what a run is computed with, as JSON values; none of them depends on the time."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    facts = {
        "device": device.type,
        "gpu": gpu,
        "processor": processor_name(),
        "threads": prepare_cpu(plan.train.threads, group.local_size),
        "ranks": group.size,
        "precision": plan.precision,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }
    return {name: value for name, value in facts.items() if value is not None}


def session(step: int, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return when and with what a process begins to train a run at a step, as JSON values."""
    began = datetime.now(UTC).isoformat(timespec="seconds")
    return {"began": began, "step": step, "charrnn": __version__, **machine}


def processor_name() -> str:
    """Return the processor's name and the number of its cores."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {counted(os.cpu_count() or 1, 'core')}"


def text_facts(data: EncodedSplit) -> dict[str, Any]:
    """Return what identifies a text, and the characters of both of its parts."""
    sizes = {"train": data.train.characters, "valid": data.valid.characters}
    return {"name": data.name, "sha256": data.sha256, **sizes}


def state_facts(plan: Plan, data: EncodedSplit) -> dict[str, Any]:
    """Return the facts that a training state holds about the plan and the text, as JSON values."""
    return {
        "model": plan.model.to_dict(),
        "train": plan.train.to_dict(),
        "precision": plan.precision,
        "epochs": plan.epochs,
        **data.tokenizers(),
        "text": text_facts(data),
    }


def model_facts(
    plan: Plan, data: EncodedSplit, event: Evaluated, machine: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the facts that a model file holds about its training, as JSON values."""
    teachers = [] if data.teacher is None else [one.sha256 for one in data.teacher.members]
    return {
        **({"teachers": teachers} if teachers else {}),
        "step": event.step,
        "epochs": round(plan.epochs * event.step / max(1, plan.train.steps), 3),
        "valid": event.score.to_dict(),
        "text": text_facts(data) | data.known,
        "train": plan.train.to_dict(),
        "machine": dict(machine),
        "charrnn": __version__,
    }


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
        "valid_nats_per_token": best,
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
