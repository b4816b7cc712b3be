"""The best model of a run so far: kept in memory, and written to the run's folder."""

import time
from pathlib import Path

from charrnn.storage.model_file import SavedModel, save_model

SHORT = 0.1  # seconds that writing may take to be done whenever there is a better model
SHARE_OF_TIME = 0.02  # that writing may take where it takes longer


class BestModel:
    """The best model so far, written so seldom that writing takes a small share of the time.

    A small model is written whenever there is a better one. A model with large tables of n-grams
    takes a second to write, and a run may find a better one every ten seconds: it waits then, until
    it is due or until the training state, from which it could be trained again, is written.

    Args:
        path: The model file.

    Attributes:
        seconds: How long it took to write it last; 0 before.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.seconds = path, 0.0
        self._unwritten: SavedModel | None = None
        self._written_at = 0.0

    def update(self, model: SavedModel) -> None:
        """Take a better model, which is not written yet."""
        self._unwritten = model

    @property
    def due(self) -> bool:
        """Whether the time since it was last written is long enough."""
        wait = self.seconds / SHARE_OF_TIME if self.seconds > SHORT else 0.0
        return time.monotonic() - self._written_at >= wait

    def write(self) -> None:
        """Write the model, unless it is already written.

        Raises:
            MachineError: It cannot be written; it is then still to be written.
        """
        if self._unwritten is None:
            return
        begin = time.monotonic()
        save_model(self.path, self._unwritten)
        self._unwritten, self._written_at = None, time.monotonic()
        self.seconds = self._written_at - begin
