"""Files that people edit, cut or damage: read, or refused by a known error; never a traceback.

The slow mode tries 2,000 changes of each kind: ``pytest -m slow tests/hostile``.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_report import make_evaluation, read_evaluation
from synthetic_run import SUMMARY, make_branch, make_run_config

from serctl.cache.checksummed import dump_checksummed
from serctl.cache.header import group_document, new_header, parse_header
from serctl.cache.key import FeatureKey
from serctl.config import PROJECT_FILE, read_workspace, resolve_options
from serctl.data.corpora.table import read_table
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.transcripts import Transcript, read_transcripts, write_transcripts
from serctl.documents.bundle import BundleDocument, CalibrationRecord
from serctl.documents.report import Report
from serctl.documents.run import RunConfig, RunSummary
from serctl.documents.stacker import FittedOn, StackerDocument
from serctl.ensemble.logits import Logits
from serctl.ensemble.logits_file import read_logits, write_logits
from serctl.ensemble.stacker_folder import TrainedStacker, save_stacker
from serctl.ensemble.stackers import make_stacker
from serctl.errors import SerctlError
from serctl.options import TrainOptions

LABELS = ("angry", "sad", "neutral")
ROWS = [
    Utterance(
        f"u{i}",
        Path(f"/audio/u{i}.wav"),
        "train",
        LABELS[i % 3],
        f"s{i}",
        'said "so"',
        {"arousal": "3.5", "votes_sad": "2", "note": "x"},
        start=0.5 * i,
        end=0.5 * i + 1,
    )
    for i in range(4)
]
TOML = """[paths]
manifest = "manifest.csv"
[labels]
order = ["sad", "angry"]
[train]
speech = ["whisper-tiny"]
epochs = 3
learning_rate = 1e-3
loss = "wce+sml"
"""


def write_labels(folder: Path) -> Path:
    return_to = folder / "manifest.csv"
    write_manifest(return_to, ROWS)
    return return_to


def write_words(folder: Path) -> Path:
    words = [Transcript(row.utterance_id, "some words", "en", -0.3, 0.1, 1.2, 0.0) for row in ROWS]
    write_transcripts(folder / "words.csv", words, {"source": "whisper"})
    return folder / "words.csv"


def write_scores(folder: Path) -> Path:
    ids = tuple(row.utterance_id for row in ROWS)
    values = np.random.default_rng(0).normal(size=(4, 3))
    write_logits(folder / "dev.csv", Logits(ids, values, LABELS, np.zeros(4, dtype=bool)))
    return folder / "dev.csv"


def write_outside_scores(folder: Path) -> Path:
    path = write_scores(folder)
    path.with_suffix(".json").unlink()
    return path


def write_stacker(folder: Path) -> Path:
    stacker = make_stacker("linear", LABELS)
    stacker.fit(np.random.default_rng(0).normal(size=(30, 2, 3)), np.arange(30) % 3)
    save_stacker(folder, TrainedStacker(stacker, LABELS, ("a", "b"), FittedOn(stack_on="oof")))
    return folder / "stacker.json"


def write_bundle(folder: Path) -> Path:
    prior = {"angry": 0.5, "sad": 0.5}
    BundleDocument(
        serctl_bundle=1,
        name="small",
        serctl="0",
        made="2026-01-01",
        labels=("angry", "sad"),
        networks=("one",),
        stacker=None,
        encoders=(),
        recogniser=None,
        calibration=CalibrationRecord(
            temperature=1.0, implied_prior=prior, natural_prior=prior, num_rows=6
        ),
        metrics={},
        corpora=(),
        files={},
    ).write(folder / "bundle.json")
    return folder / "bundle.json"


def write_text(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


def write_config(folder: Path) -> Path:
    branches = [make_branch("whisper-tiny")]
    make_run_config("run", TrainOptions(), branches).write(folder / "config.json")
    return folder / "config.json"


def write_summary(folder: Path) -> Path:
    SUMMARY.write(folder / "summary.json")
    return folder / "summary.json"


def write_report(folder: Path) -> Path:
    read_evaluation(make_evaluation(20)).write(folder / "test.json")
    return folder / "test.json"


def write_header(folder: Path) -> Path:
    key = FeatureKey("whisper-tiny", "speech", "w", "r", -1, "float32", "none", "audio-16k-mono")
    (folder / "zarr.json").write_bytes(group_document(new_header(key, 4, 50.0, {})))
    return folder / "zarr.json"


def read_forged_header(path: Path) -> Any:
    """Read a header whose checksum fits, as a stranger would write it."""
    content = path.read_bytes()
    with suppress(ValueError, RecursionError):
        document = json.loads(content)
        if isinstance(document, dict):
            attributes = document.get("attributes")
            inner = attributes if isinstance(attributes, dict) else document
            inner.pop("document_crc32c", None)
            with suppress(TypeError):  # attributes that are no dictionary
                content = dump_checksummed(document)
    return parse_header(content, path)


def read_recipe(path: Path) -> Any:
    return resolve_options(TrainOptions, "train", config=path)


KINDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "manifest": (write_labels, read_manifest),
    "table": (write_labels, lambda path: read_table(path, {})),
    "transcripts": (write_words, read_transcripts),
    "logits": (write_scores, read_logits),
    "outside scores": (write_outside_scores, read_logits),
    "recipe": (write_text("recipe.toml", TOML), read_recipe),
    "project file": (write_text(PROJECT_FILE, TOML), read_workspace),
    "run": (write_config, RunConfig.read),
    "run as options": (write_config, read_recipe),
    "summary": (write_summary, RunSummary.read),
    "stacker": (write_stacker, StackerDocument.read),
    "bundle": (write_bundle, BundleDocument.read),
    "report": (write_report, Report.read),
    "store": (write_header, read_forged_header),
}
BESIDE = {"transcripts", "logits"}
"""Kinds whose JSON beside the CSV is changed too."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
SPLICES = st.sampled_from(
    [
        *(b"", b"\x00", b'"', b",", b";", b"\n", b"\r", b"{", b"[", b"nan", b"-1", b"1e999"),
        *(b"\xff", b"9" * 400, b"\xef\xbb\xbf", b"utterance_id", b"\xe2\x80\xae", b"[" * 3000),
    ]
)


