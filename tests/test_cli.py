import ast
import io
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from command_line import CHARRNN, Terminal, process
from small_runs import OPTIONS, SETTINGS, TEXT, arguments, results, weights
from typer.main import get_command

import charrnn as package
from charrnn import api
from charrnn.cli import app
from charrnn.cli.options import SETTING, flag, with_flags
from charrnn.cli.train import with_resume_hint
from charrnn.cli.values import parse_duration, parse_float, parse_int
from charrnn.config.cells import CELLS
from charrnn.config.dynamic import DynamicConfig
from charrnn.config.fields import declared
from charrnn.config.model import ModelConfig
from charrnn.config.presets import cell_settings
from charrnn.config.sampling import SamplingConfig
from charrnn.config.source import SourceConfig
from charrnn.config.training import TrainConfig
from charrnn.errors import InterruptedRun
from charrnn.storage.run_folder import RunFolder
from charrnn.tokenizers import CharTokenizer
from charrnn.training.events import Note, RunEvent, Started, Trained
from charrnn.training.throughput import Throughput
from charrnn.training.trainer import Trainer

SNAPSHOTS = Path(__file__).parent / "snapshots"
TRAIN_OPTIONS = """
    --out --preset --cell --batcher --tokenizer --num-layers --hidden-size --embedding-size
    --dropout --batch-size --seq-len --bptt --bptt-stride --optimizer --lr --weight-decay
    --clip-norm --clip-value --epochs --steps --time --patience --eval-every --save-every
    --log-every --sample-every --valid --valid-fraction --valid-tokens
    --valid-whole --ngram-embedding --ngram-rows --ngram-path --ngram-dropout --match-window
    --match-length --seed --device
    --precision --attention
    --adaptive --seq-len-start --threads --config --init-from --vocab-size --dry-run --fresh
    --quiet --json --activation --layer-norm --residual --tied --forget-bias --orthogonal
    --lr-floor --warmup --encoding --help --records --accumulate --backend
    --resume --help-all --seeds --page --tensorboard
    --source --target --source-tokenizer --source-vocab-size --source-attention --bidirectional
    --source-cell --source-layers --source-hidden-size --source-embedding-size --image-size
    --init-source-from
    --label-smoothing --keep-members --members --teacher --teacher-weight
"""
OTHER_OPTIONS = {
    "sample": "--prompt-file --length --stop --until --temperature --top-k --top-p --min-p "
    "--no-repeat --beam --seed --num --unknown --echo --interactive --json --help "
    "--training-text --novel --source --show-attention --weights --blend",
    "novelty": "--valid-fraction --valid --encoding --length --temperature --top-k --top-p --min-p "
    "--no-repeat --seed --json --help --weights --blend",
    "eval": "--valid-fraction --reset-every --exact --unknown --device --precision --threads "
    "--encoding --json --help --train --baselines --dynamic --dynamic-lr "
    "--dynamic-decay --dynamic-segment "
    "--by-line --by-token --show --unit --layer --tsv --beam --by-label --weights --blend",
    "compare": "--valid-fraction --train --baselines --device --precision --threads --encoding "
    "--json --help --blend",
    "gradients": "--lags --threads --encoding --json --help",
    "page": "--out --weights --prompt --force --valid-fraction --train --baselines --device "
    "--precision --threads --encoding --help",
    "export": "--onnx --tensorboard --force --help",
    "plot": "--out --show --by --force --help",
    "runs": "--sort --json --help",
    "info": "--json --help --weights --blend",
    "tokenize": "--json --help",
    "data": "--folder --json --help",
    "next": "--source --top --unknown --json --help --weights --blend",
}


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["train"],
        ["train", "--help-all"],
        *([name] for name in ("sample", "eval", "compare", "novelty", "gradients")),
        *([name] for name in ("page", "export", "plot", "runs")),
    ],
    ids=lambda words: " ".join(words) or "charrnn",
)
def test_the_help_is_as_it_was_read_last(command: list[str]) -> None:
    """With UPDATE_SNAPSHOTS=1 the files are written anew: read the difference."""
    shown = process(CHARRNN, *command, "--help", env={"COLUMNS": "80"})
    assert (shown.code, shown.err) == (0, "")
    text = "".join(f"{line.rstrip()}\n" for line in shown.out.splitlines())
    path = SNAPSHOTS / f"{'-'.join(['charrnn', *(one.strip('-') for one in command)])}-help.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["train", *OTHER_OPTIONS])
