"""The key of the frames that options ask for, and the inputs they are made from."""

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
    """Return the key of the frames that `extract` makes with these options.

    Raises:
        SerctlError: The weights or, for text, the transcripts are not at hand.
    """
    return open_inputs(workspace, options, SourceHasher(workspace.cache))[0]


def open_inputs(
    workspace: Workspace, options: ExtractOptions, hasher: SourceHasher
) -> tuple[FeatureKey, Inputs]:
    """Return the key of the frames, and what reads the utterances that they are made from.

    Raises:
        UsageError: No encoder is named.
        SerctlError: The weights or, for text, the transcripts cannot be found.
    """
    if not options.encoder:
        raise UsageError("No encoder is named. Name one with --encoder; see: serctl encoders")
    identity = identify_encoder(options.encoder, **encoder_settings(workspace, options))
    is_text = identity.modality == "text"
    inputs: Inputs = TextInputs(workspace.transcripts) if is_text else AudioInputs(hasher)
    return FeatureKey(**asdict(identity), source=inputs.source, storage=options.storage), inputs


def encoder_settings(workspace: Workspace, options: ExtractOptions) -> dict[str, Any]:
    """Return what identifies an encoder beside its name."""
    return {
        "weights": options.weights,
        "mapping": workspace.weights,
        "layer": options.layer,
        "dtype": options.dtype,
        "window": options.window,
    }
