"""How frames are kept on disk: the values of ``--storage``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serctl.errors import CacheError, UnknownNameError


@dataclass(frozen=True)
class Storage:
    """One way to keep frames: a type and, for archives, a Zarr compressor with its settings."""

    name: str
    dtype: str
    compressor: Mapping[str, Any] | None = None

    def codec(self) -> Any:
        """Return the encoder of one inner chunk; its output is what the Zarr codec reads."""
        from numcodecs.zstd import Zstd

        return Zstd(level=self.compressor["configuration"]["level"]) if self.compressor else None

    def encode(self, frames: NDArray[np.floating], name: str) -> NDArray[np.generic]:
        """Return frames ``(T, D)`` as they will lie on disk; ``name`` is the utterance's.

        Raises:
            CacheError: A value is not finite, or is too large for the type.
        """
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(frames, dtype=np.dtype(self.dtype).newbyteorder("<"))
        if not np.isfinite(stored).all():
            if not np.isfinite(frames).all():
                raise CacheError(f"Utterance '{name}': its frames hold NaN or infinite values.")
            raise CacheError(
                f"Utterance '{name}': a value of {np.abs(frames).max():.6g} does not fit "
                f"{self.dtype}. Keep this layer with: serctl extract --storage float32"
            )
        return stored


_ZSTD = {"name": "zstd", "configuration": {"level": 3, "checksum": False}}
STORAGES = {
    storage.name: storage
    for storage in (
        Storage("float16", "float16"),
        Storage("float32", "float32"),
        Storage("float16-zstd", "float16", _ZSTD),
    )
}


def get_storage(name: str) -> Storage:
    """Return a storage by name.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in STORAGES:
        raise UnknownNameError("storage", name, STORAGES)
    return STORAGES[name]
