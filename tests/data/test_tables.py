"""Tables as people have them, each read to the utterances that were meant or refused by name."""

import csv
import datetime
import io
import shlex
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from serctl.data.audio import read_audio
from serctl.data.corpora import read_corpus
from serctl.data.corpora.table import read_table
from serctl.data.manifest_file import read_manifest
from serctl.data.recordings import check_files, read_recordings
from serctl.data.tables import parse_table, read_table_file
from serctl.data.values import parse_seconds
from serctl.errors import AudioError, CorpusError, ManifestError, SerctlError
from serctl.system.parts import check_model

EMOTIONS = ("angry", "sad", "happy", "neutral")
HEADER = ("path", "emotion", "speaker", "transcript")


def make_rows(ending: str = "wav") -> list[tuple[str, ...]]:
    return [
        (f"clip_{i:02d}.{ending}", EMOTIONS[i % 4], f"0{i // 4}", f"Möbelhaus, „{i}“; a|b")
        for i in range(24)
    ]


def to_text(rows: list[tuple[str, ...]], header: tuple[str, ...] = HEADER, **dialect: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n", **dialect).writerows([header, *rows])
    return text.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    for row in make_rows():
        soundfile.write(folder / row[0], [0.1, -0.1] * 50, 8000)
    return folder


SPACED = "\n".join(", ".join(row[:3]) for row in [HEADER, *make_rows()])
PLAIN = to_text(make_rows())
DIALECTS = {
    "plain": (PLAIN.encode(), ""),
    "bom": (PLAIN.encode("utf-8-sig"), ""),
    "semicolons": (to_text(make_rows(), delimiter=";").encode("utf-8-sig"), "semicolons"),
    "sep line": (("sep=;\r\n" + to_text(make_rows(), delimiter=";")).encode(), "semicolons"),
    "tabs": (to_text(make_rows(), delimiter="\t").encode(), "tabs"),
    "utf-16": (to_text(make_rows(), delimiter="\t").encode("utf-16"), "UTF-16"),
    "windows-1252": (PLAIN.encode("cp1252"), "Windows-1252"),
    "blanks": (SPACED.encode(), ""),
    "capitals": (PLAIN.replace("path,emotion,", "Path,Emotion,", 1).encode(), ""),
    "blank line": ((PLAIN + ",,,\r\n\r\n").encode(), ""),
    "trailing commas": (PLAIN.replace("\r\n", ",,\r\n").encode(), ""),
    "old mac": (PLAIN.replace("\r\n", "\r").encode(), ""),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_gives_the_same_24_labelled_utterances(folder: Path, name: str) -> None:
    content, note = DIALECTS[name]
    path = folder / "table.csv"
    path.write_bytes(content)
    corpus = read_table(path, {})
    assert [row.emotion for row in corpus.utterances] == [row[1] for row in make_rows()]
    assert [row.utterance_id for row in corpus.utterances] == [
        row[0].removesuffix(".wav") for row in make_rows()
    ]
    if name != "blanks":
        assert corpus.utterances[3].transcript == make_rows()[3][3]
    assert (note in "; ".join(corpus.notes)) if note else not corpus.notes


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_text_survives_any_dialect(
    rows: list[tuple[str, str, str]], delimiter: str, encoding: str
) -> None:
    header = ("path", "emotion", "note")
    content = to_text(rows, header, delimiter=delimiter).encode(encoding)
    wanted = [row for row in rows if any(text.strip() for text in row)]
    table = parse_table(content, Path("x.csv"))
    assert [tuple(row.values()) for row in table.rows] == wanted
    assert table.header == header


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_known_error(content: bytes) -> None:
    for name in ("x.csv", "x.xlsx"):
        with suppress(ManifestError):
            parse_table(content, Path(name))


def test_a_spreadsheet_is_read(folder: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [HEADER, *make_rows()]:
        book.active.append([int(cell) if cell.isdigit() else cell for cell in row])
    book.save(folder / "table.xlsx")
    corpus = read_table(folder / "table.xlsx", {})
    assert [row.emotion for row in corpus.utterances] == [row[1] for row in make_rows()]
    assert corpus.utterances[4].speaker == "1"  # numbers have no leading zeros in Excel
    assert "sheet 'Sheet' of 1 read" in corpus.notes
    book.active.row_dimensions[2].hidden = True
    book.save(folder / "table.xlsx")
    assert (
        "sheet 'Sheet' of 1 read, hidden rows included"
        in read_table(folder / "table.xlsx", {}).notes
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,emotion,n\nclip_00.wav,sad,1\n,,Sum\n,sad,\n", "2 rows without path: line 3, 4. "),
        ("utterance_id,n\nclip_00,1\n ,Sum\n", "1 row without utterance_id: line 3. "),
        ("utterance_id,path,n\na,,1\n,,2\n", "1 row without path and utterance_id: line 3. "),
    ],
)
def test_a_row_without_a_recording_is_refused(folder: Path, text: str, told: str) -> None:
    (folder / "sum.csv").write_text(text)
    with pytest.raises(ManifestError, match=f"sum.csv': {told}Fill them in, or delete"):
        read_table(folder / "sum.csv", {"emotion": ""})


@pytest.mark.parametrize(
    "text",
    [
        "0.000000\t1.500000\tangry\n1.5\t2.5\tsad\n",
        "0:01\t0:02\tsad\n",
        "clip_00.wav\tsad\nb\tsad\n",
    ],
)
def test_a_table_without_a_header_is_named(folder: Path, text: str) -> None:
    (folder / "labels.tsv").write_text(text)  # such as Audacity exports
    with pytest.raises(ManifestError, match=r"has no header: its first row holds values \((0|c)"):
        read_table(folder / "labels.tsv", {})


def test_the_header_of_a_second_table_is_no_row(folder: Path) -> None:
    path = folder / "joined.csv"
    part = "path,emotion,speaker\na.wav,sad,s1\n"
    path.write_text(part + part)
    with pytest.raises(ManifestError, match=r"line 3 is the header again, as in tables.*Delete it"):
        read_table(path, {}, None)


def test_the_first_of_several_sheets_is_named_in_errors(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "README"
    for row in (("what", "who"), ("labels of May", "K.")):
        book.active.append(row)
    book.create_sheet("labels").append(HEADER)
    book.save(tmp_path / "table.xlsx")
    with pytest.raises(ManifestError, match=r"sheet README \(the first of 2\)' has the columns"):
        read_table(tmp_path / "table.xlsx", {})


def test_names_that_a_spreadsheet_made_dates_are_named(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (HEADER, ("clip_00.wav", "sad", datetime.datetime(2006, 1, 3), "")):
        book.active.append(row)
    book.save(tmp_path / "table.xlsx")
    notes = read_table_file(tmp_path / "table.xlsx").notes
    assert "1 cells are dates, read as text: C2 as '2006-01-03 00:00:00'" in notes


def test_times_that_a_spreadsheet_shows_without_seconds_are_read_as_typed(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(("path", "start", "end"))
    book.active.append(("a.wav", datetime.time(0, 5), datetime.time(1, 30)))  # typed 0:05, 1:30
    book.active.append(("a.wav", datetime.time(0, 1, 35), datetime.time(0, 2, 0)))
    for cell, shown in (("B2", "h:mm"), ("C2", "hh:mm"), ("B3", "h:mm"), ("C3", "h:mm:ss")):
        book.active[cell].number_format = shown
    book.save(tmp_path / "table.xlsx")
    table = read_table_file(tmp_path / "table.xlsx")
    times = [(parse_seconds(row["start"]), parse_seconds(row["end"])) for row in table.rows]
    assert times == [(5, 90), (95, 120)]
    assert "2 cells are times without seconds" in " ".join(table.notes)
    assert "B2 as '0:05', C2 as '1:30'" in " ".join(table.notes)


def test_a_comma_in_the_name_of_a_column_separates_no_tabs(folder: Path) -> None:
    rows = ["\t".join((*row[:3], "x")) for row in make_rows()]
    (folder / "table.tsv").write_text("\n".join(["path\temotion\tspeaker\tage, years", *rows]))
    assert read_table(folder / "table.tsv", {}).utterances[0].extra == {"age, years": "x"}


@pytest.mark.parametrize(
    ("cell", "message"),
    [("=LEFT(A2,4)", "C2 (a formula without a value)"), ("#REF!", "C2 (#REF!)")],
)
def test_a_cell_of_a_spreadsheet_without_a_value_is_named(
    tmp_path: Path, cell: str, message: str
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(HEADER)
    book.active.append(("clip_00.wav", "sad", cell, ""))
    book.save(tmp_path / "table.xlsx")
    with pytest.raises(ManifestError) as error:
        read_table_file(tmp_path / "table.xlsx")
    assert message in str(error.value)


def test_cells_merged_over_rows_are_refused(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (HEADER, ("a.wav", "sad", "1", ""), ("b.wav", "sad", "", "")):
        book.active.append(row)
    book.active.merge_cells("E2:F2")
    book.save(tmp_path / "wide.xlsx")
    assert len(read_table_file(tmp_path / "wide.xlsx").rows) == 2
    book.active.merge_cells("C2:C3")
    book.save(tmp_path / "table.xlsx")
    with pytest.raises(ManifestError, match=r"1 cells that are merged over several rows: C2:C3\."):
        read_table_file(tmp_path / "table.xlsx")


@pytest.mark.parametrize("name", ["Speaker ID", "SpkrID", "spk_id", "speaker_name"])
def test_a_column_of_speakers_under_another_name_is_not_ignored(folder: Path, name: str) -> None:
    rows = [f"{row[0]},{row[1]},{row[2]}" for row in make_rows()]
    (folder / "table.csv").write_text("\n".join([f"path,emotion,{name}", *rows]))
    with pytest.raises(
        ManifestError, match=f"--column speaker={shlex.quote(name)} If not: --column speaker="
    ):
        read_table(folder / "table.csv", {})
    assert read_table(folder / "table.csv", {"speaker": name}).utterances[0].speaker
    assert not read_table(folder / "table.csv", {"speaker": ""}).utterances[0].speaker


def write_columns(path: Path, header: str, values: str) -> Path:
    """Write the recordings, emotions and speakers with further columns."""
    rows = [f"{row[0]},{row[1]},{row[2]},{values}" for row in make_rows()]
    path.write_text("\n".join([header, *rows]))
    return path


def test_columns_with_a_meaning_may_have_other_capitals(folder: Path) -> None:
    header = "Path,Emotion,Speaker,Gender,Duration,Votes_Anger,VOTES_sad"
    path = write_columns(folder / "table.csv", header, "F,0.5,2,1")
    for row in read_table(path, {}).utterances:
        assert row.extra["gender"] == "F"
        assert row.duration() == 0.5
        assert row.votes() == {"angry": 2.0, "sad": 1.0}


def test_a_duration_may_have_a_decimal_comma(folder: Path) -> None:
    path = write_columns(folder / "table.csv", "path,emotion,speaker,duration", '"3,25"')
    assert read_table(path, {}).utterances[0].duration() == 3.25


def test_a_misspelt_column_in_capitals_is_not_ignored(folder: Path) -> None:
    path = write_columns(folder / "table.csv", "path,emotion,speaker,Folds", "1")
    with pytest.raises(ManifestError, match="--column fold=Folds If not: --column fold="):
        read_table(path, {})
    path = write_columns(folder / "table.csv", "path,emotion,speaker,Folder", "1")
    assert read_table(path, {}).utterances[0].extra == {"Folder": "1"}


def test_one_column_may_have_two_meanings(folder: Path) -> None:
    path = write_columns(folder / "table.csv", "path,emotion,Who,note", "x")
    for columns in ({"speaker": "Who", "fold": "Who"}, {"fold": "Who", "speaker": "Who"}):
        row = read_table(path, columns).utterances[5]
        assert (row.speaker, row.extra["fold"]) == ("01", "01")


def test_folds_by_speaker_keep_the_speakers(folder: Path) -> None:
    path = write_columns(folder / "table.csv", "path,emotion,Speaker,note", "x")
    row = read_table(path, {"fold": "Speaker"}).utterances[5]
    assert (row.speaker, row.extra["fold"]) == ("01", "01")
    row = read_table(path, {"fold": "Speaker", "speaker": ""}).utterances[5]
    assert (row.speaker, row.extra["fold"]) == ("", "01")


def test_numbers_of_a_spreadsheet_keep_the_zeros_that_it_shows(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (("utterance_id", "fold"), (12, 3.0), (12, 0.25)):
        book.active.append(row)
    book.active["A2"].number_format = "0000"
    book.save(tmp_path / "table.xlsx")
    found = [tuple(row.values()) for row in read_table_file(tmp_path / "table.xlsx").rows]
    assert found == [("0012", "3"), ("12", "0.25")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b'{"path": "clip_00.wav", "emotion": "sad"}\n', "is JSON"),
        ("x.csv", b"path,emotion\n", "a header and no rows"),
        ("x.csv", b"path,start\nclip_00.wav,1_0\n", "start is '1_0', expected seconds"),
        ("x.csv", "path,emotion\na,b\n".encode("utf-16-le"), "UTF-16 without its mark"),
        ("x.csv", b"path,emotion,emotion\na,b,c\n", "has the column 'emotion' twice"),
        ("x.csv", b"path,emotions,speaker\nclip_00.wav,sad,1\n", "--column emotion=emotions"),
        ("x.csv", b"PK\x03\x04rest", "a spreadsheet or an archive"),
        ("x.xlsx", b"PK\x03\x04rest", "is not a readable spreadsheet"),
        ("x.xls", b"\xd0\xcf\x11\xe0rest", "an old Excel file"),
        ("x.csv", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("x.csv", b"path,emotion\n\x00\x01,\x02\n", "holds zero bytes"),
        ("x.csv", b"path,emotion\n\x81\x8d,sad\n", "not UTF-8 or Windows-1252"),
        ("x.csv", b"", "is empty"),
        ("x.csv", b"path,emotion\nclip_00.wav\n", "rows do not have 2 fields: line 2"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError) as error:
        read_table(tmp_path / name, {})
    assert message in str(error.value)
    assert str(error.value).isprintable()


def test_a_column_said_not_to_be_there_is_not_taken(folder: Path) -> None:
    (folder / "near.csv").write_text("path,emotions\nclip_00.wav,3\n")
    assert read_table(folder / "near.csv", {"emotion": ""}).utterances[0].emotion == ""


def test_a_nameless_column_is_kept_and_said(folder: Path) -> None:
    (folder / "pandas.csv").write_text(",path,emotion\n0,clip_00.wav,sad\n")
    corpus = read_table(folder / "pandas.csv", {})
    assert corpus.utterances[0].extra == {"unnamed_1": "0"}
    assert "column 1 has no name" in corpus.notes[0]


def test_columns_that_differ_in_capitals_are_noted(folder: Path) -> None:
    (folder / "two.csv").write_text("path,Emotion,emotion\nclip_00.wav,angry,sad\n")
    corpus = read_table(folder / "two.csv", {})
    assert corpus.utterances[0].emotion == "sad"
    assert "the columns 'emotion' and 'Emotion' differ in capitals only" in corpus.notes[0]


def test_words_for_a_missing_value(folder: Path) -> None:
    text = "path,emotion,speaker,arousal\n" + "".join(
        f"clip_{i:02d}.wav,{word},{word},{word}\n"
        for i, word in enumerate(["NA", "nan", "None", "#N/A", "", "sad"])
    )
    (folder / "missing.csv").write_text(text.replace("sad,sad,sad", 'sad,s1,"3,25"'))
    corpus = read_table(folder / "missing.csv", {})
    assert [row.emotion for row in corpus.utterances] == [""] * 5 + ["sad"]
    assert {row.speaker for row in corpus.utterances} == {"", "s1"}
    assert [row.extra["arousal"] for row in corpus.utterances] == [""] * 5 + ["3,25"]
    assert "4 emotions denote a missing value" in corpus.notes[0]


def test_paths_of_windows_and_of_mac(tmp_path: Path) -> None:
    (tmp_path / "spk 08").mkdir()
    names = [unicodedata.normalize("NFD", "Gespräch é.wav"), "spk 08/a.wav"]
    for name in names:
        soundfile.write(tmp_path / name, [0.1, -0.1], 8000)
    given = [unicodedata.normalize("NFC", names[0]), r"spk 08\a.wav"]
    (tmp_path / "x.csv").write_text("path,emotion\n" + "".join(f"{name},sad\n" for name in given))
    corpus = read_table(tmp_path / "x.csv", {})
    assert [row.path for row in corpus.utterances] == [tmp_path / name for name in names]
    (note,) = corpus.notes
    assert note == (
        "2 audio files found under another spelling or suffix: "
        f"{given[0]} (accents), {given[1]} (backslashes)"
    )
    (tmp_path / "x.csv").write_text("path,emotion\nC:\\gone\\a.wav,sad\n")
    with pytest.raises(CorpusError, match="backslashes"):
        read_table(tmp_path / "x.csv", {})


def test_a_path_may_begin_with_the_home_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    rows = [(f"~/{row[0]}", *row[1:]) for row in make_rows()]
    (folder / "table.csv").write_text(to_text(rows), encoding="utf-8")
    corpus = read_table(folder / "table.csv", {})
    assert [row.path for row in corpus.utterances] == [folder / row[0] for row in make_rows()]


def test_paths_in_other_capitals_and_file_urls(tmp_path: Path) -> None:
    root = tmp_path / "Ä b"
    names = ["x.WAV", "Y.wav", "z.wav", "Z.wav", "u v.wav"]
    for name in names:
        root.mkdir(exist_ok=True)
        soundfile.write(root / name, [0.1, -0.1] * 50, 8000)
    table, where = tmp_path / "table.csv", tmp_path.as_uri()
    written = ["ä B/X.wav", "Ä b/y.wav", "Ä b/Z.wav", "Ä b/Z.WAV", f"{where}/%C3%84%20b/u%20v.wav"]
    table.write_text("path,emotion\n" + "".join(f"{name},sad\n" for name in written))
    corpus = read_table(table, {})
    kept = [str(row.path.relative_to(tmp_path)) for row in corpus.utterances]
    assert kept == ["Ä b/x.WAV", "Ä b/Y.wav", "Ä b/Z.wav", "Ä b/Z.WAV", "Ä b/u v.wav"]
    assert corpus.notes == (
        "3 audio files found under another spelling or suffix: X.wav (capitals), y.wav (capitals), "
        "u%20v.wav (a file URL)",
        "1 audio files that do not exist: Z.WAV",
    )
    with pytest.raises(AudioError, match=r"Y\.wav' exists: write it with these capitals"):
        read_audio(root / "y.wav")
    with pytest.raises(AudioError, match="Write the path without 'file://'"):
        read_audio(Path((root / "Y.wav").as_uri()))


@pytest.mark.parametrize("comment", ["# made by A", "# made, by, A, in, 2026", "#"])
def test_a_comment_before_the_header_is_named(folder: Path, comment: str) -> None:
    table = folder / "comment.csv"
    table.write_text(f"{comment}\npath,emotion\nclip_00.wav,sad\nclip_01.wav,angry\n")
    with pytest.raises(ManifestError, match="Delete the comment before the header"):
        read_table(table, {})
    table.write_text("#,path,emotion\n1,clip_00.wav,sad\n2,clip_01.wav,angry\n")
    assert len(read_table(table, {}).utterances) == 2


def test_the_same_stem_twice_gives_ids_of_the_paths(tmp_path: Path) -> None:
    for name in ("a/001.wav", "b/001.wav", "b/001.flac"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, [0.1, -0.1], 8000)
    table = tmp_path / "x.csv"

    def ids(*names: str) -> list[str]:
        table.write_text("path,emotion\n" + "".join(f"{name},sad\n" for name in names))
        return [row.utterance_id for row in read_table(table, {}).utterances]

    assert ids("a/001.wav") == ["001"]
    assert ids("./a/001.wav", "b/001.wav") == ["a_001", "b_001"]
    assert ids("b/001.wav", "b/001.flac") == ["b_001.wav", "b_001.flac"]


def test_words_for_splits(folder: Path) -> None:
    path = folder / "splits.csv"
    path.write_text(
        "path,emotion,split\n"
        + "".join(
            f"clip_{i:02d}.wav,{i % 4},{word}\n"
            for i, word in enumerate(["Training", "devel", "Testing", "Eval"])
        )
    )
    told = read_table(path, {}, splits={"eval": "test2"}).utterances
    assert [row.split for row in told] == ["train", "dev", "test", "test2"]
    assert [row.emotion for row in told] == ["0", "1", "2", "3"]
    path.write_text(path.read_text().replace("path,", "utterance_id,"))
    with pytest.raises(ManifestError, match=r"no column 'path'"):
        read_manifest(path)


def test_the_line_of_a_row_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('sep=,\na,b\n"two\nlines",1\n\n3,4\n')
    assert read_table_file(tmp_path / "x.csv").lines == (4, 6)


def test_words_that_were_read_as_others_are_noted(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "b.flac"):
        soundfile.write(tmp_path / name, [0.1, -0.1], 8000)
    table = tmp_path / "x.csv"
    table.write_text("utterance_id,path,split,emotion\na,a,devel,Joy\nb,b,train,joy\nc,b,dev,sad\n")
    assert read_table(table, {}).notes == (
        "column 'emotion': 'joy' as 'happy' (2)",
        "column 'split': 'devel' as 'dev' (1)",
        "2 audio files found under another spelling or suffix: a (.wav), b (.wav)",
        "1 audio files with several suffixes, the first one is used: b as b.wav",
    )
    table.write_text("utterance_id;path;split;emotion\na;a.wav;dev;Sad\n")
    assert read_manifest(table).notes == ("columns separated by semicolons",)


def test_names_that_are_nearly_equal_are_noted(folder: Path) -> None:
    table = folder / "alike.csv"
    text = "path,emotion,speaker,split,utterance_id\n"
    rows = [
        ("1", "1", "train"),
        ("1.0", "01", "test"),
        ("2", "Anna_B", "test"),
        ("2", "anna b", "test"),
    ]
    rows += [("2", "", "test"), ("2", "1-1", "train"), ("2", "11", "train"), ("2", "1.05", "test")]
    for number, row in enumerate(rows):
        text += f"clip_{number:02d}.wav,{','.join(row)},u{number}\n"
    table.write_text(text)
    noted = (
        "column 'emotion': '1' and '1.0' count as different emotions. If they are the same, write "
        "them alike in the table",
        "column 'speaker': '1' and '01', 'Anna_B' and 'anna b' count as different speakers, some "
        "in several splits. If they are the same, write them alike in the table",
    )
    assert read_table(table, {}).notes == noted
    assert read_manifest(table).notes == noted
    table.write_text(text.replace("01,test", "01,train"))
    assert "several splits" not in read_manifest(table).notes[1]


def test_invisible_characters_hide_no_speaker_in_two_splits(folder: Path) -> None:
    table = folder / "invisible.csv"
    table.write_text(
        "utterance_id,path,emotion,speaker,split\n"
        "a,clip_00.wav,sad,s0,train\n"
        "b,clip_01.wav,s\u00adad,s0\u200b,test\n"
        "c,clip_02.wav,sad,s\u200c1,test\n"
        "d,clip_03.wav,sad,s1,test\n",
        encoding="utf-8",
    )
    manifest = read_manifest(table)
    assert manifest.leaking_speakers() == {"s0": ("test", "train")}
    assert {row.emotion for row in manifest} == {"sad"}
    noted = (
        "column 'emotion': 's\\xadad' as 'sad' (1)",
        "column 'speaker': 's0\\u200b' as 's0' (1)",
        "column 'speaker': 's\\u200c1' and 's1' count as different speakers. If they are the same, "
        "write them alike in the table",
    )
    assert manifest.notes == read_table(table, {}).notes == noted


def test_a_table_to_predict_needs_no_column_of_speakers(folder: Path) -> None:
    (folder / "table.csv").write_text("path,spk_id\nclip_00.wav,1\n")
    recordings, _ = read_recordings([str(folder / "table.csv")])
    assert [row.path.name for row in recordings] == ["clip_00.wav"]


def test_recordings_that_are_named_twice_are_noted(folder: Path) -> None:
    file = next(iter(sorted(folder.glob("*.wav"))))
    recordings, notes = read_recordings([str(file), f"{folder}/../{folder.name}/{file.name}"])
    assert len(recordings) == 2
    assert notes == (f"Named more than once, and predicted each time: 1 recording ({file}).",)
    assert read_recordings([str(file)])[1] == ()


LOCAL = "It is a URL, and serctl reads local files. Download it: curl -LO https://host.org/a"


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (lambda: read_recordings(["https://host.org/a.csv"]), f"{LOCAL}.csv$"),
        (lambda: check_files([Path("https://host.org/a.wav")]), f"{LOCAL}.wav$"),
        (lambda: read_audio(Path("https://host.org/a.wav")), f"{LOCAL}.wav$"),
        (lambda: read_corpus("emodb", Path("https://host.org/a")), f"{LOCAL} "),
        (lambda: check_model("https://host.org/a", None), f"{LOCAL}$"),
        (lambda: check_model("https://huggingface.co/me/mine/tree/main", None), "hf:me/mine$"),
        (lambda: check_files([Path("s3://pail/a.wav")]), "Download it, and name the file.$"),
    ],
)
def test_a_url_is_answered_with_what_to_type(read: Callable[[], object], told: str) -> None:
    with pytest.raises(SerctlError, match=told):
        read()


def test_a_table_of_urls_is_not_answered_with_a_folder(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path,emotion,speaker\nhttps://host.org/a.wav,happy,1\n")
    with pytest.raises(CorpusError, match=f"{LOCAL}.wav$"):
        read_table(table, {})


def test_a_table_to_predict_names_the_command_that_has_the_options(tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    with pytest.raises(ManifestError, match=r"does not exist\..*--root DIR$"):
        read_recordings([str(table)])
    for text in ("path\nnowhere.wav\n", "name\na.wav\n"):
        table.write_text(text)
        with pytest.raises(SerctlError, match="an option of: serctl init --manifest"):
            read_recordings([str(table)])
