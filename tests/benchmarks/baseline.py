"""The character LSTM that most people would write in PyTorch, trained for a given wall time.

It is what charrnn has to beat. Two LSTM layers of 256 (nn.LSTM, float32), an embedding of 64, AdamW
at a constant 1e-3, gradients clipped at norm 1, batches of 32 sequential streams of 64 characters
with the state carried. No schedule, no layer norm, no dropout, no bfloat16.

It is meant to do well at that: it validates on the whole text as often as a tenth of its time
allows and keeps the best result, so that too much time does it no harm. The time is that of the
whole process, imports and validation included. The split, the treatment of unknown characters and
the unit are charrnn's, so that the two numbers can be compared.
"""

import time

START = time.perf_counter()

import argparse  # noqa: E402  (the clock has to start before torch is imported)
import json  # noqa: E402
import math  # noqa: E402
from fractions import Fraction  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

BATCH, LENGTH, STREAMS, WARMUP = 32, 64, 32, 256
CODE_POINTS = 0x110000 - 0x800  # those that UTF-8 can encode


class Network(nn.Module):
    """Embedding, LSTM, linear layer."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, 64)
        self.lstm = nn.LSTM(64, 256, num_layers=2, batch_first=True)
        self.head = nn.Linear(256, symbols)

    def forward(
        self, ids: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Map ids (batch, time) to logits (batch, time, symbols) and the state after them."""
        outputs, state = self.lstm(self.embedding(ids), state)
        return self.head(outputs), state


def read(path: Path, valid_fraction: float) -> tuple[Tensor, Tensor, int]:
    """Return the ids of the training part, those of the validation part, and the number of symbols.

    Symbol 0 is the unknown one; the others are the characters of the training part.
    """
    with path.open(encoding="utf-8", newline="") as file:
        codes = np.frombuffer(file.read().encode("utf-32-le"), dtype=np.uint32)
    cut = math.floor(len(codes) * (1 - Fraction(str(valid_fraction))))
    table = np.zeros(0x110000, dtype=np.int64)
    known = np.unique(codes[:cut])
    table[known] = np.arange(1, len(known) + 1)
    ids = torch.from_numpy(table[codes])
    return ids[:cut], ids[cut:], len(known) + 1


class Validator:
    """Scores the validation text, each character once, in parallel segments.

    Each first reads the 256 characters before it; after these the state is what reading the whole
    text would have given, to three decimals and better.
    """

    def __init__(self, train: Tensor, valid: Tensor, symbols: int) -> None:
        self.symbols = symbols
        lead = min(WARMUP, len(train) - 1)
        size = math.ceil(len(valid) / STREAMS)
        padded = functional.pad(
            torch.cat([train[-lead - 1 :], valid]), (0, size * STREAMS - len(valid))
        )
        # Row i holds the `lead + 1` symbols before segment i, and then the segment.
        self.rows = padded.unfold(0, size + lead + 1, size)
        counted = functional.pad(torch.ones(len(valid)), (0, size * STREAMS - len(valid))).view(
            STREAMS, size
        )
        self.weights = functional.pad(counted, (lead, 0))
        self.unknown = int((valid == 0).sum())
        self.tokens = len(valid)

    @torch.inference_mode()
    def score(self, model: Network, chunks: int | None = None) -> tuple[float, float]:
        """Return nats per character, and the same over known characters only.

        Of the first `chunks` pieces if given.
        """
        total, unknown, state = 0.0, 0.0, None
        for start in range(0, self.weights.shape[1], 256)[:chunks]:
            piece = self.rows[:, start : start + 257]
            logits, state = model(piece[:, :-1], state)
            nats = functional.cross_entropy(logits.transpose(1, 2), piece[:, 1:], reduction="none")
            nats *= self.weights[:, start : start + 256]
            total += float(nats.sum())
            unknown += float(nats[piece[:, 1:] == 0].sum())
        # An unknown character costs the unknown symbol, and then a uniform choice among the
        # characters outside.
        everything = total + self.unknown * math.log(CODE_POINTS - self.symbols + 1)
        return everything / self.tokens, (total - unknown) / max(self.tokens - self.unknown, 1)

    def seconds(self, model: Network) -> float:
        """Estimate how long `score` takes, from one of its pieces."""
        before = time.perf_counter()
        self.score(model, chunks=1)
        return (time.perf_counter() - before) * math.ceil(self.weights.shape[1] / 256)


class Training:
    """Sequential batches of a text, over and over, and the updates that they give."""

    def __init__(self, model: Network, train: Tensor) -> None:
        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        self.batch = max(1, min(BATCH, (len(train) - 1) // LENGTH))
        size = (len(train) - 1) // self.batch
        self.inputs = train[: size * self.batch].view(self.batch, size)
        self.targets = train[1 : size * self.batch + 1].view(self.batch, size)
        self.position, self.steps, self.characters, self.seconds = 0, 0, 0, 0.0
        self.state: tuple[Tensor, Tensor] | None = None

    def step(self) -> None:
        """Learn from the next 64 characters of each stream."""
        before = time.perf_counter()
        here = slice(self.position, self.position + LENGTH)
        logits, state = self.model(self.inputs[:, here], self.state)
        loss = functional.cross_entropy(logits.transpose(1, 2), self.targets[:, here])
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.state = (state[0].detach(), state[1].detach())
        self.position += LENGTH
        if self.position >= self.inputs.shape[1]:
            self.position, self.state = 0, None
        self.steps += 1
        self.characters += logits.shape[0] * logits.shape[1]
        self.seconds += time.perf_counter() - before

    def done(self) -> dict[str, float]:
        """Return how much was learned from, and how fast."""
        epochs = self.characters / self.targets.numel()
        return {
            "steps": self.steps,
            "epochs": epochs,
            "chars_per_second": self.characters / self.seconds,
        }


def train_for(training: Training, validator: Validator, seconds: float) -> dict[str, float]:
    """Train until the process is `seconds` old; return the best validation and what was done."""
    results: list[tuple[float, float]] = []
    for _ in range(3):  # the first calls are slow, and would spoil the estimate
        training.step()
        cost = validator.seconds(training.model)
    last, end = time.perf_counter(), START + seconds
    while True:
        now = time.perf_counter()
        if (
            now + 1.05 * cost > end
        ):  # just time for the last validation, unless it was overestimated
            cost = validator.seconds(training.model)
            if now + 1.05 * cost > end:
                break
        if now - last > 9 * cost and end - now > 3 * cost:
            results.append(validator.score(training.model))
            last = time.perf_counter()
            cost = last - now
        training.step()
    results.append(validator.score(training.model))
    best, best_known = min(results)
    return {
        "valid_nats": best,
        "valid_nats_known": best_known,
        "evaluations": len(results),
    } | training.done()


def main() -> None:
    """Train, and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--threads", type=int, help="all cores if not given")
    parser.add_argument("--valid-fraction", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    train, valid, symbols = read(args.text, args.valid_fraction)
    model, validator = Network(symbols), Validator(train, valid, symbols)
    figures = train_for(Training(model, train), validator, args.seconds)
    facts = {
        "text": args.text.name,
        "unknown": validator.unknown,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "threads": torch.get_num_threads(),
        "seconds": time.perf_counter() - START,
    }
    print(json.dumps(figures | facts))


if __name__ == "__main__":
    main()
