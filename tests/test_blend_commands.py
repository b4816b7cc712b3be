"""Blends where models are named: the commands, the Python interface, and what they refuse."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Outcome, Terminal, process
from models import saved

from charrnn.api import load
from charrnn.cli.values import run_folders
from charrnn.config.sampling import SamplingConfig
from charrnn.errors import UsageError
from charrnn.sampling.conversation import Conversation
from charrnn.storage.blend_name import member_names
from charrnn.storage.model_file import save_model
from charrnn.tokenizers import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer

TEXT = "the cat sat on the mat; a dog! ran to the hat.\n" * 30
CUT = ["the cat", "the hat sat on the mat " * 9]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models of several kinds, and a text; nobody may change it."""
    folder = tmp_path_factory.mktemp("blends")
    tokenizers: dict[str, Tokenizer] = {
        "a": CharTokenizer("\n acdeghmnorst."),
        "b": CharTokenizer("\n !;acdeghmnorst"),
        "c": CharTokenizer("\n acdeghmnorst."),
        "bytes": ByteTokenizer(),
        "words": WordTokenizer("", " the\0 cat\0 sat"),
        "more": WordTokenizer("", " the\0 dog\0 ran"),
        "bpe": BpeTokenizer.train(CUT, 262),
        "bpe2": BpeTokenizer.train(CUT, 264),
    }
    for number, (name, tokenizer) in enumerate(tokenizers.items()):
        save_model(folder / name, saved(tokenizer, hidden_size=8 + number))
    records = {"train": {"records": "\n"}}
    for number, name in enumerate(("lines", "lines2")):
        save_model(folder / name, saved(tokenizers["a"], records, hidden_size=20 + number))
    new = {"step": 3, "validated": False}
    save_model(folder / "new", saved(tokenizers["a"], new, hidden_size=24))
    (folder / "text.txt").write_text(TEXT)
    return folder


