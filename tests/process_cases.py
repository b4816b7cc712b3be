"""Start processes that train together, as torchrun starts them, on cases that a test compares.

Run as a script, it is one of the ranks: it trains some of the cases for some steps, and keeps what
came of them.
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
# A script's own folder is not where charrnn is.
PATHS = [str(HERE.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
OURS = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, PATHS))}
SECONDS = 120  # after which something hangs

# Settings of a Trainer beside those of `small_runs`, by the name of the case.
CASES: dict[str, dict[str, Any]] = {
    "lstm sequential": {},
    "gru random": {"cell": "gru", "batcher": "random"},
    "rnn adamw": {"cell": "rnn", "optimizer": "adamw", "num_layers": 2},
    "mingru": {"cell": "mingru", "residual": True, "num_layers": 2},
    "minlstm stride": {"cell": "minlstm", "bptt_stride": 8},
    "full": {"bptt": "full"},
    "random lengths": {"bptt": "random"},
    "curriculum": {"seq_len_start": 4},
    "attention": {"attention": 12},
    "n-grams": {"ngram_embedding": 4, "ngram_rows": 64, "ngram_path": "both"},
    "n-grams, accumulate": {
        "ngram_embedding": 3,
        "ngram_rows": 64,
        "ngram_path": "output",
        "accumulate": 2,
    },
    "matches": {"match_window": 20, "match_length": 1, "accumulate": 2},
    "adaptive": {"adaptive": True},
    "tied": {"tied": True, "embedding_size": 8},
    "accumulate": {"accumulate": 2},
    "records": {"records": "lines"},
    "few long records": {"records": "lines", "batch_size": 1, "seq_len": 64},
    "pairs": {"records": "lines", "source": "text"},
    "teacher": {"teacher": "gru", "accumulate": 2},
    "teacher, records": {"teacher": "lstm", "records": "lines"},
    "clipped": {"clip_norm": 0.05, "clip_value": 0.01},
}
RECORDS = "the cat\nsat\non the mat where a dog ran to the hat, and the cat sat on\na\ndog\n"
ROWS = 8
STEPS = 12


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment(rank: int, size: int, port: int, **more: str) -> dict[str, str]:
    """Return the environment that torchrun sets for a rank."""
    names = {
        "RANK": rank,
        "WORLD_SIZE": size,
        "LOCAL_RANK": rank,
        "LOCAL_WORLD_SIZE": size,
        "MASTER_PORT": port,
    }
    place = {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1"}
    return OURS | place | more


def start(words: list[list[str]], **more: str) -> list[subprocess.Popen[str]]:
    """Start a process for each list of words, as the ranks of one job."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, *own],
            env=environment(rank, len(words), port, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, own in enumerate(words)
    ]


def ended(processes: list[subprocess.Popen[str]]) -> list[subprocess.CompletedProcess[str]]:
    """Wait for processes to end; return what they wrote and with what exit code they left."""
    results = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=SECONDS)
            results.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return results


def charrnn(*words: str, ranks: int = 2, **more: str) -> list[subprocess.CompletedProcess[str]]:
    """Run one command line in each of several ranks."""
    return ended(start([["-m", "charrnn", *words]] * ranks, **more))


def torchrun(*words: str) -> list[str]:
    """Return a command that starts charrnn under torchrun."""
    return [sys.executable, "-m", "torch.distributed.run", *words]


