"""`serctl manifest`: what it finds wrong, counts, divides and joins."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from two_talkers import write_call
from typer.testing import CliRunner, Result

from serctl.cli import app
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.stages.manifest import check_audio, split_manifest

runner = CliRunner()


def run(*words: object) -> Result:
    return runner.invoke(app, ["manifest", *map(str, words)])


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Eighteen different tones of six speakers, half a second each, at two rates."""
    rows = []
    for i in range(18):
        path = tmp_path / f"{i}.wav"
        rate = (8000, 22050)[i % 2]
        soundfile.write(path, np.sin(np.arange(rate // 2) * (i + 1) / 50) / 3, rate)
        split = ("train", "train", "train", "train", "dev", "test")[i % 6]
        emotion = ("angry", "neutral", "")[i // 6]
        rows.append(
            Utterance(f"u{i}", path, split, emotion, f"s{i % 6}", f"words {i}", {"votes_sad": "1"})
        )
    write_manifest(tmp_path / "manifest.csv", rows)
    return tmp_path / "manifest.csv"


def test_sound_audio_passes_the_check(manifest: Path) -> None:
    result = run("check", manifest)
    assert result.exit_code == 0
    assert result.stdout.startswith("18 utterances: no problem found")


@pytest.mark.parametrize(("stated", "noted"), [("0.5", 0), ("1", 0), ("500", 1), ("x", 0)])
def test_check_names_durations_in_another_unit(manifest: Path, stated: str, noted: int) -> None:
    rows = [replace(row, extra={"duration": stated}) for row in read_manifest(manifest)]
    write_manifest(manifest, rows)
    notes = check_audio(manifest).notes
    assert len(notes) == noted
    assert all("18 utterances have another length (u0: 500 for 0.5 s, " in note for note in notes)


def test_check_names_every_kind_of_bad_audio(manifest: Path) -> None:
    folder = manifest.parent
    (folder / "0.wav").unlink()
    (folder / "1.wav").write_bytes(b"")
    (folder / "2.wav").write_bytes(b"not audio at all")
    soundfile.write(folder / "3.wav", np.zeros(100), 8000)
    soundfile.write(folder / "4.wav", np.array([0.1, np.nan]), 8000, subtype="FLOAT")
    soundfile.write(folder / "6.wav", np.zeros(0), 8000)
    result = run("check", manifest, "--json")
    assert result.exit_code == 1
    problems = {
        item["utterance_id"]: item["problem"] for item in json.loads(result.stdout)["problems"]
    }
    reasons = ("not exist", "0 bytes", "cannot be decoded", "silent", "not finite", "no samples")
    assert list(problems) == ["u0", "u1", "u2", "u3", "u4", "u6"]
    for problem, reason in zip(problems.values(), reasons, strict=True):
        assert reason in problem


def test_check_finds_the_same_audio_under_another_name_and_format(manifest: Path) -> None:
    folder = manifest.parent
    samples, rate = soundfile.read(folder / "4.wav", dtype="int16")
    soundfile.write(folder / "5.wav", samples, rate, format="FLAC")
    (folder / "1.wav").write_bytes((folder / "0.wav").read_bytes())
    result = run("check", manifest, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert found["leaks"] == [["u4", "u5"]]
    assert found["duplicates"] == [["u0", "u1"]]


def test_stats_count_what_is_there(manifest: Path) -> None:
    (manifest.parent / "0.wav").unlink()
    result = run("stats", manifest, "--json")
    assert result.exit_code == 0, result.stderr
    train = json.loads(result.stdout)["splits"]["train"]
    assert train["emotions"] == {"angry": 4, "neutral": 4, "": 4}
    assert (train["speakers"], train["with_votes"], train["unmeasured"]) == (4, 12, 1)
    assert train["hours"] == pytest.approx(11 * 0.5 / 3600, rel=1e-3)
    assert train["median_seconds"] == pytest.approx(0.5, rel=1e-3)
    assert "(unlabelled)" in run("stats", manifest).stdout


def test_split_divides_speakers_and_is_decided_by_the_seed(manifest: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a.csv", "b.csv"):
        assert run("split", manifest, "-o", tmp_path / name, "--seed", 3).exit_code == 0
        made.append(read_manifest(tmp_path / name))
    assert [row.split for row in made[0]] == [row.split for row in made[1]]
    assert not made[0].leaking_speakers()
    assert set(made[0].splits) == {"train", "dev", "test"}
    for found in made[0].counts().values():
        assert all(found.values())
    header = run("split", manifest, "-o", tmp_path / "c.csv").stdout.split("angry")[0].split()
    assert [word for word in header if word.isalpha()] == ["emotion", "train", "dev", "test"]
    again = run("split", manifest, "-o", tmp_path / "a.csv")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_split_names_test_utterances_that_become_train(manifest: Path, tmp_path: Path) -> None:
    rows = [replace(row, extra={"fold": row.speaker}) for row in read_manifest(manifest)]
    write_manifest(manifest, rows)
    alone = run("split", manifest, "-o", tmp_path / "a.csv", "--dev-fold", "s1")
    assert alone.exit_code == 0
    assert "train has 3 utterances that had the split test. No split is test" in alone.stderr
    both = run("split", manifest, "-o", tmp_path / "b.csv", "--dev-fold", "s1", "--test-fold", "s2")
    assert "Note" not in both.stderr


def test_split_notes_utterances_without_a_speaker(manifest: Path, tmp_path: Path) -> None:
    rows = read_manifest(manifest).utterances
    write_manifest(manifest, [replace(rows[0], speaker=""), *rows[1:]])
    made = run("split", manifest, "-o", tmp_path / "a.csv")
    assert "Note: 1 of 18 utterances have no speaker" in made.stderr


@pytest.mark.posix("Windows: links need a privilege")
@pytest.mark.parametrize("ending", ["xlsx", "tsv"])
def test_a_manifest_is_not_written_under_the_ending_of_another_table(
    manifest: Path, ending: str
) -> None:
    for words in (["split", manifest], ["merge", manifest]):
        refused = run(*words, "-o", manifest.parent / f"new.{ending}")
        assert refused.exit_code == 2
        assert "Name a file that ends in .csv" in " ".join(refused.stderr.split())
    assert not (manifest.parent / f"new.{ending}").exists()


def test_a_link_to_a_manifest_stays_a_link(manifest: Path) -> None:
    real = manifest.rename(manifest.with_name("table.csv"))
    manifest.symlink_to(real)
    before = real.read_text()
    assert run("split", manifest, "-o", manifest, "--overwrite", "--seed", 3).exit_code == 0
    assert manifest.is_symlink()
    assert real.read_text() != before
    assert read_manifest(manifest).utterances[0].path == manifest.with_name("0.wav")


def test_two_speakers_cannot_be_divided(manifest: Path, tmp_path: Path) -> None:
    rows = [row for row in read_manifest(manifest) if row.speaker in ("s0", "s4")]
    write_manifest(tmp_path / "few.csv", rows)
    result = run("split", tmp_path / "few.csv", "-o", tmp_path / "out.csv")
    assert result.exit_code == 1
    assert "2 speakers, expected at least 3" in result.stderr
    assert not (tmp_path / "out.csv").exists()


def test_merge_keeps_ids_and_speakers_apart(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "both" / "manifest.csv"
    clash = run("merge", manifest, manifest, "-o", out)
    assert clash.exit_code == 2
    assert "18 ids are in several manifests (u0, u1, u10 and 15 more)" in clash.stderr
    assert (
        run("merge", manifest, manifest, "-o", out, "--prefix", "a-", "--prefix", "b-").exit_code
        == 0
    )
    merged = read_manifest(out)
    assert len(merged) == 36
    assert merged.utterances[-1].speaker == "b-s5"
    assert all(row.path.is_file() for row in merged)


def test_channels_that_lose_sound_or_mix_talkers_are_a_line_each(manifest: Path) -> None:
    write_call(manifest.parent / "0.wav")
    tone = np.sin(np.arange(16_000) / 9) / 3
    soundfile.write(manifest.parent / "1.wav", np.stack([tone, -0.8 * tone], axis=1), 16_000)
    result = run("check", manifest)
    assert result.exit_code == 0
    assert "mixes them: " in result.stdout
    assert "0.wav (a different talker on each channel)" in result.stdout
    assert "1.wav (channels that are partly in opposite phase)" in result.stdout
    assert len(json.loads(run("check", manifest, "--json").stdout)["notes"]) == 2


def test_check_names_speakers_in_several_folds(manifest: Path) -> None:
    rows = read_manifest(manifest).utterances
    write_manifest(manifest, [replace(row, extra={"fold": row.speaker}) for row in rows])
    assert not check_audio(manifest).notes
    extra = [{"fold": str(i % 2)} if row.split == "train" else {} for i, row in enumerate(rows)]
    mixed = [replace(row, extra=one, speaker="anna") for row, one in zip(rows, extra, strict=True)]
    write_manifest(manifest, mixed)
    assert "1 speakers (anna) are in several folds" in check_audio(manifest).notes[0]


def test_check_says_how_the_manifest_was_read(manifest: Path) -> None:
    text = manifest.read_text().replace(",train,angry", ",Training,Anger").replace(",", ";")
    manifest.write_text(text)
    result = run("check", manifest)
    assert "columns separated by semicolons" in result.stdout
    assert "column 'emotion': 'anger' as 'angry' (4)" in result.stdout
    assert "column 'split': 'training' as 'train' (4)" in result.stdout


def test_split_and_merge_say_how_the_tables_were_read(manifest: Path) -> None:
    text = manifest.read_text().replace(",train,angry", ",Training,Anger").replace(",", ";")
    manifest.write_text(text)
    split = run("split", manifest, "-o", manifest.parent / "new.csv")
    merged = run("merge", manifest, "-o", manifest.parent / "both.csv")
    assert "Note: columns separated by semicolons" in split.stderr
    assert f"Note: {manifest}: columns separated by semicolons" in merged.stderr
    for result in (split, merged):
        assert "column 'emotion': 'anger' as 'angry' (4)" in result.stderr


def test_merge_names_speakers_of_several_tables_and_other_scales(tmp_path: Path) -> None:
    def write(name: str, highest: float) -> Path:
        rows = []
        for i, value in enumerate((1.0, highest)):
            soundfile.write(tmp_path / f"{name}{i}.wav", np.full(800, 0.1), 8000)
            extra = dict.fromkeys(("arousal", "valence", "dominance"), f"{value:g}")
            path = tmp_path / f"{name}{i}.wav"
            rows.append(Utterance(f"{name}{i}", path, "train", "sad", str(i), None, extra))
        write_manifest(tmp_path / f"{name}.csv", rows)
        return tmp_path / f"{name}.csv"

    five, seven, like = write("five", 5), write("seven", 7), write("like", 5.5)
    merged = run("merge", five, seven, "-o", tmp_path / "a.csv")
    assert "Note: Several tables have 2 speakers of the same name (0, 1)" in merged.stderr
    assert f"arousal: 1 to 5 in {five}, 1 to 7 in {seven}" in merged.stderr
    apart = run("merge", five, like, "-o", tmp_path / "b.csv", "--prefix", "x", "--prefix", "y")
    assert (apart.exit_code, "Note" in apart.stderr) == (0, False)


def test_overlapping_parts_of_a_recording_in_two_splits_are_a_leak(manifest: Path) -> None:
    rows = list(read_manifest(manifest))
    rows[4] = replace(rows[4], path=rows[0].path, start=0.2)  # dev
    rows[5] = replace(rows[5], path=rows[0].path, end=0.25)  # test
    rows[6] = replace(rows[6], path=rows[0].path, end=0.4)  # train, as row 0
    write_manifest(manifest, rows)
    result = run("check", manifest, "--json")
    assert result.exit_code == 1
    assert sorted(map(sorted, json.loads(result.stdout)["overlaps"])) == [
        ["u0", "u4"],
        ["u0", "u5"],
        ["u4", "u6"],
        ["u5", "u6"],
    ]
    shown = run("check", manifest).stdout
    assert "u0, u5: overlapping parts of one recording in several splits" in shown
    assert "4 pairs of overlapping parts in several splits." in shown
    [note] = split_manifest(manifest, manifest.parent / "new.csv").notes
    assert "share audio of a recording" in note
