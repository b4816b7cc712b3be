"""Encoders: from a source to states, one for each kind of source."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.config.model import ModelConfig
from charrnn.config.source import COLOURS, SourceConfig
from charrnn.model.cells.fast import run_layer
from charrnn.model.cells.layer import RecurrentLayer
from charrnn.model.dropout import Dropout
from charrnn.model.source.shapes import (
    CHANNELS,
    KERNEL,
    embedding_size,
    encoder_config,
    grids,
    state_size,
)

# Words are many and rare: what a few updates teach of one is lost in the noise of a larger start.
EMBEDDING_STD = 0.1


class Encoding(NamedTuple):
    """What a source was turned into.

    Attributes:
        states: (batch, length, size).
        mask: Which of them exist, (batch, length) bool.
        summary: (batch, size).
    """

    states: Tensor
    mask: Tensor
    summary: Tensor


class TextLayer(nn.Module):
    """A recurrent layer over texts of several lengths, in one direction or both.

    Args:
        input_size: Width of the inputs.
        config: The layer's cell and width, and whether outputs are normalised.
        bidirectional: Whether a second layer reads each text from its end.
    """

    def __init__(self, input_size: int, config: ModelConfig, *, bidirectional: bool) -> None:
        super().__init__()
        count = 2 if bidirectional else 1
        self.directions = nn.ModuleList(RecurrentLayer(input_size, config) for _ in range(count))
        self.hidden_size = config.hidden_size
        size, norms = config.hidden_size, count if config.layer_norm else 0
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(norms))
        self.dropout = Dropout(config.dropout)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map (batch, length, input_size) to (batch, length, width of all directions)."""
        found = [self._run(0, values)]
        if len(self.directions) > 1:
            places = reversed_places(lengths, values.shape[1])[..., None]
            turned = values.gather(1, places.expand_as(values))
            back = self._run(1, turned)
            found.append(back.gather(1, places.expand_as(back)))
        if self.norms:
            found = [norm(values) for norm, values in zip(self.norms, found, strict=True)]
        outputs: Tensor = self.dropout(torch.cat(found, dim=-1))
        return outputs

    def _run(self, direction: int, values: Tensor) -> Tensor:
        layer = self.directions[direction]
        assert isinstance(layer, RecurrentLayer)
        return run_layer(layer, values, layer.zeros(values))[0]


def reversed_places(lengths: Tensor, width: int) -> Tensor:
    """Return for each row the places 0 .. width - 1, with the first `lengths` of them reversed."""
    place = torch.arange(width, device=lengths.device)
    return torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)


class TextEncoder(nn.Module):
    """Reads a text; the summary is what each direction of the last layer ends with."""

    def __init__(self, config: ModelConfig, source: SourceConfig) -> None:
        super().__init__()
        own, size = encoder_config(config), state_size(config)
        self.hidden_size = own.hidden_size
        self.embedding = nn.Embedding(source.source_vocab_size or 0, embedding_size(config))
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        inputs = [embedding_size(config)] + [size] * (own.num_layers - 1)
        both = source.bidirectional
        self.layers = nn.ModuleList(TextLayer(each, own, bidirectional=both) for each in inputs)

    def forward(self, values: Tensor, lengths: Tensor) -> Encoding:
        """Encode symbols (batch, length)."""
        states = self.embedding(values)
        for layer in self.layers:
            states = layer(states, lengths)
        last = (lengths - 1)[:, None, None].expand(-1, 1, self.hidden_size)
        onward = states[..., : self.hidden_size].gather(1, last)[:, 0]
        summary = torch.cat([onward, states[:, 0, self.hidden_size :]], dim=-1)
        mask = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        return Encoding(states, mask, summary)


class LabelEncoder(nn.Module):
    """A label's embedding, which is its only state and its summary."""

    def __init__(self, config: ModelConfig, source: SourceConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(source.source_vocab_size or 0, embedding_size(config))

    def forward(self, values: Tensor, lengths: Tensor) -> Encoding:
        """Encode labels (batch, 1)."""
        states = self.embedding(values)
        return Encoding(states, torch.ones_like(values, dtype=torch.bool), states[:, 0])


class PictureEncoder(nn.Module):
    """Convolutional layers, each of which halves the size; a state for each cell of the last grid.

    The position of a cell is an embedding that is added to its state.
    """

    def __init__(self, config: ModelConfig, source: SourceConfig) -> None:
        super().__init__()
        sizes = grids(source)
        channels = (COLOURS, *CHANNELS[: len(sizes)])
        cells = sizes[-1][0] * sizes[-1][1]
        self.position = nn.Parameter(torch.randn(cells, channels[-1]))
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, KERNEL, stride=2, padding=KERNEL // 2)
            for before, after in pairwise(channels)
        )
        self.norm = nn.LayerNorm(channels[-1])
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, values: Tensor, lengths: Tensor) -> Encoding:
        """Encode pixels (batch, height, width, 3), 0 .. 255."""
        pixels = values.to(self.position.dtype).permute(0, 3, 1, 2) / 127.5 - 1
        for layer in self.layers:
            pixels = functional.relu(layer(pixels))
        states = self.norm(pixels.flatten(2).transpose(1, 2) + self.position)
        mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return Encoding(states, mask, states.mean(dim=1))


class FeatureEncoder(nn.Module):
    """Normalises features that are given; the summary is their mean."""

    def __init__(self, config: ModelConfig, source: SourceConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(source.feature_size or 0)

    def forward(self, values: Tensor, lengths: Tensor) -> Encoding:
        """Encode features (batch, length, size)."""
        states = self.norm(values)
        mask = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        summary = (states * mask[..., None]).sum(dim=1) / lengths[:, None]
        return Encoding(states, mask, summary)


def make_encoder(config: ModelConfig, source: SourceConfig) -> nn.Module:
    """Return the encoder for a kind of source."""
    if source.source == "text":
        return TextEncoder(config, source)
    if source.source == "label":
        return LabelEncoder(config, source)
    kind = FeatureEncoder if source.feature_size else PictureEncoder
    return kind(config, source)
