"""`serctl init`: from a corpus or a table to a project that every command understands."""

import json
import re
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner, Result

from serctl.cli import app
from serctl.config import open_workspace, resolve_options
from serctl.data.manifest_file import read_manifest
from serctl.demo import corpus as demo
from serctl.options import TranscribeOptions

runner = CliRunner()


def init(project: Path, *words: object) -> Result:
    return runner.invoke(app, ["init", "--project", str(project), *map(str, words)])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve tones of four speakers, named by a table with columns of its own."""
    lines = ["FileName,EmoClass,Who,Note"]
    for i in range(12):
        soundfile.write(tmp_path / f"tone_{i}.wav", [0.1, -0.1] * 200, 8000)
        lines.append(f"tone_{i}.wav,{'ANH'[i % 3]},{i // 3},kept")
    path = tmp_path / "theirs.csv"
    path.write_text("\n".join(lines))
    return path


COLUMNS = ("--column", "path=FileName", "--column", "emotion=EmoClass", "--column", "speaker=Who")


def test_a_table_without_a_train_split_has_a_next_command(table: Path, tmp_path: Path) -> None:
    head, *rows = table.read_text().split("\n")
    table.write_text("\n".join([f"{head},split", *(f"{row},test" for row in rows)]))
    made = init(tmp_path / "new", "--manifest", table, *COLUMNS)
    assert made.exit_code == 0, made.output
    assert "serctl predict manifest.csv --model MODEL" in made.stderr


def test_a_column_that_is_said_to_be_another_is_so_in_the_manifest(
    table: Path, tmp_path: Path
) -> None:
    head, *rows = table.read_text().split("\n")
    table.write_text(
        "\n".join([f"{head},Fold,arousals", *(f"{row},{i},9" for i, row in enumerate(rows))])
    )
    words = (*COLUMNS, "--column", "fold=", "--column", "arousal=")
    made = init(tmp_path / "new", "--manifest", table, *words)
    assert made.exit_code == 0, made.output
    row = read_manifest(tmp_path / "new" / "manifest.csv").utterances[3]
    assert row.extra == {"Note": "kept", "Fold_unused": "3", "arousals_unused": "9"}


def test_votes_may_have_decimal_commas(table: Path, tmp_path: Path) -> None:
    head, *rows = table.read_text().replace(",", ";").split("\n")
    votes = ["votes_anger;votes_angry;votes_sad", *["0,5;1,25;" for _ in rows]]
    table.write_text("\n".join(map(";".join, zip([head, *rows], votes, strict=True))))
    made = init(tmp_path / "new", "--manifest", table, *COLUMNS)
    assert made.exit_code == 0, made.output
    row = read_manifest(tmp_path / "new" / "manifest.csv").utterances[0]
    assert row.votes() == {"angry": 1.75, "sad": 0.0}


def test_parts_that_overlap_in_two_splits_are_a_note(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", [0.1, -0.1] * 8000, 8000)
    lines = ["path,start,end,emotion,speaker,split"]
    lines += [f"talk.wav,{k / 2},{k / 2 + 0.7},happy,{k},{['train', 'dev'][k]}" for k in (0, 1)]
    (tmp_path / "parts.csv").write_text("\n".join(lines))
    made = init(tmp_path / "new", "--manifest", tmp_path / "parts.csv")
    assert made.exit_code == 0, made.output
    assert "1 pair of utterances of different splits share audio" in " ".join(made.stderr.split())


def add_splits(table: Path, names: tuple[str, ...] = ("train", "dev", "test")) -> None:
    head, *rows = table.read_text().split("\n")
    named = [f"{row},{names[i // 4 % len(names)]}" for i, row in enumerate(rows)]
    table.write_text("\n".join([f"{head},split", *named]))


def tell(table: Path, *words: object) -> str:
    """Make a project from a table with splits of its own, and return the notes."""
    add_splits(table)
    made = init(table.parent / "new", "--manifest", table, *COLUMNS[:4], *words)
    assert made.exit_code == 0, made.output
    return " ".join(made.stderr.split())


def test_own_splits_without_speakers_are_a_note_with_the_likely_column(table: Path) -> None:
    table.write_text(table.read_text().replace("Who", "Actor"))
    told = tell(table)
    assert "12 of 12 utterances have no speaker, so a speaker in several splits is not" in told
    assert "If 'Actor' holds speakers: --column speaker=Actor" in told


def test_splits_made_without_speakers_name_the_likely_column(table: Path, tmp_path: Path) -> None:
    table.write_text(table.read_text().replace("Who", "Actor"))
    made = init(tmp_path / "new", "--manifest", table, *COLUMNS[:4])
    assert "If 'Actor' holds speakers: --column speaker=Actor" in " ".join(made.stderr.split())


def test_speakers_that_are_known_or_declared_unknown_are_no_note(table: Path) -> None:
    text = table.read_text()
    assert "no speaker" not in tell(table, "--column", "speaker=Who")
    table.write_text(text)
    assert "no speaker" not in tell(table, "--column", "speaker=", "--overwrite")


@pytest.mark.parametrize(
    ("limit", "note"),
    [
        (1, "--limit 1 keeps no utterance of the emotions .* and of the splits .*: --limit 9"),
        (8, "--limit 8 keeps no utterance of (angry|neutral|happy) in (train|dev|test)[.] "),
        (9, ""),
    ],
)
def test_a_limit_that_leaves_out_a_class_is_a_note(table: Path, limit: int, note: str) -> None:
    told = tell(table, "--limit", limit)
    assert re.search(note, told) if note else "keeps no utterance" not in told


def test_a_seed_without_effect_is_a_note(table: Path) -> None:
    assert "--seed 3 has no effect on the splits" in tell(table, "--seed", 3)


def test_options_of_a_table_are_refused_with_a_corpus(tmp_path: Path) -> None:
    for words in (("--column", "path=file"), ("--split", "eval=test")):
        made = init(tmp_path / "new", "--corpus", "emodb", "--root", tmp_path, *words)
        assert made.exit_code == 2
        assert "--column and --split have no effect with --corpus emodb" in made.stderr


def test_a_split_that_no_row_has_is_refused(table: Path, tmp_path: Path) -> None:
    for known in ("It has no splits.", "Known: dev, test, train."):
        made = init(tmp_path / "new", "--manifest", table, *COLUMNS, "--split", "evel=test")
        assert made.exit_code == 1
        told = " ".join(made.stderr.split())
        assert "--split of 'evel'" in told
        assert known in told
        add_splits(table)


def test_a_table_becomes_a_project_with_speaker_disjoint_splits(
    table: Path, tmp_path: Path
) -> None:
    result = init(tmp_path / "project", "--manifest", table, *COLUMNS)
    assert result.exit_code == 0, result.stderr
    assert "serctl transcribe" in result.stderr
    assert "speaker-disjoint" in result.stderr
    manifest = read_manifest(open_workspace(tmp_path / "project").manifest)
    assert manifest.ids == tuple(f"tone_{i}" for i in range(12))
    assert set(manifest.splits) == {"train", "dev", "test"}
    assert not manifest.leaking_speakers()
    assert manifest.utterances[0].emotion == "angry"
    assert manifest.utterances[0].extra == {"Note": "kept"}
    assert manifest.utterances[0].transcript is None
    assert all(row.path.is_file() for row in manifest)


def test_the_seed_decides_the_splits_and_the_order_of_rows_does_not(
    table: Path, tmp_path: Path
) -> None:
    header, *lines = table.read_text().splitlines()
    turned = table.with_name("turned.csv")
    turned.write_text("\n".join([header, *lines[::-1]]))
    splits = []
    for name, source, seed in (("a", table, 1), ("b", turned, 1)):
        assert init(tmp_path / name, "--manifest", source, *COLUMNS, "--seed", seed).exit_code == 0
        manifest = read_manifest(tmp_path / name / "manifest.csv")
        splits.append({row.utterance_id: row.split for row in manifest})
    assert splits[0] == splits[1]


def test_a_project_is_not_overwritten_unless_requested(table: Path, tmp_path: Path) -> None:
    assert init(tmp_path, "--manifest", table, *COLUMNS).exit_code == 0
    before = (tmp_path / "manifest.csv").read_bytes()
    refused = init(tmp_path, "--manifest", table, *COLUMNS, "--limit", 6)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    assert (tmp_path / "manifest.csv").read_bytes() == before
    assert init(tmp_path, "--manifest", table, *COLUMNS, "--limit", 6, "--overwrite").exit_code == 0
    assert len(read_manifest(tmp_path / "manifest.csv")) == 6


def test_settings_that_overwrite_replaces_are_kept_beside(table: Path, tmp_path: Path) -> None:
    words = ("--manifest", table, *COLUMNS, "--overwrite")
    for _ in range(2):
        assert "earlier file" not in init(tmp_path, *words).stderr
    project = tmp_path / "serctl.toml"
    edited = project.read_text() + '\n[weights]\nwavlm-large = "/data/wavlm"\n'
    project.write_text(edited)
    again = init(tmp_path, *words)
    assert "the earlier file is serctl.replaced.toml" in " ".join(again.stderr.split())
    assert (tmp_path / "serctl.replaced.toml").read_text() == edited
    assert 'wavlm-large = "/data' not in project.read_text()


def test_map_drop_and_unlabel(table: Path, tmp_path: Path) -> None:
    words = ("--map", "h=neutral", "--drop", "angry", "--map", "n=")
    assert init(tmp_path, "--manifest", table, *COLUMNS, *words).exit_code == 0
    manifest = read_manifest(tmp_path / "manifest.csv")
    assert sorted(row.emotion for row in manifest) == [""] * 4 + ["neutral"] * 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "No corpus given. Name one"),
        (("--corpus", "demo", "--manifest", "TABLE"), "are both given, expected one"),
        (("--corpus", "emodb"), "--corpus emodb without --root, expected the folder"),
        (("--corpus", "emodb", "--corpus", "meld", "--root", "x"), "emodb, meld with 1 --root"),
        (("--corpus", "emodbb", "--root", "."), "Did you mean 'emodb'"),
        (("--corpus", "emodb", "--root", "nowhere"), "not a folder"),
        (("--manifest", "TABLE", "--column", "path"), "OURS=YOURS"),
        (("--manifest", "TABLE", "--column", "path=Nix"), "no column 'Nix'"),
        (("--manifest", "TABLE", "--column", "pth=FileName"), "Did you mean 'path'"),
        (("--manifest", "TABLE"), "expected path or utterance_id"),
        (("--manifest", "TABLE", *COLUMNS, "--root", "nowhere"), "none of their audio files"),
        (("--manifest", "TABLE", *COLUMNS, "--drop", "calm"), "no utterance has this emotion"),
        (
            ("--manifest", "TABLE", *COLUMNS, "--drop", "angry", "--map", "angry=sad"),
            "'angry' is in --map and in --drop, expected one",
        ),
        (("--manifest", "TABLE", *COLUMNS, *COLUMNS[:2]), "--column names 'path' twice"),
        (("--manifest", "TABLE", *COLUMNS, "--map", "a=x"), "'x' marks 4 utterances"),
        (("--manifest", "TABLE", *COLUMNS[:2]), "no utterance has an emotion"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    table: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    project = tmp_path / "project"
    result = init(project, *(table if word == "TABLE" else word for word in words))
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not project.exists()


def test_the_demo_project_names_a_model_that_its_packages_carry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("espeakng_loader", reason="the demo voices are not installed")
    monkeypatch.setattr(demo, "COUNTS", dict.fromkeys(demo.COUNTS, (3,) * 9))
    result = init(
        tmp_path, "--corpus", "demo", "--root", tmp_path / "corpus", "--limit", 40, "--json"
    )
    assert result.exit_code == 0, result.stderr
    counts = json.loads(result.stdout)["counts"]
    assert sum(sum(found.values()) for found in counts.values()) == 40
    assert all(found["contempt"] for found in counts.values())
    made = {path.resolve() for path in (tmp_path / "corpus" / "audio").iterdir()}
    assert made == {row.path.resolve() for row in read_manifest(tmp_path / "manifest.csv")}
    options = resolve_options(TranscribeOptions, "transcribe", open_workspace(tmp_path))
    assert options.model == "whisper-tiny"


def test_two_folders_of_one_kind_are_told_how_to_keep_them_apart(tmp_path: Path) -> None:
    words: list[object] = []
    for folder, name in (("a", "x"), ("b", "y")):
        (tmp_path / folder).mkdir()
        for emotion in ("sad", "happy"):
            soundfile.write(tmp_path / folder / f"{emotion}{name}.wav", [0.1, -0.1] * 200, 8000)
        rows = [f"sad{name}.wav,sad,1,train", f"happy{name}.wav,happy,2,train"]
        text = "\n".join(["file_name,label,speaker,split", *rows])
        (tmp_path / folder / "metadata.csv").write_text(text)
        words += ["--corpus", "audiofolder", "--root", tmp_path / folder]
    made = init(tmp_path / "new", *words)
    told = " ".join(made.stderr.split())
    assert "2 speakers of the same name (audiofolder-1, audiofolder-2)" in told
    assert "merge them: serctl manifest merge" in told
    (tmp_path / "b" / "sady.wav").rename(tmp_path / "b" / "sadx.wav")
    text = (tmp_path / "b" / "metadata.csv").read_text()
    (tmp_path / "b" / "metadata.csv").write_text(text.replace("sady", "sadx"))
    clash = init(tmp_path / "new", *words, "--overwrite")
    told = " ".join(clash.stderr.split())
    assert "1 ids are in several corpora (audiofolder-sadx)" in told
    assert "merge them: serctl manifest merge" in told


def test_ravdess_keeps_its_own_label_unless_requested(test_data: Path, tmp_path: Path) -> None:
    root = test_data / "ravdess"
    assert init(tmp_path / "whole", "--corpus", "ravdess", "--root", root).exit_code == 0
    labels = read_manifest(tmp_path / "whole" / "manifest.csv").label_set()
    assert labels.names[-2:] == ("neutral", "calm")
    dropped = init(tmp_path / "less", "--corpus", "ravdess", "--root", root, "--drop", "calm")
    assert dropped.exit_code == 0
    assert len(read_manifest(tmp_path / "less" / "manifest.csv")) == 1439 - 192
    project = tmp_path / "less" / "serctl.toml"
    assert "# Terms of ravdess: CC BY-NC-SA 4.0" in project.read_text()


def test_joined_corpora_keep_their_names_apart(test_data: Path, tmp_path: Path) -> None:
    pair = [
        word
        for name in ("emodb", "ravdess")
        for word in ("--corpus", name, "--root", test_data / name)
    ]
    assert init(tmp_path, *pair, "--map", "calm=neutral").exit_code == 0
    manifest = read_manifest(tmp_path / "manifest.csv")
    assert len(manifest) == 339 + 1439
    assert {row.extra["corpus"] for row in manifest} == {"emodb", "ravdess"}
    options = resolve_options(TranscribeOptions, "transcribe", open_workspace(tmp_path))
    assert options.language == "auto"
    assert not manifest.leaking_speakers()


def test_the_demo_corpus_needs_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, int]] = []

    def make(folder: Path, seed: int, *, wanted: set[Path], progress: object) -> None:
        asked.append((folder, len(wanted)))

    monkeypatch.setattr("serctl.stages.init.make_demo", make)
    result = init(tmp_path / "my project", "--corpus", "demo", "--limit", 30)
    assert result.exit_code == 0, result.stderr
    assert asked == [(tmp_path / "my project" / "corpus", 30)]
    assert f"Next: cd '{tmp_path / 'my project'}' && serctl" in result.stderr.replace("\n", " ")
    assert "serctl run demo" in result.stderr
