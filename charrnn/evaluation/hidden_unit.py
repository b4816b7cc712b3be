"""The value of one hidden unit while a model reads a text (Karpathy, Johnson and Fei-Fei 2015)."""

from collections.abc import Iterator

import numpy as np

from charrnn.config.cells import CELLS
from charrnn.config.fields import check_number
from charrnn.data.encoding import encode_text
from charrnn.data.formats import saved_format
from charrnn.errors import UsageError
from charrnn.storage.blend import Saved, numpy_model
from charrnn.storage.model_file import SavedModel

SCALE_QUANTILE = 0.99  # of the absolute values, which becomes 1


def unit_values(
    saved: Saved, text: str, unit: int, layer: int | None = None
) -> list[tuple[str, float]]:
    """Return the text in pieces, and the unit's value after the model has read each.

    The values are divided by their largest absolute value, without the highest hundredth.

    Args:
        saved: The model.
        text: The text. Each record of a model of records begins with zero state.
        unit: The unit's number, 0 to `hidden_size` - 1.
        layer: The layer's number from 1, the lowest, on; None is the top layer.

    Raises:
        UsageError: There is no such unit or layer, or the model is a blend.
        TextError: The text has no record.
    """
    if not isinstance(saved, SavedModel):
        raise UsageError("`unit` is one model's, not a blend's.", "Name one of its members.")
    config = saved.config
    check_number("unit", unit, low=0, high=config.hidden_size - 1)
    layer = config.num_layers if layer is None else layer
    check_number("layer", layer, low=1, high=config.num_layers)
    place = (layer - 1) * CELLS[config.cell].num_states  # the hidden state comes first
    pieces, values = list[str](), list[float]()
    for piece, value in _read(saved, text, place, unit):
        pieces.append(piece)
        values.append(value)
    largest = float(np.quantile(np.abs(values), SCALE_QUANTILE)) or 1.0
    return [(piece, value / largest) for piece, value in zip(pieces, values, strict=True)]


def _read(saved: SavedModel, text: str, place: int, unit: int) -> Iterator[tuple[str, float]]:
    model, tokenizer = numpy_model(saved), saved.tokenizer
    text_format = saved_format(saved.about)
    encoded = encode_text(tokenizer, text, text_format)
    whole = text if encoded.starts is None else "".join(text_format.units([text]))
    starts = {0} if encoded.starts is None else set(encoded.starts.tolist())
    decoder, end = tokenizer.decoder(), 0
    for position, symbol in enumerate(encoded.ids.tolist()):
        if position in starts:
            _, state = model.step(np.array([model.start]), model.initial_state(1))
        _, state = model.step(np.array([symbol]), state)
        begin, end = end, end + len(decoder.feed(symbol))
        yield whole[begin:end], float(state[place][0, unit])
