"""Blends of models of pairs, and their students: each source is read by every member."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from all_pairs import all_pairs, settings_id
from command_line import Terminal
from models import perturbed
from pair_runs import SMALL, lines_of, train
from small_runs import arguments, results

from charrnn import load
from charrnn.api import train as train_events
from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.source import SourceConfig
from charrnn.data.sources import item_shape
from charrnn.errors import UsageError
from charrnn.evaluation.networks import network_of
from charrnn.model.blend import Mixing
from charrnn.model.given_source import GivenSource
from charrnn.model.network import build
from charrnn.model.numpy_model import NumpyModel
from charrnn.storage.blend import SavedBlend, numpy_model
from charrnn.storage.container import load as load_arrays
from charrnn.storage.model_file import SavedModel
from charrnn.tokenizers import CharTokenizer
from charrnn.training.events import RunEvent, Saved

ROWS, TIME, SYMBOLS = 3, 4, 7
TOKENIZER = CharTokenizer("\nabc")
GRID = all_pairs(
    [{"source_attention": kind} for kind in ("additive", "dot", "none")],
    [{"cell": cell} for cell in CELLS],
    [{"bidirectional": True}, {"bidirectional": False}],
    [{"attention": 0}, {"attention": 3}],
)
NEIGHBOURS = list(pairwise([*GRID, GRID[0]]))
STUDENTS = [("text", "text"), ("text", "label"), ("label", "text"), ("image", "text")]


def saved_of(kind: dict[str, Any], **settings: Any) -> SavedModel:
    """A model that was not trained, of records with a source."""
    own = {name: one for name, one in settings.items() if name in ("cell", "attention", "seed")}
    rest = {name: one for name, one in settings.items() if name not in own}
    seed = own.pop("seed", 1)
    config = ModelConfig(
        vocab_size=TOKENIZER.size,
        hidden_size=5 + seed,
        embedding_size=4,
        source=SourceConfig(**kind | rest),
        **own,
    )
    network = perturbed(build(config, seed=seed))
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return SavedModel(config, TOKENIZER, weights, {}, f"{seed:064x}")


def blend_of(*members: SavedModel, weights: tuple[float, ...]) -> SavedBlend:
    return SavedBlend(("a",) * len(members), members, Mixing(weights), TOKENIZER)


def step_by_step(model: GivenSource, ids: np.ndarray) -> np.ndarray:
    """Return the probabilities after each symbol."""
    state, rows = model.initial_state(1), []
    for symbol in ids:
        logits, state = model.step(np.array([symbol]), state)
        own = np.exp(logits[0].astype(np.float64) - logits.max())
        rows.append(own / own.sum())
    return np.array(rows)


def some_ids() -> np.ndarray:
    ids = np.random.default_rng(2).integers(0, TOKENIZER.size, TIME)
    ids[0] = TOKENIZER.size
    return ids


@pytest.mark.parametrize("settings", NEIGHBOURS, ids=lambda two: settings_id(two[0]))
@torch.no_grad()
def test_each_member_reads_the_source(settings: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """In NumPy, and in torch in a padded batch, as the mean that is written out here."""
    kind = {"source": "text", "source_vocab_size": SYMBOLS}
    members = [saved_of(kind, seed=n, **one) for n, one in enumerate(settings, 1)]
    blend, ids = blend_of(*members, weights=(0.3, 0.7)), some_ids()
    sources = [np.array([3, 1, 6, 2]), np.array([5, 5]), np.array([0, 4, 1])]
    padded = torch.zeros(ROWS, 4, dtype=torch.int64)
    for row, source in zip(padded, sources, strict=True):
        row[: len(source)] = torch.from_numpy(source)
    network = network_of(blend)
    begun = network.begin(padded, torch.tensor([4, 2, 3]))
    logits, _ = network(torch.from_numpy(ids).expand(ROWS, -1), begun)
    for row, source in enumerate(sources):
        alone = [
            step_by_step(GivenSource.of(NumpyModel(one.config, one.weights), source), ids)
            for one in members
        ]
        expected = 0.3 * alone[0] + 0.7 * alone[1]
        given = GivenSource.of(numpy_model(blend), source)
        np.testing.assert_allclose(step_by_step(given, ids), expected, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(logits[row].exp(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["label", "image", "features"])
def test_sources_of_every_kind_are_read_by_all(kind: str) -> None:
    what: dict[str, Any] = {
        "label": {"source": "label", "source_vocab_size": SYMBOLS},
        "image": {"source": "image", "image_size": "19x10"},
        "features": {"source": "image", "feature_size": 9},
    }[kind]
    members = [saved_of(what, seed=number) for number in (1, 2)]
    rng = np.random.default_rng(1)
    values = {
        "label": np.eye(SYMBOLS, dtype=np.float32)[2],
        "image": rng.integers(0, 256, item_shape(members[0].config.source or SourceConfig())),
        "features": rng.normal(size=(5, 9)).astype(np.float32),
    }[kind]
    alone = [
        step_by_step(GivenSource.of(NumpyModel(one.config, one.weights), values), some_ids())
        for one in members
    ]
    blend = numpy_model(blend_of(*members, weights=(0.5, 0.5)))
    found = step_by_step(GivenSource.of(blend, values), some_ids())
    np.testing.assert_allclose(found, np.mean(alone, axis=0), rtol=1e-4, atol=1e-7)


def test_the_alignment_is_the_mean_of_those_members_that_attend() -> None:
    kind, source = {"source": "text", "source_vocab_size": SYMBOLS}, np.array([3, 1, 6, 2])
    members = [
        saved_of(kind, seed=number, source_attention=attention)
        for number, attention in enumerate(("additive", "none", "dot"), 1)
    ]
    each = [GivenSource.of(NumpyModel(one.config, one.weights), source) for one in members]
    alone = [one.alignment(some_ids()) for one in each]
    blend = GivenSource.of(numpy_model(blend_of(*members, weights=(0.2, 0.5, 0.3))), source)
    expected = (0.2 * alone[0] + 0.3 * alone[2]) / 0.5
    np.testing.assert_allclose(blend.alignment(some_ids()), expected, rtol=1e-5)


# --- as a user


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models of pairs; nobody may change it."""
    folder = tmp_path_factory.mktemp("models")
    for name, kind, target, more in (
        ("a", "text", "text", {}),
        ("b", "text", "text", {"seed": 2, "source_cell": "gru", "source_attention": "none"}),
        ("c", "text", "label", {"steps": 60}),
        ("d", "text", "label", {"steps": 60, "seed": 2}),
        ("other", "text", "text", {"valid_fraction": 0.2}),
        ("bytes", "text", "text", {"source_tokenizer": "byte"}),
        ("label", "label", "text", {}),
        ("image", "image", "text", {"image_size": "12x8"}),
        ("larger", "image", "text", {"image_size": "16x8"}),
    ):
        (folder / name).mkdir()
        train(folder / name, kind, target, **more)
    return folder


