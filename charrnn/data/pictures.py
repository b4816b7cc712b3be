"""Pictures as sources: pixels of .png, .jpg and others, or features that are ready in .npy files.

A picture is put on white where it is transparent, and resized. Pillow decodes it, and is loaded
only when there is a picture. Features are an array (size,) or (length, size); nothing is unpickled.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config.source import SourceConfig
from charrnn.errors import MachineError, TextError
from charrnn.storage.atomic import display_path

FEATURES = ".npy"
MAX_PIXELS = 1 << 26  # of a picture in a file; more could fill the memory


@dataclass(frozen=True)
class PictureReader:
    """Reads pictures, or features, with the part of a tokenizer's interface that caches need.

    Attributes:
        config: `image_size`, and `feature_size` if the sources are features.
        folder: The folder that paths are relative to.
    """

    config: SourceConfig
    folder: Path

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its numbers: float32 for features, else uint8."""
        return np.dtype(np.uint8 if self.config.feature_size is None else np.float32)

    @property
    def size(self) -> int:
        """More than any of its numbers: 256 for pixels, 2 ** 128 for features."""
        return 1 << (8 if self.config.feature_size is None else 128)

    def to_dict(self) -> dict[str, Any]:
        """Return all that its numbers depend on, besides the files."""
        size = self.config.feature_size or self.config.image_size
        return {"kind": "picture", "size": size, "folder": str(self.folder.absolute())}

    def encode(self, path: str) -> NDArray[Any]:
        """Return the numbers of one source: its pixels, or its features, one-dimensional.

        Raises:
            TextError: The file is missing, broken, too large, or not of the expected kind.
            MachineError: Pillow is not installed.
        """
        file = self.folder / path
        if self.config.feature_size is None:
            return read_picture(file, self.config.pixels).reshape(-1)
        features = read_features(file)
        if features.shape[1] != self.config.feature_size:
            raise TextError(
                f"{display_path(file)} has features of width {features.shape[1]:,}; the others "
                f"have {self.config.feature_size:,}."
            )
        return features.reshape(-1)


def read_picture(file: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a picture's pixels, (height, width, 3).

    Args:
        file: The file.
        size: Width and height to resize it to.

    Raises:
        TextError: The file is missing, no picture, broken or too large.
        MachineError: Pillow is not installed.
    """
    if file.suffix.lower() == FEATURES:
        raise TextError(f"{display_path(file)} holds features, but the other sources are pictures.")
    try:
        from PIL import Image
    except ImportError:
        raise MachineError(
            "Pictures need Pillow, which is not installed.", "pip install 'charrnn[images]'"
        ) from None
    try:
        with warnings.catch_warnings(), Image.open(file) as picture:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if picture.width * picture.height > MAX_PIXELS:
                sides = f"{picture.width:,} x {picture.height:,}"
                raise TextError(
                    f"{display_path(file)} has {sides} pixels; at most {MAX_PIXELS:,} are read."
                )
            whole = picture.convert("RGBA")
            white = Image.new("RGBA", whole.size, "white")
            flat = Image.alpha_composite(white, whole).convert("RGB")
            return np.asarray(flat.resize(size, Image.Resampling.BILINEAR))
    except (FileNotFoundError, NotADirectoryError):
        raise TextError(f"Cannot read {display_path(file)}: no such picture.") from None
    except (
        Image.DecompressionBombError,
        EOFError,
        OSError,
        SyntaxError,  # Pillow's for a broken PNG
        ValueError,
    ) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is damaged, or no picture"
        if isinstance(error, Image.DecompressionBombError):
            reason = f"it has more than {MAX_PIXELS:,} pixels"
        raise TextError(f"Cannot read {display_path(file)}: {reason}.") from None


def read_features(file: Path) -> NDArray[np.float32]:
    """Return the features of a .npy file, (length, size).

    Raises:
        TextError: The file is missing, broken, holds objects, or is not of one or two dimensions.
    """
    name = display_path(file)
    if file.suffix.lower() != FEATURES:
        raise TextError(f"{name} is not a .npy file, but the other sources are.")
    try:
        values = np.load(file, mmap_mode="r", allow_pickle=False)  # checks the size first
    except (FileNotFoundError, NotADirectoryError):
        raise TextError(f"Cannot read {name}: no such file.") from None
    except (OSError, ValueError, EOFError, MemoryError) as error:
        pickled = any(word in str(error) for word in ("pickle", "Python objects"))
        reason = "it holds Python objects, which are never opened" if pickled else "it is damaged"
        raise TextError(f"Cannot read {name}: {reason}.") from None
    numeric = isinstance(values, np.ndarray) and values.dtype.kind in "fiub"
    if not numeric or values.ndim not in (1, 2) or not values.size:
        shape = getattr(values, "shape", "")
        raise TextError(f"{name} should hold numbers of shape (size,) or (length, size): {shape}.")
    features = np.atleast_2d(values).astype(np.float32)
    if not np.isfinite(features).all():
        raise TextError(f"{name} holds numbers that are not finite.")
    return features
