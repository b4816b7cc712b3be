"""The page itself: contents into HTML, with everything from outside escaped."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from charrnn.data.formats import saved_format
from charrnn.evaluation.interval import Interval
from charrnn.evaluation.report import ScoreReport
from charrnn.evaluation.score import LN2
from charrnn.export.page.coder import encode
from charrnn.export.page.contents import Contents
from charrnn.export.page.curves import curve, draw
from charrnn.export.page.tokenizer import tokenizer_table
from charrnn.model.shapes import describe_size
from charrnn.storage.model_file import about_part
from charrnn.version import __version__

SCRIPTS = (
    "weights.js",
    "symbols.js",
    "vectors.js",
    "network.js",
    "tokenizer.js",
    "sampling.js",
    "reader.js",
    "page.js",
)
# Control characters, and marks that change the direction of the text after them.
CONTROLS = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def render(contents: Contents) -> str:
    """Return the page as HTML."""
    style, script = _resource("style.css"), "\n".join(map(_resource, SCRIPTS))
    return Template(_resource("template.html")).substitute(
        policy=_policy(style, script),
        title=text(contents.name),
        summary=text(_summary(contents)),
        style=style,
        prompt=text(contents.prompt),
        excerpt_source=text(f"{contents.excerpt.source} Or type a text of your own."),
        units_note=text(_units_note(contents)),
        run=_run(contents),
        score=_score(contents.report) + _lines(contents)
        if contents.report
        else _no_score(contents),
        about=_about(contents),
        data=_data(contents),
        script=script,
    )


def text(value: str) -> str:
    """Return text for HTML, with control characters and marks of direction made visible."""
    return escape(CONTROLS.sub(lambda found: f"\u27e8U+{ord(found[0]):04X}\u27e9", value))


def _resource(name: str) -> str:
    return files("charrnn.export.page").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return a policy under which nothing is loaded, and only the page's own script runs."""
    own = (
        base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (style, script)
    )
    style_hash, script_hash = own
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _data(contents: Contents) -> str:
    """Return what the script needs, as JSON that cannot end the element that it is in."""
    saved, tokenizer = contents.saved, contents.saved.tokenizer
    values = {
        "config": saved.config.to_dict(),
        "tokenizer": tokenizer_table(tokenizer),
        "separator": saved_format(saved.about).separator,
        "unknownBits": tokenizer.unknown_nats / LN2,
        "weights": {name: one.data for name, one in contents.packed.items()},
        "excerpt": {"text": contents.excerpt.text, "bits": contents.excerpt.bits},
        "memory": {"lags": contents.memory.shape[1], "data": encode(contents.memory.tobytes())},
        "units": [vars(one) for one in contents.units],
        "samples": contents.samples,
    }
    encoded = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return encoded.replace("<", "\\u003c")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Return a table, whose cells are HTML."""
    names = "".join(f'<th scope="col">{name}</th>' for name in head)
    head_row = f"<thead><tr>{names}</tr></thead>" if head else ""
    above = f"<caption>{caption}</caption>" if caption else ""
    body = "".join(f'<tr><th scope="row">{first}</th>{"".join(rest)}</tr>' for first, *rest in rows)
    return f'<div class="scroll"><table>{above}{head_row}<tbody>{body}</tbody></table></div>'


def _cell(value: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f"<td{name}>{value}</td>"


def _summary(contents: Contents) -> str:
    config, saved = contents.saved.config, contents.saved
    symbols = f"{saved.tokenizer.size:,} {saved.tokenizer.kind} symbols"
    return (
        f"A language model: {config.cell} {config.num_layers} \u00d7 {config.hidden_size:,}, "
        f"{describe_size(config)}, {symbols}. It runs in this file, offline."
    )


def _units_note(contents: Contents) -> str:
    if contents.units:
        symbols = contents.units[0].symbols
        return (
            "Some units follow something that has a name. Each was chosen on one half of a text "
            "that the score is of, or of its beginning; r is its correlation on the other half, "
            f"{symbols:,} symbols. A unit of a high correlation need not be what the model uses."
        )
    if contents.report is None:
        return "Units that follow something were not looked for: this page was made without a text."
    return "No unit was found that follows something with a name, with a correlation of 0.5."


def _run(contents: Contents) -> str:
    return _curves(contents) + _samples(contents)


def _curves(contents: Contents) -> str:
    metrics = contents.metrics
    loss, valid = curve("training", metrics, "loss"), curve("validation", metrics, "valid")
    if not (loss.points or valid.points):
        return "<p>There was no metrics.jsonl beside the model, so this page has no curves.</p>"
    best = min(valid.points, key=lambda point: point[1], default=None)
    told = f"; the best, {best[1]:.4f} at step {best[0]:,.0f}, is marked" if best else ""
    title = f"Loss in nats per token by optimizer step{told}."
    figures = [draw(title, title, [loss, valid], best)]
    for entry, name in (("lr", "Learning rate"), ("grad_norm", "Norm of the gradient")):
        one = curve(name, metrics, entry)
        if one.points:
            last = f"{name} by step: from {one.points[0][1]:.3g} to {one.points[-1][1]:.3g}."
            figures.append(draw(last, last, [one]))
    rows = [(f"{step:,.0f}", _cell(f"{nats:.4f}", "number")) for step, nats in valid.points]
    table = _table(("step", "validation, nats per token"), rows)
    return f"{''.join(figures)}<details><summary>As a table</summary>{table}</details>"


def _samples(contents: Contents) -> str:
    if not contents.samples:
        return (
            "<p>No samples were kept during training; <code>charrnn train --page</code> keeps "
            "them.</p>"
        )
    last = len(contents.samples) - 1
    return (
        "<h3>What it wrote</h3><p>The beginning of a text, written with the same random numbers at "
        "several points of the training.</p>"
        '<p><label for="sample">Point of the training:</label> <output id="sample-step"></output>'
        f'<br><input id="sample" type="range" min="0" max="{last}" step="1" value="{last}"></p>'
        '<div id="sample-text" class="text" role="group" aria-label="Sample" dir="auto"></div>'
    )


def _score(report: ScoreReport) -> str:
    rows = [("this model", report.model.score.bits_per_char, report.model.score.bits_per_byte)]
    rows += [(one.name, one.bits_per_char, one.bits_per_byte) for one in report.baselines]
    table = _table(
        ("", "bits per character", "bits per byte"),
        (
            (text(name), _cell(f"{char:.4f}", "number"), _cell(f"{byte:.4f}", "number"))
            for name, char, byte in rows
        ),
    )
    interval = ""
    found = report.model.interval
    if isinstance(found, Interval):
        low, high = found.bounds
        interval = f"; 95 % interval of bits per character: {low:.4f} to {high:.4f}"
    score = report.model.score
    facts = (
        f"{score.characters:,} characters, {score.tokens:,} tokens, {score.unknown:,} of them "
        f"unknown; perplexity {score.perplexity:.4f} per token{interval}."
    )
    return f"{table}<p>{facts}</p><p><code>{text(report.model.signature)}</code></p>"


def _no_score(contents: Contents) -> str:
    bits = about_part(contents.saved.about, "valid").get("bits_per_char")
    known = f" In training, validation took {bits:.3f} bits per character." if bits else ""
    return f"<p>This page was made without a text, so nothing was scored for it.{known}</p>"


def _lines(contents: Contents) -> str:
    if not contents.lines:
        return ""
    rows = [
        (
            f"{one.number:,}",
            _cell(f"{one.bits_per_char:.2f}", "number"),
            _cell(text(one.text[:300]), "passage"),
        )
        for one in contents.lines
    ]
    caption = (
        f"The most surprising lines of the text's first {contents.lines_of:,} characters, each in "
        "its context."
    )
    return "<h3>Surprising lines</h3>" + _table(("line", "bits per character", ""), rows, caption)


def _about(contents: Contents) -> str:
    saved, about = contents.saved, contents.saved.about
    rows = [
        ("trained on", text(str(about_part(about, "text").get("name")))),
        ("steps", text(f"{about.get('step', 0)}, {about.get('epochs', 0)} epochs")),
        (
            "weights",
            f"{contents.format}: {contents.rounding}",
        ),
        ("model", f"SHA-256 <code>{text(saved.sha256)}</code>"),
        ("made by", f"charrnn {__version__}"),
    ]
    note = (
        "<p>This file loads nothing from anywhere and sends nothing: it may be kept and copied.</p>"
    )
    return _table((), ((name, _cell(value)) for name, value in rows)) + note
