"""A bundle is opened only if it is what it lists, and nothing in it can run code."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from pickle_trap import PickleTrap

from serctl.documents.bundle import BundleDocument, CalibrationRecord
from serctl.errors import CheckpointError
from serctl.system.bundle_folder import BUNDLE_FILE, Bundle, open_bundle, seal_bundle

PRIOR = {"angry": 0.5, "happy": 0.5}
CALIBRATION = CalibrationRecord(
    temperature=1.0, implied_prior=PRIOR, natural_prior=PRIOR, num_rows=6
)
DOCUMENT = BundleDocument(
    serctl_bundle=1,
    name="small",
    serctl="0",
    made="2026-01-01",
    labels=("angry", "happy"),
    networks=("one",),
    stacker=None,
    encoders=(),
    recogniser=None,
    calibration=CALIBRATION,
    metrics={},
    corpora=(),
    files={},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "networks" / "one").mkdir(parents=True)
    (folder / "networks" / "one" / "config.json").write_text("{}")
    (folder / "networks" / "one" / "model.safetensors").write_bytes(bytes(100))
    seal_bundle(folder, DOCUMENT)
    return folder


def edit(folder: Path, change: Callable[[dict], None]) -> None:
    document = json.loads((folder / BUNDLE_FILE).read_text())
    document.pop("document_hash", None)  # as a stranger would
    change(document)
    (folder / BUNDLE_FILE).write_text(json.dumps(document))


def test_a_whole_bundle_is_opened(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert isinstance(bundle, Bundle)
    assert bundle.labels == ("angry", "happy")
    assert bundle.networks == {"one": folder / "networks" / "one"}
    assert bundle.stacker is None
    assert set(bundle.document.files) == {
        "networks/one/config.json",
        "networks/one/model.safetensors",
    }


def test_its_digest_changes_with_any_file(folder: Path) -> None:
    before = open_bundle(folder).digest
    assert open_bundle(folder).digest == before
    (folder / "networks" / "one" / "config.json").write_text("[]")
    (folder / BUNDLE_FILE).unlink()
    seal_bundle(folder, DOCUMENT)
    assert open_bundle(folder).digest != before


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "model.bin", "stacker.joblib"])
@pytest.mark.parametrize("listed", [False, True])
def test_a_planted_pickle_is_refused_and_does_not_run(
    folder: Path, tmp_path: Path, name: str, listed: bool
) -> None:
    mark = tmp_path / "it ran"
    content = pickle.dumps(PickleTrap(mark))
    (folder / name).write_bytes(content)
    if listed:
        facts = {"bytes": len(content), "sha256": "0" * 64}
        edit(folder, lambda document: document["files"].update({name: facts}))
    with pytest.raises(CheckpointError, match="Pickles can run code"):
        open_bundle(folder)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pickle_under_another_name_is_refused(folder: Path, name: str, protocol: int) -> None:
    path = folder / "networks" / "one" / name
    path.write_bytes(pickle.dumps({"a": 1}, protocol))
    with pytest.raises(CheckpointError, match="Pickles can run code"):
        open_bundle(folder)
    (folder / BUNDLE_FILE).unlink()
    with pytest.raises(CheckpointError, match="Pickles can run code"):
        seal_bundle(folder, DOCUMENT)


def test_a_file_that_is_not_listed_is_refused(folder: Path) -> None:
    (folder / "networks" / "notes.md").write_text("hello")
    with pytest.raises(CheckpointError, match=r"does not list: networks/notes\.md"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "a/../../b.json", "C:\\x.json"])
def test_a_path_that_leads_out_is_refused(folder: Path, name: str) -> None:
    edit(folder, lambda document: document["files"].update({name: {"bytes": 0, "sha256": ""}}))
    with pytest.raises(CheckpointError, match="inside the folder"):
        open_bundle(folder)


def test_a_network_outside_is_refused(folder: Path) -> None:
    edit(folder, lambda document: document.update(networks=["../../elsewhere"]))
    with pytest.raises(CheckpointError, match="inside the folder"):
        open_bundle(folder)


@pytest.mark.parametrize("to_folder", [False, True])
def test_a_link_is_refused(folder: Path, tmp_path: Path, to_folder: bool) -> None:
    target = tmp_path / "outside"
    target.mkdir() if to_folder else target.write_text("{}")
    (folder / "more.json").symlink_to(target, target_is_directory=to_folder)
    with pytest.raises(CheckpointError, match="link"):
        open_bundle(folder)


@pytest.mark.parametrize("damage", ["change", "grow", "remove"])
def test_damage_is_named(folder: Path, damage: str) -> None:
    path = folder / "networks" / "one" / "model.safetensors"
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(b"x" + bytes(99 if damage == "change" else 100))
    with pytest.raises(CheckpointError, match=r"missing or changed.*model\.safetensors"):
        open_bundle(folder)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_format_is_reported(folder: Path, version: object) -> None:
    edit(folder, lambda document: document.update(serctl_bundle=version))
    with pytest.raises(CheckpointError, match="bundle format"):
        open_bundle(folder)


@pytest.mark.parametrize("key", sorted(DOCUMENT.model_fields_set - {"serctl_bundle"}))
def test_what_it_lacks_is_reported(folder: Path, key: str) -> None:
    edit(folder, lambda document: document.pop(key))
    with pytest.raises(CheckpointError, match=f"lacks the field '{key}'"):
        open_bundle(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '"serctl_bundle"'])
def test_what_is_no_bundle_is_reported(folder: Path, text: str) -> None:
    (folder / BUNDLE_FILE).write_text(text)
    with pytest.raises(CheckpointError):
        open_bundle(folder)


def test_entries_of_wrong_types_are_refused(folder: Path) -> None:
    edit(folder, lambda document: document.update(networks=[{"a": 1}]))
    with pytest.raises(CheckpointError, match=r"the value {'a': 1} in 'networks\[0\]'"):
        open_bundle(folder)
    edit(folder, lambda document: document.update(networks=["one"], files={"a.json": 3}))
    with pytest.raises(CheckpointError, match=r"the value 3 in 'files\.a\.json'"):
        open_bundle(folder)
