"""What a run checks and tells about itself."""

from hashlib import sha256

from charrnn.runtime.distributed import ConnectionLost, ProcessGroup
from charrnn.storage.container import Arrays


def check_same_weights(group: ProcessGroup, arrays: Arrays, step: int) -> None:
    """Raise `ConnectionLost` unless all processes have the same weights.

    They may differ if the machines are of different kinds.
    """
    if group.size == 1:
        return
    names = sorted(name for name in arrays if name.startswith("model."))
    weights = b"".join(arrays[name].tobytes() for name in names)
    what = f"The SHA-256 of the weights at step {step:,}"
    hint = "Use machines of one kind, with one version of torch. What was saved before is good."
    group.check_same({what: sha256(weights).hexdigest()}, hint, ConnectionLost)
