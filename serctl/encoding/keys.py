"""Feature keys and inputs of an extraction with given options."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from serctl.cache.key import FeatureKey
from serctl.cache.locate import split_name
from serctl.cache.sources import SourceHasher
from serctl.cache.storage import get_storage
from serctl.config import Workspace
from serctl.encoders.load import identify_encoder, window_seconds
from serctl.encoding.inputs import AudioInputs, Inputs, TextInputs
from serctl.errors import UsageError
from serctl.options import ExtractOptions

UNTHINNED = "float16"
"""Storage of text where the options thin frames in time."""


def make_key(workspace: Workspace, options: ExtractOptions) -> FeatureKey:
    """Return the key of the first layer's frames that `extract` computes with these options.

    Raises:
        SerctlError: The weights or, for text, the transcripts are missing.
    """
    return open_inputs(workspace, options, SourceHasher(workspace.cache))[0][0]


def open_inputs(
    workspace: Workspace, options: ExtractOptions, hasher: SourceHasher
) -> tuple[tuple[FeatureKey, ...], Inputs]:
    """Return the keys of the frames, one per layer, and the inputs of the encoder.

    Raises:
        UsageError: No encoder is named, or it has no such layer.
        SerctlError: The weights or, for text, the transcripts are missing.
    """
    if not options.encoder:
        raise UsageError("No encoder given. Add --encoder NAME. See: serctl encoders")
    if not options.layers:
        raise UsageError("No layer given. Add --layer N, or -1 for the last layer.")
    identities = [
        identify_encoder(options.encoder, **encoder_settings(workspace, options, layer))
        for layer in options.layers
    ]
    is_text = identities[0].modality == "text"
    inputs: Inputs = TextInputs(workspace.transcripts) if is_text else AudioInputs(hasher)
    thinned = is_text and get_storage(options.storage).stride > 1
    storage = UNTHINNED if thinned else options.storage
    keys = (
        FeatureKey(**asdict(identity), source=inputs.source, storage=storage)
        for identity in identities
    )
    return tuple(keys), inputs


def note_storage(storage: str, key: FeatureKey) -> tuple[str, ...]:
    """Return a note on a storage that thins frames in time, for text; files set it for all."""
    if key.storage == storage:
        return ()
    return (
        f"storage {storage} is not used: the frames of '{key.encoder}' are tokens, stored as "
        f"{key.storage}.",
    )


def note_window(window: int | None, key: FeatureKey) -> tuple[str, ...]:
    """Return a note on a window for an encoder that has none; files set it for all encoders."""
    if window is None or window_seconds(key.window):
        return ()
    return (f"window {window} is not used: '{key.encoder}' is no Whisper encoder.",)


def group_layers(names: Iterable[str], usual: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the layers of each encoder in branches, with encoders in order of first use.

    Args:
        names: Names of branches: ``name``, ``name@9+12``, or ``name@digest`` of an existing store.
        usual: Layers of a branch without layers in its name.

    Example:
        >>> list_layers(["wavlm", "roberta", "wavlm@9+12"], [-1])
        {'wavlm': (-1, 9, 12), 'roberta': (-1,)}
    """
    found: dict[str, dict[int, None]] = {}
    for name in names:
        encoder, layers, digest = split_name(name)
        if not digest:
            found.setdefault(encoder, {}).update(dict.fromkeys(layers or usual))
    return {encoder: tuple(layers) for encoder, layers in found.items()}


def encoder_settings(
    workspace: Workspace, options: ExtractOptions, layer: int | None = None
) -> dict[str, Any]:
    """Return the settings that identify an encoder in addition to its name.

    The default of ``layer`` is the first layer of the options.
    """
    return {
        "weights": options.weights,
        "mapping": workspace.weights,
        "layer": options.layers[0] if layer is None else layer,
        "dtype": options.dtype,
        "window": options.window,
    }
