"""The page's reader and writer against charrnn's own scores and samples."""

import json
import math
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
from page_scripts import Engine

from charrnn.config.model import ModelConfig
from charrnn.config.sampling import SamplingConfig
from charrnn.data.formats import PLAIN, RecordFormat, TextFormat
from charrnn.evaluation.score import ScoringProtocol
from charrnn.evaluation.surprisal import surprisals
from charrnn.model.network import CharRNN, build
from charrnn.model.numpy_model import NumpyModel
from charrnn.sampling.generate import GenerationRequest, Generator
from charrnn.sampling.logits import apply_rules, softmax
from charrnn.tokenizers import KINDS, Tokenizer, train_tokenizer

SIZES = {"word": 270, "bpe": 290, "unigram": 280}
TEXT = "what is it, that the cat saw?\nthe hat that sat.\n\nwhat was that? naïve café.\n" * 30


@cache
def parts(kind: str) -> tuple[Tokenizer, CharRNN]:
    """A tokenizer and a model whose predictions are far from even."""
    tokenizer = train_tokenizer(kind, [TEXT], SIZES.get(kind))
    model = build(ModelConfig(vocab_size=tokenizer.size, hidden_size=12, embedding_size=6), 3)
    for parameter in model.parameters():
        parameter.requires_grad_(False).mul_(2)
    return tokenizer, model.eval()


@cache
def engine(kind: str, separator: str | None = None) -> Engine:
    tokenizer, model = parts(kind)
    one = Engine()
    one.load(model.config, {n: w.numpy() for n, w in model.state_dict().items()}, "fp32")
    one.tokenizer(tokenizer)
    bits = tokenizer.unknown_nats / math.log(2)
    one.run(
        f"var model = {{ network, tokenizer, separator: {json.dumps(separator)}, "
        f"unknownBits: {bits} }}; var reader = new Reader(model);"
    )
    return one


def read(one: Engine, text: str) -> list[dict[str, Any]]:
    found = one.call(
        "{ reader.setText(text); while (!reader.isDone) reader.advance(); return reader.tokens.map("
        "({ id, text, bits, rank, likeliest }) => ({ id, text, bits, rank, likeliest })); }",
        text=text,
    )
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text_format", [PLAIN, RecordFormat("\n")], ids=["plain", "records"])
def test_reads_a_text_as_it_is_scored(kind: str, text_format: TextFormat) -> None:
    tokenizer, model = parts(kind)
    text = TEXT[:48] + "Q?\n"  # with an unknown character
    protocol = ScoringProtocol.records() if text_format.separator else ScoringProtocol.exact()
    expected = list(surprisals(model, tokenizer, text, protocol, text_format=text_format))
    found = read(engine(kind, text_format.separator), text)
    assert [one["id"] for one in found] == [one.id for one in expected]
    assert [one["text"] for one in found] == [one.text for one in expected]
    assert [one["rank"] for one in found] == [one.rank for one in expected]
    np.testing.assert_allclose(
        [one["bits"] for one in found], [one.bits for one in expected], rtol=1e-4, atol=1e-4
    )


def test_the_likeliest_symbols_are_the_first_of_all() -> None:
    _, model = parts("char")
    numpy_model = NumpyModel(model.config, {n: w.numpy() for n, w in model.state_dict().items()})
    logits, _ = numpy_model.step(np.array([model.start]), numpy_model.initial_state(1))
    expected = np.argsort(-logits[0], kind="stable")[:5]
    first = read(engine("char"), "the")[0]["likeliest"]
    assert [id_ for id_, _ in first] == expected.tolist()
    np.testing.assert_allclose([p for _, p in first], softmax(logits)[0][expected], rtol=1e-4)


def test_only_what_changed_is_read_again() -> None:
    one = engine("char")
    read(one, "the cat saw")
    assert one.call("reader.setText('the hat saw')") == 4
    assert "".join(token["text"] for token in read(one, "the Qat")) == "the Qat"
    assert one.call("reader.setText('the Zat')") == 4  # both are unknown
    assert "".join(token["text"] for token in read(one, "the Zat")) == "the Zat"
    assert read(one, "the hat saw") == read(engine("char"), "the hat saw")
    assert read(one, "") == []
    assert len(read(one, "the")) == 3


def write(one: Engine, prompt: str, **rules: Any) -> str:
    defaults = {"temperature": 0, "topP": 1, "seed": 1, "stop": "", "length": 40}
    found = one.call(
        "{ const writer = new Writer(model, prompt, rules); let n = 0; while (!writer.isDone && "
        "n++ < 500) writer.next(); return writer.written; }",
        prompt=prompt,
        rules=defaults | rules,
    )
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["", "wha", "the ca", "naï"])
def test_writes_what_the_sampler_writes_at_temperature_zero(kind: str, prompt: str) -> None:
    tokenizer, model = parts(kind)
    numpy_model = NumpyModel(model.config, {n: w.numpy() for n, w in model.state_dict().items()})
    generator = Generator(numpy_model, tokenizer)
    config = SamplingConfig(length=40, temperature=0)
    expected = "".join(GenerationRequest(generator, prompt, config, seed=1, num=1).pieces(0))
    assert write(engine(kind), prompt).startswith(expected[:-1])


def test_stops_where_it_is_told_to_and_at_the_end_of_a_record() -> None:
    whole = write(engine("char"), "the", temperature=1)
    stop = whole[7:9]
    assert write(engine("char"), "the", temperature=1, stop=stop) == whole[: whole.index(stop)]
    assert len(whole) == 40
    assert "\n" not in write(engine("char", "\n"), "the", temperature=2, length=400)


def test_equal_seeds_write_equal_texts() -> None:
    one = engine("char")
    texts = [write(one, "the", temperature=1, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6), (2.0, 0.9)])
def test_draws_with_the_probabilities_of_the_rules(temperature: float, top_p: float) -> None:
    logits = np.array([0.3, 2.0, -1.0, 1.1, 1.4, -0.2])
    config = SamplingConfig(temperature=temperature, top_p=top_p)
    kept = logits.copy()
    kept[4] = -np.inf  # banned
    expected = softmax(apply_rules(kept[None], config))[0]
    draws = 20_000
    ids = engine("char").call(
        "{ const rules = { temperature, topP, banned: 4, random: randomNumbers(7) }; return "
        "Array.from({ length: draws }, () => draw(Float64Array.from(logits), rules)); }",
        temperature=temperature,
        topP=top_p,
        draws=draws,
        logits=logits.tolist(),
    )
    counts = Counter(ids)
    for id_, probability in enumerate(expected):
        spread = 4 * math.sqrt(probability * (1 - probability) / draws)
        assert counts[id_] / draws == pytest.approx(probability, abs=spread or 1e-9)
