"""The number format in which a run trains fastest on this machine."""

from dataclasses import replace
from functools import partial
from math import prod

import torch
from torch.amp.grad_scaler import GradScaler

from charrnn.config.model import ModelConfig
from charrnn.config.source import SourceConfig
from charrnn.config.training import TrainConfig
from charrnn.data.batching.base import Batch, SourceBatch
from charrnn.data.sources import item_shape
from charrnn.model.network import CharRNN, build
from charrnn.model.shapes import parameter_count
from charrnn.runtime.device import autocast, choose_device
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.runtime.precision import Precision, fastest_precision, possible_precisions
from charrnn.training.step import GradientComputer

# Narrower layers have no products large enough for the format to matter.
MIN_WIDTH = 96
# Multiplications in a measured part of a step, which take some 50 ms on one core. On a GPU, a whole
# step takes a few milliseconds, and less than that would measure how fast kernels are launched.
MEASURED_WORK = 2e9
MEASURED_PIXELS = 1 << 16  # of the pictures in a measured part of a step


def choose_precision(
    model: ModelConfig, config: TrainConfig, group: ProcessGroup = ALONE
) -> Precision:
    """Return the number format that `config` asks for; `auto` is the one that is fastest here.

    All processes of the group call this at once and get the same answer.

    Raises:
        MachineError: fp16 on a CPU, where torch cannot train in it.
    """
    device = choose_device(config.device)
    names = possible_precisions(config.precision, device)
    if len(names) == 1 or model.hidden_size < MIN_WIDTH:
        return Precision(names[0])
    # Orthogonal matrices take long to make, and do not matter here. To look for matches takes as
    # long in every format, and of a part of a step far too much.
    shape = replace(model, orthogonal=False, dropout=0.0, match_window=0)
    network = build(shape, config.seed).to(device)
    rows = -(-config.batch_size // (group.size * config.accumulate))
    steps = config.seq_len
    if device.type == "cpu":
        steps = min(steps, max(2, int(MEASURED_WORK / (3 * parameter_count(model) * rows))))
    if model.source is not None and model.source.is_picture:
        rows = max(1, min(rows, MEASURED_PIXELS // prod(model.source.pixels)))
    batch = _random_batch(network, rows, steps)
    return fastest_precision(names, partial(compute_gradients, network, batch), group)


def _random_batch(network: CharRNN, rows: int, steps: int) -> Batch:
    source, generator = network.config.source, torch.Generator().manual_seed(1)
    ids = torch.randint(0, network.start, (rows, steps + 1), generator=generator)
    given = None if source is None else _random_source(source, rows, steps, generator)
    return Batch(ids[:, :-1], ids[:, 1:], True, steps, source=given)


def _random_source(
    source: SourceConfig, rows: int, steps: int, generator: torch.Generator
) -> SourceBatch:
    """Return sources as long as the targets, or a label or a picture for each."""
    length = 1 if source.source == "label" or source.is_picture else steps
    item = item_shape(source)
    shape = (rows, *item) if source.is_picture else (rows, length, *item)
    values = torch.randint(0, source.source_vocab_size or 256, shape, generator=generator)
    if source.feature_size is not None:
        values = values.float()
    return SourceBatch(values, torch.full((rows,), length))


def compute_gradients(network: CharRNN, batch: Batch, precision: str) -> None:
    """Compute the gradients of a batch in a number format, and wait until that is done."""
    scaler = GradScaler(network.device.type, enabled=False)
    context = partial(autocast, precision, network.device)
    GradientComputer(network, scaler, context).backward(batch, None)
    network.zero_grad()
    if network.device.type == "cuda":
        torch.cuda.synchronize(network.device)