def killed(
    kills: list[tuple[int, int]], words: list[str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run two ranks under torchrun, which starts them again after each of the kills.

    Args:
        kills: After how many steps which rank is killed.
        words: The command.
        folder: Where to note who was killed.
    """
    program = folder / "killed.py"
    program.write_text(KILLED.format(kills=kills))
    agent = torchrun(
        "--standalone",
        "--nproc-per-node",
        "2",
        "--max-restarts",
        str(len(kills)),
        str(program),
        *words,
    )
    done = subprocess.run(
        agent, env=OURS, capture_output=True, text=True, timeout=2 * SECONDS, check=False
    )
    assert len(list(folder.glob("killed.py.*"))) == len(kills), done.stderr
    return done


KILLED = """
import os, signal
from pathlib import Path
from charrnn.training import trainer as training
from charrnn.__main__ import main

train = training.Trainer.train_once

def train_once(self):
    for step, rank in {kills}:
        done = Path(f"{{__file__}}.{{step}}-{{rank}}")
        if (step, rank) == (self.progress.step, self.group.rank) and not done.exists():
            done.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return train(self)

training.Trainer.train_once = train_once
main()
"""


def trained(name: str, group: Any) -> dict[str, Any]:
    """Train a case; return losses, the first gradients, the weights, the score and the state."""
    from models import saved
    from small_runs import SETTINGS, TEXT, read

    from charrnn.config.model import ModelConfig
    from charrnn.config.source import SourceConfig
    from charrnn.config.training import TrainConfig
    from charrnn.data.encoding import encode_text
    from charrnn.data.formats import RecordFormat
    from charrnn.data.sources import Sources
    from charrnn.model.network import build
    from charrnn.training.trainer import Trainer

    settings = SETTINGS | {"batch_size": ROWS, "steps": STEPS} | CASES[name]
    teacher = settings.pop("teacher", None)
    shape = {
        key: value for key, value in settings.items() if key in ModelConfig.__dataclass_fields__
    }
    rest = {key: value for key, value in settings.items() if key not in shape}
    data = read(TEXT)
    if "records" in settings:
        lines = RecordFormat("\n")
        parts = (encode_text(data.tokenizer, RECORDS * times, lines) for times in (2, 1))
        train, valid = parts
        if "source" in shape:  # each record is its own source
            shape["source"] = SourceConfig(source_vocab_size=data.tokenizer.size)
            train, valid = (
                replace(part, sources=Sources(part.ids, part.starts, ())) for part in (train, valid)
            )
        data = replace(data, format=lines, train=train, valid=valid)
    if teacher is not None:
        data = replace(
            data, teacher=saved(data.tokenizer, cell=teacher, ngram_embedding=3, ngram_rows=16)
        )
    config = TrainConfig(**rest)
    model = build(ModelConfig(vocab_size=data.tokenizer.size, **shape), config.seed)
    trainer = Trainer(model, data, config, "fp32", group)
    trainer.gradients.backward(trainer.batcher.next_batch(), None)
    gradients = {
        key: value.grad.to_dense().clone().numpy()
        for key, value in model.named_parameters()
        if value.grad is not None
    }
    trainer.optimizer.zero_grad()
    losses = [trainer.train_once() for _ in range(STEPS)]
    arrays, facts = trainer.state()
    return {
        "losses": [event.loss for event in losses],
        "norms": [event.grad_norm for event in losses],
        "tokens": losses[-1].tokens,
        "score": vars(trainer.evaluate().score),
        "gradients": gradients,
        "arrays": {key: value for key, value in arrays.items() if not key.startswith("rng.")},
        "generators": sorted(key for key in arrays if key.startswith("rng.")),
        "facts": facts,
    }


def save(found: dict[str, Any], path: Path) -> None:
    """Write what `trained` returned."""
    parts = {
        f"{part}/{key}": value
        for part in ("gradients", "arrays")
        for key, value in found[part].items()
    }
    np.savez(path, **parts)
    plain = {key: value for key, value in found.items() if key not in ("gradients", "arrays")}
    path.with_suffix(".json").write_text(json.dumps(plain))


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote."""
    found = json.loads(path.with_suffix(".json").read_text()) | {"gradients": {}, "arrays": {}}
    for name, value in np.load(path).items():
        part, _, key = name.partition("/")
        found[part][key] = value
    return found  # type: ignore[no-any-return]


def main() -> None:
    """Be a rank: work on some cases, and keep what this rank has found in a folder."""
    import torch

    from charrnn.__main__ import exit_at_once
    from charrnn.runtime.rendezvous import process_group

    folder, *cases = sys.argv[1:]
    torch.set_num_threads(1)
    with process_group("cpu", "auto") as group:
        for name in cases:
            save(trained(name, group), Path(folder) / f"{name}-{group.rank}.npz")
    exit_at_once(0)


if __name__ == "__main__":
    main()
