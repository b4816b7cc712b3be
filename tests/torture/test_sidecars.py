"""Every file of a run's folder, damaged in every way that `mutate` knows, and the run continued.

No traceback, and no final model but the one of a run that nobody disturbed.
"""

import json
import math
import random
import shutil
import zlib
from collections import Counter, deque
from pathlib import Path
from typing import Any

import pytest
from counting import Amount
from mutate import ODD, mutated_bytes, mutated_json
from small_runs import OPTIONS, arguments, results

from charrnn.__main__ import run
from charrnn.data.encoding import EncodedSplit
from charrnn.data.formats import PLAIN, RecordFormat, TextFormat
from charrnn.data.id_cache import encode_cached
from charrnn.data.split import split_text
from charrnn.data.text import read_text
from charrnn.errors import InterruptedRun
from charrnn.storage.metrics_log import MetricsLog
from charrnn.tokenizers import CharTokenizer
from charrnn.training.events import Trained
from charrnn.training.request import TrainRequest
from charrnn.training.train import training_events

STOP, CHECKPOINTS = 8, ("model.safetensors", "last.safetensors", "previous.safetensors")
SETTINGS = arguments(save_every=2, log_every=1, eval_every=3)


def damaged(data: bytes, name: str, rng: random.Random) -> bytes:
    """Return a file's content with some bytes, or some of what it says, changed."""
    if name == "text.ids" and rng.random() < 0.5:
        return damaged_trailer(data, rng)
    lines = data.splitlines(keepends=True)
    if name.endswith(".jsonl") and lines and rng.random() < 0.7:
        index = rng.randrange(len(lines))
        lines[index] = json.dumps(odd_number(json.loads(lines[index]), rng)).encode() + b"\n"
        return b"".join(lines)
    if name.endswith(".json") and rng.random() < 0.7:
        return json.dumps(mutated_json(json.loads(data), rng)).encode()
    return mutated_bytes(data, rng) if data else rng.randbytes(9)


def odd_number(values: Any, rng: random.Random) -> Any:
    """Return a line with one of its values replaced, or changed in any other way."""
    if rng.random() < 0.5:
        return mutated_json(values, rng)
    return values | {rng.choice(list(values)): rng.choice(ODD)}


def damaged_trailer(data: bytes, rng: random.Random) -> bytes:
    """Return encoded ids whose last line says something else, with the checksum that fits."""
    ids, _, line = data.rpartition(b"\n")
    trailer = json.loads(line)
    facts = {"key": trailer["key"], "parts": mutated_json(trailer["parts"], rng)}
    try:
        crc = zlib.crc32(json.dumps(facts).encode(), zlib.crc32(ids))
    except UnicodeEncodeError:
        crc = 0
    return ids + b"\n" + json.dumps(facts | {"crc32": crc}).encode()


@pytest.fixture(scope="module")
def folders(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folders of a run that was stopped in the middle, and of one that was not."""
    where = tmp_path_factory.mktemp("sidecars")
    words = ["train", str(text), *OPTIONS, *SETTINGS, "-q", "--out"]
    assert run([*words, str(where / "whole")]) == 0
    request = TrainRequest.of(text, {"out": str(where / "part")} | options())
    with pytest.raises(InterruptedRun):
        stop_in(request)
    return where / "part", where / "whole"


def options() -> dict[str, Any]:
    """Return the settings of the command lines as keywords."""
    words = [*OPTIONS, *SETTINGS]
    pairs = zip(words[::2], words[1::2], strict=True)
    named = {name[2:].replace("-", "_"): value for name, value in pairs}
    return {name: int(value) if value.isdigit() else value for name, value in named.items()}


def stop_in(request: TrainRequest) -> None:
    seen: list[Any] = []
    at_step = Trained, STOP
    deque(
        map(
            seen.append,
            training_events(
                request,
                should_stop=lambda: 15 if (type(seen[-1]), seen[-1].step) == at_step else None,
            ),
        )
    )


def test_each_file_of_a_folder_damaged_and_the_run_continued(
    folders: tuple[Path, Path],
    text: Path,
    tmp_path: Path,
    counts: Counter[str],
    amount: Amount,
    capsys: pytest.CaptureFixture[str],
) -> None:
    part, whole = folders
    rng, expected, names = (
        random.Random(10),
        results(whole),
        sorted(one.name for one in part.iterdir()),
    )
    assert len(names) > 6
    for number in range(amount(42, 2_000)):
        name, folder = names[number % len(names)], tmp_path / "run"
        shutil.copytree(part, folder)
        (folder / name).write_bytes(damaged((part / name).read_bytes(), name, rng))
        code = run(["train", str(text), *OPTIONS, *SETTINGS, "-q", "--out", str(folder)])
        err = capsys.readouterr().err
        assert code == 0, (name, err)
        assert "Traceback" not in err
        check(name, folder, expected, err)
        shutil.rmtree(folder)
        counts["sidecars damaged"] += 1


def check(name: str, folder: Path, expected: dict[str, Any], err: str) -> None:
    """Check what a run left that was continued with one damaged file."""
    found = results(folder)
    if name == "model.safetensors":  # of the best step so far, which cannot be made again
        assert "model.safetensors" in err
        return
    assert {key: found[key] for key in ("model", "last", "config")} == {
        key: expected[key] for key in ("model", "last", "config")
    }, name
    if name != "metrics.jsonl":
        assert found["metrics"] == expected["metrics"]
    assert all(
        type(line["seconds"]) is float and math.isfinite(line["seconds"])
        for line in MetricsLog(folder / "metrics.jsonl").read()
        if line["step"] > STOP
    )


def test_metrics_logs(
    folders: tuple[Path, Path], tmp_path: Path, counts: Counter[str], amount: Amount
) -> None:
    rng, good = random.Random(11), (folders[0] / "metrics.jsonl").read_bytes()
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for _ in range(amount(300, 28_000)):
        log.path.write_bytes(damaged(good, log.path.name, rng))
        log.cut(STOP, rng.choice([None, 3, 6]))
        log.append({"step": STOP + 1, "seconds": log.seconds() + 1.5})
        assert log.read()[-1]["step"] == STOP + 1
        for raw in log.path.read_bytes().splitlines():
            json.loads(raw, parse_constant=pytest.fail)
        counts["sidecars damaged"] += 1


@pytest.mark.parametrize("form", [PLAIN, RecordFormat("\n")], ids=["plain", "records"])
def test_encoded_texts(
    form: TextFormat, tmp_path: Path, counts: Counter[str], amount: Amount
) -> None:
    """What is read back are the ids of the text, or else it is encoded again."""
    (tmp_path / "text.txt").write_text("".join(f"{number} cats\n" for number in range(40)))
    rng, text = random.Random(12), read_text([str(tmp_path / "text.txt")])
    split = split_text(text, form, 0.2)
    tokenizer, path = CharTokenizer.train(split.train.units()), tmp_path / "text.ids"
    expected = ids_of(encode_cached(tokenizer, split, path))
    good = path.read_bytes()
    for _ in range(amount(300, 10_000)):
        path.write_bytes(damaged(good, path.name, rng))
        assert ids_of(encode_cached(tokenizer, split, path)) == expected
        counts["sidecars damaged"] += 1


def ids_of(data: EncodedSplit) -> list[Any]:
    """Return what training reads of an encoded text; the counts are read for reports only."""
    return [
        (part.ids.tobytes(), None if part.starts is None else part.starts.tolist())
        for part in (data.train, data.valid)
    ]
