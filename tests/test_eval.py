"""`charrnn eval` as people use it.

The table with its baselines, lines and tokens in a pipe, colours, learning.
"""

import bz2
import gzip
import io
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import CHARRNN, Terminal, process, start
from small_runs import TEXT

from charrnn import api
from charrnn.data.lines import line_batches
from charrnn.evaluation.hidden_unit import unit_values
from charrnn.runtime.precision import Precision
from charrnn.terminal.heatmap import Heatmap

LINES = TEXT.splitlines()


class Typed(io.RawIOBase):
    """Standard input on which so much comes at a time."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def read1(self, size: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


def type_in(monkeypatch: pytest.MonkeyPatch, *pieces: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", type("Input", (), {"buffer": Typed(*pieces)}))


def test_baselines_stand_beside_the_model_and_learn_from_what_is_not_scored(
    model: Path, text: Path, charrnn: Terminal
) -> None:
    found = json.loads(charrnn.ok("eval", model, text, "--valid-fraction", 0.1, "--json").out)
    names = [cost["name"] for cost in found["baselines"]]
    assert [name.split(",")[0].split(" ")[0] for name in names] == [
        "uniform",
        "unigram",
        "5-gram",
        "gzip",
        "bz2",
        "xz",
    ]
    assert all(cost["score"]["characters"] == 56 for cost in found["baselines"])
    assert found["text"]["characters"] == found["score"]["characters"] == 56
    table = charrnn.ok("eval", model, text, "--valid-fraction", 0.1).out
    for cost in found["baselines"]:
        assert re.search(
            rf"^  {re.escape(cost['name'])} +{cost['score']['bits_per_char']:.4f} +",
            table,
            re.MULTILINE,
        )
    assert re.search(rf"^  model +{found['score']['bits_per_char']:.4f} ", table, re.MULTILINE)


def test_a_text_of_its_own_primes_them(
    model: Path, text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    (tmp_path / "held.txt").write_text(TEXT[:200])
    primed = json.loads(
        charrnn.ok("eval", model, tmp_path / "held.txt", "--train", text, "--json").out
    )["baselines"]
    alone = json.loads(charrnn.ok("eval", model, tmp_path / "held.txt", "--json").out)["baselines"]
    assert [cost["name"] for cost in alone][1:] == [
        "gzip, not primed",
        "bz2, not primed",
        "xz, not primed",
    ]
    assert alone[0]["score"]["bits_per_char"] == pytest.approx(math.log2(16))
    bits = [costs[-1]["score"]["bits_per_char"] for costs in (primed, alone)]
    assert bits[0] < bits[1] / 2


def test_baselines_that_would_take_long_have_to_be_asked_for(
    model: Path, text: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        json.loads(charrnn.ok("eval", model, text, "--json", "--no-baselines").out)["baselines"]
        == []
    )
    monkeypatch.setattr("charrnn.evaluation.scored_text.MAX_DEFAULT_LENGTH", 100)
    left_out = charrnn.ok("eval", model, text)
    assert "Add --baselines to score them" in left_out.err
    assert "gzip" not in left_out.out
    assert "gzip" in charrnn.ok("eval", model, text, "--baselines").out


def test_a_long_text_has_an_interval_around_its_score(
    model: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    (tmp_path / "long.txt").write_text(TEXT * 500)
    score = json.loads(charrnn.ok("eval", model, tmp_path / "long.txt", "--json").out)
    low, high = score["interval"]
    assert low < score["score"]["bits_per_char"] < high
    assert f"{low:.4f} to {high:.4f}" in charrnn.ok("eval", model, tmp_path / "long.txt").out


def test_dynamic_evaluation_is_reported_beside_the_score_and_never_instead(
    model: Path, text: Path, charrnn: Terminal
) -> None:
    before = (model / "model.safetensors").read_bytes()
    plain = json.loads(charrnn.ok("eval", model, text, "--json").out)
    both = json.loads(
        charrnn.ok("eval", model, text, "--json", "--dynamic", "--dynamic-lr", 0.01).out
    )
    dynamic = both.pop("dynamic")
    assert both == plain
    assert dynamic["score"]["nats"] < plain["score"]["nats"]
    assert "|state:dynamic-32-lr-0.01-decay-0.001|" in dynamic["signature"]
    table = charrnn.ok("eval", model, text, "--dynamic", "--dynamic-lr", 0.01, "--exact").out
    assert (
        f"{1 - dynamic['score']['nats'] / plain['score']['nats']:.2%} fewer bits than without"
        in table
    )
    assert (model / "model.safetensors").read_bytes() == before


def test_a_signature_names_the_precision_that_auto_came_to(
    model: Path, text: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": True})
    fastest = "charrnn.evaluation.scorer.fastest_precision"
    monkeypatch.setattr(fastest, lambda names, work: Precision(names[-1]))
    options = ("--device", "cpu", "--precision", "auto")
    found = json.loads(charrnn.ok("eval", model, text, "--json", *options).out)
    assert "|precision:bf16|" in found["signature"]
    assert "|precision:bf16|" in charrnn.ok("eval", model, text, "--by-token", *options).err


def test_lines_go_through_as_they_come(
    model: Path,
    charrnn: Terminal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    type_in(monkeypatch, b"\xef\xbb\xbfthe cat\na d", b"og\r\n\nz\xc3", b"\xa9bra")
    outcome = charrnn.ok("eval", model, "-", "--by-line")
    rows = [line.split("\t") for line in outcome.out.splitlines()]
    assert [row[3] for row in rows] == ["the cat", "a dog", "", "z\u00e9bra"]
    for nats, bits, perplexity, line in rows:
        if line:
            score = api.load(model).score(line)
            assert (nats, bits, perplexity) == tuple(
                f"{value:.4f}" for value in (score.nats, score.bits_per_char, score.perplexity)
            )
    assert rows[2][:3] == ["0.0000", "-", "-"]
    assert outcome.err.startswith(
        "columns: nats, bits per character, perplexity per token, line\ntokenizer:char-16|"
    )
    assert "|state:reset-line|" in outcome.err


def test_lines_as_json_have_their_whole_score(model: Path, text: Path, charrnn: Terminal) -> None:
    rows = [
        json.loads(line)
        for line in charrnn.ok("eval", model, text, "--by-line", "--json").out.splitlines()
    ]
    assert [row.pop("line") for row in rows] == LINES
    assert rows[0]["score"] == pytest.approx(api.load(model).score(LINES[0]).to_dict(), rel=1e-5)


def test_each_batch_is_what_is_there_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, b"a\nb\nc", b"", b"never")
    assert list(line_batches(["-"], "utf-8")) == [["a", "b"], ["c"]]
    type_in(monkeypatch, b"one", b" line", b"\ntwo")
    assert list(line_batches(["-"], "utf-8")) == [["one line"], ["two"]]


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)]
)
def test_lines_of_files_are_unpacked(suffix: str, pack: object, tmp_path: Path) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(pack("\u00e9\r\nb\n".encode("utf-8")))  # type: ignore[operator]
    assert [line for batch in line_batches([str(path)] * 2, "utf-8") for line in batch] == [
        "\u00e9",
        "b",
    ] * 2
    if not suffix:
        path.write_bytes("\u00e9\nb".encode("utf-16"))
        assert [line for batch in line_batches([str(path)], "utf-16") for line in batch] == [
            "\u00e9",
            "b",
        ]


def test_an_answer_comes_before_the_next_line_is_typed(model: Path) -> None:
    with start(CHARRNN, "eval", model, "-", "--by-line", stdin=-1) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for line in ("the cat", "a dog"):
            running.stdin.write(f"{line}\n")
            running.stdin.flush()
            assert running.stdout.readline().endswith(f"\t{line}\n")
        running.stdin.close()
        assert running.wait(60) == 0


def test_a_reader_that_leaves_early_is_no_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("the cat\n" * 50_000)
    for view in ("--by-line", "--by-token", "--show"):
        with start(CHARRNN, "eval", model, tmp_path / "many.txt", view) as running:
            assert running.stdout is not None
            running.stdout.readline()
            running.stdout.close()
            running.wait(120)
            assert running.returncode == 141
            assert "Traceback" not in (running.stderr.read() if running.stderr else "")


def test_tokens_are_a_table_or_json_lines(model: Path, tmp_path: Path, charrnn: Terminal) -> None:
    (tmp_path / "a.txt").write_text("the\tc\\t\nQ")
    outcome = charrnn.ok("eval", model, tmp_path / "a.txt", "--by-token")
    rows = [line.split("\t") for line in outcome.out.splitlines()]
    assert [row[0] for row in rows] == ["t", "h", "e", "\\t", "c", "\\\\", "t", "\\n", "Q"]
    assert outcome.err.startswith("columns: token, bits, rank, entropy in bits\n")
    score = api.load(model).score("the\tc\\t\nQ")
    assert sum(float(row[1]) for row in rows) == pytest.approx(score.nats / math.log(2), abs=0.001)
    found = [
        json.loads(line)
        for line in charrnn.ok(
            "eval", model, tmp_path / "a.txt", "--by-token", "--json"
        ).out.splitlines()
    ]
    assert [f"{token['bits']:.4f}" for token in found] == [row[1] for row in rows]
    assert [token["unknown"] for token in found] == [
        character in "\t\\Q" for character in "the\tc\\t\nQ"
    ]
    assert found[0].keys() == {"text", "id", "bits", "rank", "entropy", "unknown"}


def test_by_token_takes_the_part_and_the_protocol_that_it_is_given(
    model: Path, text: Path, charrnn: Terminal
) -> None:
    options = ("--valid-fraction", 0.1, "--reset-every", 4)
    rows = charrnn.ok("eval", model, text, "--by-token", *options).out.splitlines()
    score = json.loads(charrnn.ok("eval", model, text, "--json", *options).out)
    assert sum(float(row.split("\t")[1]) for row in rows) * math.log(2) == pytest.approx(
        score["score"]["nats"], abs=0.01
    )


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "TERM": "xterm"}, True),
    ],
    ids=["pipe", "no colour", "colour"],
)
def test_the_text_is_shown_in_colours_or_with_marks(
    environment: dict[str, str],
    coloured: bool,
    model: Path,
    tmp_path: Path,
    charrnn: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "a.txt").write_text("the cat\x1b[2J sat\n[red]on\n")
    legend, _, shown = charrnn.ok("eval", model, tmp_path / "a.txt", "--show").out.partition("\n\n")
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown).replace("\u21b5", "")
    assert ("\x1b[" in shown) == coloured
    assert "per character" in legend
    if coloured:
        assert plain == "the cat\\x1b[2J sat\n[red]on\n"
    else:
        assert re.sub(r"[\[\]]", "", plain).rstrip("\n") == "the cat\\x1b2J sat\nredon"


def test_marks_stand_around_what_surprises_most(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    heat = Heatmap()
    for text, bits in (("a", 1), ("b", 7), ("cd", 7), ("ef", 5.5), ("", 99), ("\n", 6), ("g", 0)):
        heat.add(text, bits)
    heat.finish()
    assert capsys.readouterr().out.partition("\n\n")[2] == "a[bcd]ef[\u21b5\n]g\n"


def test_nothing_is_written_before_all_that_was_asked_is_checked(
    model: Path, text: Path, charrnn: Terminal
) -> None:
    outcome = charrnn("eval", model, text, "--by-line", "--encoding", "ascii", "--device", "gpu")
    assert (outcome.code, outcome.out) == (2, "")


@pytest.mark.parametrize("data", [b"the\xff\n", b"the cat\nthe\xff"], ids=["first", "later"])
def test_a_line_that_is_not_utf8_is_named(
    data: bytes, model: Path, monkeypatch: pytest.MonkeyPatch, charrnn: Terminal
) -> None:
    type_in(monkeypatch, data)
    outcome = charrnn("eval", model, "-", "--by-line")
    assert outcome.code == 3
    assert "standard input is not UTF-8" in outcome.err


def test_a_stranger_in_a_line_is_refused_if_that_is_wanted(
    model: Path, monkeypatch: pytest.MonkeyPatch, charrnn: Terminal
) -> None:
    type_in(monkeypatch, b"the\na\n", b"cat\nZ\n")
    outcome = charrnn("eval", model, "-", "--by-line", "--unknown", "error")
    assert outcome.code == 3
    assert "The text, in line 4, has 1 character that the model has never seen: 'Z'" in outcome.err


def test_ctrl_c_ends_a_filter_quietly(model: Path) -> None:
    import signal

    with start(CHARRNN, "eval", model, "-", "--by-line", stdin=-1) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write("the cat\n")
        running.stdin.flush()
        running.stdout.readline()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
        running.stdin.close()


def test_standard_input_that_is_closed(model: Path) -> None:
    outcome = process(f"import sys\nsys.stdin = None\n{CHARRNN}", "eval", model, "-", "--by-line")
    assert (outcome.code, outcome.out) == (2, "")
    assert "Standard input is closed." in outcome.err


def test_a_text_that_was_trained_on_is_named_everywhere(
    model: Path, text: Path, charrnn: Terminal
) -> None:
    for options in ((), ("--valid-fraction", 0.5)):
        outcome = charrnn.ok("eval", model, text, *options)
        assert "stands in the text that the model was trained on" in outcome.err
        assert re.search(r"seen in training +100%", outcome.out)
        assert "|overlap:100%|" in outcome.out.replace("\n", "").replace(" ", "")
        assert "But it has seen this text in training." in " ".join(outcome.out.split())
    found = json.loads(charrnn.ok("eval", model, text, "--json").out)
    assert found["training"] == {"overlap": 1.0, "is_validation_text": False}


def test_a_new_text_has_not_been_seen(model: Path, tmp_path: Path, charrnn: Terminal) -> None:
    (tmp_path / "new.txt").write_text("".join(reversed(TEXT)))
    outcome = charrnn.ok("eval", model, tmp_path / "new.txt")
    assert "trained on" not in outcome.err
    assert re.search(r"seen in training +0%", outcome.out)


def test_without_a_text_the_part_is_scored_that_the_run_held_out(
    model: Path, text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    own = charrnn.ok("eval", model, "--json")
    named = json.loads(charrnn.ok("eval", model, text, "--valid-fraction", 0.1, "--json").out)
    found = json.loads(own.out)
    assert found["text"].pop("name") == "animals, held out"
    assert named["text"].pop("name") == "animals"
    assert found == named
    assert found["training"]["is_validation_text"]
    assert "Scoring the part of the text that the run held out: 56 characters." in own.err
    assert charrnn.ok("eval", model / "model.safetensors", "--by-token").out.count("\n") == 56
    (tmp_path / "alone.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    outcome = charrnn("eval", tmp_path / "alone.safetensors")
    assert outcome.code == 3
    assert "is not kept there" in outcome.err
    for option in (("--valid-fraction", 0.1), ("--train", text), ("--by-line",)):
        assert charrnn("eval", model, *option).code == 2


def test_the_model_comes_first(model: Path, text: Path, charrnn: Terminal) -> None:
    outcome = charrnn("eval", text, model)
    assert outcome.code == 4
    assert "The model comes first: charrnn eval MODEL TEXT" in outcome.err


def test_words_say_what_the_figures_mean(model: Path, text: Path, charrnn: Terminal) -> None:
    options = (model, text, "--valid-fraction", 0.1)
    found = json.loads(charrnn.ok("eval", *options, "--json").out)
    words = " ".join(charrnn.ok("eval", *options).out.split("\n\n")[-1].split())
    assert words.startswith("Lower is better. The model predicts this text")
    bits = {cost["name"][:6]: cost["score"]["bits_per_char"] for cost in found["baselines"]}
    change = found["score"]["bits_per_char"] / bits["5-gram"] - 1
    assert f"{abs(change):.0%} {'better' if change < 0 else 'worse'} than the 5-gram" in words


def test_lines_as_a_table_with_a_header(
    model: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, b"the cat\n\na\tdog\n")
    rows = charrnn.ok("eval", model, "-", "--by-line", "--tsv").out.splitlines()
    assert rows[0].split("\t") == ["nats", "bits_per_char", "perplexity", "line"]
    cells = [row.split("\t") for row in rows[1:]]
    assert [row[3] for row in cells] == ["the cat", "", "a\\tdog"]
    assert cells[1] == ["0.000000", "", "", ""]
    score = api.load(model).score("the cat")
    assert [float(cell) for cell in cells[0][:3]] == pytest.approx(
        [score.nats, score.bits_per_char, score.perplexity], abs=1e-5
    )
    assert charrnn("eval", model, "-", "--tsv").code == 2


def test_a_long_evaluation_shows_how_far_it_is(
    model: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.terminal.reading_progress.SECONDS_BEFORE_LINES", 0.0)
    monkeypatch.setattr("charrnn.terminal.reading_progress.SECONDS_BETWEEN_LINES", 0.0)
    (tmp_path / "long.txt").write_text(TEXT * 20)
    told = charrnn.ok("eval", model, tmp_path / "long.txt", "--dynamic").err
    for what in ("Scoring", "Learning while scoring", "Baselines"):
        assert re.search(rf"{what} \.\.\. \d+%", told), what


def test_a_text_is_coloured_by_a_hidden_unit(model: Path, text: Path, charrnn: Terminal) -> None:
    """Against the network in torch, whose state after each symbol holds the unit."""
    import torch

    one = api.load(model)
    found = unit_values(one.saved, TEXT[:60], 3)
    network, ids = one.scorer().network, one.tokenizer.encode(TEXT[:60]).astype(int)
    state, values = None, []
    with torch.no_grad():
        for symbol in [network.start, *ids.tolist()]:
            _, state = network(torch.tensor([[symbol]]), state)
            values.append(float(state[0][0, 3]))
    expected = np.array(values[1:]) / np.quantile(np.abs(values[1:]), 0.99)
    assert "".join(piece for piece, _ in found) == TEXT[:60]
    assert [value for _, value in found] == pytest.approx(expected.tolist(), abs=1e-4)
    shown = charrnn.ok("eval", model, text, "--show", "--unit", 3).out
    assert shown.startswith("[...]: 0.5 or more value of the unit")
    assert re.sub(r"[\[\]\u21b5]", "", shown.partition("\n\n")[2]).strip("\n") == TEXT.strip("\n")
    for wrong in (("--unit", 3), ("--show", "--unit", 8), ("--show", "--unit", 1, "--layer", 2)):
        assert charrnn("eval", model, text, *wrong).code == 2
    assert charrnn("eval", model, text, "--show", "--layer", 1).code == 2
