"""`charrnn eval`: how well a model predicts a text, as a whole, by line or by token."""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from charrnn.cli.eval_options import EvalOptions
from charrnn.cli.eval_pairs import evaluate_pairs
from charrnn.cli.options import show_notes
from charrnn.errors import counted
from charrnn.evaluation.report import Evaluation, ScoreReport
from charrnn.evaluation.score import Score
from charrnn.runtime.signals import exit_at_once
from charrnn.terminal.console import is_live, json_line, stderr_console, write_json, write_text
from charrnn.terminal.escape import visible_line
from charrnn.terminal.heatmap import SURPRISAL, UNIT, Heatmap, Scale
from charrnn.terminal.reading_progress import ReadingProgress
from charrnn.terminal.tables import write_score

if TYPE_CHECKING:
    from charrnn.evaluation.surprisal import Surprisal

ScoredLines = Iterable[tuple[str, list[Score], list[str]]]  # signature, scores, and their lines

LINE_COLUMNS = "columns: nats, bits per character, perplexity per token, line"
LINE_HEADER = "nats\tbits_per_char\tperplexity\tline\n"
TOKEN_COLUMNS = "columns: token, bits, rank, entropy in bits"


def evaluate(options: EvalOptions) -> None:
    """Score a text: perplexity, bits per character and per byte, compared with baselines."""
    with exit_at_once(), ReadingProgress(stderr_console()) as progress:
        evaluation = Evaluation(options.request, progress)
        show_notes(evaluation.saved.notes)
        if evaluation.saved.source is not None:
            evaluate_pairs(evaluation.saved, options, progress)
            return
        options.request.refuse_pairs()
        if options.by_line:
            write_lines(evaluation.lines(), options, progress)
            return
        show_notes(evaluation.found.notes)
        if options.unit is not None:
            values = evaluation.unit_values(options.unit, options.layer)
            write_heatmap(values, UNIT)
            return
        if options.by_token or options.show:
            signature, tokens = evaluation.tokens()
        else:
            report = evaluation.report()
    if options.by_token or options.show:
        write_tokens(signature, tokens, options)
    else:
        write_report(report, as_json=options.json)


def write_report(report: ScoreReport, *, as_json: bool) -> None:
    """Write a score, as a table or as JSON."""
    show_notes(report.notes)
    if as_json:
        write_json(report.to_dict())
    else:
        write_score(report.to_dict())


def write_lines(batches: ScoredLines, options: EvalOptions, progress: ReadingProgress) -> None:
    """Write the score of each line as it is read."""
    write = line_as_json if options.json else line_as_row if options.tsv else line_as_columns
    done = 0
    for signature, scores, lines in batches:
        if not done:
            show_notes((signature,) if options.json or options.tsv else (LINE_COLUMNS, signature))
            write_text(LINE_HEADER if options.tsv else "")
        write_text("".join(map(write, scores, lines)))
        done += len(lines)
        if not is_live(sys.stdout):  # else the lines show how far it is
            progress(f"Scored {counted(done, 'line')}", done, None)


def line_as_columns(score: Score, line: str) -> str:
    """Return the output of `--by-line` for a line; a blank line has a cost but no figures."""
    if not score.tokens:
        return f"{score.nats:.4f}\t-\t-\t{line}\n"
    return f"{score.nats:.4f}\t{score.bits_per_char:.4f}\t{score.perplexity:.4f}\t{line}\n"


def line_as_row(score: Score, line: str) -> str:
    """Return the output of `--by-line --tsv` for a line; what a blank line lacks is empty."""
    bits = (f"{score.bits_per_char:.6f}", f"{score.perplexity:.6f}") if score.tokens else ("", "")
    return "\t".join([f"{score.nats:.6f}", *bits, visible_line(line)]) + "\n"


def line_as_json(score: Score, line: str) -> str:
    """Return the output of `--by-line --json` for a line."""
    return json_line({"line": line, "score": score.to_dict()})


def write_tokens(signature: str, tokens: "Iterable[Surprisal]", options: EvalOptions) -> None:
    """Write the surprisal of each token as a table, as JSON lines, or as the text in colours."""
    plain = options.json or options.show
    show_notes((signature,) if plain else (TOKEN_COLUMNS, signature))
    if options.show:
        each = ((token.text, token.bits / max(1, len(token.text))) for token in tokens)
        write_heatmap(each, SURPRISAL)
        return
    write = token_as_json if options.json else token_as_columns
    for token in tokens:
        sys.stdout.write(write(token))


def write_heatmap(pieces: Iterable[tuple[str, float]], scale: Scale) -> None:
    """Write a text in the colours of its values."""
    heatmap = Heatmap(scale)
    for text, value in pieces:
        heatmap.add(text, value)
    heatmap.finish()


def token_as_columns(token: "Surprisal") -> str:
    """Return the output of `--by-token` for a token."""
    text = visible_line(token.text)
    return f"{text}\t{token.bits:.4f}\t{token.rank}\t{token.entropy:.4f}\n"


def token_as_json(token: "Surprisal") -> str:
    """Return the output of `--by-token --json` for a token."""
    return json_line(asdict(token))