def path(models: Path, *names: str) -> str:
    return "+".join(str(models / name / "run") for name in names)


def pairs(models: Path, name: str) -> Path:
    return models / name / "pairs.tsv"


def test_a_blend_is_scored_by_the_mean_of_its_members(models: Path, charrnn: Terminal) -> None:
    def bits(*names: str) -> np.ndarray:
        words = ["eval", path(models, *names), pairs(models, "a"), "--by-token", "--json"]
        lines = charrnn.ok(*words).out.splitlines()
        found = [json.loads(line) for line in lines]
        return np.array([one["bits"] for one in found])

    expected = -np.log2((2 ** -bits("a") + 2 ** -bits("b")) / 2)
    np.testing.assert_allclose(bits("a", "b"), expected, rtol=1e-4, atol=1e-4)


def test_a_blend_with_itself_writes_what_it_writes_alone(models: Path, charrnn: Terminal) -> None:
    for words in (["--source", "sun"], ["--source", "rain", "--seed", "3"]):
        alone, both = (
            charrnn.ok("sample", path(models, *names), *words).out for names in ("a", "aa")
        )
        assert alone == both
    report = json.loads(charrnn.ok("eval", path(models, "a", "a"), "--json").out)
    alone = json.loads(charrnn.ok("eval", path(models, "a"), "--json").out)
    assert report["measures"] == alone["measures"]
    assert report["score"]["nats"] == pytest.approx(alone["score"]["nats"], rel=1e-5)
    assert "blend:linear" in report["signature"]


def test_what_a_blend_held_out_is_what_all_its_members_held_out(
    models: Path, charrnn: Terminal
) -> None:
    found = json.loads(charrnn.ok("eval", path(models, "a", "b"), "--beam", 0, "--json").out)
    assert found["training"]["is_validation_text"]
    refused = charrnn("eval", path(models, "a", "other"))
    assert (refused.code, "held out different texts" in refused.err) == (3, True), refused.err


