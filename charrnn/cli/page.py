"""`charrnn page`: a model as one file that opens in a browser, offline, and runs."""

from pathlib import Path

from charrnn.cli.options import show_notes
from charrnn.evaluation.request import ScoreOptions, TextOptions
from charrnn.export.page.request import PageRequest
from charrnn.runtime.signals import exit_at_once
from charrnn.terminal.console import show_note, stderr_console
from charrnn.terminal.reading_progress import ReadingProgress
from charrnn.terminal.tables import format_megabytes
from charrnn.training.request import TrainRequest


def page(request: PageRequest) -> None:
    """Write a model as one page that runs it in a browser, with its units, curves and score."""
    request.check_path()
    with exit_at_once(), ReadingProgress(stderr_console()) as progress:
        write_page(request, progress)


def write_page(request: PageRequest, progress: ReadingProgress) -> None:
    """Gather what a page shows, write it, and say where it is."""
    from charrnn.export.page.contents import gather
    from charrnn.export.page.document import render
    from charrnn.storage.atomic import display_path, write_atomic

    contents = gather(request, progress)
    show_notes(contents.notes)
    data = render(contents).encode()
    write_atomic(request.path, data)
    size = format_megabytes(len(data))
    show_note(f"Wrote {display_path(request.path)}, {size}. Its weights take {contents.rounding}.")


def page_of_run(request: TrainRequest, folder: Path) -> PageRequest:
    """Return the request for the page of a run that is complete, with what it has held out."""
    settings = request.settings
    reading = TextOptions(encoding=request.encoding, threads=settings.get("threads"))
    options = ScoreOptions(reading=reading, device=settings.get("device", "auto"))
    return PageRequest(model=folder, out=folder / "page.html", force=True, options=options)
