import hashlib
import json
import os
import pickle
import random
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from safetensors import numpy as safetensors

from charrnn.config.model import ModelConfig
from charrnn.errors import CharRNNError, DivergedError, MachineError, ModelFileError, UsageError
from charrnn.model.shapes import weight_shapes
from charrnn.storage.container import digest, from_bytes, load, save, to_bytes
from charrnn.storage.model_file import SavedModel, load_model, save_model
from charrnn.tokenizers import CharTokenizer

DTYPES = ["f4", "f8", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
ARRAYS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
        lambda name: name != "__metadata__"
    ),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: np_st.arrays(dtype, np_st.array_shapes(min_dims=0, min_side=0, max_side=4))
    ),
    max_size=4,
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3)
    ),
    max_leaves=8,
)
SMALL = to_bytes(
    {"a": np.arange(3, dtype="f4"), "b": np.array([7], "i8")},
    {"step": 3, "note": 'é"\\ "sha256":"0"'},
)


def small_model(**fields: Any) -> SavedModel:
    config = ModelConfig(
        **({"vocab_size": 3, "hidden_size": 4, "embedding_size": 2, "num_layers": 2} | fields)
    )
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(size=shape).astype("f4") for name, shape in weight_shapes(config).items()
    }
    return SavedModel(config, CharTokenizer("ab"), weights, {"step": 10, "best": 1.25})


def write_model(path: Path, weights: dict[str, Any] | None = None, **metadata: Any) -> Path:
    """Write a model file whose checksum is right and some of whose parts are replaced."""
    model = small_model()
    facts = {
        "config": model.config.to_dict(),
        "tokenizer": model.tokenizer.to_dict(),
        "about": {},
    } | metadata
    save(path, model.weights | (weights or {}), facts)
    return path


def resealed(old: bytes, new: bytes, data: bytes = SMALL) -> bytes:
    """Replace `old` in the header and compute length and checksum anew, as an attacker would."""
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].replace(digest(data).encode(), b"0" * 64).replace(old, new)
    changed = len(header).to_bytes(8, "little") + header + data[8 + size :]
    return changed.replace(b"0" * 64, hashlib.sha256(changed).hexdigest().encode(), 1)


@given(ARRAYS, st.dictionaries(st.text(st.characters()), JSON, max_size=3))
def test_arrays_and_metadata_come_back_as_they_were(
    arrays: dict[str, Any], metadata: dict[str, Any]
) -> None:
    data = to_bytes(arrays, metadata)
    found, facts = from_bytes(data, "file")
    assert facts == metadata
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
        assert found[name].flags.writeable
    assert to_bytes(dict(reversed(arrays.items())), dict(reversed(metadata.items()))) == data


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.arange(9)[::-2],
        np.asfortranarray(np.eye(3)),
        np.arange(3, dtype=">f4"),
    ],
)
def test_an_array_that_does_not_lie_in_order_is_saved_by_its_values(array: Any) -> None:
    found, _ = from_bytes(to_bytes({"a": array}, {}), "file")
    np.testing.assert_array_equal(found["a"], array)


def test_other_programs_can_read_the_arrays() -> None:
    np.testing.assert_array_equal(safetensors.load(SMALL)["a"], [0, 1, 2])


def test_each_flipped_bit_is_noticed() -> None:
    for place in range(len(SMALL)):
        for bit in range(8):
            damaged = bytearray(SMALL)
            damaged[place] ^= 1 << bit
            with pytest.raises(ModelFileError):
                from_bytes(bytes(damaged), "file")


def test_each_cut_and_each_addition_is_noticed() -> None:
    for size in range(len(SMALL)):
        for damaged in (
            SMALL[:size],
            SMALL[:size] + b" " + SMALL[size:],
            SMALL[:size] + SMALL[size + 1 :],
        ):
            with pytest.raises(ModelFileError):
                from_bytes(damaged, "file")
    with pytest.raises(ModelFileError, match="damaged"):
        from_bytes(SMALL + b"\0", "file")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"F32"', b'"I32"'),
        (b'"I64"', b'"F64"'),
        (b'"a"', b'"c"'),
        (b"[3]", b"[1]"),
        (b"step", b"stop"),
    ],
    ids=["dtype", "another dtype", "name", "shape", "metadata"],
)
def test_a_header_that_safetensors_would_accept_is_noticed(old: bytes, new: bytes) -> None:
    assert old in SMALL
    with pytest.raises(ModelFileError, match="damaged"):
        from_bytes(SMALL.replace(old, new, 1), "file")


def test_a_zeroed_region_is_noticed() -> None:
    for size in range(1, 12):
        with pytest.raises(ModelFileError, match="damaged"):
            from_bytes(SMALL[:-size] + bytes(size - 1) + b"\1", "file")
    data = to_bytes({"a": np.ones(100)}, {})
    with pytest.raises(ModelFileError, match="damaged"):
        from_bytes(data[:-800] + bytes(800), "file")


