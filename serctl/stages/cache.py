"""`serctl cache`: list, check, repair, prune, delete, pack and unpack stores of frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from serctl.cache.archive import pack_store, unpack_store
from serctl.cache.check import StoreCheckResult, check_store
from serctl.cache.compact import PruneResult, prune_store, repair_store
from serctl.cache.describe import (
    StoreSummary,
    measure_size,
    remove_abandoned,
    remove_store,
    summarise_store,
)
from serctl.cache.locate import StoreInfo, find_store, list_stores
from serctl.cache.sources import SourceHasher
from serctl.config import Workspace
from serctl.data.manifest_file import read_manifest
from serctl.data.outputs import check_output_file
from serctl.encoders.catalog import ALIASES, ENCODERS
from serctl.errors import (
    CacheError,
    MissingFeaturesError,
    UnknownNameError,
    UsageError,
    WeightsError,
    count,
    first_few,
)
from serctl.options import ExtractOptions
from serctl.progress import Progress, silent

if TYPE_CHECKING:
    from serctl.encoding.extraction import Extraction

WHISPER_SECONDS = 30
"""Seconds of the default window of `serctl extract`."""


@dataclass(frozen=True)
class VerifyResult:
    """Result of checking and repairing one store.

    Attributes:
        found: Damages before the repair.
        restored: Files that were restored from an intact copy.
        extracted: Utterances that were encoded again.
        unlisted: Lost utterances that cannot be encoded again, because the manifest lacks them.
    """

    found: StoreCheckResult
    restored: tuple[str, ...] = ()
    extracted: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the store is intact after the repair."""
        return not self.found.damages or bool(self.restored or self.extracted or self.unlisted)


def verify_cache(
    workspace: Workspace,
    stores: list[StoreInfo],
    *,
    repair: bool,
    device: str,
    progress: Progress,
) -> list[VerifyResult]:
    """Read all bytes of the stores. With ``repair``, restore files and extract lost frames.

    Raises:
        CacheError: A store is being written, or its encoder cannot be run in this project.
    """
    results = []
    for info in stores:
        result = VerifyResult(check_store(info.path, progress=progress))
        if repair and result.found.damages:
            result = _repair(workspace, info, result, device, progress)
        results.append(result)
    return results


def cache_ls(workspace: Workspace) -> list[StoreSummary]:
    """Return a summary of every store: size, age and coverage of the manifest."""
    splits = _read_splits(workspace)
    return [summarise_store(info, splits) for info in find_stores(workspace)]


def cache_info(workspace: Workspace, name: str) -> StoreSummary:
    """Return content and origin of one store.

    Raises:
        UnknownNameError: There is no such store.
    """
    (found,) = find_stores(workspace, [name])
    return summarise_store(found, _read_splits(workspace))


def cache_verify(
    workspace: Workspace,
    names: Sequence[str] = (),
    *,
    repair: bool = False,
    device: str = "auto",
    progress: Progress = silent,
) -> list[VerifyResult]:
    """Read all bytes of the named stores, or of all, and optionally repair them.

    See `verify_cache`.
    """
    stores = find_stores(workspace, names)
    return verify_cache(workspace, stores, repair=repair, device=device, progress=progress)


def cache_prune(
    workspace: Workspace,
    names: Sequence[str] = (),
    *,
    unlisted: bool = False,
    dry_run: bool = False,
) -> list[PruneResult]:
    """Free the space of replaced frames in the named stores, or in all, and merge small segments.

    Args:
        workspace: The project.
        names: Encoders, or ``encoder@digest``; all if empty.
        unlisted: Also drop the frames of utterances that the manifest does not list.
        dry_run: Return the changes without making them.

    Raises:
        UsageError: ``unlisted`` without a manifest.
    """
    from serctl.cache.store import FeatureStore

    if not dry_run:
        remove_abandoned(workspace.cache)
    listed = set(_read_splits(workspace))
    if unlisted and not listed:
        raise UsageError("--unlisted needs a manifest. Make one with: serctl init")
    results = []
    for item in find_stores(workspace, names):
        ids = FeatureStore.open(item.path).ids if unlisted else ()
        drop = [name for name in ids if name not in listed]
        results.append(prune_store(item.path, drop=drop, dry_run=dry_run))
    return results


