"""The network that reads a source: torch's own layers, finite differences, padding, and NumPy."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from all_pairs import all_pairs, settings_id
from models import perturbed
from torch import Tensor, nn

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.sampling import SamplingConfig
from charrnn.config.source import ATTENTIONS, SourceConfig
from charrnn.data.sources import item_shape
from charrnn.model.given_source import GivenSource
from charrnn.model.network import CharRNN, build
from charrnn.model.numpy_model import NumpyModel
from charrnn.model.shapes import parameter_count, weight_shapes
from charrnn.model.source import additive
from charrnn.model.source.additive import additive_scores
from charrnn.model.source.encoders import TextLayer
from charrnn.model.source.network import SourceAttention
from charrnn.model.source.numpy_source import convolve
from charrnn.sampling.beam_search import search
from charrnn.sampling.generate import Generator
from charrnn.tokenizers import CharTokenizer

VOCAB, SYMBOLS, HIDDEN, ROWS, TIME = 5, 7, 6, 3, 4
KINDS: list[dict[str, Any]] = [
    {"source": "text", "source_vocab_size": SYMBOLS},
    {"source": "text", "source_vocab_size": SYMBOLS, "source_layers": 2, "bidirectional": False},
    {"source": "text", "source_vocab_size": SYMBOLS, "source_layers": 2, "source_hidden_size": 5},
    {"source": "label", "source_vocab_size": SYMBOLS},
    {"source": "image", "image_size": "19x10"},
    {"source": "image", "feature_size": 9},
]
GRID = all_pairs(
    KINDS,
    [{"source_attention": kind} for kind in ATTENTIONS],
    [{"cell": cell} for cell in CELLS],
    ({"num_layers": 1}, {"num_layers": 2}),
    ({"layer_norm": False}, {"layer_norm": True}),
    ({"attention": 0}, {"attention": 3}),
)


def config_of(settings: dict[str, Any]) -> ModelConfig:
    sizes = {"vocab_size": VOCAB, "hidden_size": HIDDEN, "embedding_size": 4}
    own = ("cell", "num_layers", "layer_norm", "attention")
    rest = {name: value for name, value in settings.items() if name not in own}
    model = {name: value for name, value in settings.items() if name in own}
    return ModelConfig(**sizes | model, source=SourceConfig(**rest))


every_config = pytest.mark.parametrize(
    "config", [config_of(settings) for settings in GRID], ids=map(settings_id, GRID)
)


def double(config: ModelConfig) -> CharRNN:
    """A float64 model in evaluation mode, no weight of which starts so that it hides a mistake."""
    return perturbed(build(config, seed=1).double().eval())


def some_sources(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Sources of different lengths, padded with something that should have no effect."""
    generator, source = torch.Generator().manual_seed(3), config.source
    assert source is not None
    shape, lengths = item_shape(source), torch.tensor([5, 2, 3])
    if source.source == "label":
        lengths = torch.ones(ROWS, dtype=torch.int64)
        return torch.tensor([[1], [4], [6]]), lengths
    if source.source == "text":
        return torch.randint(0, SYMBOLS, (ROWS, 5), generator=generator), lengths
    if source.feature_size:
        return torch.randn(ROWS, 5, *shape, generator=generator).double(), lengths
    pixels = torch.randint(0, 256, (ROWS, *shape), generator=generator)
    return pixels.to(torch.uint8), torch.ones(ROWS, dtype=torch.int64)


def some_ids() -> Tensor:
    ids = torch.randint(0, VOCAB, (ROWS, TIME), generator=torch.Generator().manual_seed(4))
    ids[:, 0] = VOCAB
    return ids


@every_config
def test_the_weights_are_those_that_shapes_knows_in_the_same_order(config: ModelConfig) -> None:
    model = build(config, seed=1)
    assert [(name, tuple(value.shape)) for name, value in model.state_dict().items()] == [
        *weight_shapes(config).items()
    ]
    assert sum(one.numel() for one in model.parameters()) == parameter_count(config)


@every_config
def test_without_the_source_the_decoder_is_the_language_model(config: ModelConfig) -> None:
    values = config.to_dict()
    del values["source"]
    plain = build(ModelConfig.from_dict(values), seed=1).state_dict()
    found = build(config, seed=1).state_dict()
    assert all(torch.equal(found[name], value) for name, value in plain.items())


