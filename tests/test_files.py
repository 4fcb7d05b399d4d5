"""Files and folders that are whole or not there, whoever writes and whatever stops them."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from serctl import files
from serctl.data.manifest_file import read_manifest
from serctl.data.outputs import check_output_file
from serctl.data.transcripts import read_rows
from serctl.documents.logits import LogitsSidecar
from serctl.ensemble.logits_file import read_logits
from serctl.errors import SerctlError, UsageError
from serctl.files import (
    read_json,
    recover_folder,
    remove_file,
    remove_folder,
    replace_folder,
    write_atomic,
    write_beside,
    write_binary,
    write_folder,
    write_lines,
)
from serctl.locks import hold, lock
from serctl.options.files import read_toml


def make(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "content").write_text(text)
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


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
    recover_folder(folder)
    assert (folder / "content").read_text() == ("old" if renames < 2 else "new")
    replace_folder(make(tmp_path / ".x.newer", "newer"), folder)
    assert (folder / "content").read_text() == "newer"
    assert not (tmp_path / ".x.old").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SerctlError, match="Cannot write"):
        replace_folder(tmp_path / "missing", tmp_path / "x")


@pytest.mark.posix("Windows: links need a privilege")
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    place = make(tmp_path / "elsewhere", "old")
    file, folder, nowhere = tmp_path / "file", tmp_path / "folder", tmp_path / "nowhere"
    file.symlink_to(place / "content")
    folder.symlink_to(place)
    nowhere.symlink_to(tmp_path / "later" / "content")
    for path in (file, nowhere):
        with write_atomic(path) as text:
            text.write("new")
    assert (place / "content").read_text() == "new"
    assert (tmp_path / "later" / "content").read_text() == "new"
    for content in ("newer", "newest"):
        with write_folder(folder) as new:
            (new / "content").write_text(content)
        assert (place / "content").read_text() == content
    assert all(path.is_symlink() for path in (file, folder, nowhere))
    assert names(tmp_path) == {"file", "folder", "nowhere", "elsewhere", "later"}


@pytest.mark.posix("Windows: links need a privilege")
def test_of_a_linked_folder_the_link_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    remove_folder(tmp_path / "near")
    assert [path.name for path in tmp_path.iterdir()] == ["far"]


def test_a_link_to_a_read_only_file_is_not_written(tmp_path: Path) -> None:
    kept, link = tmp_path / "kept", tmp_path / "link"
    kept.write_text("old")
    kept.chmod(0o444)
    link.symlink_to(kept)
    with (
        pytest.raises(SerctlError, match=r"Cannot write '.*link': It is a link to the read-only"),
        write_atomic(link) as text,
    ):
        text.write("new")
    assert kept.read_text() == "old"
    assert names(tmp_path) == {"kept", "link"}


@pytest.mark.posix("Windows has no named pipes in folders")
def test_a_device_or_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with (
            pytest.raises(SerctlError, match=r"is a device or pipe. Name a file\.$"),
            write_atomic(tmp_path / name) as text,
        ):
            text.write("new")
        with pytest.raises(UsageError, match=rf"^--output '.*{name}' cannot be replaced: "):
            check_output_file(None, tmp_path / name)  # before the work
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == {"link", "pipe"}


@pytest.mark.posix("Windows: links need a privilege")
def test_a_result_does_not_replace_a_recording_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.csv").symlink_to(tmp_path / "a.wav")
    with pytest.raises(UsageError, match="would replace a recording"):
        check_output_file(None, tmp_path / "a.csv")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError(28, "No space left")])
def test_an_error_leaves_the_old_file_or_folder_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    (tmp_path / "f").write_text("old")
    make(tmp_path / "x", "old")
    with suppress(BaseException), write_atomic(tmp_path / "f") as file:
        file.write("new")
        raise error
    with suppress(BaseException), write_folder(tmp_path / "x") as new:
        (new / "content").write_text("new")
        raise error
    assert (tmp_path / "f").read_text() == (tmp_path / "x" / "content").read_text() == "old"
    assert names(tmp_path) == {"f", "x"}


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(SerctlError, match=r"Cannot write '.*f': No space .* device\. Free space"),
        write_beside(tmp_path / "f"),
    ):
        raise OSError(28, "No space left on device")


@pytest.mark.posix("Windows: no limit of the size of a file")
def test_a_full_disk_keeps_whole_lines_and_names_the_file(tmp_path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk() -> None:
        with write_lines(tmp_path / "lines") as write:
            write("whole")
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
            write("does not fit")

    try:
        with pytest.raises(SerctlError, match=r"Cannot write '.*lines': File too large\."):
            fill_disk()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "lines").read_text() == "whole\n"


@pytest.mark.parametrize("windows", [False, True])
def test_text_bytes_and_folders_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: bool
) -> None:
    monkeypatch.setattr(files, "WINDOWS", windows)
    for _ in range(2):
        with write_atomic(tmp_path / "new" / "text") as text:
            text.write("ä\r\n")
        with write_binary(tmp_path / "bytes") as data:
            data.write(b"\0\n")
        with write_folder(tmp_path / "folder") as folder:
            assert names(folder) == set()
            make(folder / "inner", "x")
    assert (tmp_path / "new" / "text").read_bytes() == b"\xc3\xa4\r\n"
    assert (tmp_path / "bytes").read_bytes() == b"\0\n"
    assert (tmp_path / "folder" / "inner" / "content").read_text() == "x"
    assert names(tmp_path) == {"new", "bytes", "folder"}


@pytest.mark.posix("Windows: a temporary file has the name of its process")
def test_temporaries_of_killed_writers_are_used_again(tmp_path: Path) -> None:
    (tmp_path / ".f.tmp").write_text("longer than what follows")
    make(make(tmp_path / ".x.new", "half") / "inner", "half")
    with write_atomic(tmp_path / "f") as file:
        file.write("new")
    with write_folder(tmp_path / "x") as new:
        assert names(new) == set()
    assert (tmp_path / "f").read_text() == "new"
    assert names(tmp_path) == {"f", "x"}


def test_writers_of_one_file_wait_for_each_other(tmp_path: Path) -> None:
    def write(letter: str) -> None:
        for _ in range(20):
            with write_atomic(tmp_path / "f") as file:
                file.write(letter * 50_000)
                file.flush()
                file.write(letter * 50_000)

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, letter) for letter in "abc"]
        while not all(writer.done() for writer in writers):
            if (tmp_path / "f").exists():
                text = (tmp_path / "f").read_text()
                assert len(text) == 100_000
                assert len(set(text)) == 1
    for writer in writers:
        writer.result()
    assert names(tmp_path) == {"f"}


@pytest.mark.posix("Windows: each process writes a temporary folder of its own")
def test_a_second_writer_of_a_folder_is_refused(tmp_path: Path) -> None:
    with (
        write_folder(tmp_path / "x") as new,
        pytest.raises(SerctlError, match="Another process is writing"),
        write_folder(tmp_path / "x"),
    ):
        pass
    assert names(tmp_path) == {"x"}
    assert not new.exists()


def test_locks_hold_between_processes_and_end_with_them(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from serctl.locks import lock\n"
        "file = open(sys.argv[1], 'ab'); lock(file, shared=True); print('held', flush=True)\n"
        "sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "f")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    with (tmp_path / "f").open("ab") as one, (tmp_path / "f").open("ab") as two:
        assert lock(one, shared=True, wait=False)
        assert not lock(two, wait=False)
    other.kill()
    other.communicate()
    with (tmp_path / "f").open("ab") as file:
        assert lock(file, wait=False)


def test_one_block_at_a_time_rewrites_a_file(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0")

    def add() -> None:
        for _ in range(25):
            with hold(path, wait=True):
                path.write_text(str(int(path.read_text()) + 1))

    threads = [Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "100"
    assert names(tmp_path) == {"count"}


def test_what_another_holds_is_refused_by_name(tmp_path: Path) -> None:
    with (
        hold(tmp_path / "run"),
        pytest.raises(SerctlError, match=r"Another process is writing '.*run'"),
        hold(tmp_path / "run"),
    ):
        pass
    with hold(tmp_path / "run"):
        pass


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root writes anywhere")
def test_a_read_only_folder_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SerctlError, match="Permission denied"), write_atomic(tmp_path / "f"):
        pass


def test_a_file_that_cannot_be_deleted_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_file(tmp_path / "absent")

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(SerctlError, match=r"Cannot delete '.*f': Read-only file system\."):
        remove_file(tmp_path / "f")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/zero")
def test_a_device_without_an_end_is_refused_by_every_reader(tmp_path: Path) -> None:
    zero = Path("/dev/zero")
    for read in (read_manifest, read_rows, read_logits, read_toml, LogitsSidecar.read):
        with pytest.raises(SerctlError, match="It is a device"):
            read(zero)
    link = tmp_path / "prior.json"
    link.symlink_to(zero)
    with pytest.raises(SerctlError, match="It is a device"):
        read_json(link, SerctlError)
