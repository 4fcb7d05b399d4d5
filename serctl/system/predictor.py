"""A trained system in memory: audio in, emotions out. Results equal those of the stages."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from numbers import Real
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serctl.cache.key import FeatureKey
from serctl.data.audio import SAMPLE_RATE
from serctl.data.downmix import PREDICT_CHANNELS, DownmixReport
from serctl.documents.bundle import RecogniserRecord
from serctl.ensemble.calibration import NOT_CALIBRATED, check_prior, read_prior
from serctl.ensemble.logits import Logits, check_finite, softmax
from serctl.ensemble.stacker_folder import load_stacker
from serctl.errors import SerctlError, UsageError
from serctl.options import PredictOptions
from serctl.runtime import resolve_device
from serctl.system.encoders import Encoders
from serctl.system.loading import WITHOUT_SPEAKERS, cut_speech, describe_error, load_each
from serctl.system.parts import Parts
from serctl.system.prediction import Prediction
from serctl.system.sound import Audio, load_sound, name_sound
from serctl.system.utterances import LoadedUtterance, encode_utterances, tabulate
from serctl.training.checkpoint import load_run
from serctl.training.inference import infer
from serctl.training.speakers import read_corpus_moments

GROUP_SECONDS = {True: 60.0, False: 600.0}
"""Seconds of audio that are predicted together on a CPU and on other devices. Their frames are in
memory, about 0.5 MB per second for the paper's encoders."""
GROUP_SECONDS_APART = 1800.0
"""The same with ``one_at_a_time``, which loads each encoder again for every group."""


