"""`charrnn eval --by-line`, `--by-token` and `--show`: where a text surprises a model.

All three write as they go.
"""

import codecs
import json
import lzma
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.api import Model
from charrnn.commands.score import EvalOptions, Part, precision_used, scoring_protocol, signature
from charrnn.data.text_file import UNPACK
from charrnn.errors import TextError, UsageError
from charrnn.sampling import ESCAPES, unknown_error
from charrnn.storage.atomic import shown
from charrnn.terminal import console
from charrnn.terminal.heatmap import Heat

if TYPE_CHECKING:
    from charrnn.evaluation.scoring import Score
    from charrnn.evaluation.surprisal import Surprisal

READ = (
    1 << 16
)  # bytes at a time, at most: the lines that are there are scored together, and none waits for more
TOKEN_ESCAPES = ESCAPES | {ord("\\"): r"\\", ord("\n"): r"\n", ord("\t"): r"\t"}


def write_lines(loaded: Model, options: EvalOptions) -> None:
    """Score each line by itself, without its line end, from the start symbol on."""
    from charrnn.evaluation.surprisal import score_lines

    network, autocast = loaded.network(device=options.device, precision=options.precision)
    write = json_line if options.json else tabbed_line
    count = 0
    for lines in line_batches(options.texts, options.encoding):
        if not count:
            explain(
                options,
                ("nats", "bits per character", "perplexity per token", "line"),
                loaded,
                "state:reset-line",
            )
        for number, line in enumerate(lines, count + 1) if options.unknown == "error" else ():
            if strangers := loaded.tokenizer.unknown_characters(line):
                raise unknown_error(
                    strangers,
                    f"text, in line {number:,},",
                    "--unknown charge to price them honestly",
                )
        scores = score_lines(network, loaded.tokenizer, lines, autocast=autocast)
        console.write_text("".join(map(write, scores, lines)))
        count += len(lines)


def tabbed_line(score: "Score", line: str) -> str:
    """Return what `--by-line` writes about a line."""
    return f"{score.nats:.4f}\t{score.bits_per_char:.4f}\t{score.perplexity:.4f}\t{line}\n"


def json_line(score: "Score", line: str) -> str:
    """Return what `--by-line --json` writes about a line."""
    return json.dumps(score.to_dict() | {"line": line}, ensure_ascii=False) + "\n"


def line_batches(paths: Sequence[str], encoding: str) -> Iterator[list[str]]:
    """Yield the lines of files, without their ends, as many at a time as there are to read without waiting.

    Raises:
        UsageError: Python knows no such encoding.
        TextError: A file cannot be read, or is not in this encoding.
    """
    try:
        new_decoder = codecs.getincrementaldecoder(encoding)
    except LookupError:
        raise UsageError(
            f"--encoding {encoding!r} is not a text encoding that Python knows."
        ) from None
    for path in paths:
        name, count = "standard input" if path == "-" else shown(Path(path)), 0
        try:
            for lines in lines_of(path, new_decoder()):
                yield lines
                count += len(lines)
        except UnicodeError as error:
            raise TextError(
                f"{name} is not {encoding.upper()} after line {count:,}: {error}."
            ) from None
        except BrokenPipeError:
            raise  # of our own reader
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise TextError(
                f"Cannot read {name}: {reason}.", "Give text files, or - for standard input."
            ) from None


def lines_of(path: str, decoder: codecs.IncrementalDecoder) -> Iterator[list[str]]:
    """Yield the lines of one file, a batch for each read."""
    if path == "-" and sys.stdin is None:
        raise UsageError("Standard input is closed.", "Name a text file instead of '-'.")
    held, first = "", True
    with opened(path) as stream:
        while raw := stream.read1(READ):
            text = decoder.decode(raw)
            *lines, held = (held + (text.removeprefix("\ufeff") if first else text)).split("\n")
            first = first and not text
            if lines:
                yield [line.removesuffix("\r") for line in lines]
    held += decoder.decode(b"", final=True)
    if held:
        yield [held.removesuffix("\r")]


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open a file, unpacked if its name says that it is compressed; standard input stays open."""
    if path == "-":
        yield sys.stdin.buffer
        return
    with Path(path).open("rb") as file:
        unpack = UNPACK.get(Path(path).suffix.lower())
        yield unpack(file) if unpack else file


def write_tokens(loaded: Model, text: Part, options: EvalOptions) -> None:
    """Write what the model thought of each token.

    As a table, as JSON lines, or as the text in colours.
    """
    from charrnn.evaluation.surprisal import surprisals

    sha256, _ = text.encode(loaded, unknown=options.unknown)  # checks it
    protocol = scoring_protocol(options, records=loaded.separator is not None)
    network, autocast = loaded.network(device=options.device, precision=options.precision)
    tokens = surprisals(
        network,
        loaded.tokenizer,
        text.whole(),
        protocol,
        separator=loaded.separator,
        autocast=autocast,
    )
    if "show" in options.views:
        explain(options, (), loaded, str(protocol), sha256)
        heat = Heat()
        for token in tokens:
            heat.add(token.text, token.bits)
        heat.finish()
        return
    write = json_token if options.json else tabbed_token
    explain(options, ("token", "bits", "rank", "entropy in bits"), loaded, str(protocol), sha256)
    for token in tokens:
        sys.stdout.write(write(token))


def tabbed_token(token: "Surprisal") -> str:
    """Return what `--by-token` writes about a token."""
    return f"{token.text.translate(TOKEN_ESCAPES)}\t{token.bits:.4f}\t{token.rank}\t{token.entropy:.4f}\n"


def json_token(token: "Surprisal") -> str:
    """Return what `--by-token --json` writes about a token."""
    return json.dumps(asdict(token), ensure_ascii=False) + "\n"


def explain(
    options: EvalOptions, columns: Sequence[str], loaded: Model, state: str, sha256: str = ""
) -> None:
    """Say on standard error what the columns are and what they depend on.

    Standard output is for sort and cut.
    """
    if columns and not options.json:
        console.show_note(f"columns: {', '.join(columns)}")
    precision = precision_used(options.device, options.precision)
    console.show_note(signature(loaded, state, precision, sha256))
