"""`charrnn tokenize`, and each kind of tokenizer from the text to the sample."""

import json
from pathlib import Path
from threading import Event, Thread

import pytest
from command_line import CHARRNN, Terminal, process, start
from small_runs import OPTIONS, TEXT

from charrnn.api import load
from charrnn.config.training import TOKENIZERS

KINDS = [kind for kind in TOKENIZERS if kind != "char"]


@pytest.fixture(scope="module")
def runs(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run for each kind."""
    from charrnn.__main__ import run

    path = tmp_path_factory.mktemp("kinds")
    for kind in KINDS:
        assert (
            run(
                [
                    "train",
                    str(text),
                    "--out",
                    str(path / kind),
                    "--quiet",
                    "--tokenizer",
                    kind,
                    *OPTIONS,
                ]
            )
            == 0
        )
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_trains_writes_and_scores(
    kind: str, runs: Path, text: Path, charrnn: Terminal
) -> None:
    about = json.loads(charrnn.ok("info", runs / kind, "--json").out)
    assert (about["model"]["tokenizer"], about["train"]["tokenizer"]) == (kind, kind)
    assert about["config"]["vocab_size"] == load(runs / kind).tokenizer.size
    written = charrnn.ok("sample", runs / kind, "the ca", "--seed", 1, "--length", 40).out
    assert written.startswith("the ca")
    assert len(written) == len("the ca") + 40 + 1
    score = json.loads(charrnn.ok("eval", runs / kind, text, "--json").out)
    assert score["signature"].startswith(f"tokenizer:{kind}-")
    score = score["score"]
    assert (score["characters"], score["bytes"], score["unknown"]) == (len(TEXT), len(TEXT), 0)
    assert score["bits_per_char"] == pytest.approx(score["nats"] / 0.6931471805599453 / len(TEXT))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_and_a_new_one_starts_from_it(
    kind: str, runs: Path, text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    again = charrnn.ok("train", text, "--out", runs / kind, "--tokenizer", kind, *OPTIONS)
    assert "already complete" in again.err
    (tmp_path / "new.txt").write_text("Zo\u00eb and \u732b, a new cat.\n" * 9)
    charrnn.ok(
        "train",
        tmp_path / "new.txt",
        "--out",
        tmp_path / "new",
        "--init-from",
        runs / kind,
        *OPTIONS,
    )
    assert load(tmp_path / "new").tokenizer == load(runs / kind).tokenizer
    assert load(tmp_path / "new").about["train"]["tokenizer"] == kind


@pytest.mark.parametrize("kind", ["char", *KINDS])
def test_a_runs_own_config_begins_an_equal_run(
    kind: str, runs: Path, model: Path, text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    path = model if kind == "char" else runs / kind
    charrnn.ok("train", text, "--out", tmp_path, "--config", path / "config.json")
    one, two = load(path), load(tmp_path)
    assert json.loads((path / "config.json").read_text())["vocab_size"] == one.tokenizer.size
    assert (two.config, two.tokenizer) == (one.config, one.tokenizer)


def test_a_vocabulary_that_was_asked_for_is_asked_for_again(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    options = ["--tokenizer", "bpe", "--vocab-size", 270]
    charrnn.ok("train", text, "--out", tmp_path / "one", *options, *OPTIONS)
    charrnn.ok(
        "train", text, "--out", tmp_path / "two", "--config", tmp_path / "one" / "config.json"
    )
    one, two = load(tmp_path / "one"), load(tmp_path / "two")
    assert one.tokenizer.size == 270
    assert (two.config, two.tokenizer) == (one.config, one.tokenizer)


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_a_files_size_is_that_of_its_own_kind_of_vocabulary(
    kind: str, runs: Path, text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    values = json.loads((runs / "word" / "config.json").read_text()) | {"vocab_size": 261}
    (tmp_path / "config.json").write_text(json.dumps(values))
    options = ["--config", tmp_path / "config.json", "--tokenizer", kind]
    charrnn.ok("train", text, "--out", tmp_path / "run", *options)
    assert load(tmp_path / "run").tokenizer.size != 261


def test_a_file_may_choose_the_size_of_the_vocabulary_that_is_asked_for(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    (tmp_path / "sizes.json").write_text('{"vocab_size": 263}')
    options = ["--config", tmp_path / "sizes.json", "--tokenizer", "word", *OPTIONS]
    charrnn.ok("train", text, "--out", tmp_path / "run", *options)
    assert load(tmp_path / "run").tokenizer.size == 263


@pytest.mark.parametrize("kind", ["char", *KINDS])
def test_symbols_are_listed_with_their_ids(
    kind: str, runs: Path, model: Path, charrnn: Terminal
) -> None:
    path = model if kind == "char" else runs / kind
    outcome = charrnn.ok("tokenize", path, "the cat\n", "--json")
    found = json.loads(outcome.out)
    tokens, sha256 = found["tokens"], load(path).saved.sha256
    assert (found["model"]["path"], found["model"]["sha256"]) == (str(path), sha256)
    tokenizer = load(path).tokenizer
    assert [token["id"] for token in tokens] == tokenizer.encode("the cat\n").tolist()
    assert "".join(token["text"] for token in tokens) == "the cat\n"
    lines = charrnn.ok("tokenize", path, "the cat\n")
    shown = [line.split("\t") for line in lines.out.splitlines()]
    assert [int(id_) for id_, _ in shown] == [token["id"] for token in tokens]
    assert "".join(text for _, text in shown) == "the cat\\n"
    assert lines.err == f"{len(tokens)} {kind} symbols for 8 characters\n"


def test_parts_of_characters_unknown_ones_and_controls_are_visible(
    runs: Path, model: Path, charrnn: Terminal
) -> None:
    assert charrnn.ok("tokenize", runs / "byte", "\u00e9\x1b\\").out.split() == [
        *("195", "<0xc3>", "169", "<0xa9>"),
        *("27", "\\x1b", "92", "\\\\"),
    ]
    assert json.loads(charrnn.ok("tokenize", runs / "byte", "\u00e9", "--json").out)["tokens"][
        0
    ] == {
        "id": 195,
        "text": "\ufffd",
        "bytes": "c3",
    }
    assert charrnn.ok("tokenize", model, "Z").out == "0\tZ  (unknown)\n"
    assert json.loads(charrnn.ok("tokenize", model, "Z", "--json").out)["tokens"] == [
        {"id": 0, "text": "Z", "unknown": True}
    ]


@pytest.mark.parametrize("given", [[], ["-"]], ids=["nothing", "a dash"])
def test_the_text_may_come_from_standard_input(given: list[str], model: Path) -> None:
    program = f"import sys, io; sys.stdin = io.TextIOWrapper(io.BytesIO(b'cat'));{CHARRNN}"
    outcome = process(program, "tokenize", model, *given)
    assert [line.split("\t")[1] for line in outcome.out.splitlines()] == ["c", "a", "t"]


def test_on_a_terminal_neighbours_differ_in_colour_unless_it_has_none(
    model: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = charrnn.ok("tokenize", model, "cat\n").out
    assert coloured.count("\x1b[30;") == 4
    assert "\\n\x1b[0m\n" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in charrnn.ok("tokenize", model, "cat").out


@pytest.mark.parametrize(
    ("kind", "options"), [*((kind, []) for kind in ("char", *KINDS)), ("bpe", ["--json"])]
)
def test_a_long_text_is_answered_as_it_is_read(
    kind: str, options: list[str], runs: Path, model: Path
) -> None:
    path = model if kind == "char" else runs / kind
    with start(CHARRNN, "tokenize", path, "-", *options, stdin=-1) as running:
        answered = Event()

        def give() -> None:
            assert running.stdin is not None
            running.stdin.write("the cat sat on the mat. " * 8000)
            running.stdin.flush()
            assert answered.wait(60)
            running.stdin.close()

        writer = Thread(target=give, daemon=True)
        writer.start()
        assert running.stdout is not None
        assert running.stdout.read(20), "before the text has ended"
        answered.set()
        rest = running.stdout.read()
        writer.join(60)
        assert running.wait(60) == 0
        assert rest.endswith("]}\n" if options else "\n")


def test_what_is_typed_in_another_encoding_is_refused(model: Path) -> None:
    program = f"import sys, io; sys.stdin = io.TextIOWrapper(io.BytesIO(b'ca\\xff'));{CHARRNN}"
    outcome = process(program, "tokenize", model)
    assert outcome.code == 3
    assert "is not UTF-8: byte 0xff" in outcome.err
