"""Others read the folder while a run writes to it.

They see whole files, and never an older one after a newer.
"""

import os
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from counting import Amount
from processes import Command, warm_up
from small_runs import OPTIONS, arguments

from charrnn.storage.model_file import load_model
from charrnn.storage.run_folder import RunFolder

READERS = 2


def test_readers_see_whole_files(
    command: Command, tmp_path: Path, counts: Counter[str], amount: Amount
) -> None:
    folder, ended = tmp_path / "run", tmp_path / "ended"
    saves = amount(30, 200)
    often = arguments(steps=saves, save_every=1, eval_every=1, lr=0.001)
    warm_up(
        [
            *command.words[: -len(OPTIONS) - 2],
            *OPTIONS,
            *often,
            "--out",
            str(tmp_path / "other"),
            "-q",
        ]
    )
    readers = [
        reader(look, folder, ended) for look in (model_step, state_step) for _ in range(READERS)
    ]
    warm_up([*command.on(folder), *often, "-q"])
    ended.touch()
    for process, pipe in readers:
        with os.fdopen(pipe) as told:
            said = told.read()
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, said
        assert int(said) >= saves // 10
        counts["whole files read while being replaced"] += int(said)
    assert model_step(folder) > saves // 2


def model_step(folder: Path) -> int:
    return int(load_model(folder).about["step"])


def state_step(folder: Path) -> int:
    state = RunFolder(folder).load_state()
    assert state is not None
    return int(state.facts["trainer"]["progress"]["step"])


def reader(look: Callable[[Path], int], folder: Path, ended: Path) -> tuple[int, int]:
    """Fork a process that reads until the run has ended.

    Return its id, and a pipe in which it says how often.
    """
    pipe, said = os.pipe()
    process = os.fork()
    if process:
        os.close(said)
        return process, pipe
    code = 1
    try:
        os.write(said, str(read_on(look, folder, ended)).encode())
        code = 0
    except BaseException:
        os.write(said, traceback.format_exc().encode())
    finally:
        os._exit(code)


def read_on(look: Callable[[Path], int], folder: Path, ended: Path) -> int:
    times, newest = 0, -1
    while not (folder / "model.safetensors").exists():
        assert not ended.exists()
    while not ended.exists():
        step = look(folder)
        assert step >= newest
        times, newest = times + 1, step
    return times
