import json
from pathlib import Path

import pytest
from small import TEXT
from terminal import Terminal

from charrnn import ScoringProtocol, TextError, UsageError, load
from charrnn.cli.options import SPECS


@pytest.mark.parametrize(
    "prompt", ["", "the ", "a dog ran to the hat.\n"], ids=["empty", "short", "a line"]
)
def test_generate_writes_what_sample_writes_after_the_prompt(
    prompt: str, model: Path, charrnn: Terminal
) -> None:
    written = charrnn.ok(
        "sample", model, prompt, "--seed", 5, "--length", 40, "--top-k", 3, "-t", 1.2
    ).out
    text = load(model).generate(prompt, seed=5, length=40, top_k=3, temperature=1.2)
    assert written == f"{prompt}{text}\n"
    assert len(text) == 40


def test_stream_yields_the_same_text_piece_by_piece(model: Path) -> None:
    one = load(model)
    pieces = list(one.stream("the ", seed=2, length=30))
    assert len(pieces) == 30
    assert "".join(pieces) == one.generate("the ", seed=2, length=30)


def test_many_texts_are_those_of_num_and_the_first_is_generate(
    model: Path, charrnn: Terminal
) -> None:
    one = load(model)
    texts = one.generate_many("the ", num=3, seed=2, length=20)
    told = json.loads(
        charrnn.ok("sample", model, "the ", "--num", 3, "--seed", 2, "-n", 20, "--json").out
    )
    assert [sample["text"] for sample in told["samples"]] == texts
    assert (told["prompt"], told["seed"], told["model"]) == ("the ", 2, one.saved.sha256)
    assert texts[0] == one.generate("the ", seed=2, length=20)
    assert len(set(texts)) == 3


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ([], None),
        (["--exact"], ScoringProtocol.exact()),
        (["--reset-every", "16"], ScoringProtocol.reset(16)),
    ],
    ids=["default", "exact", "reset"],
)
def test_score_is_what_eval_says(
    options: list[str], protocol: ScoringProtocol | None, model: Path, text: Path, charrnn: Terminal
) -> None:
    told = json.loads(charrnn.ok("eval", model, text, "--json", "--device", "cpu", *options).out)
    score = load(model).score(TEXT, protocol=protocol)
    assert {name: told[name] for name in score.to_dict()} == score.to_dict()
    assert score.characters == len(TEXT)


def test_a_run_folder_and_its_model_file_are_the_same_model(model: Path) -> None:
    assert load(model).saved.sha256 == load(str(model / "model.safetensors")).saved.sha256


def test_a_model_says_what_it_is(model: Path) -> None:
    one = load(model)
    assert (one.config.hidden_size, one.config.vocab_size) == (8, one.tokenizer.size)
    assert one.about["text"]["name"] == "animals"
    assert one.about["step"] in (5, 10, 14)
    assert one.about["train"].keys() <= SPECS.keys()


def test_scoring_leaves_the_model_as_it_was(model: Path) -> None:
    one = load(model)
    assert one.score(TEXT) == one.score(TEXT)
    assert one.generate(seed=1) == load(model).generate(seed=1)


def test_what_cannot_be_done_is_an_error_of_ours(model: Path) -> None:
    one = load(model)
    with pytest.raises(TextError, match="no text to score"):
        one.score("")
    with pytest.raises(
        TextError,
        match=r"The text has 1 character that the model has never seen: 'Z' \(U\+005A\)\.",
    ):
        one.score("the Zoo", unknown="error")
    with pytest.raises(UsageError, match="--temperature must be"):
        one.generate(temperature=-1)
    with pytest.raises(UsageError, match="--device must be one of"):
        one.score("the", device="gpu")
    with pytest.raises(TextError, match="has never seen"):
        one.stream("Z")  # at the call, not at the first piece


def test_unknown_characters_are_charged_and_counted(model: Path) -> None:
    one = load(model)
    with_one, without = one.score("the cat sat\u00e9"), one.score("the cat sat")
    assert (with_one.unknown, without.unknown) == (1, 0)
    assert with_one.nats > without.nats + 10
