from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serctl.data.journal import Journal, read_journals, remove_journals
from serctl.data.transcripts import (
    Transcript,
    read_finished,
    read_rows,
    read_transcripts,
    write_transcripts,
)
from serctl.errors import SerctlError, TranscriptsError

ROWS = [
    Transcript("a", "Hello, there.", "en", -0.25, 0.01, 1.1, 0.0, "", "00ff"),
    Transcript("b", "", "de", -1.5, 0.9, 0.5, 0.4, "no-speech+unsure"),
    Transcript("c", 'he said "no"\nand left'),
]


def test_rows_and_source_come_back(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.csv"
    write_transcripts(path, ROWS, {"source": "whisper-tiny;en"})
    assert read_rows(path) == ROWS
    found = read_transcripts(path)
    assert found.source == "whisper-tiny;en"
    assert found.texts == {"a": "Hello, there.", "b": "", "c": 'he said "no"\nand left'}
    assert read_finished(path, "whisper-tiny;en") == ROWS
    assert read_finished(path, "whisper-tiny;de") == []


def test_an_id_with_two_texts_is_an_error_and_is_transcribed_again(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.csv"
    write_transcripts(path, [*ROWS, ROWS[0]], {"source": "w"})
    assert read_transcripts(path).texts["a"] == "Hello, there."
    write_transcripts(path, [*ROWS, Transcript("a", "Bye.")], {"source": "w"})
    with pytest.raises(TranscriptsError, match=r"1 ids have two texts: a\. Keep one"):
        read_rows(path)
    assert read_finished(path, "w") == ROWS[1:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utterance_id,text\na,Hello, there.\n", "line 2: more fields than columns"),
        ("utterance_id,text,text\na,Hello,Bye\n", "column 'text' is there twice"),
        ("utterance_id;text\na;Hello\n", "utterance_id;text, expected utterance_id and text, sep"),
        ("# mine\nutterance_id,text\na,Hello\n", "has the columns # mine, expected"),
    ],
)
def test_a_text_that_would_be_cut_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TranscriptsError, match=message):
        read_rows(tmp_path / "t.csv")


def test_words_of_another_source_are_kept_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.csv"
    write_transcripts(path, ROWS, {"source": "whisper-large-v3;en"})
    write_transcripts(path, ROWS[:1], {"source": "whisper-tiny;en"})
    assert read_transcripts(path).source == "whisper-tiny;en"
    assert read_finished(path, "whisper-large-v3;en") == ROWS
    write_transcripts(path, ROWS, {"source": "whisper-large-v3;en"})
    assert read_finished(path, "whisper-tiny;en") == ROWS[:1]
    assert read_finished(path, "whisper;en") == []


def test_a_damaged_file_is_no_finished_work(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.csv"
    write_transcripts(path, ROWS, {"source": "s"})
    path.with_suffix(".json").write_text("{")
    assert read_finished(path, "s") == []
    write_transcripts(path, ROWS, {"source": "s"})
    assert read_finished(path, "s") == ROWS


@pytest.mark.parametrize("document", [None, "{", '{"serctl_transcripts": 99}'])
def test_words_of_an_unknown_source_are_kept(tmp_path: Path, document: str | None) -> None:
    path = tmp_path / "transcripts.csv"
    path.write_text("utterance_id,text\na,typed by hand\n")
    if document is not None:
        path.with_suffix(".json").write_text(document)
    aside = write_transcripts(path, ROWS, {"source": "s"})
    assert aside
    assert aside[0].startswith("unknown-")
    assert "typed by hand" in aside[1].read_text()
    assert read_finished(path, "s") == ROWS


def test_a_damaged_row_of_finished_work_drops_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.csv"
    write_transcripts(path, ROWS, {"source": "s"})
    path.write_text(path.read_text().replace("-0.25", "x0.25"))
    assert read_finished(path, "s") == ROWS[1:]
    with pytest.raises(TranscriptsError, match="line 2"):
        read_rows(path)


@pytest.mark.parametrize("calls", range(6))
@pytest.mark.parametrize("before", ["s", "other", None])
def test_an_interrupted_write_loses_no_row_of_any_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None, calls: int
) -> None:
    path = tmp_path / "transcripts.csv"
    if before:
        write_transcripts(path, ROWS[:2], {"source": before})
    real, done = Path.replace, []

    def replace_or_die(old: Path, new: Path) -> Path:
        if len(done) == calls:
            raise KeyboardInterrupt
        done.append(new)
        return real(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_or_die)
        try:
            write_transcripts(path, ROWS, {"source": "s"})
        except KeyboardInterrupt:
            pass
        else:
            assert calls >= 2
    if before == "other":
        assert read_finished(path, "other") == ROWS[:2]
    if before == "s":
        assert read_finished(path, "s")[:2] == ROWS[:2]
    if path.exists() and path.with_suffix(".json").exists():
        assert len(read_rows(path)) == (2 if read_transcripts(path).source == "other" else 3) or (
            before == "s" and len(read_rows(path)) == 2
        )
    write_transcripts(path, ROWS, {"source": "s"})
    assert read_transcripts(path).source == "s"
    assert read_rows(path) == ROWS
    assert not list(tmp_path.glob("*unknown*"))


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("t") / "transcripts.csv"
    write_transcripts(path, [Transcript("x", text)], {"source": "s"})
    line_breaks_as_one = text.replace("\r\n", "\n").replace("\r", "\n")
    assert read_transcripts(path).texts == {"x": line_breaks_as_one}