def test_labels_of_a_blend_are_the_mean_of_its_members(models: Path, charrnn: Terminal) -> None:
    def labels(*names: str) -> dict[str, float]:
        words = ["sample", path(models, *names), "--source", "bird sea", "--json"]
        return dict(json.loads(charrnn.ok(*words).out)["labels"])

    both, one, other = labels("c", "d"), labels("c"), labels("d")
    for label, probability in both.items():
        assert probability == pytest.approx((one[label] + other[label]) / 2, abs=1e-5)
    accuracy = charrnn.ok("eval", path(models, "c", "d"), pairs(models, "c")).out
    assert "accuracy" in accuracy


def test_attention_of_a_blend_is_shown(models: Path, charrnn: Terminal) -> None:
    shown = charrnn.ok("sample", path(models, "b", "a"), "--source", "sun", "--show-attention").out
    assert shown.splitlines()[1].split() == ["s", "u", "n", "\u21b5"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "bytes"), "The symbols of the sources of"),
        (("a", "label"), "from a text"),
        (("image", "larger"), "from a picture of size 16x8"),
        (("a", "c"), "a char tokenizer"),
    ],
)
def test_members_that_read_other_sources_are_refused(
    names: tuple[str, str], message: str, models: Path, charrnn: Terminal
) -> None:
    refused = charrnn("sample", path(models, *names), "--source", "sun")
    assert (refused.code, message in refused.err) == (2, True), refused.err
    assert refused.err.count("\n") <= 2


# --- students


def learn(
    folder: Path, kind: str, target: str = "text", until: int | None = None, **given: Any
) -> list[RunEvent]:
    """Train on pairs in a folder, until a step if one is given, as if it was killed then."""
    folder.mkdir(exist_ok=True)
    (folder / "pairs.tsv").write_text("".join(lines_of(kind, target, folder)))
    asked = SMALL | {"source": kind, "target": target, "save_every": 1} | given
    events: Iterator[RunEvent] = train_events(folder / "pairs.tsv", out=folder / "run", **asked)
    taken = []
    for event in events:
        taken.append(event)
        if isinstance(event, Saved) and event.step == until:
            break
    return taken


@pytest.mark.parametrize(("kind", "target"), STUDENTS)
def test_members_and_their_student_end_alike_however_often_they_are_killed(
    kind: str, target: str, tmp_path: Path
) -> None:
    given = {"members": 2, "steps": 4, "eval_every": 2, "dropout": 0.2, "keep_members": True}
    learn(tmp_path / "whole", kind, target, **given)
    for step in (1, 3, 2):
        learn(tmp_path / "parts", kind, target, until=step, **given)
    learn(tmp_path / "parts", kind, target, **given)
    for run in ("run", "run/members/1", "run/members/2"):
        assert results(tmp_path / "whole" / run) == results(tmp_path / "parts" / run)
    student = load(tmp_path / "whole" / "run")
    members = load("+".join(str(tmp_path / "whole" / "run" / "members" / n) for n in "12"))
    assert student.saved.about["teachers"] == [one.sha256 for one in members.saved.members]


def test_a_teacher_without_weight_changes_no_bit_and_one_with_weight_does(
    models: Path, tmp_path: Path
) -> None:
    found = []
    teacher = path(models, "a", "b")
    for number, more in enumerate(
        ({}, {"teacher": teacher, "teacher_weight": 0.0}, {"teacher": teacher})
    ):
        learn(tmp_path / str(number), "text", steps=3, **more)
        arrays, _ = load_arrays(tmp_path / str(number) / "run" / "last.safetensors")
        found.append({name: one for name, one in arrays.items() if name.startswith("model.")})
    alone, unweighted, taught = found
    assert all(np.array_equal(alone[name], one) for name, one in unweighted.items())
    assert not np.array_equal(alone["model.head_bias"], taught["model.head_bias"])


