"""Identify an encoder by its name without loading it, and load its network."""

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.encoders.base import Encoder, EncoderIdentity, EncoderSpec, Modality
from serctl.encoders.catalog import get_spec
from serctl.encoders.recognisers.backends import is_ctranslate2
from serctl.encoders.weights import Weights, resolve_weights
from serctl.errors import UsageError, WeightsError

if TYPE_CHECKING:
    import torch

FAMILIES = {
    "speech": "serctl.encoders.speech:SpeechEncoder",
    "w2v-bert": "serctl.encoders.w2v_bert:W2vBertEncoder",
    "whisper": "serctl.encoders.whisper:WhisperEncoder.load",
    "facodec": "serctl.encoders.facodec.encoder:FacodecEncoder.load",
    "text": "serctl.encoders.text:TextEncoder",
    "lld": "serctl.encoders.lld:LLDEncoder",
}
"""Class or function of each family that builds an encoder from ``(path, identity, device)``."""

UNLAYERED = ("facodec", "lld")
"""Families whose frames are not a hidden state."""


LAYERS = ("encoder_layers", "num_hidden_layers", "num_layers", "n_layers", "n_layer")
"""Keys of the number of layers in a config.json, in this order."""


def identify_encoder(
    name: str,
    *,
    weights: Path | str | None = None,
    mapping: Mapping[str, Path] | None = None,
    layer: int = -1,
    dtype: str = "float32",
    revision: str | None = None,
    window: int | None = None,
) -> EncoderIdentity:
    """Return the identity of an encoder without building the network.

    Args:
        name: Catalogue name, alias, Hugging Face id or local path.
        weights: Checkpoint to use instead of the default (``--weights``).
        mapping: ``[weights]`` of serctl.toml.
        layer: N for ``hidden_states[N]``, -1 for ``last_hidden_state``.
        dtype: Precision of the computation.
        revision: Commit of a hub repository. None takes the downloaded one, or the newest.
        window: Seconds of Whisper's window, if not 30. Other encoders have none.

    Raises:
        UnknownNameError: There is no such encoder.
        WeightsError: The weights are missing or have another architecture.
        UsageError: The encoder has no such layer or window.
    """
    return _identify(*_locate(name, weights, mapping, revision), layer, dtype, window)


def load_encoder(
    name: str,
    *,
    device: "torch.device | str" = "cpu",
    weights: Path | str | None = None,
    mapping: Mapping[str, Path] | None = None,
    layer: int = -1,
    dtype: str = "float32",
    revision: str | None = None,
    window: int | None = None,
) -> Encoder:
    """Build an encoder and load its weights; see `identify_encoder`."""
    import torch

    spec, found = _locate(name, weights, mapping, revision)
    identity = _identify(spec, found, layer, dtype, window)
    module, _, builder = FAMILIES[spec.family].partition(":")
    build = attrgetter(builder)(import_module(module))
    return build(found.path, identity=identity, device=torch.device(device))


def window_seconds(window: str) -> int | None:
    """Return the seconds of a key's window rule; None for other rules.

    Example:
        >>> window_seconds("30s"), window_seconds("max-tokens")
        (30, None)
    """
    return int(window[:-1]) if window[:-1].isdecimal() else None


def _locate(
    name: str,
    weights: Path | str | None,
    mapping: Mapping[str, Path] | None,
    revision: str | None,
) -> tuple[EncoderSpec, Weights]:
    spec = get_spec(name, mapping)
    found = resolve_weights(spec, weights, mapping, revision)
    if spec.family and not spec.model_type:
        return spec, found
    config = _read_config(found)
    model_type = config.get("model_type", "")
    if spec.model_type and model_type not in ("", spec.model_type):
        raise WeightsError(
            f"'{found.path}' holds a '{model_type}' model, but '{spec.name}' is a "
            f"'{spec.model_type}' model. To encode with it: serctl extract --encoder {found.path}"
        )
    if spec.family:
        return spec, found
    family, modality = _recognise(config, found.path)
    window = {"text": "max-tokens", "whisper": "30s"}.get(family, "whole")
    return replace(spec, family=family, modality=modality, window=window), found


def _recognise(config: Mapping[str, Any], path: Path) -> tuple[str, Modality]:
    """Return the family and modality of a checkpoint from its files."""
    if is_ctranslate2(path):  # config.json has no model_type; model.bin names the model
        return "whisper", "speech"
    if config.get("model_type") == "whisper":
        return "whisper", "speech"
    if config.get("model_type") == "wav2vec2-bert":
        return "w2v-bert", "speech"
    if "conv_stride" in config and "feat_extract_norm" in config:
        return "speech", "speech"
    if "vocab_size" in config and not config.get("is_encoder_decoder"):
        return "text", "text"
    raise WeightsError(
        f"'{path}' holds a '{config.get('model_type', 'nameless')}' model, expected one like "
        f"wav2vec 2.0 (WavLM, HuBERT, XLS-R), w2v-BERT, Whisper, FACodec or a text encoder. "
        f"See: serctl encoders"
    )


def _read_config(weights: Weights) -> dict[str, Any]:
    path = weights.path / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"'{path}' is not a readable config.json ({error}), expected in a checkpoint folder."
        ) from error


def _identify(
    spec: EncoderSpec, weights: Weights, layer: int, dtype: str, window: int | None
) -> EncoderIdentity:
    if window is not None and not 1 <= window <= 30:
        raise UsageError(f"--window is {window}, expected 1 to 30 s.")
    if spec.family in UNLAYERED and layer != -1:
        raise UsageError(f"'{spec.name}' has no layers. Leave out --layer {layer}.")
    if spec.family not in UNLAYERED:
        config = _read_config(weights)
        layers = next((config[name] for name in LAYERS if config.get(name)), None)
        if layer < -1 or (layers is not None and layer > layers):
            raise UsageError(f"--layer is {layer}, expected 0 to {layers} or -1 for '{spec.name}'.")
    assert spec.modality is not None
    return EncoderIdentity(
        encoder=spec.name,
        modality=spec.modality,
        weights=weights.weights,
        revision=weights.revision,
        layer=layer,
        compute_dtype="float32" if spec.family == "lld" else dtype,
        window=f"{window}s" if window and spec.family == "whisper" else spec.window,
    )
