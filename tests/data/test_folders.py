"""The files of a folder: behind links, without what macOS adds, and never a part in silence."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serctl.data.corpora import read_corpus
from serctl.data.folders import list_files
from serctl.data.recordings import find_recordings
from serctl.errors import CorpusError


def tone(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.sin(np.arange(400) / 9) / 4, 8000)
    return path


def test_recordings_behind_links_to_folders_are_found(tmp_path: Path) -> None:
    tone(tmp_path / "here" / "angry" / "a.wav")
    tone(tmp_path / "disk" / "happy" / "b.wav")
    (tmp_path / "here" / "happy").symlink_to(tmp_path / "disk" / "happy")
    found = find_recordings([str(tmp_path / "here")])
    assert [path.name for path in found] == ["a.wav", "b.wav"]
    corpus = read_corpus("audiofolder", tmp_path / "here")
    assert sorted(row.emotion for row in corpus.utterances) == ["angry", "happy"]


def test_a_folder_is_listed_once_and_loops_end(tmp_path: Path) -> None:
    file = tone(tmp_path / "z" / "real" / "a.wav")
    (tmp_path / "z" / "again").symlink_to("real")
    (tmp_path / "z" / "real" / "up").symlink_to("..")
    (tmp_path / "z" / "above").symlink_to(tmp_path)
    assert list_files(tmp_path / "z") == [file]
    assert list_files(file) == []


def test_resource_forks_of_macos_are_no_recordings(tmp_path: Path) -> None:
    file = tone(tmp_path / "sad" / "a.wav")
    fork = tmp_path / "__MACOSX" / "sad" / "._a.wav"
    fork.parent.mkdir(parents=True)
    fork.write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    assert find_recordings([str(tmp_path)]) == [file]
    assert len(read_corpus("audiofolder", tmp_path).utterances) == 1


def test_hidden_folders_hold_no_recordings(tmp_path: Path) -> None:
    file = tone(tmp_path / "sad" / "a.wav")
    tone(tmp_path / ".ipynb_checkpoints" / "a-checkpoint.wav")
    tone(tmp_path / "sad" / ".snapshot" / "a.wav")
    (tmp_path / ".link").symlink_to(tmp_path / "sad")
    assert find_recordings([str(tmp_path)]) == [file]
    assert [row.emotion for row in read_corpus("audiofolder", tmp_path).utterances] == ["sad"]
    hidden = tone(tmp_path / ".named" / "a.wav")
    assert find_recordings([str(hidden.parent)]) == [hidden]


def test_a_folder_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tone(tmp_path / "a.wav")
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CorpusError, match="closed' cannot be read: Permission denied"):
        list_files(tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"file_name": "1.wav", "label": "sad"}\n{"file_name": 1.wav}', "line 2 is not JSON"),
        ('["1.wav", "sad"]', "expected a JSON object"),
        ('{"file_name": "1.wav", "label": "sad"}\n{"label": "sad"}', "row 2 has the columns label"),
        ('{"file_name": "../1.wav", "label": "sad"}', "is outside of the folder"),
    ],
)
def test_damaged_json_lines_are_one_error(tmp_path: Path, lines: str, message: str) -> None:
    tone(tmp_path / "1.wav")
    (tmp_path / "metadata.jsonl").write_text(lines, encoding="utf-8")
    with pytest.raises(CorpusError, match=message):
        read_corpus("audiofolder", tmp_path)


def test_a_table_with_a_row_without_a_file_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,label\n1.wav,sad\n,happy\n")
    tone(tmp_path / "1.wav")
    with pytest.raises(CorpusError, match="row 2"):
        read_corpus("audiofolder", tmp_path)


def test_separators_and_nulls_of_json_are_values(tmp_path: Path) -> None:
    for name in ("1.wav", "2.wav"):
        tone(tmp_path / name)
    text = '{"file_name": "1.wav", "label": "sad", "text": "a\u2028b"}\n'
    text += '{"file_name": "2.wav", "label": null, "text": null}\n'
    (tmp_path / "metadata.jsonl").write_text(text, encoding="utf-8")
    first, second = read_corpus("audiofolder", tmp_path).utterances
    assert first.transcript == "a\u2028b"
    assert (second.emotion, second.transcript) == ("", "")
