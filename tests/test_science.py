"""What is known of these networks beforehand, at small size.

`tests/benchmarks/cells.py` has the full ones.
"""

import numpy as np
import pytest
from science import DISTRACTORS, SYMBOLS, Source, excess, recall, recall_batch

from charrnn.config.cells import CELLS
from charrnn.config.presets import cell_settings

GATED = [cell for cell in CELLS if cell != "rnn"]
SOURCE = Source.drawn(6, seed=1)


def test_a_sequence_shows_a_symbol_then_distractors_then_asks() -> None:
    rows, shown = recall_batch(50, 7, np.random.default_rng(1))
    assert rows.shape == (50, 9)
    assert (rows[:, 0] == shown).all()
    assert (rows[:, 0] < SYMBOLS).all()
    assert (rows[:, 1:-1] >= SYMBOLS).all()
    assert (rows[:, 1:-1] < SYMBOLS + DISTRACTORS).all()
    assert (rows[:, -1] == SYMBOLS + DISTRACTORS).all()


@pytest.mark.parametrize("cell", GATED)
def test_gated_cells_recall_a_symbol_over_ten_distractors(cell: str) -> None:
    assert recall(10, 150, cell=cell, forget_bias=3.0) >= 0.99


def test_the_elman_network_does_not() -> None:
    assert recall(10, 150, cell="rnn") < 0.5


def test_a_sources_entropy_is_the_mean_of_what_its_text_costs() -> None:
    text = SOURCE.write(200_000, seed=3)
    states = np.frombuffer(text.encode(), np.uint8) - ord("a")
    costs = -np.log(SOURCE.rows[states[:-1], states[1:]])
    assert SOURCE.entropy == pytest.approx(costs.mean(), rel=0.005)
    assert Source(np.full((4, 4), 0.25)).entropy == pytest.approx(np.log(4))


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_comes_within_one_percent_of_a_markov_sources_entropy(cell: str) -> None:
    settings = {name: value for name, value in cell_settings(cell).items() if name == "forget_bias"}
    assert -0.001 < excess(SOURCE, 30_000, 300, cell=cell, **settings) < 0.01
