"""The best model of a run is written at once if that is quick, and else only now and then."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from charrnn.config.model import ModelConfig
from charrnn.errors import MachineError
from charrnn.model.shapes import weight_shapes
from charrnn.storage.model_file import SavedModel, load_model
from charrnn.tokenizers import CharTokenizer
from charrnn.training import best_model
from charrnn.training.best_model import SHARE_OF_TIME, BestModel


class Disk:
    """Time that passes, and the models that are written, each in so many seconds."""

    def __init__(self) -> None:
        self.now, self.seconds, self.written = 1000.0, 0.0, list[int]()

    def monotonic(self) -> float:
        return self.now

    def save_model(self, path: Path, model: SavedModel) -> None:
        self.now += self.seconds
        self.written.append(model.about["step"])


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(best_model, "time", disk)
    monkeypatch.setattr(best_model, "save_model", disk.save_model)
    return disk


def model_of(step: int) -> SavedModel:
    config = ModelConfig(vocab_size=3, hidden_size=4, embedding_size=4, ngram_embedding=0)
    weights = {
        name: np.full(shape, step, np.float32) for name, shape in weight_shapes(config).items()
    }
    return SavedModel(config, CharTokenizer("ab"), weights, {"step": step})


def improve(best: BestModel, disk: Disk, steps: int) -> None:
    """Find a better model every ten seconds, and write it when that is due."""
    for step in range(steps):
        disk.now += 10
        best.update(model_of(step))
        if best.due:
            best.write()


def test_a_small_model_is_written_each_time(disk: Disk) -> None:
    disk.seconds = 0.05
    improve(BestModel(Path("x")), disk, steps=5)
    assert disk.written == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0])
def test_writing_a_large_model_takes_a_small_share_of_the_time(disk: Disk, seconds: float) -> None:
    disk.seconds = seconds
    best, begin = BestModel(Path("x")), disk.now
    improve(best, disk, steps=200)
    assert best.seconds == pytest.approx(seconds)
    assert len(disk.written) * seconds <= SHARE_OF_TIME * (disk.now - begin) + seconds
    waited = int(np.ceil(seconds / SHARE_OF_TIME / 10))
    assert disk.written[:2] == [0, waited]


def test_what_is_not_yet_written_is_written_at_the_end_and_once(disk: Disk) -> None:
    disk.seconds = 1.0
    best = BestModel(Path("x"))
    improve(best, disk, steps=3)
    best.write()
    best.write()
    assert disk.written == [0, 2]


def test_a_model_that_could_not_be_written_is_still_to_be_written(tmp_path: Path) -> None:
    best = BestModel(tmp_path / "folder" / "model.safetensors")
    best.update(model_of(7))
    with pytest.raises(MachineError):
        best.write()
    (tmp_path / "folder").mkdir()
    assert best.due
    begin = time.monotonic()
    best.write()
    assert 0 < best.seconds <= time.monotonic() - begin
    assert load_model(tmp_path / "folder" / "model.safetensors").about["step"] == 7
