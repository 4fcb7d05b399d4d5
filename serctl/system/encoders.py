"""Encoders and recogniser of a trained system: all in memory, or one at a time."""

import gc
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from serctl.cache.key import FeatureKey
from serctl.config import Workspace
from serctl.documents.bundle import RecogniserRecord
from serctl.encoders.base import Encoder, EncoderIdentity
from serctl.encoders.catalog import ENCODERS, is_hub_id
from serctl.encoders.load import identify_encoder, load_encoder, window_seconds
from serctl.encoding.recognition import Recognition, settle_recognition
from serctl.errors import TranscriptsError, UsageError, WeightsError, guess, refuse_twice
from serctl.options import TranscribeOptions, restore_options
from serctl.runtime import split_threads
from serctl.system.parts import EncoderKey, Parts

if TYPE_CHECKING:
    from serctl.encoders.recognisers.base import Recogniser

Made = TypeVar("Made")


class Encoders:
    """Encoders and recogniser of a system.

    Args:
        parts: Parts of the system.
        device: Device to compute on.
        mapping: Encoder name to checkpoint, ``[weights]`` of serctl.toml.
        weights: ``NAME=DIR`` values, which have a higher precedence.
        transcribe: Whether to transcribe. False if all utterances have a transcript.
        keep: Load all encoders now and keep them. Otherwise each is loaded when it is used and not
            kept. In both cases all weights are checked now.
    """

    def __init__(
        self,
        parts: Parts,
        device: torch.device,
        mapping: Mapping[str, Path],
        weights: Sequence[str] = (),
        *,
        transcribe: bool,
        keep: bool,
    ) -> None:
        given = parse_weights(weights)
        mapping = {**mapping, **given}
        self._parts, self._device, self._mapping, self._keep = parts, device, mapping, keep
        self.find_transcripts = transcribe and parts.needs_transcripts
        self.notes: tuple[str, ...] = _note_unread(given, parts)
        self._recogniser: Recogniser | None = None
        self._kept: dict[str, Encoder] = {}
        if self.find_transcripts:
            self._recognition = settle_words(parts.recogniser, mapping)
        for one in parts.encoders.values():
            if not keep:
                identity = self._call(identify_encoder, one)
                check_identity(identity, one.key, parts.contents)
        self._load_kept()

    def _load_kept(self) -> None:
        """Load the encoders and the recogniser that are kept."""
        if not self._keep:
            return
        if self.find_transcripts:
            self._recogniser = self.recogniser()
        for digest, [first, *_] in self.passes.items():
            if self._recogniser is None or not makes(self._recogniser, first):
                self._kept[digest] = self._load(self._parts.encoders[first.digest])

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what another process loads again, because not every encoder can be pickled."""
        return self.__dict__ | {"_kept": {}, "_recogniser": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load_kept()

    @property
    def keys(self) -> list[FeatureKey]:
        """Keys of all frames that the networks read."""
        return [one.key for one in self._parts.encoders.values()]

    @property
    def passes(self) -> dict[str, list[FeatureKey]]:
        """Keys of the frames that the networks read, by the pass of an encoder."""
        passes: dict[str, list[FeatureKey]] = {}
        for one in self._parts.encoders.values():
            passes.setdefault(one.pass_digest, []).append(one.key)
        return passes

    def encoder(self, digest: str) -> Encoder:
        """Return the encoder of a pass. Release it before the next call to save memory.

        Raises:
            WeightsError: The weights of this name are not those of the training.
        """
        if digest in self._kept:
            return self._kept[digest]
        if self._recogniser is not None:  # for utterances with a given transcript
            return self._recogniser.encoder
        return self._load(self._parts.encoders[self.passes[digest][0].digest])

    def recogniser(self) -> "Recogniser":
        """Return the recogniser whose transcripts the networks were trained on; see `encoder`."""
        if self._recogniser is not None:
            return self._recogniser
        self._make_room()
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "serctl"
        with split_threads(self._device) as workers:
            return self._recognition.load(cache, self._device, workers)

    def _load(self, one: EncoderKey) -> Encoder:
        self._make_room()
        encoder = self._call(load_encoder, one, device=self._device)
        check_identity(encoder.identity, one.key, self._parts.contents)
        self.notes = tuple(dict.fromkeys((*self.notes, *encoder.notes)))
        return encoder

    def _call(self, call: Callable[..., Made], one: EncoderKey, **more: Any) -> Made:
        """Call with the encoder of these frames. An error names the flag for its weights."""
        key = one.key
        known = key.encoder in ENCODERS or key.encoder in self._mapping or is_hub_id(key.encoder)
        try:
            return call(
                key.encoder if known else one.encoder,
                mapping=self._mapping,
                layer=key.layer,
                window=window_seconds(key.window),
                dtype=key.compute_dtype,
                revision=key.revision if is_hub_id(key.weights) else None,
                **more,
            )
        except WeightsError as error:
            raise WeightsError(f"{error} In predict: --weights {key.encoder}=DIR") from error

    def _make_room(self) -> None:
        """Free the memory of the previous encoder, if it was released."""
        if not self._keep:
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()


def makes(recogniser: "Recogniser", key: FeatureKey) -> bool:
    """Return whether the recogniser's encoder computes these frames, in any layer."""
    identity = asdict(replace(recogniser.encoder.identity, layer=key.layer))
    return all(getattr(key, name) == value for name, value in identity.items())


