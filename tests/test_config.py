"""Every field's range, from the field's own declaration, and the rules between fields."""

import json
import math
import re
from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import tokenizers
from charrnn.config import model, training
from charrnn.config.cells import CELLS
from charrnn.config.dynamic import DynamicConfig
from charrnn.config.fields import Checked, Setting, declared, parts_of
from charrnn.config.model import ModelConfig
from charrnn.config.source import SourceConfig
from charrnn.config.training import TrainConfig
from charrnn.data import batching
from charrnn.errors import UsageError
from charrnn.model.cells import equations
from charrnn.model.cells.fast import FAST
from charrnn.model.cells.layer import ACTIVATIONS, TORCH_MODULES

Kind = type[Checked]
KINDS: tuple[Kind, ...] = (ModelConfig, TrainConfig, DynamicConfig)
FIELDS = [
    (kind, name, setting)
    for kind in KINDS
    for name, setting in declared(kind).items()
    if name not in parts_of(kind)
]
WRONG_TYPES = (None, True, 3, 0.5, "text", [], {})
ALLOWED_TYPES = {int: (int,), float: (float, int), str: (str,), bool: (bool,)}

every_field = pytest.mark.parametrize(
    ("kind", "name", "setting"),
    FIELDS,
    ids=[f"{kind.__name__}-{name}" for kind, name, _ in FIELDS],
)


def types_of(kind: Kind, name: str) -> tuple[type, bool]:
    """Return a field's type, and whether it may be None."""
    hint = get_type_hints(kind)[name]
    found = get_args(hint) or (hint,)
    return next(each for each in found if each is not NoneType), NoneType in found


def make(kind: Kind, name: str, value: Any) -> Checked:
    """Make a configuration with one value that is not the default, and room for it."""
    room = {"seq_len": 1 << 20} if name in ("bptt_stride", "seq_len_start") else {}
    return kind(**room | {name: value})


def finite(*bounds: float) -> list[float]:
    return [bound for bound in bounds if abs(bound) != math.inf]


def numbers_in(message: str) -> list[float]:
    return [float(word) for word in re.findall(r"-?\d[\d.]*(?:e[+-]\d+)?(?=[, ])", message)]


@every_field
def test_a_value_at_the_bound_is_taken(kind: Kind, name: str, setting: Setting) -> None:
    for value in (*finite(setting.low, setting.high), *setting.choices):
        assert getattr(make(kind, name, value), name) == value


@every_field
def test_a_value_out_of_range_is_refused_with_the_range(
    kind: Kind, name: str, setting: Setting
) -> None:
    low, high, above = setting.low, setting.high, setting.above
    wrong = {
        int: [*finite(low - 1, high + 1), 10**400],
        float: [float(low - 1), float(high + 1), above, math.nan, math.inf, -math.inf],
    }
    for value in wrong.get(types_of(kind, name)[0], []):
        with pytest.raises(UsageError) as caught:
            make(kind, name, value)
        message = caught.value.message
        assert message.startswith(f"`{name}` must be ")
        assert f"not {repr(value)[:30]}" in message
        assert numbers_in(message) == pytest.approx(finite(low, above, high), rel=1e-12)


@every_field
def test_a_value_of_the_wrong_type_is_refused(kind: Kind, name: str, setting: Setting) -> None:
    wanted, optional = types_of(kind, name)
    allowed = ALLOWED_TYPES[wanted] + ((NoneType,) if optional else ())
    wrong = [value for value in WRONG_TYPES if type(value) not in allowed]
    assert wrong
    for value in wrong:
        with pytest.raises(UsageError, match=f"^`{name}` must be ") as caught:
            make(kind, name, value)
        assert f"not {value!r}." in caught.value.message


@pytest.mark.parametrize(
    ("kind", "name", "choices"),
    [(kind, name, setting.choices) for kind, name, setting in FIELDS if setting.choices],
)
def test_a_name_that_is_no_choice_is_refused_with_the_choices_and_a_suggestion(
    kind: Kind, name: str, choices: tuple[str, ...]
) -> None:
    choice = max(choices, key=len)
    with pytest.raises(UsageError, match=", ".join(choices)) as caught:
        make(kind, name, choice + "x")
    assert repr(choice + "x") in caught.value.message
    assert caught.value.hint == f"Did you mean {choice!r}?"