def cache_rm(
    workspace: Workspace, names: Sequence[str], *, dry_run: bool = False
) -> dict[str, int]:
    """Delete stores without confirmation, and return their sizes in bytes.

    Raises:
        UnknownNameError: There is no store of a name.
    """
    if not dry_run:
        remove_abandoned(workspace.cache)
    paths = {name: workspace.cache / f"{name}.zarr" for name in names}
    for name, path in paths.items():
        if not path.is_dir():  # a full name deletes even an unreadable store
            paths[name] = find_stores(workspace, [name])[0].path
    sizes = {path.stem: measure_size(path) for path in paths.values()}
    for path in paths.values() if not dry_run else ():
        remove_store(path)
    return sizes


def cache_pack(
    workspace: Workspace,
    name: str,
    output: Path | str | None = None,
    *,
    progress: Progress = silent,
) -> Path:
    """Write one store to an archive (default ``STORE.tar`` in the working folder); return it."""
    (found,) = find_stores(workspace, [name])
    path = Path(output or f"{found.path.stem}.tar")
    check_output_file(workspace, path)
    pack_store(found.path, path, progress=progress)
    return path


def cache_unpack(workspace: Workspace, archive: Path | str, *, progress: Progress = silent) -> Path:
    """Check an archive, add its store to the cache, and return the folder of the store."""
    workspace.cache.mkdir(parents=True, exist_ok=True)
    return unpack_store(Path(archive), workspace.cache, progress=progress)


def find_stores(workspace: Workspace, names: Sequence[str] = ()) -> list[StoreInfo]:
    """Return the named stores, or all of them.

    Raises:
        UnknownNameError: There is no store of a name.
    """
    by_path = {item.path: item for item in list_stores(workspace.cache)}
    parts = [name.partition("@") for name in names]
    full = [f"{ALIASES.get(encoder, encoder)}{at}{digest}" for encoder, at, digest in parts]
    found = [] if names else list(by_path.values())
    for name in full:
        try:
            found.append(by_path[find_store(workspace.cache, name)])
        except MissingFeaturesError:
            known = {one for item in by_path.values() for one in (item.key.encoder, item.name)}
            encoder = name if name in ENCODERS else "NAME"
            make = f"Make one with: serctl extract --encoder {encoder}"
            raise UnknownNameError("store", name, known, make) from None
    return found


def _read_splits(workspace: Workspace) -> dict[str, str]:
    """Return the split of every utterance; {} if the project has no manifest yet."""
    if not workspace.manifest.exists():
        return {}
    return {row.utterance_id: row.split for row in read_manifest(workspace.manifest)}


def _repair(
    workspace: Workspace, info: StoreInfo, result: VerifyResult, device: str, progress: Progress
) -> VerifyResult:
    """Restore a store from its copies, and encode lost utterances again."""
    found, path = result.found, info.path
    restored = tuple(damage.file for damage in found.damages if not damage.lost)
    if not found.lost:
        repair_store(path, found)
        return replace(result, restored=restored)
    # Imported late: without damage no encoder is needed.
    from serctl.cache.store import FeatureStore

    manifest = read_manifest(workspace.manifest)
    rows = sorted(manifest, key=lambda row: row.utterance_id)
    with SourceHasher(workspace.cache) as hasher:
        extraction = _find_encoder(workspace, info, found.lost, device, hasher)
        repair_store(path, found)
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
    """Return the encoder of a store. The store has not been changed yet.

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
        f"({first_few(lost)}), but weights or transcripts of {key.encoder} in this project differ "
        f"from those of the store. The store is unchanged. Name the checkpoint in serctl.toml "
        f'under [weights], "{key.encoder}" = "DIR", and repeat the command.'
    )
