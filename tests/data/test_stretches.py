"""Utterances that are parts of files: read, hashed, measured and named as such, in every form."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from serctl.cache.sources import SourceHasher
from serctl.data.audio import measure_samples, read_audio
from serctl.data.corpora import read_corpus
from serctl.data.corpora.scan import Corpus
from serctl.data.corpora.table import read_table
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.tables import read_table_file
from serctl.data.textgrid import format_textgrid, parse_textgrid
from serctl.encoding.inputs import AudioInputs
from serctl.errors import AudioError, CorpusError, ManifestError

RATE = 8000
QUOTED = '","'


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of noise, stereo, as WAV, FLAC, OGG and MP3."""
    folder = tmp_path_factory.mktemp("recordings")
    noise = 0.1 * np.random.default_rng(0).standard_normal((4 * RATE, 2)).astype(np.float32)
    for ending in ("wav", "flac", "ogg", "mp3"):
        soundfile.write(folder / f"call.{ending}", noise, RATE)
    return folder / "call.wav"


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_a_stretch_is_what_a_file_of_it_would_be(recording: Path, ending: str) -> None:
    path = recording.with_suffix(f".{ending}")
    samples, rate = soundfile.read(path, dtype="float32")
    cut = samples[int(1.25 * rate) : int(2.5 * rate)].mean(axis=1)
    expected = soxr.resample(cut, rate, 16000, quality="HQ")
    found = read_audio(path, 1.25, 2.5)
    assert len(found) == measure_samples(path, 1.25, 2.5) == 20000
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_an_open_end_is_the_end_and_a_rounded_one_too(recording: Path) -> None:
    assert len(read_audio(recording, 3.5)) == 8000
    assert len(read_audio(recording, 3.5, 4.05)) == 8000
    for start, end in ((3.0, 4.5), (4.0, None), (9.0, 9.5)):
        with pytest.raises(AudioError, match=r"has 4\.00 s, but a segment"):
            read_audio(recording, start, end)


@pytest.fixture
def inputs(tmp_path: Path) -> AudioInputs:
    return AudioInputs(SourceHasher(tmp_path))


def test_hashes_distinguish_stretches_and_files(recording: Path, inputs: AudioInputs) -> None:
    rows = [
        Utterance("a", recording, "train"),
        Utterance("b", recording, "train", start=1.0, end=2.0),
        Utterance("c", recording, "train", start=1.0, end=2.5),
        Utterance("d", recording, "train", start=1.0),
    ]
    hashes = [inputs.hash_of(row) for row in rows]
    assert len(set(hashes)) == 4
    assert [inputs.read(row).source for row in rows] == hashes
    assert hashes[0] == SourceHasher(recording.parent).hash_file(recording)


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_file_that_changes_while_it_is_read_is_an_error(
    start: float,
    recording: Path,
    inputs: AudioInputs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "growing.wav"
    path.write_bytes(recording.read_bytes())
    row = Utterance("a", path, "train", start=start)

    def grow(*_: object, **__: object) -> np.ndarray:
        with path.open("ab") as file:
            file.write(b"more")
        return np.ones(5, np.float32)

    monkeypatch.setattr("serctl.encoding.inputs.read_audio", grow)
    with pytest.raises(AudioError, match="changed while it was read"):
        inputs.read(row)


def test_a_segment_behind_the_end_of_a_stream_is_refused(tmp_path: Path) -> None:
    """A FLAC file that was written to a pipe does not state its length."""
    soundfile.write(tmp_path / "a.flac", np.full(4 * 8000, 0.1), 8000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0
    content[22:42] = bytes(20)  # number of samples and checksum
    (tmp_path / "stream.flac").write_bytes(content)
    assert len(read_audio(tmp_path / "stream.flac", 1, 4.05)) == 3 * 16_000
    for start, end in ((0, 6), (3, 6), (5, 6)):
        with pytest.raises(AudioError, match="ends before its segment to 6 s"):
            read_audio(tmp_path / "stream.flac", start, end)


def test_the_manifest_keeps_the_times(recording: Path, tmp_path: Path) -> None:
    rows = (
        Utterance("a", recording, "train", "sad", start=0.123456, end=3.9),
        Utterance("b", recording, "dev", "sad", start=2.5),
        Utterance("c", recording, "dev", "sad"),
    )
    write_manifest(tmp_path / "m.csv", rows)
    assert read_manifest(tmp_path / "m.csv").utterances == rows


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("begin,end", "--column start=begin"),
        ("start,Stop", "--column end=Stop"),
        ("Start (s),End (s)", "--column start='Start .s.'"),
        ("start_time,end_time", "--column start=start_time"),
        ("Begin Time - ss.msec,End Time - ss.msec", "--column start='Begin Time - ss.msec'"),
        ("segment_start,segment_end", "--column start=segment_start"),
        ("Onset,Offset", "--column start=Onset"),
        ("Begin Time - msec,End Time - msec", "expected seconds. Add a column start in seconds"),
        ("start_ms,end_ms", "expected seconds. Add a column start in seconds"),
        ("startSample,endSample", "expected seconds. Add a column start in seconds"),
        ("start,duration", "Add a column end"),
        ("start (mm:ss),end (mm:ss)", "--column start='start .mm:ss.'"),
        ("Begin Time - hh:mm:ss,End Time - hh:mm:ss", "--column start='Begin Time - hh:mm:ss'"),
        ("from,to", "--column start=from"),
        ("from (s),to (s)", "--column start='from .s.'"),
        ("In,Out", "--column start=In"),
        ("t0,t1", "--column start=t0"),
        ("Anfang (s),Ende (s)", "--column start='Anfang .s.'"),
        ("von_ms,bis_ms", "expected seconds. Add a column start in seconds"),
        ("start,Ende", "--column end=Ende"),
    ],
)
def test_times_in_other_columns_are_not_ignored(
    recording: Path, tmp_path: Path, columns: str, told: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"utterance_id,path,split,{columns}\na,{recording},train,0.5,1.5\n")
    with pytest.raises(ManifestError, match=told):
        read_table(path, {})
    with pytest.raises(
        ManifestError, match=told.split("--column")[0] or "may be the|is similar to"
    ):
        read_manifest(path)
    one, other = columns.split(",")
    if other != "duration":
        (row,) = read_table(path, {"start": one, "end": other}).utterances
        assert (row.start, row.end) == (0.5, 1.5)
    rows = read_table(path, {"start": "", "end": ""}).utterances
    assert not rows[0].is_segment
    write_manifest(tmp_path / "m.csv", rows)
    if other != "duration":
        assert f"{one}_unused" in read_manifest(tmp_path / "m.csv").utterances[0].extra


