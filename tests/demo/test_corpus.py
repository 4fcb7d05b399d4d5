"""The demo corpus: what is planned, and that speaking it twice gives the same samples."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from serctl.data.labels import EMOTIONS
from serctl.data.manifest import Manifest
from serctl.data.manifest_file import check_manifest
from serctl.demo import corpus as demo
from serctl.demo.corpus import make_demo, plan_demo
from serctl.errors import CorpusError
from serctl.progress import Advance

ROWS = [plan.row for plan in plan_demo(Path("root"), seed=0)]


def test_it_is_small_imbalanced_and_every_class_is_big_enough_to_learn_and_score() -> None:
    counts = Manifest(tuple(ROWS)).counts()
    assert len(ROWS) <= 480
    for split, least in (("train", 18), ("dev", 6), ("test", 6)):
        sizes = {emotion: counts[split][emotion] for emotion in EMOTIONS}
        assert min(sizes.values()) >= least
        assert max(sizes, key=lambda name: sizes[name]) == "neutral"
        assert sizes["neutral"] <= 10 * min(sizes.values())
        assert counts[split][""] > 0


def test_speakers_are_disjoint_and_each_speaks_every_emotion() -> None:
    manifest = Manifest(tuple(ROWS))
    check_manifest(manifest)
    assert not manifest.leaking_speakers()
    spoken = {(row.speaker, row.emotion) for row in ROWS if row.emotion}
    speakers = {row.speaker for row in ROWS}
    assert len(speakers) >= 12
    assert len(spoken) == len(speakers) * len(EMOTIONS)


def test_no_sentence_is_in_two_splits() -> None:
    splits: dict[str, set[str]] = {}
    for row in ROWS:
        words = (row.transcript or "").rsplit(", ", 1)[-1].lower()
        splits.setdefault(words, set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values())


@settings(max_examples=5)
@given(seed=st.integers(0, 2**31))
def test_the_label_is_the_raters_one_plurality_and_unlabelled_means_a_tie(seed: int) -> None:
    for plan in plan_demo(Path("root"), seed)[:120]:
        votes = Counter(plan.row.votes())
        (first, most), (_, second) = votes.most_common(2)
        assert sum(votes.values()) == 5
        assert (first == plan.row.emotion and most > second) if plan.row.emotion else most == second
        assert all(1 <= value <= 7 for value in plan.row.attributes())


def test_words_alone_do_not_define_the_emotion() -> None:
    plain = {sentence.lower() for sentence in demo.PLAIN}
    said = [(row.emotion, (row.transcript or "").lower().endswith(tuple(plain))) for row in ROWS]
    expressive = [is_plain for emotion, is_plain in said if emotion not in ("", "neutral")]
    assert 0.2 < np.mean(expressive) < 0.5
    assert not all(is_plain for emotion, is_plain in said if emotion == "neutral")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader", reason="the demo voices are not installed")
    monkeypatch.setattr(demo, "COUNTS", {"train": (1,) * 9, "dev": (1,) * 3})


@pytest.mark.usefixtures("small")
def test_the_same_seed_gives_the_same_samples_even_when_resumed(tmp_path: Path) -> None:
    first = make_demo(tmp_path / "a", seed=5)
    again = make_demo(tmp_path / "b", seed=5)
    lost = again[4].path
    whole = lost.read_bytes()
    lost.unlink()
    kept = again[0].path.stat().st_mtime_ns
    make_demo(tmp_path / "b", seed=5)
    assert lost.read_bytes() == whole
    assert again[0].path.stat().st_mtime_ns == kept
    for one, other in zip(first, again, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()


@pytest.mark.usefixtures("small")
def test_only_wanted_files_are_made_and_their_samples_do_not_depend_on_the_others(
    tmp_path: Path,
) -> None:
    whole = make_demo(tmp_path / "whole", seed=5)
    rows = [plan.row.path for plan in plan_demo(tmp_path / "part", seed=5)]
    steps: list[float] = []

    class Counted:
        @contextmanager
        def task(self, text: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
            yield lambda n=1, note="": steps.append(n / (total or 1))

    made = make_demo(tmp_path / "part", seed=5, wanted={rows[3], rows[7]}, progress=Counted())
    assert [row.path for row in made] == [rows[3], rows[7]]
    assert sorted((tmp_path / "part" / "audio").iterdir()) == sorted([rows[3], rows[7]])
    assert sum(steps) == 1
    make_demo(tmp_path / "part", seed=5)  # the rest, beside them
    for one, path in zip(whole, rows, strict=True):
        assert one.path.read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("small")
def test_it_is_16_bit_16_khz_of_a_few_seconds_and_says_that_it_is_synthetic(tmp_path: Path) -> None:
    for row in make_demo(tmp_path, seed=1):
        info = soundfile.info(row.path)
        assert (info.samplerate, info.subtype, info.channels) == (16_000, "PCM_16", 1)
        assert 0.8 < info.duration < 8
        assert np.abs(soundfile.read(row.path)[0]).max() > 0.02
    assert "SYNTHETIC" in (tmp_path / "README.txt").read_text()
    assert "GPL-3" in (tmp_path / "README.txt").read_text()


@pytest.mark.usefixtures("small")
def test_a_folder_with_the_demo_of_another_seed_is_refused(tmp_path: Path) -> None:
    make_demo(tmp_path, seed=1)
    with pytest.raises(CorpusError, match="another --root for seed 2"):
        make_demo(tmp_path, seed=2)


def test_without_espeak_the_error_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "espeakng_loader", None)
    with pytest.raises(CorpusError, match=r"pip install 'serctl\[demo\]'"):
        make_demo(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("small")
def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "audio").write_text("in the way")
    with pytest.raises(CorpusError, match="Cannot write"):
        make_demo(tmp_path)
