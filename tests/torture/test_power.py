"""Power failures, which a SIGKILL does not show: what was written and not fsynced may be gone."""

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from calls import killing_at, watched
from counting import Amount
from disk import Crash, Recording, read_folder
from processes import Command, run, warm_up
from small_runs import arguments, results

from charrnn.errors import ModelFileError
from charrnn.storage.model_file import SavedModel, load_model
from charrnn.storage.run_folder import RunFolder
from charrnn.training import best_model


@contextmanager
def recorded(recording: Recording) -> Iterator[None]:
    """Record what happens in the folder, and which saves are acknowledged."""
    with pytest.MonkeyPatch.context() as patch:
        real_state, real_model = RunFolder.save_state, best_model.save_model

        def save_state(self: RunFolder, arrays: Any, metadata: dict[str, Any]) -> None:
            real_state(self, arrays, metadata)
            recording.state = metadata["trainer"]["progress"]["step"]

        def save_model(path: Path, model: SavedModel) -> None:
            real_model(path, model)
            recording.model = model.about["step"]

        patch.setattr(RunFolder, "save_state", save_state)
        patch.setattr(best_model, "save_model", save_model)
        with watched((recording.folder,), recording.record):
            yield
    recording.moments.append(recording.moment())


def record(command: Command, folder: Path, killed_before: int) -> Recording:
    """Return the record of a run, from its start or from where an earlier one was killed."""
    folder.mkdir()
    recording = Recording(folder)
    if killed_before:
        assert run(command.on(folder), lambda: watched((folder,), killing_at(killed_before))).killed
        recording.begin_with(read_folder(folder))
        recording.state, recording.model = newest(folder)
    with recorded(recording):
        warm_up([*command.on(folder), "-q"])
    assert {
        name: recording.inodes[inode].lasting for name, inode in recording.lasting.items()
    } == read_folder(folder)
    assert recording.state == newest(folder)[0] == 14
    return recording


def newest(folder: Path) -> tuple[int, int]:
    """Return the step of the newest training state and of the best model.

    -1 where there is none.
    """
    state = RunFolder(folder).load_state()
    try:
        model = load_model(folder / "model.safetensors").about["step"]
    except ModelFileError:
        assert not (folder / "model.safetensors").exists()
        model = -1
    return -1 if state is None else state.facts["trainer"]["progress"]["step"], model


@pytest.mark.parametrize(
    "killed_before", [0, pytest.param(23, marks=pytest.mark.slow), 60], ids="killed at {}".format
)
@pytest.mark.parametrize(
    "save_every", [pytest.param(1, marks=pytest.mark.slow), 2], ids="save every {}".format
)
def test_power_losses(
    save_every: int,
    killed_before: int,
    command: Command,
    tmp_path: Path,
    counts: Counter[str],
    amount: Amount,
) -> None:
    """What was acknowledged is there, and the run ends as if the power had never failed."""
    command = Command([*command.words, *arguments(save_every=save_every)])
    recording = record(command, tmp_path / "recorded", killed_before)
    crashes = {
        (crash.digest(), crash.state, crash.model, crash.in_order): crash
        for moment in recording.moments
        for crash in moment.crashes()
    }
    assert len(crashes) > 50
    for number, crash in enumerate(crashes.values()):
        what_was_acknowledged_is_there(crash, tmp_path / f"crash-{number}")
        counts["power losses survived"] += 1
    continued = {crash.digest(): crash for crash in crashes.values() if crash.in_order}
    chosen = random.Random(5).sample(sorted(continued), min(len(continued), amount(6, 400)))
    expected = results(recording.folder)
    for number, key in enumerate(chosen):
        folder = tmp_path / f"run-{number}"
        continued[key].write_to(folder)
        ended = run(command.on(folder))
        assert ended.code == 0, ended.stderr
        assert results(folder) == expected
        shutil.rmtree(folder)


def what_was_acknowledged_is_there(crash: Crash, folder: Path) -> None:
    crash.write_to(folder)
    state, model = newest(folder)
    assert state >= crash.state
    assert model >= crash.model
    shutil.rmtree(folder)


def test_a_new_folder_lasts_before_anything_in_it_does(command: Command, tmp_path: Path) -> None:
    seen: list[tuple[str, Path]] = []
    with watched((tmp_path,), lambda call: seen.append((call.name, call.path))):
        warm_up([*command.on(tmp_path / "new" / "run"), "-q"])
    made = [("mkdir", tmp_path / "new"), ("mkdir", tmp_path / "new" / "run")]
    lasting = [("fsync", tmp_path), ("fsync", tmp_path / "new")]
    first_write = next(index for index, (name, _) in enumerate(seen) if name == "write")
    assert [seen.index(entry) for entry in (made[0], lasting[0], made[1], lasting[1])] == sorted(
        seen.index(entry) for entry in made + lasting
    )
    assert seen.index(lasting[1]) < first_write