def test_a_journal_gives_back_whole_rows_of_its_own_source(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.csv"
    with Journal(path, "s") as journal:
        journal.append(ROWS[:2])
        journal.append(ROWS[2:])
    with journal.path.open("a") as file:
        file.write('{"utterance_id": "d", "te')
    assert Journal(path, "s").read() == ROWS
    with Journal(path, "other") as other:
        assert other.read() == []
    with Journal(path, "s") as journal:  # the cut line is gone, the next one is whole
        journal.append([Transcript("d", "again")])
    assert Journal(path, "s").read() == [*ROWS, Transcript("d", "again")]
    with Journal(path, "s", (2, 3)) as part:
        part.append([Transcript("e", "of a part")])
    with part.hold():  # what another process writes is read and stays
        remove_journals(path, "s")
        assert len(read_journals(path, "s")) == len(ROWS) + 2
    remove_journals(path, "s")
    assert read_journals(path, "s") == []
    assert Journal(path, "s").read() == []


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\0" * 40,
        b'{"utterance_id": "b"}',
        b'{"utterance_id": 7, "text": null}',
        b"\xff\xfe not text",
        b'["a", "list"]',
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_damaged_line_of_a_journal_drops_only_itself(
    tmp_path: Path, at: int, damage: bytes
) -> None:
    path = tmp_path / "t.csv"
    with Journal(path, "s") as journal:
        journal.append(ROWS)
    lines = journal.path.read_bytes().split(b"\n")
    lines[at] = damage
    journal.path.write_bytes(b"\n".join(lines))
    kept = [row for i, row in enumerate(ROWS, 1) if i != at]
    assert Journal(path, "s").read() == kept
    with Journal(path, "s") as again:  # the next run writes them again
        again.append([ROWS[0]])
    assert {row.utterance_id for row in Journal(path, "s").read()} == {"a"} | {
        row.utterance_id for row in kept
    }


def test_parts_run_at_once_and_nothing_with_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    again, whole = Journal(path, "s", (1, 2)), Journal(path, "s")
    with Journal(path, "s", (1, 2)).hold(), Journal(path, "s", (2, 2)).hold():
        for journal in (again, whole):
            with pytest.raises(SerctlError, match="Another process"), journal.hold():
                pass
    with whole.hold(), pytest.raises(SerctlError, match="Another process"), again.hold():
        pass


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "t.csv", "s").hold(),
        Journal(tmp_path / "t.csv", "other").hold(),
        pytest.raises(SerctlError, match="Another process"),
        Journal(tmp_path / "t.csv", "s").hold(),
    ):
        pass


@pytest.mark.parametrize(
    ("csv", "sidecar", "problem"),
    [
        (None, None, "cannot be read: No such file.*serctl transcribe"),
        ("utterance_id,text\na,hi\n", None, "does not exist.*serctl transcribe"),
        ("utterance_id,text\na,hi\n", "{}", "json' has transcripts format None.*serctl transcribe"),
        (
            "utterance_id,words\na,hi\n",
            '{"serctl_transcripts":1,"source":"s"}',
            "columns utterance_id, words, exp",
        ),
        ("utterance_id,text,no_speech\na,b,c\n", '{"serctl_transcripts":1,"source":"s"}', "line 2"),
    ],
)
def test_what_is_missing_or_malformed_is_named(
    tmp_path: Path, csv: str | None, sidecar: str | None, problem: str
) -> None:
    path = tmp_path / "transcripts.csv"
    if csv is not None:
        path.write_text(csv)
    if sidecar is not None:
        path.with_suffix(".json").write_text(sidecar)
    with pytest.raises(TranscriptsError, match=problem):
        read_transcripts(path)
