"""The entry point: run the command line, and turn every failure into one line and an exit code."""

import os
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import typer

from charrnn.cli import app
from charrnn.cli.options import with_flags
from charrnn.errors import CharRNNError, MachineError, UsageError
from charrnn.terminal.console import show_error

# How often an OpenMP thread polls for work before it sleeps. GNU's default is much higher, which
# makes threads on a busy machine wait for each other; a much lower value slows an idle machine.
GOMP_SPINCOUNT = "10000"
BROKEN_PIPE = 141  # the exit code that a shell reports for a process ended by SIGPIPE
INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit; the entry point of the `charrnn` command."""
    # A stream is None if the caller closed it, as in: charrnn ... 2>&-
    sys.stdout, sys.stderr = sys.stdout or null_stream(), sys.stderr or null_stream()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # UTF-8 and unchanged line ends, whatever the locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    os.environ.setdefault("GOMP_SPINCOUNT", GOMP_SPINCOUNT)
    try:
        code = run(sys.argv[1:])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    if in_process_group():
        exit_process_group(code)
    sys.exit(code)


def in_process_group() -> bool:
    """Return whether this process is connected to other ranks."""
    if "torch" not in sys.modules:
        return False
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()


def exit_process_group(code: int) -> None:
    """Flush and exit without cleanup: communication threads sometimes abort a normal exit."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def null_stream() -> TextIO:
    """Return a stream that discards what is written to it."""
    return Path(os.devnull).open("w", encoding="utf-8")


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        code = app(arguments or ["--help"], prog_name="charrnn", standalone_mode=False)
        sys.stdout.flush()
    except CharRNNError as error:
        return fail(error)
    except typer.TyperException as error:
        return fail(
            UsageError(
                one_line(error.format_message()), "See charrnn --help, or charrnn COMMAND --help."
            )
        )
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return stop_writing()
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # Typer turns it into exit code 1
            return stop_writing()
        raise
    except OSError as error:
        return fail(
            MachineError(
                f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}."
            )
        )
    except MemoryError:
        return fail(
            MachineError(
                "Out of memory.", "Try a smaller --batch-size, --hidden-size or --seq-len."
            )
        )
    except Exception:
        return report_bug()
    return code or 0  # Typer returns the code of an Exit (also for Ctrl-C), or None without one


def fail(error: CharRNNError) -> int:
    """Show an error, write nothing more to standard output, and return the exit code."""
    show_error(error, with_flags)
    silence_stdout()
    return error.exit_code


def stop_writing() -> int:
    """Return the exit code for output whose reader has closed the pipe; that is not an error."""
    silence_stdout()
    return BROKEN_PIPE


def silence_stdout() -> None:
    """Discard what standard output still holds, so that the flush at exit cannot fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(message: str) -> str:
    """Return a usage message as one line that ends with a full stop."""
    line = " ".join(message.split())
    return line if line.endswith((".", "?", ")")) else f"{line}."


def report_bug() -> int:
    """Write the traceback to a file and say where it is, or show it if CHARRNN_DEBUG is set.

    Returns:
        The exit code, 1.
    """
    trace = traceback.format_exc()
    if os.environ.get("CHARRNN_DEBUG"):
        sys.stderr.write(trace)
        return 1
    with tempfile.NamedTemporaryFile(
        "w", prefix="charrnn-crash-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"{' '.join(sys.argv)}\n{trace}")
    what = traceback.format_exception_only(sys.exc_info()[1])[-1].strip()
    return fail(
        CharRNNError(
            f"Internal error: {what}",
            f"This is a bug in charrnn; please report it with {Path(file.name)}.",
        )
    )


if __name__ == "__main__":
    main()
