"""Texts, settings and runs that are so small that they train in a moment."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.data.encoding import Encoded, EncodedSplit, encode_text
from charrnn.data.formats import PLAIN, train_length
from charrnn.storage.container import load
from charrnn.storage.run_folder import RunFolder
from charrnn.tokenizers import CharTokenizer
from charrnn.training.events import RunEvent
from charrnn.training.planning import make_plan
from charrnn.training.request import TrainRequest
from charrnn.training.resume import begin, resume, saved_tokenizer
from charrnn.training.run import Run

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
RUN_FILES = {  # in the folder of a run that has saved at least twice
    ".lock",
    "config.json",
    "last.safetensors",
    "metrics.jsonl",
    "model.safetensors",
    "previous.safetensors",
    "run.json",
    "text.ids",
}


def read(text: str = TEXT) -> EncodedSplit:
    """Return a text as ids, split as `charrnn train` splits it."""
    length = train_length(len(text), 0.1)
    parts = text[:length], text[length:]
    tokenizer = CharTokenizer.train(parts[0])
    train, valid = (encode_text(tokenizer, part) for part in parts)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return EncodedSplit("text", sha256, PLAIN, tokenizer, train, valid)


def encoded(text: str) -> tuple[CharTokenizer, Encoded]:
    tokenizer = CharTokenizer.train(text)
    return tokenizer, encode_text(tokenizer, text)


@contextmanager
def run_in(path: Path, text: str = TEXT, **settings: Any) -> Iterator[Run]:
    """Begin a run in `path`, or continue the one that is there, as `charrnn train` does."""
    request = TrainRequest(texts=("text",), settings=SETTINGS | settings)
    data, asked = read(text), request.requested()
    folder = RunFolder(path)
    folder.prepare()
    with folder.lock():
        saved = folder.load_state()
        if saved is not None:
            tokenizer = saved_tokenizer(folder, asked, data, saved)  # type: ignore[arg-type]
            yield resume(folder, asked, replace(data, tokenizer=tokenizer), saved)
        else:
            yield begin(folder, asked, make_plan(request, data, started=0.0), data)


def run(
    path: Path, *, should_stop: Callable[[], int | None] = lambda: None, **settings: Any
) -> list[RunEvent]:
    """Train until the run is done or told to stop; return what happened."""
    with run_in(path, **settings) as run:
        return list(run.train(should_stop))


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
