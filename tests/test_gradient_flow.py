"""How far back gradients flow.

Against products of Jacobians, and on networks in which the answer is known.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Terminal
from models import perturbed
from small_runs import OPTIONS, TEXT

from charrnn.api import load
from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.errors import TextError, UsageError
from charrnn.evaluation.gradient_flow import GradientFlow, measure_gradient_flow
from charrnn.evaluation.retention import Retention, time_constant
from charrnn.model.network import CharRNN, build
from charrnn.terminal.plots import flow_rows, lag_table, plot, verdict

VOCAB, HIDDEN, LAGS = 5, 4, 12
IDS = np.random.default_rng(1).integers(0, VOCAB, 60)


def model_of(cell: str, **settings: Any) -> CharRNN:
    """A small float64 model, with no weight at a start value that would hide a mistake."""
    config = ModelConfig(
        vocab_size=VOCAB, cell=cell, hidden_size=HIDDEN, embedding_size=3, **settings
    )
    return perturbed(build(config, seed=1).double())


def linear_model(recurrent: np.ndarray) -> CharRNN:
    """An Elman network whose relu never cuts anything off, since no weight is negative.

    It is linear.
    """
    model = model_of("rnn", activation="relu", layer_norm=False, num_layers=1)
    with torch.no_grad():
        for parameter in [model.embedding.weight, *model.layers.parameters()]:
            parameter.abs_()
        model.layers[0].cell.get_parameter("rnn.weight_hh_l0").copy_(torch.from_numpy(recurrent))
    return model


def test_a_linear_networks_gradients_are_the_product_of_its_jacobians_exactly() -> None:
    recurrent = np.random.default_rng(3).random((HIDDEN, HIDDEN)) / HIDDEN
    model = linear_model(recurrent)
    flow = measure_gradient_flow(model, IDS[: LAGS + 1], lags=LAGS, places=1)
    w = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    hidden = np.zeros(HIDDEN)
    for symbol in IDS[:LAGS]:
        drive = w["embedding.weight"][symbol] @ w["layers.0.cell.rnn.weight_ih_l0"].T
        hidden = (
            drive
            + w["layers.0.cell.rnn.bias_ih_l0"]
            + w["layers.0.cell.rnn.bias_hh_l0"]
            + recurrent @ hidden
        )
    logits = w["head_weight"] @ hidden + w["head_bias"]
    error = np.exp(logits) / np.exp(logits).sum() - np.eye(VOCAB)[IDS[LAGS]]
    row, expected = error @ w["head_weight"], []
    for _ in range(LAGS):
        row = row @ recurrent
        expected.append(np.linalg.norm(row))
    np.testing.assert_allclose(flow.norms, expected, rtol=1e-12)


@pytest.mark.parametrize("attention", [0, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_norms_are_those_of_the_product_of_jacobians(cell: str, attention: int) -> None:
    model, lags = model_of(cell, attention=attention), 5
    read = 3
    ids = IDS[: 2 * read + lags + 1]
    flow = measure_gradient_flow(model, ids, lags=lags, places=1)
    rows = torch.from_numpy(ids[: read + lags + 1])[None]
    with torch.no_grad():
        _, state = model(rows[:, :read])
    shapes = [part.shape for part in state]

    def unpack(flat: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(
            part.reshape(shape)
            for part, shape in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)
        )

    flat, jacobians = torch.cat([part.flatten() for part in state]), []
    for time in range(read, read + lags):

        def step(flat: torch.Tensor, time: int = time) -> torch.Tensor:
            logits, after = model(rows[:, time : time + 1], unpack(flat))
            loss = torch.nn.functional.cross_entropy(logits[:, -1], rows[:, time + 1])
            return torch.cat([loss[None], *(part.flatten() for part in after)])

        jacobians.append(torch.autograd.functional.jacobian(step, flat))
        flat = step(flat).detach()[1:]
    row, expected = jacobians[-1][0], []
    for jacobian in [*reversed(jacobians[:-1]), None]:
        kept = row.clone()
        if attention:
            kept[-1] = (
                0  # how many states are remembered is a count, by which nothing is differentiated
            )
        expected.append(kept.norm().item())
        row = row if jacobian is None else row @ jacobian[1:]
    np.testing.assert_allclose(flow.norms, expected, rtol=1e-9)


def look_back(model: CharRNN, record: np.ndarray, last: int, lags: int) -> list[float]:
    """The norms for one prediction of a record that is read alone, from the start symbol on."""
    symbols, state, before = [model.start, *record.tolist()], model.initial_state(1), []
    for symbol in symbols[: last + 1]:
        state = tuple(part.detach().requires_grad_() if not before else part for part in state)
        before.append(state)
        logits, state = model(torch.tensor([[symbol]]), state)
    loss = torch.nn.functional.cross_entropy(
        logits[:, -1], torch.tensor(symbols[last + 1 : last + 2])
    )
    found = [
        torch.autograd.grad(loss, states, retain_graph=True, allow_unused=True)
        for states in before[-lags:]
    ]
    return [
        math.sqrt(sum(float(part.square().sum()) for part in parts if part is not None))
        for parts in found[::-1]
    ]


@pytest.mark.parametrize("cell", ["lstm", "mingru"])
def test_nothing_crosses_the_border_of_a_record(cell: str) -> None:
    """Every prediction in every record that is long enough, each record by itself."""
    model, lags = model_of(cell), 4
    starts = np.cumsum([0, 3, 7, 1, 4])
    ids = IDS[: starts[-1] + 5]
    records = np.split(ids, starts[1:])
    assert [len(record) for record in records] == [3, 7, 1, 4, 5]
    expected = [
        look_back(model, record, last, lags)
        for record in records
        for last in range(lags - 1, len(record))
    ]
    flow = measure_gradient_flow(model, ids, starts, lags=lags, places=1000)
    np.testing.assert_allclose(flow.norms, np.mean(expected, axis=0), rtol=1e-9)


def test_far_inside_of_a_record_it_is_as_in_a_text() -> None:
    model, lags, ids = model_of("gru"), 3, IDS[:40]
    near = [look_back(model, ids, last, lags) for last in range(lags - 1, 2 * lags)]
    far = np.array(measure_gradient_flow(model, ids, lags=lags, places=1000).norms)
    flow = measure_gradient_flow(model, ids, np.array([0]), lags=lags, places=1000)
    np.testing.assert_allclose(
        38 * np.array(flow.norms), np.sum(near, axis=0) + 34 * far, rtol=1e-9
    )


@pytest.mark.parametrize(
    ("scale", "explodes", "vanishes"),
    [(0.5, None, 8), (1.0, None, None), (1.5, 7, None)],
    ids=["vanishing", "neither", "exploding"],
)
def test_vanishing_and_exploding_are_found_where_they_are(
    scale: float, explodes: int | None, vanishes: int | None
) -> None:
    """A rotation of the units, times a scale.

    The norm at lag k is scale ** (k - 1) times that at lag 1.
    """
    flow = measure_gradient_flow(
        linear_model(scale * np.roll(np.eye(HIDDEN), 1, axis=0)), IDS, lags=LAGS, places=7
    )
    ratios = np.array(flow.norms) / flow.norms[0]
    np.testing.assert_allclose(ratios, scale ** np.arange(LAGS), rtol=1e-9)
    assert (flow.explodes_at, flow.vanishes_at) == (explodes, vanishes)
    assert flow.singular_values == {"1.h": pytest.approx(scale)}
    said = verdict(flow)
    assert ("explodes" in said, "vanishes" in said) == (explodes is not None, vanishes is not None)
    assert str(explodes or vanishes or LAGS) in said


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "rnn"])
def test_what_a_layer_keeps_is_the_mean_of_its_gate(cell: str) -> None:
    model = model_of(cell, num_layers=1)
    read, lags = 5, 8
    ids = IDS[: 2 * read + lags + 1]
    (gate,) = measure_gradient_flow(model, ids, lags=lags, places=1).gates
    assert gate is not None
    w, kept = {name: value.detach() for name, value in model.layers[0].cell.named_parameters()}, []
    rows, state = torch.from_numpy(ids)[None], model.initial_state(1)
    for time in range(read + lags):
        x, h = model.embedding(rows[:, time]).detach()[0], state[0][0].detach()
        if cell in ("lstm", "gru"):
            sums = (
                w["rnn.weight_ih_l0"] @ x
                + w["rnn.bias_ih_l0"]
                + w["rnn.weight_hh_l0"] @ h
                + w["rnn.bias_hh_l0"]
            )
            kept.append(sums.sigmoid()[HIDDEN : 2 * HIDDEN])
        else:
            one, two = (w["weight"] @ x + w["bias"]).sigmoid()[: 2 * HIDDEN].chunk(2)
            kept.append(1 - one if cell == "mingru" else one / (one + two))
        _, state = model(rows[:, time : time + 1], state)
    units = torch.stack(kept[read:]).mean(0)
    assert gate.mean == pytest.approx(units.mean().item())
    assert gate.slowest == pytest.approx(units.max().item())


def test_the_largest_singular_values_are_those_of_each_gates_block() -> None:
    model = model_of("gru", num_layers=2)
    found = measure_gradient_flow(model, IDS, lags=3).singular_values
    assert list(found) == [f"{layer}.{gate}" for layer in (1, 2) for gate in "rzn"]
    blocks = model.state_dict()["layers.1.cell.rnn.weight_hh_l0"].numpy().reshape(3, HIDDEN, HIDDEN)
    expected = np.linalg.svd(blocks, compute_uv=False)[:, 0]
    np.testing.assert_allclose([found[f"2.{gate}"] for gate in "rzn"], expected)


def test_the_model_is_as_it_was() -> None:
    model = model_of("lstm", dropout=0.5).train()
    first = measure_gradient_flow(model, IDS, lags=5)
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert first == measure_gradient_flow(model.eval(), IDS, lags=5)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("lags", [0, -1, 10_001])
def test_lags_out_of_range_are_refused(lags: int) -> None:
    with pytest.raises(
        UsageError, match=rf"`lags` must be at least 1 and at most 10000, not {lags}\."
    ):
        measure_gradient_flow(model_of("rnn"), IDS, lags=lags)


def test_a_text_that_is_too_short_is_refused() -> None:
    measure_gradient_flow(model_of("rnn"), IDS[:11], lags=10)
    with pytest.raises(
        TextError, match="The text has 10 symbols; looking back 10 steps takes at least 11"
    ):
        measure_gradient_flow(model_of("rnn"), IDS[:10], lags=10)


def test_records_that_are_too_short_are_refused() -> None:
    starts = np.array([0, 20, 30])
    measure_gradient_flow(model_of("rnn"), IDS, starts, lags=30)
    with pytest.raises(
        TextError, match="The longest record has 30 symbols; looking back 31 steps"
    ) as caught:
        measure_gradient_flow(model_of("rnn"), IDS, starts, lags=31)
    assert caught.value.hint == "Give `lags` 30 or fewer."


@pytest.mark.parametrize(("keep", "steps"), [(math.exp(-1), 1), (math.exp(-0.01), 100)])
def test_a_time_constant_is_the_steps_until_a_third_is_left(keep: float, steps: float) -> None:
    assert time_constant(keep) == pytest.approx(steps)
    assert time_constant(0.0) is time_constant(1.0) is None


def made(norms: list[float], **others: Any) -> GradientFlow:
    return GradientFlow(tuple(norms), **{"singular_values": {}, "gates": (None,)} | others)


def test_the_table_shows_powers_of_two_and_the_last_lag() -> None:
    head, rows = lag_table({"one": made([1.0] * 20), "another": made([0.5] * 20)})
    assert head == ["lag", "one", "another"]
    assert [row[0].strip() for row in rows] == ["1", "2", "4", "8", "16", "20"]
    assert rows[0][1:] == ["1.000e+00", "5.000e-01"]


def test_the_plot_falls_where_the_norms_fall() -> None:
    lines = plot({"down": made([10.0**-lag for lag in range(10)]), "flat": made([1.0] * 10)})
    grid = [line[8:].ljust(10) for line in lines if "|" in line]
    assert grid[0] == "o" * 10
    heights = [
        max(row for row, line in enumerate(grid) if line[column] in "*o") for column in range(10)
    ]
    assert heights == sorted(heights)
    assert heights[-1] == len(grid) - 1
    assert lines[0].startswith(" 1e+00 |")
    assert [line.split() for line in lines[-2:]] == [["*", "down"], ["o", "flat"]]


@pytest.mark.parametrize(
    "norms", [[0.0], [0.0] * 5, [1.0], [1.0, 0.0, 1e-300], [1e300] * 70], ids=str
)
def test_odd_norms_are_plotted_too(norms: list[float]) -> None:
    assert all(len(line) < 100 for line in plot({"odd": made(norms)}))
    assert verdict(made(norms))


def test_gates_are_told_with_their_time_constants() -> None:
    flow = made([1.0], gates=(Retention(0.9, 1.0),), singular_values={"1.f": 1.25})
    assert [line for _, line in flow_rows(flow)[1:]] == [
        "0.900 of its state (time constant 9.5 steps), its slowest unit 1.000 (for ever)",
        "f 1.25 (largest singular value of the recurrent matrix)",
    ]


def test_where_no_gate_says_what_is_kept_nothing_is_told() -> None:
    flow = measure_gradient_flow(model_of("rnn", num_layers=2), IDS, lags=3)
    assert flow.gates == (None, None)
    assert flow.to_dict()["gates"] == [None, None]
    assert [name for name, _ in flow_rows(flow)] == ["gradient", "layer 1 norm", "layer 2 norm"]


def test_the_command_shows_models_side_by_side(
    charrnn: Terminal, model: Path, text: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes((model / "model.safetensors").read_bytes())
    told = charrnn.ok("gradients", str(model), str(other), str(text), "--lags", "20")
    assert told.out.splitlines()[1].split() == ["lag", model.name, "other"]
    assert "layer 1 keeps" in told.out
    facts = json.loads(charrnn.ok("gradients", str(model), str(text), "--lags", "20", "--json").out)
    (flow,) = facts["models"]
    assert (flow["name"], flow["model"]["path"]) == (model.name, str(model))
    assert len(flow["norms"]) == 20
    assert 0 < flow["gates"][0]["mean"] < 1
    assert set(flow["singular_values"]) == {f"1.{gate}" for gate in "ifgo"}


def test_the_command_looks_back_inside_of_records(
    charrnn: Terminal, text: Path, tmp_path: Path
) -> None:
    charrnn.ok(
        "train",
        text,
        "--out",
        tmp_path / "run",
        *OPTIONS,
        "--records",
        "lines",
        "--valid",
        text,
        "--quiet",
    )
    longest = max(len(line) for line in TEXT.splitlines(keepends=True))
    assert charrnn("gradients", tmp_path / "run", text, "--lags", longest + 1).code == 3
    facts = json.loads(
        charrnn.ok("gradients", tmp_path / "run", text, "--lags", longest, "--json").out
    )
    alone = load(tmp_path / "run").gradient_flow(TEXT.splitlines(keepends=True)[0], lags=longest)
    np.testing.assert_allclose(facts["models"][0]["norms"], alone.norms, rtol=1e-4)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("{model}", 2, "There is one path"),
        ("{model} {model} {text}", 2, "is given twice"),
        ("{model} {text} --lags 0", 2, "--lags must be at least 1"),
        ("{model} {text} --lags 5000", 3, "looking back 5,000 steps takes at least 5,001"),
        ("{text} {text}", 4, "is not a safetensors file|is text"),
        ("{model} nowhere.txt", 3, "Cannot read 'nowhere.txt'"),
    ],
)
def test_bad_questions_are_refused(
    words: str, code: int, message: str, charrnn: Terminal, model: Path, text: Path
) -> None:
    result = charrnn("gradients", *words.format(model=model, text=text).split())
    assert result.code == code
    assert re.search(message, result.err)
