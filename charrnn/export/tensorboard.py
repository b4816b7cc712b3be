"""TensorBoard event files, written from the logs of a run.

A file is a sequence of records, each a protocol buffer message of the type Event:

    8 bytes    length of the message, little-endian
    4 bytes    masked CRC-32C of these 8 bytes
    message
    4 bytes    masked CRC-32C of the message

Everything in it comes from metrics.jsonl and samples.jsonl. These are cut back to the saved step
before a run is continued, so the file is written anew then, and no step is in it twice.
"""

import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from charrnn.errors import MachineError
from charrnn.storage.atomic import io_error
from charrnn.storage.run_folder import RunFolder
from charrnn.training.events import Note, RunEvent, Started

NAME = "events.out.tfevents.{seconds}.{process}.charrnn"
SCALARS = {  # entries of the metrics log, and their names in TensorBoard
    "loss": "loss/train",
    "valid": "loss/valid",
    "bits_per_char": "bits_per_char/valid",
    "lr": "lr",
    "grad_norm": "grad_norm",
}
VARINT, DOUBLE, BYTES, FLOAT = 0, 1, 2, 5  # wire types
STRING_TENSOR, SESSION_START = 7, 1


class EventLog:
    """An event file that follows the logs of a run.

    Args:
        run: The run's folder.
        folder: Where to write; event files that charrnn has written there before are removed.

    Raises:
        MachineError: The file cannot be written.
    """

    def __init__(self, run: RunFolder, folder: Path) -> None:
        self.logs = dict.fromkeys((run.metrics, run.samples), 0)  # and how far they were read
        name = NAME.format(seconds=int(time.time()), process=os.getpid())
        self.path = folder / name
        seconds = (line.get("seconds", 0.0) for line in run.metrics.read())
        self.seconds = 0.0  # of training, up to the last line that was read
        self.began = time.time() - max(seconds, default=0.0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(NAME.format(seconds="*", process="*")):
                old.unlink()
            self.path.write_bytes(b"")
        except OSError as error:
            raise io_error("write to", folder, error) from error
        self._write([event(self.began, version=b"brain.Event:2"), event(self.began, is_start=True)])
        self.update()

    def update(self) -> None:
        """Add what the logs have gained.

        Raises:
            MachineError: A log cannot be read, or the file cannot be written.
        """
        events = list[bytes]()
        for log, offset in self.logs.items():
            lines, self.logs[log] = log.read_from(offset)
            events += [self._event(line) for line in lines if isinstance(line.get("step"), int)]
        if events:
            self._write(events)

    def _event(self, line: Mapping[str, Any]) -> bytes:
        self.seconds = max(self.seconds, line.get("seconds", 0.0))
        return event(self.began + self.seconds, line["step"], values=b"".join(values(line)))

    def _write(self, events: list[bytes]) -> None:
        data = b"".join(map(record, events))
        try:
            with self.path.open("ab") as file:
                file.write(data)
        except OSError as error:
            raise io_error("write to", self.path, error, len(data)) from error


class EventFollower:
    """Writes an event file while a run goes on; if that fails, the run goes on without it."""

    def __init__(self) -> None:
        self.log: EventLog | None = None

    def follow(self, event: RunEvent) -> Iterator[Note]:
        """Write what the logs have gained; yield a note if that fails."""
        try:
            if isinstance(event, Started):
                folder = RunFolder(Path(event.folder))
                self.log = EventLog(folder, folder.path)
            elif self.log:
                self.log.update()
        except MachineError as error:
            self.log = None
            yield Note(f"{error.message} No more events are written.", warning=True)

    def finish(self) -> None:
        """Write what was logged as the run ended or was interrupted."""
        with suppress(MachineError):
            if self.log:
                self.log.update()


def with_event_file(events: Iterable[RunEvent]) -> Iterator[RunEvent]:
    """Yield the events of a run, and write an event file into its folder."""
    follower = EventFollower()
    try:
        for event in events:
            yield event
            yield from follower.follow(event)
    finally:
        follower.finish()


def write_event_file(run: RunFolder, folder: Path) -> Path:
    """Write the event file of a run and return its path.

    Raises:
        MachineError: There is no run, or the file cannot be written.
    """
    if not run.metrics.read():
        raise MachineError(f"{run.path} has no metrics.jsonl, so there is nothing to write.")
    return EventLog(run, folder).path


def values(line: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the values in a line of a log, as summaries have them."""
    for name, tag in SCALARS.items():
        if isinstance(line.get(name), (int, float)):
            number = field(2, FLOAT, struct.pack("<f", line[name]))
            yield message(1, field(1, BYTES, tag.encode()) + number)
    if isinstance(line.get("text"), str):
        yield message(1, field(1, BYTES, b"sample") + text_value(line["text"]))


def text_value(text: str) -> bytes:
    """Return a text for TensorBoard's text plugin."""
    # The plugin shows Markdown, in which indented lines are shown as they are.
    code = "".join(f"    {line}\n" for line in text.split("\n"))
    shape = message(2, message(2, field(1, VARINT, varint(1))))
    content = field(8, BYTES, code.encode(errors="replace"))
    tensor = field(1, VARINT, varint(STRING_TENSOR)) + shape + content
    plugin = message(1, field(1, BYTES, b"text"))
    return message(8, tensor) + message(9, plugin)


def event(
    wall_time: float,
    step: int = 0,
    *,
    values: bytes = b"",
    version: bytes = b"",
    is_start: bool = False,
) -> bytes:
    """Return an Event: some values at a step, the file's version, or the start of a session."""
    parts = field(1, DOUBLE, struct.pack("<d", wall_time)) + field(2, VARINT, varint(step))
    if version:
        parts += field(3, BYTES, version)
    if values:
        parts += message(5, values)
    if is_start:
        parts += message(7, field(1, VARINT, varint(SESSION_START)))
    return parts


def message(number: int, content: bytes) -> bytes:
    """Return a field that holds a message."""
    return field(number, BYTES, content)


def field(number: int, wire_type: int, content: bytes) -> bytes:
    """Return a field of a message."""
    key = varint(number << 3 | wire_type)
    return key + (varint(len(content)) if wire_type == BYTES else b"") + content


def varint(value: int) -> bytes:
    """Return a number of at least 0, seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def record(content: bytes) -> bytes:
    """Return a record of a file."""
    length = struct.pack("<Q", len(content))
    return length + masked_crc(length) + content + masked_crc(content)


def masked_crc(data: bytes) -> bytes:
    """Return the CRC-32C of some bytes, rotated and shifted as the format wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


CRC_TABLE = tuple(map(_crc_of_byte, range(256)))
