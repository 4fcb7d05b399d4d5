"""A bundle goes to a hub and comes back; whatever is wrong there is one line and nothing half."""

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants
from local_hub import LocalHub, Repository, point_at, serve_hub
from typer.testing import CliRunner

from serctl.cli import app
from serctl.documents.bundle import BundleDocument, CorpusRecord
from serctl.errors import CheckpointError, HubError, UsageError
from serctl.options import PushOptions
from serctl.stages.push import push_bundle
from serctl.system.bundle_folder import BUNDLE_FILE, open_bundle, seal_bundle
from serctl.system.card import write_bundle_readme, write_header
from serctl.system.hub import fetch_bundle, parse_hub_name

NAME = "me/tones"
SCORES = {"num_utterances": 6, "macro_f1": 0.5, "uar": 0.6, "accuracy": 0.7}
LIST = {
    "serctl_bundle": 1,
    "name": "tones",
    "serctl": "0",
    "made": "2026-01-01",
    "license": "cc-by-nc-4.0",
    "labels": ["angry", "happy"],
    "networks": ["one"],
    "stacker": None,
    "encoders": [
        {
            "encoder": "wavlm-large",
            "modality": "speech",
            "layer": -1,
            "weights": "microsoft/wavlm-large",
            "revision": "0" * 40,
            "compute_dtype": "float32",
            "window": "whole",
            "source": "audio-16k-mono",
            "storage": "float16",
            "digest": "0" * 12,
            "license": "mit",
            "content": "",
        }
    ],
    "recogniser": None,
    "calibration": {
        "num_rows": 6,
        "temperature": 1.0,
        "natural_prior": {"angry": 0.5, "happy": 0.5},
        "implied_prior": {"angry": 0.5, "happy": 0.5},
    },
    "metrics": {"dev": SCORES, "test": SCORES},
    "corpora": [{"name": "emodb", "terms": "free for research"}],
    "files": {},
}
DOCUMENT = BundleDocument.model_validate(LIST)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub that this process asks, with a token that may write and an empty cache."""
    with serve_hub() as hub:
        point_at(hub.endpoint, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "networks" / "one").mkdir(parents=True)
    (folder / "networks" / "one" / "config.json").write_text("{}")
    (folder / "networks" / "one" / "model.safetensors").write_bytes(bytes(50_000))
    (folder / "README.md").write_text(write_bundle_readme(DOCUMENT))
    seal_bundle(folder, DOCUMENT)
    return folder


def push(folder: Path, **options: object) -> str:
    return push_bundle(PushOptions(repository=NAME, folder=str(folder), **options)).model


def change(hub: LocalHub, edit: Callable[[dict[str, bytes]], object]) -> str:
    """Commit an edited state of the pushed bundle, as somebody on the hub's page might."""
    repository = hub.repositories[NAME]
    files = dict(repository.commits[repository.branches["main"]])
    edit(files)
    return f"hf:{NAME}@{repository.commit('main', files)}"


def whole_bundles(tmp_path: Path) -> list[Path]:
    """Return the bundles in the cache that have their final name."""
    return list((tmp_path / "cache").rglob("[0-9a-f]*/bundle.json"))


def test_what_was_pushed_comes_back_the_same(hub: LocalHub, folder: Path) -> None:
    model = push(folder)
    assert model == f"hf:{NAME}@{hub.repositories[NAME].branches['main']}"
    bundle, notes = fetch_bundle(model)
    assert bundle.digest == open_bundle(folder).digest
    assert notes == ()
    asked = len(hub.asked)
    assert fetch_bundle(model)[0].digest == bundle.digest
    assert len(hub.asked) == asked  # a pinned commit that is here needs no network


def test_without_a_commit_the_one_that_was_used_is_reported(hub: LocalHub, folder: Path) -> None:
    model = push(folder)
    _, notes = fetch_bundle(f"hf:{NAME}")
    assert model in notes[0]