@pytest.mark.parametrize("columns", [{"start": "from"}, {"end": "to"}])
def test_the_other_one_of_a_pair_is_not_ignored(
    recording: Path, tmp_path: Path, columns: dict[str, str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"path,from,to\n{recording},0:00.5,0:01.5\n{recording},0:02,\n")
    with pytest.raises(ManifestError, match=r"--column (?:start=from|end=to) Read whole files"):
        read_table(path, columns)


@pytest.mark.parametrize("columns", ["from,emotion", "from,to"])
def test_a_pair_that_holds_no_seconds_is_not_of_times(
    recording: Path, tmp_path: Path, columns: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"utterance_id,path,split,{columns}\na,{recording},train,3,sad\n")
    assert not read_table(path, {}).utterances[0].is_segment
    assert not read_manifest(path).utterances[0].is_segment


def read_clocks(folder: Path, recording: Path, *rows: str) -> Corpus:
    path = folder / "meld.csv"
    lines = [f'{recording},"{row.replace(" ", QUOTED)}"' for row in rows]
    path.write_text("\n".join(["path,StartTime,EndTime", *lines, ""]))
    return read_table(path, {})


def test_times_of_meld_are_segments_of_a_file_that_holds_them(
    recording: Path, tmp_path: Path
) -> None:
    found = read_clocks(
        tmp_path, recording, "00:00:00,500 00:00:01,250", "00:00:02,000 00:00:04,059"
    )
    assert [(row.start, row.end) for row in found.utterances] == [(0.5, 1.25), (2.0, 4.059)]
    assert "segments read from StartTime and EndTime" in found.notes


def test_times_of_an_episode_are_set_aside_where_the_clips_are_cut(
    recording: Path, tmp_path: Path
) -> None:
    found = read_clocks(
        tmp_path, recording, "00:16:16,059 00:16:20,100", "00:00:00,000 00:00:04,000"
    )
    assert [(row.start, row.end) for row in found.utterances] == [(0.0, None)] * 2
    assert any("times of another recording" in note for note in found.notes)


def test_times_of_another_recording_are_set_aside_in_a_table_without_paths(
    recording: Path, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("utterance_id,StartTime,EndTime\ncall,00:16:16,00:16:20\n")
    (row,) = read_table(path, {}, recording.parent).utterances
    assert row.extra == {"StartTime_unused": "00:16:16", "EndTime_unused": "00:16:20"}


@pytest.mark.parametrize("other", ["00:16:16,059 00:16:17,000", "00:16:16,059 00:16:20,100"])
def test_times_that_fit_neither_way_are_refused(
    recording: Path, tmp_path: Path, other: str
) -> None:
    flags = r"--column start=StartTime --column end=EndTime .* --column start= --column end="
    with pytest.raises(ManifestError, match=flags):
        read_clocks(tmp_path, recording, "00:00:00,500 00:00:01,250", other)


def test_audformat_segments_are_honoured(recording: Path, tmp_path: Path) -> None:
    pytest.importorskip("audformat")
    (tmp_path / "call.wav").write_bytes(recording.read_bytes())
    (tmp_path / "db.yaml").write_text(
        "name: segments\nsource: ''\nusage: unrestricted\nlanguages: []\n"
        "schemes:\n  emotion: {dtype: str}\n"
        "tables:\n  files:\n    type: segmented\n    columns:\n"
        "      emotion: {scheme_id: emotion}\n"
    )
    (tmp_path / "db.files.csv").write_text(
        "file,start,end,emotion\ncall.wav,0 days,0 days 00:00:01,angry\n"
        "call.wav,0 days 00:00:01,,sad\n"
    )
    rows = read_corpus("audformat", tmp_path).utterances
    assert [(row.start, row.end, row.emotion) for row in rows] == [
        (0.0, 1.0, "angry"),
        (1.0, None, "sad"),
    ]
    assert [row.utterance_id for row in rows] == ["call_0.000-1.000", "call_1.000-end"]
    assert [len(read_audio(row.path, row.start, row.end)) for row in rows] == [16000, 48000]


def test_turns_of_an_rttm_file(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "turns.rttm").write_text(
        "SPEAKER call 1 0.500 1.25 <NA> <NA> agent <NA> <NA>\n"
        "SPEAKER call 1 2.000 1.00 <NA> <NA> customer <NA> <NA>\n"
    )
    corpus = read_table(tmp_path / "turns.rttm", {"emotion": ""}, recording.parent)
    assert [(row.start, row.end, row.speaker) for row in corpus.utterances] == [
        (0.5, 1.75, "agent"),
        (2.0, 3.0, "customer"),
    ]
    assert corpus.utterances[0].path == recording


@pytest.mark.parametrize(
    ("name", "speakers"),
    [("SPEAKER_00", {"f1-SPEAKER_00", "f2-SPEAKER_00", "Anna"}), ("Berta", {"Berta", "Anna"})],
)
def test_names_that_a_program_gave_belong_to_one_recording(
    tmp_path: Path, name: str, speakers: set[str]
) -> None:
    (tmp_path / "turns.rttm").write_text(
        "".join(f"SPEAKER {f} 1 0 1 <NA> <NA> {name} <NA> <NA>\n" for f in ("f1", "f2"))
        + "SPEAKER f2 1 1 1 <NA> <NA> Anna <NA> <NA>\n"
    )
    table = read_table_file(tmp_path / "turns.rttm")
    assert {row["speaker"] for row in table.rows} == speakers
    assert any("several recordings" in note for note in table.notes) == (name == "SPEAKER_00")


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("SPEAKER my call 1 0 1 <NA> <NA> a <NA> <NA>", 11),
        ("SPEAKER call 1 0.6 0.3 <NA> <NA>", 7),
        ("SPEAKER call 1 0.6", 4),
        ("speaker call 1 0.6 0.3 <NA> <NA>", 7),
    ],
)
def test_a_turn_of_an_rttm_file_with_other_fields_is_told(
    tmp_path: Path, line: str, number: int
) -> None:
    path = tmp_path / "turns.rttm"
    path.write_text(f"SPEAKER call 1 0 1 <NA> <NA> a <NA> <NA>\n{line}\n")
    with pytest.raises(ManifestError, match=rf"line 2 has {number} fields, expected 8 to 10.*blan"):
        read_table_file(path)