@every_config
@torch.no_grad()
def test_a_padded_batch_is_each_source_by_itself(config: ModelConfig) -> None:
    model, ids, (values, lengths) = double(config), some_ids(), some_sources(config)
    together, _ = model(ids, model.begin(values, lengths))
    for row in range(ROWS):
        own = values[row : row + 1]
        if own.dim() in (2, 3):
            own = own[:, : lengths[row]]
        alone, _ = model(ids[row : row + 1], model.begin(own, lengths[row : row + 1]))
        torch.testing.assert_close(together[row], alone[0], rtol=1e-10, atol=1e-10)


@every_config
@torch.no_grad()
def test_numpy_computes_the_same(config: ModelConfig) -> None:
    model, ids, (values, lengths) = double(config), some_ids(), some_sources(config)
    expected, _ = model(ids, model.begin(values, lengths))
    source = config.source
    assert source is not None
    weights = {name: value.float().numpy() for name, value in model.state_dict().items()}
    sampler = NumpyModel(config, weights)
    for row in range(ROWS):
        own = values[row].numpy()
        if source.source == "label":
            own = np.eye(SYMBOLS, dtype=np.float32)[own[0]]
        elif source.source == "text" or source.feature_size:
            own = own[: lengths[row]]
        found, _ = sampler.run(ids[row : row + 1].numpy(), sampler.begin(own))
        np.testing.assert_allclose(found[0], expected[row].numpy(), rtol=2e-4, atol=2e-5)


@every_config
def test_gradients_are_those_of_finite_differences(config: ModelConfig) -> None:
    model, ids, (values, lengths) = double(config), some_ids(), some_sources(config)
    wanted = torch.randint(0, VOCAB, (ROWS, TIME), generator=torch.Generator().manual_seed(5))
    wanted[0, 2:] = -100

    def loss() -> Tensor:
        logits, _ = model(ids, model.begin(values, lengths))
        return nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())

    assert model.source is not None
    parameters = dict(model.source.named_parameters())
    gradients = torch.autograd.grad(loss(), list(parameters.values()))
    generator = torch.Generator().manual_seed(6)
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator).double()
        step = 1e-5
        with torch.no_grad():
            parameter.add_(direction, alpha=step)
            above = loss()
            parameter.add_(direction, alpha=-2 * step)
            difference = (above - loss()) / (2 * step)
            parameter.add_(direction, alpha=step)
        found = (gradient * direction).sum()
        torch.testing.assert_close(found, difference, rtol=1e-4, atol=1e-7, msg=name)


