"""Units that were built to follow something are found, and others are not claimed."""

from typing import Any

import numpy as np
import pytest

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.data.encoding import encode_text
from charrnn.data.formats import RecordFormat
from charrnn.evaluation import units
from charrnn.evaluation.units import activations, named_units, properties, symbol_ends
from charrnn.model.network import build
from charrnn.model.numpy_model import NumpyModel
from charrnn.tokenizers import CharTokenizer, train_tokenizer

TEXT = 'He said "yes, of course" (or 12) and left.\n\n    def Foo(x):\n\treturn [x]\n' * 60


def numpy_model(**settings: Any) -> NumpyModel:
    config = ModelConfig(**{"hidden_size": 6, "embedding_size": 5, "layer_norm": False} | settings)
    weights = {name: one.numpy() for name, one in build(config, seed=1).state_dict().items()}
    return NumpyModel(config, weights)


def counter_of(tokenizer: CharTokenizer, character: str) -> NumpyModel:
    """A network of which unit 2 is 1 just after one character, and the others are 0."""
    config = ModelConfig(
        vocab_size=tokenizer.size, cell="rnn", num_layers=1, hidden_size=4, embedding_size=3
    )
    weights = {name: one.numpy() * 0 for name, one in build(config, seed=1).state_dict().items()}
    weights["embedding.weight"][tokenizer.encode(character)[0], 1] = 1
    weights["layers.0.cell.rnn.weight_ih_l0"][2, 1] = 5
    return NumpyModel(config, weights)


def test_a_unit_that_follows_a_property_is_found() -> None:
    text = "3 ab 4c d5 efg " * 200
    tokenizer = CharTokenizer.train([text])
    found = named_units(counter_of(tokenizer, " "), tokenizer, encode_text(tokenizer, text))
    (unit,) = [one for one in found if one.property == "white space"]
    assert (unit.layer, unit.unit) == (0, 2)
    assert unit.correlation == pytest.approx(1, abs=1e-4)
    assert unit.symbols == len(text) // 2


def test_nothing_is_claimed_of_chance() -> None:
    text = "".join(np.random.default_rng(1).choice(list("ab c.D1\n"), 4000))
    tokenizer = CharTokenizer.train([text])
    silent = counter_of(tokenizer, "a")
    for unit in named_units(silent, tokenizer, encode_text(tokenizer, text)):
        assert unit.property in (
            "position in the word",
            "first letter of a word",
        )  # "a" is a letter


@pytest.mark.parametrize("cell", CELLS)
def test_activations_are_those_of_a_serial_pass(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "SEGMENT", 40)
    model = numpy_model(vocab_size=9, cell=cell, num_layers=2)
    ids = np.random.default_rng(1).integers(0, 9, 150)
    found = activations(model, ids)
    _, state = model.step(np.array([model.start]), model.initial_state(1))
    for place, symbol in enumerate(ids):
        _, state = model.step(np.array([symbol]), state)
        expected = units.unit_values(model, state)[0]
        np.testing.assert_allclose(found[place], expected, atol=1e-3)  # states have warmed up


def test_each_record_starts_from_zero() -> None:
    text_format = RecordFormat("\n")
    tokenizer = CharTokenizer.train(["abc\n"])
    text = encode_text(tokenizer, "abc\nb\nabc\n", text_format)
    model = numpy_model(vocab_size=tokenizer.size, num_layers=2)
    values = activations(model, text.ids, text.starts)
    np.testing.assert_allclose(values[:4], values[6:], atol=1e-6)


def test_properties_are_what_their_names_say() -> None:
    tokenizer = CharTokenizer.train([TEXT])
    found = properties(symbol_ends(tokenizer, tokenizer.encode(TEXT)))
    line = TEXT[: TEXT.index("\n")]
    assert [int(one) for one in found["inside double quotes"][: len(line)]] == [
        int(8 <= place < 23) for place in range(len(line))
    ]
    assert found["open brackets"][line.index("1")] == 1
    assert found["open brackets"][line.index("left")] == 0
    assert found["position in the line"][10] == 11
    assert found["position in the word"][5] == 3  # s a i
    assert found["depth of indentation"][TEXT.index("def")] == 4
    assert found["depth of indentation"][TEXT.index("return")] == 8
    assert found["depth of indentation"][TEXT.index("return") + 12] == 0  # after a line feed
    assert found["capital letter"][0] == found["first letter of a word"][0] == 1
    assert found["digit"][line.index("12")] == found["end of a sentence"][len(line) - 1] == 1
    assert not found["white space"][1]


def test_properties_of_symbols_that_are_several_characters_are_those_of_the_last() -> None:
    tokenizer = train_tokenizer("bpe", [TEXT], 300)
    ids = tokenizer.encode(TEXT)
    text, ends = symbol_ends(tokenizer, ids)
    assert text == TEXT
    found = properties((text, ends))
    assert [TEXT[end - 1].isspace() for end in ends] == found["white space"].astype(bool).tolist()
