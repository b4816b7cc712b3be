"""The source of a model in torch: its encoder, the decoder's first state, and the attention."""

import math

import torch
from torch import Tensor, nn

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.source import SourceConfig
from charrnn.model.adaptive_softmax import at_least_float32
from charrnn.model.cells.layer import State
from charrnn.model.dropout import Dropout
from charrnn.model.source.additive import additive_scores
from charrnn.model.source.encoders import Encoding, make_encoder
from charrnn.model.source.shapes import first_state_size, state_size


class SourceAttention(nn.Module):
    """Attention to the states of a source.

    additive (Bahdanau et al. 2015)     a_s = softmax over s of v . tanh(W h + U state_s + b)
    dot (Luong et al. 2015)             a_s = softmax over s of (W h) . (U state_s + b) / sqrt(size)

    h' = h + V (sum over s of a_s state_s)

    Its memory is (U state_s + b), (V state_s), (batch, length, hidden_size) each, and which of them
    exist, (batch, length), 1 or 0.
    """

    def __init__(self, config: ModelConfig, kind: str) -> None:
        super().__init__()
        hidden, size = config.hidden_size, state_size(config)
        self.scale = 1 / math.sqrt(hidden)
        self.score = None
        if kind == "additive":
            self.score = nn.Parameter(torch.empty(hidden).uniform_(-self.scale, self.scale))
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(size, hidden)
        self.value = nn.Linear(size, hidden, bias=False)
        self.dropout = Dropout(config.dropout)
        for part in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(part.weight)
        nn.init.zeros_(self.key.bias)

    def memory(self, encoding: Encoding) -> State:
        """Return what is kept of a source."""
        keys, values = self.key(encoding.states), self.value(encoding.states)
        return keys, values, encoding.mask.to(keys.dtype)

    def forward(self, values: Tensor, memory: State) -> Tensor:
        """Add what attention finds to the outputs of a layer, (batch, time, hidden_size)."""
        found = self.weights(values, memory).to(values.dtype) @ memory[1].to(values.dtype)
        added: Tensor = self.dropout(found)
        return values + added

    def weights(self, values: Tensor, memory: State) -> Tensor:
        """Return the weights of the states of the source, (batch, time, length)."""
        keys, _, mask = memory
        queries = self.query(values)
        if self.score is None:
            scores = queries @ keys.to(queries.dtype).mT * self.scale
        else:
            scores = additive_scores(queries, keys, self.score)
        existing = at_least_float32(scores).masked_fill(mask[:, None] == 0, -math.inf)
        return torch.softmax(existing, dim=-1)


class Source(nn.Module):
    """What a model has besides the decoder: see `charrnn.model.source`."""

    def __init__(self, config: ModelConfig, source: SourceConfig) -> None:
        super().__init__()
        self.arrays = config.num_layers * CELLS[config.cell].num_states
        self.encoder = make_encoder(config, source)
        self.first_state = nn.Linear(state_size(config), first_state_size(config))
        nn.init.xavier_uniform_(self.first_state.weight)
        nn.init.zeros_(self.first_state.bias)
        kind = source.source_attention
        self.attention = SourceAttention(config, kind) if kind != "none" else None

    @property
    def memory_size(self) -> int:
        """Number of tensors of the attention's memory."""
        return 0 if self.attention is None else 3

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[State, State]:
        """Read sources.

        Returns:
            The first state of the decoder's layers, and the attention's memory, if there is one.
        """
        encoding: Encoding = self.encoder(values, lengths)
        first = torch.tanh(self.first_state(encoding.summary)).chunk(self.arrays, dim=-1)
        memory = self.attention.memory(encoding) if self.attention is not None else ()
        return tuple(first), memory

    def attend(self, values: Tensor, memory: State) -> Tensor:
        """Add what attention finds, if there is any, to the first layer's outputs."""
        return values if self.attention is None else self.attention(values, memory)