@given(
    st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=9)
)
def test_many_changed_bytes_are_noticed(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(SMALL)
    for place, value in changes:
        damaged[place] = value
    if damaged != SMALL:
        with pytest.raises(ModelFileError):
            from_bytes(bytes(damaged), "file")


@given(st.binary(max_size=60))
def test_any_other_bytes_are_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(ModelFileError) as caught:
        from_bytes(data, "file")
    assert caught.value.message.isprintable()
    assert digest(data) == ""


def test_a_newer_format_is_refused_with_both_versions() -> None:
    newer = SMALL.replace(b'\\"format\\":1', b'\\"format\\":7')
    with pytest.raises(ModelFileError, match=r"format 7.*format 1.*\n.*pip install -U charrnn"):
        from_bytes(newer, "file")


def test_a_safetensors_file_of_another_program_is_named_as_such() -> None:
    for metadata in (None, {"format": "pt"}, {"charrnn": "no envelope"}):
        with pytest.raises(ModelFileError, match="another program"):
            from_bytes(safetensors.save({"a": np.zeros(2)}, metadata), "file")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'\\"metadata\\":{', b'\\"metadatb\\":{'),
        (b'"I64"', b'"I16"'),
        (b'"I64"', b'"F8_E4M3"'),
        (b"\\\\u00e9", b"\\\\uzzzz"),
    ],
    ids=["no metadata", "wrong size", "dtype unknown to NumPy", "broken JSON"],
)
def test_a_right_checksum_does_not_make_a_wrong_file_believed(old: bytes, new: bytes) -> None:
    assert old in SMALL
    with pytest.raises(ModelFileError, match="checksum is right"):
        from_bytes(resealed(old, new), "file")


def test_metadata_nested_beyond_reason_is_refused() -> None:
    with pytest.raises(ModelFileError, match="checksum is right"):
        from_bytes(
            resealed(b'\\"step\\":3', b'\\"step\\":' + b"[" * 100_000 + b"]" * 100_000), "file"
        )


def test_what_the_format_cannot_hold_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.storage.container.MAX_HEADER", 1000)
    with pytest.raises(UsageError, match="1,000"):
        to_bytes({}, {"vocabulary": "x" * 1000})
    with pytest.raises(ValueError, match="JSON"):
        to_bytes({}, {"score": float("nan")})