def list_places(document: Any, path: tuple = ()) -> list[tuple]:
    """Every key of every dictionary and index of every list."""
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document[:5])
        if isinstance(document, list)
        else ()
    )
    found = []
    for key, value in inner:
        found += [(*path, key), *list_places(value, (*path, key))]
    return found


def change(content: bytes, data: st.DataObject) -> bytes:
    """One or two splices of bytes or, in JSON, another value or none at all somewhere."""
    with suppress(ValueError):
        document = json.loads(content)
        places = list_places(document)
        if places and data.draw(st.booleans()):
            *path, last = data.draw(st.sampled_from(places))
            at = document
            for key in path:
                at = at[key]
            at[last] = data.draw(JSON)
            return json.dumps(document).encode()
    for _ in range(data.draw(st.integers(1, 2))):
        start = data.draw(st.integers(0, len(content)))
        stop = min(len(content), start + data.draw(st.sampled_from([0, 1, 5, 10**6])))
        splice = data.draw(SPLICES | st.binary(max_size=4))
        content = content[:start] + splice + content[stop:]
    return content


def try_changes(kind: str, folder: Path, examples: int) -> None:
    write, read = KINDS[kind]
    path = write(folder)
    files = [path, path.with_suffix(".json")] if kind in BESIDE else [path]
    whole = {file: file.read_bytes() for file in files}
    with suppress(SerctlError):  # the table's audio is not there
        read(path)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def attempt(data: st.DataObject) -> None:
        for file in files:
            file.write_bytes(whole[file])
        file = data.draw(st.sampled_from(files))
        file.write_bytes(change(whole[file], data))
        with suppress(SerctlError):
            read(path)

    attempt()


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    try_changes(kind, tmp_path, 40)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_changed_files_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    try_changes(kind, tmp_path, 2000)