def test_a_long_value_is_shown_shortened() -> None:
    with pytest.raises(UsageError) as caught:
        ModelConfig(cell="x" * 10_000)
    assert len(caught.value.message) < 120


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_meaning_and_a_default_within_its_range(kind: Kind) -> None:
    assert declared(kind).keys() == {spec.name for spec in fields(kind)}  # type: ignore[arg-type]
    assert all(setting.meaning for setting in declared(kind).values())
    assert kind() == kind(**kind().to_dict())


def value_of(kind: Kind, name: str, setting: Setting) -> st.SearchStrategy[Any]:
    """Draw any value that a field allows."""
    wanted, optional = types_of(kind, name)
    low, high, above = setting.low, setting.high, setting.above
    if setting.choices:
        return st.sampled_from(setting.choices)
    drawn: st.SearchStrategy[Any] = st.booleans()
    if wanted is int:
        drawn = st.integers(low, None if high == math.inf else high)
    elif wanted is float:
        least = max(low, above)
        drawn = st.floats(
            least,
            None if high == math.inf else high,
            exclude_min=above == least,
            allow_infinity=False,
        )
    elif wanted is str:
        drawn = st.text(min_size=1)
    return st.none() | drawn if optional else drawn


def settings_of(kind: Kind) -> st.SearchStrategy[dict[str, Any]]:
    """Draw any settings that are allowed together."""
    optional = {
        name: value_of(kind, name, setting)
        for name, setting in declared(kind).items()
        if name not in parts_of(kind)
    }
    return st.fixed_dictionaries({}, optional=optional).map(consistent)


def consistent(values: dict[str, Any]) -> dict[str, Any]:
    if values.get("tied"):
        values["hidden_size"] = values["embedding_size"] = values.get("hidden_size", 256)
    if values.get("ngram_embedding"):
        values |= {"ngram_embedding": max(2, values["ngram_embedding"]), "ngram_rows": 100}
    if values.get("records") is not None:
        values["batcher"] = "sequential"
        values.pop("seq_len_start", None)
    if values.get("adaptive"):
        values |= {"tied": False, "vocab_size": max(8, values.get("vocab_size", 8))}
    if values.get("bptt_stride") is not None:
        values |= {"batcher": "sequential", "bptt": "fixed"}
        values["bptt_stride"] = min(values["bptt_stride"], values.get("seq_len", 64))
        values.pop("seq_len_start", None)
    if values.get("seq_len_start") is not None:
        values["bptt"] = "random"
        values["seq_len_start"] = min(values["seq_len_start"], values.get("seq_len", 64))
    return values


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_what_was_written_as_json_reads_back_as_the_same(kind: Kind, data: st.DataObject) -> None:
    made = kind(**data.draw(settings_of(kind)))
    assert kind.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_a_part_is_left_out_where_there_is_none_and_reads_back_where_there_is_one() -> None:
    assert "source" not in ModelConfig().to_dict()
    made = ModelConfig(source=SourceConfig(source="label", source_vocab_size=3))
    values = json.loads(json.dumps(made.to_dict()))
    assert values["source"]["source"] == "label"
    assert ModelConfig.from_dict(values) == made
    with pytest.raises(UsageError, match="expected a table of settings, found int"):
        ModelConfig.from_dict(values | {"source": 3})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_given_takes_its_default(kind: Kind) -> None:
    assert kind.from_dict({}) == kind()


