"""The network: symbols in, logits out, state carried.

    ids (batch, time)
      -> embedding                 (batch, time, embedding_size)
         + embeddings of the last 2, 3, ... symbols, if there are any
         + embeddings of what followed when the last symbols were read before, if there are any
      -> num_layers times: cell    (batch, time, hidden_size)
                           + its input (residual, where both have the same width)
                           -> layer norm
                           + attention to the source, if there is one, after the first layer
      -> attention over the last states, if there is any
         + both kinds of embeddings, by matrices, past all layers
      -> output layer              (batch, time, vocab_size)

Each layer is followed by dropout; the embedding is not, as dropout on it made models worse. Symbols
are 0 .. vocab_size - 1; the id `vocab_size` is the start symbol, the input before a text's first
symbol, which is never predicted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.errors import UsageError
from charrnn.model.adaptive_softmax import Tail, at_least_float32, log_probs, summed_loss
from charrnn.model.attention import Attention
from charrnn.model.cells.fast import run_layer
from charrnn.model.cells.layer import RecurrentLayer, State
from charrnn.model.dropout import Dropout
from charrnn.model.match_embedding import MatchEmbedding
from charrnn.model.ngram_embedding import NGramEmbedding
from charrnn.model.shapes import cell_states, state_shapes, tails, weight_shapes
from charrnn.model.source.network import Source


class Layer(nn.Module):
    """A recurrent layer, an optional residual connection around it, layer norm and dropout."""

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.cell = RecurrentLayer(input_size, config)
        self.norm = nn.LayerNorm(config.hidden_size) if config.layer_norm else nn.Identity()
        self.residual = config.residual and input_size == config.hidden_size
        self.dropout = Dropout(config.dropout)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over (batch, time, input_size).

        Returns:
            Outputs (batch, time, hidden_size), and the cell's last state.
        """
        outputs, state = run_layer(self.cell, inputs, state)
        outputs = self.norm(outputs + inputs if self.residual else outputs)
        return self.dropout(outputs), state