def test_check_and_show_take_a_name_of_the_hub(hub: LocalHub, folder: Path) -> None:
    model = push(folder)
    checked = CliRunner().invoke(app, ["bundle", "check", model, "--json"])
    assert json.loads(checked.stdout)["digest"] == open_bundle(folder).digest
    shown = CliRunner().invoke(app, ["bundle", "show", f"hf:{NAME}"])
    assert "## Intended use" in shown.stdout
    assert model in CliRunner().invoke(app, ["bundle", "check", f"hf:{NAME}"]).stderr
    missing = CliRunner().invoke(app, ["bundle", "show", "hf:me/none"])
    assert missing.exit_code == 1


def test_offline_the_commit_fetched_before_is_used_and_reported(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = push(folder)
    with monkeypatch.context() as patch:
        point_at("http://127.0.0.1:9", patch)
        with pytest.raises(HubError, match="Check the connection"):
            fetch_bundle(f"hf:{NAME}")
    fetch_bundle(model)
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(HubError, match=f"offline mode.*Downloaded before: {model}"):
            fetch_bundle(f"hf:{NAME}")
    fetch_bundle(f"hf:{NAME}")
    point_at("http://127.0.0.1:9", monkeypatch)
    _, notes = fetch_bundle(f"hf:{NAME}")
    assert f"last downloaded commit: {model}" in notes[0]


def test_a_name_server_that_never_answers_is_given_up(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = push(folder)
    given_up = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: given_up.wait(60))
    monkeypatch.setattr("serctl.system.hub.HUB_SECONDS", 0.2)
    monkeypatch.setattr("serctl.stages.push.MAKE_SECONDS", 0.2)
    asked = len(hub.asked)
    point_at("http://hub.example.org", monkeypatch)
    with pytest.raises(HubError, match=r"no response within 0\.2 s.*Check the connection"):
        fetch_bundle(model)
    with pytest.raises(HubError, match=r"no response within 0\.2 s"):
        push(folder)
    given_up.set()
    assert len(hub.asked) == asked


def test_a_second_push_replaces_the_files_in_one_commit(hub: LocalHub, folder: Path) -> None:
    first = push(folder)
    shutil.move(folder / "networks" / "one", folder / "networks" / "two")
    (folder / BUNDLE_FILE).unlink()
    seal_bundle(folder, DOCUMENT.model_copy(update={"networks": ("two",)}))
    second = push(folder)
    assert first != second
    assert len(hub.repositories[NAME].commits) == 3  # the first is the hub's own
    assert list(fetch_bundle(second)[0].networks) == ["two"]
    assert list(fetch_bundle(first)[0].networks) == ["one"]


def test_a_branch_is_made_and_loaded_by_name(hub: LocalHub, folder: Path) -> None:
    model = push(folder, revision="v2")
    assert f"hf:{NAME}@{hub.repositories[NAME].branches['v2']}" == model
    assert model in fetch_bundle(f"hf:{NAME}@v2")[1][0]
    with pytest.raises(CheckpointError, match=r"holds no bundle\.json"):
        fetch_bundle(f"hf:{NAME}")


def test_private_is_private_or_nothing_is_uploaded(hub: LocalHub, folder: Path) -> None:
    push(folder, private=True)
    assert hub.repositories[NAME].private
    hub.repositories[NAME] = Repository()
    with pytest.raises(HubError, match="expected a private or new repository"):
        push(folder, private=True)
    assert len(hub.repositories[NAME].commits) == 1


def test_the_card_is_a_valid_card_of_the_hub(hub: LocalHub, folder: Path) -> None:
    push(folder)
    repository = hub.repositories[NAME]
    card = ModelCard(repository.commits[repository.branches["main"]]["README.md"].decode())
    card.validate()
    found = card.data
    assert found.license == "cc-by-nc-4.0"
    assert found.language == ["de"]
    assert found.pipeline_tag == "audio-classification"
    assert found.library_name == "serctl"
    assert found.base_model == ["microsoft/wavlm-large"]
    assert found.datasets == ["emodb"]
    assert {"speech-emotion-recognition", "angry"} <= set(found.tags)
    results = {(r.dataset_split, r.metric_type): r.metric_value for r in found.eval_results}
    assert results == {("test", "f1"): 0.5, ("test", "recall"): 0.6, ("test", "accuracy"): 0.7}


def test_labels_and_corpora_without_latin_letters_leave_no_empty_names_in_the_header() -> None:
    labels = ("愤怒", "sad")
    corpora = (CorpusRecord(name="情感语料", terms="CC0"),)
    document = DOCUMENT.model_copy(update={"labels": labels, "corpora": corpora})
    found = ModelCard(f"---\n{write_header(document)}\n---\n").data
    assert "sad" in found.tags
    assert all(found.tags)
    assert {result.dataset_type for result in found.eval_results} == {"speech"}


def test_metrics_with_and_without_speakers_are_two_entries_of_the_model_index(
    hub: LocalHub,
) -> None:
    assert "standardised per speaker" not in write_bundle_readme(DOCUMENT)
    plain = {"test": SCORES | {"macro_f1": 0.4}, "dev": SCORES}
    document = BundleDocument.model_validate(
        LIST | {"by_speaker": ["one"], "without_speakers": plain}
    )
    card = ModelCard(write_bundle_readme(document))
    card.validate()
    assert [
        (r.dataset_name, r.dataset_config, r.metric_value)
        for r in card.data.eval_results
        if r.metric_type == "f1"
    ] == [
        ("emodb (test, speakers unknown)", "speakers-unknown", 0.4),
        ("emodb (test, speakers known)", "speakers-known", 0.5),
    ]
    assert "| test, speakers unknown | 6 | 0.400 |" in card.content
    assert "are of a plain `serctl predict`" in card.content
    older = write_bundle_readme(document.model_copy(update={"without_speakers": {}}))
    assert "A plain `serctl predict` was not measured" in older


def test_a_card_without_licence_test_split_or_known_corpus_is_valid(hub: LocalHub) -> None:
    less = LIST | {"metrics": {"dev": SCORES}, "corpora": [{"name": "own", "terms": "?"}]}
    del less["license"]
    card = ModelCard(write_bundle_readme(BundleDocument.model_validate(less)))
    card.validate()
    assert card.data.license == "other"
    assert card.data.eval_results is None


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "No token of the hub"),
        ("hf_reader", r"status 403.*write access"),
        ("hf_x", "status 403"),
    ],
)
def test_who_may_not_write_is_reported_so(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str, message: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=message):
        push(folder)
    assert not hub.repositories


