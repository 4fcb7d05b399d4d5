"""Storage formats of frames: the values of ``--storage``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from serctl.errors import CacheError, UnknownNameError

ZSTD_LEVEL = 3


@dataclass(frozen=True)
class Storage:
    """A storage format. The base class stores frames as numbers of a type.

    Attributes:
        name: Value of ``--storage``, a part of the key.
        stored: Data type on disk.
        dtype: Data type of read frames.
        codecs: Zarr codecs of an inner chunk.
        stride: Every ``stride``-th frame is kept.
        head_rows: Number of rows before the frames of each utterance, with data for decoding.
    """

    name: str
    stored: str
    dtype: str
    codecs: tuple[Mapping[str, Any], ...] = ()
    stride: int = 1
    head_rows: int = 0

    def encode(self, frames: NDArray[np.floating], name: str) -> NDArray[np.generic]:
        """Return the stored form of frames ``(T, D)``. ``name`` is the utterance, for errors.

        Raises:
            CacheError: A value is not finite, or is too large for the type.
        """
        with np.errstate(over="ignore"):
            kept = np.ascontiguousarray(frames[:: self.stride], dtype=self.dtype)
        if not np.isfinite(kept).all():
            if not np.isfinite(frames).all():
                raise CacheError(f"Utterance '{name}': its frames hold NaN or infinite values.")
            raise CacheError(
                f"Utterance '{name}': a value of {np.abs(frames).max():.6g} does not fit "
                f"{self.dtype}. Keep this layer with: serctl extract --storage float32"
            )
        return kept if self.is_plain else quantise(kept)

    def decode(self, rows: NDArray[Any], out: NDArray[Any]) -> None:
        """Fill ``out`` ``(T, D)`` from the result of `encode`."""
        if self.head_rows:
            scale = rows[: self.head_rows].reshape(-1).view("<f2").astype(np.float32)
            rows = rows[self.head_rows :] * scale
        out[...] = rows

    def as_read(self, frames: NDArray[np.floating], name: str) -> NDArray[Any]:
        """Return frames rounded like those of a store. It raises the errors of `encode`."""
        rows = self.encode(frames, name)
        out = np.empty((len(rows) - self.head_rows, rows.shape[1]), self.dtype)
        self.decode(rows, out)
        return out

    @property
    def is_plain(self) -> bool:
        """Whether the stored form equals the read frames."""
        return self.stored == self.dtype

    @property
    def bytes_per_value(self) -> float:
        """Bytes on disk per value of the encoder's frames, before compression."""
        return np.dtype(self.stored).itemsize / self.stride

    def compress(self, rows: NDArray[np.generic]) -> bytes:
        """Return the bytes of one inner chunk for its Zarr codecs."""
        from numcodecs.zstd import Zstd

        data = bytes(Zstd(level=ZSTD_LEVEL).encode(rows))
        # The codec crc32c of Zarr v3 appends the checksum in little-endian order.
        return data + google_crc32c.value(data).to_bytes(4, "little")

    def decompress(self, data: bytes) -> bytes | None:
        """Return the rows of one inner chunk; None if its bytes are damaged."""
        from numcodecs.zstd import Zstd

        if google_crc32c.value(data[:-4]).to_bytes(4, "little") != data[-4:]:
            return None
        return bytes(Zstd().decode(data[:-4]))


def quantise(frames: NDArray[Any]) -> NDArray[np.int8]:
    """Return ``(2 + T, D)`` int8: two rows with the bytes of D float16 scales, then the frames.

    The scale of a column is its largest magnitude in the utterance / 127; frame = scale * int8. The
    error is at most half a scale and does not depend on other columns.
    """
    scale = (np.abs(frames.astype(np.float32)).max(axis=0) / 127).astype("<f2")
    divisor = np.where(scale > 0, scale, 1).astype(np.float32)
    steps = np.clip(np.rint(frames / divisor), -127, 127).astype(np.int8)
    return np.concatenate([scale.view(np.int8).reshape(2, -1), steps])


_ZSTD = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}
STORAGES = {
    storage.name: storage
    for storage in (
        Storage("float16", "float16", "float16"),
        Storage("float32", "float32", "float32"),
        Storage("float16-zstd", "float16", "float16", codecs=(_ZSTD, {"name": "crc32c"})),
        Storage("float16-stride2", "float16", "float16", stride=2),
        Storage("int8", "int8", "float16", head_rows=2),
    )
}


def get_storage(name: str) -> Storage:
    """Return a storage by name.

    Raises:
        UnknownNameError: The name is unknown.
    """
    if name not in STORAGES:
        raise UnknownNameError("storage", name, STORAGES)
    return STORAGES[name]
