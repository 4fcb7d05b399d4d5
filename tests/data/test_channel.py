"""Utterances that are one channel of their file."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from serctl.cache.sources import SourceHasher
from serctl.data.audio import read_audio
from serctl.data.corpora.table import read_table
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.encoding.inputs import AudioInputs
from serctl.errors import AudioError, ManifestError
from serctl.stages.manifest import check_audio

RATE = 16_000


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """Two seconds: noise on the left, other noise on the right."""
    path = tmp_path / "call.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal((2 * RATE, 2)), RATE)
    return path


def test_a_channel_is_read_alone_and_hashed_apart(call: Path) -> None:
    both = soundfile.read(call, dtype="float32")[0]
    inputs = AudioInputs(SourceHasher(call.parent))
    rows = [Utterance("a", call, "train", channel=i, start=s) for i in (0, 1, 2) for s in (0, 1)]
    for row in rows[2:]:
        expected = both[int(row.start) * RATE :, row.channel - 1]
        np.testing.assert_array_equal(inputs.read(row).content, expected)
    hashes = [inputs.hash_of(row) for row in rows]
    assert len(set(hashes)) == len(rows)
    assert [inputs.read(row).source for row in rows] == hashes


def test_integers_that_are_stored_as_floats_are_refused(tmp_path: Path) -> None:
    for scale in (300.0, 1e30):
        wave = scale * np.random.default_rng(0).standard_normal(RATE)
        soundfile.write(tmp_path / "int.wav", wave.astype(np.float32), RATE, subtype="FLOAT")
        with pytest.raises(AudioError, match="floating-point samples up to"):
            read_audio(tmp_path / "int.wav")


def test_a_channel_that_the_file_lacks_is_an_error(call: Path) -> None:
    with pytest.raises(AudioError, match=r"call.wav' has 2 channels, not a channel 3\."):
        read_audio(call, channel=3)


def test_manifests_keep_channels_and_other_tables_have_words_for_them(call: Path) -> None:
    rows = (
        Utterance("a", call, "train", "sad", channel=1, start=0.5),
        Utterance("b", call, "dev", "sad", channel=2),
        Utterance("c", call, "dev", "sad"),
    )
    path = call.with_name("m.csv")
    write_manifest(path, rows)
    assert read_manifest(path).utterances == rows
    path.write_text("path,Channel\ncall.wav,left\ncall.wav,2.0\ncall.wav,\n")
    read = read_table(path, {}).utterances
    assert [(row.utterance_id, row.channel) for row in read] == [
        ("call_ch1", 1),
        ("call_ch2", 2),
        ("call", 0),
    ]


@pytest.mark.parametrize("word", ["0", "-1", "agent", "1.5", "1_0"])
def test_other_words_are_refused(call: Path, word: str) -> None:
    path = call.with_name("m.csv")
    path.write_text(f"path,channel\ncall.wav,{word}\n")
    with pytest.raises(ManifestError, match=f"line 2: channel is '{word}', expected left"):
        read_table(path, {})
    assert read_table(path, {"channel": ""}).utterances[0].channel == 0


def test_a_column_with_the_number_of_channels_is_no_typo(call: Path) -> None:
    path = call.with_name("m.csv")
    path.write_text("path,channels\ncall.wav,2\n")
    assert read_table(path, {}).utterances[0].channel == 0


def test_turns_on_several_channels_of_an_rttm_file(call: Path) -> None:
    path = call.with_name("turns.rttm")
    turns = "SPEAKER call 1 0 1 <NA> <NA> a <NA> <NA>\nSPEAKER call {} 1 1 <NA> <NA> b <NA> <NA>\n"
    for channel, expected, told in (
        ("1", [0, 0], "in the mean of the channels"),
        ("2", [1, 2], "on their channels"),
    ):
        path.write_text(turns.format(channel))
        corpus = read_table(path, {"emotion": ""}, call.parent)
        assert [row.channel for row in corpus.utterances] == expected
        assert f"read as RTTM: speakers' turns {told}" in corpus.notes
    path.write_text(turns.format("0"))
    with pytest.raises(ManifestError, match="has the channels 0, 1, expected numbers from 1"):
        read_table(path, {"emotion": ""}, call.parent)
    path.write_text(turns.format("0").replace("call 1", "call 0"))
    corpus = read_table(path, {"emotion": ""}, call.parent)
    assert [row.channel for row in corpus.utterances] == [0, 0]


def test_the_check_hears_the_channel(call: Path) -> None:
    left = soundfile.read(call)[0][:, 0]
    soundfile.write(call.with_name("left.wav"), left, RATE)
    soundfile.write(call.with_name("one.wav"), np.stack([left, 0 * left], axis=1), RATE)
    path = call.with_name("m.csv")
    lines = ["a,call.wav,train,1", "b,left.wav,test,", "c,one.wav,train,right"]
    path.write_text("\n".join(["utterance_id,path,split,channel", *lines]))
    found = check_audio(path)
    assert found.leaks == (("a", "b"),)
    assert [problem.utterance_id for problem in found.problems] == ["c"]
