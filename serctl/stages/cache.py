"""`serctl cache verify`: every byte of the stores, and the utterances that must be made again."""

from dataclasses import dataclass, replace

from serctl.cache.check import CheckResult, check_store
from serctl.cache.compact import mend_store
from serctl.cache.header import read_header
from serctl.cache.locate import StoreInfo
from serctl.config import Workspace
from serctl.errors import CacheError, first_few
from serctl.options import ExtractOptions
from serctl.progress import Progress, silent


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
            mend_store(info.path, result.found)
            result = _extract_lost(workspace, info, result, device, progress)
        results.append(result)
    return results


def _extract_lost(
    workspace: Workspace, info: StoreInfo, result: VerifyResult, device: str, progress: Progress
) -> VerifyResult:
    from serctl.cache.store import FeatureStore
    from serctl.encoding.keys import make_key
    from serctl.stages.extract import extract

    restored = tuple(damage.file for damage in result.found.damages if not damage.lost)
    lost = result.found.lost
    if not lost:
        return replace(result, restored=restored)
    key = read_header(info.path).key
    options = ExtractOptions(
        encoder=key.encoder,
        layer=key.layer,
        dtype=key.compute_dtype,  # type: ignore[arg-type]
        storage=key.storage,
        device=device,
    )
    if make_key(workspace, options) != key:
        raise CacheError(
            f"{len(lost)} utterances were removed from '{info.path.name}' ({first_few(lost)}), but "
            f"this project has other weights or transcripts for {key.encoder} than made it. Run "
            f"with those: serctl extract --encoder {key.encoder} --weights PATH"
        )
    extract(workspace, options, progress=progress)
    store = FeatureStore.open(info.path)
    return replace(
        result,
        restored=restored,
        extracted=tuple(name for name in lost if name in store),
        unlisted=tuple(name for name in lost if name not in store),
    )
