"""The report of a model of pairs as tables on standard output."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charrnn.evaluation.interval import Interval
from charrnn.terminal.tables import write_columns, write_table, write_words
from charrnn.terminal.words import pair_words

if TYPE_CHECKING:
    from charrnn.evaluation.pairs import PairReport

MAX_CONFUSED = 12  # labels of a confusion table; of more, the most frequent confusions are listed
NAMES = {
    "exact": "exact match",
    "character_error_rate": "character error rate",
    "word_error_rate": "word error rate",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
}


def write_pair_report(report: "PairReport") -> None:
    """Write the score, the measures beside those of the baselines, and confusions."""
    facts = report.to_dict()
    write_table(score_rows(report))
    measures = facts.get("measures", {})
    if facts["baselines"] or measures:
        sys.stdout.write("\n")
        bits = {one.name: {"bits_per_char": one.bits_per_char} for one in report.scores}
        write_measures({"model": measures | score_of(report)} | bits | report.baselines)
    extra = [(name, f"{measures[name]:.2f}") for name in ("bleu", "chrf") if name in measures]
    extra += [(name, measures[name]) for name in ("bleu_signature", "chrf_signature") if extra]
    intervals = [(name, one) for name, one in measures.items() if name.endswith("_interval")]
    for name, (low, high) in intervals:
        what = NAMES[name.removesuffix("_interval")]
        extra.append((f"{what}, 95 % interval", f"{low:.2%} to {high:.2%}"))
    if extra:
        sys.stdout.write("\n")
        write_table(extra)
    if report.labels is not None:
        write_confusion(list(report.labels.labels), report.labels.confusion.tolist())
    write_words(pair_words(facts))


def score_rows(report: "PairReport") -> list[tuple[str, str]]:
    """Return the rows of a score; bits per character say nothing about labels."""
    score, rows, interval = report.model.score, list[tuple[str, str]](), report.model.interval
    if report.labels is None:
        rows.append(("bits per character", f"{score.bits_per_char:.4f}"))
        if isinstance(interval, Interval):
            rows.append(("95 % interval", f"{interval.low:.4f} to {interval.high:.4f}"))
    rows += [
        ("nats per token", f"{score.nats_per_token:.4f}"),
        ("perplexity per token", f"{score.perplexity:.4f}"),
        ("tokens", f"{score.tokens:,}"),
        ("characters", f"{score.characters:,}"),
        ("unknown tokens", f"{score.unknown:,}"),
    ]
    return [*rows, ("signature", report.model.signature)]


def score_of(report: "PairReport") -> dict[str, Any]:
    """Return the score that baselines may have too, unless labels are what is predicted."""
    return {} if report.labels is not None else {"bits_per_char": report.model.score.bits_per_char}


def write_measures(columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a row for the model and for each baseline, with the measures that any of them has."""
    shown = [name for name in NAMES if any(name in one for one in columns.values())]
    head = ["", *(NAMES[name] for name in shown)]
    has_bits = any("bits_per_char" in one for one in columns.values())
    rows = []
    for label, values in columns.items():
        cells = [f"{values[name]:.2%}" if name in values else "" for name in shown]
        if has_bits:
            cells.append(f"{values['bits_per_char']:.4f}" if "bits_per_char" in values else "")
        rows.append([label, *cells])
    write_columns([*head, *["bits/char"] * has_bits], rows)


def write_confusion(labels: list[str], confusion: list[list[int]]) -> None:
    """Write which labels were taken for which: rows are the true ones."""
    sys.stdout.write("\n")
    if len(labels) <= MAX_CONFUSED:
        rows = [
            [label, *(f"{count:,}" for count in counts)]
            for label, counts in zip(labels, confusion, strict=True)
        ]
        write_columns(["true label", *labels], rows)
        return
    write_columns(["true label", "taken for", "times"], confusions(labels, confusion))


def confusions(labels: list[str], confusion: list[list[int]]) -> list[list[str]]:
    """Return the rows of the most frequent confusions: the true label, the other, how often."""
    wrong = [
        (count, labels[row], labels[column])
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    top = sorted(wrong, key=lambda one: -one[0])[:MAX_CONFUSED]
    return [[wanted, found, f"{count:,}"] for count, wanted, found in top]
