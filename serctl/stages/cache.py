"""`serctl cache verify`: every byte of the stores, and the utterances that must be made again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from serctl.cache.check import CheckResult, check_store
from serctl.cache.compact import mend_store
from serctl.cache.locate import StoreInfo
from serctl.cache.sources import SourceHasher
from serctl.config import Workspace
from serctl.data.manifest import read_manifest
from serctl.errors import CacheError, UnknownNameError, WeightsError, count, first_few
from serctl.options import ExtractOptions
from serctl.progress import Progress, silent

if TYPE_CHECKING:
    from serctl.encoding.extraction import Extraction

WHISPER_SECONDS = 30
"""The window that `serctl extract` takes without --window."""


@dataclass(frozen=True)
class VerifyResult:
    """What a check of one store found, and what a repair did about it.

    Attributes:
        found: Damages as they were.
        restored: Files that were whole in another copy and were written anew.
        extracted: Utterances that were encoded again.
        unlisted: Lost utterances that the manifest does not list: they cannot be encoded again.
    """

    found: CheckResult
    restored: tuple[str, ...] = ()
    extracted: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong with the store now."""
        return not self.found.damages or bool(self.restored or self.extracted or self.unlisted)


def verify_cache(
    workspace: Workspace,
    stores: list[StoreInfo],
    *,
    repair: bool = False,
    device: str = "auto",
    progress: Progress = silent,
) -> list[VerifyResult]:
    """Read all bytes of some stores; with ``repair``, mend them and extract what was lost.

    Raises:
        CacheError: A store is being written, or its encoder cannot be run from here.
    """
    results = []
    for info in stores:
        result = VerifyResult(check_store(info.path, progress=progress))
        if repair and result.found.damages:
            result = _repair(workspace, info, result, device, progress)
        results.append(result)
    return results


def _repair(
    workspace: Workspace, info: StoreInfo, result: VerifyResult, device: str, progress: Progress
) -> VerifyResult:
    """Mend a store, and encode again what no copy of it holds."""
    found, path = result.found, info.path
    restored = tuple(damage.file for damage in found.damages if not damage.lost)
    if not found.lost:
        mend_store(path, found)
        return replace(result, restored=restored)
    # Late: without damage, nothing here needs an encoder.
    from serctl.cache.store import FeatureStore

    manifest = read_manifest(workspace.manifest)
    rows = sorted(manifest, key=lambda row: row.utterance_id)
    with SourceHasher(workspace.cache) as hasher:
        extraction = _find_encoder(workspace, info, found.lost, device, hasher)
        mend_store(path, found)
        listed = {row.utterance_id for row in rows}
        extraction.run(rows, listed.intersection(found.lost), progress=progress)
    store = FeatureStore.open(path)
    return replace(
        result,
        restored=restored,
        extracted=tuple(name for name in found.lost if name in store),
        unlisted=tuple(name for name in found.lost if name not in store),
    )


def _find_encoder(
    workspace: Workspace,
    info: StoreInfo,
    lost: Sequence[str],
    device: str,
    hasher: SourceHasher,
) -> "Extraction":
    """Return what makes the frames of a store; nothing of it has been touched yet.

    Raises:
        CacheError: This project has other weights or transcripts.
    """
    from serctl.encoders.load import window_seconds
    from serctl.encoding.extraction import Extraction

    key = info.key
    window = window_seconds(key.window)
    options = ExtractOptions(
        encoder=key.encoder,
        layer=key.layer,
        dtype=key.compute_dtype,  # type: ignore[arg-type]
        window=None if window == WHISPER_SECONDS else window,
        storage=key.storage,
        device=device,
    )
    try:
        extraction = Extraction(workspace, options, hasher)
    except (WeightsError, UnknownNameError) as error:
        raise CacheError(_refuse(info, lost)) from error
    if extraction.keys != (key,):
        raise CacheError(_refuse(info, lost))
    return extraction


def _refuse(info: StoreInfo, lost: Sequence[str]) -> str:
    key = info.key
    return (
        f"{count(len(lost), 'utterance')} of '{info.path.name}' must be encoded again "
        f"({first_few(lost)}), but this project has other weights or transcripts for {key.encoder} "
        f"than made them. Nothing was changed. Name the checkpoint in serctl.toml under [weights]: "
        f'"{key.encoder}" = "DIR", and repeat the command.'
    )
