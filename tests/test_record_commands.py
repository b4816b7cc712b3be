"""A text of records on the command line: train, resume, score, sample; and what cannot be used."""

import json
import random
import re
from contextlib import nullcontext
from importlib import import_module
from itertools import islice
from pathlib import Path

import pytest
from benchmarks.names import NAME, grammar_nats, made_up_name, made_up_names
from command_line import Terminal
from small_runs import OPTIONS, results

from charrnn import load
from charrnn.data.records import index_records
from charrnn.sampling.generate import MAX_BATCH

NAMES = made_up_names(600)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "names.txt"
    path.write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(names: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned names well enough to write some."""
    from charrnn.__main__ import run

    path = tmp_path_factory.mktemp("runs") / "names"
    settings = [
        "--hidden-size",
        48,
        "--num-layers",
        1,
        "--batch-size",
        16,
        "--seq-len",
        32,
        "--steps",
        250,
    ]
    fixed = [
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "--threads",
        1,
        "--quiet",
        "--eval-every",
        125,
    ]
    command = ["train", names, "--records", "lines", "--out", path, *settings, *fixed]
    assert run([str(word) for word in command]) == 0
    return path


def test_the_grammar_makes_the_names_and_knows_how_probable_they_are() -> None:
    assert all(NAME.fullmatch(name) for name in NAMES)
    drawn, rng = [made_up_name(random.Random(seed)) for seed in range(3000)], random.Random(1)
    common = max(set(drawn), key=drawn.count)
    seen = sum(made_up_name(rng) == common for _ in range(20_000)) / 20_000
    assert seen == pytest.approx(2.718281828 ** -grammar_nats(common), rel=0.6)


def test_a_model_of_names_writes_names_that_end_by_themselves(
    charrnn: Terminal, model: Path
) -> None:
    outcome = charrnn.ok("sample", model, "--num", 200, "--seed", 1)
    samples = outcome.out.split("\n")
    assert samples.pop() == ""
    assert len(samples) == 200
    assert outcome.err == ""
    plausible = [
        name for name in samples if name.isalpha() and name.islower() and 3 <= len(name) <= 18
    ]
    assert len(plausible) >= 190
    assert sum(bool(NAME.fullmatch(name)) for name in samples) >= 80
    assert len(set(samples)) >= 100


def test_validation_in_training_and_eval_score_the_same_names_from_zero_state(
    charrnn: Terminal, model: Path, names: Path
) -> None:
    best = json.loads(charrnn.ok("info", model, "--json").out)["valid"]
    score = json.loads(charrnn.ok("eval", model, names, "--valid-fraction", 0.1, "--json").out)
    assert "|state:records|" in score["signature"]
    assert "lines, each from zero state" in charrnn.ok("info", model).out
    score = score["score"]
    assert score["nats"] == pytest.approx(best["nats"], rel=1e-5)
    records = names.read_text(encoding="utf-8").splitlines(keepends=True)
    index = index_records(records, "\n", "names")
    valid = "".join(index.split(0.1 * index.characters).validation(records))
    assert (score["tokens"], score["characters"]) == (len(valid), len(valid))
    assert score["nats_per_token"] < 2.6


def test_one_record_is_the_first_of_many_and_the_seed_decides(
    charrnn: Terminal, model: Path
) -> None:
    def sampled(num: int, seed: int) -> list[str]:
        return charrnn.ok("sample", model, "--num", num, "--seed", seed).out.split("\n")[:-1]

    assert sampled(1, 7) == sampled(5, 7)[:1]
    assert sampled(MAX_BATCH + 6, 7)[: MAX_BATCH + 3] == sampled(MAX_BATCH + 3, 7)
    assert sampled(20, 7) != sampled(20, 8)
    assert len(set(sampled(3 * MAX_BATCH, 7))) > MAX_BATCH, "no group repeats another"


def test_records_begin_with_the_prompt(charrnn: Terminal, model: Path) -> None:
    samples = charrnn.ok("sample", model, "mar", "--num", 10, "--seed", 1).out.split("\n")[:-1]
    assert len(samples) == 10
    assert all(name.startswith("mar") for name in samples)


def test_what_stands_in_the_training_text_is_marked_or_left_out(
    charrnn: Terminal, model: Path, names: Path, tmp_path: Path
) -> None:
    options = ["--num", 30, "--seed", 1]
    samples = charrnn.ok("sample", model, *options).out.split("\n")[:-1]
    seen = tmp_path / "seen.txt"
    seen.write_text("\n".join(samples[:10]), encoding="utf-8")

    marked = charrnn.ok("sample", model, *options, "--training-text", seen).out.split("\n")[:-1]
    assert [line.split("\t")[0] for line in marked] == samples
    assert all(line.endswith("\t(in the training text)") for line in marked[:10])
    assert [line for line in marked if "\t" not in line] == [
        name for name in samples if name not in samples[:10]
    ]
    facts = json.loads(charrnn.ok("sample", model, *options, "--training-text", seen, "--json").out)
    assert [one["text"] for one in facts["samples"]] == samples
    assert [one["known"] for one in facts["samples"]] == [name in samples[:10] for name in samples]

    novel = charrnn.ok("sample", model, *options, "--training-text", seen, "--novel").out.split(
        "\n"
    )[:-1]
    assert len(novel) == 30
    assert not set(novel) & set(samples[:10])
    assert novel[:20] == [name for name in samples if name not in samples[:10]][:20]


def test_a_model_that_writes_nothing_new_stops_and_says_so(
    charrnn: Terminal, model: Path, tmp_path: Path
) -> None:
    (likeliest,) = charrnn.ok("sample", model, "--temperature", 0, "--seed", 1).out.split()
    seen = tmp_path / "seen.txt"
    seen.write_text(likeliest, encoding="utf-8")
    options = ["--temperature", 0, "--seed", 1, "--num", 2, "--novel", "--training-text", seen]
    outcome = charrnn.ok("sample", model, *options)
    assert outcome.out == ""
    left_out = "all others that the model wrote are in the training text"
    assert outcome.err == f"Only 0 of 2 records: {left_out}.\n"


def test_a_record_that_does_not_end_is_cut_off_at_the_length(
    charrnn: Terminal, model: Path
) -> None:
    samples = charrnn.ok("sample", model, "--length", 2, "--num", 5, "--seed", 1).out.split("\n")[
        :-1
    ]
    assert [len(name) for name in samples] == [2] * 5


def test_a_beam_finds_the_likeliest_records(charrnn: Terminal, model: Path, tmp_path: Path) -> None:
    found = json.loads(charrnn.ok("sample", model, "m", "--beam", 8, "--num", 3, "--json").out)
    records = ["m" + one["text"] for one in found["samples"]]
    assert (found["separator"], found["beam"]) == ("\n", 8)
    assert all(one["tokens"][-1] == "\n" for one in found["samples"])
    assert charrnn.ok("sample", model, "m", "--beam", 8, "--num", 3).out == "".join(
        f"{name}\n" for name in records
    )
    seen = tmp_path / "seen.txt"
    seen.write_text(records[1])
    marked = charrnn.ok(
        "sample", model, "m", "--beam", 8, "--num", 3, "--training-text", seen
    ).out.split("\n")
    assert [line.endswith("(in the training text)") for line in marked] == [
        False,
        True,
        False,
        False,
    ]


def test_a_search_cannot_leave_out_what_is_known(
    charrnn: Terminal, model: Path, names: Path
) -> None:
    outcome = charrnn("sample", model, "--novel", "--training-text", names, "--beam", 2)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--novel cannot be used with --beam" in outcome.err


def test_a_record_ends_before_its_separator_if_that_is_asked_for(
    charrnn: Terminal, model: Path
) -> None:
    whole, stopped = (
        charrnn.ok("sample", model, "--num", 20, "--seed", 1, *stop).out.split("\n")
        for stop in ([], ["--stop", "a"])
    )
    assert stopped == [name.partition("a")[0] for name in whole]


def test_the_prompt_can_be_left_out(charrnn: Terminal, model: Path) -> None:
    with_, without = (
        charrnn.ok("sample", model, "mar", "--num", 4, "--seed", 1, *echo).out.split("\n")[:-1]
        for echo in ([], ["--no-echo"])
    )
    assert with_ == [f"mar{rest}" for rest in without]


@pytest.mark.parametrize("tokenizer", ["byte", "word", "bpe", "unigram"])
def test_every_tokenizer_takes_records(
    charrnn: Terminal, names: Path, tmp_path: Path, tokenizer: str
) -> None:
    options = [*OPTIONS, "--records", "lines", "--tokenizer", tokenizer]
    trained = json.loads(
        charrnn.ok("train", names, "--out", tmp_path / "run", *options, "--quiet", "--json").out
    )
    score = json.loads(
        charrnn.ok("eval", tmp_path / "run", names, "--valid-fraction", 0.1, "--json").out
    )
    assert score["score"]["nats_per_token"] == pytest.approx(
        trained["valid_nats_per_token"], rel=1e-5
    )
    written = charrnn.ok(
        "sample", tmp_path / "run", "ma", "--num", 4, "--length", 20, "--seed", 1
    ).out.split("\n")
    assert len(written) == 5
    assert all(name.startswith("ma") and len(name) <= 22 for name in written[:-1])


def test_novelty_compares_records_with_the_records_that_trained(
    charrnn: Terminal, model: Path, names: Path
) -> None:
    told = json.loads(charrnn.ok("novelty", model, names, "--length", 300, "--json").out)
    assert told["sample"]["characters"] == told["held_out"]["characters"] == 300


def test_from_python(model: Path) -> None:
    names = load(model)
    records = list(islice(names.records("be", num=100_000, seed=3), 3))
    assert len(records) == 3
    assert all(record.startswith("be") and "\n" not in record for record in records)
    assert "be" + names.generate("be", seed=3) == records[0]
    assert names.score("anna\nbela\n").nats == pytest.approx(names.score("bela\nanna").nats)


@pytest.mark.parametrize("separator", ["<|end|>", r"\n\n", r"\n--\n"])
def test_documents_train_score_and_are_written_with_their_separator(
    charrnn: Terminal, separator: str, tmp_path: Path
) -> None:
    end = separator.replace(r"\n", "\n")
    text = tmp_path / "documents.txt"
    text.write_text(
        end.join(f"number {n}\nhas lines, {n * n} of them" * (n % 7 + 1) for n in range(40))
    )
    out = tmp_path / "run"
    options = [*OPTIONS, "--document-separator", separator, "--sample-every", 7]
    trained = charrnn.ok("train", text, "--out", out, *options, "--json")
    found = re.search(r"(\d+) records to train on, (\d+) to validate", trained.err)
    assert found
    assert sum(map(int, found.groups())) == 40
    summary = json.loads(trained.out)
    score = json.loads(charrnn.ok("eval", out, text, "--valid-fraction", 0.1, "--json").out)
    assert score["score"]["nats_per_token"] == pytest.approx(
        summary["valid_nats_per_token"], rel=1e-5
    )
    written = charrnn.ok("sample", out, "--num", 3, "--length", 40, "--seed", 1).out
    assert written.count(end) >= 3
    assert written.endswith("\n")


def test_a_stopped_run_of_records_ends_as_one_that_was_never_stopped(
    charrnn: Terminal, names: Path, tmp_path: Path
) -> None:
    """With records of some three windows each, so that it stops in the middle of them."""
    options = [*OPTIONS, "--records", "lines", "--seq-len", 4, "--quiet", "--steps", 30]
    charrnn.ok("train", names, "--out", tmp_path / "whole", *options)
    asked = 0

    def stop() -> int | None:
        nonlocal asked
        asked += 1
        return 2 if asked % 9 == 0 else None

    for _ in range(9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                import_module("charrnn.cli.train"),
                "stop_requests",
                lambda _: nullcontext(stop),
            )
            if charrnn("train", names, "--out", tmp_path / "parts", *options).code == 0:
                break
    assert asked > 30
    assert results(tmp_path / "parts") == results(tmp_path / "whole")


def test_another_separator_does_not_continue_a_run(
    charrnn: Terminal, names: Path, tmp_path: Path
) -> None:
    charrnn.ok("train", names, "--out", tmp_path, *OPTIONS, "--records", "lines", "--quiet")
    outcome = charrnn("train", names, "--out", tmp_path, *OPTIONS, "--records", "a")
    assert outcome.code == 2
    assert "--records was lines and is now a" in outcome.err


def test_blank_lines_are_left_out_and_counted(charrnn: Terminal, tmp_path: Path) -> None:
    text = tmp_path / "gaps.txt"
    text.write_text("\n\n".join(NAMES[:60]) + "\n \n")
    trained = charrnn.ok("train", text, "--out", tmp_path / "run", *OPTIONS, "--records", "lines")
    assert "Left out 60 blank records." in trained.err
    assert "54 records to train on, 6 to validate" in trained.err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--records", ""], 2, "--records needs a separator, but it is empty"),
        (
            ["--records", "lines", "--batcher", "random"],
            2,
            "--batcher random cannot be used with --records",
        ),
        (["--records", "<|end|>"], 3, "separator '<|end|>' never occurs in names"),
        (["--records", "lines", "--valid", "BLANK"], 3, "nothing but white space"),
    ],
    ids=["empty", "random", "never occurs", "blank validation"],
)
def test_what_cannot_be_trained_on(
    charrnn: Terminal, names: Path, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    (tmp_path / "blank.txt").write_text("\n \n")
    options = [str(tmp_path / "blank.txt") if word == "BLANK" else word for word in options]
    outcome = charrnn("train", names, "--out", tmp_path / "run", *OPTIONS, *options)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_one_record_only_leaves_nothing_to_validate_on(charrnn: Terminal, tmp_path: Path) -> None:
    text = tmp_path / "one.txt"
    text.write_text("the same line\n" * 50)
    outcome = charrnn("train", text, "--out", tmp_path / "run", *OPTIONS, "--records", "lines")
    assert outcome.code == 3
    assert "only one record: there is nothing to validate on" in outcome.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--novel"], "Name it with --training-text FILE"),
        (["--num", "0"], "--num must be at least 1"),
        (["--interactive"], "--interactive continues one long text"),
        (["ann\nbo"], "The prompt holds '\\n', where a record ends"),
        (["ann?", "--num", "2"], "'?' (U+003F)"),
    ],
    ids=["novel without a text", "none", "interactive", "prompt with an end", "unknown character"],
)
def test_what_cannot_be_sampled(
    charrnn: Terminal, model: Path, options: list[str], message: str
) -> None:
    outcome = charrnn("sample", model, *options, "--seed", "1")
    assert outcome.code in (2, 3)
    assert outcome.out == ""
    assert message in outcome.err


def test_what_suits_records_only_or_not_at_all(
    charrnn: Terminal, model: Path, names: Path, text: Path
) -> None:
    outcome = charrnn("eval", model, names, "--reset-every", 5)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--reset-every cannot be used with a model of records" in outcome.err


def test_a_model_of_one_long_text_has_no_records(
    charrnn: Terminal, tmp_path: Path, text: Path, names: Path
) -> None:
    charrnn.ok("train", text, "--out", tmp_path, *OPTIONS, "--quiet")
    outcome = charrnn("sample", tmp_path, "--training-text", text)
    assert outcome.code == 2
    assert "--training-text is for models of records" in outcome.err
    with pytest.raises(Exception, match="not trained on records"):
        load(tmp_path).records(num=1)
