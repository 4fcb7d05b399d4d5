"""The keys of the frames that options ask for, and the inputs they are made from."""

from dataclasses import asdict
from typing import Any

from serctl.cache.key import FeatureKey
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
