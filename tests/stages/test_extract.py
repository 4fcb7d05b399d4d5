"""`serctl extract`, through the code a user runs, on tiny checkpoints of all six families."""

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from numpy.typing import NDArray
from tiny_facodec import write_facodec
from two_talkers import write_call
from typer.testing import CliRunner

from serctl.cache.sources import hash_bytes
from serctl.cache.store import FeatureStore
from serctl.cli import app
from serctl.cli.extract import describe
from serctl.config import Workspace, open_workspace
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.transcripts import Transcript, write_transcripts
from serctl.encoders.load import load_encoder
from serctl.encoding import extraction as engine
from serctl.encoding.failures import read_failures
from serctl.encoding.features import check_features, open_branches
from serctl.encoding.keys import make_key
from serctl.errors import AudioError, CacheError, SerctlError, UsageError
from serctl.options import ExtractOptions
from serctl.progress import Silent
from serctl.stages.extract import extract

SIZES = (9_000, 16_000, 3_000, 16_000, 450, 12_345, 7_000, 2_000)
WORDS = ("", "hello you", "leave me alone " * 20, "I am happy", "so", "well", "why me", "great")
WRITERS: dict[str, Callable[[Path], Path]] = {
    "whisper": tiny.write_whisper,
    "hubert": tiny.write_hubert,
    "wavlm": tiny.write_wavlm,
    "ns3": write_facodec,
    "roberta": tiny.write_roberta,
    "deberta": tiny.write_deberta,
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: write(root / name) for name, write in WRITERS.items()}


