"""Parts of a trained system, from a bundle or from the project that trained it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from serctl.cache.key import FeatureKey
from serctl.config import Workspace
from serctl.data.manifest_file import read_manifest
from serctl.data.transcripts import FROM_MANIFEST, read_transcripts_sidecar
from serctl.documents.bundle import BUNDLE_FILE, RecogniserRecord
from serctl.documents.run import PredictedBy, RunConfig
from serctl.documents.stacker import (
    STACKER_FILE,
    StackerDocument,
    list_retrained,
    stack_command,
)
from serctl.encoders.catalog import is_hub_id
from serctl.ensemble.calibration import Calibrator, fit_calibration
from serctl.ensemble.stale import note_stale
from serctl.ensemble.systems import System
from serctl.errors import CheckpointError, TranscriptsError, UnknownNameError, UsageError, first_few
from serctl.names import explain_url
from serctl.system.bundle_folder import Bundle, is_bundle, open_bundle
from serctl.system.hub import fetch_bundle, is_hub_name, parse_hub_name
from serctl.training.run_folder import CONFIG, read_summary


@dataclass(frozen=True)
class EncoderKey:
    """The key of frames that a system reads, and the name of the encoder in the project."""

    key: FeatureKey
    encoder: str

    @property
    def pass_digest(self) -> str:
        """Digest of one pass of the encoder, the same for all its layers and storage formats."""
        return replace(self.key, layer=-1, storage="").digest


MODELS = "a bundle (its folder, or hf:OWNER/NAME on the hub) or a run or stacker of the project"
"""What ``--model`` may name, for messages."""
Branches = tuple[tuple[EncoderKey, ...], ...]
"""Of one network."""


@dataclass(frozen=True)
class Parts:
    """The parts of a system.

    Attributes:
        name: Name of the bundle, stacker or run.
        labels: Emotions in the order of its predictions.
        networks: Folder of each network by name, in the order of the stacker's input.
        branches: Branches of each network by name: the key of each layer that a branch reads.
        stacker: Folder of the stacker; None for a single network.
        recogniser: Recogniser whose transcripts it was trained on; None without a text branch.
        calibrate: Returns the calibrator, fitted on dev.
        predicted_by: Models of each network that the stacker was fitted for.
        contents: Hash of an encoder's files by revision, which identifies copies.
        bundle: Bundle of the parts; None for parts of a project.
        notes: Notes on the origin for the user.
    """

    name: str
    labels: tuple[str, ...]
    networks: Mapping[str, Path]
    branches: Mapping[str, Branches]
    stacker: Path | None
    recogniser: RecogniserRecord | None
    calibrate: Callable[[], Calibrator]
    predicted_by: Mapping[str, PredictedBy] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)
    bundle: Bundle | None = None
    notes: tuple[str, ...] = ()

    @property
    def encoders(self) -> dict[str, EncoderKey]:
        """Keys of all frames that the networks read, by digest."""
        branches = (branch for found in self.branches.values() for branch in found)
        return {one.key.digest: one for branch in branches for one in branch}

    @property
    def needs_transcripts(self) -> bool:
        """Whether any branch reads text."""
        return any(one.key.modality == "text" for one in self.encoders.values())


def check_model(model: str, workspace: Workspace | None) -> None:
    """Check that a model exists, without reading it. A hub is not asked.

    Raises:
        UsageError: There is no such bundle, stacker or run.
    """
    if not model:
        raise UsageError(f"No model given, expected {MODELS}: --model MODEL")
    if is_hub_name(model):
        parse_hub_name(model)
    elif not is_bundle(Path(model).expanduser()):
        if why := explain_url(model):
            raise UsageError(f"The model is '{model}'.{why}")
        _find_system(model, workspace)


def find_parts(model: str, workspace: Workspace | None) -> Parts:
    """Find a bundle by its folder or its name on the hub, or a stacker or run of the project.

    Raises:
        UsageError: There is no such bundle, stacker or run.
        HubError: The bundle cannot be downloaded.
        CheckpointError: A part is damaged, unfinished, or was trained again.
    """
    check_model(model, workspace)
    if is_hub_name(model):
        bundle, notes = fetch_bundle(model)
        return replace(read_bundle(bundle), notes=notes)
    folder = Path(model).expanduser()
    if is_bundle(folder):
        return read_bundle(open_bundle(folder))
    assert workspace is not None  # check_model found a run or stacker of it
    system = _find_system(model, workspace)
    if system.kind == "run":
        return _from_project(workspace, system, {system.name: system.path}, None)
    stacker = StackerDocument.read(system.path / STACKER_FILE)
    networks = {name: workspace.runs / name for name in stacker.models}
    _check_networks(system.name, networks, stacker, workspace)
    return _from_project(workspace, system, networks, system.path)


def read_branches(folder: Path) -> Branches:
    """Return the branches of a network from its ``config.json``."""
    return tuple(
        tuple(EncoderKey(key, branch.encoder.partition("@")[0]) for key in branch.keys)
        for branch in RunConfig.read(folder / CONFIG).branches
    )


def read_predicted_by(stacker: Path | None) -> Mapping[str, PredictedBy]:
    """Return which model of each network a stacker was fitted for; {} without a stacker."""
    if stacker is None:
        return {}
    return StackerDocument.read(stacker / STACKER_FILE).fitted_on.predicted_by


def fit_on_dev(workspace: Workspace, system: System, labels: tuple[str, ...]) -> Calibrator:
    """Fit temperature and prior on the predictions of a run or stacker for dev.

    Utterances that a network was trained on are not used for the fit.

    Raises:
        LogitsError: It has no logits of dev.
        ManifestError: There is no labelled dev split.
    """
    dev = read_manifest(workspace.manifest).select("dev").where(lambda row: row.emotion in labels)
    path = system.path / "logits" if system.kind == "run" else system.path
    logits = System(system.name, system.kind, path).load_all("dev", dev.ids).reorder(labels)
    emotions = {row.utterance_id: row.emotion for row in dev}
    targets = np.array([labels.index(emotions[name]) for name in logits.ids], dtype=np.intp)
    return fit_calibration(logits.probabilities(), targets, logits.in_sample)


def read_bundle(bundle: Bundle) -> Parts:
    """Return the parts of a bundle."""
    document = bundle.document
    return Parts(
        name=document.name,
        labels=bundle.labels,
        networks=bundle.networks,
        branches={name: read_branches(folder) for name, folder in bundle.networks.items()},
        stacker=bundle.stacker,
        recogniser=document.recogniser,
        calibrate=partial(Calibrator.of, document.calibration, bundle.labels),
        predicted_by=read_predicted_by(bundle.stacker),
        contents={found.revision: found.content for found in document.encoders},
        bundle=bundle,
    )


def _from_project(
    workspace: Workspace, system: System, networks: dict[str, Path], stacker: Path | None
) -> Parts:
    for folder in networks.values():
        read_summary(folder)
    first = next(iter(networks.values()))
    labels = (
        StackerDocument.read(stacker / STACKER_FILE).labels
        if stacker
        else RunConfig.read(first / CONFIG).labels
    )
    branches = {name: read_branches(folder) for name, folder in networks.items()}
    return Parts(
        name=system.name,
        labels=labels,
        networks=networks,
        branches=branches,
        stacker=stacker,
        recogniser=_find_recogniser(workspace, branches),
        calibrate=partial(fit_on_dev, workspace, system, labels),
        predicted_by=read_predicted_by(stacker),
        notes=note_stale(workspace, system),
    )


def _find_system(model: str, workspace: Workspace | None) -> System:
    """Return a run or stacker by name, or a run by the path of its folder."""
    kinds = [("stacker", workspace.stackers, STACKER_FILE)] if workspace else []
    kinds += [("run", workspace.runs, CONFIG)] if workspace else []
    found = [
        System(folder.resolve().name, kind, folder)  # type: ignore[arg-type]
        for kind, parent, file in kinds
        for folder in dict.fromkeys((parent / model, Path(model)))
        if (folder / file).is_file()
    ]
    if len(found) > 1:
        raise UsageError(
            f"'{model}' is both a stacker and a run. Write '{found[0].path}' or '{found[1].path}'."
        )
    if not found:
        known = [p.parent.name for _, parent, file in kinds for p in parent.glob(f"[!.]*/{file}")]
        known += [str(p.parent) for p in Path(model).parent.glob("*/bundle.json")]
        raise _describe_unknown(model, workspace, known)
    return found[0]


def _describe_unknown(
    model: str, workspace: Workspace | None, known: Sequence[str]
) -> UnknownNameError:
    """Return an error that states what was looked for, where, and what to do."""
    looked = f"Looked for '{Path(model) / BUNDLE_FILE}' and for a run or stacker"
    if is_hub_id(model):
        hint = f"On the hub it is: --model hf:{model}"
    elif known:
        hint = f"Expected {MODELS}."
    elif workspace:
        hint = "To train one: serctl run small"
    else:
        hint = "For a bundle: --model FOLDER. For a run or stacker: -C FOLDER, its project"
    if workspace:
        looked += f" of the project '{workspace.root}', which has none yet."
    else:
        looked += f", but no project (serctl.toml) is in '{Path.cwd()}' or above it."
    return UnknownNameError("model", model, known, hint, none=looked)


def _check_networks(
    name: str, networks: Mapping[str, Path], stacker: StackerDocument, workspace: Workspace
) -> None:
    """Refuse a stacker if its base models are missing or were trained again."""
    outside = [model for model, folder in networks.items() if not (folder / CONFIG).is_file()]
    if outside:
        raise CheckpointError(
            f"Stacker '{name}' needs {first_few(outside)}, expected only runs of this project, "
            f"because only runs predict new audio. Stack without it: serctl stack RUN RUN"
        )
    if again := list_retrained(stacker, workspace.runs):
        raise CheckpointError(
            f"Run '{again[0]}' was trained again since stacker '{name}' was fitted. "
            f"Run: serctl export-logits {again[0]}, then {stack_command(stacker.options, name)}"
        )


def _find_recogniser(
    workspace: Workspace, branches: Mapping[str, Branches]
) -> RecogniserRecord | None:
    """Return the recogniser whose transcripts the text branches were trained on.

    Raises:
        TranscriptsError: The project's transcripts are now from another source.
    """
    keys = [
        one.key
        for found in branches.values()
        for branch in found
        for one in branch
        if one.key.modality == "text"
    ]
    sources = sorted({key.source.removeprefix("text:").removesuffix(";strip") for key in keys})
    if not sources:
        return None
    if len(sources) > 1:
        raise TranscriptsError(
            f"The networks were trained on transcripts of several sources ({first_few(sources)}), "
            f"expected one. Train them on the same transcripts: serctl train --overwrite"
        )
    if sources[0] == FROM_MANIFEST:
        return RecogniserRecord(source=FROM_MANIFEST)
    found = read_transcripts_sidecar(workspace.transcripts)
    if found.source != sources[0]:
        raise TranscriptsError(
            f"The networks were trained on transcripts of '{sources[0]}', but "
            f"'{workspace.transcripts}' is of '{found.source}'. Transcribe as before, or train "
            f"again."
        )
    return RecogniserRecord(source=found.source, backend=found.backend, settings=found.settings)
