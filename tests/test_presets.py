"""What must hold for whatever numbers the presets have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.cells import CELLS
from charrnn.config.fields import declared
from charrnn.config.model import ModelConfig
from charrnn.config.presets import (
    DEFAULT_PRESET,
    DROPOUT,
    PRESETS,
    cell_settings,
    find_preset,
    interpolate,
    max_epochs,
    shape_settings,
    source_settings,
    suitable_dropout,
    suitable_lr,
    suitable_ngram_dropout,
    suitable_ngram_path,
)
from charrnn.config.training import CHOSEN, TrainConfig
from charrnn.errors import UsageError
from charrnn.training.settings import MODEL_FIELDS, TRAIN_FIELDS

EPOCHS = st.floats(0, 1e6)
POINTS = ((1.0, 10.0), (2.0, 20.0), (4.0, 0.0))
# What the help says of a setting's default, if something settles it.
NOTES = {
    name: setting.default_note
    for kind in (TrainConfig, ModelConfig)
    for name, setting in declared(kind).items()
}


@pytest.mark.parametrize(
    ("x", "height"), [(-5, 10), (1, 10), (1.25, 12.5), (2, 20), (3, 10), (3.5, 5), (4, 0), (1e9, 0)]
)
def test_between_points_the_line_is_straight_and_beyond_them_flat(x: float, height: float) -> None:
    assert interpolate(POINTS, x) == pytest.approx(height)


def test_one_point_is_a_flat_line() -> None:
    assert [interpolate(((3.0, 7.0),), x) for x in (0, 3, 9)] == [7, 7, 7]


@given(fewer=EPOCHS, more=EPOCHS)
def test_more_passes_never_mean_less_dropout(fewer: float, more: float) -> None:
    less, much = (suitable_dropout(epochs) for epochs in sorted((fewer, more)))
    assert less <= much


@given(steps=st.tuples(*[st.integers(1, 1 << 40)] * 2), epochs=st.tuples(EPOCHS, EPOCHS))
def test_more_steps_or_passes_never_mean_a_higher_learning_rate(
    steps: tuple[int, int], epochs: tuple[float, float]
) -> None:
    highest, lowest = suitable_lr(1, 0.1), suitable_lr(1 << 40, 100)
    assert lowest <= suitable_lr(max(steps), max(epochs)) <= suitable_lr(min(steps), min(epochs))
    assert suitable_lr(min(steps), min(epochs)) <= highest
    note = NOTES["lr"]
    assert note is not None
    assert note.startswith(f"{lowest:.1g} to {highest:.1g}, ")


@given(epochs=EPOCHS)
def test_dropout_is_always_within_the_settings_range(epochs: float) -> None:
    assert ModelConfig(dropout=suitable_dropout(epochs)).dropout == suitable_dropout(epochs)


def test_the_line_of_dropout_runs_to_the_right() -> None:
    places = [epochs for epochs, _ in DROPOUT]
    assert places == sorted(set(places))


def test_a_text_seen_once_needs_no_dropout_and_one_seen_often_does() -> None:
    assert suitable_dropout(1) == 0
    assert suitable_dropout(100) > 0


def test_more_parameters_for_each_character_need_more_dropout() -> None:
    small, usual, large = (
        suitable_dropout(10, parameters, 1000) for parameters in (100, 1000, 10_000)
    )
    assert 0 < small < usual < large < 1
    assert suitable_dropout(1, 10_000, 1000) == 0  # what is seen once cannot be learned by heart


@pytest.mark.parametrize(
    ("epochs", "parameters", "path"),
    [
        (1, 1000, "both"),
        (10, 1000, "output"),
        (20, 100, "both"),
        (2, 5000, "both"),
        (4, 5000, "output"),
    ],
)
def test_layers_that_could_learn_a_text_by_heart_read_no_ngrams(
    epochs: float, parameters: int, path: str
) -> None:
    assert suitable_ngram_path(epochs, parameters, 1000) == path
    assert suitable_ngram_path(epochs, parameters, 1000, taught=True) == "both"


@given(epochs=EPOCHS)
def test_a_model_with_a_teacher_needs_less_dropout(epochs: float) -> None:
    for suitable in (suitable_dropout, suitable_ngram_dropout):
        assert suitable(epochs, taught=True) <= suitable(epochs)


@pytest.mark.parametrize("cell", CELLS)
def test_what_suits_a_cell_is_a_setting_of_the_model_and_told(cell: str) -> None:
    settings = cell_settings(cell)
    assert ModelConfig(cell=cell, **settings).cell == cell
    assert bool(settings) != CELLS[cell].recurrent
    assert all(cell in NOTES[name] or NOTES[name] == CHOSEN for name in settings)


@pytest.mark.parametrize("cell", CELLS)
def test_a_long_text_is_seen_fewer_times_and_never_less_than_once(cell: str) -> None:
    few, many = max_epochs(10**9, cell), max_epochs(1000, cell)
    assert 1 <= few <= many


def test_presets_are_named_and_each_takes_longer_than_the_one_before() -> None:
    assert list(PRESETS) == ["quick", "standard", "best"]
    budgets = [preset.seconds for preset in PRESETS.values()]
    assert budgets == sorted(budgets)
    assert all(preset.meaning for preset in PRESETS.values())
    assert all(find_preset(name) is preset for name, preset in PRESETS.items())
    assert find_preset(None) is PRESETS[DEFAULT_PRESET]


@pytest.mark.parametrize(
    ("name", "hint"), [("quik", "Did you mean 'quick'?"), ("huge", ""), ("", "")]
)
def test_an_unknown_preset_is_refused_with_the_names_there_are(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="one of quick, standard, best") as caught:
        find_preset(name)
    assert repr(name) in caught.value.message
    assert caught.value.hint == hint


@given(characters=st.integers(2, 10**10))
def test_a_shape_fits_every_text(characters: int) -> None:
    settings = shape_settings(characters)
    shape = {name: value for name, value in settings.items() if name in MODEL_FIELDS}
    rest = {name: value for name, value in settings.items() if name in TRAIN_FIELDS}
    assert settings == shape | rest
    assert ModelConfig(**shape).hidden_size == settings["hidden_size"]
    assert TrainConfig(**rest).batch_size <= characters


@given(shorter=st.integers(2, 10**8), longer=st.integers(2, 10**8))
def test_a_longer_text_never_gets_a_smaller_model(shorter: int, longer: int) -> None:
    less, much = (shape_settings(length) for length in sorted((shorter, longer)))
    assert less["hidden_size"] <= much["hidden_size"]
    assert less["batch_size"] <= much["batch_size"]


def test_the_help_tells_of_each_setting_that_is_settled_here() -> None:
    # or known from the vocabulary
    measured = {"adaptive", "dropout", "ngram_dropout", "steps", "eval_every", "lr"}
    settled = shape_settings(1000).keys() | measured
    assert all(NOTES[name] for name in settled)


def test_few_pairs_of_texts_get_a_small_model_and_others_what_plain_text_gets() -> None:
    small = {"hidden_size": 128, "num_layers": 1}
    for source, characters, expected in (
        ("text", 11_999, {}),
        ("text", 12_000, small),
        ("text", 299_999, small),
        ("text", 300_000, {}),
        ("label", 50_000, {}),
        ("image", 50_000, {}),
    ):
        found = source_settings(source, "text", characters)
        assert found == {"batch_size": 32} | expected
    assert source_settings("text", "label", 50_000)["label_smoothing"] == 0.1