def test_the_options_are_these(command: str) -> None:
    expected = TRAIN_OPTIONS if command == "train" else OTHER_OPTIONS[command]
    context = typer.Context(get_command(app))
    group: Any = get_command(app)
    parameters = group.commands[command].get_params(context)
    found = [
        next(flag for flag in p.opts if flag.startswith("--"))
        for p in parameters
        if p.opts[0].startswith("-")
    ]
    assert sorted(found) == sorted(expected.split())


def test_every_setting_can_be_given() -> None:
    named = {
        option.removeprefix("--").replace("-", "_")
        for option in (TRAIN_OPTIONS + OTHER_OPTIONS["sample"] + OTHER_OPTIONS["eval"]).split()
    }
    for kind in (ModelConfig, TrainConfig, SourceConfig, SamplingConfig, DynamicConfig):
        assert declared(kind).keys() - {"feature_size"} <= named  # a size that the files have


def test_the_help_says_what_suits_a_cell() -> None:
    for cell in (cell for cell, spec in CELLS.items() if not spec.recurrent):
        for name, value in cell_settings(cell).items():
            note = declared(ModelConfig)[name].default_note
            shown = "on" if value is True else str(value)
            assert name == "dropout" or re.search(rf"; {shown} for .*\b{cell}\b", note), note


def test_settings_in_messages_become_flags_and_file_names_stay() -> None:
    said = "`seq_len` (`lr`), `seconds`: `records` lines; try `init_from`. Or `tied`?"
    assert (
        with_flags(said) == "--seq-len (--lr), --time: --records lines; try --init-from. Or --tied?"
    )
    for name in ("'`lr`.txt'", "a`lr`", "/tmp/`lr`/x", "`Lr`", "`a b`", "``", "runs/`lr`."):
        assert with_flags(f"Cannot read {name}") == f"Cannot read {name}"


def test_every_setting_that_a_message_names_is_a_flag() -> None:
    context = typer.Context(get_command(app))
    commands = get_command(app).commands.values()  # type: ignore[attr-defined]
    parameters = [parameter for command in commands for parameter in command.get_params(context)]
    flags = {
        one for parameter in parameters for one in (*parameter.opts, *parameter.secondary_opts)
    }
    sources = Path(package.__file__).parent.rglob("*.py")
    named = {
        name
        for path in sources
        for text in messages(ast.parse(path.read_text(encoding="utf-8")))
        for name in SETTING.findall(text)
    }
    assert len(named) > 30
    assert {flag(name) for name in named} <= flags