SHORT = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n4\n<exists>\n2\n'
SHORT += '"IntervalTier"\n"emotion"\n0\n4\n2\n0\n1.5\n"Anger"\n1.5\n4\n""\n'
SHORT += '"TextTier"\n"clicks"\n0\n4\n1\n2\n"!"\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_textgrids_in_both_formats(recording: Path, tmp_path: Path, encoding: str) -> None:
    for name in ("long", "short"):
        (tmp_path / f"{name}.wav").write_bytes(recording.read_bytes())
    tiers = {
        "emotion": [(0.0, 1.5, "Anger"), (2.0, 3.0, "calm")],
        "speaker": [(0.0, 4.0, 'the "first"')],
        "words": [(0.2, 0.6, "go"), (0.7, 1.2, "away"), (2.1, 2.9, "well")],
    }
    (tmp_path / "long.TextGrid").write_bytes(format_textgrid(tiers, 4.0).encode(encoding))
    (tmp_path / "short.TextGrid").write_bytes(SHORT.encode(encoding))
    rows = read_corpus("textgrid", tmp_path).utterances
    assert [(row.emotion, row.speaker, row.transcript) for row in rows] == [
        ("angry", 'the "first"', "go away"),
        ("calm", 'the "first"', "well"),
        ("angry", "", None),
    ]


