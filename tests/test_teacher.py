"""Distillation: a student learns a teacher's probabilities besides the text."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Terminal
from hypothesis import given, settings
from hypothesis import strategies as st
from models import saved
from small_runs import OPTIONS, SETTINGS, TEXT, read, results
from torch.amp.grad_scaler import GradScaler

from charrnn.api import train
from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.batching.base import NO_TARGET, Batch
from charrnn.model.network import build
from charrnn.model.numpy_layers import log_softmax
from charrnn.model.numpy_model import NumpyModel
from charrnn.storage.container import load
from charrnn.storage.model_file import SavedModel, load_model
from charrnn.training.events import RunEvent, Saved
from charrnn.training.memory import memory_bytes
from charrnn.training.step import GradientComputer, Objective
from charrnn.training.teacher import Teacher, distillation_loss
from charrnn.training.trainer import Trainer

TOKENIZER = read().tokenizer
SIZE = 5
SHAPE = ModelConfig(vocab_size=SIZE, hidden_size=6, embedding_size=3, num_layers=1)


def naive_loss(logits: Any, targets: Any, teacher: Any, weight: float, smoothing: float) -> float:
    """Return the loss by its definition, one token and one symbol at a time."""
    total = 0.0
    for rows, wanted, expected in zip(logits, targets, teacher, strict=True):
        for row, target, probabilities in zip(rows, wanted, expected, strict=True):
            if target == NO_TARGET:
                continue
            norm = math.log(sum(math.exp(value) for value in row))
            nats = [norm - value for value in row]
            soft = sum(q * cost for q, cost in zip(probabilities, nats, strict=True))
            hard = (1 - smoothing) * nats[target] + smoothing * sum(nats) / len(nats)
            total += (1 - weight) * hard + weight * soft
    return total


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    weight=st.floats(0, 1),
    rows=st.integers(1, 3),
    smoothing=st.sampled_from([0.0, 0.1]),
)
def test_the_loss_is_its_definition_and_the_gradient_its_slope(
    seed: int, weight: float, rows: int, smoothing: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 4, SIZE))
    targets = rng.integers(SIZE, size=(rows, 4))
    targets[0, 1] = NO_TARGET
    teacher = rng.dirichlet(np.ones(SIZE), size=(rows, 4))
    given = torch.tensor(logits, requires_grad=True)
    loss = distillation_loss(
        given.log_softmax(-1), torch.tensor(targets), torch.tensor(teacher), weight, smoothing
    )
    assert loss.item() == pytest.approx(naive_loss(logits, targets, teacher, weight, smoothing))
    (slope,) = torch.autograd.grad(loss, given)
    place, step = (0, 0, seed % SIZE), 1e-5
    around = []
    for sign in (1, -1):
        moved = logits.copy()
        moved[place] += sign * step
        around.append(naive_loss(moved, targets, teacher, weight, smoothing))
    assert slope[place].item() == pytest.approx((around[0] - around[1]) / (2 * step), abs=1e-6)
    assert not slope[0, 1].any()


def trained(teacher: SavedModel | None, steps: int = 4, **given: Any) -> Trainer:
    data = replace(read(), teacher=teacher)
    shape = replace(SHAPE, vocab_size=data.tokenizer.size)
    chosen: dict[str, Any] = {"batch_size": 4, "seq_len": 12, "steps": steps, "threads": 1}
    config = TrainConfig(**chosen | given)
    one = Trainer(build(shape, 1), data, config, "fp32")
    for _ in range(steps):
        one.train_once()
    return one


CELLS_OF_TEACHERS = ["lstm", "gru", "mingru"]


def teacher_of(**given: Any) -> SavedModel:
    shape = {"hidden_size": 7, "num_layers": 2, "ngram_embedding": 3, "ngram_rows": 16}
    return saved(TOKENIZER, **shape | given)


def weights_of(one: Trainer) -> dict[str, Any]:
    return {name: value.numpy() for name, value in one.model.state_dict().items()}


def test_a_teacher_without_weight_changes_no_bit() -> None:
    alone, taught = trained(None), trained(teacher_of(), teacher_weight=0.0)
    half = trained(teacher_of(), teacher_weight=0.5)
    for name, value in weights_of(alone).items():
        assert np.array_equal(value, weights_of(taught)[name])
    assert not np.array_equal(alone.model.head_bias.detach(), half.model.head_bias.detach())


@pytest.mark.parametrize(
    "given", [{"accumulate": 2}, {"bptt_stride": 4}, {"bptt": "random"}, {"batcher": "random"}]
)
def test_parts_of_a_batch_come_to_the_whole(given: dict[str, Any]) -> None:
    """Accumulated or not, and however windows overlap, teacher and student see the same."""
    whole, parts = (
        trained(teacher_of(cell="gru"), **given | {"accumulate": count}) for count in (1, 2)
    )
    for name, value in weights_of(whole).items():
        np.testing.assert_allclose(value, weights_of(parts)[name], atol=2e-5)


@pytest.mark.parametrize("cell", CELLS_OF_TEACHERS)
def test_the_teacher_reads_on_as_if_it_was_never_interrupted(cell: str) -> None:
    """After some steps, its state is that of the NumPy model after all symbols that were read."""
    known = teacher_of(cell=cell)
    steps = 3
    one = trained(known, steps)
    fresh = trained(known, 0)
    batches = [fresh.batcher.next_batch() for _ in range(steps)]
    assert [batch.starts_stream for batch in batches] == [True, False, False]
    ids = torch.cat([batch.inputs for batch in batches], dim=1).numpy()
    numpy_model = NumpyModel(known.config, known.weights)
    state = numpy_model.initial_state(len(ids))
    for column in ids.T:
        logits, state = numpy_model.step(column, state)
    assert one.carried is not None
    theirs = one.carried[len(one.model.initial_state(1)) :]
    assert len(theirs) == len(state)
    for found, wanted in zip(theirs, state, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)
    teacher = Teacher.of(known, 0.5, torch.device("cpu"))
    probabilities, _ = teacher.probabilities(torch.tensor(ids), None)
    np.testing.assert_allclose(probabilities[:, -1].numpy(), np.exp(log_softmax(logits)), atol=1e-5)


def test_the_teachers_dropout_is_off_and_its_weights_get_no_gradient() -> None:
    known = teacher_of(dropout=0.5)
    network = build(known.config, 1)
    network.train()
    teacher = Teacher(network, 0.5)
    ids = torch.arange(6)[None] % 3
    first, again = (teacher.probabilities(ids, None)[0] for _ in range(2))
    assert torch.equal(first, again)
    assert not first.requires_grad
    assert first.sum(-1).numpy() == pytest.approx(np.ones((1, 6)), abs=1e-6)


def test_a_student_comes_to_a_known_distribution_whatever_the_text_is() -> None:
    """A teacher that always gives the same probabilities: the student gives them, too."""
    wanted = np.array([0.5, 0.2, 0.15, 0.1, 0.05], np.float32)
    network = build(SHAPE, 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.head_bias.copy_(torch.tensor(np.log(wanted)))
    student = build(SHAPE, 2)
    objective = Objective(teacher=Teacher(network, 1.0))
    gradients = GradientComputer(student, GradScaler("cpu", enabled=False), objective=objective)
    optimizer = torch.optim.Adam(student.parameters(), 0.1)
    ids = torch.randint(SIZE, (4, 9), generator=torch.Generator().manual_seed(1))
    batch = Batch(ids[:, :-1], ids[:, 1:], True, 8)
    for _ in range(80):
        loss, _ = gradients.backward(batch, None)
        optimizer.step()
        optimizer.zero_grad()
    found = student(ids)[0].softmax(-1).detach().numpy()
    assert np.abs(found - wanted).max() < 0.02
    assert loss == pytest.approx(-(wanted * np.log(wanted)).sum(), abs=0.01)


def test_the_estimate_of_memory_counts_the_teachers() -> None:
    teacher = replace(SHAPE, hidden_size=64)
    alone = memory_bytes(SHAPE, [(8, 32)])
    once, twice = (memory_bytes(SHAPE, [(8, 32)], 0, [teacher] * count) for count in (1, 2))
    assert 0 < twice - once < once - alone  # one after the other, they use the same memory


# --- as a user


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a text, two models whose blend teaches, and one of words."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "text.txt").write_text(TEXT)
    for name, more in {
        "a": {},
        "b": {"seed": 2, "cell": "gru"},
        "words": {"tokenizer": "word"},
    }.items():
        list(train(folder / "text.txt", out=folder / name, **SETTINGS | more))
    return folder


@pytest.fixture
def student(models: Path, tmp_path: Path) -> Callable[..., list[RunEvent]]:
    """Return a function that trains a student, until a step if one is given."""

    def learn(name: str, until: int | None = None, **given: Any) -> list[RunEvent]:
        teacher = f"{models / 'a'}+{models / 'b'}"
        asked = SETTINGS | {"teacher": teacher, "save_every": 1, "dropout": 0.2} | given
        events = train(models / "text.txt", out=tmp_path / name, **asked)
        taken = list[RunEvent]()
        for event in events:
            taken.append(event)
            if isinstance(event, Saved) and event.step == until:
                break
        events.close()  # as if it was killed
        return taken

    return learn


def test_a_student_that_is_killed_ends_as_if_it_was_not(
    student: Callable[..., list[RunEvent]], tmp_path: Path
) -> None:
    student("whole")
    for step in (1, 4, 11):
        student("parts", step)
    student("parts")
    assert results(tmp_path / "whole") == results(tmp_path / "parts")
    arrays, _ = load(tmp_path / "whole" / "last.safetensors")
    carried = [name for name in arrays if name.startswith("carried.")]
    # Of the student and a teacher (LSTMs) and of a GRU, and each one's last symbols, twice.
    assert len(carried) == 2 + 2 + 1 + 2 * 3


def test_a_run_is_continued_by_its_folder_alone(
    student: Callable[..., list[RunEvent]], tmp_path: Path, charrnn: Terminal
) -> None:
    student("whole")
    student("parts", 5)
    charrnn.ok("train", "--resume", tmp_path / "parts")
    assert results(tmp_path / "whole") == results(tmp_path / "parts")
    shown = charrnn.ok("info", tmp_path / "parts").out
    assert "teacher" in shown
    assert "2 models, weight 0.9" in shown


def test_a_teacher_that_changed_or_is_gone_is_one_line(
    student: Callable[..., list[RunEvent]], models: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    shutil.copytree(models / "a", tmp_path / "teacher")
    student("run", 3, teacher=str(tmp_path / "teacher"))
    model = tmp_path / "teacher" / "model.safetensors"
    model.rename(tmp_path / "kept")
    shutil.copy(models / "b" / "model.safetensors", model)
    result = charrnn("train", "--resume", tmp_path / "run")
    assert (result.code, "--teacher of the run" in result.err) == (4, True), result.err
    shutil.rmtree(tmp_path / "teacher")
    result = charrnn("train", "--resume", tmp_path / "run")
    assert (result.code, result.err.count("\n") <= 2) == (4, True), result.err
    charrnn.ok("train", "--resume", tmp_path / "run", "--teacher", tmp_path / "kept")


def test_the_tokenizer_is_the_teachers(models: Path, tmp_path: Path, charrnn: Terminal) -> None:
    student = charrnn.ok(
        "train", models / "text.txt", "--out", tmp_path / "student", *OPTIONS,
        "--teacher", models / "words", "--json",
    )  # fmt: skip
    assert "word symbols" in student.err
    assert "Teacher lstm 1 x 8, weight 0.9 in the loss" in student.err
    assert json.loads(charrnn.ok("info", tmp_path / "student", "--json").out)["teachers"] == [
        load_model(models / "words").sha256
    ]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--teacher", "a", "--tokenizer", "bpe"],
            2,
            "--tokenizer cannot differ from the --teacher",
        ),
        (["--teacher", "a+words"], 2, "tokenizers of one kind"),
        (["--teacher", "a+nowhere"], 4, "nowhere"),
        (["--teacher", "text.txt"], 4, "text.txt"),
        (["--teacher", "a", "--init-from", "words"], 2, "different vocabularies"),
        (["--teacher", "a", "--teacher-weight", "1.5"], 2, "--teacher-weight must be at least 0"),
        (["--teacher-weight", "0.7"], 2, "--teacher-weight needs --teacher"),
    ],
)
def test_bad_input(
    options: list[str],
    code: int,
    message: str,
    models: Path,
    charrnn: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(models)
    result = charrnn("train", "text.txt", "--out", "refused", "--steps", "1", *options)
    assert (result.code, message in result.err) == (code, True), result.err
    assert result.err.count("\n") <= 2


def test_characters_that_the_teacher_does_not_know_are_named(
    models: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    (tmp_path / "new.txt").write_text(TEXT.replace("cat", "CAT"))
    words = ["--out", tmp_path / "run", *OPTIONS, "--steps", "1", "--teacher", models / "a"]
    shown = charrnn.ok("train", tmp_path / "new.txt", *words).err
    assert "Unknown to the teacher, and so not told apart by its student: 'C' 'A' 'T'" in shown


def test_a_teacher_that_knows_the_held_out_text_is_told(tmp_path: Path, charrnn: Terminal) -> None:
    rng = np.random.default_rng(1)
    text = "".join(rng.choice(list("abcdefgh \n"), 12_000))
    (tmp_path / "text.txt").write_text(text)
    (tmp_path / "other.txt").write_text(text[:200])
    fast = [*OPTIONS, "--steps", "1"]
    other = ["--valid", tmp_path / "other.txt"]
    charrnn.ok("train", tmp_path / "text.txt", "--out", tmp_path / "all", *other, *fast)
    words = ["--teacher", tmp_path / "all", "--out", tmp_path / "run", *fast]
    shown = charrnn.ok("train", tmp_path / "text.txt", *words).err
    assert "The teacher was trained on about 100% of the held-out text" in shown
