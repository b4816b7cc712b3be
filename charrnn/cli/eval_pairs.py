"""`charrnn eval` with a model of pairs: the score of the targets, and the measure of the task."""

import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from charrnn.cli.eval_options import EvalOptions
from charrnn.cli.options import show_notes
from charrnn.data.text import OnProgress
from charrnn.evaluation.pairs import PairEvaluation
from charrnn.evaluation.score import LN2, Score
from charrnn.storage.blend import Saved
from charrnn.terminal.console import json_line, write_json, write_text
from charrnn.terminal.escape import visible_line
from charrnn.terminal.heatmap import Heatmap
from charrnn.terminal.pair_tables import write_pair_report

if TYPE_CHECKING:
    from charrnn.evaluation.surprisal import Surprisal

PAIR_COLUMNS = "columns: nats, bits per character, source, target"
TOKEN_COLUMNS = "columns: source, token, bits, rank, entropy in bits"

Tokens = Iterator[tuple[str, "list[Surprisal]"]]  # the tokens of each target, with its source


def evaluate_pairs(saved: Saved, options: EvalOptions, progress: OnProgress) -> None:
    """Score the targets of pairs, and measure what the model makes of the sources."""
    evaluation = PairEvaluation(options.request, saved, progress)
    show_notes(evaluation.sides[2])
    if options.by_line or options.by_token or options.show:
        signature, tokens = evaluation.tokens()
        write_pairs(tokens, signature, options)
        return
    report = evaluation.report()
    show_notes(report.notes)
    if options.json:
        write_json(report.to_dict())
    else:
        write_pair_report(report)


def write_pairs(tokens: Tokens, signature: str, options: EvalOptions) -> None:
    """Write the scores of pairs, line by line or token by token, or targets in colours."""
    columns = PAIR_COLUMNS if options.by_line else TOKEN_COLUMNS
    show_notes((signature,) if options.json or options.show else (columns, signature))
    if options.show:
        show_pairs(tokens)
        return
    write = write_pair if options.by_line else write_tokens
    for source, found in tokens:
        write(source, found, options.json)


def show_pairs(tokens: Tokens) -> None:
    """Write each source as it is, and its target coloured by its surprisal."""
    heatmap = Heatmap()
    for source, found in tokens:
        show_pair(heatmap, source, found)
    heatmap.finish()


def show_pair(heatmap: Heatmap, source: str, tokens: "list[Surprisal]") -> None:
    """Write a source and the tokens of its target; a label lacks a newline at its end."""
    heatmap.add(f"{source}\t", 0.0)
    for token in tokens:
        heatmap.add(token.text, token.bits)
    heatmap.add("" if tokens[-1].text.endswith("\n") else "\n", 0.0)


def write_pair(source: str, tokens: "list[Surprisal]", as_json: bool) -> None:
    """Write the score of one target."""
    target = "".join(token.text for token in tokens)
    score, target = score_of(tokens, target), target.removesuffix("\n")
    if as_json:
        write_json({"source": source, "target": target, "score": score.to_dict()})
    else:
        write_text(f"{score.nats:.4f}\t{score.bits_per_char:.4f}\t{source}\t{target}\n")


def score_of(tokens: "list[Surprisal]", text: str) -> Score:
    """Return the score of a text from the surprisals of its tokens."""
    nats = [LN2 * token.bits for token in tokens]
    unknown = [LN2 * token.bits for token in tokens if token.unknown]
    sizes = (len(tokens), len(text), len(text.encode()))
    return Score(math.fsum(nats), *sizes, len(unknown), math.fsum(unknown))


def write_tokens(source: str, tokens: "list[Surprisal]", as_json: bool) -> None:
    """Write the tokens of one target, a line each."""
    write = token_as_json if as_json else token_as_row
    for token in tokens:
        sys.stdout.write(write(source, token))


def token_as_json(source: str, token: "Surprisal") -> str:
    """Return a token of a target and its source as a line of JSON."""
    return json_line({"source": source} | asdict(token))


def token_as_row(source: str, token: "Surprisal") -> str:
    """Return a token of a target and its source as a line of columns."""
    facts = f"{token.bits:.4f}\t{token.rank}\t{token.entropy:.4f}"
    return f"{visible_line(source)}\t{visible_line(token.text)}\t{facts}\n"
