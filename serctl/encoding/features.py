"""The branches of a network: stores of frames, checked to hold what is asked of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from serctl.cache.header import read_header
from serctl.cache.key import FeatureKey
from serctl.cache.locate import StoreInfo, describe_differences, find_store, split_name
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
class FeatureBranch:
    """The frames that one branch of a network reads.

    Attributes:
        modality: speech, text or paralinguistic.
        encoder: As the user named it.
        stores: One, or one for each layer that the network sums.
    """

    modality: str
    encoder: str
    stores: tuple[FeatureStore, ...]

    @property
    def key(self) -> FeatureKey:
        """Of the first layer; the others differ from it in nothing but the layer."""
        return self.stores[0].key

    def record(self) -> BranchRecord:
        """Return what a run records about it."""
        record = BranchRecord(
            modality=self.modality,
            encoder=self.encoder,
            store=self.key.store_name,
            key=self.key,
            dim=self.stores[0].dim,
        )
        if len(self.stores) == 1:
            return record
        return record.model_copy(update={"layers": tuple(s.key.layer for s in self.stores)})


def open_branches(
    workspace: Workspace, encoders: Mapping[str, Sequence[str]], recipe: str = ""
) -> tuple[FeatureBranch, ...]:
    """Open the stores of each encoder, given by modality; of several the one that ``recipe`` makes.

    Raises:
        UsageError: No encoder is named, or one under another modality than its own.
        CacheError: A name has no store, or several and none of them is made here.
    """
    named = [(modality, name) for modality, names in encoders.items() for name in names]
    if not named:
        raise UsageError("Name at least one encoder: --speech, --text or --paralinguistic NAME.")
    return tuple(_open_branch(workspace, modality, name, recipe) for modality, name in named)


def reopen_branches(
    workspace: Workspace, recorded: Sequence[BranchRecord]
) -> tuple[FeatureBranch, ...]:
    """Open the very stores that a run recorded with `FeatureBranch.record`.

    Raises:
        MissingFeaturesError: One of them is gone.
    """
    return tuple(
        FeatureBranch(
            branch.modality,
            branch.encoder,
            tuple(
                FeatureStore.open(find_store(workspace.cache, f"{key.encoder}@{key.digest}"))
                for key in branch.keys
            ),
        )
        for branch in recorded
    )


def _open_branch(workspace: Workspace, modality: str, name: str, recipe: str) -> FeatureBranch:
    plain, layers, digest = split_name(name)
    encoder = get_spec(plain, workspace.weights).name
    chosen = [f"@{layer}" for layer in layers] or [f"@{digest}" if digest else ""]
    stores = tuple(_open_store(workspace, plain, f"{encoder}{choice}", recipe) for choice in chosen)
    key = stores[0].key
    if key.modality != modality:
        raise UsageError(
            f"'{encoder}' is a {key.modality} encoder. "
            f"Write --{key.modality} {name} instead of --{modality} {name}."
        )
    if len({replace(store.key, layer=key.layer) for store in stores}) > 1:
        infos = [StoreInfo(store.path, read_header(store.path)) for store in stores]
        raise CacheError(
            f"The layers of '{name}' differ in more than the layer: {describe_differences(infos)}. "
            f"Extract them together: serctl extract --encoder {plain}"
            + "".join(f" --layer {layer}" for layer in layers)
        )
    return FeatureBranch(modality, name, stores)


def _open_store(workspace: Workspace, plain: str, name: str, recipe: str) -> FeatureStore:
    try:
        path = find_store(workspace.cache, name)
    except MissingFeaturesError:
        raise
    except CacheError:  # several: take the one that `extract` makes here, if that is known
        usual = _default_key(workspace, plain, recipe)
        _, layers, _ = split_name(name)
        if usual and layers:
            usual = replace(usual, layer=layers[0])
        path = find_store(workspace.cache, name, prefer=usual)
    return FeatureStore.open(path)


def _default_key(workspace: Workspace, encoder: str, recipe: str) -> FeatureKey | None:
    """Return the key of what `extract` makes here; None where it cannot or makes several."""
    try:
        config = find_recipe(recipe) if recipe else None
        options = resolve_options(ExtractOptions, "extract", workspace, config, encoder=encoder)
        return make_key(workspace, options) if len(options.layers) == 1 else None
    except SerctlError:
        return None


def check_features(
    workspace: Workspace, branches: Sequence[FeatureBranch], utterances: Sequence[Utterance]
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
        for branch, store in [(one, store) for one in branches for store in one.stores]:
            skipped, gone = _compare(workspace, branch, store, utterances, hasher)
            unread |= skipped
            if skipped:
                notes.append(
                    f"Left out: {len(skipped)} utterances that {branch.encoder} could not read "
                    f"({first_few(sorted(skipped))}); see {FAILURES}."
                )
            if gone:
                what = "words" if branch.modality == "text" else "audio"
                notes.append(f"{branch.encoder}: the {what} of {gone} utterances is not there.")
    return frozenset(unread), list(dict.fromkeys(notes))


def _compare(
    workspace: Workspace,
    branch: FeatureBranch,
    store: FeatureStore,
    utterances: Sequence[Utterance],
    hasher: SourceHasher,
) -> tuple[set[str], int]:
    """Return the utterances that are known to be unreadable, and how many cannot be compared."""
    inputs: Inputs | None = AudioInputs(hasher)
    if branch.modality == "text":
        has_words = workspace.transcripts.is_file()
        inputs = TextInputs(workspace.transcripts) if has_words else None
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
            f"({first_few(missing)}). {_remedy(workspace, branch.encoder, store.key, inputs)}"
        )
    if stale := [name for name in rest if now[name] not in ("", made[name])]:
        what = "Transcript" if branch.modality == "text" else "Audio"
        raise CacheError(
            f"{what} of {len(stale)} utterances has changed since {branch.encoder} encoded it "
            f"({first_few(stale)}). {_remedy(workspace, branch.encoder, store.key, inputs)}"
        )
    return skipped, sum(not now[name] for name in rest)


def _remedy(workspace: Workspace, encoder: str, key: FeatureKey, inputs: Inputs | None) -> str:
    """Return the command that makes these very frames, or why there is none any more."""
    name = encoder.partition("@")[0]
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
