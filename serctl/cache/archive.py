"""A store as one file for a colleague, and back, bit for bit."""

import io
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from serctl.cache.check import check_store
from serctl.cache.header import read_header
from serctl.cache.lock import StoreLock
from serctl.cache.writer import remove_stale
from serctl.errors import CacheError, first_few
from serctl.files import sync, write_beside
from serctl.names import guess_path
from serctl.progress import Progress, silent

MAKE = "Make one with: serctl cache pack NAME"


def pack_store(path: Path, archive: Path, *, progress: Progress = silent) -> int:
    """Write a store to a tar archive and return its size; two packings are the same bytes.

    Raises:
        SerctlError: There is no store, or the archive cannot be written.
    """
    read_header(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    with (
        write_beside(archive) as temporary,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar,
        progress.task(f"pack {path.stem}", len(files)) as advance,
    ):
        for file in files:
            name = f"{path.name}/{file.relative_to(path).as_posix()}"
            tar.add(file, name, recursive=False, filter=_anonymous)
            advance()
    return archive.stat().st_size


def unpack_store(archive: Path, cache_dir: Path, *, progress: Progress = silent) -> Path:
    """Write the store of an archive into a cache folder, checked, in one step; return its path.

    Raises:
        CacheError: The archive is damaged, holds a path that leaves its store or anything but
            files, or the store is there already.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            members = [member for member in tar if not member.isdir()]
            name = _store_name(members, archive)
            target = cache_dir / name
            with StoreLock(target) as lock:
                try:
                    _unpack(tar, members, target, progress)
                finally:
                    if not target.exists():
                        lock.remove()
    except FileNotFoundError:
        raise CacheError(f"'{archive}' does not exist.{guess_path(str(archive))} {MAKE}") from None
    except tarfile.TarError as error:
        raise CacheError(f"'{archive}' is no whole archive of a store: {error}. {MAKE}") from error
    except OSError as error:
        why = error.strerror or error
        raise CacheError(f"'{archive}' cannot be unpacked: {why}. {MAKE}") from error
    return target


def _unpack(
    tar: tarfile.TarFile, members: list[tarfile.TarInfo], target: Path, progress: Progress
) -> None:
    """Extract a store beside its place, check it and rename it; the caller has its lock.

    Raises:
        CacheError: It is there already, or the archive is damaged.
    """
    if target.exists():
        raise CacheError(
            f"'{target}' exists. To replace it, first run: serctl cache rm {target.stem}"
        )
    remove_stale(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with progress.task(f"unpack {target.stem}", len(members)) as advance:
            for member in members:
                _extract(tar, member, temporary)
                advance()
        found = check_store(temporary / target.name, progress=progress)
        if found.damages:
            raise CacheError(
                f"'{target.name}' in the archive is damaged: {first_few(found.damages)}."
            )
        (temporary / target.name).rename(target)
        sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who wrote a file and when: the same store always packs to the same bytes."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def _store_name(members: list[tarfile.TarInfo], archive: Path) -> str:
    """Return the one folder that all members lie in, having refused anything else."""
    names = set()
    for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or len(path.parts) < 2:
            raise CacheError(f"'{archive}' holds '{member.name}', which leaves its store: refused.")
        if not member.isreg():
            raise CacheError(f"'{archive}' holds '{member.name}', which is no plain file: refused.")
        names.add(path.parts[0])
    if len(names) != 1 or not (name := names.pop()).endswith(".zarr") or name.startswith("."):
        raise CacheError(f"'{archive}' is not one feature store that `serctl cache pack` wrote.")
    return name


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    source = tar.extractfile(member) or io.BytesIO()
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        shutil.copyfileobj(source, file, 2**20)
    sync(path)
