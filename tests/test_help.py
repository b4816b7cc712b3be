"""Help pages, what a shell completes, and answers to what is mistyped."""

import os
import re
import sys
from pathlib import Path
from shutil import which
from subprocess import run

import pytest
from command_line import CHARRNN, ENVIRONMENT, Terminal, process

from charrnn.cli.program import program
from charrnn.cli.train import COMMON
from charrnn.cli.values import run_folders
from charrnn.config.cells import CELLS
from charrnn.config.presets import PRESETS
from charrnn.terminal.help_page import row


def completed(words: str, folder: Path) -> list[str]:
    """Return what a bash completes after `words`, of which the last is incomplete."""
    program = f"import os; os.chdir({str(folder)!r}){CHARRNN}"
    environment = {
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_CHARRNN_COMPLETE": "complete_bash",
    }
    return process(program, env=environment).out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("charrnn train --cell m", ["mingru", "minlstm"]),
        ("charrnn train --preset ", list(PRESETS)),
        ("charrnn train --hid", ["--hidden-size"]),
        ("charrnn sample ", ["checkpoints/novel"]),
        ("charrnn train --resume ch", ["checkpoints/novel"]),
    ],
)
def test_a_shell_completes_values_and_runs(words: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "novel").mkdir(parents=True)
    (tmp_path / "checkpoints" / "novel" / "model.safetensors").touch()
    (tmp_path / "checkpoints" / "other").mkdir()
    assert completed(words, tmp_path) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [("--cell m", ["mingru", "minlstm"]), ("--hid", ["--hidden-size"]), ("--cell q", [])],
)
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_what_zsh_and_fish_are_told(shell: str, words: str, expected: list[str]) -> None:
    """By the variables that the scripts set which --install-completion writes."""
    asked = {"_TYPER_COMPLETE_ARGS": f"charrnn train {words}"}
    asked |= {"_CHARRNN_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    told = process(CHARRNN, env=asked).out
    if shell == "fish":
        assert [line.split("\t")[0] for line in told.splitlines() if line] == expected
    else:  # zsh evaluates a call of its own function, or completes files
        assert re.findall(r'"([\w-]+)(?=[":])', told) == expected
        assert told.startswith("_arguments" if expected else "_files")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_that_is_there_completes_by_its_script(shell: str, tmp_path: Path) -> None:
    if which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    program = tmp_path / "charrnn"
    program.write_text(f"#!{sys.executable}\nimport sys; sys.argv[0] = 'charrnn'{CHARRNN}")
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = ENVIRONMENT | {"PATH": path, "HOME": str(tmp_path)}
    source = {"_CHARRNN_COMPLETE": f"source_{shell}"}
    script = run([program], env=environment | source, capture_output=True, text=True, check=True)
    asked = {
        "bash": "COMP_WORDS=(charrnn train --cell m); COMP_CWORD=3; _charrnn_completion charrnn; "
        "echo ${COMPREPLY[@]}",
        "zsh": "words=(charrnn train --cell m); CURRENT=4; _arguments() {echo $@}; "
        "_charrnn_completion",
        "fish": "complete -C 'charrnn train --cell m'",
    }[shell]
    before = "compdef() {};" if shell == "zsh" else ""
    words = [shell, "-c", f"{before}{script.stdout}\n{asked}"]
    told = run(words, env=environment, capture_output=True, text=True, check=False)
    assert re.findall(r"min\w+", told.stdout) == ["mingru", "minlstm"], told.stderr


def test_runs_are_found_where_one_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_folders("") == []
    for name in ("here", "checkpoints/a", "checkpoints/b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "last.safetensors").touch()
    assert run_folders("") == ["checkpoints/a", "checkpoints/b"]
    assert run_folders("checkpoints/b") == ["checkpoints/b"]
    assert run_folders(f"{tmp_path}/h") == [f"{tmp_path}/here"]
    assert run_folders("no/such/place") == []


def test_the_help_of_train_shows_what_matters_on_one_page(
    charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short, whole = (charrnn.ok("train", flag).out for flag in ("--help", "--help-all"))
    assert len(COMMON) == 15
    assert len(short.splitlines()) < 60
    assert len(whole.splitlines()) > 100
    assert "--warmup" not in short
    assert "--warmup" in whole
    for name, preset in PRESETS.items():
        assert f"{name} ({preset.meaning}" in " ".join(short.split())
    assert "bool" not in whole
    for cell in CELLS:
        assert cell in re.findall(r"\w+", short.split("--cell")[1])


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_no_line_of_a_help_page_is_wider_than_the_terminal(
    columns: str, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for command in (["train", "--help-all"], ["--help"], ["sample", "--help"]):
        shown = charrnn.ok(*command).out
        long = [line for line in shown.splitlines() if len(line) > max(54, int(columns))]
        assert not long


def test_a_long_name_has_its_meaning_below() -> None:
    assert row("--a", "one two", 8, 80) == "  --a   one two\n"
    assert row("--a-long-name", "one two", 8, 80) == "  --a-long-name\n        one two\n"
    assert row("--a", "one two three four", 8, 20) == "  --a   one two three four\n"
    assert row("--a", "one two three four five", 8, 28).count("\n") == 2


def test_help_is_a_command_too(charrnn: Terminal) -> None:
    assert charrnn.ok("help") == charrnn.ok("--help")
    assert charrnn.ok("help", "sample") == charrnn.ok("sample", "--help")


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (["sample", "--temp", "1", "x"], "Did you mean --temperature?"),
        (["train", "--hidden", "1"], "Did you mean --hidden-size?"),
        (["train", "--zzz", "1"], "See charrnn train --help."),
        (["help", "sampel"], "See charrnn --help."),
        (["sample"], "See charrnn sample --help."),
    ],
)
def test_a_mistake_is_answered_with_the_next_step(
    command: list[str], hint: str, charrnn: Terminal
) -> None:
    outcome = charrnn(*command)
    assert (outcome.code, outcome.err.splitlines()[-1].strip()) == (2, hint)


def test_a_bare_number_of_seconds_is_explained(charrnn: Terminal) -> None:
    said = charrnn("train", "no-such-file", "--time", "5").err
    assert said.splitlines()[0] == "5 means 5 seconds; 5m would be minutes."
    for wrong in ("5min", "1,5m", "5 minutes"):
        said = charrnn("train", "no-such-file", "--time", wrong).err
        assert "write 90s, 5m, 1h30m or 1.5h; the units are s, m, h and d" in said


def test_commands_to_copy_begin_with_what_the_shell_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "my env" / "charrnn"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    for started, expected in {
        "pytest": "charrnn",
        "charrnn": "charrnn",
        str(own): "'my env/charrnn'",
        "/some/charrnn/__main__.py": "python -m charrnn",
    }.items():
        monkeypatch.setattr("sys.argv", [started])
        assert program() == expected
    monkeypatch.setattr("sys.argv", [str(own)])
    monkeypatch.setenv("PATH", str(own.parent))
    assert program() == "charrnn"
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == f"'{own}'"