def check_identity(found: EncoderIdentity, key: FeatureKey, contents: Mapping[str, str]) -> None:
    """Check that the weights are those of the training.

    Raises:
        WeightsError: The revision or the window differs.
    """
    wanted = {key.revision, contents.get(key.revision)}
    if found.revision not in wanted or found.window != key.window:
        raise WeightsError(
            f"The weights of '{key.encoder}' found here ({found.weights}, {found.revision[:19]}) "
            f"are not those the networks were trained with ({key.weights}, {key.revision[:19]}). "
            f"Copy these and name them in serctl.toml under [weights], or use --weights NAME=DIR."
        )


def settle_words(recogniser: RecogniserRecord | None, mapping: Mapping[str, Path]) -> Recognition:
    """Find the recogniser whose transcripts the networks were trained on.

    Raises:
        TranscriptsError: They were trained on transcripts of the corpus, or of another revision.
    """
    if recogniser is None or recogniser.settings is None:
        raise TranscriptsError(
            "This system was trained on transcripts of the corpus. Give transcripts of these "
            "recordings: serctl predict AUDIO --model NAME --transcripts transcripts.csv "
            "(columns utterance_id,text), or name a recogniser: --recogniser whisper-large-v3. In "
            "Python: serctl.load(NAME, transcribe=False).predict(AUDIO, text=TRANSCRIPT)"
        )
    settings = {name: value for name, value in recogniser.settings.items() if value is not None}
    settings["backend"] = recogniser.backend
    options = restore_options(TranscribeOptions, settings, "recogniser")
    recognition = settle_recognition(Workspace(Path(), weights=mapping), options)
    if recogniser.source not in ("", recognition.source):
        raise TranscriptsError(
            f"The networks were trained on transcripts of '{recogniser.source}', but the "
            f"one found here is '{recognition.source}'. Name its weights in serctl.toml: [weights]."
        )
    return recognition


def _note_unread(names: Iterable[str], parts: Parts) -> tuple[str, ...]:
    """Return a note on given weights of encoders that a system does not read."""
    known = {name for one in parts.encoders.values() for name in (one.encoder, one.key.encoder)}
    if parts.recogniser and parts.recogniser.settings:
        known.add(str(parts.recogniser.settings.get("model")))
    return tuple(
        f"--weights {name} not used: '{parts.name}' reads {', '.join(sorted(known))}."
        f"{guess(name, known)}"
        for name in names
        if name not in known
    )


def parse_weights(pairs: Sequence[str]) -> dict[str, Path]:
    """Parse ``NAME=DIR`` values.

    Raises:
        UsageError: A value is not of this form, or an encoder is named twice.
    """
    wrong = [pair for pair in pairs if not all(pair.partition("="))]
    if wrong:
        raise UsageError(
            f"--weights is '{wrong[0]}', expected NAME=DIR, such as wavlm-large=/data/wavlm."
        )
    named = [(name, Path(path)) for name, _, path in (pair.partition("=") for pair in pairs)]
    refuse_twice("--weights", (name for name, _ in named))
    return dict(named)
