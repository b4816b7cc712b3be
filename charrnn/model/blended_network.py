"""Several networks as one; `charrnn.model.blend` in torch."""

from collections.abc import Sequence
from itertools import repeat

import torch
from torch import Tensor, nn

from charrnn.model.blend import Mixing, split_state
from charrnn.model.cells.layer import State
from charrnn.model.network import CharRNN
from charrnn.tokenizers.union import SymbolMap


class Member(nn.Module):
    """A network of a blend, in the blend's symbols.

    Args:
        network: The network.
        symbols: How its symbols stand for the blend's; None if they are the blend's.
    """

    inputs: Tensor
    outputs: Tensor
    log_shares: Tensor

    def __init__(self, network: CharRNN, symbols: SymbolMap | None) -> None:
        super().__init__()
        self.network, self.is_mapped = network, symbols is not None
        if symbols is not None:
            for name, values in vars(symbols).items():
                self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def forward(self, ids: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Return log probabilities (batch, time, size of the blend), and the state."""
        logits, state = self.network(self.own_symbols(ids), state)
        predicted = torch.log_softmax(logits.float(), dim=-1)
        if self.is_mapped:
            predicted = predicted[..., self.outputs] + self.log_shares
        return predicted, state

    def own_symbols(self, ids: Tensor) -> Tensor:
        """Return the network's symbols for the blend's."""
        return self.inputs[ids] if self.is_mapped else ids


class BlendedNetwork(nn.Module):
    """Several networks as one, with their states side by side.

    Attributes:
        start: The start symbol's id: the size of the union of the vocabularies.

    Args:
        networks: The members; they have sources of one kind, or none.
        maps: How the symbols of each stand for the union's; None where they are the union's.
        mixing: How their predictions are mixed.
        size: Size of the union of the vocabularies.
    """

    def __init__(
        self,
        networks: Sequence[CharRNN],
        maps: Sequence[SymbolMap | None],
        mixing: Mixing,
        size: int,
    ) -> None:
        super().__init__()
        self.mixing, self.start = mixing, size
        members = [Member(*both) for both in zip(networks, maps, strict=True)]
        self.members = nn.ModuleList(members)
        self._sizes = [one.network.state_size for one in members]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def attention_span(self) -> int:
        """How many states its attention looks back at: the longest of the members'."""
        return max(one.network.attention_span for one in self._members)

    @property
    def match_history(self) -> int:
        """How many symbols it remembers to find matches: the most of the members'."""
        return max(one.network.match_history for one in self._members)

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Predict the symbol after each one given; see `CharRNN.forward`.

        Returns:
            Log probabilities (batch, time, size) in float32, and the state after the last step.
        """
        parts = repeat(None) if state is None else split_state(state, self._sizes)
        predictions, carried = list[Tensor](), ()  # type: list[Tensor], State
        for member, part in zip(self._members, parts, strict=False):
            predicted, after = member(ids, part)
            predictions.append(predicted)
            carried += after
        return self.mixing.mix(predictions, torch), carried

    def initial_state(self, batch: int) -> State:
        """Return the state before the first symbol: the members' states, one after the other."""
        return tuple(one for member in self._members for one in member.network.initial_state(batch))

    def remembering(self, ids: Tensor) -> State:
        """Return a state of zeros that remembers some symbols; see `CharRNN.remembering`."""
        return tuple(
            one
            for member in self._members
            for one in member.network.remembering(member.own_symbols(ids))
        )

    def begin(self, values: Tensor, lengths: Tensor) -> State:
        """Return the state before the first symbol of records; see `CharRNN.begin`."""
        return tuple(
            one for member in self._members for one in member.network.begin(values, lengths)
        )

    @property
    def _members(self) -> list[Member]:
        return [one for one in self.members if isinstance(one, Member)]


Network = CharRNN | BlendedNetwork
