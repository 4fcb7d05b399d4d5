"""`serctl extract`: every utterance through a frozen encoder once, its frames into the cache."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from serctl.cache.sources import SourceHasher
from serctl.config import Workspace
from serctl.data.audio import SAMPLE_RATE
from serctl.data.manifest import Manifest, Utterance
from serctl.data.manifest_file import read_manifest
from serctl.encoding.extraction import Extraction
from serctl.encoding.failures import FAILURES, Failures, list_failures
from serctl.encoding.shards import parse_shard
from serctl.options import ExtractOptions
from serctl.progress import Progress, silent


@dataclass(frozen=True)
class ExtractResult:
    """What an extraction did.

    Attributes:
        encoder: Its catalogue name, hub id or path.
        modality: speech, text or paralinguistic.
        layers: Layers of the encoder.
        stores: Folder of the frames of each layer.
        utterances: Rows of the manifest, of its dry run or of the part.
        present: Utterances whose frames were there and whose source has not changed.
        encoded: Utterances whose frames were made now.
        failed: Utterances that could not be read; they are listed in ``failures``.
        windowed: Utterances encoded now that were too long for one window of the encoder.
        frames: Frames made now, over all layers.
        audio_seconds: Length of the audio encoded now; 0 for text.
        seconds: How long encoding took, loading the weights aside; on Dask, from submission to end.
        notes: How the encoder ran, where that is worth knowing.
        failures: List of the failed utterances, None if all went well.
        shard: The part of the work that this was, '' for all of it.
        whole: Rows of the manifest.
    """

    encoder: str
    modality: str
    layers: tuple[int, ...]
    stores: tuple[Path, ...]
    utterances: int
    present: int
    encoded: int = 0
    failed: int = 0
    windowed: int = 0
    frames: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    failures: Path | None = None
    shard: str = ""
    whole: int = 0

    @property
    def store(self) -> Path:
        """Folder of the frames of the first layer."""
        return self.stores[0]


def extract(
    workspace: Workspace, options: ExtractOptions, *, progress: Progress = silent
) -> ExtractResult:
    """Encode the utterances of the manifest whose frames the cache does not hold yet.

    One pass of the encoder fills the stores of all layers. Which utterances are encoded together
    depends on manifest and options alone, and a batch of which anything is missing is encoded
    whole: an interrupted run, continued, gives the very frames of an uninterrupted one. So do the
    parts of ``shard``, which may run at once.

    Raises:
        UsageError: ``shard`` is no part, or the encoder has no such layer.
        SerctlError: An utterance cannot be read (unless ``skip_bad``), the weights are not at
            hand, or the disk is too small. What was encoded before stays.
    """
    part = parse_shard(options.shard)
    manifest = read_manifest(workspace.manifest)
    rows = sorted(manifest.limit(options.limit), key=lambda row: row.utterance_id)
    with SourceHasher(workspace.cache) as hasher:
        extraction = Extraction(workspace, options, hasher)
        key = extraction.keys[0]
        missing = extraction.find_missing(rows)
        result = ExtractResult(
            encoder=key.encoder,
            modality=key.modality,
            layers=options.layers,
            stores=extraction.stores,
            utterances=len(rows),
            present=len(rows) - len(missing),
            whole=len(manifest),
        )
        list_failed = partial(_list_failures, workspace, extraction, manifest)
        if not missing:
            list_failed(rows, {})
            return result
        done = extraction.run(rows, missing, part=part, progress=progress)
        return dataclasses.replace(
            result,
            utterances=len(done.seen),
            present=len(done.seen - missing),
            encoded=done.encoded,
            failed=len(done.failures),
            windowed=done.windowed,
            frames=done.frames,
            audio_seconds=0.0 if key.modality == "text" else done.size / SAMPLE_RATE,
            seconds=done.seconds,
            notes=done.notes,
            failures=list_failed([r for r in rows if r.utterance_id in done.seen], done.failures),
            shard="{}/{}".format(*part) if options.shard else "",
        )


def _list_failures(
    workspace: Workspace,
    extraction: Extraction,
    manifest: Manifest,
    rows: Sequence[Utterance],
    failures: Failures,
) -> Path | None:
    """List what could not be read under the key of every layer."""
    listed = [
        list_failures(
            workspace.root / FAILURES,
            key.encoder,
            key.digest,
            rows,
            failures,
            extraction.inputs.hash_of,
            manifest.ids,
        )
        for key in extraction.keys
    ]
    return listed[0]
