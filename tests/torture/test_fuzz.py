"""A hundred thousand files that went wrong, or were made to.

Only charrnn's own errors, and little memory.
"""

import base64
import json
import random
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting import Amount
from mutate import Parts, mutated_bytes, mutated_json, mutated_parts, parts_of, resealed
from small_runs import TEXT, read, run_in

from charrnn.__main__ import run
from charrnn.cli.config_file import read_config
from charrnn.config.model import ModelConfig
from charrnn.data.encoding import EncodedSplit
from charrnn.errors import CharRNNError, ModelFileError
from charrnn.model.shapes import weight_shapes
from charrnn.storage.container import load
from charrnn.storage.model_file import SavedModel, load_model, save_model
from charrnn.storage.run_folder import RunFolder
from charrnn.tokenizers import KINDS, CharTokenizer, tokenizer_from_dict, train_tokenizer
from charrnn.training.planning import PlannedRun, make_plan
from charrnn.training.request import TrainRequest

KEPT = Path(__file__).parents[1] / "legacy" / "format-1" / "run"
MODEL = (KEPT / "model.safetensors").read_bytes()
STATE = (KEPT / "last.safetensors").read_bytes()
CONFIG = (KEPT / "config.json").read_bytes()

Commands = Callable[[Path], None]


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str]) -> Commands:
    """Return a function that asks a loaded model for everything that it can do."""

    def ask(path: Path) -> None:
        # as the command itself does
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        for words in (
            ["info", str(path)],
            ["info", "--json", str(path)],
            ["sample", str(path), "--length", "2"],
        ):
            code = run([*words])
            assert code in (0, 2, 3, 4), capsys.readouterr().err
        capsys.readouterr()

    return ask


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a call gives, or None if it raises an error of charrnn's own, in one line."""
    message = "one line"
    try:
        return call()
    except CharRNNError as error:
        message = error.message
    assert len(message.splitlines()) == 1, message
    return None


def test_model_files_with_changed_bytes(
    tmp_path: Path, counts: Counter[str], amount: Amount
) -> None:
    rng, path = random.Random(1), tmp_path / "model.safetensors"
    for _ in range(amount(600, 35_000)):
        path.write_bytes(mutated_bytes(MODEL, rng))
        assert outcome(lambda: load_model(path)) is None
        counts["files fuzzed"] += 1


def test_state_files_with_changed_bytes(
    tmp_path: Path, counts: Counter[str], amount: Amount
) -> None:
    rng, path = random.Random(2), tmp_path / "last.safetensors"
    for _ in range(amount(200, 15_000)):
        path.write_bytes(mutated_bytes(STATE, rng))
        assert outcome(lambda: load(path)) is None
        counts["files fuzzed"] += 1


def test_model_files_with_changed_meaning_and_the_right_checksum(
    tmp_path: Path, commands: Commands, counts: Counter[str], amount: Amount
) -> None:
    rng, path, parts = random.Random(3), tmp_path / "model.safetensors", parts_of(MODEL)
    believed = 0
    for _ in range(amount(300, 25_000)):
        path.write_bytes(mutated_parts(parts, rng))
        if outcome(lambda: load_model(path)) is not None:
            believed += 1
            if believed % 3 == 0:
                commands(path)
        counts["files fuzzed"] += 1
    assert believed > 30


def test_state_files_with_changed_meaning_and_the_right_checksum(
    tmp_path: Path, counts: Counter[str], amount: Amount
) -> None:
    """A state is continued from only if the next step can be taken from it."""
    rng, folder, parts = (
        random.Random(4),
        tmp_path / "run",
        parts_of(small_state(tmp_path / "first")),
    )
    folder.mkdir()
    for _ in range(amount(60, 5_000)):
        (folder / "last.safetensors").write_bytes(mutated_parts(parts, rng))
        outcome(lambda: one_step(folder))
        counts["files fuzzed"] += 1


def small_state(folder: Path) -> bytes:
    with run_in(folder, cell="rnn") as small:
        events = small.train()
        while next(events).step < 3:  # type: ignore[union-attr]
            pass
        small.save()
    return (folder / "last.safetensors").read_bytes()


