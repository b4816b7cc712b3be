"""What the machine refuses, as libraries report it: memory, threads, files, shared libraries."""

from charrnn.errors import MachineError

# What torch, C++, cuBLAS and cuDNN say of too little memory, in errors of no type of its own.
NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "status_alloc_failed",
    "std::bad_alloc",
)
TORCH_ADDRESSES = 1_000_000_000  # bytes of addresses below which torch aborts while it is loaded
NO_THREADS = ("can't start new thread", "thread creation failed")
SMALLER = "Try a smaller `batch_size`, `hidden_size` or `seq_len`."
LIMITS = "Raise the limits of this process (ulimit -a shows them), or free memory."


def refused_by_machine(error: Exception) -> MachineError | None:
    """Return the error for what the machine refused, or None if that is not what happened."""
    if is_out_of_memory(error):
        return MachineError("Out of memory.", SMALLER)
    if isinstance(error, RuntimeError) and _says(error, NO_THREADS):
        return MachineError("The system allows no more threads.", f"Use `threads` 1. {LIMITS}")
    if isinstance(error, ImportError) or _library_of(error):
        return _not_imported(error)
    if isinstance(error, OSError):
        place = f": {error.filename}" if error.filename else ""
        return MachineError(f"{error.strerror or error}{place}.")
    return None


def check_address_space() -> None:
    """Raise `MachineError` if this process may not use enough addresses to load torch."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < TORCH_ADDRESSES:
        raise MachineError(
            f"This process may use {limit / 1e6:,.0f} MB of addresses; torch needs "
            f"{TORCH_ADDRESSES / 1e6:,.0f} MB to be loaded.",
            "Raise the limit: ulimit -v unlimited",
        )


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error is about too little memory, of the CPU or of a GPU."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and _says(error, NO_MEMORY)
    )


def _says(error: Exception, phrases: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return any(phrase in text for phrase in phrases)


def _library_of(error: Exception) -> str:
    """Return the library whose module raised an error while it was imported; empty if none did."""
    trace, frames = error.__traceback__, []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    names = [str(one.f_globals.get("__name__")).split(".")[0] for one in frames]
    foreign = [
        name
        for name, one in zip(names, frames, strict=True)
        if name != "charrnn" and one.f_code.co_name == "<module>"
    ]
    return foreign[0] if foreign and names[-1] != "charrnn" else ""


def _not_imported(error: Exception) -> MachineError | None:
    """Return the error for a library that is missing or does not load; None for our own modules."""
    first: BaseException = error
    while cause := first.__cause__ or first.__context__:
        first = cause
    name = (_library_of(error) or getattr(error, "name", None) or "").split(".")[0]
    if name == "charrnn":
        return None
    if isinstance(error, ModuleNotFoundError):
        missing = f"The library {(error.name or name).split('.')[0]} is missing."
        return MachineError(missing, "Install charrnn again.")
    reason = str(first).strip().splitlines() or [type(first).__name__]
    hint = "Check the environment and the limits of this process (env, ulimit -a)."
    return MachineError(f"The library {name} cannot be loaded: {reason[0].rstrip('.')}.", hint)
