"""Tasks whose answer is known: for the tests at small size, for the benchmark at full size."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import EncodedSplit, encode_text
from charrnn.data.formats import PLAIN
from charrnn.evaluation.score import ScoringProtocol
from charrnn.evaluation.scoring import evaluate
from charrnn.model.network import CharRNN, build
from charrnn.tokenizers import CharTokenizer
from charrnn.training.optimizer import Optimizer
from charrnn.training.schedule import learning_rate
from charrnn.training.step import clip_gradients
from charrnn.training.trainer import Trainer

SYMBOLS, DISTRACTORS = 8, 8  # of the delayed recall; one more symbol asks


def recall_batch(
    batch: int, delay: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sequences (batch, delay + 2) and the symbol that each begins with (batch,).

    Between that and the question, which is last, are distractors.
    """
    shown = rng.integers(0, SYMBOLS, (batch, 1))
    noise = rng.integers(SYMBOLS, SYMBOLS + DISTRACTORS, (batch, delay))
    question = np.full((batch, 1), SYMBOLS + DISTRACTORS)
    return torch.from_numpy(np.hstack([shown, noise, question])), torch.from_numpy(shown[:, 0])


def recall(
    delay: int, steps: int, *, lr: float = 1e-2, batch: int = 32, seed: int = 1, **settings: Any
) -> float:
    """Train on delayed recall (Hochreiter & Schmidhuber 1997).

    Returns:
        The share of new sequences that are answered correctly.
    """
    shape = {"num_layers": 1, "hidden_size": 64, "embedding_size": 16} | settings
    model = build(ModelConfig(vocab_size=SYMBOLS + DISTRACTORS + 1, **shape), seed)
    config, rng = TrainConfig(steps=steps, lr=lr, optimizer="adamw"), np.random.default_rng(seed)
    optimizer = Optimizer(model, config)
    for step in range(steps):
        rows, shown = recall_batch(batch, delay, rng)
        logits, _ = model(rows)
        functional.cross_entropy(logits[:, -1], shown).backward()  # type: ignore[no-untyped-call]
        clip_gradients(model, config)
        optimizer.step(learning_rate(step, config))
        optimizer.zero_grad()
    return recalled(model, delay, np.random.default_rng(seed + 1))


def recalled(model: CharRNN, delay: int, rng: np.random.Generator) -> float:
    """Return the share of 1,000 new sequences that a model answers correctly."""
    rows, shown = recall_batch(1000, delay, rng)
    with torch.no_grad():
        logits, _ = model.eval()(rows)
    return float((logits[:, -1].argmax(1) == shown).double().mean())


@dataclass(frozen=True)
class Source:
    """A Markov chain over letters, each letter's successor drawn from its own row.

    Attributes:
        rows: Transition probabilities, (symbols, symbols).
    """

    rows: npt.NDArray[np.float64]

    @classmethod
    def drawn(cls, symbols: int, seed: int) -> "Source":
        """Draw one whose rows are uneven."""
        return cls(np.random.default_rng(seed).dirichlet(np.full(symbols, 0.5), symbols))

    @property
    def entropy(self) -> float:
        """Nats for each letter, of which no model can need fewer in the long run."""
        values, vectors = np.linalg.eig(self.rows.T)
        stationary = np.real(vectors[:, np.argmax(np.real(values))])
        plogp = self.rows * np.log(np.maximum(self.rows, 1e-300))
        return float(-(stationary / stationary.sum()) @ plogp.sum(axis=1))

    def write(self, length: int, seed: int) -> str:
        """Write a text."""
        reached, draws = self.rows.cumsum(axis=1), np.random.default_rng(seed).random(length)
        state, letters = 0, []
        for draw in draws:
            state = min(int((reached[state] <= draw).sum()), len(reached) - 1)
            letters.append(chr(ord("a") + state))
        return "".join(letters)


def excess(source: Source, length: int, steps: int, *, lr: float = 1e-2, **settings: Any) -> float:
    """Train on a source's text.

    Returns:
        By how much the model's nats on a new text exceed the source's own, as a share.
    """
    train, valid = source.write(length, seed=1), source.write(length, seed=2)
    tokenizer = CharTokenizer.train(train)
    encoded, held_out = (encode_text(tokenizer, text) for text in (train, valid))
    data = EncodedSplit("source", "", PLAIN, tokenizer, encoded, held_out)
    shape = {"num_layers": 1, "hidden_size": 32, "embedding_size": 16} | settings
    config = TrainConfig(steps=steps, lr=lr, eval_every=steps, batch_size=16, seq_len=32)
    model = build(ModelConfig(vocab_size=tokenizer.size, **shape), 1)
    trainer = Trainer(model, data, config, "fp32")
    while trainer.progress.step < steps:
        trainer.train_once()
    score = evaluate(model, tokenizer, data.valid, ScoringProtocol.carried())
    states = np.frombuffer(valid.encode(), np.uint8) - ord("a")
    # the source's own nats on this very text
    own = -np.log(source.rows[states[:-1], states[1:]]).mean()
    return score.nats_per_token / float(own) - 1
