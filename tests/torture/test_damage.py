"""Checkpoints that are cut, flipped, zeroed, lengthened or rewritten.

Refused every time, and in one line.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from counting import Amount
from mutate import parts_of

from charrnn.__main__ import run
from charrnn.errors import ModelFileError
from charrnn.storage.container import load
from charrnn.storage.model_file import load_model

KEPT = Path(__file__).parents[1] / "legacy" / "format-1" / "run"
MODEL = (KEPT / "model.safetensors").read_bytes()
STATE = (KEPT / "last.safetensors").read_bytes()
HEADER = 8 + int.from_bytes(MODEL[:8], "little")
FLIPS = {
    "the header's length": 0,
    "the highest byte of the header's length": 7,
    "the header's first byte": 8,
    "a tensor's name": MODEL.index(b"head_bias"),
    "a tensor's dtype": MODEL.index(b"F32"),
    "a tensor's shape": MODEL.index(b'"shape":[') + 9,
    "a tensor's place": MODEL.index(b'"data_offsets":[') + 16,
    "the format": MODEL.index(rb"\"format\":") + 11,
    "the checksum": MODEL.index(rb"\"sha256\":\"") + 13,
    "the configuration": MODEL.index(b"hidden_size") + 14,
    "the vocabulary": MODEL.index(b"acdegh"),
    "the first weight": HEADER,
    "a weight in the middle": (HEADER + len(MODEL)) // 2,
    "the last weight": len(MODEL) - 1,
}

Refuse = Callable[[bytes], None]


@pytest.fixture
def refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Return a function that checks that the commands refuse a model file with these bytes."""
    path = tmp_path / "model.safetensors"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        for words in (
            ["info", str(path)],
            ["info", str(tmp_path), "--json"],
            ["sample", str(path), "--length", "1"],
        ):
            assert run(words) == 4
            out, err = capsys.readouterr()
            first, *hints = err.splitlines()
            assert out == ""
            assert first.startswith(f"charrnn: {path} ")
            assert len(hints) <= 1

    return check


def refused(path: Path, data: bytes, read: Callable[[Path], object]) -> None:
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as caught:
        read(path)
    assert caught.value.message.isprintable()


def test_the_file_itself_is_good(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(MODEL)
    assert run(["info", str(tmp_path)]) == 0
    assert len(load(KEPT / "last.safetensors")[0]) > 20


def test_cut_at_each_byte(
    tmp_path: Path, refuse: Refuse, counts: Counter[str], amount: Amount
) -> None:
    for size in range(0, len(MODEL), amount(97, 1)):
        refuse(MODEL[:size])
        counts["bytes cut"] += 1
    for size in range(0, len(STATE), amount(97, 1)):
        refused(tmp_path / "state", STATE[:size], load)
        counts["bytes cut"] += 1


@pytest.mark.parametrize("where", FLIPS)
def test_a_bit_flipped_in_each_class_of_byte(
    where: str, refuse: Refuse, counts: Counter[str]
) -> None:
    for bit in range(8):
        refuse(flipped(MODEL, 8 * FLIPS[where] + bit))
        counts["bits flipped"] += 1


def test_each_bit_flipped(tmp_path: Path, counts: Counter[str], amount: Amount) -> None:
    for data, read, stride in ((MODEL, load_model, amount(43, 1)), (STATE, load, amount(331, 3))):
        for bit in range(0, 8 * len(data), stride):
            refused(tmp_path / "file", flipped(data, bit), read)
            counts["bits flipped"] += 1


def test_zeroed(refuse: Refuse, counts: Counter[str], amount: Amount) -> None:
    """A file system that has a file's length but not its blocks after a crash fills in zeros."""
    for size in (8, 64, 512, 4096):
        for begin in range(0, len(MODEL), size * amount(23, 1)):
            data = MODEL[:begin] + bytes(min(size, len(MODEL) - begin)) + MODEL[begin + size :]
            if data != MODEL:
                refuse(data)
                counts["files damaged in other ways"] += 1
    refuse(MODEL[:HEADER] + bytes(len(MODEL) - HEADER))
    refuse(bytes(len(MODEL)))


def test_lengthened(refuse: Refuse, counts: Counter[str], amount: Amount) -> None:
    additions = [bytes([byte]) for byte in range(0, 256, amount(37, 1))]
    for more in [*additions, bytes(4096), b"\n", MODEL, STATE]:
        refuse(MODEL + more)
        refuse(more + MODEL)
        counts["files damaged in other ways"] += 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"dtype":"F32"', b'"dtype":"I32"'),
        (b'"dtype":"F32"', b'"dtype":"U32"'),
        (b"head_bias", b"head_bist"),
        (rb"\"hidden_size\":4", rb"\"hidden_size\":5"),
        (rb"\"format\":1", rb"\"format\":2"),
        (b" .acdeghmnorst", b" .acdeghmnorts"),
    ],
)
def test_rewritten_so_that_safetensors_would_take_it(
    old: bytes, new: bytes, refuse: Refuse, counts: Counter[str]
) -> None:
    assert old in MODEL
    refuse(MODEL.replace(old, new, 1))
    counts["files damaged in other ways"] += 1


def test_two_tensors_of_one_shape_exchanged(refuse: Refuse, counts: Counter[str]) -> None:
    names = [name for name, facts in parts_of(MODEL).tensors.items() if facts["shape"] == [4]]
    assert len(names) > 1
    first, second = (f'"{name}"'.encode() for name in names[:2])
    refuse(MODEL.replace(first, b"?", 1).replace(second, first, 1).replace(b"?", second, 1))
    counts["files damaged in other ways"] += 1


def flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]
