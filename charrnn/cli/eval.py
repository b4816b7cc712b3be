"""`charrnn eval`: how well a model predicts a text, as a whole or where it surprises the model."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from charrnn.cli.options import with_flags
from charrnn.config.fields import option
from charrnn.errors import UsageError
from charrnn.evaluation.report import Evaluation, ScoreReport
from charrnn.evaluation.request import EvalRequest
from charrnn.evaluation.score import Score
from charrnn.runtime.signals import exit_at_once
from charrnn.terminal.console import show_note, stderr_console, write_json, write_text
from charrnn.terminal.escape import visible_line
from charrnn.terminal.heatmap import Heatmap
from charrnn.terminal.reading_progress import ReadingProgress
from charrnn.terminal.tables import write_score

if TYPE_CHECKING:
    from charrnn.evaluation.surprisal import Surprisal

DETAIL = "Where the text surprises the model"
ScoredLines = Iterable[tuple[str, list[Score], list[str]]]

LINE_COLUMNS = "columns: nats, bits per character, perplexity per token, line"
TOKEN_COLUMNS = "columns: token, bits, rank, entropy in bits"


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """What `charrnn eval` was asked."""

    request: EvalRequest
    by_line: bool = option(
        False,
        "Score each line by itself, as it comes: nats, bits per character, perplexity, line",
        group=DETAIL,
    )
    by_token: bool = option(
        False, "Write each token with its bits, its rank and the entropy", group=DETAIL
    )
    show: bool = option(False, "Show the text coloured by its surprisal", group=DETAIL)
    json: bool = option(False, "Write the result as one JSON object")

    def __post_init__(self) -> None:
        """Raise `UsageError` if a view is asked for together with what it has no use for."""
        views = [name for name in ("by_line", "by_token", "show") if getattr(self, name)]
        request, score = self.request, self.request.options
        unused = {
            "dynamic": request.dynamic,
            "train": bool(score.train),
            "baselines": score.baselines is True,
            "json": self.json and self.show,
        }
        if self.by_line:
            unused["exact"], unused["reset_every"] = request.exact, request.reset_every is not None
            unused["valid_fraction"] = score.valid_fraction is not None
        others = views[1:] + [name for name, is_given in unused.items() if is_given]
        if views and others:
            message = f"`{others[0]}` cannot be used with `{views[0]}`."
            raise UsageError(message, "Leave one out.")


def evaluate(options: EvalOptions) -> None:
    """Score a text: perplexity, bits per character and per byte, beside baselines."""
    with exit_at_once(), ReadingProgress(stderr_console()) as progress:
        evaluation = Evaluation(options.request, progress)
        if options.by_line:
            write_lines(evaluation.lines(), as_json=options.json)
            return
        if options.by_token or options.show:
            notes, tokens = evaluation.tokens()
        else:
            report = evaluation.report()
    if options.by_token or options.show:
        write_tokens(notes, tokens, options)
    else:
        write_report(report, as_json=options.json)


def write_report(report: ScoreReport, *, as_json: bool) -> None:
    """Write a score, as a table or as JSON."""
    for note in report.notes:
        show_note(with_flags(note))
    if as_json:
        write_json(report.to_dict())
    else:
        write_score(report.score, report.to_dict())


def write_lines(batches: ScoredLines, *, as_json: bool) -> None:
    """Write the score of each line, as it comes."""
    write, explained = (json_line if as_json else tabbed_line), False
    for signature, scores, lines in batches:
        if not explained:
            explain(() if as_json else (LINE_COLUMNS,), signature)
            explained = True
        write_text("".join(map(write, scores, lines)))


def explain(columns: tuple[str, ...], *notes: str) -> None:
    """Say on standard error what the columns are and what they depend on."""
    for note in (*notes[:-1], *columns, *notes[-1:]):
        show_note(with_flags(note))


def tabbed_line(score: Score, line: str) -> str:
    """Return what `--by-line` writes about a line."""
    return f"{score.nats:.4f}\t{score.bits_per_char:.4f}\t{score.perplexity:.4f}\t{line}\n"


def json_line(score: Score, line: str) -> str:
    """Return what `--by-line --json` writes about a line."""
    return json.dumps(score.to_dict() | {"line": line}, ensure_ascii=False) + "\n"


def write_tokens(
    notes: tuple[str, ...], tokens: "Iterable[Surprisal]", options: EvalOptions
) -> None:
    """Write what the model thought of each token: a table, JSON lines, or the text in colours."""
    explain(() if options.json or options.show else (TOKEN_COLUMNS,), *notes)
    if options.show:
        heatmap = Heatmap()
        for token in tokens:
            heatmap.add(token.text, token.bits)
        heatmap.finish()
        return
    write = json_token if options.json else tabbed_token
    for token in tokens:
        sys.stdout.write(write(token))


def tabbed_token(token: "Surprisal") -> str:
    """Return what `--by-token` writes about a token."""
    text = visible_line(token.text)
    return f"{text}\t{token.bits:.4f}\t{token.rank}\t{token.entropy:.4f}\n"


def json_token(token: "Surprisal") -> str:
    """Return what `--by-token --json` writes about a token."""
    return json.dumps(asdict(token), ensure_ascii=False) + "\n"
