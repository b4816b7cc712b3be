"""A model on its device, ready to score texts."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from charrnn.config.dynamic import DynamicConfig
from charrnn.data.encoding import Encoded
from charrnn.data.formats import TextFormat
from charrnn.data.text import OnProgress, no_progress
from charrnn.errors import ModelFileError, UsageError
from charrnn.evaluation.dynamic import dynamic_nats
from charrnn.evaluation.gradient_flow import GradientFlow, measure_gradient_flow
from charrnn.evaluation.networks import network_of
from charrnn.evaluation.overlap import TrainingOverlap
from charrnn.evaluation.score import (
    Nats,
    Positions,
    Score,
    ScoreBreakdown,
    ScoringProtocol,
    break_down,
    piece_of,
)
from charrnn.evaluation.scoring import predictions, segments, token_nats
from charrnn.evaluation.surprisal import (
    Surprisal,
    score_lines,
    surprisals,
    surprisals_of,
    with_best,
)
from charrnn.evaluation.warm_up import settled
from charrnn.model.network import CharRNN
from charrnn.runtime.device import autocast, choose_device, prepare_cpu
from charrnn.runtime.precision import fastest_precision, possible_precisions
from charrnn.runtime.threads import use_idle_cores
from charrnn.storage.blend import Saved
from charrnn.version import __version__

MEASURED_ROWS, MEASURED_STEPS = 64, 16  # of a batch with which number formats are compared


class Scorer:
    """Scores texts with a trained model.

    Attributes:
        network: The model, on its device.
        precision: Number format of the matrix products: fp32, bf16 or fp16.
        on_progress: Called while a text is scored.

    Args:
        saved: The trained model, or a blend of several.
        device: Where to compute: auto, cpu, cuda or mps.
        precision: Number format: auto, fp32, bf16 or fp16.
        threads: CPU threads; None is torch's default.
    """

    def __init__(
        self,
        saved: Saved,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        threads: int | None = None,
    ) -> None:
        prepare_cpu(threads)
        chosen = choose_device(device)
        self.tokenizer, self.identity = saved.tokenizer, saved.identity
        self.on_progress: OnProgress = no_progress
        self.network = network_of(saved).to(chosen)
        names = possible_precisions(precision, chosen)
        only = len(names) == 1 or saved.source is not None
        self.precision = names[0] if only else self._fastest(names)

    def _fastest(self, names: tuple[str, ...]) -> str:
        """Return the number format in which this model scores fastest."""
        return fastest_precision(names, self._score_anything).name

    def use_idle_cores(self) -> None:
        """Score with fewer threads where other programs compute, if that is faster."""
        if self.network.device.type == "cpu":
            use_idle_cores(lambda: self._score_anything(self.precision))

    @torch.inference_mode()
    def _score_anything(self, precision: str) -> float:
        """Score some symbols, for a measurement, and wait for the device."""
        ids = torch.arange(MEASURED_ROWS * MEASURED_STEPS).remainder(self.network.start)
        batch = ids.view(MEASURED_ROWS, MEASURED_STEPS).to(self.network.device)
        with autocast(precision, self.network.device):
            logits, _ = self.network(batch)
            return float(logits.sum())

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context for the number format."""
        return autocast(self.precision, self.network.device)

    def settled(self, text: Encoded, protocol: ScoringProtocol | None = None) -> ScoringProtocol:
        """Return the protocol by which a text is scored; see `charrnn.evaluation.warm_up`.

        By default it is that of `ScoringProtocol.of`.
        """
        return settled(self.network, text, protocol or ScoringProtocol.of(text))

    def score(self, text: Encoded, protocol: ScoringProtocol | None = None) -> ScoreBreakdown:
        """Score a text as a whole, by default with the protocol that `settled` returns."""
        chosen = protocol or self.settled(text)
        losses = token_nats(self.network, text, chosen, autocast=self.autocast)
        found = break_down(self._watched(losses, "Scoring", text), self.tokenizer, text)
        check_finite(found.score.nats)
        return found

    def _watched(
        self, losses: Iterable[tuple[Positions, Nats]], what: str, text: Encoded
    ) -> Iterator[tuple[Positions, Nats]]:
        """Yield losses, and report progress."""
        done, total = 0, len(text.ids)
        for positions, nats in losses:
            yield positions, nats
            done += len(positions)
            self.on_progress(what, done, total)

    def classify(self, text: Encoded) -> tuple[ScoreBreakdown, Positions]:
        """Score records of one symbol each, such as labels.

        Returns:
            The score, and the most probable symbol of each record, (records,).
        """
        best = np.zeros(len(text.ids), np.int64)

        def losses() -> Iterator[tuple[Positions, Nats]]:
            found = predictions(
                self.network,
                text.ids,
                segments(text, ScoringProtocol.records()),
                with_best,
                sources=text.sources,
                autocast=self.autocast,
            )
            for positions, (nats, symbols) in found:
                best[positions] = symbols
                yield positions, nats.astype(np.float64)

        return break_down(losses(), self.tokenizer, text), best

    def nats_by_label(self, text: Encoded, counts: Sequence[int]) -> tuple[Positions, Nats]:
        """Return the nats of each record together with each label as its source.

        Args:
            text: Records whose sources are labels.
            counts: How often each label occurred in training, for the prior.

        Returns:
            The records' own labels, and the joint negative log likelihoods, (records, labels).
        """
        assert text.starts is not None
        assert text.sources is not None
        found = np.tile(math.log(sum(counts)) - np.log(counts), (len(text.starts), 1))
        for label in range(len(counts)):
            numbers = np.full_like(text.sources.numbers, label)
            sources = replace(text.sources, numbers=numbers)
            found[:, label] += self._record_nats(replace(text, sources=sources), len(text.starts))
        return text.sources.numbers, found

    def _record_nats(self, text: Encoded, records: int) -> Nats:
        """Return the nats of each record, (records,)."""
        found, protocol = np.zeros(records), ScoringProtocol.records()
        for positions, nats in token_nats(self.network, text, protocol, autocast=self.autocast):
            np.add.at(found, piece_of(text, positions), nats)
        return found

    def warm_up(self, text: Encoded, tokens: int) -> None:
        """Score the first `tokens` tokens of a text, so that later scoring can be timed."""
        ids = text.ids[:tokens]
        self.score(replace(text, ids=ids, starts=None if text.starts is None else text.starts[:1]))

    def dynamic_score(self, text: Encoded, config: DynamicConfig) -> Score:
        """Score a text while a copy of the model learns from it, in float32."""
        losses = dynamic_nats(self.single("Dynamic evaluation"), text.ids, config)
        watched = self._watched(losses, "Learning while scoring", text)
        return break_down(watched, self.tokenizer, text).score

    def lines(self, lines: Sequence[str]) -> list[Score]:
        """Score each line by itself, from the start symbol."""
        scores = score_lines(self.network, self.tokenizer, lines, autocast=self.autocast)
        for score in scores:
            check_finite(score.nats)
        return scores

    def tokens(
        self, text: str, protocol: ScoringProtocol, text_format: TextFormat
    ) -> Iterator[Surprisal]:
        """Yield the surprisal of each token of a text."""
        for token in surprisals(
            self.network,
            self.tokenizer,
            text,
            protocol,
            text_format=text_format,
            autocast=self.autocast,
        ):
            check_finite(token.bits, token.entropy)
            yield token

    def pair_tokens(self, text: str, encoded: Encoded) -> Iterator[Surprisal]:
        """Yield the surprisal of each token of the targets of some pairs.

        Args:
            text: The targets as they are, joined.
            encoded: Their ids and sources.
        """
        protocol, both = ScoringProtocol.records(), (text, encoded)
        return surprisals_of(self.network, self.tokenizer, both, protocol, autocast=self.autocast)

    def gradient_flow(self, text: Encoded, lags: int = 200) -> GradientFlow:
        """Measure how far back the model's gradients reach on a text."""
        network = self.single("Gradient flow")
        if network.source is not None:
            raise UsageError("Gradient flow is not measured for models of pairs, with sources.")
        flow = measure_gradient_flow(network, text.ids, text.starts, lags=lags)
        check_finite(*flow.norms, *flow.singular_values.values(), what="gradients")
        return flow

    def single(self, what: str) -> CharRNN:
        """Return the model; raise `UsageError` if it is a blend, of which `what` is not known."""
        if isinstance(self.network, CharRNN):
            return self.network
        raise UsageError(f"{what} takes one model, not a blend.", "Name one of its members.")

    def signature(
        self,
        state: str,
        sha256: str = "",
        precision: str = "",
        overlap: TrainingOverlap | None = None,
    ) -> str:
        """Return the signature of a score: everything that it depends on.

        Args:
            state: The protocol's name.
            sha256: SHA-256 of the text; empty for lines that are read one by one.
            precision: Number format, if it is not the scorer's own.
            overlap: How much of the text was seen in training.
        """
        kind, size = self.tokenizer.kind, self.tokenizer.size
        parts = [f"tokenizer:{kind}-{size}", state, f"precision:{precision or self.precision}"]
        if sha256:
            parts.append(f"text:{sha256[:12]}")
        if overlap is not None:
            parts.append(str(overlap))
        return "|".join([*parts, self.identity, f"charrnn:{__version__}"])


def check_finite(*values: float, what: str = "predictions") -> None:
    """Raise `ModelFileError` unless all values are finite, which the weights are when loaded."""
    if not all(map(math.isfinite, values)):
        message = f"The model's {what} are not finite: its weights are too large."
        raise ModelFileError(message, "Train it again with a lower learning rate.")
