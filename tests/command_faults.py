"""A fault injector for whole commands: a process that runs `serctl ...` and is broken on purpose.

A fault comes before the n-th change that the command makes below its project: opening a file to
write, making, renaming or removing one. Python's audit hooks tell of each, also in other packages,
so nothing in serctl knows of the injector.

    "SIGKILL", "SIGINT", "SIGTERM"    that signal, once
    "ENOSPC"                          no more file or folder can be made: the disk is full
    "EROFS"                           nothing can be changed any more: the disk is read-only
    "EFBIG"                           no file can grow beyond n * 1000 bytes (the kernel refuses)
"""

import errno
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
MAKES = {"open", "os.mkdir"}
FAULTS = ("SIGKILL", "SIGINT", "SIGTERM", "ENOSPC", "EROFS", "EFBIG")


@dataclass(frozen=True)
class Ended:
    """How a command ended: negative codes are signals."""

    code: int
    output: str
    changes: int


def run_command(root: Path, arguments: Sequence[str], fault: str = "", at: int = 0) -> Ended:
    """Run `serctl` in a project and wait for its end."""
    return start_command(root, arguments, fault, at)()


def start_command(
    root: Path, arguments: Sequence[str], fault: str = "", at: int = 0
) -> Callable[[], Ended]:
    """Run `serctl` in a project; the result waits for its end."""
    count = CONTEXT.Value("i", 0)
    log = root.with_name(f"{root.name}.{os.getpid()}.{id(count)}.log")
    process = CONTEXT.Process(target=_run, args=(root, list(arguments), fault, at, count, log))
    process.start()

    def wait() -> Ended:
        process.join(120)
        assert process.exitcode is not None, f"{arguments} hangs"
        output = log.read_text(errors="replace") if log.exists() else ""
        log.unlink(missing_ok=True)
        return Ended(process.exitcode, output, count.value)

    return wait


def _run(root: Path, arguments: list[str], fault: str, at: int, count: Any, log: Path) -> None:
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.chdir(root)
    from serctl.cli import app

    sys.addaudithook(make_hook(str(root), fault, at, count))
    if fault == "EFBIG":
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (at * 1000, at * 1000))
    try:
        app(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def make_hook(root: str, fault: str, at: int, count: Any) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that counts the changes below ``root`` and breaks the ``at``-th."""

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or not _is_below(root, arguments[0]):
            return
        if event == "open" and not is_written(arguments):
            return
        count.value += 1
        if fault.startswith("SIG") and count.value == at:
            os.kill(os.getpid(), getattr(signal, fault))
        if (fault == "EROFS" or (fault == "ENOSPC" and event in MAKES)) and count.value >= at > 0:
            number = getattr(errno, fault)
            raise OSError(number, os.strerror(number))

    return hear


def _is_below(root: str, path: Any) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    return str(Path.cwd() / os.fsdecode(path)).startswith(root + os.sep)


def is_written(arguments: tuple[Any, ...]) -> bool:
    return bool(int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
