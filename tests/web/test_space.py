"""A Space is three files and a bundle, and runs the page of `serctl serve`."""

import runpy
from pathlib import Path

import pytest
from huggingface_hub import SpaceCard

import serctl
from serctl.errors import CheckpointError, UsageError
from serctl.options import SpaceOptions
from serctl.system.bundle_folder import open_bundle
from serctl.system.parts import find_parts
from serctl.web import server
from serctl.web.space import list_requirements, write_space


def test_it_serves_the_bundle_that_lies_in_it(served, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "space"
    result = write_space(SpaceOptions(output=str(folder), bundle=str(served.bundle)))
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["app.py", "requirements.txt", "README.md", "bundle"]
    )
    assert open_bundle(folder / "bundle").digest == open_bundle(served.bundle).digest
    assert result.title == "tones"
    run = []
    monkeypatch.setattr(server, "serve", lambda workspace, options, log: run.append(options))
    monkeypatch.chdir(folder)
    runpy.run_path("app.py")
    assert (run[0].host, run[0].port) == ("0.0.0.0", 7860)
    assert find_parts(run[0].model, None).name == "tones"
    assert (folder / "requirements.txt").read_text().startswith("serctl[serve,faster-whisper]==")


def test_it_requires_the_packages_that_hold_weights(served) -> None:
    document = open_bundle(served.bundle).document
    first = document.encoders[0]
    packaged = [first.model_copy(update={"weights": "pypi:opensmile==2.6.0"})] * 2
    assert list_requirements(document.model_copy(update={"encoders": (first, *packaged)})) == [
        f"serctl[serve,faster-whisper]=={serctl.__version__}",
        "opensmile==2.6.0",
    ]


def test_its_header_is_one_of_the_hub(served, tmp_path: Path) -> None:
    folder = tmp_path / "space"
    write_space(SpaceOptions(output=str(folder), bundle=str(served.bundle), title="A: 'title'"))
    found = SpaceCard((folder / "README.md").read_text()).data
    assert (found.title, found.sdk, found.app_file) == ("A: 'title'", "gradio", "app.py")
    assert found.sdk_version[0].isdigit()


def test_nothing_is_replaced_by_accident(served, tmp_path: Path) -> None:
    options = {"output": str(tmp_path / "space"), "bundle": str(served.bundle)}
    write_space(SpaceOptions(**options))
    with pytest.raises(UsageError, match="--overwrite"):
        write_space(SpaceOptions(**options))
    write_space(SpaceOptions(**options, overwrite=True))
    with pytest.raises(UsageError, match="is not a Space"):
        write_space(SpaceOptions(**options | {"output": str(tmp_path)}, overwrite=True))
    with pytest.raises(CheckpointError):
        write_space(SpaceOptions(output=str(tmp_path / "new"), bundle=str(tmp_path)))
    assert not (tmp_path / "new").exists()
