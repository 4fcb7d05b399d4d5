"""Manifests: what is read back, and what is refused with a line number."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serctl.data.labels import EMOTIONS, LabelSet, find_slips, parse_emotion, parse_mapping
from serctl.data.manifest import Manifest, Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.manifest_rows import parse_split
from serctl.data.overlaps import find_overlaps
from serctl.data.splits import assign_splits
from serctl.errors import ConfigError, ManifestError, UnknownNameError, UsageError

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
NAME = st.text("abcdefghij_-0123456789", min_size=1, max_size=8)
ROWS = st.lists(
    st.builds(
        lambda name, split, emotion, speaker, words, note: Utterance(
            name, Path("/audio") / name, split, emotion, speaker, words, {"note": note}
        ),
        NAME,
        st.sampled_from(["train", "dev", "test", "test2"]),
        st.sampled_from(["", *EMOTIONS, "bored", "calm, warm"]),
        st.sampled_from(["", "s1", "s2"]),
        TEXT,
        TEXT,
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: row.utterance_id,
)


@given(rows=ROWS)
def test_what_is_written_is_read_back(
    rows: list[Utterance], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("manifest") / "manifest.csv"
    write_manifest(path, rows)
    assert read_manifest(path).utterances == tuple(rows)


def test_a_manifest_is_read_again_only_if_its_bytes_change(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("utterance_id,path,split\na,a.wav,train\n")
    first, before = read_manifest(path), path.stat()
    assert read_manifest(path) is first
    path.write_text("utterance_id,path,split\nb,a.wav,train\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read_manifest(path).ids == ("b",)


def test_paths_below_the_manifest_are_written_relative_to_it(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", [Utterance("a", tmp_path / "audio" / "a.wav", "train")])
    assert "\na,audio/a.wav,train," in (tmp_path / "m.csv").read_text()
    assert read_manifest(tmp_path / "m.csv").utterances[0].path == tmp_path / "audio" / "a.wav"


def test_utterances_made_in_python(tmp_path: Path) -> None:
    """Paths as strings, and numbers of pandas, also where a file would have text."""
    nan = float("nan")
    extra = {"arousal": 0.0, "valence": nan, "votes_sad": 2, "votes_happy": nan, "duration": 3.5}
    path = str(tmp_path / "a.wav")
    row = Utterance("a", path, "train", "sad", extra=extra)  # type: ignore[arg-type]
    write_manifest(tmp_path / "manifest.csv", [row])
    (again,) = read_manifest(tmp_path / "manifest.csv")
    for one in (row, again):
        assert one.path == tmp_path / "a.wav"
        assert str(one.attributes()) == "(0.0, nan, nan)"
        assert (one.votes(), one.duration()) == ({"sad": 2.0}, 3.5)
    missing = Utterance("a", tmp_path / "a.wav", "train", transcript=nan)  # type: ignore[arg-type]
    with pytest.raises(ManifestError, match=r"The transcript of 'a' is nan \(float\), expected a"):
        write_manifest(tmp_path / "manifest.csv", [missing])


@pytest.mark.parametrize("number", [0, -3])
def test_a_limit_keeps_at_least_one(number: int) -> None:
    rows = tuple(Utterance(name, Path(name), "train") for name in "abcde")
    with pytest.raises(ManifestError, match=f"limit is {number}, expected at least 1"):
        Manifest(rows).limit(number)


@pytest.mark.posix("links")
def test_audio_behind_a_link_is_that_of_the_link(tmp_path: Path) -> None:
    """Git annex and DVC make links to contents, and set them anew for another version."""
    (tmp_path / "audio").mkdir()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    links = [tmp_path / "audio" / "a.wav", tmp_path / "current"]
    for link, target in zip(links, ("first/a", "first"), strict=True):
        link.symlink_to(tmp_path / target)
    rows = [Utterance("a", links[0], "train"), Utterance("b", links[1] / "a", "dev")]
    write_manifest(tmp_path / "project" / "manifest.csv", rows)
    for link, target in zip(links, ("second/a", "second"), strict=True):
        link.unlink()
        link.symlink_to(tmp_path / target)
    found = read_manifest(tmp_path / "project" / "manifest.csv")
    assert [row.path.read_text() for row in found] == ["second", "second"]
    assert find_overlaps(found)
    crossed = Utterance("c", links[1] / ".." / "first" / "a", "train")
    write_manifest(tmp_path / "project" / "manifest.csv", [crossed])
    assert read_manifest(tmp_path / "project" / "manifest.csv").utterances[0].path.is_file()


def test_no_transcripts_is_not_empty_transcripts(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    write_manifest(path, [Utterance("a", tmp_path / "a.wav", "train", extra={"note": "x"})])
    assert read_manifest(path).utterances[0].transcript is None
    write_manifest(path, [Utterance("a", tmp_path / "a.wav", "train", transcript="")])
    assert read_manifest(path).utterances[0].transcript == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utterance_id,path\na,b\n", "no column 'split'"),
        (
            "utterance_id,path,split\na,b,train\na,c,dev\n",
            "given twice in 2 rows (line 2 'a', line 3 'a')",
        ),
        ("utterance_id,path,split\n,b,train\n", "empty utterance_id"),
        ("utterance_id,path,split\na,b,tset\n", "unknown split in 1 rows (line 2 'tset')"),
        (
            "utterance_id,path,split,emotion\na,b,dev,Valence\n",
            "reserved word as emotion in 1 rows (line 2 'valence')",
        ),
        (
            "utterance_id,path,split,emotion\na,b,dev,Confidence\n",
            "reserved word as emotion in 1 rows (line 2 'confidence')",
        ),
        (
            "utterance_id,path,split,emotion\na,b,dev,\"['sad', 'angry']\"\n",
            "list of several values as emotion in 1 rows",
        ),
        ("utterance_id,path,split,emotions\na,b,dev,sad\n", "'emotions' is similar to 'emotion'"),
        ("utterance_id,path,split,split\na,b,dev,dev\n", "column 'split' twice"),
        ("utterance_id,path,split,arousal\na,b,dev,high\n", "line 2: arousal is 'high'"),
        ("utterance_id,path,split,votes_sad\na,b,dev,-1\n", "line 2: votes_sad '-1' is below"),
        ("utterance_id,path,split,start,end\na,b,dev,2,1\n", "'2' to '1', expected start and end"),
        ("utterance_id,path,split,end\na,b,dev,soon\n", "end is 'soon', expected seconds"),
        ("utterance_id,path,split\na\x1b[31m,b,dev\n", "cannot be printed in utterance_id"),
        ('utterance_id,path,split\n"a,b,dev\n', "line 2: unexpected end of data"),
        ("utterance_id,path,split\na,b\n", "do not have 3 fields: line 2"),
        ("utterance_id,path,split\n", "holds no utterances"),
    ],
)
def test_a_bad_manifest_is_refused_with_row_and_value(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(ManifestError) as error:
        read_manifest(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_other_encodings_and_missing_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes("utterance_id,path,split\nÁ,b,dev\n".encode("cp1250"))
    assert read_manifest(tmp_path / "m.csv").ids == ("Á",)  # and said to be Windows-1252
    rows = "А,b,dev\n" * 2
    (tmp_path / "m.csv").write_bytes(f"utterance_id,path,split\n{rows}".encode("cp866"))
    with pytest.raises(ManifestError, match=r"given twice|not UTF-8"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="serctl init"):
        read_manifest(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "word", ["val", "Valid", "validation", "Development", " dev ", "de\u2060v"]
)
def test_spellings_of_dev(word: str) -> None:
    assert parse_split(word) == "dev"


def test_the_users_renaming_goes_before_the_aliases() -> None:
    mapping = parse_mapping(["calm=neutral", "X=", "Joy = surprise"])
    assert [parse_emotion(word, mapping) for word in ("Calm", "x", "JOY", "Anger", "U")] == [
        "neutral",
        "",
        "surprise",
        "angry",
        "u",  # a letter of MSP-Podcast, and of no other corpus
    ]
    assert parse_emotion("U", mapping, codes=True) == "surprise"
    with pytest.raises(ManifestError, match="OLD=NEW"):
        parse_mapping(["calm"])
    with pytest.raises(UsageError, match="--map names 'calm' twice"):
        parse_mapping(["calm=neutral", "Calm=sad"])


SPEAKERS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(EMOTIONS)), min_size=20, max_size=80
).filter(lambda rows: len({speaker for speaker, _ in rows}) >= 3)


@given(rows=SPEAKERS, seed=st.integers(0, 99), order=st.randoms())
@settings(max_examples=15)
def test_made_splits_share_no_speaker_and_ignore_order(rows, seed, order) -> None:  # type: ignore[no-untyped-def]
    utterances = [
        Utterance(f"u{i}", Path("a"), "", emotion, f"s{speaker}")
        for i, (speaker, emotion) in enumerate(rows)
    ]
    made, warning = assign_splits(utterances, seed)
    lost = {row.emotion for row in made} - {row.emotion for row in made if row.split == "train"}
    assert bool(lost) == warning.startswith("No utterance of ")
    assert not Manifest(tuple(made)).leaking_speakers()
    assert {row.split for row in made} == {"train", "dev", "test"}
    assert [row.utterance_id for row in made] == [row.utterance_id for row in utterances]
    turned = utterances.copy()
    order.shuffle(turned)
    again = {row.utterance_id: row.split for row in assign_splits(turned, seed)[0]}
    assert again == {row.utterance_id: row.split for row in made}


def test_splits_of_a_balanced_corpus_are_balanced() -> None:
    utterances = [
        Utterance(f"{speaker}-{emotion}-{i}", Path("a"), "", emotion, str(speaker))
        for speaker in range(10)
        for emotion in EMOTIONS
        for i in range(3)
    ]
    counts = Manifest(tuple(assign_splits(utterances)[0])).counts()
    assert {split: {found[name] for name in EMOTIONS} for split, found in counts.items()} == {
        "train": {18},
        "dev": {6},
        "test": {6},
    }


def test_unknown_speakers_are_divided_with_a_warning() -> None:
    utterances = [Utterance(f"u{i}", Path(f"{i}"), "", EMOTIONS[i % 2]) for i in range(30)]
    made, warning = assign_splits(utterances)
    assert {row.split for row in made} == {"train", "dev", "test"}
    assert "30 of 30 utterances have no speaker" in warning


@given(rows=ROWS, limit=st.integers(1, 10), seed=st.integers(0, 3))
def test_a_limit_is_spread_over_splits_and_emotions(
    rows: list[Utterance], limit: int, seed: int
) -> None:
    manifest = Manifest(tuple(rows))
    chosen = manifest.limit(limit, seed)
    assert chosen.ids == tuple(name for name in manifest.ids if name in chosen.ids)
    assert len(chosen) == min(limit, len(rows))
    cells = {(row.split, row.emotion) for row in rows}
    assert len({(row.split, row.emotion) for row in chosen}) == min(limit, len(cells))
    assert set(chosen.ids) <= set(manifest.limit(limit + 1, seed).ids)
    for split in manifest.splits:
        of_split = {row.utterance_id for row in chosen if row.split == split}
        assert of_split <= set(manifest.select(split).limit(limit, seed).ids)
    assert manifest.limit(None) is manifest


def test_the_order_of_labels_can_be_stated() -> None:
    rows = [Utterance(name, Path("a"), "train", name) for name in ("calm", "sad", "neutral", "awe")]
    manifest = Manifest(tuple(rows))
    assert manifest.label_set() == LabelSet(("sad", "neutral", "awe", "calm"), "neutral")
    stated = manifest.label_set(("calm", "awe", "joyless", "neutral", "sad"), "Calm")
    assert stated == LabelSet(("calm", "awe", "neutral", "sad"), "calm")
    assert Manifest(tuple(rows[:2])).label_set().neutral == ""
    with pytest.raises(ConfigError, match=r"order lacks 'awe'"):
        manifest.label_set(("calm", "neutral", "sad"))
    with pytest.raises(UnknownNameError, match=r"label 'clam'\. Did you mean 'calm'"):
        manifest.label_set((), "clam")


def test_labels_that_known_spellings_are_read_as_are_no_slips() -> None:
    assert find_slips({"bored": 3, "angray": 1}) == [
        "'angray' (1 utterance) is similar to 'angry'. If it is a typo: --map 'angray=angry'"
    ]


def test_a_label_that_names_several_emotions_is_noted() -> None:
    assert find_slips({"joy; sad": 4, "angry": 9}) == [
        "'joy; sad' (4 utterances) names several emotions and is a class of its own. "
        "To choose one: --map 'joy; sad=happy'"
    ]
    assert find_slips({"disappointment, disapproval": 4, "r&b": 2}) == []
