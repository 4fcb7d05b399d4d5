"""The branches of a network: each a store of frames, checked to hold what is asked of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serctl.cache.key import FeatureKey
from serctl.cache.locate import find_store
from serctl.cache.sources import SourceHasher
from serctl.cache.store import FeatureStore
from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.encoders.catalog import get_spec
from serctl.errors import CacheError, MissingFeaturesError, SerctlError, UsageError, first_few
from serctl.options import ExtractOptions
from serctl.stages.extract import make_key
from serctl.stages.inputs import AudioInputs, Inputs, TextInputs


@dataclass(frozen=True, eq=False)
class Branch:
    """One encoder's frames."""

    modality: str
    encoder: str
    store: FeatureStore

    def to_dict(self) -> dict[str, Any]:
        """Return what a run records about it."""
        key = self.store.key
        return {
            "modality": self.modality,
            "encoder": self.encoder,
            "store": key.store_name,
            "key": key.to_dict(),
            "dim": self.store.dim,
        }


def open_branches(
    workspace: Workspace, encoders: Mapping[str, Sequence[str]]
) -> tuple[Branch, ...]:
    """Open the store of each encoder, given by modality.

    Raises:
        UsageError: No encoder is named, or one under another modality than its own.
        CacheError: A name has no store, or several and none of the default key.
    """
    named = [(modality, name) for modality, names in encoders.items() for name in names]
    if not named:
        raise UsageError("Name at least one encoder: --speech, --text or --paralinguistic NAME.")
    return tuple(_open_branch(workspace, modality, name) for modality, name in named)


def reopen_branches(
    workspace: Workspace, recorded: Sequence[Mapping[str, Any]]
) -> tuple[Branch, ...]:
    """Open the very stores that a run recorded with `Branch.to_dict`.

    Raises:
        MissingFeaturesError: One of them is gone.
    """
    branches = []
    for branch in recorded:
        key = FeatureKey.from_dict(branch["key"])
        path = find_store(workspace.cache, f"{key.encoder}@{key.digest}")
        branches.append(Branch(branch["modality"], branch["encoder"], FeatureStore.open(path)))
    return tuple(branches)


def _open_branch(workspace: Workspace, modality: str, name: str) -> Branch:
    plain, at, digest = name.partition("@")
    encoder = get_spec(plain, workspace.weights).name
    try:
        path = find_store(workspace.cache, f"{encoder}{at}{digest}")
    except MissingFeaturesError:
        raise
    except CacheError:  # several: the one that `extract` makes by default, if that can be told
        path = find_store(
            workspace.cache, f"{encoder}{at}{digest}", prefer=_default_key(workspace, plain)
        )
    store = FeatureStore.open(path)
    if store.key.modality != modality:
        raise UsageError(
            f"'{encoder}' is a {store.key.modality} encoder. "
            f"Write --{store.key.modality} {name} instead of --{modality} {name}."
        )
    return Branch(modality, name, store)


def _default_key(workspace: Workspace, encoder: str) -> FeatureKey | None:
    try:
        return make_key(workspace, ExtractOptions(encoder=encoder))
    except SerctlError:
        return None


def check_features(
    workspace: Workspace, branches: Sequence[Branch], utterances: Sequence[Utterance]
) -> list[str]:
    """Check that every store holds every utterance, made from what is there now.

    Returns:
        Notes on what could not be compared because the audio or the transcripts are gone.

    Raises:
        MissingFeaturesError: Utterances have no frames.
        CacheError: Audio or words have changed since their frames were made.
    """
    notes = []
    with SourceHasher(workspace.cache) as hasher:
        for branch in branches:
            ids = [row.utterance_id for row in utterances]
            branch.store.num_frames(ids)  # raises for those that are missing
            inputs: Inputs = AudioInputs(hasher)
            if branch.modality == "text":
                if not workspace.transcripts.is_file():
                    notes.append(f"{branch.encoder}: no transcripts to compare its frames with.")
                    continue
                inputs = TextInputs(workspace.transcripts)
            here = [row for row in utterances if branch.modality == "text" or row.path.is_file()]
            if len(here) < len(utterances):
                gone = len(utterances) - len(here)
                notes.append(f"{branch.encoder}: the audio of {gone} utterances is not there.")
            _refuse_stale(branch, inputs, here)
    return notes


def _refuse_stale(branch: Branch, inputs: Inputs, utterances: Sequence[Utterance]) -> None:
    stale = [
        row.utterance_id
        for row in utterances
        if branch.store.source_of(row.utterance_id) != inputs.hash_of(row)
    ]
    if stale:
        what = "Transcript" if branch.modality == "text" else "Audio"
        raise CacheError(
            f"{what} of {len(stale)} utterances has changed since {branch.encoder} encoded it "
            f"({first_few(stale)}). Run: serctl extract --encoder {branch.encoder}"
        )
