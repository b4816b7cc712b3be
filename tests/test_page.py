"""`charrnn page`: what it writes, what it refuses, and that nothing from outside can run in it."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_runs
from command_line import Terminal
from page_scripts import SCRIPTS, Engine
from small_runs import OPTIONS, TEXT

from charrnn.config.model import ModelConfig
from charrnn.config.presets import ngram_settings
from charrnn.errors import InterruptedRun
from charrnn.evaluation.request import ScoreOptions, TextOptions
from charrnn.export.page import contents as contents_module
from charrnn.export.page import measured
from charrnn.export.page.curves import MAX_POINTS, Curve, curve, draw, thinned
from charrnn.export.page.measured import Rounding
from charrnn.export.page.request import PageRequest
from charrnn.export.page.weights import TABLE_STEPS, Packed, largest_size, pack
from charrnn.model.shapes import TABLES, weight_shapes
from charrnn.storage.model_file import load_model
from charrnn.training.preview import PAGE_POINTS, is_page_point

HOSTILE = (
    "</script><script>alert(1)</script> <!-- <img src=x onerror=alert(2)> &lt; \x00\x1b[31m\x07 "
    "\u202egnp.exe\u202c \u2066x\u2069 ' \" ` ${1} \u2028 ]]> -->\n"
) * 12


class Parsed(HTMLParser):
    """A page's elements, scripts and visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, str] = {}
        self._inside = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = f"{tag}#{dict(attrs).get('id', '')}"

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.content[self._inside] = self.content.get(self._inside, "") + data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self) -> dict[str, Any]:
        values = json.loads(self.content["script#data"])
        assert isinstance(values, dict)
        return values


