"""Disk space of frames: estimated for a plan, computed before an extraction."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from serctl.cache.key import FeatureKey
from serctl.cache.storage import get_storage
from serctl.data.audio import SAMPLE_RATE, measure_samples
from serctl.data.manifest import Utterance
from serctl.encoders.base import Encoder, EncoderSpec
from serctl.errors import AudioError, CacheError, name_size

TOKENS_PER_SECOND = 4.0
"""Tokens per second of English speech, including special tokens."""
UNKNOWN_RATE, UNKNOWN_DIM = 50.0, 1024
"""Frames per second and width of a large speech encoder, if the catalogue does not state them."""
SAMPLED = 100
"""Number of files whose headers are read to estimate the duration of a corpus."""


def estimate_seconds(rows: Sequence[Utterance]) -> float:
    """Return the estimated total seconds of utterances, from the headers of up to 100 files.

    Unreadable files count with the mean duration of the others.
    """
    seconds = []
    for row in rows[:: max(1, len(rows) // SAMPLED)]:
        try:
            seconds.append(measure_samples(row.path, row.start, row.end) / SAMPLE_RATE)
        except AudioError:
            continue
    return sum(seconds) / len(seconds) * len(rows) if seconds else 0.0


def estimate_bytes(spec: EncoderSpec, seconds: float, storage: str = "float16") -> int:
    """Return the estimated bytes of the frames of ``seconds`` of speech, before compression."""
    rate = spec.frame_rate or (TOKENS_PER_SECOND if spec.modality == "text" else UNKNOWN_RATE)
    size = get_storage(storage).bytes_per_value
    return int(seconds * rate * (spec.dim or UNKNOWN_DIM) * size)


def measure_free_space(folder: Path) -> tuple[Path, int]:
    """Return the nearest existing folder of a path and its free bytes."""
    present = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    return present, shutil.disk_usage(present).free


def check_disk(
    cache: Path, keys: Sequence[FeatureKey], encoder: Encoder, sizes: Sequence[int]
) -> None:
    """Check that the disk has space for an extraction.

    Args:
        cache: Folder of the stores.
        keys: One key per stored layer.
        encoder: Encoder of the extraction.
        sizes: Samples or tokens of each utterance.

    Raises:
        CacheError: The space is too small. The message states the needed and free bytes.
    """
    rate = 1.0 if encoder.frame_rate is None else encoder.frame_rate / SAMPLE_RATE
    frames = len(keys) * sum(int(size * rate) + 1 for size in sizes)
    needed = frames * encoder.dim * get_storage(keys[0].storage).bytes_per_value
    folder, free = measure_free_space(cache)
    if needed > free:
        raise CacheError(
            f"About {frames:,} frames of {keys[0].encoder} need {name_size(needed)}, but "
            f"'{folder}' has {name_size(free)} free. Free space, or name another folder in "
            f"serctl.toml: [paths] cache."
        )