def messages(tree: ast.Module) -> Iterator[str]:
    """Yield the strings of a module but its docstrings; braces stand for what is filled in."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield "" if id(node) in docstrings else node.value


def test_without_arguments_there_is_help(charrnn: Terminal) -> None:
    assert charrnn.ok() == charrnn.ok("--help") == charrnn.ok("-h")


def test_the_version(charrnn: Terminal) -> None:
    assert charrnn.ok("--version").out == f"charrnn {package.__version__}\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1h30m5s", 5405),
        ("1h30", 3630),
        ("2d", 172_800),
        (" 5M ", 300),
        ("0.5", 0.5),
    ],
)
def test_durations(given: str, expected: float) -> None:
    assert parse_duration(given) == expected


@pytest.mark.parametrize("given", ["", "s", "m5", "5x", "5mm", "0", "-5m", "five", "1:30", "5 m s"])
def test_what_is_no_duration(given: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a"):
        parse_duration(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("7", 7), ("1e3", 1000), ("1_000", 1000), ("-2", -2), (" 5 ", 5), (3, 3)],
)
def test_whole_numbers(given: str | int, expected: int) -> None:
    assert parse_int(given) == expected


@pytest.mark.parametrize("given", ["1.5", "x", "", "nan", "inf", "1e-3", "0x10"])
def test_what_is_no_whole_number(given: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a"):
        parse_int(given)


def test_decimal_numbers() -> None:
    assert (parse_float("1e-3"), parse_float(".5"), parse_float(2)) == (0.001, 0.5, 2.0)
    with pytest.raises(typer.BadParameter, match="'x' is not a number"):
        parse_float("x")


def test_training_writes_nothing_on_standard_output_but_the_result(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    assert charrnn.ok("train", text, "--out", tmp_path / "one", *OPTIONS).out == ""
    outcome = charrnn.ok("train", text, "--out", tmp_path / "two", *OPTIONS, "--json")
    assert outcome.out.count("\n") == 1
    assert json.loads(outcome.out)["step"] == SETTINGS["steps"]
    quiet = charrnn.ok("train", text, "--out", tmp_path / "three", *OPTIONS, "--quiet")
    assert (quiet.out, quiet.err) == ("", "")


def test_a_run_is_named_after_its_text(
    text: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    charrnn.ok("train", text, *OPTIONS)
    assert (tmp_path / "checkpoints" / "animals" / "model.safetensors").exists()


def test_the_same_command_gives_the_same_files(
    text: Path, tmp_path: Path, charrnn: Terminal, model: Path
) -> None:
    charrnn.ok("train", text, "--out", tmp_path, *OPTIONS)
    assert results(tmp_path) == results(model)


def test_a_finished_run_says_so_and_changes_nothing(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    first = charrnn.ok("train", text, "--out", tmp_path, *OPTIONS, "--json")
    before = results(tmp_path)
    again = charrnn.ok("train", text, "--out", tmp_path, *OPTIONS, "--json")
    assert "This run is already complete, at step 14. A longer --time" in again.err
    assert results(tmp_path) == before
    timeless = [
        {key: value for key, value in json.loads(one.out).items() if "second" not in key}
        for one in (first, again)
    ]
    assert timeless[0] == timeless[1]


def test_fresh_moves_a_run_aside(text: Path, tmp_path: Path, charrnn: Terminal) -> None:
    out = tmp_path / "run"
    charrnn.ok("train", text, "--out", out, *OPTIONS, "--fresh")
    before = results(out)
    outcome = charrnn.ok("train", text, "--out", out, *OPTIONS, "--seed", 2, "--fresh")
    assert f"The run that was in {out} is now in {out}.old-1." in outcome.err
    assert results(tmp_path / "run.old-1") == before
    assert results(out)["model"] != before["model"]


def test_a_signal_in_the_first_step_lets_it_end_and_saves_it(
    text: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    train_once = Trainer.train_once

    def interrupted(trainer: Trainer) -> Trained:
        if trainer.progress.step == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return train_once(trainer)

    command = ["train", text, "--out", tmp_path, *OPTIONS]
    monkeypatch.setattr(Trainer, "train_once", interrupted)
    monkeypatch.setattr(sys, "argv", ["charrnn", *map(str, command), "--fresh"])
    outcome = charrnn(*command)
    assert (outcome.code, outcome.out) == (130, "")
    said, hint = outcome.err.splitlines()[-2:]
    assert said == "charrnn: Stopped and saved at step 1."
    again, _, sample = hint.removeprefix("  Continue with: charrnn ").partition("   Let it ")
    assert sample == f"write as it is: charrnn sample {tmp_path}"
    charrnn.ok(*shlex.split(again))
    assert results(tmp_path) == results(model)


def test_how_to_continue_is_said_of_what_can_be_continued(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before the first step, --fresh may not have moved the old run aside yet."""

    def events(*before: RunEvent) -> Iterator[RunEvent]:
        yield from before
        raise InterruptedRun("Stopped.", signal_number=signal.SIGINT)

    monkeypatch.setattr(sys, "argv", ["charrnn", "train", "a b.txt", "--fresh"])
    started = Started(0, steps=9, tokens=0, characters_per_token=1, folder="checkpoints/a b")
    members = replace(started, folder="checkpoints/m")  # where only members are trained so far
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints" / "a b").mkdir(parents=True)
    (tmp_path / "checkpoints" / "a b" / "last.safetensors").touch()
    for before, hint in {
        (): "",
        (Note("x"),): "",
        (Note("x"), started): "Continue with: charrnn train --resume 'checkpoints/a b'   "
        "Let it write as it is: charrnn sample 'checkpoints/a b'",
        (members,): "Continue with: charrnn train --resume checkpoints/m",
    }.items():
        with pytest.raises(InterruptedRun) as stopped:
            list(with_resume_hint(events(*before)))
        assert stopped.value.hint == hint