@pytest.mark.parametrize("word", ["{}ignored", "{}s", "{}ms", "{}e", "{}!", "+{}", "{}.0", "{}e0x"])
def test_numbers_of_a_textgrid_are_those_that_praat_reads(word: str) -> None:
    text = re.sub(r"(?m)^(\d+)$", lambda found: word.format(found[1]), SHORT)
    assert text != SHORT
    assert parse_textgrid(text) == parse_textgrid(SHORT)
    assert parse_textgrid(SHORT)["emotion"] == [(0, 1.5, "Anger"), (1.5, 4, "")]


@pytest.mark.parametrize("comment", ["! of 5 tiers", '! a "word" 3', '! a 5" disc', "!"])
def test_comments_of_a_textgrid_are_left_out(comment: str) -> None:
    head, _, body = SHORT.partition("\n\n")
    commented = f"{head}\n{comment}\n" + body.replace("\n", f" {comment}\n")
    assert parse_textgrid(commented) == parse_textgrid(SHORT)


@pytest.mark.parametrize("word", ["1,5", "50%", "3/2", "0x1F", "1.5.2", "1:30", "1e5,5"])
def test_other_numbers_of_a_textgrid_are_named(word: str) -> None:
    with pytest.raises(ValueError, match=f"'{re.escape(word)}' is no decimal number"):
        parse_textgrid(SHORT.replace("1.5", word))


@given(st.integers(0, len(SHORT)), st.text(max_size=3))
def test_a_damaged_textgrid_is_an_error_or_a_grid(place: int, put: str) -> None:
    try:
        parse_textgrid(SHORT[:place] + put + SHORT[place + 1 :])
    except ValueError:
        return


def test_two_tiers_of_one_name_are_refused(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(recording.read_bytes())
    grid = format_textgrid({"emotion": [(0, 1, "sad")], "rater 2": [(2, 3, "happy")]}, 4.0)
    (tmp_path / "a.TextGrid").write_text(grid.replace("rater 2", "emotion"))
    with pytest.raises(CorpusError, match="two tiers have the name 'emotion', rename one"):
        read_corpus("textgrid", tmp_path)


def test_the_speaker_of_a_part_with_several_intervals(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(recording.read_bytes())
    tiers = {
        "Emotion": [(0.0, 2.0, "sad"), (2.0, 4.0, "happy")],
        "Speaker": [(0.0, 1.0, "A"), (1.0, 2.0, "A"), (2.0, 2.9, "A"), (2.9, 4.0, "B")],
        "Words": [(0.0, 1.0, "so"), (1.0, 2.0, "so"), (2.0, 4.0, "oh")],
    }
    (tmp_path / "a.TextGrid").write_text(format_textgrid(tiers, 4.0))
    corpus = read_corpus("textgrid", tmp_path)
    assert [row.speaker for row in corpus.utterances] == ["A", ""]
    assert [row.transcript for row in corpus.utterances] == ["so so", "oh"]
    assert corpus.notes == (
        "1 parts with several speakers, read as unknown: a.TextGrid at 2 s (A and B)",
    )


@pytest.mark.parametrize(("turn", "speaker"), [(2.6, ""), (2.1, "B")])
def test_a_speaker_of_a_tenth_of_a_part_is_one_of_its_speakers(
    recording: Path, tmp_path: Path, turn: float, speaker: str
) -> None:
    (tmp_path / "a.wav").write_bytes(recording.read_bytes())
    tiers = {"emotion": [(2.0, 4.0, "happy")], "speaker": [(0.0, turn, "A"), (turn, 4.0, "B")]}
    (tmp_path / "a.TextGrid").write_text(format_textgrid(tiers, 4.0))
    corpus = read_corpus("textgrid", tmp_path)
    assert [row.speaker for row in corpus.utterances] == [speaker]
    assert bool(corpus.notes) is not bool(speaker)


def test_a_textgrid_without_emotions_names_its_tiers(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(recording.read_bytes())
    (tmp_path / "a.TextGrid").write_text(format_textgrid({"words": []}, 4.0))
    with pytest.raises(CorpusError, match="has the tiers words, expected emotion"):
        read_corpus("textgrid", tmp_path)
