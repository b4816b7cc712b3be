import json
import signal
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from command_line import Terminal
from small_runs import SETTINGS, TEXT, results

from charrnn import (
    CharRNNError,
    InterruptedRun,
    ScoringProtocol,
    TextError,
    UsageError,
    load,
    train,
)
from charrnn.config.fields import declared
from charrnn.config.training import TrainConfig
from charrnn.training.events import (
    Evaluated,
    Finished,
    Note,
    Planned,
    Saved,
    Started,
    TextRead,
    Trained,
)


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
    assert (told["prompt"], told["seed"]) == ("the ", 2)
    assert told["model"]["path"] == str(model)
    assert told["model"]["sha256"] == one.saved.sha256
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
    assert told["score"] == score.to_dict()
    assert score.characters == len(TEXT)


def test_a_run_folder_and_its_model_file_are_the_same_model(model: Path) -> None:
    assert load(model).saved.sha256 == load(str(model / "model.safetensors")).saved.sha256


def test_a_model_says_what_it_is(model: Path) -> None:
    one = load(model)
    assert (one.config.hidden_size, one.config.vocab_size) == (8, one.tokenizer.size)
    assert one.about["text"]["name"] == "animals"
    assert one.about["step"] in (5, 10, 14)
    assert one.about["train"].keys() == declared(TrainConfig).keys()


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
    with pytest.raises(UsageError, match="`temperature` must be"):
        one.generate(temperature=-1)
    with pytest.raises(UsageError, match="`device` must be one of"):
        one.score("the", device="gpu")
    with pytest.raises(TextError, match="has never seen"):
        one.stream("Z")  # at the call, not at the first piece


def test_unknown_characters_are_charged_and_counted(model: Path) -> None:
    one = load(model)
    with_one, without = one.score("the cat sat\u00e9"), one.score("the cat sat")
    assert (with_one.unknown, without.unknown) == (1, 0)
    assert with_one.nats > without.nats + 10