@pytest.fixture(scope="session")
def page(model: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Parsed:
    from charrnn.__main__ import run

    path = tmp_path_factory.mktemp("pages") / "animals.html"
    assert run(["page", str(model), str(text), "--valid-fraction", "0.5", "-o", str(path)]) == 0
    return Parsed(path)


@pytest.fixture(autouse=True)
def short_excerpt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look closely at few symbols; the page of the fixture above has as many as any page."""
    monkeypatch.setattr(measured, "EXCERPT", 80)


def train(charrnn: Terminal, folder: Path, text: str, *more: str) -> Path:
    file = folder / "text.txt"
    file.write_text(text, encoding="utf-8", newline="")
    charrnn.ok("train", file, "--out", folder / "run", "--quiet", *OPTIONS, *more)
    return folder / "run"


def test_one_file_that_asks_for_nothing(page: Parsed) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith("#") or value == "data:,", attributes
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert not re.search(r"https?:|//[a-z]", page.content["style#"])
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import|eval)\b *\(", page.source)


def test_only_its_own_script_and_style_are_allowed(page: Parsed) -> None:
    (policy,) = (one["content"] for one in page.named("meta") if one.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for kind, content in (("style", "style#"), ("script", "script#")):
        digest = base64.b64encode(hashlib.sha256(page.content[content].encode()).digest())
        assert f"{kind}-src 'sha256-{digest.decode()}'" in policy
    assert [one.get("type") for one in page.named("script")] == ["application/json", None]


def test_says_the_score_that_eval_says(
    page: Parsed, model: Path, text: Path, charrnn: Terminal
) -> None:
    facts = json.loads(charrnn.ok("eval", model, text, "--valid-fraction", "0.5", "--json").out)
    assert f"{facts['score']['bits_per_char']:.4f}" in page.source
    assert facts["signature"] in page.source
    for one in facts["baselines"]:
        assert f"{one['score']['bits_per_char']:.4f}" in page.source


def test_the_script_computes_what_the_page_says_of_its_excerpt(page: Parsed, text: Path) -> None:
    data, engine = page.data, Engine()
    assert text.read_text().endswith(data["excerpt"]["text"])
    engine.run(f"var data = {page.content['script#data']};")
    engine.run(
        "var network = new Network(data.config, unpackWeights(data.weights)); var tokenizer = "
        "makeTokenizer(data.tokenizer); var reader = new Reader({ network, tokenizer, separator: "
        "data.separator, unknownBits: data.unknownBits }); reader.setText(data.excerpt.text); "
        "while (!reader.isDone) reader.advance();"
    )
    bits = engine.call("reader.tokens.map(({ bits }) => bits)")
    np.testing.assert_allclose(bits, data["excerpt"]["bits"], atol=1e-5)
    memory = data["memory"]
    assert memory["data"]["length"] == memory["lags"] * len(bits)


def test_shows_the_curves_of_the_run(page: Parsed, model: Path) -> None:
    lines = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
    best = min(line["valid"] for line in lines if "valid" in line)
    assert f"{best:.4f}" in page.source
    assert len(page.named("svg")) == 3
    assert all(one["role"] == "img" and one["aria-label"] for one in page.named("svg"))


@pytest.mark.parametrize("number_format", ["fp16", "fp32"])
def test_weights_in_other_formats(
    number_format: str, model: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    path = tmp_path / "model.html"
    outcome = charrnn.ok("page", model, "-o", path, "--weights", number_format)
    assert str(path) in outcome.err
    assert not outcome.out
    kinds = {one["dtype"] for one in Parsed(path).data["weights"].values()}
    assert kinds == {number_format, "fp32"}
    found = re.search(rf"{number_format}: (\S+) bits per character", Parsed(path).source)
    assert found
    assert float(found[1]) < {"fp16": 0.01, "fp32": 1e-9}[number_format]


@pytest.mark.parametrize(
    "more",
    [
        ["--tokenizer", "word", "--adaptive"],
        ["--tokenizer", "bpe", "--vocab-size", "270"],
        ["--tokenizer", "byte", "--records", "lines"],
        ["--attention", "5", "--cell", "minlstm"],
    ],
    ids=" ".join,
)
def test_pages_of_other_models(more: list[str], tmp_path: Path, charrnn: Terminal) -> None:
    text = "".join(f"the {word} number {place}\n" for place, word in enumerate(TEXT.split()))
    run = train(charrnn, tmp_path, text, *more)
    path = tmp_path / "model.html"
    charrnn.ok("page", run, tmp_path / "text.txt", "--valid-fraction", "0.3", "-o", path)
    data = Parsed(path).data
    assert data["tokenizer"]["kind"] == (more[1] if "--tokenizer" in more else "char")
    assert data["separator"] == ("\n" if "--records" in more else None)
    assert data["excerpt"]["text"]


def test_a_hostile_text_can_neither_run_nor_break_anything(
    tmp_path: Path, charrnn: Terminal
) -> None:
    run = train(charrnn, tmp_path, HOSTILE, "--page")
    path = run / "page.html"
    found = Parsed(path)
    assert [one.get("type") for one in found.named("script")] == ["application/json", None]
    assert not found.named("img")
    assert "alert(1)" in found.data["excerpt"]["text"]
    outside = found.source.replace(found.content["script#"], "")
    assert not re.search("[\0-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", outside)
    assert "\u27e8U+202E\u27e9" in outside  # shown, among the surprising lines
    name = tmp_path / "<b>&'\".html"
    charrnn.ok("page", run, "-o", name, "--prompt", "</textarea><script>alert(3)</script>")
    found = Parsed(name)
    assert len(found.named("script")) == 2
    assert found.content["textarea#prompt"] == "</textarea><script>alert(3)</script>"


def test_a_text_of_unknown_characters_is_charged_for(
    model: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    strange, path = tmp_path / "strange.txt", tmp_path / "strange.html"
    strange.write_text("Ω≈ç√ the cat 你好\n" * 3, encoding="utf-8")
    charrnn.ok("page", model, strange, "-o", path)
    assert max(Parsed(path).data["excerpt"]["bits"]) > 20


def test_without_a_text_or_a_run_it_says_what_it_leaves_out(
    model: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((model / "model.safetensors").read_bytes())
    outcome = charrnn.ok("page", alone, "-o", tmp_path / "alone.html")
    assert "no curves" in outcome.err
    source = Parsed(tmp_path / "alone.html").source
    for sentence in ("so this page has no curves", "nothing was scored", "A text that the model"):
        assert sentence in source


def test_the_file_is_called_like_the_model(
    model: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    charrnn.ok("page", model / "model.safetensors")
    assert Parsed(tmp_path / "animals.html").content["title#"] == "animals"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-o", "there.html"], 5, "there.html is already there. --force"),
        (["-o", "none/model.html"], 5, "there is no folder none"),
        (["-o", "folder", "--force"], 5, "is a folder"),
        (["--weights", "int4"], 2, "int8"),
        (["missing.txt"], 3, "missing.txt"),
        (["empty.txt"], 3, "empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_refuses(
    arguments: list[str],
    code: int,
    said: str,
    model: Path,
    tmp_path: Path,
    charrnn: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.html").write_text("mine")
    Path("empty.txt").touch()
    Path("folder").mkdir()
    outcome = charrnn("page", model, *arguments)
    assert outcome.code == code
    for word in said.split(" --"):
        assert word in outcome.err
    assert Path("there.html").read_text() == "mine"
    assert not Path("animals.html").exists()


def test_a_model_too_large_is_refused_with_the_format_that_would_do(
    model: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8 = largest_size(load_model(model).weights, "int8")
    monkeypatch.setattr(contents_module, "MAX_SIZE", int8 + 10)
    outcome = charrnn("page", model, "-o", tmp_path / "m.html", "--weights", "fp32")
    assert outcome.code == 2
    assert "--weights int8" in outcome.err
    monkeypatch.setattr(contents_module, "MAX_SIZE", 200)
    outcome = charrnn("page", model, "-o", tmp_path / "m.html")
    assert "smaller model" in outcome.err


@pytest.mark.parametrize(
    ("costs", "tried"), [([0.009], 1), ([0.02, 0.003], 2), ([0.02, 0.02, 0.02], 3)], ids=str
)
def test_tables_are_as_coarse_as_the_text_allows(
    costs: list[float], tried: int, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, steps = iter(costs), list[float]()

    def packed(weights: Any, number_format: str, use: Any, step: float) -> dict[str, Packed]:
        steps.append(step)
        return pack(weights, number_format, use, step)

    monkeypatch.setattr(contents_module, "pack", packed)
    monkeypatch.setattr(
        contents_module, "measure_rounding", lambda *_: Rounding(next(left), 60_000)
    )
    found = contents_module.gather(
        PageRequest(model=model, options=ScoreOptions(reading=TextOptions()))
    )
    assert steps == list(TABLE_STEPS[:tried])
    assert found.rounding.bits_per_char == costs[-1]


@pytest.mark.parametrize("width", [256, 384])
def test_the_default_models_page_is_at_most_two_megabytes(width: int) -> None:
    """As the presets plan for a megabyte of text: tables, or with more time a wider network."""
    random = np.random.default_rng(1)
    tables = {} if width > 256 else ngram_settings("char", 10**6)
    config = ModelConfig(vocab_size=100, hidden_size=width, **tables)
    weights = {
        name: random.standard_normal(shape, np.float32)
        for name, shape in weight_shapes(config).items()
    }
    use = None
    if tables:  # half of the rows are touched; the use of the others was counted
        weights[TABLES][random.random(len(weights[TABLES])) < 0.5] = 0
        use = random.lognormal(np.log(14), 1.6, len(weights[TABLES])) / 1e6
    packed = len(json.dumps([one.data for one in pack(weights, "int8", use).values()]))
    rest = sum(path.stat().st_size for path in SCRIPTS.glob("*.*")) + 100_000  # and the text's
    assert 1_000_000 < packed + rest < 2_000_000


def test_a_run_that_is_continued_keeps_the_samples_of_one_that_is_not(tmp_path: Path) -> None:
    small_runs.run(tmp_path / "whole", page=True)
    steps = iter(range(100))
    with pytest.raises(InterruptedRun):
        small_runs.run(
            tmp_path / "parts", page=True, should_stop=lambda: 2 if next(steps) == 8 else None
        )
    before = (tmp_path / "parts" / "samples.jsonl").read_text()
    small_runs.run(tmp_path / "parts", page=True)
    whole = (tmp_path / "whole" / "samples.jsonl").read_text()
    assert (tmp_path / "parts" / "samples.jsonl").read_text() == whole
    assert whole.startswith(before)
    assert len(before.splitlines()) < len(whole.splitlines())
    assert small_runs.results(tmp_path / "parts") == small_runs.results(tmp_path / "whole")


def test_keeping_samples_does_not_change_training(tmp_path: Path) -> None:
    for page in (False, True):
        small_runs.run(tmp_path / str(page), page=page)
    with_page, without = (small_runs.weights(tmp_path / str(page)) for page in (True, False))
    assert all(np.array_equal(with_page[name], without[name]) for name in without)
    assert not (tmp_path / "False" / "samples.jsonl").exists()


@pytest.mark.parametrize("steps", [1, 3, 10, 1000, 12345])
def test_samples_are_taken_at_ten_points_at_most_and_at_the_end(steps: int) -> None:
    points = [step for step in range(1, steps + 1) if is_page_point(step, steps)]
    assert points[-1] == steps
    assert len(points) == min(len(PAGE_POINTS), len(points))
    assert steps < 1000 or len(points) == 10


def luminance(colour: str) -> float:
    """Relative luminance, after WCAG 2.1."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return sum(share * one for share, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_colour_can_be_read_on_its_background() -> None:
    style = (SCRIPTS / "style.css").read_text(encoding="utf-8")
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for theme in (light, dark[: dark.index("* {")]):
        colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", theme))
        names = [name for name in colours if f"on-{name}" in colours]
        assert len(names) > 15
        for name in names:
            pair = sorted(luminance(colours[one]) for one in (name, f"on-{name}"))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, name


def test_a_long_curve_is_drawn_through_the_means_of_neighbours() -> None:
    points = [(float(step), float(step % 2)) for step in range(10 * MAX_POINTS)]
    found = thinned(points)
    assert len(found) == MAX_POINTS
    assert {y for _, y in found} == {0.5}
    assert thinned([]) == []
    metrics: list[dict[str, Any]] = [
        {"step": 1, "loss": 2.0},
        {"step": 2},
        {"step": 3, "loss": "x"},
    ]
    assert curve("loss", metrics, "loss").points == [(1.0, 2.0)]


def test_a_curve_of_one_point_is_drawn() -> None:
    picture = draw("A & B", "<told>", [Curve("<name>", [(5.0, 1.0)])], best=(5.0, 1.0))
    assert "nan" not in picture
    assert "&lt;name&gt;" in picture
    assert "&lt;told&gt;" in picture


def test_odd_lines_among_the_samples_are_left_out(
    model: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    run = tmp_path / "run"
    shutil.copytree(model, run)
    lines = ['{"step": 1, "text": "good"}', '{"step": 2, "text": 5}', '{"step": null}', "{", "[]"]
    (run / "samples.jsonl").write_text("\n".join([*lines, '{"step": 3, "text": "cut']))
    charrnn.ok("page", run, "-o", tmp_path / "run.html")
    assert Parsed(tmp_path / "run.html").data["samples"] == [{"step": 1, "text": "good"}]
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 1e999}\n{"step": "x"}\n[]\n')
    charrnn.ok("page", run, "-o", tmp_path / "run.html", "--force")
    assert "no curves" in Parsed(tmp_path / "run.html").source


def test_a_run_that_was_started_with_a_page_writes_it_whenever_it_ends(
    tmp_path: Path, charrnn: Terminal
) -> None:
    run = train(charrnn, tmp_path, TEXT, "--page")
    (run / "page.html").unlink()
    charrnn.ok("train", "--resume", run, "--steps", "16", "--quiet")
    found = Parsed(run / "page.html")
    assert found.data["samples"][-1]["step"] == 16
    assert "nothing was scored" not in found.source


def test_what_depends_on_sources_is_refused_before_anything_is_made(
    tmp_path: Path, charrnn: Terminal
) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("one\tun\ntwo\tdeux\nthree\ttrois\nfour\tquatre\n" * 8)
    small = ["--hidden-size", "8", "--steps", "2", "--quiet"]
    words = ["train", pairs, "--source", "text", "--out", tmp_path / "run", *small]
    outcome = charrnn(*words, "--page")
    assert outcome.code == 2
    assert "--page cannot show a model whose texts depend on a --source" in outcome.err
    charrnn.ok(*words)
    for asked in (["page"], ["export", "--onnx", tmp_path / "model.onnx"]):
        outcome = charrnn(asked[0], tmp_path / "run", *asked[1:])
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1
        assert "cannot hold a model whose texts depend on a source" in outcome.err