@pytest.mark.parametrize("values", [None, [], "text", 3], ids=repr)
def test_only_a_table_can_be_read_back(values: Any) -> None:
    with pytest.raises(
        UsageError, match=f"expected a table of settings, found {type(values).__name__}"
    ):
        TrainConfig.from_dict(values)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("hiden_size", "Did you mean 'hidden_size'?"), ("zzz", ""), (3, ""), ("x" * 5000, "")],
    ids=["a slip", "nonsense", "no string", "long"],
)
def test_an_unknown_setting_is_named_with_a_suggestion(name: Any, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        ModelConfig.from_dict({name: 1})
    assert str(name)[:60] in caught.value.message
    assert len(caught.value.message) < 120
    assert caught.value.hint == hint


def test_what_is_read_back_is_checked_too() -> None:
    with pytest.raises(
        UsageError, match="`hidden_size` must be at least 1 and at most 16384, not 0"
    ):
        ModelConfig.from_dict({"hidden_size": 0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.1, "hiden_size": 3}, "Unknown setting 'hiden_size'.*Did you mean 'hidden_size'"),
        ({"vocab_size": 30}, "`vocab_size` must be at least 260 and at most 1048576, not 30"),
        ({"hidden_size": 8, "lr": -0.1}, "`lr` must be greater than 0 .* not -0.1"),
        ({"layer_norm": 1}, "`layer_norm` must be true or false, not 1"),
    ],
    ids=["a slip", "fewer than bytes", "out of range", "wrong type"],
)
def test_a_persons_settings_are_checked_one_by_one(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.compile(message, re.DOTALL)):
        training.check_settings(settings)


def test_a_persons_settings_may_leave_open_what_they_depend_on() -> None:
    training.check_settings(
        {"tied": True, "hidden_size": 96, "bptt_stride": 100, "patience": None, "lr": 1}
    )


def test_tied_weights_need_equal_sizes() -> None:
    with pytest.raises(
        UsageError, match=r"`embedding_size` \(64\) to equal `hidden_size` \(96\)"
    ) as caught:
        ModelConfig(tied=True, embedding_size=64, hidden_size=96)
    assert caught.value.hint == "Try `embedding_size` 96."
    assert ModelConfig(tied=True, embedding_size=96, hidden_size=96).tied


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seq_len": 8, "bptt_stride": 9}, "`bptt_stride` 9 must be at most `seq_len` 8"),
        ({"seq_len": 8, "seq_len_start": 9}, "`seq_len_start` 9 must be at most `seq_len` 8"),
        ({"seq_len_start": 9, "bptt": "full"}, "`seq_len_start` needs `bptt` fixed or random"),
        (
            {"seq_len_start": 9, "records": "lines"},
            "`seq_len_start` cannot be used with `records`",
        ),
        ({"seq_len_start": 9, "bptt_stride": 9}, "`seq_len_start` needs `bptt` fixed or random"),
        (
            {"bptt_stride": 8, "batcher": "random"},
            "`bptt_stride` needs `batcher` sequential and `bptt` fixed",
        ),
        (
            {"bptt_stride": 8, "bptt": "random"},
            "`bptt_stride` needs `batcher` sequential and `bptt` fixed",
        ),
        (
            {"bptt_stride": 8, "bptt": "full"},
            "`bptt_stride` needs `batcher` sequential and `bptt` fixed",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_lengths_that_make_no_sense_together_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig(**settings)


def test_the_names_are_those_of_the_parts_that_exist() -> None:
    assert declared(ModelConfig)["cell"].choices == tuple(CELLS)
    assert tuple(batching.BATCHERS) == training.BATCHERS
    assert tuple(tokenizers.KINDS) == training.TOKENIZERS
    assert {*model.ACTIVATIONS} <= ACTIVATIONS.keys()


@pytest.mark.parametrize("cell", CELLS)
def test_a_cells_entry_names_gates_and_activations_that_there_are(cell: str) -> None:
    spec = CELLS[cell]
    assert callable(equations(cell).step)
    assert {*spec.gates.values()} <= {*ACTIVATIONS, "activation", "split"}
    assert spec.forget_bias.keys() <= spec.gates.keys()
    assert spec.num_states >= 1


def test_what_is_faster_for_a_cell_is_for_one_that_there_is() -> None:
    assert TORCH_MODULES.keys() <= FAST.keys() <= CELLS.keys()
    assert all(CELLS[cell].recurrent for cell in TORCH_MODULES)
