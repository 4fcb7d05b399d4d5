"""`serctl bundle make`: write a trained system to one portable folder."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from serctl import __version__
from serctl.config import Workspace
from serctl.data.manifest import Manifest
from serctl.data.manifest_file import read_manifest
from serctl.data.outputs import check_outside_bundles, is_in_results
from serctl.documents.bundle import (
    BUNDLE_VERSION,
    OTHER_LICENSE,
    BundleDocument,
    SplitMetrics,
    StackerName,
)
from serctl.documents.run import RunConfig
from serctl.documents.stacker import STACKER_FILE, StackerDocument
from serctl.encoders.catalog import get_spec
from serctl.encoders.weights import have_weights
from serctl.ensemble.systems import System
from serctl.errors import (
    CacheError,
    CheckpointError,
    UnknownNameError,
    UsageError,
    explain_os_error,
)
from serctl.files import write_atomic, write_folder
from serctl.options import BundleOptions
from serctl.progress import Advance, Progress, silent
from serctl.runtime import resolve_device
from serctl.system.base import predict_base
from serctl.system.bundle_facts import (
    check_license,
    count_unmeasured,
    describe_encoder,
    drop_paths,
    list_corpora,
    measure_splits,
    note_terms,
    note_unmeasured,
    score_split,
)
from serctl.system.bundle_folder import BUNDLE_FILE, seal_bundle
from serctl.system.card import CARD, note_base, note_in_sample, write_bundle_readme, write_card
from serctl.system.hub import find_bundle
from serctl.system.parts import Parts, find_parts
from serctl.system.without_speakers import measure_without_speakers
from serctl.training.changes import list_changes
from serctl.training.run_folder import CONFIG, check_run, list_model_files


@dataclass(frozen=True)
class BundleResult:
    """Result of making, checking or showing a bundle.

    Attributes:
        folder: Folder of the bundle.
        name: Name of the bundle.
        digest: SHA-256 of ``bundle.json``.
        files: Number of files without ``bundle.json``.
        size: Bytes of all files.
        document: Content of ``bundle.json``.
        notes: Notes for the user.
    """

    folder: Path
    name: str
    digest: str
    files: int
    size: int
    document: BundleDocument
    notes: tuple[str, ...] = ()


def make_bundle(
    workspace: Workspace, options: BundleOptions, *, progress: Progress = silent
) -> BundleResult:
    """Write a bundle of a stacker with its networks, or of a single run.

    Raises:
        UsageError: The folder exists, or both a stacker and a run are named.
        UnknownNameError: There is no such stacker or run.
        LogitsError: There are no predictions for dev, on which temperature and prior are fitted.
    """
    check_license(options.license)
    output = _check_output(workspace, options)
    if options.base:
        return _make_from_base(workspace, options, output, progress)
    chosen = options.stacker or options.run or options.name
    folder = workspace.stackers if options.stacker else workspace.runs if options.run else None
    parts = find_parts(str(folder / chosen) if folder else chosen, workspace)
    manifest = read_manifest(workspace.manifest)
    corpora = list_corpora(workspace, manifest, options.data)
    stacker = StackerDocument.read(parts.stacker / STACKER_FILE) if parts.stacker else None
    by_speaker = _list_by_speaker(parts)
    without, notes = (
        _measure_without_speakers(workspace, parts, manifest, options) if by_speaker else ({}, ())
    )
    systems = [System(name, "run", folder) for name, folder in parts.networks.items()]
    systems += [System(parts.name, "stacker", parts.stacker)] if parts.stacker else []
    measured = [split for split in manifest.splits if split != "train"]
    notes += (*list_changes(workspace, manifest, systems, measured),)
    metrics, in_sample = measure_splits(parts, manifest)
    with progress.task(f"bundle {options.name}", len(parts.networks) + 2, "steps") as advance:
        encoders = [describe_encoder(one, workspace) for one in parts.encoders.values()]
        advance(note="encoders")
        document = BundleDocument(
            serctl_bundle=BUNDLE_VERSION,
            name=options.name or parts.name,
            serctl=__version__,
            made=_today(),
            license=options.license,
            labels=parts.labels,
            networks=tuple(parts.networks),
            stacker=StackerName(kind=stacker.kind, name=parts.name) if stacker else None,
            encoders=tuple(encoders),
            recogniser=parts.recogniser and drop_paths(parts.recogniser),
            calibration=parts.calibrate().record(parts.labels),
            metrics=metrics,
            in_sample=in_sample,
            unmeasured=count_unmeasured(manifest, parts.labels),
            by_speaker=by_speaker,
            without_speakers=without,
            corpora=tuple(corpora),
            files={},
        )
        advance(note="metrics")
        with write_folder(output) as new:
            _copy_models(parts, stacker, new, advance)
            _write_card(new, document)
    notes += (*note_unmeasured(manifest, parts.labels), *note_in_sample(document))
    return replace(describe_bundle(output), notes=(*notes, *note_terms(encoders, corpora)))


def _copy_models(
    parts: Parts, stacker: StackerDocument | None, folder: Path, advance: Advance
) -> None:
    """Copy what predictions need of the networks and the stacker."""
    for name, network in parts.networks.items():
        check_run(network)
        files = list_model_files(network, parts.predicted_by.get(name))
        _copy(network, folder / "networks" / name, files)
        advance(note=name)
    if parts.stacker and stacker:
        _copy(parts.stacker, folder / "stacker", (STACKER_FILE, *stacker.files))


def _list_by_speaker(parts: Parts) -> tuple[str, ...]:
    """Return the networks whose frames are standardised per speaker."""
    configs = {name: RunConfig.read(folder / CONFIG) for name, folder in parts.networks.items()}
    return tuple(name for name, config in configs.items() if config.model.by_speaker)


def _measure_without_speakers(
    workspace: Workspace, parts: Parts, manifest: Manifest, options: BundleOptions
) -> tuple[dict[str, SplitMetrics], tuple[str, ...]]:
    """Return metrics for recordings of unknown speakers, and a note if the frames are gone."""
    try:
        device = resolve_device(options.device)
        return measure_without_speakers(workspace, parts, manifest, device), ()
    except CacheError as error:
        note = f"Metrics of `predict` without --speaker-per are not in the card. {error}"
        return {}, (note,)


def _make_from_base(
    workspace: Workspace, options: BundleOptions, output: Path, progress: Progress
) -> BundleResult:
    """Write a bundle with the networks of another one, calibrated and evaluated on this project."""
    manifest = read_manifest(workspace.manifest)
    corpora = list_corpora(workspace, manifest, options.data)
    base = predict_base(workspace, options, manifest, progress)
    old = base.document
    document = old.model_copy(
        update={
            "name": options.name or old.name,
            "serctl": __version__,
            "made": _today(),
            "license": old.license if options.license == OTHER_LICENSE else options.license,
            "calibration": base.calibrate(manifest).record(old.labels),
            "metrics": {
                split: score_split(found, manifest, old.labels)
                for split, found in base.predictions.items()
            },
            "unmeasured": count_unmeasured(manifest, old.labels),
            "in_sample": {},
            "by_speaker": (),
            "without_speakers": {},
            "base": base.name,
            "measured_on": tuple(corpora),
        }
    )
    with write_folder(output) as new:
        _copy(base.bundle.folder, new, [name for name in old.files if name != CARD])
        _write_card(new, document)
    notes = (*base.notes, *note_unmeasured(manifest, old.labels), *note_base(document))
    notes += (*note_terms((), corpora),)
    return replace(describe_bundle(output), notes=notes)


def show_bundle(bundle: Path | str) -> str:
    """Return the model card of a bundle as Markdown; see `describe_bundle`."""
    return write_card(find_bundle(bundle)[0].document)


def describe_bundle(bundle: Path | str) -> BundleResult:
    """Check every file of a bundle and return its name, size and ``bundle.json``.

    Args:
        bundle: Folder of the bundle, or ``hf:OWNER/NAME@COMMIT``.

    Raises:
        CheckpointError: A file is missing, changed or not listed.
        HubError: The bundle cannot be downloaded.
    """
    found, notes = find_bundle(bundle)
    document = found.document
    if not document.document_hash:
        notes += (
            f"An older serctl made the bundle: its {BUNDLE_FILE} has no hash, so a change of it is "
            f"not found. Make it again with: serctl bundle make --overwrite",
        )
    sizes = [facts.bytes for facts in document.files.values()]
    return BundleResult(
        found.folder, document.name, found.digest, len(sizes), sum(sizes), document, notes
    )


def find_missing_weights(document: BundleDocument, mapping: Mapping[str, Path]) -> list[str]:
    """Return the encoders of a bundle whose weights are not on this machine, without network."""

    def is_here(name: str) -> bool:
        with suppress(UnknownNameError):
            return bool(have_weights(get_spec(name, mapping), mapping))
        return False

    return [row.encoder for row in document.encoders if not is_here(row.encoder)]


def _check_output(workspace: Workspace, options: BundleOptions) -> Path:
    systems = {"--stacker": options.stacker, "--run": options.run, "--base": options.base}
    given = [flag for flag, name in systems.items() if name]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} name several systems, expected one of them.")
    if not (options.name or given):
        raise UsageError(
            "No system given. Use serctl bundle make NAME, --stacker, --run or --base."
        )
    if not options.output:
        raise UsageError("No folder given for the bundle. Add: --output DIR")
    output = Path(options.output).expanduser()
    check_outside_bundles(output)
    if is_in_results(workspace, output.resolve()):
        raise UsageError(
            f"'{output}' is in a folder of the project's results. Name another folder."
        )
    if output.exists():
        if not options.overwrite:
            raise UsageError(f"'{output}' exists already. Replace it with: --overwrite")
        if not (output / BUNDLE_FILE).is_file():
            raise UsageError(f"'{output}' exists and is not a bundle. Name another folder.")
    return output


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def _write_card(folder: Path, document: BundleDocument) -> None:
    """Write the model card, then ``bundle.json`` with the hashes of all files."""
    with write_atomic(folder / CARD) as file:
        file.write(write_bundle_readme(document))
    seal_bundle(folder, document)


def _copy(source: Path, target: Path, names: Sequence[str]) -> None:
    for name in names:
        try:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
        except OSError as error:
            place = f"'{source / name}' to '{target / name}'"
            raise CheckpointError(f"Cannot copy {place}: {explain_os_error(error)}") from error