class Predictor:
    """Encoders, networks and stacker of one system, loaded once (see ``one_at_a_time``).

    Args:
        parts: Parts of the system.
        options: Options of the prediction. ``audio`` and ``transcripts`` are not used.
        mapping: Encoder name to checkpoint, ``[weights]`` of serctl.toml.
        transcribe: Whether to transcribe. False if all audio has a transcript.
    """

    def __init__(
        self,
        parts: Parts,
        options: PredictOptions,
        mapping: Mapping[str, Path] | None = None,
        *,
        transcribe: bool = True,
    ) -> None:
        if options.recogniser:
            chosen = RecogniserRecord(source="", settings={"model": options.recogniser})
            parts = replace(parts, recogniser=chosen)
        self.parts, self.labels, self.options = parts, parts.labels, options
        self._own_notes: dict[str, None] = {}
        self.downmixed = DownmixReport()
        self._calibration, self._prior = None, None
        if options.prior != "as-trained":
            check_prior(options.prior)
            self._calibration = parts.calibrate()
            if not self._calibration.num_rows:
                self.note(NOT_CALIBRATED)
            self._prior = read_prior(options.prior, self.labels, self._calibration.natural)
        if options.recogniser:
            self.note_unused("--recogniser")
        self._device = resolve_device(options.device)
        self._runs = {
            name: load_run(path, self._device, parts.predicted_by.get(name))
            for name, path in parts.networks.items()
        }
        self.reads_speakers = any(run.config.model.by_speaker for run in self._runs.values())
        if options.speaker_per != "none" and not self.reads_speakers:
            raise UsageError(
                f"--speaker-per {options.speaker_per}: no network of '{parts.name}' was trained "
                "with --standardise-by speaker. Leave the flag out."
            )
        self._stacker = load_stacker(parts.stacker) if parts.stacker else None
        how = {"transcribe": transcribe, "keep": not options.one_at_a_time}
        self._encoders = Encoders(parts, self._device, mapping or {}, options.weights, **how)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user."""
        own = (*self._own_notes, *self.downmixed.list_notes(PREDICT_CHANNELS))
        return tuple(dict.fromkeys((*self.parts.notes, *self._encoders.notes, *own)))

    def note(self, text: str) -> None:
        """Add a note for the user."""
        self._own_notes[text] = None

    def note_unused(self, words: str) -> None:
        """Note that a transcript or recogniser has no effect, unless a branch reads text."""
        if not self.parts.needs_transcripts:
            self.note(f"{words} not used: no network of '{self.parts.name}' reads text.")

    def note_without_speakers(self, advice: str = "") -> None:
        """Note that the predictions miss the speakers that a network was trained with."""
        if self.reads_speakers:
            self.note(f"{WITHOUT_SPEAKERS} {advice}".rstrip())

    @property
    def group_seconds(self) -> float:
        """Seconds of audio that are predicted together, and whose frames are in memory."""
        if self.options.one_at_a_time:
            return GROUP_SECONDS_APART
        return GROUP_SECONDS[self._device.type == "cpu"]

    @property
    def keys(self) -> list[FeatureKey]:
        """Keys of all frames that the networks read."""
        return self._encoders.keys

    def predict(
        self, audio: Audio, *, sample_rate: int | None = None, text: str | None = None
    ) -> Prediction:
        """Predict one utterance of any length.

        Args:
            audio: A path, bytes, an open file, or samples; see `serctl.system.sound.Audio`.
            sample_rate: Sampling rate of an array in Hz; files state theirs.
            text: Transcript, if known. Otherwise a system with a text branch transcribes.

        Raises:
            SerctlError: The audio is unusable. The message states the reason.
        """
        return self.predict_batch([audio], sample_rate=sample_rate, texts=[text])[0]

    def predict_batch(
        self,
        audio: Iterable[Audio],
        *,
        sample_rate: int | None = None,
        texts: Iterable[str | None] | None = None,
        speakers: Iterable[str] | None = None,
        skip_bad: bool = False,
    ) -> list[Prediction]:
        """Predict several utterances together, which is faster than one by one.

        Args:
            audio: Any iterable; see `predict`.
            sample_rate: Sampling rate of all arrays in Hz.
            texts: Transcript of each recording; None to transcribe it.
            speakers: Speaker of each recording; '' if unknown. Networks with standardisation per
                speaker then use all utterances of the speaker.
            skip_bad: Return a prediction with an ``error`` for unusable audio, and continue.

        Returns:
            A prediction for each recording, in the same order.

        Raises:
            SerctlError: A recording is unusable (unless ``skip_bad``).
        """
        if speakers is None:
            made = self.predict_each(audio, sample_rate=sample_rate, texts=texts, skip_bad=skip_bad)
            return list(made)
        if not self.reads_speakers:
            self.note(f"Speakers not used: no network of '{self.parts.name}' reads them.")
        utterances = list(load_each(audio, sample_rate, texts, speakers, self.downmixed))
        found = zip(utterances, self.predict_utterances(utterances), strict=True)
        return list(self._raise_errors(found, skip_bad))

    def predict_each(
        self,
        audio: Iterable[Audio],
        *,
        sample_rate: int | None = None,
        texts: Iterable[str | None] | None = None,
        skip_bad: bool = False,
    ) -> Iterator[Prediction]:
        """Yield predictions as they are made, for audio that comes from a generator.

        See `predict_batch`. Only audio that is predicted together is read ahead.
        """
        utterances = load_each(audio, sample_rate, texts, None, self.downmixed)
        return self._raise_errors(self.predict_stream(utterances), skip_bad)

    def _raise_errors(
        self, found: Iterable[tuple[LoadedUtterance, Prediction | SerctlError]], skip_bad: bool
    ) -> Iterator[Prediction]:
        """Yield predictions. Errors are raised, or with ``skip_bad`` yielded as predictions."""
        for one, made in found:
            if not one.speaker:
                self.note_without_speakers("Name them: predict_batch(audio, speakers=names)")
            if isinstance(made, SerctlError) and not skip_bad:
                raise made
            yield describe_error(one, made) if isinstance(made, SerctlError) else made

    def predict_segments(
        self, audio: Audio, *, sample_rate: int | None = None, longest: float | None = None
    ) -> list[Prediction]:
        """Cut a recording at its pauses and predict every segment; [] without speech.

        Args:
            audio: See `predict`.
            sample_rate: Sampling rate of an array in Hz.
            longest: Maximum seconds of a segment, at least 1; None uses the options'.
        """
        longest = self.options.segment_seconds if longest is None else longest
        if not isinstance(longest, Real) or not longest >= 1:
            raise UsageError(f"longest is {longest!r}, expected seconds, at least 1.")
        waveform = load_sound(audio, sample_rate, self.downmixed)
        segments = cut_speech(name_sound(audio), waveform, longest)
        found = zip(segments, self.predict_utterances(segments), strict=True)
        return list(self._raise_errors(found, skip_bad=False))

    def predict_utterances(
        self, utterances: Sequence[LoadedUtterance]
    ) -> list[Prediction | SerctlError]:
        """Predict utterances together; no prediction depends on the other utterances."""
        good = [one for one in utterances if one.error is None]
        if any(one.text for one in good):
            self.note_unused("Transcripts")
        self.encode(good)
        good = [one for one in good if one.error is None]
        predictions = self._combine(good) if good else iter(())
        return [one.error or next(predictions) for one in utterances]

    def predict_stream(
        self, utterances: Iterable[LoadedUtterance]
    ) -> Iterator[tuple[LoadedUtterance, Prediction | SerctlError]]:
        """Yield each utterance with its prediction or error, in order, as soon as it is predicted.

        The first is predicted alone, so that it appears at once. Groups then grow, because encoders
        are faster in batches. With ``speaker_per``, a group is all consecutive utterances of one
        speaker, which share statistics.
        """
        if self.options.speaker_per != "none":
            for _, same in groupby(utterances, key=lambda one: one.speaker):
                rows = list(same)
                yield from zip(rows, self.predict_utterances(rows), strict=True)
            return
        most = self.group_seconds * SAMPLE_RATE
        group: list[LoadedUtterance] = []
        held, done = 0, most if self.options.one_at_a_time else 0.0
        for one in utterances:
            group.append(one)
            held += len(one.waveform)
            if held >= min(done, most):
                yield from zip(group, self.predict_utterances(group), strict=True)
                done += held
                group, held = [], 0
        yield from zip(group, self.predict_utterances(group), strict=True)

    def encode(
        self, utterances: Sequence[LoadedUtterance], keys: Sequence[FeatureKey] | None = None
    ) -> None:
        """Add transcripts and frames of all or some keys; see `encode_utterances`."""
        seconds = self.options.batch_seconds
        encode_utterances(utterances, self._encoders, self._device, seconds, keys)

    def logits(self, utterances: Sequence[LoadedUtterance]) -> dict[str, NDArray[np.float64]]:
        """Return the finite logits ``(N, C)`` of every network for utterances with frames."""
        found = {}
        for name, run in self._runs.items():
            keys = [[one.key for one in branch] for branch in self.parts.branches[name]]
            moments = None
            if run.config.model.by_speaker and any(one.speaker for one in utterances):
                moments = read_corpus_moments(run.model, len(keys))
            data = tabulate(utterances, keys, len(run.labels), moments)
            found[name] = check_finite(infer(run.model, data, self._device).logits, name)
        return found

    def _combine(self, utterances: Sequence[LoadedUtterance]) -> Iterator[Prediction]:
        """Yield predictions from the logits of the networks, the stacker and the prior."""
        ids = tuple(map(str, range(len(utterances))))
        unseen = np.zeros(len(ids), dtype=bool)
        parts = [
            Logits(ids, values, self._runs[name].labels, unseen, name).reorder(self.labels)
            for name, values in self.logits(utterances).items()
        ]
        if self._stacker is None:
            predicted = softmax(parts[0].values)
        else:
            predicted = self._stacker.predict_parts(parts)
        if self._calibration is not None and self._prior is not None:
            predicted = self._calibration.apply(predicted, self._prior)
        single = {part.name: part.probabilities() for part in parts}
        for row, one in enumerate(utterances):
            best = int(predicted[row].argmax())
            sure = predicted[row, best] >= self.options.abstain_below
            yield Prediction(
                audio=one.name,
                start=one.start,
                end=one.start + len(one.waveform) / SAMPLE_RATE,
                emotion=self.labels[best] if sure else None,
                probabilities=self._by_label(predicted[row]),
                per_model={name: self._by_label(values[row]) for name, values in single.items()},
                text=one.text if self.parts.needs_transcripts else None,
                suspect=one.suspect,
                channel=one.channel,
            )

    def _by_label(self, row: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(self.labels, row.tolist(), strict=True))