class Touch:
    """A pickle of this creates a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["model.pt", "model.ckpt", "model.safetensors"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_by_its_content_and_never_opened(
    tmp_path: Path, name: str, protocol: int
) -> None:
    path, trap = tmp_path / name, tmp_path / "created"
    path.write_bytes(pickle.dumps(Touch(trap), protocol))
    with pytest.raises(ModelFileError, match=r"pickle.*run code"):
        load_model(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"To be, or not to be", "is text"),
        ("Größe\n".encode() * 400, "is text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x93NUMPY\x01\x00", "NumPy"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (pickle.dumps({"a": 1}, 0), "pickle"),
        (pickle.dumps([1, 2], 1), "pickle"),
        (bytes(4096), "not a safetensors file"),
    ],
    ids=["empty", "text", "utf-8", "lfs", "numpy", "hdf5", "gzip", "dict 0", "list 1", "zeros"],
)
def test_other_files_are_named(data: bytes, what: str) -> None:
    with pytest.raises(ModelFileError, match=what):
        from_bytes(data, "file")


def test_a_zip_is_named_as_what_pytorch_writes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.safetensors", "w") as file:
        file.writestr("data.pkl", pickle.dumps(1))
    with pytest.raises(ModelFileError, match=r"zip archive.*PyTorch.*run code"):
        load(tmp_path / "model.safetensors")


def test_a_foreign_file_of_any_size_is_refused_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "model.pt").open("wb") as file:
        file.write(b"PK\3\4")
        file.truncate(1 << 42)  # 4 TiB of nothing
    with pytest.raises(ModelFileError, match="zip"):
        load(tmp_path / "model.pt")


def test_loading_takes_at_most_about_twice_the_file(tmp_path: Path) -> None:
    save(tmp_path / "file", {str(number): np.ones(1 << 18, "f4") for number in range(8)}, {})
    tracemalloc.start()
    load(tmp_path / "file")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.1 * (tmp_path / "file").stat().st_size


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ModelFileError, match=kind):
        load(Path("/dev/zero") if kind == "device" else path)


def test_a_link_to_a_model_is_read(tmp_path: Path) -> None:
    save(tmp_path / "file", {}, {"step": 1})
    (tmp_path / "link").symlink_to("file")
    assert load(tmp_path / "link") == ({}, {"step": 1})


def test_a_missing_file_is_named_with_its_nearest_neighbour(tmp_path: Path) -> None:
    (tmp_path / "shakespeare").mkdir()
    with pytest.raises(ModelFileError, match=r"shakspeare: no such file.*\n.*'shakespeare'"):
        load_model(tmp_path / "shakspeare")
    with pytest.raises(ModelFileError, match="no such"):
        load_model(tmp_path / "nowhere" / "model")
    with pytest.raises(ModelFileError, match="has not saved a model"):
        load_model(tmp_path / "shakespeare")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_the_machine_refusing(tmp_path: Path) -> None:
    save(tmp_path / "file", {}, {})
    (tmp_path / "file").chmod(0)
    with pytest.raises(MachineError, match="Permission denied"):
        load(tmp_path / "file")


@pytest.mark.parametrize("where", ["", "model.safetensors"], ids=["run folder", "file"])
def test_a_model_comes_back(tmp_path: Path, where: str) -> None:
    model, path = small_model(), tmp_path / "model.safetensors"
    save_model(path, model)
    found = load_model(tmp_path / where)
    assert (found.config, found.tokenizer, found.about) == (
        model.config,
        model.tokenizer,
        model.about,
    )
    assert list(found.weights) == list(weight_shapes(model.config))
    assert all(
        np.array_equal(found.weights[name], weight) for name, weight in model.weights.items()
    )
    assert found.sha256 == digest(path.read_bytes())
    assert len(found.sha256) == 64


def test_the_same_model_gives_the_same_file(tmp_path: Path) -> None:
    model = small_model()
    shuffled = random.Random(1).sample(sorted(model.weights), len(model.weights))
    save_model(tmp_path / "one", model)
    save_model(
        tmp_path / "two", replace(model, weights={name: model.weights[name] for name in shuffled})
    )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_diverged_model_is_neither_saved_nor_loaded(tmp_path: Path, value: float) -> None:
    model, path = small_model(), tmp_path / "model.safetensors"
    bias = np.array([0, value, 0], "f4")
    with pytest.raises(DivergedError, match="head_bias"):
        save_model(path, replace(model, weights=model.weights | {"head_bias": bias}))
    assert not path.exists()
    with pytest.raises(ModelFileError, match=r"head_bias.*diverged"):
        load_model(write_model(path, {"head_bias": bias}))


def test_a_cell_of_a_newer_version_is_named(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.safetensors", **config_with(cell="mamba"))
    with pytest.raises(
        ModelFileError, match=r"model.safetensors has the cell 'mamba', .*knows rnn, gru"
    ) as caught:
        load_model(path)
    assert "upgrade" in caught.value.hint


def config_with(**fields: Any) -> dict[str, Any]:
    return {"config": small_model().config.to_dict() | fields}


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        (config_with(hidden_size=10**9), "`hidden_size`"),
        (config_with(hidden_size=16384), r"needs float32 \(3, 16384\)"),
        (config_with(num_layers=10**6), "`num_layers`"),
        (config_with(num_layers=64), "layers"),
        (config_with(num_layers=-1), "`num_layers`"),
        (config_with(hidden_size=4.0), "`hidden_size`"),
        (config_with(dropout="much"), "dropout"),
        (config_with(layer_norm=1), "`layer_norm`"),
        (config_with(cell="../../etc/passwd"), "cell"),
        (config_with(vocab_size=10**400), "`vocab_size`"),
        (config_with(secret=1), "secret"),
        ({"config": [1, 2]}, "table"),
        ({"config": None}, "table"),
        ({"tokenizer": {"kind": "telepathy"}}, "telepathy"),
        ({"tokenizer": 7}, "tokenizer"),
        ({"tokenizer": CharTokenizer("abc").to_dict()}, "4 symbols, the network 3"),
        ({"about": "me"}, "not a model"),
        ({"more": 1}, "not a model"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[-40:],
)
def test_a_model_that_contradicts_itself_is_refused(
    tmp_path: Path, metadata: dict[str, Any], what: str
) -> None:
    with pytest.raises(ModelFileError, match=what) as caught:
        load_model(write_model(tmp_path / "file", **metadata))
    assert str(tmp_path / "file") in caught.value.message


@pytest.mark.parametrize(
    ("weights", "what"),
    [
        ({"more": np.zeros(1, "f4")}, "'more'"),
        ({"head_bias": np.zeros(4, "f4")}, r"\(4,\).*\(3,\)"),
        ({"head_bias": np.zeros(3, "f8")}, "float64"),
        ({"head_bias": np.zeros((3, 1), "f4")}, r"\(3, 1\)"),
    ],
    ids=["too many", "shape", "dtype", "rank"],
)
def test_weights_that_the_configuration_does_not_imply_are_refused(
    tmp_path: Path, weights: Any, what: str
) -> None:
    with pytest.raises(ModelFileError, match=what):
        load_model(write_model(tmp_path / "file", weights))


def test_a_training_state_is_not_a_model(tmp_path: Path) -> None:
    save(tmp_path / "last.safetensors", {"a": np.zeros(1)}, {"step": 3})
    with pytest.raises(ModelFileError, match="not a model"):
        load_model(tmp_path / "last.safetensors")


@given(st.dictionaries(st.sampled_from(["config", "tokenizer", "about"]), JSON, min_size=1))
def test_no_metadata_raises_anything_but_the_projects_own_errors(
    tmp_path_factory: pytest.TempPathFactory, metadata: dict[str, Any]
) -> None:
    path = write_model(tmp_path_factory.mktemp("model") / "file", **metadata)
    if metadata.keys() == {"about"} and isinstance(metadata["about"], dict):
        assert load_model(path).about == metadata["about"]
    else:
        with pytest.raises(CharRNNError):
            load_model(path)
