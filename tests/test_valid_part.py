"""A part of a long validation text stands for the whole during training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import read, run, run_in

from charrnn.data.encoding import Encoded
from charrnn.data.subset import PIECE, spread
from charrnn.evaluation.score import ScoringProtocol
from charrnn.evaluation.scoring import evaluate
from charrnn.model.network import from_weights
from charrnn.storage.model_file import load_model
from charrnn.training.events import Evaluated, Finished, ScoredWhole
from charrnn.training.throughput import FEWEST_TOKENS, SCORING_COST, validation_settings

SETTINGS = {"steps": 9, "eval_every": 3, "valid_tokens": 20}


def numbered(length: int, cuts: list[int] | None = None) -> Encoded:
    """A text whose ids are their positions."""
    starts = None if cuts is None else np.array(sorted({0, *(c for c in cuts if c < length)}))
    return Encoded(np.arange(length, dtype=np.uint32), 2 * length, 3 * length, starts)


@given(
    length=st.integers(1, 30_000),
    tokens=st.integers(1, 30_000),
    cuts=st.none() | st.lists(st.integers(1, 29_999), max_size=30),
)
def test_a_part_is_spread_over_the_whole(length: int, tokens: int, cuts: list[int] | None) -> None:
    text = numbered(length, cuts)
    part = spread(text, tokens)
    if tokens >= length:
        assert part is text
        return
    assert len(np.unique(part.ids)) == len(part.ids) >= 1
    assert part.starts is not None
    assert part.starts[0] == 0
    assert (np.diff(part.starts) > 0).all()
    assert part.characters == round(text.characters * len(part.ids) / length)
    pieces = np.split(part.ids.astype(np.int64), part.starts[1:])
    assert all((np.diff(piece) == 1).all() for piece in pieces)
    if text.starts is None:
        assert len(part.ids) <= tokens
        assert len(part.ids) > tokens - PIECE
        gaps = np.diff([piece[0] for piece in pieces])
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1
    else:
        ends = np.append(text.starts[1:], length)
        whole = {(begin, end - 1) for begin, end in zip(text.starts, ends, strict=True)}
        assert {(piece[0], piece[-1]) for piece in pieces} <= whole


@given(
    steps=st.integers(1, 100_000),
    step_tokens=st.floats(1, 1e6),
    whole=st.integers(1, 10**9),
    measured=st.none() | st.floats(0.05, 5),
    every=st.none() | st.integers(1, 1000),
)
def test_validation_takes_a_twentieth_of_the_time(
    steps: int, step_tokens: float, whole: int, measured: float | None, every: int | None
) -> None:
    given_ = {} if every is None else {"eval_every": every}
    chosen = validation_settings(steps, step_tokens, whole, given_, measured)
    scoring_cost = measured or SCORING_COST
    evaluations = -(-steps // chosen["eval_every"])
    tokens = chosen["valid_tokens"] or whole
    assert tokens <= whole
    assert every is None or chosen["eval_every"] == every
    cost = evaluations * tokens * scoring_cost
    once = evaluations == 1 and chosen["valid_whole"]
    assert once or cost <= 0.05 * steps * step_tokens * 1.01 or tokens <= FEWEST_TOKENS
    if measured is not None:
        affordable = 0.05 * steps * step_tokens / scoring_cost
        assert chosen["valid_whole"] == (whole <= affordable)
        assert every or steps < 5 or evaluations >= 5 - (steps < 20)
    else:
        assert chosen["valid_whole"]


def test_what_is_given_is_kept() -> None:
    given_ = {"eval_every": 7, "valid_tokens": 3, "valid_whole": False}
    assert validation_settings(100, 100, 10**9, given_, None) == given_


def test_a_short_validation_text_is_scored_whole_each_time() -> None:
    chosen = validation_settings(100, 64, 4000, {}, None)
    assert chosen == {"eval_every": 10, "valid_tokens": None, "valid_whole": True}


@pytest.mark.parametrize(
    ("given_", "tokens"),
    [
        ({"eval_every": 39}, FEWEST_TOKENS),
        ({"eval_every": 40}, None),
        ({"eval_every": 99, "valid_whole": False}, FEWEST_TOKENS),
        ({"eval_every": 40, "valid_tokens": 7}, 7),
    ],
    ids=str,
)
def test_what_is_scored_once_at_the_end_is_scored_whole(
    given_: dict[str, Any], tokens: int | None
) -> None:
    chosen = validation_settings(40, 64, 10**6, given_, None)
    assert chosen["valid_tokens"] == tokens


def test_the_best_model_is_scored_on_the_whole_at_the_end(tmp_path: Path) -> None:
    events = run(tmp_path, **SETTINGS)
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    assert {event.score.tokens for event in evaluated} == {20}
    (found,) = (event for event in events if isinstance(event, ScoredWhole))
    best = min(evaluated, key=lambda event: event.score.nats)
    saved, data = load_model(tmp_path), read()
    model = from_weights(saved.config, saved.weights)
    expected = evaluate(model, saved.tokenizer, data.valid, ScoringProtocol.of(data.valid))
    assert found.step == best.step == saved.about["step"]
    assert found.score.tokens == len(data.valid.ids)
    assert found.score.nats == pytest.approx(expected.nats)
    assert saved.about["valid"] == found.score.to_dict()
    assert saved.about["valid_part"] == best.score.to_dict()
    summary = next(event for event in events if isinstance(event, Finished)).summary
    assert summary["valid_nats_per_token"] == pytest.approx(expected.nats_per_token)
    assert summary["valid_bits_per_char"] == pytest.approx(expected.bits_per_char)


def test_a_finished_run_is_not_scored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path, **SETTINGS)
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns

    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("charrnn.training.whole_score.score_unless_stopped", never)
    again = run(tmp_path, **SETTINGS)
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before
    assert [type(event) for event in again] == [ScoredWhole, Finished]
    assert again[-1].summary["valid_nats_per_token"] == first[-1].summary["valid_nats_per_token"]  # type: ignore[union-attr]


def test_the_whole_can_be_left_out(tmp_path: Path) -> None:
    events = run(tmp_path, **SETTINGS, valid_whole=False)
    assert not any(isinstance(event, ScoredWhole) for event in events)
    assert load_model(tmp_path).about["valid"]["tokens"] == 20


def test_the_part_is_the_same_in_all_evaluations_and_after_a_resume(tmp_path: Path) -> None:
    with run_in(tmp_path, **SETTINGS) as one:
        first = one.trainer.valid.ids.tolist()
        one.save()
    with run_in(tmp_path, **SETTINGS) as again:
        assert again.trainer.valid.ids.tolist() == first