@torch.no_grad()
def test_both_directions_are_those_of_torchs_own_bidirectional_lstm() -> None:
    config = ModelConfig(hidden_size=HIDDEN, layer_norm=False)
    ours = [TextLayer(size, config, bidirectional=True).eval() for size in (4, 2 * HIDDEN)]
    theirs = nn.LSTM(4, HIDDEN, num_layers=2, bidirectional=True, batch_first=True)
    for number, layer in enumerate(ours):
        for direction, suffix in enumerate(("", "_reverse")):
            cell = layer.directions[direction].rnn
            assert isinstance(cell, nn.LSTM)
            for name, value in cell.named_parameters():
                own = name.replace("_l0", f"_l{number}{suffix}")
                theirs.get_parameter(own).copy_(value)
    values, lengths = torch.randn(ROWS, 5, 4), torch.tensor([5, 3, 2])
    packed = nn.utils.rnn.pack_padded_sequence(values, lengths, batch_first=True)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    found = values
    for layer in ours:
        found = layer(found, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(found[row, :length], expected[row, :length])


@pytest.mark.parametrize("kind", ["additive", "dot"])
@torch.no_grad()
def test_attention_is_its_equation(kind: str) -> None:
    source = SourceConfig(source_vocab_size=3, source_attention=kind)
    attention = SourceAttention(ModelConfig(hidden_size=HIDDEN, source=source), kind).double()
    states = torch.randn(1, 4, 2 * HIDDEN).double()
    hidden = torch.randn(1, 2, HIDDEN).double()
    mask = torch.tensor([[True, True, False, True]])
    memory = attention.memory(type("E", (), {"states": states, "mask": mask})())  # type: ignore[arg-type]
    weights = attention.weights(hidden, memory)[0]
    query, key = attention.query.weight, attention.key
    for step in range(2):
        scores = []
        for place in (0, 1, 3):
            left, right = query @ hidden[0, step], key.weight @ states[0, place] + key.bias
            if attention.score is None:
                scores.append(left @ right / HIDDEN**0.5)
            else:
                scores.append(attention.score @ torch.tanh(left + right))
        expected = torch.softmax(torch.stack(scores), dim=0)
        torch.testing.assert_close(weights[step, [0, 1, 3]].double(), expected, rtol=1e-5, atol=0)
        assert weights[step, 2] == 0


@pytest.mark.parametrize("piece", [1, 3 * 4 * HIDDEN, 1 << 17], ids=["a step", "some", "all"])
def test_scores_in_pieces_are_their_equation(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also far from 0, where tanh is flat; and so are the gradients."""
    monkeypatch.setattr(additive, "PIECE", piece)
    generator = torch.Generator().manual_seed(1)
    shapes = (ROWS, 5, HIDDEN), (ROWS, 4, HIDDEN), (HIDDEN,)
    arrays = [torch.randn(*one, generator=generator).double().requires_grad_() for one in shapes]
    with torch.no_grad():
        arrays[0][0] *= 100
    expected = torch.tanh(arrays[0][:, :, None] + arrays[1][:, None]) @ arrays[2]
    found = additive_scores(*arrays)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(found.square().sum(), arrays),
        torch.autograd.grad(expected.square().sum(), arrays),
        rtol=1e-10,
        atol=1e-10,
    )


@torch.no_grad()
def test_beam_search_finds_the_best_text_there_is() -> None:
    """With a beam for every text, against all texts of up to three symbols, one by one."""
    config = config_of({"source": "text", "source_vocab_size": SYMBOLS})
    model, tokenizer = double(config), CharTokenizer("\nabc")
    assert tokenizer.size == VOCAB
    weights = {name: value.float().numpy() for name, value in model.state_dict().items()}
    source = np.array([3, 1, 2])
    generator = Generator(GivenSource.of(NumpyModel(config, weights), source), tokenizer, "\n")
    found = search(generator, "", SamplingConfig(length=3), beam=200, num=20)
    state = model.begin(torch.from_numpy(source)[None], torch.tensor([3]))

    def mean_log_probability(text: str) -> float:
        ids = torch.from_numpy(tokenizer.encode(text).astype(np.int64))
        inputs = torch.cat([torch.tensor([VOCAB]), ids[:-1]])
        logits, _ = model(inputs[None], state)
        own = torch.log_softmax(logits[0], -1)[range(len(ids)), ids]
        return own.mean().item()

    whole = ["".join(one) for n in range(3) for one in product("abc", repeat=n)]
    texts = [f"{text}\n" for text in whole] + ["".join(one) for one in product("abc", repeat=3)]
    best = sorted(texts, key=lambda text: (not text.endswith("\n"), -mean_log_probability(text)))
    assert [one.text for one in found] == [text.removesuffix("\n") for text in best[:20]]


def test_a_label_adds_the_same_to_each_step() -> None:
    config = config_of({"source": "label", "source_vocab_size": SYMBOLS})
    model = double(config)
    values, lengths = some_sources(config)
    memory = model.begin(values, lengths)[-3:]
    assert model.source is not None
    hidden = torch.randn(ROWS, TIME, HIDDEN).double()
    added = model.source.attend(hidden, memory) - hidden
    torch.testing.assert_close(added, added[:, :1].expand_as(added))
    assert added.abs().min() > 0


def test_the_convolution_is_torchs() -> None:
    rng = np.random.default_rng(1)
    for height, width in ((8, 8), (7, 10), (1, 5)):
        values = rng.standard_normal((height, width, 2)).astype(np.float32)
        weight = rng.standard_normal((4, 2, 3, 3)).astype(np.float32)
        theirs = nn.functional.conv2d(
            torch.from_numpy(values).permute(2, 0, 1)[None],
            torch.from_numpy(weight),
            stride=2,
            padding=1,
        )[0].permute(1, 2, 0)
        np.testing.assert_allclose(convolve(values, weight), theirs.numpy(), rtol=1e-4, atol=1e-5)
