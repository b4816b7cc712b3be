"""The entry point: run the command line, and turn every failure into one line and an exit code."""

import os
import sys
from contextlib import suppress
from typing import TextIO

from charrnn.errors import CharRNNError
from charrnn.runtime.machine import refused_by_machine
from charrnn.runtime.signals import exit_on_signals

# How often an OpenMP thread polls for work before it sleeps. GNU's default is much higher, which
# makes threads on a busy machine wait for each other; a much lower value slows an idle machine.
GOMP_SPINCOUNT = "10000"
BROKEN_PIPE = 141  # the exit code that a shell reports for a process ended by SIGPIPE
SIGNALLED = 128  # exit codes above are those of signals
INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit; the entry point of the `charrnn` command."""
    exit_on_signals()  # first, and all else is imported later
    # A stream is None if the caller closed it, as in: charrnn ... 2>&-
    sys.stdout, sys.stderr = sys.stdout or null_stream(), sys.stderr or null_stream()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # UTF-8 and unchanged line ends, whatever the locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    os.environ.setdefault("GOMP_SPINCOUNT", GOMP_SPINCOUNT)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # what it logs is in its errors
    try:
        code = run(sys.argv[1:])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    if code > SIGNALLED or "torch" in sys.modules:
        exit_at_once(code)
    sys.exit(code)


def exit_at_once(code: int) -> None:
    """Flush and exit: cleaning up takes torch a third of a second, or its threads abort it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def null_stream() -> TextIO:
    """Return a stream that discards what is written to it."""
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 (pathlib is not imported yet)


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        code = call(arguments)
        sys.stdout.flush()
    except CharRNNError as error:
        return fail(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return stop_writing()
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # Typer turns it into exit code 1
            return stop_writing()
        raise
    except Exception as error:
        refusal = refused_by_machine(error)
        return report_bug() if refusal is None else fail(refusal)
    return code


def call(arguments: list[str]) -> int:
    """Call the command, and return the exit code.

    Raises:
        UsageError: The options are wrong.
    """
    import typer

    from charrnn.cli import app
    from charrnn.cli.help import usage_error, with_help

    try:
        # Typer returns the code of an Exit (also for Ctrl-C), or None without one
        return app(with_help(arguments), prog_name="charrnn", standalone_mode=False) or 0
    except typer.TyperException as error:
        raise usage_error(error) from None
    except typer.Abort:
        raise KeyboardInterrupt from None


def fail(error: CharRNNError) -> int:
    """Show an error, write nothing more to standard output, and return the exit code."""
    try:
        from charrnn.cli.options import with_flags
        from charrnn.terminal.console import show_error

        show_error(error, with_flags)
    except (ImportError, MemoryError, OSError):  # too little of something even for that
        with suppress(OSError):
            os.write(2, f"charrnn: {' '.join(error.message.split())}\n".encode())
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


def report_bug() -> int:
    """Write the traceback to a file and say where it is, or show it if CHARRNN_DEBUG is set.

    Returns:
        The exit code, 1.
    """
    import traceback

    trace = traceback.format_exc()
    if os.environ.get("CHARRNN_DEBUG"):
        sys.stderr.write(trace)
        return 1
    what = traceback.format_exception_only(sys.exc_info()[1])[-1].strip()
    return fail(CharRNNError(f"Internal error: {what}", keep_trace(trace)))


def keep_trace(trace: str) -> str:
    """Write a traceback to a file, and return the hint that names it."""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="charrnn-crash-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"{' '.join(sys.argv)}\n{trace}")
    except (OSError, UnicodeError):  # no folder for temporary files, or no room in it
        return "This is a bug in charrnn; please report it, with CHARRNN_DEBUG=1 for its traceback."
    return f"This is a bug in charrnn; please report it with {file.name}."


if __name__ == "__main__":
    main()
