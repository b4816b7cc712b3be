"""Bytes as text that is about as short as their entropy allows.

Range asymmetric numeral systems (Duda 2013, "Asymmetric numeral systems: entropy coding combining
speed of Huffman coding with compression rate of arithmetic coding"), in lanes that take turns
(Giesen 2014, "Interleaved entropy coders"), so that NumPy can encode all lanes at once. A lane's
state gives off 13 bits at a time, and 13 bits are two of 91 characters. `weights.js` decodes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

LANE = 2048  # bytes in a lane
TOTAL = 12  # bits of the sum of all frequencies
WORD = 13  # bits that a state gives off
LOW = 1 << 16  # a state lies between this and LOW << WORD, less than 2^29
FLUSH = (0, WORD, 2 * WORD)  # a last state as three words
# Printable ASCII that needs no escape in JSON or HTML.
DIGITS = bytes(code for code in range(33, 127) if chr(code) not in '"\\<')

Words = npt.NDArray[np.int64]


def encode(data: bytes) -> dict[str, Any]:
    """Return bytes as JSON values: `length`, `frequencies` of the bytes, and `text`."""
    values = np.frombuffer(data, np.uint8)
    frequencies = _frequencies(values)
    words = _encode(values, frequencies) if len(data) else np.zeros(0, np.int64)
    digits = np.frombuffer(DIGITS, np.uint8)
    text = digits[np.column_stack([words // len(DIGITS), words % len(DIGITS)])].tobytes()
    return {"length": len(data), "frequencies": frequencies.tolist(), "text": text.decode()}


def _frequencies(values: npt.NDArray[np.uint8]) -> Words:
    """Return how often each byte occurs, (256,), at least 1 if it does, scaled to 2^TOTAL."""
    counts = np.bincount(values, minlength=256)
    scaled = (counts << TOTAL) // max(1, len(values))
    scaled[(scaled == 0) & (counts > 0)] = 1
    while scaled.sum() > 1 << TOTAL:
        scaled[scaled.argmax()] -= 1
    scaled[scaled.argmax()] += (1 << TOTAL) - scaled.sum()
    return scaled


def _encode(values: npt.NDArray[np.uint8], frequencies: Words) -> Words:
    """Return the words in the order in which they are decoded: byte n is in lane n % lanes.

    What is decoded first is encoded last.
    """
    starts = np.cumsum(frequencies) - frequencies
    lanes = 1 + (len(values) - 1) // LANE
    states = np.full(lanes, LOW, np.int64)
    words = []
    for begin in reversed(range(0, len(values), lanes)):
        turn = values[begin : begin + lanes]
        own, state = frequencies[turn], states[: len(turn)]
        full = state >= own << (16 - TOTAL + WORD)
        words.append(state[full] & (1 << WORD) - 1)
        state[full] >>= WORD
        state[:] = (state // own << TOTAL) + state % own + starts[turn]
    return np.concatenate([_flushed(states), *reversed(words)])


def _flushed(states: Words) -> Words:
    """Return states as three words each."""
    return np.column_stack([states >> shift & (1 << WORD) - 1 for shift in FLUSH]).ravel()
