"""The examples of docs/ run, and say what charrnn itself computes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Terminal
from small_runs import OPTIONS, TEXT

from charrnn.model.numpy_model import NumpyModel
from charrnn.model.shapes import weight_shapes
from charrnn.storage.model_file import load_model
from charrnn.training import metrics

PAGE = (Path(__file__).parents[1] / "docs" / "files.md").read_text(encoding="utf-8")
MORE = ["--num-layers", "2", "--ngram-embedding", "4", "--ngram-path", "both"]
MATCHES = (
    ["--match-window", "0"],
    ["--match-window", "12", "--match-length", "1"],
    ["--match-window", "13", "--match-length", "1"],  # in the example "the " comes again after 13
)
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(params=MATCHES, ids=" ".join)
def folder(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    charrnn: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The current folder, with the files that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    Path("python-docs.txt").write_text(TEXT)
    charrnn.ok("train", "python-docs.txt", "--quiet", *OPTIONS, *MORE, *request.param)
    charrnn.ok("export", "checkpoints/python-docs", "--onnx", "model.onnx")
    return tmp_path


def test_the_examples(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    in_torch, with_onnx, of_metrics = (dict[str, Any]() for _ in range(3))
    for code, names in zip(BLOCKS, (in_torch, with_onnx, of_metrics), strict=True):
        exec(compile(code, "docs/files.md", "exec"), names)
    assert capsys.readouterr().out.strip()

    saved = load_model(folder / "checkpoints" / "python-docs")
    model = NumpyModel(saved.config, saved.weights)
    expected, _ = model.run(in_torch["ids"].numpy(), model.initial_state(1))
    np.testing.assert_allclose(in_torch["logits"].detach().numpy(), expected, atol=1e-4)
    assert len(with_onnx["text"]) == 200
    assert set(with_onnx["text"]) <= set(TEXT)
    assert of_metrics["step"] == 14


def test_the_table_of_weights_has_them_all(folder: Path) -> None:
    saved = load_model(folder / "checkpoints" / "python-docs")
    table = PAGE[PAGE.index("| name |") : PAGE.index("So a model of LSTM")]
    for name in (*weight_shapes(saved.config), "ngrams.weight", "ngrams.weight.rows"):
        *_, last = name.split(".")
        assert f"{last}`" in table or f"`{last}" in table, name


def test_the_schema_is_the_one_in_the_code() -> None:
    listed = re.findall(r"^    ([a-z_]+) ", metrics.__doc__ or "", re.MULTILINE)
    assert listed == [
        "step",
        "loss",
        "lr",
        "grad_norm",
        "tokens",
        "seconds",
        "valid",
        "bits_per_char",
    ]
    for name in listed:
        assert f"| `{name}` |" in PAGE