def test_a_student_that_hears_only_its_teacher_comes_to_it(models: Path, tmp_path: Path) -> None:
    """With weight 1 the targets do not count: they are shuffled, and the teacher is still learned.

    The distance to the teacher is measured on its own pairs, per token.
    """
    folder = tmp_path / "student"
    folder.mkdir()
    lines = [line.split("\t") for line in lines_of("text", "label", folder)]
    targets = [target for _, target in lines][::-1]
    both = zip(lines, targets, strict=True)
    shuffled = "".join(f"{source}\t{target}" for (source, _), target in both)
    (folder / "pairs.tsv").write_text(shuffled)
    teacher = load(models / "c" / "run")
    options = SMALL | {"source": "text", "target": "label", "teacher_weight": 1.0, "steps": 150}
    options |= {"label_smoothing": 0.0, "teacher": models / "c" / "run"}
    list(train_events(folder / "pairs.tsv", out=folder / "run", **options))
    student = load(folder / "run" / "last.safetensors")
    sources = sorted({source for source, _ in lines})

    def late(model: Any, source: str) -> float:
        generator = model.given(source).generator
        logits, _ = generator.model.step(
            np.array([generator.model.start]), generator.model.initial_state(1)
        )
        return float(1 / (1 + np.exp(logits[0][0] - logits[0][1])))

    gaps = [abs(late(teacher, source) - late(student, source)) for source in sources]
    spread = np.std([late(teacher, source) for source in sources])
    assert np.mean(gaps) < spread / 4


def test_the_symbols_of_source_and_target_are_the_teachers(
    models: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    (tmp_path / "few.tsv").write_text("sun\tnus\nmoon\tnoom\nrain\tniar\n" * 5)
    options = arguments(**SMALL | {"source": "text", "steps": 2})
    words = ["train", tmp_path / "few.tsv", *options, "--out", tmp_path / "run"]
    charrnn.ok(*words, "--teacher", path(models, "bytes"))
    student, teacher = load(tmp_path / "run").saved, load(models / "bytes" / "run").saved
    assert student.tokenizer == teacher.tokenizer
    assert student.source_tokenizer == teacher.source_tokenizer


@pytest.mark.parametrize(
    ("teacher", "options", "message"),
    [
        ("label", ["--source", "text"], "--source cannot differ from the --teacher model's, label"),
        ("c", ["--source", "text"], "--target cannot differ from the --teacher model's, label"),
        ("a", [], "The texts of the --teacher depend on a source"),
        (
            "a",
            ["--source", "text", "--source-tokenizer", "byte"],
            "--source-tokenizer cannot differ from the --teacher model's, char",
        ),
    ],
)
def test_a_teacher_of_other_pairs_is_refused(
    teacher: str, options: list[str], message: str, models: Path, charrnn: Terminal, tmp_path: Path
) -> None:
    own = path(models, teacher)
    words = ["train", pairs(models, "a"), "--out", tmp_path / "run", "--teacher", own]
    refused = charrnn(*words, *options)
    assert (refused.code, message in refused.err) == (2, True), refused.err


def test_a_teacher_without_a_source_is_refused(
    models: Path, charrnn: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("sun moon\n" * 60)
    list(train_events(tmp_path / "text.txt", out=tmp_path / "plain", **SMALL | {"steps": 1}))
    words = ["train", pairs(models, "a"), "--source", "text", "--out", tmp_path / "run"]
    refused = charrnn(*words, "--teacher", tmp_path / "plain")
    assert "The texts of the --teacher do not depend on a source" in refused.err


def test_a_model_to_start_from_must_read_as_the_teacher_does(models: Path, tmp_path: Path) -> None:
    given = {"init_from": models / "a" / "run", "teacher": path(models, "bytes")}
    with pytest.raises(UsageError, match="reads sources in other symbols"):
        learn(tmp_path / "x", "text", **given)


def test_a_model_to_start_from_must_read_pictures_of_the_teachers_size(
    models: Path, tmp_path: Path
) -> None:
    given = {"init_from": models / "image" / "run", "teacher": path(models, "larger")}
    with pytest.raises(UsageError, match=r"reads a picture of size 16x8, .* of size 12x8"):
        learn(tmp_path / "x", "image", image_size="12x8", **given)


def test_weights_in_the_name_count_for_pairs(models: Path, charrnn: Terminal) -> None:
    def nats(*names: str) -> float:
        words = ["eval", "+".join(names), pairs(models, "a"), "--beam", 0, "--json"]
        return float(json.loads(charrnn.ok(*words).out)["score"]["nats"])

    one, other = path(models, "a"), path(models, "b")
    mostly = nats(f"{one}:0.999", f"{other}:0.001")
    assert mostly == pytest.approx(nats(one), rel=0.01)
    assert mostly != pytest.approx(nats(one, other), rel=0.01)
