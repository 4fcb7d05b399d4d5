"""The keys of the frames that options ask for, and the inputs they are made from."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from serctl.cache.key import FeatureKey
from serctl.cache.locate import split_name
from serctl.cache.sources import SourceHasher
from serctl.config import Workspace
from serctl.encoders.load import identify_encoder
from serctl.encoding.inputs import AudioInputs, Inputs, TextInputs
from serctl.errors import UsageError
from serctl.options import ExtractOptions


def make_key(workspace: Workspace, options: ExtractOptions) -> FeatureKey:
    """Return the key of the frames that `extract` makes with these options, of the first layer.

    Raises:
        SerctlError: The weights or, for text, the transcripts are not at hand.
    """
    return open_inputs(workspace, options, SourceHasher(workspace.cache))[0][0]


def open_inputs(
    workspace: Workspace, options: ExtractOptions, hasher: SourceHasher
) -> tuple[tuple[FeatureKey, ...], Inputs]:
    """Return the keys of the frames, one a layer, and what reads the utterances for them.

    Raises:
        UsageError: No encoder is named, or it has no such layer.
        SerctlError: The weights or, for text, the transcripts cannot be found.
    """
    if not options.encoder:
        raise UsageError("No encoder is named. Name one with --encoder; see: serctl encoders")
    if not options.layers:
        raise UsageError("No layer is named. Name one with --layer N, or -1 for the last.")
    identities = [
        identify_encoder(options.encoder, **encoder_settings(workspace, options, layer))
        for layer in options.layers
    ]
    is_text = identities[0].modality == "text"
    inputs: Inputs = TextInputs(workspace.transcripts) if is_text else AudioInputs(hasher)
    keys = (
        FeatureKey(**asdict(identity), source=inputs.source, storage=options.storage)
        for identity in identities
    )
    return tuple(keys), inputs


def list_layers(names: Iterable[str], usual: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the layers of each encoder that branches read, encoders in order of first use.

    Args:
        names: Of branches: ``name``, ``name@9+12``, or ``name@digest``, whose store is there.
        usual: Layers of a branch that names none.

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
    """Return what identifies an encoder beside its name; without ``layer`` for the first one."""
    return {
        "weights": options.weights,
        "mapping": workspace.weights,
        "layer": options.layers[0] if layer is None else layer,
        "dtype": options.dtype,
        "window": options.window,
    }