@pytest.fixture
def make_project(
    tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Workspace]:
    """Return what makes a project: eight utterances, their words, `[weights]` of all six names."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))

    def make(name: str = "project") -> Workspace:
        root = tmp_path / name
        root.mkdir()
        weights = [f'{key} = "{path}"' for key, path in checkpoints.items()]
        (root / "serctl.toml").write_text("\n".join(["[weights]", *weights, ""]))
        generator = np.random.default_rng(0)
        rows = []
        for i, size in enumerate(SIZES):
            path = root / f"u{i}.wav"
            soundfile.write(path, generator.standard_normal(size) * 0.1, 16_000)
            rows.append(Utterance(f"u{i}", path, "train", "happy"))
        write_manifest(root / "manifest.csv", rows)
        words = [Transcript(f"u{i}", text) for i, text in enumerate(WORDS)]
        write_transcripts(root / "transcripts.csv", words, {"source": "manifest"})
        return open_workspace(root)

    return make


@pytest.fixture
def project(make_project: Callable[..., Workspace]) -> Workspace:
    return make_project()


WAVLM = ExtractOptions(encoder="wavlm", device="cpu", batch_seconds=2.0)


def read_all(store: Path) -> dict[str, NDArray[Any]]:
    opened = FeatureStore.open(store)
    return {name: np.array(opened.read(name)) for name in opened.ids}


def assert_equal(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> None:
    assert one.keys() == other.keys()
    for name, frames in one.items():
        np.testing.assert_array_equal(frames, other[name])


def interrupt_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> list[int]:
    """Make encoders press Ctrl-C after so many batches; return the sizes of batches they saw."""
    seen: list[int] = []

    def load(*arguments: Any, **settings: Any) -> Any:
        encoder = load_encoder(*arguments, **settings)
        encode = encoder.encode_layers

        def encode_some(batch: Any, layers: Any) -> Any:
            if len(seen) == batches:
                raise KeyboardInterrupt
            seen.append(len(batch))
            return encode(batch, layers)

        encoder.encode_layers = encode_some  # type: ignore[method-assign]
        return encoder

    monkeypatch.setattr(engine, "load_encoder", load)
    return seen


@pytest.mark.parametrize("name", WRITERS)
def test_each_of_the_six_encoders_extracts_from_a_local_checkpoint_of_its_class(
    name: str, project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    done = CliRunner().invoke(app, ["extract", "--encoder", name, "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    store = FeatureStore.open(result["stores"][0])
    encoder = load_encoder(name, mapping=project.weights)
    assert (result["encoded"], store.dim, store.frame_rate) == (8, encoder.dim, encoder.frame_rate)
    assert store.key.compute_dtype == "float32"
    assert store.dtype == np.float16
    for i, (size, text) in enumerate(zip(SIZES, WORDS, strict=True)):
        wave, _ = soundfile.read(project.root / f"u{i}.wav", dtype="float32")
        content = text.strip() if store.key.modality == "text" else wave
        expected = encoder.encode([content])[0]
        assert store.key.modality == "text" or abs(len(expected) - size / 320) < size / 400 + 3
        np.testing.assert_allclose(store.read(f"u{i}"), expected, atol=5e-3, rtol=1e-3)


def test_a_resumed_extraction_equals_an_uninterrupted_one_bit_by_bit(
    make_project: Callable[[str], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = extract(make_project("whole"), WAVLM)
    project = make_project("resumed")
    with monkeypatch.context() as patch:
        seen = interrupt_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            extract(project, WAVLM)
    resumed = extract(project, WAVLM)
    assert 0 < resumed.present == sum(seen) < len(SIZES)
    assert resumed.encoded == len(SIZES) - resumed.present
    assert_equal(read_all(resumed.store), read_all(whole.store))


def test_parts_of_the_work_give_the_whole_bit_by_bit_and_list_their_own_failures(
    make_project: Callable[[str], Workspace],
) -> None:
    projects = [make_project("whole"), make_project("parts")]
    options = dataclasses.replace(WAVLM, skip_bad=True)
    for project in projects:
        spoil(project)
    whole = extract(projects[0], options)
    parts = [extract(projects[1], dataclasses.replace(options, shard=f"{i}/3")) for i in (1, 2, 3)]
    assert min(part.encoded for part in parts) > 0
    assert sum(part.encoded for part in parts) == whole.encoded == 6
    assert_equal(read_all(parts[0].store), read_all(whole.store))
    listed = [(project.root / "failures.csv").read_text() for project in projects]
    ids = [sorted(row["utterance_id"] for row in csv.DictReader(io.StringIO(t))) for t in listed]
    assert ids == [["u2", "u5"]] * 2


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/0"])
def test_a_shard_that_is_no_part_is_refused(shard: str, project: Workspace) -> None:
    with pytest.raises(UsageError, match=f"--shard is {shard}, expected i/n"):
        extract(project, dataclasses.replace(WAVLM, shard=shard))


def test_what_is_there_is_not_touched_and_no_weights_are_loaded(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = extract(project, WAVLM)
    monkeypatch.setattr(engine, "load_encoder", lambda *_, **__: pytest.fail("loaded"))
    again = extract(project, WAVLM)
    assert (first.encoded, first.present) == (8, 0)
    assert (again.encoded, again.present, again.store) == (0, 8, first.store)


def test_changed_audio_is_encoded_again_and_the_rest_keeps_its_frames(project: Workspace) -> None:
    before = read_all(extract(project, WAVLM).store)
    soundfile.write(project.root / "u1.wav", np.full(16_000, 0.25), 16_000)
    result = extract(project, WAVLM)
    after = read_all(result.store)
    assert (result.encoded, result.present) == (1, 7)
    assert not np.array_equal(before.pop("u1"), after.pop("u1"))
    assert_equal(before, after)


def test_changed_words_are_encoded_again_and_other_words_get_another_store(
    project: Workspace,
) -> None:
    options = ExtractOptions(encoder="roberta", device="cpu")
    first = extract(project, options)
    words = [Transcript(f"u{i}", f" {text} ") for i, text in enumerate(WORDS)]
    write_transcripts(project.transcripts, words, {"source": "manifest"})
    assert extract(project, options).encoded == 0  # surrounding blanks are not words
    words[3] = Transcript("u3", "I am so sad")
    write_transcripts(project.transcripts, words, {"source": "manifest"})
    assert extract(project, options).encoded == 1
    write_transcripts(project.transcripts, words, {"source": "whisper-tiny"})
    other = extract(project, options)
    assert (other.encoded, first.windowed, other.windowed) == (8, 1, 1)
    assert other.store != first.store
    assert make_key(project, options).source == "text:whisper-tiny;strip"


def test_of_several_stores_the_one_that_project_file_or_recipe_makes_is_trained_on(
    project: Workspace,
) -> None:
    for storage in ("float16", "float32", "int8"):
        extract(project, ExtractOptions(encoder="hubert", storage=storage, device="cpu", limit=1))
    recipe = project.root / "mine.toml"
    recipe.write_text("[extract]\nstorage = 'int8'\n")
    stated = dataclasses.replace(
        project, tables={**project.tables, "extract": {"storage": "float32"}}
    )
    for workspace, name, storage in (
        (project, "", "float16"), (stated, "", "float32"), (stated, str(recipe), "int8"),
    ):  # fmt: skip
        [branch] = open_branches(workspace, {"speech": ["hubert"]}, name)
        assert branch.key.storage == storage


def test_what_stale_frames_are_reported_to_run_makes_them_again(project: Workspace) -> None:
    options = ExtractOptions(encoder="roberta", layer=1, storage="float32", device="cpu")
    digest = FeatureStore.open(extract(project, options).store).key.digest
    words = [Transcript(f"u{i}", "other words") for i in range(8)]
    write_transcripts(project.transcripts, words, {"source": "manifest"})
    rows = list(read_manifest(project.manifest))

    def check() -> tuple[frozenset[str], list[str]]:
        branches = open_branches(project, {"text": [f"roberta@{digest[:6]}"]})
        return check_features(project, branches, rows)

    with pytest.raises(CacheError, match=r"Transcript of 8 .*Run: serctl extract") as caught:
        check()
    command = str(caught.value).partition("Run: serctl ")[2].split()
    done = CliRunner().invoke(app, [*command, "--device", "cpu", "-C", str(project.root)])
    assert done.exit_code == 0, done.output
    assert check() == (frozenset(), [])
    words = [Transcript(f"u{i}", "heard otherwise") for i in range(8)]
    write_transcripts(project.transcripts, words, {"source": "whisper-tiny"})
    with pytest.raises(CacheError, match="Restore them with serctl transcribe, or"):
        check()


def test_the_order_of_the_manifest_changes_nothing(
    make_project: Callable[[str], Workspace],
) -> None:
    projects = [make_project("one"), make_project("other")]
    lines = projects[1].manifest.read_text().splitlines()
    projects[1].manifest.write_text("\n".join([lines[0], *reversed(lines[1:]), ""]))
    assert_equal(*(read_all(extract(project, WAVLM).store) for project in projects))


def test_a_bar_is_shown_while_the_encoder_loads(project: Workspace) -> None:
    shown = []

    class Bar(Silent):
        def task(self, description: str, total: int | None = None, unit: str = "") -> Any:
            shown.append(description)
            return super().task(description, total, unit)

    extract(project, WAVLM, progress=Bar())
    assert shown == ["load wavlm-large", "load wavlm-large", "extract wavlm-large"]


def test_limit_takes_what_the_manifest_takes(project: Workspace) -> None:
    result = extract(project, ExtractOptions(encoder="wavlm", device="cpu", limit=3))
    assert (result.utterances, result.encoded) == (3, 3)
    assert f"(3 of the manifest's {result.whole})" in describe(result)
    limited = read_manifest(project.manifest).limit(3)
    assert set(FeatureStore.open(result.store).ids) == set(limited.ids)


def spoil(project: Workspace) -> None:
    (project.root / "u2.wav").write_bytes(b"no audio at all")
    soundfile.write(project.root / "u5.wav", np.zeros(4000), 16_000)  # found only when decoded


def test_bad_audio_stops_the_extraction_and_is_named(project: Workspace) -> None:
    spoil(project)
    with pytest.raises(AudioError, match=r"u2\.wav' cannot be decoded.*--skip-bad") as caught:
        extract(project, WAVLM)
    assert "\n" not in str(caught.value)
    (project.root / "u2.wav").unlink()
    (project.root / "u6.wav").unlink()
    with pytest.raises(AudioError, match=r"u2\.wav' does not exist.*1 more"):
        extract(project, WAVLM)


def test_a_corpus_that_was_moved_is_reported_as_a_whole(project: Workspace) -> None:
    for path in project.root.glob("u*.wav"):
        path.unlink()
    with pytest.raises(
        AudioError, match=r"None of 8 utterances can be read\..*--root DIR"
    ) as caught:
        extract(project, WAVLM)
    assert "--skip-bad" not in str(caught.value)


def test_a_layer_of_a_wrong_type_in_serctl_toml_is_an_error_of_training_too(
    project: Workspace,
) -> None:
    extract(project, dataclasses.replace(WAVLM, layer=(1, 2)))
    toml = project.root / "serctl.toml"
    toml.write_text(toml.read_text() + '[extract]\nlayer = "2"\n')
    with pytest.raises(SerctlError, match="'layer' is '2'"):
        open_branches(open_workspace(project.root), {"speech": ("wavlm",)})


def test_parts_behind_the_end_of_all_files_are_not_a_corpus_that_was_moved(
    project: Workspace,
) -> None:
    rows = [
        dataclasses.replace(row, start=90.0, end=91.0) for row in read_manifest(project.manifest)
    ]
    write_manifest(project.manifest, rows)
    with pytest.raises(AudioError, match="None of 8 utterances can be read") as caught:
        extract(project, WAVLM)
    assert "moved" not in str(caught.value)


def test_bad_audio_is_skipped_on_request_listed_and_reported_by_the_exit_code(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(project)
    monkeypatch.chdir(project.root)
    command = ["extract", "--encoder", "wavlm", "--encoder", "hubert", "--device", "cpu", "--json"]
    done = CliRunner().invoke(app, [*command, "--skip-bad"])
    assert done.exit_code == 3, done.output
    assert [result["failed"] for result in json.loads(done.stdout)] == [2, 2]
    with (project.root / "failures.csv").open() as file:
        listed = [(row["encoder"], row["utterance_id"]) for row in csv.DictReader(file)]
    names = ("wavlm-large", "hubert-xlarge")
    assert listed == [(name, bad) for name in names for bad in ("u2", "u5")]
    key = make_key(project, WAVLM).digest
    sources = {
        name: hash_bytes((project.root / f"{name}.wav").read_bytes()) for name in ("u2", "u5")
    }
    assert read_failures(project.root / "failures.csv", key) == sources
    for name in sources:
        soundfile.write(project.root / f"{name}.wav", np.full(4000, 0.1), 16_000)
    assert CliRunner().invoke(app, command).exit_code == 0
    assert not (project.root / "failures.csv").exists()


def test_utterances_that_left_the_manifest_leave_the_list_though_nothing_is_to_do(
    project: Workspace,
) -> None:
    spoil(project)
    options = dataclasses.replace(WAVLM, skip_bad=True)
    assert extract(project, options).failures == project.root / "failures.csv"
    rows = [row for row in read_manifest(project.manifest) if row.utterance_id not in ("u2", "u5")]
    write_manifest(project.manifest, rows)
    assert extract(project, WAVLM).present == 6
    assert not (project.root / "failures.csv").exists()


def test_an_utterance_too_short_for_the_encoder_is_named(project: Workspace) -> None:
    soundfile.write(project.root / "u7.wav", np.full(399, 0.1), 16_000)
    options = ExtractOptions(encoder="facodec", device="cpu")
    with pytest.raises(AudioError, match=r"Utterance 'u7': .*399 samples"):
        extract(project, options)
    assert extract(project, dataclasses.replace(options, skip_bad=True)).failed == 1


def test_frames_do_not_depend_on_the_number_of_cores(
    make_project: Callable[[str], Workspace],
) -> None:
    import torch

    before = torch.get_num_threads()
    made = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            made.append(read_all(extract(make_project(f"{threads}"), WAVLM).store))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
    assert_equal(*made)


def test_an_utterance_without_words_is_named(project: Workspace) -> None:
    words = [Transcript(f"u{i}", "word") for i in range(7)]
    write_transcripts(project.transcripts, words, {"source": "manifest"})
    for source, flag in (("manifest", " --from-manifest"), ("whisper-tiny", "")):
        write_transcripts(project.transcripts, words, {"source": source})
        told = f"'u7' has no transcript. Run: serctl transcribe{flag}"
        with pytest.raises(SerctlError, match=f"^Utterance {re.escape(told)} To skip"):
            extract(project, ExtractOptions(encoder="roberta", device="cpu"))


def test_a_window_of_files_is_for_whisper_and_a_note_for_others(project: Workspace) -> None:
    plain = extract(project, WAVLM)
    found = extract(project, dataclasses.replace(WAVLM, window=7))
    assert found.store == plain.store
    assert found.notes == ("window 7 is not used: 'wavlm-large' is no Whisper encoder.",)
    assert plain.notes == ()


def test_a_storage_that_thins_in_time_is_a_note_for_text(project: Workspace) -> None:
    """One storage of a recipe is for speech and text. The dry run accepted what the run refused."""
    roberta = ExtractOptions(encoder="roberta", device="cpu")
    plain = extract(project, roberta)
    options = dataclasses.replace(roberta, storage="float16-stride2")
    found = extract(project, options)
    assert (found.store, found.encoded) == (plain.store, 0)
    assert found.notes == (
        "storage float16-stride2 is not used: the frames of 'roberta-large' are tokens, stored as "
        "float16.",
    )
    assert make_key(project, options).store_name == plain.store.name


def test_a_disk_too_small_is_reported_before_the_first_utterance(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("serctl.encoding.disk_space.shutil.disk_usage", lambda _: usage)
    seen = interrupt_after(monkeypatch, 99)
    with pytest.raises(CacheError, match=r"frames of wavlm-large need \d+\.\d kB, but"):
        extract(project, WAVLM)
    assert seen == []
    assert not list(project.cache.glob("*.zarr"))


def test_layer_type_and_storage_get_stores_of_their_own(project: Workspace) -> None:
    variants = [
        ExtractOptions(encoder="wavlm", device="cpu", **change)
        for change in ({}, {"layer": 1}, {"dtype": "bfloat16"}, {"storage": "float32"})
    ]
    stores = {extract(project, options).store for options in variants}
    assert len(stores) == 4
    assert stores == {project.cache / make_key(project, o).store_name for o in variants}


def test_several_layers_in_one_pass_are_bit_for_bit_those_of_a_pass_each(
    make_project: Callable[[str], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = make_project("alone")
    expected = [extract(alone, dataclasses.replace(WAVLM, layer=n)).store for n in (2, -1, 0)]
    project = make_project("together")
    options = dataclasses.replace(WAVLM, layer=(2, -1, 0))
    with monkeypatch.context() as patch:
        seen = interrupt_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            extract(project, options)
    extract(project, dataclasses.replace(WAVLM, layer=0))  # one of them is finished by itself
    seen = interrupt_after(monkeypatch, 99)
    result = extract(project, options)
    assert sum(seen) == result.encoded == len(SIZES) - result.present > 0
    assert [store.name for store in result.stores] == [store.name for store in expected]
    for made, wanted in zip(result.stores, expected, strict=True):
        assert_equal(read_all(made), read_all(wanted))
    assert extract(project, options).present == len(SIZES)


def test_what_cannot_be_read_is_listed_for_every_layer(project: Workspace) -> None:
    spoil(project)
    options = dataclasses.replace(WAVLM, layer=(1, 2), skip_bad=True)
    assert extract(project, options).failed == 2
    for layer in (1, 2):
        key = make_key(project, dataclasses.replace(WAVLM, layer=layer))
        assert set(read_failures(project.root / "failures.csv", key.digest)) == {"u2", "u5"}


def test_a_layer_that_the_encoder_lacks_is_refused_before_the_others_run(
    project: Workspace,
) -> None:
    for layer, told in (((1, 9), "--layer is 9, expected 0 to 3"), ((), "No layer")):
        with pytest.raises(UsageError, match=told):
            extract(project, dataclasses.replace(WAVLM, layer=layer))
    with pytest.raises(UsageError, match="'facodec' has no layers"):
        extract(project, ExtractOptions(encoder="facodec", layer=(-1, 2)))
    assert not list(project.cache.glob("*.zarr"))


def test_no_encoder_is_a_usage_error(project: Workspace) -> None:
    with pytest.raises(UsageError, match="--encoder"):
        extract(project, ExtractOptions())


def test_two_talkers_on_two_channels_are_one_line(project: Workspace) -> None:
    for name in ("u1.wav", "u3.wav"):
        write_call(project.root / name)
    done = extract(project, WAVLM)
    (line,) = [note for note in done.notes if "mean of the channels" in note]
    assert f"{project.root / 'u1.wav'}, {project.root / 'u3.wav'} (a different talker" in line
    assert "column 'channel'" in line
    assert line in describe(done)


def test_a_dry_run_tells_what_the_whole_manifest_takes(project: Workspace) -> None:
    some = extract(project, dataclasses.replace(WAVLM, limit=2))
    whole = extract(project, dataclasses.replace(WAVLM, encoder="hubert"))
    frames = sum(len(frames) for frames in read_all(some.store).values())
    assert some.bytes == frames * 16 * 2  # D, float16
    estimated = dataclasses.replace(some, seconds=1000.0, bytes=100_000_000)
    assert "All 8 utterances take 1.1 h and 0.40 GB at this rate." in describe(estimated)
    assert "at this rate" not in describe(whole)
