"""How frames are kept on disk: the values of ``--storage``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from serctl.errors import CacheError, UnknownNameError


@dataclass(frozen=True)
class Storage:
    """One way to keep frames: a type and, for archives, the Zarr codecs of an inner chunk."""

    name: str
    dtype: str
    codecs: tuple[Mapping[str, Any], ...] = ()

    def compress(self, rows: NDArray[np.generic]) -> bytes:
        """Return the bytes of one inner chunk as its Zarr codecs read them."""
        from numcodecs.zstd import Zstd

        data = bytes(Zstd(level=ZSTD_LEVEL).encode(rows))
        return data + google_crc32c.value(data).to_bytes(4, "little")

    def decompress(self, data: bytes) -> bytes | None:
        """Return the rows of one inner chunk; None if its bytes are damaged."""
        from numcodecs.zstd import Zstd

        if google_crc32c.value(data[:-4]).to_bytes(4, "little") != data[-4:]:
            return None
        return bytes(Zstd().decode(data[:-4]))

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


ZSTD_LEVEL = 3
_ZSTD = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}
_CRC32C = {"name": "crc32c"}
STORAGES = {
    storage.name: storage
    for storage in (
        Storage("float16", "float16"),
        Storage("float32", "float32"),
        Storage("float16-zstd", "float16", (_ZSTD, _CRC32C)),
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