class CharRNN(nn.Module):
    """A recurrent language model.

    Attributes:
        config: The shape of the network.
        start: The start symbol's id, `vocab_size`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.start = config.vocab_size
        self.embedding = nn.Embedding(config.vocab_size + 1, config.embedding_size)
        self.ngrams = NGramEmbedding(config) if config.ngram_embedding else None
        self.matches = MatchEmbedding(config) if config.match_window else None
        sizes = [config.embedding_size] + [config.hidden_size] * (config.num_layers - 1)
        self.layers = nn.ModuleList(Layer(size, config) for size in sizes)
        self.attention = Attention(config) if config.attention else None
        (outputs,) = weight_shapes(config)["head_bias"]
        self.head_bias = nn.Parameter(torch.zeros(outputs))
        self.head_weight: nn.Parameter | None = None
        scale = config.hidden_size**-0.5
        if config.tied:  # the embedding is also the output layer, so it starts on its scale
            nn.init.normal_(self.embedding.weight, std=scale)
        else:
            weight = torch.empty(outputs, config.hidden_size).uniform_(-scale, scale)
            self.head_weight = nn.Parameter(weight)
        self.tails = nn.ModuleList(Tail(config.hidden_size, *tail) for tail in tails(config))
        self.source = Source(config, config.source) if config.source is not None else None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head_bias.device

    @property
    def attention_span(self) -> int:
        """How many states its attention looks back at; 0 without attention."""
        return self.config.attention

    @property
    def match_history(self) -> int:
        """How many symbols it remembers to find matches; 0 if it has none."""
        return self.config.match_history if self.config.match_window else 0

    @property
    def state_size(self) -> int:
        """Number of tensors of a state, the memory of a source included."""
        memory = 0 if self.source is None else self.source.memory_size
        return len(state_shapes(self.config)) + memory

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Predict the symbol after each one given.

        Args:
            ids: Symbols, (batch, time) int64, each in 0 .. vocab_size.
            state: What an earlier call returned, or None at the start of a text: for each layer its
                cell's tensors (batch, hidden_size), the attention's memory, the last symbols for
                n-grams and for matches, and the memory of the source. With a source, the first is
                what `begin` returned.

        Returns:
            Logits (batch, time, vocab_size), and the state after the last step.
        """
        values, carried = self.hidden(ids, state)
        return self.logits(values), carried

    def hidden(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run `forward` up to the output layer.

        Returns:
            The output layer's input (batch, time, hidden_size), and the state after the last step.
        """
        fixed = len(state_shapes(self.config))
        if state is None:
            if self.source is not None:
                what = "This model's texts depend on sources"
                raise UsageError(f"{what}: score pairs, with charrnn eval.")
            state = self.initial_state(len(ids))
        values, carried, codes = self.embedding(ids), (), ()  # type: Tensor, State, State
        if self.ngrams is not None:
            sums, last = self.ngrams(ids, state[fixed - 1 - (self.matches is not None)])
            codes += (last,)
            if self.config.ngrams_to_input:
                values = values + sums
        if self.matches is not None:
            found, last = self.matches(ids, state[fixed - 1], self.embedding.weight)
            codes += (last,)
            values = self.matches.into_input(values, found)
        for layer, before in zip(self.layers, self.cell_states(state), strict=True):
            values, after = layer(values, before)
            if self.source is not None and not carried:
                values = self.source.attend(values, state[fixed:])
            carried += after
        if self.attention is not None:
            end = cell_states(self.config)
            values, after = self.attention(values, state[end : end + 2])
            carried += after
        if self.ngrams is not None:
            values = self.ngrams.into_output(values, sums)
        if self.matches is not None:
            values = self.matches.into_output(values, found)
        return values, (*carried, *codes, *state[fixed:])

    def logits(self, values: Tensor) -> Tensor:
        """Map (..., hidden_size) to logits (..., vocab_size), or log probabilities if adaptive."""
        head = self._head(values)
        return log_probs(head, self._tails, values) if self.tails else head

    def log_probs(self, values: Tensor) -> Tensor:
        """Map (..., hidden_size) to log probabilities (..., vocab_size), at least in float32."""
        logits = at_least_float32(self.logits(values))
        return logits if self.tails else functional.log_softmax(logits, dim=-1)

    def loss(self, values: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return the summed negative log likelihood in nats.

        Args:
            values: What `hidden` returned, (batch, time, hidden_size).
            targets: Symbols, (batch, time); -100 marks positions without a target.
            smoothing: Label smoothing (Szegedy et al. 2016, section 7), 0 to 1: the share of each
                target's probability that is spread over all symbols. Not for adaptive softmax.
        """
        head, wanted = self._head(values).flatten(0, 1), targets.flatten()
        if self.tails:
            return summed_loss(head, self._tails, values.flatten(0, 1), wanted)
        return functional.cross_entropy(
            head.float(), wanted, reduction="sum", label_smoothing=smoothing
        )

    @property
    def _tails(self) -> list[Tail]:
        return [tail for tail in self.tails if isinstance(tail, Tail)]

    def _head(self, values: Tensor) -> Tensor:
        tied = self.head_weight is None
        weight = self.embedding.weight[: self.start] if tied else self.head_weight
        assert weight is not None
        return functional.linear(values, weight, self.head_bias)

    def tables(self) -> list[nn.Parameter]:
        """Return the tables of n-gram embeddings, whose gradients are sparse."""
        return [] if self.ngrams is None else [self.ngrams.weight]

    def set_dropout(self, dropout: float, ngram_dropout: float) -> None:
        """Change the dropout probability of all layers, and that of n-gram embeddings."""
        self.config = replace(self.config, dropout=dropout, ngram_dropout=ngram_dropout)
        for module in self.modules():
            if isinstance(module, Dropout):
                module.probability = dropout
        if self.ngrams is not None:
            self.ngrams.dropout.probability = ngram_dropout

    def initial_state(self, batch: int) -> State:
        """Return the state before the first symbol: zeros."""
        return tuple(self.head_bias.new_zeros(batch, *shape) for shape in state_shapes(self.config))

    def remembering(self, ids: Tensor) -> State:
        """Return a state of zeros that remembers some symbols to find matches.

        Args:
            ids: At least the last `match_history` symbols, (batch, count); those before the text
                are start symbols.
        """
        state = self.initial_state(len(ids))
        if not self.match_history:
            return state
        codes = (ids[:, -self.match_history :] + 1) % (self.start + 1)
        return (*state[:-1], codes.to(state[-1]))

    def begin(self, values: Tensor, lengths: Tensor) -> State:
        """Return the state before the first symbol of records with these sources.

        Args:
            values: The sources; see `charrnn.data.sources.SourceArrays`.
            lengths: Their lengths, (batch,) int64.
        """
        assert self.source is not None
        first, memory = self.source(values, lengths)
        zeros = self.initial_state(len(values))
        cells = tuple(one.to(zeros[0].dtype).contiguous() for one in first)
        return (*cells, *zeros[len(cells) :], *memory)

    def cell_states(self, state: State) -> list[State]:
        """Return each layer's part of a state."""
        size = CELLS[self.config.cell].num_states
        return [state[i : i + size] for i in range(0, cell_states(self.config), size)]


def detach(state: Iterable[Tensor]) -> State:
    """Detach a state from its gradient graph: the truncation of truncated BPTT."""
    return tuple(tensor.detach() for tensor in state)


def from_weights(config: ModelConfig, weights: Mapping[str, NDArray[Any]]) -> CharRNN:
    """Return a trained model; `charrnn.model.shapes.weight_shapes` names and shapes its weights."""
    model = build(config, seed=0)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return model


def build(config: ModelConfig, seed: int) -> CharRNN:
    """Return a new model, determined by `config` and `seed`; global generators are not changed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every device's
        return CharRNN(config)
