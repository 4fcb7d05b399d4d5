"""The branches of a network: stores of frames, and the check that they are complete."""

from collections.abc import Iterable, Mapping, Sequence
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
from serctl.encoding.words import find_old_transcripts
from serctl.errors import CacheError, MissingFeaturesError, SerctlError, UsageError, first_few
from serctl.options import ExtractOptions
from serctl.options.files import find_recipe


@dataclass(frozen=True, eq=False)
class FeatureBranch:
    """The frames of one branch of a network.

    Attributes:
        modality: speech, text or paralinguistic.
        encoder: Name of the encoder as given by the user.
        stores: One store, or one for each summed layer.
    """

    modality: str
    encoder: str
    stores: tuple[FeatureStore, ...]

    @property
    def key(self) -> FeatureKey:
        """Key of the first layer. The others differ only in the layer."""
        return self.stores[0].key

    def record(self) -> BranchRecord:
        """Return the record of the branch for a run."""
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
    """Open the stores of each encoder by modality. If several exist, take that of ``recipe``.

    Raises:
        UsageError: No encoder is named, or one is named with a wrong modality.
        CacheError: A name has no store, or has several and none matches the options.
    """
    named = [(modality, name) for modality, names in encoders.items() for name in names]
    if not named:
        raise UsageError("No encoder given. Name one: --speech, --text or --paralinguistic NAME")
    return tuple(_open_branch(workspace, modality, name, recipe) for modality, name in named)


def reopen_branches(
    workspace: Workspace, recorded: Sequence[BranchRecord]
) -> tuple[FeatureBranch, ...]:
    """Open the stores in the record of a run.

    Raises:
        MissingFeaturesError: A store is missing.
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
            f"Use --{key.modality} {name} instead of --{modality} {name}."
        )
    if len({replace(store.key, layer=key.layer) for store in stores}) > 1:
        infos = [StoreInfo(store.path, read_header(store.path)) for store in stores]
        raise CacheError(
            f"The stores of '{name}' differ in other settings: {describe_differences(infos)}. "
            f"Extract the layers together: serctl extract --encoder {plain}"
            + "".join(f" --layer {layer}" for layer in layers)
        )
    return FeatureBranch(modality, name, stores)


def _open_store(workspace: Workspace, plain: str, name: str, recipe: str) -> FeatureStore:
    try:
        path = find_store(workspace.cache, name)
    except MissingFeaturesError:
        raise
    except CacheError:  # several stores: take the one that `extract` would fill
        usual = _default_key(workspace, plain, recipe)
        _, layers, _ = split_name(name)
        if usual and layers:
            usual = replace(usual, layer=layers[0])
        path = find_store(workspace.cache, name, prefer=usual)
    return FeatureStore.open(path)


def _default_key(workspace: Workspace, encoder: str, recipe: str) -> FeatureKey | None:
    """Return the key of the frames that `extract` computes; None if unknown or ambiguous.

    Raises:
        SerctlError: The options of `extract` in serctl.toml are invalid.
    """
    config = find_recipe(recipe) if recipe else None
    options = resolve_options(ExtractOptions, "extract", workspace, config, encoder=encoder)
    try:
        return make_key(workspace, options) if len(options.layers) == 1 else None
    except SerctlError:
        return None


def check_features(
    workspace: Workspace, branches: Sequence[FeatureBranch], utterances: Sequence[Utterance]
) -> tuple[frozenset[str], list[str]]:
    """Check that every store holds current frames of every utterance.

    Returns:
        The utterances to exclude, which `extract --skip-bad` could not read and which have not
        changed since. Notes on them, and on utterances that could not be checked because audio or
        transcripts are missing.

    Raises:
        MissingFeaturesError: Other utterances have no frames.
        CacheError: Audio or transcripts have changed since they were encoded.
    """
    unread: set[str] = set()
    notes = []
    with SourceHasher(workspace.cache) as hasher:
        if any(branch.modality == "text" for branch in branches):
            notes += find_old_transcripts(workspace, utterances, hasher)
        for branch, store in [(one, store) for one in branches for store in one.stores]:
            skipped, gone = _compare(workspace, branch, store, utterances, hasher)
            unread |= skipped
            if skipped:
                notes.append(
                    f"Left out: {len(skipped)} utterances that {branch.encoder} could not read "
                    f"({first_few(sorted(skipped))}); see {FAILURES}."
                )
            if gone:
                what = "transcript" if branch.modality == "text" else "audio"
                notes.append(f"{branch.encoder}: the {what} of {gone} utterances is missing.")
    return frozenset(unread), list(dict.fromkeys(notes))


@dataclass(frozen=True)
class SourceCheck:
    """Utterances whose audio or transcripts have changed since encoding, or may have changed."""

    changed: frozenset[str]
    unknown: frozenset[str]


def check_sources(
    workspace: Workspace,
    branch: FeatureBranch,
    utterances: Sequence[Utterance],
    hasher: SourceHasher,
) -> SourceCheck:
    """Compare audio or transcripts with those that were encoded.

    No audio is read. A file counts as changed if its size or time is not that of its saved hash. It
    is unknown if it has no saved hash. Missing files and transcripts are not compared.
    """
    changed, unknown = set[str](), set[str]()
    inputs = _open_inputs(workspace, branch, hasher, saved=True)
    if inputs is None:
        return SourceCheck(frozenset(), frozenset())
    for row in utterances:
        name, now = row.utterance_id, find_source(inputs.hash_of, row)
        made = [store.source_of(name) for store in branch.stores if name in store]
        if now and any(source != now for source in made):
            changed.add(name)
        elif made and not now and branch.modality != "text" and row.path.exists():
            unknown.add(name)
    return SourceCheck(frozenset(changed), frozenset(unknown))


def _open_inputs(
    workspace: Workspace, branch: FeatureBranch, hasher: SourceHasher, saved: bool = False
) -> Inputs | None:
    """Return the audio or transcripts of now; None if there are no transcripts."""
    if branch.modality != "text":
        return AudioInputs(hasher, saved)
    return TextInputs(workspace.transcripts) if workspace.transcripts.is_file() else None


def _compare(
    workspace: Workspace,
    branch: FeatureBranch,
    store: FeatureStore,
    utterances: Sequence[Utterance],
    hasher: SourceHasher,
) -> tuple[set[str], int]:
    """Return the utterances known to be unreadable, and the number that cannot be checked."""
    inputs = _open_inputs(workspace, branch, hasher)
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
            f"{what} of {len(stale)} utterances has changed since encoding with {branch.encoder} "
            f"({first_few(stale)}). {_remedy(workspace, branch.encoder, store.key, inputs)}"
        )
    return skipped, sum(not now[name] for name in rest)


def _remedy(workspace: Workspace, encoder: str, key: FeatureKey, inputs: Inputs | None) -> str:
    """Return the command that computes these frames, or why that is not possible."""
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
            f"They need the transcripts of '{key.source}', but the transcripts are now from "
            f"'{inputs.source}'. Restore them with serctl transcribe, or run: {command} "
            f"and train on its frames."
        )
    return f"Run: {command}"


def speaker_sources(
    utterances: Iterable[Utterance], branches: Sequence[FeatureBranch]
) -> tuple[str, ...]:
    """Return the utterances, speakers and hashes of sources of the speakers' statistics."""
    stores = [store for branch in branches for store in branch.stores]
    return tuple(
        " ".join([row.utterance_id, row.speaker, store.source_of(row.utterance_id)])
        for row in sorted(utterances, key=lambda row: row.utterance_id)
        for store in stores
        if row.speaker and row.utterance_id in store
    )
