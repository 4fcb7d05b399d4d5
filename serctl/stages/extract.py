"""`serctl extract`: encode every utterance once with a frozen encoder and cache its frames."""

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
from serctl.encoding.keys import note_storage, note_window
from serctl.encoding.shards import parse_shard
from serctl.encoding.words import find_old_transcripts
from serctl.options import ExtractOptions
from serctl.progress import Progress, silent


@dataclass(frozen=True)
class ExtractResult:
    """Result of an extraction.

    Attributes:
        encoder: Catalogue name, hub id or path of the encoder.
        modality: speech, text or paralinguistic.
        layers: Layers of the encoder.
        stores: Folder of the frames of each layer.
        utterances: Number of utterances of the manifest, of its dry run or of the part.
        present: Utterances that were already cached and whose source has not changed.
        encoded: Utterances encoded now.
        failed: Utterances that could not be read. ``failures`` lists them.
        windowed: Utterances encoded now that are longer than one window of the encoder.
        frames: Frames computed now, over all layers.
        bytes: Size of these frames in the cache.
        audio_seconds: Length of the audio encoded now; 0 for text.
        seconds: Duration of encoding without loading the weights; on Dask, from submission to end.
        notes: Notes of the encoder for the user.
        failures: File that lists the failed utterances; None if there are none.
        shard: Part of the work; '' for all of it.
        whole: Number of utterances of the manifest.
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
    bytes: int = 0
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
    """Encode the utterances of the manifest that are not cached yet.

    One pass of the encoder fills the stores of all layers. Batches depend only on the manifest and
    the options. A batch with a missing utterance is encoded completely. Resumed runs and parallel
    parts (``shard``) therefore give the same frames as one uninterrupted run.

    Raises:
        UsageError: ``shard`` is malformed, or the encoder has no such layer.
        SerctlError: An utterance cannot be read (unless ``skip_bad``), the weights are missing, or
            the disk is too small. Frames that were encoded before are kept.
    """
    part = parse_shard(options.shard)
    manifest = read_manifest(workspace.manifest)
    rows = sorted(manifest.limit(options.limit), key=lambda row: row.utterance_id)
    with SourceHasher(workspace.cache) as hasher:
        extraction = Extraction(workspace, options, hasher)
        key = extraction.keys[0]
        notes = (*note_window(options.window, key), *note_storage(options.storage, key))
        if key.modality == "text":
            notes += (*find_old_transcripts(workspace, rows, hasher),)
        result = ExtractResult(
            encoder=key.encoder,
            modality=key.modality,
            layers=options.layers,
            stores=extraction.stores,
            utterances=len(rows),
            present=len(rows),
            whole=len(manifest),
            notes=notes,
        )
        list_failed = partial(_list_failures, workspace, extraction, manifest)
        if extraction.is_complete(rows):
            list_failed(rows, {})
            return result
        done = extraction.run(rows, part=part, progress=progress)
        return dataclasses.replace(
            result,
            utterances=len(done.seen),
            present=len(done.seen - done.missing),
            encoded=done.encoded,
            failed=len(done.failures),
            windowed=done.windowed,
            frames=done.frames,
            bytes=done.bytes,
            audio_seconds=0.0 if key.modality == "text" else done.size / SAMPLE_RATE,
            seconds=done.seconds,
            notes=(*result.notes, *done.notes),
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
    """List the unreadable utterances under the key of every layer."""
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
