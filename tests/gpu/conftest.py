"""The tests in this folder compare a GPU with the CPU; `make gpu` runs them.

With `--rehearse-gpu`, they compare the CPU with itself, which finds their own mistakes.
"""

import pytest
import torch


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> str:
    """The device that is compared with the CPU: cuda, or in a rehearsal the CPU itself."""
    return "cpu" if request.config.getoption("--rehearse-gpu") else "cuda"


@pytest.fixture
def cuda(gpu: str) -> torch.device:
    """The GPU, for what a CPU cannot stand in for; skipped in a rehearsal."""
    if gpu == "cpu":
        pytest.skip("a CPU cannot stand in for the GPU here")
    return torch.device(gpu, torch.cuda.current_device())
