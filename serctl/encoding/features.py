"""The branches of a network: each a store of frames, checked to hold what is asked of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serctl.cache.key import FeatureKey
from serctl.cache.locate import find_store
from serctl.cache.sources import SourceHasher
from serctl.cache.store import FeatureStore
from serctl.config import Workspace, resolve_options
from serctl.data.manifest import Utterance
from serctl.documents.run import BranchRecord
from serctl.encoders.catalog import get_spec, is_path
from serctl.encoders.load import window_seconds
from serctl.encoding.failures import FAILURES, find_source, read_failures
from serctl.encoding.inputs import AudioInputs, Inputs, TextInputs
from serctl.encoding.keys import make_key
from serctl.errors import CacheError, MissingFeaturesError, SerctlError, UsageError, first_few
from serctl.options import ExtractOptions
from serctl.options.files import find_recipe


@dataclass(frozen=True, eq=False)
class Branch:
    """One encoder's frames."""

    modality: str
    encoder: str
    store: FeatureStore

    def record(self) -> BranchRecord:
        """Return what a run records about it."""
        key = self.store.key
        return BranchRecord(
            modality=self.modality,
            encoder=self.encoder,
            store=key.store_name,
            key=key,
            dim=self.store.dim,
        )


def open_branches(
    workspace: Workspace, encoders: Mapping[str, Sequence[str]], recipe: str = ""
) -> tuple[Branch, ...]:
    """Open the store of each encoder, given by modality; of several the one that ``recipe`` makes.

    Raises:
        UsageError: No encoder is named, or one under another modality than its own.
        CacheError: A name has no store, or several and none of them is made here.
    """
    named = [(modality, name) for modality, names in encoders.items() for name in names]
    if not named:
        raise UsageError("Name at least one encoder: --speech, --text or --paralinguistic NAME.")
    return tuple(_open_branch(workspace, modality, name, recipe) for modality, name in named)


def reopen_branches(workspace: Workspace, recorded: Sequence[BranchRecord]) -> tuple[Branch, ...]:
    """Open the very stores that a run recorded with `Branch.record`.

    Raises:
        MissingFeaturesError: One of them is gone.
    """
    branches = []
    for branch in recorded:
        path = find_store(workspace.cache, f"{branch.key.encoder}@{branch.key.digest}")
        branches.append(Branch(branch.modality, branch.encoder, FeatureStore.open(path)))
    return tuple(branches)


def _open_branch(workspace: Workspace, modality: str, name: str, recipe: str) -> Branch:
    plain, at, digest = name.partition("@")
    encoder = get_spec(plain, workspace.weights).name
    try:
        path = find_store(workspace.cache, f"{encoder}{at}{digest}")
    except MissingFeaturesError:
        raise
    except CacheError:  # several: the one that `extract` makes here, if that can be told
        usual = _default_key(workspace, plain, recipe)
        path = find_store(workspace.cache, f"{encoder}{at}{digest}", prefer=usual)
    store = FeatureStore.open(path)
    if store.key.modality != modality:
        raise UsageError(
            f"'{encoder}' is a {store.key.modality} encoder. "
            f"Write --{store.key.modality} {name} instead of --{modality} {name}."
        )
    return Branch(modality, name, store)


def _default_key(workspace: Workspace, encoder: str, recipe: str) -> FeatureKey | None:
    try:
        config = find_recipe(recipe) if recipe else None
        options = resolve_options(ExtractOptions, "extract", workspace, config, encoder=encoder)
        return make_key(workspace, options)
    except SerctlError:
        return None


def check_features(
    workspace: Workspace, branches: Sequence[Branch], utterances: Sequence[Utterance]
) -> tuple[frozenset[str], list[str]]:
    """Check that every store holds every utterance, made from what is there now.

    Returns:
        The utterances to leave out: `extract --skip-bad` could not read them, and nothing about
        them has changed since; and notes on them, and on what could not be compared because the
        audio or the transcripts are gone.

    Raises:
        MissingFeaturesError: Other utterances have no frames.
        CacheError: Audio or words have changed since their frames were made.
    """
    unread: set[str] = set()
    notes = []
    with SourceHasher(workspace.cache) as hasher:
        for branch in branches:
            skipped, gone = _compare(workspace, branch, utterances, hasher)
            unread |= skipped
            if skipped:
                notes.append(
                    f"Left out: {len(skipped)} utterances that {branch.encoder} could not read "
                    f"({first_few(sorted(skipped))}); see {FAILURES}."
                )
            if gone:
                what = "words" if branch.modality == "text" else "audio"
                notes.append(f"{branch.encoder}: the {what} of {gone} utterances is not there.")
    return frozenset(unread), notes


def _compare(
    workspace: Workspace,
    branch: Branch,
    utterances: Sequence[Utterance],
    hasher: SourceHasher,
) -> tuple[set[str], int]:
    """Return the utterances that are known to be unreadable, and how many cannot be compared."""
    inputs: Inputs | None = AudioInputs(hasher)
    if branch.modality == "text":
        has_words = workspace.transcripts.is_file()
        inputs = TextInputs(workspace.transcripts) if has_words else None
    store = branch.store
    listed = read_failures(workspace.root / FAILURES, store.key.digest)
    now = {
        row.utterance_id: find_source(inputs.hash_of, row) if inputs else "" for row in utterances
    }
    made = {name: store.source_of(name) if name in store else None for name in now}
    skipped = {name for name in now if made[name] != now[name] == listed.get(name)}
    rest = [name for name in now if name not in skipped]
    if missing := [name for name in rest if made[name] is None]:
        raise MissingFeaturesError(
            f"{len(missing)} of {len(now)} utterances have no frames of {branch.encoder} "
            f"({first_few(missing)}). {_remedy(workspace, branch, inputs)}"
        )
    if stale := [name for name in rest if now[name] not in ("", made[name])]:
        what = "Transcript" if branch.modality == "text" else "Audio"
        raise CacheError(
            f"{what} of {len(stale)} utterances has changed since {branch.encoder} encoded it "
            f"({first_few(stale)}). {_remedy(workspace, branch, inputs)}"
        )
    return skipped, sum(not now[name] for name in rest)


def _remedy(workspace: Workspace, branch: Branch, inputs: Inputs | None) -> str:
    """Return the command that makes these very frames, or why there is none any more."""
    key, name = branch.store.key, branch.encoder.partition("@")[0]
    default = resolve_options(ExtractOptions, "extract", workspace)
    window = default.window or 30
    command = f"serctl extract --encoder {name}"
    for flag, made, usual in (
        ("layer", key.layer, default.layers[0]),
        ("dtype", key.compute_dtype, default.dtype),
        ("storage", key.storage, default.storage),
        ("window", window_seconds(key.window) or window, window),
    ):
        command += f" --{flag} {made}" if made != usual else ""
    mapped = {get_spec(word, workspace.weights).name for word in workspace.weights}
    if key.weights == "local" and not is_path(name) and key.encoder not in mapped:
        command += " --weights DIR"
    if inputs and inputs.source != key.source:
        return (
            f"They are of the words of '{key.source}', and the transcripts are now "
            f"'{inputs.source}'. Take those words back with serctl transcribe, or run: {command} "
            f"and train on its frames."
        )
    return f"Run: {command}"
