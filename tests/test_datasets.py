"""Datasets without a network: the opener is a fake, and its text has a hash of its own."""

import hashlib
import io
import json
from http.client import IncompleteRead
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import URLError

import pytest
from command_line import Terminal

from charrnn.data import datasets
from charrnn.data.datasets import (
    DATASETS,
    SHAKESPEARE_SHA256,
    SHAKESPEARE_URL,
    python_docs,
    write_dataset,
)
from charrnn.data.python_prose import paragraphs
from charrnn.errors import MachineError, UsageError

PLAY = b"First Citizen:\nBefore we proceed any further, hear me speak.\n"


@pytest.fixture
def small_play(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `PLAY` be the text that is expected."""
    monkeypatch.setattr(datasets, "SHAKESPEARE_SHA256", hashlib.sha256(PLAY).hexdigest())
    monkeypatch.setattr(datasets, "SHAKESPEARE_BYTES", len(PLAY))


def serve(data: bytes) -> Any:
    def opener(url: str, timeout: float) -> BinaryIO:
        assert (url, timeout) == (SHAKESPEARE_URL, 30)
        return io.BytesIO(data)

    return opener


def fail(error: Exception) -> Any:
    def opener(url: str, timeout: float) -> BinaryIO:
        raise error

    return opener


def test_python_docs_are_written_with_plain_newlines_and_always_the_same(tmp_path: Path) -> None:
    path = write_dataset(
        "python-docs", tmp_path / "new" / "data", opener=fail(AssertionError("no network"))
    )
    written = path.read_bytes()
    assert path == tmp_path / "new" / "data" / "python-docs.txt"
    assert 400_000 < len(written) < 600_000
    assert b"\r" not in written
    assert written.decode("utf-8") == python_docs()
    assert write_dataset("python-docs", path.parent).read_bytes() == written


def test_python_prose_is_sentences_and_nothing_else(tmp_path: Path) -> None:
    path = write_dataset("python-prose", tmp_path, opener=fail(AssertionError("no network")))
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n\n")[:-1]
    assert len(text) > 300_000
    assert len(set(lines)) == len(lines)
    assert all(line[0].isupper() and line[-1] in ".?!" and len(line) >= 80 for line in lines)
    assert not set(text) & set("<>{}=|\\#")


def test_code_lists_and_marks_are_not_prose() -> None:
    sentence = "A *long* sentence about ``things`` that goes on until it is long enough to be kept"
    given = f"""{sentence}
  over two lines.

>>> print(1)

- {sentence}.

    x = {sentence}

short.

{sentence} and is not ended
"""
    plain = "A long sentence about things that goes on until it is long enough to be kept"
    assert list(paragraphs(given)) == [f"{plain} over two lines."]


def test_python_docs_are_in_the_order_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydoc_data.topics.topics", {"b": "second\n", "a": "first\n"})
    assert python_docs() == "first\nsecond\n"


@pytest.mark.usefixtures("small_play")
def test_shakespeare_is_downloaded_once(tmp_path: Path) -> None:
    path = write_dataset("shakespeare", tmp_path, opener=serve(PLAY))
    assert path.read_bytes() == PLAY
    assert write_dataset("shakespeare", tmp_path, opener=fail(AssertionError("again"))) == path
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("data", "size"),
    [
        pytest.param(b"", "0 bytes", id="nothing"),
        pytest.param(PLAY[:-1], f"{len(PLAY) - 1} bytes", id="cut off"),
        pytest.param(PLAY.replace(b"F", b"f"), f"{len(PLAY)} bytes", id="one byte changed"),
        pytest.param(PLAY * 1000, f"more than {len(PLAY)} bytes", id="longer"),
    ],
)
@pytest.mark.usefixtures("small_play")
def test_a_wrong_download_is_refused_and_not_written(
    data: bytes, size: str, tmp_path: Path
) -> None:
    with pytest.raises(MachineError, match=size) as caught:
        write_dataset("shakespeare", tmp_path, opener=serve(data))
    assert hashlib.sha256(data[: len(PLAY) + 1]).hexdigest() in caught.value.message
    assert hashlib.sha256(PLAY).hexdigest() in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(
            URLError("Name or service not known"), "Name or service not known", id="no name"
        ),
        pytest.param(
            URLError(OSError(101, "Network is unreachable")),
            "Network is unreachable",
            id="no network",
        ),
        pytest.param(TimeoutError("timed out"), "timed out", id="slow"),
        pytest.param(IncompleteRead(b"", 10), "IncompleteRead", id="broken"),
    ],
)
def test_without_a_network_the_error_says_what_to_do(
    error: Exception, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(MachineError, match=reason) as caught:
        write_dataset("shakespeare", tmp_path, opener=fail(error))
    assert SHAKESPEARE_URL in caught.value.message
    assert str(tmp_path / "shakespeare.txt") in caught.value.hint
    assert caught.value.exit_code == 5


def test_another_file_under_that_name_is_not_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "shakespeare.txt"
    mine.write_text("my own")
    with pytest.raises(MachineError, match=SHAKESPEARE_SHA256) as caught:
        write_dataset("shakespeare", tmp_path, opener=serve(PLAY))
    assert "Move" in caught.value.hint
    assert mine.read_text() == "my own"


def test_a_folder_that_cannot_be_made_is_an_error_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(MachineError, match=r"Cannot use .*python-docs\.txt: File exists\.$"):
        write_dataset("python-docs", tmp_path / "data")


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(MachineError, match=r"python-docs\.txt: No space left on device"):
        write_dataset("python-docs", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"python-docs, shakespeare\.\nDid you mean 'shakespeare'\?"
    ):
        write_dataset("shakespear", tmp_path)
    assert all(meaning.endswith(".") for meaning in DATASETS.values())


def test_what_was_written_is_told_as_json(tmp_path: Path, charrnn: Terminal) -> None:
    told = json.loads(charrnn.ok("data", "python-docs", "--folder", tmp_path, "--json").out)
    data = Path(told["path"]).read_bytes()
    assert told["text"] == {
        "name": "python-docs",
        "sha256": hashlib.sha256(data).hexdigest(),
        "characters": len(data.decode()),
        "bytes": len(data),
    }
    assert "python-docs" in json.loads(charrnn.ok("data", "--json").out)["texts"]
