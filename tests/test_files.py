"""Folders that are replaced as a whole."""

from contextlib import suppress
from pathlib import Path

import pytest

from serctl.errors import SerctlError
from serctl.files import replace_folder


def make(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "content").write_text(text)
    return folder


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_killed_at_any_step_one_whole_folder_is_left_and_the_next_call_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    folder, rename, done = make(tmp_path / "x", "old"), Path.rename, []

    def rename_or_die(path: Path, target: Path) -> None:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(rename(path, target))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_die)
        patch.setattr("shutil.rmtree", lambda *args, **more: None)
        with suppress(KeyboardInterrupt):
            replace_folder(make(tmp_path / ".x.new", "new"), folder)
    left = {path.read_text() for path in tmp_path.glob("*x*/content")}
    assert left == {"old", "new"}
    replace_folder(make(tmp_path / ".x.newer", "newer"), folder)
    assert (folder / "content").read_text() == "newer"
    assert not (tmp_path / ".x.old").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SerctlError, match="Cannot write"):
        replace_folder(tmp_path / "missing", tmp_path / "x")
