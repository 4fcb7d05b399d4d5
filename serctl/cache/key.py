"""The key of a store: all settings that change its frames."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Literal

from serctl.hashes import hash_document
from serctl.names import is_portable_name

FORMAT_VERSION: Literal[1] = 1
"""Version of the store's format, a part of every digest."""


@dataclass(frozen=True)
class FeatureKey:
    """Identity of the frames in one store.

    Attributes:
        encoder: Name of the encoder: catalogue name, hub id or path.
        modality: ``speech``, ``text`` or ``paralinguistic``.
        weights: Source of the weights (hub id, package, file).
        revision: Commit or content hash of the weights.
        layer: N of ``hidden_states[N]``; -1 is ``last_hidden_state``.
        compute_dtype: Data type of the computation.
        window: Rule of the encoder for length and padding.
        source: ``audio-16k-mono``, or ``text:<id of the transcripts>``.
        storage: Storage format of the frames; see `serctl.cache.storage`.
    """

    encoder: str
    modality: str
    weights: str
    revision: str
    layer: int
    compute_dtype: str
    window: str
    source: str
    storage: str = "float16"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return dataclasses.asdict(self)

    @property
    def digest(self) -> str:
        """Twelve hex digits of the SHA-256 over the canonical JSON of format version and fields."""
        document = {"format": FORMAT_VERSION, **self.to_dict()}
        return hash_document(document)

    @property
    def store_name(self) -> str:
        """Folder name of the store below the cache: a readable part and the digest."""
        slug = re.sub(r"[^a-z0-9.]+", "-", self.encoder.lower()).strip("-.")
        # Windows reserves names such as CON and AUX, also with a suffix.
        slug = slug[-60:].strip("-.") or "encoder"
        return f"{slug if is_portable_name(slug) else f'x-{slug}'}-{self.digest}.zarr"
