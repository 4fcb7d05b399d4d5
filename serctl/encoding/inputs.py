"""Inputs of encoders: audio of the manifest, or transcripts of `serctl transcribe`."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Protocol

from serctl.cache.sources import SourceHasher, hash_bytes
from serctl.data.audio import measure_samples, read_audio
from serctl.data.audio_file import mark_file
from serctl.data.downmix import KEEP_CHANNEL, DownmixReport
from serctl.data.manifest import Utterance
from serctl.data.transcripts import read_transcripts, transcribe_command
from serctl.encoders.base import Encoder
from serctl.encoding.pipeline import Content, Reading, capture
from serctl.errors import AudioError, SerctlError
from serctl.hashes import SETTLED_SECONDS

HEADERS_AT_ONCE = 4
"""Threads that read the headers of audio files."""


class Inputs(Content[Utterance], Protocol):
    """The waveforms or transcripts of a manifest's utterances.

    Attributes:
        source: Source in the feature key.
        notes: Notes for the user on what was read.
    """

    source: str

    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102

    def hash_of(self, utterance: Utterance) -> str:
        """Return the hash of the utterance's current source.

        Raises:
            SerctlError: The source is missing.
        """
        ...


class AudioInputs:
    """Waveforms, hashed by the bytes of their files."""

    source = "audio-16k-mono"
    _measured: ClassVar[Mapping[Any, int]] = {}
    """The last sizes, for the parts of a step that a worker does one after the other."""

    def __init__(self, hasher: SourceHasher, saved: bool = False) -> None:
        self._hash_file = hasher.recall if saved else hasher.hash_file
        self._report = DownmixReport()

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each problem that the mean of the channels has."""
        return self._report.list_notes(KEEP_CHANNEL)

    def hash_of(self, utterance: Utterance) -> str:
        """Return the hash of file and stretch. Only a changed file is read again."""
        return hash_stretch(self._hash_file(utterance.path), utterance)

    def sizes(self, rows: Sequence[Utterance], encoder: Encoder) -> list[int | SerctlError]:
        """Return the samples of each file, from its header. Only a changed file is opened again."""

        def measure(row: Utterance) -> int:
            return measure_samples(row.path, row.start, row.end)

        known = AudioInputs._measured
        marks = [mark_stretch(row) for row in rows]
        sizes: list[int | SerctlError | None] = [known.get(mark) for mark in marks]
        new = [row for row, size in zip(rows, sizes, strict=True) if size is None]
        with ThreadPoolExecutor(HEADERS_AT_ONCE) as pool:
            measured = pool.map(capture(measure), new)
            found = [next(measured) if size is None else size for size in sizes]
        AudioInputs._measured = {
            mark: size
            for mark, size in zip(marks, found, strict=True)
            if mark and isinstance(size, int)
        }
        return found

    def read(self, row: Utterance) -> Reading:
        """Return the waveform ``(num_samples,)``, 16 kHz mono float32.

        A file that changes before it is hashed is an error: the hash would not be that of the
        decoded audio.
        """
        before = mark_file(row.path)
        samples = read_audio(row.path, row.start, row.end, row.channel, report=self._report)
        source = self.hash_of(row)
        if mark_file(row.path) != before:
            raise AudioError(
                f"Audio file '{row.path}' changed while it was read. Run the command again."
            )
        return Reading(samples, source)


def mark_stretch(row: Utterance) -> tuple[Any, ...] | None:
    """Return what changes with the size of an utterance; None for a missing or very new file."""
    try:
        found = row.path.stat()
    except (OSError, ValueError):
        return None
    if time.time() - found.st_mtime <= SETTLED_SECONDS:
        return None
    return str(row.path), row.start, row.end, found.st_size, found.st_mtime_ns


def hash_stretch(digest: str, row: Utterance) -> str:
    """Return the hash of an utterance from the hash of its file; unchanged for a whole file."""
    if not (row.is_segment or row.channel):
        return digest
    end = "" if row.end is None else f"{row.end:.6f}"
    channel = f" channel {row.channel}" if row.channel else ""
    return hash_bytes(f"{digest} {row.start:.6f} {end}{channel}".encode())


class TextInputs:
    """Transcripts without surrounding white space, hashed by their text."""

    def __init__(self, path: Path) -> None:
        transcripts = read_transcripts(path)
        self.notes = ()
        self.source = f"text:{transcripts.source};strip"
        self._texts, self._remedy = transcripts.texts, transcribe_command(transcripts.source)

    def hash_of(self, utterance: Utterance) -> str:
        """Return the hash of the text."""
        return self.read(utterance).source

    def sizes(self, rows: Sequence[Utterance], encoder: Encoder) -> list[int | SerctlError]:
        """Return the tokens of each transcript."""
        texts = [capture(self._text_of)(row) for row in rows]
        counts = iter(encoder.count_tokens([text for text in texts if isinstance(text, str)]))  # type: ignore[attr-defined]
        return [next(counts) if isinstance(text, str) else text for text in texts]

    def read(self, row: Utterance) -> Reading:
        """Return the transcript."""
        text = self._text_of(row)
        return Reading(text, hash_bytes(text.encode()))

    def _text_of(self, row: Utterance) -> str:
        try:
            return self._texts[row.utterance_id].strip()
        except KeyError:
            raise SerctlError(
                f"Utterance '{row.utterance_id}' has no transcript. Run: {self._remedy}"
            ) from None