@pytest.fixture
def run(places: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(places)

    def command(line: str) -> Outcome:
        return charrnn(*line.split())

    return command


def test_names_are_cut_at_pluses_unless_they_are_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("c++", "lstm", "a+b", "x:0.5"):
        (tmp_path / name).mkdir()
    cut = {
        "lstm": [("lstm", None)],
        "nowhere": [("nowhere", None)],
        "a+b": [("a+b", None)],
        "a+c": [("a", None), ("c", None)],
        "a+b+lstm": [("a+b", None), ("lstm", None)],
        "c+++lstm": [("c++", None), ("lstm", None)],
        "lstm+c++": [("lstm", None), ("c++", None)],
        "lstm:0.7+c++:0.3": [("lstm", 0.7), ("c++", 0.3)],
        "x:0.5+lstm": [("x:0.5", None), ("lstm", None)],
        "x:0.5:2+lstm:1": [("x:0.5", 2.0), ("lstm", 1.0)],
    }
    assert {name: member_names(name) for name in cut} == cut


@pytest.mark.parametrize("way", ["", "--beam 3", "--num 3", "--no-repeat 4 --top-p 0.9"])
def test_a_model_blended_with_itself_writes_what_it_writes_alone(run: Any, way: str) -> None:
    seed = "" if "beam" in way else "--seed 4"
    alone, both = (run(f"sample {name} the --length 40 {seed} {way}") for name in ("a", "a+a"))
    assert alone.code == both.code == 0, both.err
    assert both.out == alone.out


def test_a_model_blended_with_itself_has_its_score(run: Any) -> None:
    alone, both = (
        json.loads(run(f"eval {name} text.txt --json").out)["score"] for name in ("b", "b+b")
    )
    assert both == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("rule", ["linear", "geometric"])
def test_the_score_is_the_sum_of_what_the_sampler_predicts(run: Any, rule: str) -> None:
    """Scored by torch in segments, beside NumPy one symbol at a time, over two vocabularies."""
    text = "the cat; a dog!? sat."
    model = load("a+b", weights=(0.7, 0.3), blend=rule)
    generator, nats = model.generator, 0.0
    state: Any = generator.model.initial_state(1)
    before = generator.model.start
    for symbol in model.tokenizer.encode(text).tolist():
        logits, state = generator.model.step(np.array([before]), state)
        nats -= float(logits[0, symbol])
        before = symbol
    score = model.score(text)
    assert score.unknown == 1
    assert score.nats == pytest.approx(nats + model.tokenizer.unknown_nats, rel=1e-5)
    if rule == "linear":  # no blend is worse than its members by more than their weights cost
        worst = min(
            load(n).score(text).nats - 21 * math.log(w) for n, w in (("a", 0.7), ("b", 0.3))
        )
        assert score.nats <= worst


def test_one_row_of_a_comparison(run: Any) -> None:
    found = json.loads(run("compare a b a+b a:0.9+b:0.1 text.txt --no-baselines --json").out)
    rows = {one["name"]: one for one in found["models"]}
    assert list(rows) == ["a", "b", "a+b", "a:0.9+b:0.1"]
    facts = rows["a:0.9+b:0.1"]["runs"][0]["model"]
    assert facts["blend"] == "linear"
    assert [(one["path"], one["weight"]) for one in facts["members"]] == [("a", 0.9), ("b", 0.1)]
    parts = [rows[name]["runs"][0]["model"] for name in "ab"]
    assert facts["parameters"] == sum(one["parameters"] for one in parts)
    assert [one["sha256"] for one in facts["members"]] == [one["sha256"] for one in parts]
    assert facts["sha256"] != rows["a+b"]["runs"][0]["model"]["sha256"]
    assert rows["a+b"]["score"]["unknown"] == 0 < rows["a"]["score"]["unknown"]
    geometric = json.loads(run("compare a+b text.txt --blend geometric --no-baselines --json").out)
    assert geometric["models"][0]["score"]["nats"] != rows["a+b"]["score"]["nats"]


def test_the_signature_names_the_members_and_their_weights(run: Any) -> None:
    report = json.loads(run("eval a+b text.txt --weights 3,1 --blend geometric --json").out)
    a, b = (one["sha256"][:12] for one in report["model"]["members"])
    assert f"|blend:geometric|model:{a}:0.75+{b}:0.25|" in report["signature"]


def test_weights_are_divided_by_their_sum_and_that_is_said(run: Any) -> None:
    note = "The weights add up to 4, so they are divided by that: 0.75, 0.25.\n"
    for line in ("sample a+b --weights 3,1 --seed 1", "sample a:3+b:1 --seed 1"):
        outcome = run(line)
        assert (outcome.code, outcome.err) == (0, note)
        assert outcome.out == run("sample a:0.75+b:0.25 --seed 1").out
    assert run("compare a:3+b:1 text.txt --no-baselines").err.startswith("a:3+b:1: " + note)


def test_every_view_of_a_score_takes_a_blend(run: Any) -> None:
    whole = json.loads(run("eval a+b text.txt --json --exact").out)["score"]
    tokens = run("eval a+b text.txt --by-token --json --exact").out.splitlines()
    bits = math.fsum(json.loads(line)["bits"] for line in tokens)
    assert bits * math.log(2) == pytest.approx(whole["nats"], rel=1e-5)
    assert len(run("eval a+b text.txt --by-line --tsv").out.splitlines()) == 31
    assert run("eval a+b text.txt --show").code == 0
    assert run("eval a+b text.txt --reset-every 20").code == 0


def test_next_novelty_info_and_tokenize_take_a_blend(run: Any) -> None:
    found = json.loads(run("next a+b the --top 99 --json").out)
    assert found["model"]["blend"] == "linear"
    assert sum(math.exp(one["log_prob"]) for one in found["next"]) == pytest.approx(1, abs=1e-5)
    assert {one["text"] for one in found["next"]} >= set("!;.")
    copied = json.loads(run("novelty a+b text.txt --length 50 --json").out)
    assert len(copied["model"]["members"]) == 2
    described = json.loads(run("info a+b --weights 0.25,0.75 --json").out)
    assert [one["config"]["hidden_size"] for one in described["model"]["members"]] == [8, 9]
    shown = run("info a+b --weights 0.25,0.75").out
    assert "0.25        a: lstm 1 x 8" in shown
    assert "char, 18 symbols" in shown
    assert run("tokenize a+b the!").code == 0


def test_records_are_written_by_a_blend_of_models_of_records(run: Any) -> None:
    alone, both = (run(f"sample {name} --num 3 --seed 2") for name in ("lines", "lines+lines"))
    assert both.out == alone.out
    model = load("lines+lines2")
    assert model.format.separator == "\n"
    assert model.score("the cat\n\nsat\n").tokens > 0


def test_turns_and_healed_words(run: Any) -> None:
    model = load("words+more", weights=(0.6, 0.4))
    generator = model.generator
    assert {" cat", " dog"} <= set(getattr(model.tokenizer, "units", "").split("\0"))
    assert model.generate("the c", length=20, seed=1)
    for name in ("words", "words+words"):
        generator = load(name).generator
        turns = Conversation(
            generator.model, generator.tokenizer, SamplingConfig(length=30), seed=5
        )
        turns.say(" the c")
        first = "".join(turns.write())
        turns.undo()
        turns.seed(5)
        turns.say(" the c")
        assert "".join(turns.write()) == first
    assert load("words+words").generate(" the c", seed=3) == load("words").generate(
        " the c", seed=3
    )


def test_python_takes_a_blend_too(run: Any) -> None:
    model = load("a+b", weights=[3, 1])
    assert model.saved.members[1].config.hidden_size == 9
    assert repr(model) == "<charrnn.Model lstm 1 x 8 + lstm 1 x 9, char tokenizer of 18 symbols>"
    assert model.generate("the", length=9) == load("a:0.75+b:0.25").generate("the", length=9)
    with pytest.raises(UsageError, match="Gradient flow takes one model"):
        model.gradient_flow(TEXT, lags=3)
    with pytest.raises(UsageError, match="`blend` must be one of linear, geometric, not 'mean'"):
        load("a+b", blend="mean")
    with pytest.raises(UsageError, match="`weights` must be numbers greater than 0, not 0"):
        load("a+b", weights=(1, 0))


REFUSED = {
    "sample a+nowhere": (4, r"Cannot read nowhere: no such file or folder\."),
    "sample a+": (2, r"A member of the blend a\+ has no name\."),
    "sample a --weights 1": (2, r"--weights is for blends, and a is one model\."),
    "sample a --blend linear": (2, r"--blend is for blends, and a is one model\."),
    "sample a+b --blend mean": (2, r"--blend must be one of linear, geometric, not 'mean'\."),
    "sample a+b --weights 1,2,3": (2, r"The blend has 2 members, but 3 weights\."),
    "sample a:0.5+b": (2, r"The blend has 2 members, but 1 weight\."),
    "sample a:1+b:1 --weights 1,1": (2, r"The weights are given twice, in the name and in --wei.*"),
    "sample a+b --weights 1,x": (2, r"--weights must be numbers greater than 0, not 'x'\."),
    "sample a+b --weights 1,-1": (2, r"--weights must be numbers greater than 0, not '-1'\."),
    "sample a:nan+b:1": (2, r"--weights must be numbers greater than 0, not 'nan'\."),
    "sample a+bytes": (2, r"a has a char tokenizer, bytes a byte tokenizer\."),
    "sample bpe+bpe2": (2, r"The bpe pieces of bpe and bpe2 differ\."),
    "sample a+lines": (2, r"a was trained on plain text, lines on --records '\\n'\."),
    "sample a+text.txt": (4, r"text\.txt is text\."),
    "sample a+b --source x": (2, r"This model's texts do not depend on a source\."),
    "eval a+b": (3, r"The members of a\+b held out different texts\."),
    "eval a+b text.txt --dynamic": (2, r"--dynamic evaluation takes one model, not a blend\."),
    "eval a+b text.txt --show --unit 1": (2, r"--unit is one model's, not a blend's\."),
    "gradients a+b text.txt": (2, r"Gradient flow takes one model, but a\+b is a blend of 2\."),
    "page a+b --out x": (2, r"A page takes one model, but a\+b is a blend of 2\."),
    "export a+b --onnx x": (2, r"An export takes one model, but a\+b is a blend of 2\."),
    "train text.txt --init-from a+b --out new": (2, r"--init-from takes one model, but a\+b is .*"),
    "train --resume a+b": (2, r"--resume takes one model, but a\+b is a blend of 2\."),
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused_is_one_line_and_what_to_do(run: Any, line: str) -> None:
    code, message = REFUSED[line]
    outcome = run(line)
    first, *rest = outcome.err.splitlines()
    assert re.fullmatch(f"charrnn: {message}", first)
    assert (outcome.code, outcome.out) == (code, "")
    assert len(rest) <= 1


def test_who_would_start_from_a_blend_is_told_how_to_learn_from_it(run: Any) -> None:
    *_, hint = run("train text.txt --init-from a+b --out new").err.splitlines()
    assert hint == "  Name one of them, such as a, or learn from all of them by --teacher a+b."


def test_members_of_one_text_are_scored_on_what_they_held_out(
    model: Path, text: Path, charrnn: Terminal, tmp_path: Path
) -> None:
    alone = json.loads(charrnn("eval", model, "--json").out)
    both = json.loads(charrnn("eval", f"{model}+{model}", "--json").out)
    assert both["text"] == alone["text"]
    assert both["score"] == pytest.approx(alone["score"], rel=1e-6)
    assert both["training"] == alone["training"]


def test_weights_that_are_not_validated_are_named(run: Any) -> None:
    note = "new: These are the run's weights at step 3, which are not validated yet.\n"
    assert run("sample a+new --seed 1").err == note


def test_the_last_member_is_completed(places: Path) -> None:
    (places / "runs" / "x").mkdir(parents=True, exist_ok=True)
    (places / "runs" / "x" / "model.safetensors").touch()
    assert run_folders(f"a+{places}/ru") == []
    assert run_folders(f"a+{places}/runs/") == [f"a+{places}/runs/x"]


def test_a_blend_writes_without_torch(places: Path) -> None:
    code = (
        "import sys; from charrnn.__main__ import run; "
        "run(['sample', 'a+b', '--seed', '1']); sys.exit('torch' in sys.modules)"
    )
    outcome = process(code, cwd=places)
    assert outcome.code == 0, outcome.err