def test_training_from_python_is_a_stream_of_events(
    text: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is the run of the command line, event by event, and shows nothing by itself."""
    told: list[tuple[str, int, int | None]] = []
    events = list(
        train(text, out=tmp_path / "run", on_progress=lambda *what: told.append(what), **SETTINGS)
    )
    assert capfd.readouterr() == ("", "")
    events = [event for event in events if not isinstance(event, Note)]  # its text repeats itself
    assert [type(event) for event in events[:3]] == [TextRead, Planned, Started]
    assert [event.step for event in events if isinstance(event, Trained)] == [*range(1, 15)]
    scored = [event for event in events if isinstance(event, Evaluated)]
    assert [event.step for event in scored] == [5, 10, 14]
    assert [type(event) for event in events[-2:]] == [Saved, Finished]
    assert events[-1].summary["out"] == str(tmp_path / "run")  # type: ignore[union-attr]
    best = min(scored, key=lambda event: event.score.nats_per_token)
    assert events[-1].summary["valid_nats_per_token"] == best.score.nats_per_token  # type: ignore[union-attr]
    assert best.best
    assert {what.split()[0] for what, _, _ in told} == {"Reading", "Learning", "Encoding"}
    assert all(total is None or done <= total for _, done, total in told)
    assert results(tmp_path / "run") == results(model)


def test_nothing_happens_before_the_first_event_is_asked_for(text: Path, tmp_path: Path) -> None:
    events = train(text, out=tmp_path / "run", **SETTINGS)
    train("no such text", no_such_setting=1)
    assert list(tmp_path.iterdir()) == []
    assert isinstance(next(events), TextRead)
    assert (tmp_path / "run").is_dir()
    events.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_training_that_python_stops_is_continued_by_the_same_call(
    text: Path, model: Path, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def stop() -> int | None:
        return signal.SIGTERM if isinstance(seen[-1], Trained) and seen[-1].step == 8 else None

    with pytest.raises(InterruptedRun) as stopped:
        deque(map(seen.append, train(text, out=str(tmp_path), should_stop=stop, **SETTINGS)))
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    events = list(train(text, out=str(tmp_path), **SETTINGS))
    assert [event.text for event in events if isinstance(event, Note)] == [
        f"Continuing the run in {tmp_path} from step 8."
    ]
    assert next(event.step for event in events if isinstance(event, Trained)) == 9
    assert results(tmp_path) == results(model)
    assert [type(event) for event in train(text, out=str(tmp_path), **SETTINGS)] == [
        TextRead,
        Note,
        Finished,
    ]


def test_texts_and_paths_may_be_given_in_any_form(text: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "held.txt"
    held_out.write_text(TEXT[:100])
    runs = []
    for number, (texts, valid) in enumerate(
        [(str(text), str(held_out)), (text, held_out), ([text], [held_out]), ((str(text),), None)]
    ):
        run = tmp_path / f"{number}"
        (*_, finished) = train(texts, out=run, valid=valid, init_from=None, **SETTINGS)
        assert isinstance(finished, Finished)
        runs.append((run / "model.safetensors").read_bytes())
    assert runs[0] == runs[1] == runs[2] != runs[3]


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"hiden_size": 9}, "Unknown setting 'hiden_size'.", "Did you mean 'hidden_size'?"),
        ({"hidden_size": 0}, "`hidden_size` must be at least 1 and at most 16384, not 0.", ""),
        ({"hidden_size": "9"}, "`hidden_size` must be a whole number, not '9'.", ""),
        (
            {"cell": "lstmm"},
            "`cell` must be one of rnn, gru, lstm, mingru, minlstm, not 'lstmm'.",
            "Did you mean 'lstm'?",
        ),
        ({"preset": "quik"}, "`preset` must be one of quick, standard, best, not 'quik'.", "quick"),
        ({"seconds": 0.0}, "`seconds` must be greater than 0, not 0.0.", ""),
        ({"seconds": "1m"}, "`seconds` must be a number, not '1m'.", ""),
        ({"seconds": 60}, "`steps` and `seconds` both say how long to train.", "Give one"),
        ({"epochs": 1}, "`steps` and `epochs` both say how long to train.", "Give one"),
        (
            {"valid": "x", "valid_fraction": 0.2},
            "`valid` and `valid_fraction` both say what is held out.",
            "Give one",
        ),
        ({"tied": True}, "`tied` needs `embedding_size` (4) to equal `hidden_size` (8).", "8"),
        ({"bptt_stride": 17}, "`bptt_stride` 17 must be at most `seq_len` 16.", ""),
        ({"encoding": "utf-9"}, "`encoding` 'utf-9' is not a text encoding", ""),
        ({"vocab_size": 300}, "`vocab_size` cannot be used with `tokenizer` char.", ""),
        ({"precision": "fp16"}, "`precision` fp16 needs a GPU.", ""),
        ({"records": ""}, "`records` needs a separator, but it is empty.", "`records` lines"),
        ({"fresh": "yes"}, "`fresh` must be true or false, not 'yes'.", ""),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_errors_from_python_name_settings_as_python_does(
    options: dict[str, Any],
    message: str,
    hint: str,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(CharRNNError) as refused:
        next(filter(lambda _: False, train(text, out=tmp_path / "run", **SETTINGS | options)))
    assert refused.value.message.startswith(message)
    assert hint in refused.value.hint
    assert "--" not in str(refused.value)


def test_no_text_at_all_is_refused(tmp_path: Path) -> None:
    for texts in ([], "", [""]):
        with pytest.raises(UsageError, match="A text is needed"):
            next(train(texts, out=tmp_path))  # type: ignore[arg-type]
    with pytest.raises(TextError, match=r"Cannot read '.*nowhere\.txt': no such file\."):
        next(train(tmp_path / "nowhere.txt", out=tmp_path))


def test_a_text_of_the_wrong_type_and_a_misspelt_keyword_are_named(model: Path) -> None:
    one = load(model)
    with pytest.raises(UsageError, match="must be a string or ids, not of type bytes"):
        one.score(b"abc")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'temprature'") as caught:
        one.generate("the", temprature=0.5)
    assert caught.value.hint == "Did you mean 'temperature'?"


def test_a_model_shows_what_it_is(model: Path) -> None:
    expected = "lstm 1 x 8, char tokenizer of 16 symbols, trained on 'animals'"
    assert repr(load(model)) == f"<charrnn.Model {expected}>"