def test_other_options_are_refused_and_listed(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    charrnn.ok("train", text, "--out", tmp_path, *OPTIONS)
    outcome = charrnn(
        "train", text, "--out", tmp_path, *OPTIONS, "--quiet", "--lr", 0.1, "--seq-len", 9
    )
    assert outcome.code == 2
    assert outcome.err.splitlines()[0] == (
        f"charrnn: The run in {tmp_path} was started with other options: "
        "--lr was not given and is now 0.1, --seq-len was 16 and is now 9."
    )


@pytest.mark.parametrize("validation", [[], ["--valid"]], ids=["text", "validation text"])
def test_another_text_is_refused(validation: list[str], tmp_path: Path, charrnn: Terminal) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text(TEXT)
    second.write_text(TEXT)
    command = [
        "train",
        first,
        *(["--valid", second] if validation else []),
        "--out",
        tmp_path / "run",
        *OPTIONS,
        "-q",
    ]
    charrnn.ok(*command)
    (second if validation else first).write_text(TEXT + "!")
    outcome = charrnn(*command)
    assert outcome.code == 3
    said = re.match(
        r"charrnn: first has changed since .* began "
        r"\(SHA-256 (\w+)\.\.\. then, (\w+)\.\.\. now\)\.",
        outcome.err,
    )
    assert said is not None
    assert said[1] != said[2]


def test_a_folder_in_use_is_refused(text: Path, tmp_path: Path, charrnn: Terminal) -> None:
    folder = RunFolder(tmp_path)
    with folder.lock():
        outcome = charrnn("train", text, "--out", tmp_path, *OPTIONS)
    assert (outcome.code, outcome.out) == (5, "")
    assert outcome.err.startswith(
        f"charrnn: {tmp_path} is in use by process {os.getpid()} on host "
    )
    charrnn.ok("train", text, "--out", tmp_path, *OPTIONS)


def flip_last_bit(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_a_damaged_state_is_warned_of_and_without_a_good_one_nothing_starts(
    text: Path, tmp_path: Path, charrnn: Terminal, model: Path
) -> None:
    command = ["train", text, "--out", tmp_path, *OPTIONS]
    charrnn.ok(*command)
    flip_last_bit(tmp_path / "last.safetensors")
    outcome = charrnn.ok(*command, "--quiet")
    assert outcome.err == (
        f"warning: {tmp_path / 'last.safetensors'} is damaged: its checksum does not match. "
        "Using the state saved before it.\n"
    )
    assert results(tmp_path) == results(model)
    for name in ("last", "previous"):
        flip_last_bit(tmp_path / f"{name}.safetensors")
    outcome = charrnn(*command)
    assert outcome.code == 4
    assert "--fresh" in outcome.err


@pytest.mark.parametrize("name", ["settings.json", "settings.toml"])
def test_settings_may_come_from_a_file_and_options_win(
    name: str, text: Path, tmp_path: Path, charrnn: Terminal, model: Path
) -> None:
    values = SETTINGS | {"steps": 3, "cell": "gru"}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    (tmp_path / name).write_text(json.dumps(values) if name.endswith("json") else "".join(lines))
    charrnn.ok(
        "train",
        text,
        "--out",
        tmp_path / "run",
        "--config",
        tmp_path / name,
        "--cell",
        "lstm",
        "--steps",
        14,
    )
    assert results(tmp_path / "run")["config"] == results(model)["config"]
    assert all(
        np.array_equal(weights(tmp_path / "run")[key], value)
        for key, value in weights(model).items()
    )


def test_a_runs_own_configuration_trains_the_same_weights(
    text: Path, tmp_path: Path, charrnn: Terminal, model: Path
) -> None:
    charrnn.ok("train", text, "--out", tmp_path, "--config", model / "config.json")
    assert results(tmp_path)["config"] == results(model)["config"]
    assert api.load(tmp_path).saved.weights.keys() == api.load(model).saved.weights.keys()
    assert all(
        np.array_equal(weights(tmp_path)[key], value) for key, value in weights(model).items()
    )


@pytest.mark.parametrize(
    "replaced",
    [["--epochs", "0.5"], ["--valid", "{text}"]],
    ids=["its steps", "its share for validation"],
)
def test_what_is_given_replaces_what_a_file_says_otherwise(
    replaced: list[str], text: Path, tmp_path: Path, charrnn: Terminal, model: Path
) -> None:
    given = [word.format(text=text) for word in replaced]
    charrnn.ok("train", text, "--out", tmp_path, "--config", model / "config.json", *given)
    length = json.loads((tmp_path / "config.json").read_text())["steps"]
    assert length == (14 if "--valid" in replaced else np.ceil(0.5 * len(TEXT) * 0.9 / 48))


@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_a_dry_run_trains_nothing_and_writes_nothing(
    as_json: bool, text: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "charrnn.training.planner.measure_throughput",
        lambda *_, **__: Throughput(step=0.5, evaluation=1.0),
    )
    outcome = charrnn.ok("train", text, *OPTIONS, "--dry-run", *(["--json"] if as_json else []))
    assert list(tmp_path.iterdir()) == []
    if not as_json:
        assert outcome.out.startswith("Nothing was trained or written.")
        assert re.search(r"steps +14, ", outcome.out)
        return
    facts = json.loads(outcome.out)
    assert (facts["steps"], facts["seconds"]) == (14, 14 * 0.5 + 3 * 1.0)
    assert facts["config"] | facts["train"] == facts["config"] | facts["train"] | SETTINGS


def test_a_budget_of_time_becomes_a_number_of_steps(
    text: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "charrnn.training.planner.measure_throughput",
        lambda *_, **__: Throughput(step=0.5, evaluation=0.01),
    )
    timed = [word for word in OPTIONS if word not in ("--steps", "14")]
    facts = json.loads(charrnn.ok("train", text, *timed, "--time", "1m", "--dry-run", "--json").out)
    assert 100 < facts["steps"] < 120


def test_starting_from_a_model_keeps_its_symbols_and_adds_what_is_new(
    text: Path, tmp_path: Path, charrnn: Terminal, model: Path
) -> None:
    (tmp_path / "more.txt").write_text(TEXT + "\u00fcber zoo\n" * 3 + TEXT)
    rest = arguments(
        **{
            key: value
            for key, value in SETTINGS.items()
            if "size" not in key or key == "batch_size"
        }
    )
    command = [
        "train",
        tmp_path / "more.txt",
        "--out",
        tmp_path / "run",
        "--init-from",
        model,
        *rest,
        "--lr",
        1e-9,
    ]
    outcome = charrnn.ok(*command)
    assert "New to the model, added to its vocabulary: '\u00fc' 'b' 'z'" in outcome.err.replace(
        "'b' 'e'", "'b'"
    )
    old, new = api.load(model), api.load(tmp_path / "run")
    assert isinstance(old.tokenizer, CharTokenizer)
    assert isinstance(new.tokenizer, CharTokenizer)
    assert new.tokenizer.characters.startswith(old.tokenizer.characters)
    assert new.config.vocab_size == old.config.vocab_size + 3
    # with a learning rate of nothing it is still the old model, but for what its new symbols take
    assert new.score(TEXT).nats_per_token == pytest.approx(old.score(TEXT).nats_per_token, abs=0.25)
    assert new.score("b\u00fcz").unknown == 0
    before = results(tmp_path / "run")
    assert "already complete" in charrnn.ok(*command).err
    assert results(tmp_path / "run") == before


def test_validation_may_have_its_own_text(text: Path, tmp_path: Path, charrnn: Terminal) -> None:
    (tmp_path / "held.txt").write_text("a cat ran.\nZ")
    outcome = charrnn.ok(
        "train",
        text,
        "--valid",
        tmp_path / "held.txt",
        "--out",
        tmp_path / "run",
        *OPTIONS,
        "--json",
    )
    facts = json.loads(charrnn.ok("info", tmp_path / "run", "--json").out)
    assert (facts["text"]["train"], facts["text"]["valid"]) == (len(TEXT), 12)
    assert facts["valid"]["unknown"] == 1
    assert json.loads(outcome.out)["valid_nats_per_token"] == facts["valid"]["nats_per_token"]


def test_the_text_may_come_from_standard_input(
    tmp_path: Path, charrnn: Terminal, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    charrnn.ok("train", "-", "--out", tmp_path, *OPTIONS)
    assert all(
        np.array_equal(weights(tmp_path)[key], value) for key, value in weights(model).items()
    )


def test_the_prompt_may_come_from_standard_input(
    model: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat\n")))
    piped = charrnn.ok("sample", model, "-", "--seed", 1)
    assert piped == charrnn.ok("sample", model, "the cat\n", "--seed", 1)


def test_a_seed_gives_the_same_text_in_every_process(model: Path, charrnn: Terminal) -> None:
    here = charrnn.ok("sample", model, "the ", "--seed", 9, "--length", 60)
    there = process(
        CHARRNN, "sample", model, "the ", "--seed", 9, "--length", 60, env={"PYTHONHASHSEED": "7"}
    )
    assert there == here
    assert here.err == ""


def test_without_a_seed_one_is_drawn_and_told(model: Path, charrnn: Terminal) -> None:
    drawn = charrnn.ok("sample", model, "--length", 80)
    again = charrnn.ok(
        "sample", model, "--length", 80, "--seed", drawn.err.removeprefix("--seed ").strip()
    )
    assert again.out == drawn.out
    assert charrnn.ok("sample", model, "--length", 80).out != drawn.out


def test_several_texts_are_numbered(model: Path, charrnn: Terminal) -> None:
    texts = api.load(model).generate_many("a ", num=2, seed=4, length=10)
    outcome = charrnn.ok("sample", model, "a ", "--num", 2, "--seed", 4, "--length", 10)
    assert outcome.out == f"--- 1 ---\na {texts[0]}\n--- 2 ---\na {texts[1]}\n"


def test_a_stop_string_ends_the_text(model: Path, charrnn: Terminal) -> None:
    command = ["sample", model, "the ", "--seed", 3, "--length", 300]
    text = charrnn.ok(*command).out.removeprefix("the ")
    assert charrnn.ok(*command, "--stop", "t").out == f"the {text.split('t')[0]}\n"
    first = min(text.index("t"), text.index("a "))
    assert charrnn.ok(*command, "--stop", "t", "--stop", "a ").out == f"the {text[:first]}\n"
    assert charrnn.ok(*command, "--stop", "Never.").out == f"the {text}"


def test_a_number_of_lines_ends_the_text(model: Path, charrnn: Terminal) -> None:
    command = ["sample", model, "--seed", 3, "--length", 300]
    lines = [line for line in charrnn.ok(*command).out.split("\n") if line.strip()]
    shown = charrnn.ok(*command, "--until", "2 lines").out
    assert [line for line in shown.split("\n") if line.strip()] == lines[:2]


def test_the_order_of_the_options_does_not_matter(model: Path, charrnn: Terminal) -> None:
    options = [
        ["--top-k", 5],
        ["-t", 1.3],
        ["--min-p", 0.05],
        ["--top-p", 0.9],
        ["--no-repeat", 4],
        ["--seed", 2],
    ]
    there, back = (
        [word for option in order for word in option] for order in (options, options[::-1])
    )
    assert charrnn.ok("sample", model, *there) == charrnn.ok("sample", model, *back)


@pytest.mark.parametrize(
    "options",
    [["--min-p", 0.2], ["--no-repeat", 4], ["--until", "1line"], ["--stop", "t"]],
    ids=str,
)
def test_the_first_of_several_is_the_text_of_one(
    options: list[Any], model: Path, charrnn: Terminal
) -> None:
    command = ["sample", model, "the ", "--seed", 9, "--length", 60, "--no-echo", *options]
    several = charrnn.ok(*command, "--num", 5).out
    assert several.startswith(f"--- 1 ---\n{charrnn.ok(*command).out}--- 2 ---\n")


def test_the_prompt_need_not_be_repeated(model: Path, charrnn: Terminal) -> None:
    command = ["sample", model, "the ", "--seed", 3]
    assert (
        "the " + charrnn.ok(*command, "--no-echo").out
        == charrnn.ok(*command).out
        == charrnn.ok(*command, "--echo").out
    )


def test_the_prompt_may_come_from_a_file(model: Path, tmp_path: Path, charrnn: Terminal) -> None:
    (tmp_path / "prompt.txt").write_bytes(b"the cat\n")
    from_file = charrnn.ok("sample", model, "--prompt-file", tmp_path / "prompt.txt", "--seed", 1)
    assert from_file == charrnn.ok("sample", model, "the cat\n", "--seed", 1)


def test_a_search_has_no_chance_in_it(model: Path, charrnn: Terminal) -> None:
    best = api.load(model).search("the ", beam=4, num=2, length=20, until="1line")
    first = charrnn.ok("sample", model, "the ", "--beam", 4, "-n", 20, "--until", "1line")
    assert (first.out, first.err) == (f"the {best[0].text}\n", "")
    both = charrnn.ok(
        "sample", model, "the ", "--beam", 4, "--num", 2, "-n", 20, "--until", "1line"
    )
    assert both.out == f"--- 1 ---\nthe {best[0].text}\n--- 2 ---\nthe {best[1].text}\n"
    told = json.loads(
        charrnn.ok("sample", model, "the ", "--beam", 4, "-n", 20, "--until", "1line", "--json").out
    )
    assert told["beam"] == 4
    assert told["samples"][0]["text"] == best[0].text
    assert not told["settings"].keys() & {"temperature", "top_k", "top_p", "min_p"}


def test_json_tells_all_about_a_sample(model: Path, charrnn: Terminal) -> None:
    told = json.loads(
        charrnn.ok("sample", model, "the ", "--seed", 3, "-n", 30, "-t", 0.5, "--json").out
    )
    assert told.keys() == {"prompt", "samples", "seed", "model", "settings"}
    (sample,) = told["samples"]
    assert sample["text"] == api.load(model).generate("the ", seed=3, length=30, temperature=0.5)
    assert "".join(sample["tokens"]) == sample["text"]
    assert told["settings"] == SamplingConfig(length=30, temperature=0.5).to_dict() | {"stop": []}
    whole = api.load(model).score("the " + sample["text"]).nats
    assert -sum(sample["log_probs"]) == pytest.approx(
        whole - api.load(model).score("the ").nats, abs=1e-3
    )


def test_a_score_is_a_table_or_json(model: Path, text: Path, charrnn: Terminal) -> None:
    score: dict[str, Any] = json.loads(charrnn.ok("eval", model, text, "--json").out)
    table = charrnn.ok("eval", model, text).out
    rows = dict(
        re.split(r"  +", line.strip(), maxsplit=1)
        for line in table.partition("\n\n")[0].splitlines()
    )
    assert rows["bits per character"] == f"{score['score']['bits_per_char']:.4f}"
    assert rows["perplexity per token"] == f"{score['score']['perplexity']:.4f}"
    assert rows["characters"] == rows["bytes"] == str(len(TEXT))
    assert rows["signature"] == score["signature"]
    assert score["signature"].startswith(
        "tokenizer:char-16|state:carried-warmup-512|precision:fp32|text:"
    )


@pytest.mark.parametrize(
    ("options", "state"),
    [(["--exact"], "state:carried-exact"), (["--reset-every", "16"], "state:reset-16")],
    ids=["exact", "reset"],
)
def test_a_score_is_signed_with_its_protocol(
    options: list[str], state: str, model: Path, text: Path, charrnn: Terminal
) -> None:
    assert (
        f"|{state}|"
        in json.loads(charrnn.ok("eval", model, text, "--json", *options).out)["signature"]
    )


def test_info_says_what_a_model_is(model: Path, charrnn: Terminal) -> None:
    facts = json.loads(charrnn.ok("info", model, "--json").out)
    assert facts["model"]["sha256"] == api.load(model).saved.sha256
    rows = dict(
        re.split(r"  +", line.strip(), maxsplit=1)
        for line in charrnn.ok("info", model).out.splitlines()
    )
    assert rows["model"].startswith("lstm 1 x 8")
    assert rows["tokenizer"] == "char, 16 symbols"
    assert rows["SHA-256"] == facts["model"]["sha256"]


def test_data_writes_a_text_and_says_where(tmp_path: Path, charrnn: Terminal) -> None:
    outcome = charrnn.ok("data", "python-docs", "--folder", tmp_path)
    path = Path(outcome.out.strip())
    assert path == tmp_path / "python-docs.txt"
    assert path.stat().st_size > 400_000
    assert outcome.err == f"Next: charrnn train {path}\n"
    assert "python-docs" in charrnn.ok("data").out
