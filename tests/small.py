"""Texts, settings and runs that are so small that they train in a moment."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.data.split import training_part
from charrnn.data.text import Encoded, encode
from charrnn.storage.container import load
from charrnn.storage.run_folder import RunFolder
from charrnn.tokenizers import CharTokenizer
from charrnn.training.plan import Request, make_plan
from charrnn.training.resume import begin, resume
from charrnn.training.run import Data, Happening, Session

TEXT = "the cat sat on the mat. a dog ran to the hat.\n" * 12
SETTINGS: dict[str, Any] = {
    "hidden_size": 8,
    "embedding_size": 4,
    "num_layers": 1,
    "batch_size": 3,
    "seq_len": 16,
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
    "steps": 14,
    "eval_every": 5,
    "log_every": 2,
}


def arguments(**settings: Any) -> list[str]:
    """Return settings as a command line has them."""
    return [
        word
        for name, value in settings.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


OPTIONS = arguments(**SETTINGS)


def read(text: str = TEXT) -> tuple[CharTokenizer, Data]:
    length = training_part(len(text), 0.1)
    parts = text[:length], text[length:]
    tokenizer = CharTokenizer.train(parts[0])
    train, valid = (encode(tokenizer, part) for part in parts)
    return tokenizer, Data("text", hashlib.sha256(text.encode()).hexdigest(), train, valid)


def encoded(text: str) -> tuple[CharTokenizer, Encoded]:
    tokenizer = CharTokenizer.train(text)
    return tokenizer, encode(tokenizer, text)


@contextmanager
def session_in(path: Path, text: str = TEXT, **settings: Any) -> Iterator[Session]:
    """Begin a run in `path`, or continue the one that is there, as `charrnn train` does."""
    request = Request(settings=SETTINGS | settings)
    tokenizer, data = read(text)
    folder = RunFolder(path)
    folder.prepare()
    with folder.lock():
        saved = folder.load_state()
        if saved is not None:
            yield resume(folder, request, data, saved[:2])
        else:
            plan = make_plan(request, tokenizer, data.train, data.valid, started=0.0)
            yield begin(folder, request, plan, tokenizer, data)


def run(
    path: Path, *, should_stop: Callable[[], int | None] = lambda: None, **settings: Any
) -> list[Happening]:
    """Train until the run is done or told to stop; return what happened."""
    with session_in(path, **settings) as session:
        return list(session.run(should_stop))


def results(path: Path) -> dict[str, Any]:
    """Return all that a run leaves behind which should not depend on how it came about."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return {
        "model": (path / "model.safetensors").read_bytes(),
        "last": (path / "last.safetensors").read_bytes(),
        "config": (path / "config.json").read_text(),
        "metrics": [
            {name: value for name, value in line.items() if name != "seconds"} for line in lines
        ],
    }


def weights(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the weights that a run ended with."""
    return {
        name: array
        for name, array in load(path / "last.safetensors")[0].items()
        if name.startswith("model.")
    }
