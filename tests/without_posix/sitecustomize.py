"""Hide from serctl what Windows lacks: POSIX modules and calls; ``os.name`` is "nt".

    PYTHONPATH=tests/without_posix python -m pytest -n 0 tests/data

Python imports this file when it starts, in child processes too. Other packages see the system as it
is: what serctl's modules import is replaced, not the modules themselves. This does not replace a
run on Windows: paths, text encodings, open files and renames are those of Linux.
"""

import builtins
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

MODULES = frozenset({"fcntl", "grp", "pwd", "pty", "resource", "syslog", "termios", "tty"})
OS = """
O_CLOEXEC O_DIRECTORY O_DSYNC O_NOFOLLOW O_NONBLOCK O_SYNC chown chroot fchdir fchmod fchown
fdatasync fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp getpriority
getsid getuid killpg lockf mkfifo mknod nice openpty pathconf pipe2 posix_fadvise posix_fallocate
posix_spawn pread preadv pwrite pwritev readv register_at_fork sched_getaffinity sched_setaffinity
sched_yield sendfile setpgid setpriority setsid setuid statvfs sync sysconf tcgetpgrp ttyname uname
wait wait3 wait4 waitid writev
"""
MMAP = "MADV_SEQUENTIAL MADV_RANDOM MADV_WILLNEED MADV_DONTNEED"
SIGNAL = """
SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 alarm pause pthread_kill
pthread_sigmask setitimer siginterrupt sigpending sigwait
"""
NAMES = {
    "os": frozenset(OS.split()),
    "mmap": frozenset(MMAP.split()),
    "signal": frozenset(SIGNAL.split()),
}
NT = ("os", "name")
"""Has another value."""


class Hidden(ModuleType):
    """A module without some of its names. Everything else is the module's own, also when set."""

    def __init__(self, module: ModuleType) -> None:
        self.__dict__["_module"] = module

    def __getattr__(self, name: str) -> Any:
        module = self.__dict__["_module"]
        if name in NAMES[module.__name__]:
            raise AttributeError(f"module '{module.__name__}' has no attribute '{name}'")
        return "nt" if (module.__name__, name) == NT else getattr(module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_module"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__dict__["_module"], name)


real_import = builtins.__import__


def import_hidden(
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Import as a module of serctl on Windows would; others import as always."""
    importer = str((globals or {}).get("__name__", ""))
    if level or importer.partition(".")[0] != "serctl":
        return real_import(name, globals, locals, fromlist, level)
    if name in MODULES:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)
    found = real_import(name, globals, locals, fromlist, level)
    return Hidden(found) if name in NAMES else found


builtins.__import__ = import_hidden