def one_step(folder: Path) -> None:
    if RunFolder(folder).load_state() is not None:
        with run_in(folder, cell="rnn") as small:
            next(small.trainer.run(), None)


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizers(kind: str, counts: Counter[str], amount: Amount) -> None:
    rng, good = random.Random(5), train_tokenizer(kind, [TEXT + "\u00e9\U0001f600"]).to_dict()
    for _ in range(amount(300, 5_000)):
        values = mutated_json(good, rng)
        tokenizer = outcome(lambda: tokenizer_from_dict(values))  # noqa: B023
        if tokenizer is not None:
            known = tokenizer.decode(range(int(kind == "char"), tokenizer.size))
            assert tokenizer.decode(tokenizer.encode(known)) == known
            assert tokenizer.to_dict() == values
        counts["files fuzzed"] += 1


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_sentencepiece_models_with_changed_bytes(
    kind: str, counts: Counter[str], amount: Amount, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever one of these is believed to be, a text that it encodes comes back."""
    rng, good = random.Random(9), train_tokenizer(kind, [TEXT])
    model, believed = base64.b64decode(good.to_dict()["model"]), 0
    for _ in range(amount(500, 20_000)):
        values = {"kind": kind, "model": base64.b64encode(mutated_bytes(model, rng)).decode()}
        tokenizer = outcome(lambda: tokenizer_from_dict(values))  # noqa: B023
        if tokenizer is not None:
            believed += 1
            assert (
                tokenizer.decode(tokenizer.encode(TEXT[:500] + "<unk>\u2581\0"))
                == TEXT[:500] + "<unk>\u2581\0"
            )
        counts["files fuzzed"] += 1
    assert believed > 10
    assert capfd.readouterr() == ("", "")


def test_settings(tmp_path: Path, counts: Counter[str], amount: Amount) -> None:
    rng, path = random.Random(6), tmp_path / "config.json"
    data = read(TEXT)
    for number in range(amount(300, 10_000)):
        if number % 2:
            path.write_bytes(mutated_bytes(CONFIG, rng))
        else:
            path.write_text(json.dumps(mutated_json(json.loads(CONFIG), rng)))
        settings = outcome(lambda: read_config(path, {}))
        if settings is not None:
            outcome(lambda: plan(settings, data))  # noqa: B023
        counts["files fuzzed"] += 1


def plan(settings: dict[str, Any], data: EncodedSplit) -> PlannedRun:
    """Plan a run; its steps are given, because otherwise the machine's speed would be measured."""
    request = TrainRequest(texts=("text",), settings={**settings, "steps": 10, "threads": 1})
    return make_plan(request, data, started=0.0)


def test_memory_stays_near_the_size_of_the_file(tmp_path: Path, amount: Amount) -> None:
    rng, path = random.Random(8), tmp_path / "model.safetensors"
    config = ModelConfig(vocab_size=3, hidden_size=128, embedding_size=128, num_layers=1)
    ones = {name: np.ones(shape, "f4") for name, shape in weight_shapes(config).items()}
    save_model(path, SavedModel(config, CharTokenizer("ab"), ones, {}))
    good = path.read_bytes()
    parts = parts_of(good)
    assert len(good) > 400_000
    for number in range(amount(20, 1000)):
        path.write_bytes(mutated_parts(parts, rng) if number % 2 else mutated_bytes(good, rng))
        assert peak_of(path) < 2.2 * len(good)


@pytest.mark.parametrize(
    "part",
    [
        "[]",
        "0",
        *(
            pytest.param(part, marks=pytest.mark.slow)
            for part in ("{}", '""', '{"":[]}', "1e9", "[[]]")
        ),
    ],
)
@pytest.mark.parametrize("where", ["metadata", "tensors"])
def test_a_header_of_very_many_parts_is_refused_before_it_is_read(
    part: str, where: str, tmp_path: Path
) -> None:
    """Each empty list takes 2 bytes of a file and 64 of memory."""
    path, parts = tmp_path / "model.safetensors", parts_of(MODEL)
    many = json.loads(f"[{','.join([part] * 300_000)}]")
    if where == "metadata":
        path.write_bytes(
            resealed(Parts(parts.tensors, parts.metadata | {"about": {"x": many}}, parts.data))
        )
    else:
        path.write_bytes(resealed(Parts({"x": many}, parts.metadata, parts.data)))
    del many
    with pytest.raises(ModelFileError):
        load_model(path)
    assert peak_of(path) < 2.2 * path.stat().st_size + 200_000


def peak_of(path: Path) -> int:
    """Return how many bytes loading a model took at most."""
    tracemalloc.start()
    try:
        outcome(lambda: load_model(path))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
