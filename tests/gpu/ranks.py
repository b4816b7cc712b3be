"""One of several processes that train together, for the tests; torchrun's environment is set.

    python ranks.py FOLDER DEVICE BACKEND SETTINGS

SETTINGS are a JSON object. What came of the training goes into FOLDER.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))


def main() -> None:
    """Train, and keep what came of it."""
    from comparison import outcome, trainer_on

    from charrnn.__main__ import exit_at_once
    from charrnn.runtime.distributed import ProcessGroup
    from charrnn.runtime.rendezvous import _backend, _rendezvous, process_group

    folder, device, backend, given = sys.argv[1:]
    settings = json.loads(given)
    if os.environ["WORLD_SIZE"] == "1":  # one process needs no connection; here it gets one
        group = ProcessGroup()
        _rendezvous(group, _backend(group, device, backend))
        trainer = connected(trainer_on(device, **settings))
    else:
        with process_group(device, backend) as group:
            trainer = trainer_on(device, group=group, **settings)
    found = outcome(trainer)
    plain = {"losses": found.losses, "norms": found.norms, "valid": found.valid}
    np.savez(Path(folder) / f"{group.rank}.npz", **found.gradients)
    (Path(folder) / f"{group.rank}.json").write_text(json.dumps(plain))
    exit_at_once(0)


def connected(trainer):  # type: ignore[no-untyped-def]
    """Let a trainer of one process synchronise its gradients with itself."""
    import torch
    from torch import distributed, nn

    trainer.gradients.module = nn.parallel.DistributedDataParallel(
        trainer.gradients.module, gradient_as_bucket_view=True
    )
    values = [None]
    distributed.all_gather_object(values, {"a": 1})  # by gloo, beside NCCL
    assert values == [{"a": 1}]
    total = torch.ones(2, dtype=torch.float64)
    distributed.all_reduce(total)
    assert total.tolist() == [1, 1]
    return trainer


if __name__ == "__main__":
    main()