def test_who_may_not_read_is_reported_how(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = push(folder, private=True)
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    with pytest.raises(HubError, match=r"no model 'me/tones'.*hf auth login"):
        fetch_bundle(model)


def test_a_damaged_bundle_is_not_pushed(hub: LocalHub, folder: Path) -> None:
    (folder / "networks" / "one" / "model.safetensors").write_bytes(bytes(3))
    with pytest.raises(CheckpointError, match="missing or changed"):
        push(folder)
    assert not hub.asked


def test_half_a_download_leaves_nothing_and_the_next_fetches_only_what_lacks(
    hub: LocalHub, folder: Path, tmp_path: Path
) -> None:
    model = push(folder)
    hub.cut_after = 20_000
    with pytest.raises(HubError, match="run the same command again"):
        fetch_bundle(model)
    hub.cut_after = None
    hub.asked.clear()
    assert not whole_bundles(tmp_path)
    assert fetch_bundle(model)[0].digest == open_bundle(folder).digest
    fetched = [asked.split()[1].rsplit("/")[-1] for asked in hub.asked if asked[:3] == "GET"]
    assert "model.safetensors" in fetched
    assert "bundle.json" not in fetched


def _plant(name: str, content: bytes) -> Callable[[dict[str, bytes]], object]:
    return lambda files: files.update({name: content})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_plant("model.pkl", pickle.dumps(1)), r"holds model\.pkl.*Downloaded no file"),
        (_plant("pytorch_model.bin", b"x"), r"holds pytorch_model\.bin"),
        (_plant("serve.py", b"x"), r"holds serve\.py"),
        (_plant("more.json", b"{}"), r"does not list: more\.json"),
        (_plant("README.md", b"shorter"), "sizes that differ from the list"),
        (_plant("networks/one/config.json", b"[]"), "missing or changed"),
        (_plant("networks/one/config.json", pickle.dumps(1, 2)[:2]), "Pickles can run code"),
        (lambda files: files.pop("README.md"), r"differ from the list: README\.md"),
        (lambda files: files.pop("bundle.json"), r"no bundle\.json"),
        (_plant("bundle.json", b"[]"), "is not a valid bundle"),
    ],
)
def test_every_check_of_a_local_bundle_holds(
    hub: LocalHub, folder: Path, tmp_path: Path, edit: Callable, message: str
) -> None:
    push(folder)
    model = change(hub, edit)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=message):
            fetch_bundle(model)
    assert not whole_bundles(tmp_path)


def test_sizes_are_limited_before_anything_is_downloaded(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = push(folder)
    monkeypatch.setattr("serctl.system.hub.LARGEST_BYTES", 1000)
    with pytest.raises(CheckpointError, match="Expected at most"):
        fetch_bundle(model)
    monkeypatch.undo()
    assert not any("/resolve/" in asked for asked in hub.asked)


@pytest.mark.parametrize("path", ["../out.json", "/etc/out.json"])
def test_a_listing_that_leads_out_is_refused(hub: LocalHub, folder: Path, path: str) -> None:
    push(folder)

    def edit(files: dict[str, bytes]) -> None:
        document = json.loads(files["bundle.json"])
        document["files"][path] = {"bytes": 2, "sha256": ""}
        del document["document_hash"]
        files["bundle.json"] = json.dumps(document).encode()

    with pytest.raises(CheckpointError, match="inside the folder"):
        fetch_bundle(change(hub, edit))


def test_what_is_not_there_is_reported(hub: LocalHub, folder: Path) -> None:
    push(folder)
    with pytest.raises(HubError, match="There is no model 'me/other'"):
        fetch_bundle("hf:me/other")
    for revision in ("no-branch", "1" * 40):
        with pytest.raises(HubError, match="no such commit, branch or tag"):
            fetch_bundle(f"hf:{NAME}@{revision}")


@pytest.mark.parametrize(
    "name", ["hf:", "hf:me", "hf:me/a/b", "hf:../x", "hf:me/..", "hf:me/a@", "hf:me/a b"]
)
def test_a_name_of_another_form_is_reported(name: str) -> None:
    with pytest.raises(UsageError, match="expected hf:OWNER/NAME"):
        parse_hub_name(name)


def test_the_command_pushes_and_predict_looks_there(folder: Path, tmp_path: Path) -> None:
    with serve_hub() as hub:
        told = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": "hf_writer",
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }

        def run(*words: str) -> subprocess.CompletedProcess:
            command = [sys.executable, "-m", "serctl", *words]
            return subprocess.run(command, env=os.environ | told, capture_output=True, text=True)

        done = run("bundle", "push", NAME, str(folder), "--json")
        assert done.returncode == 0, done.stderr
        commit = json.loads(done.stdout)["commit"]
        assert hub.repositories[NAME].branches["main"] == commit
        assert f"--model hf:{NAME}@{commit}" in done.stderr.replace("\n", "")
        (tmp_path / "a.wav").write_bytes(b"")
        done = run("predict", str(tmp_path / "a.wav"), "--model", f"hf:{NAME}@{'0' * 40}")
        assert done.returncode == 1
        assert "no such commit" in done.stderr
