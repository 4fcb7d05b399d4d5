"""Pack a store into one archive file, and unpack it bit for bit."""

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
    """Write a store to a tar archive and return its size in bytes. Archives are reproducible.

    Raises:
        SerctlError: There is no store, or the archive cannot be written.
    """
    read_header(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    with (
        write_beside(archive) as temporary,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar,
        progress.task(f"pack {path.stem}", len(files), "files") as advance,
    ):
        for file in files:
            name = f"{path.name}/{file.relative_to(path).as_posix()}"
            tar.add(file, name, recursive=False, filter=_anonymous)
            advance()
    return archive.stat().st_size


def unpack_store(archive: Path, cache_dir: Path, *, progress: Progress = silent) -> Path:
    """Check the store of an archive, write it atomically into a cache folder; return its path.

    Raises:
        CacheError: The archive is damaged, holds a path outside its store or other entries than
            files, or the store exists.
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
        raise CacheError(
            f"'{archive}' is not a complete archive of a store: {error}. {MAKE}"
        ) from error
    except OSError as error:
        why = error.strerror or error
        raise CacheError(f"'{archive}' cannot be unpacked: {why}. {MAKE}") from error
    return target


def _unpack(
    tar: tarfile.TarFile, members: list[tarfile.TarInfo], target: Path, progress: Progress
) -> None:
    """Extract a store under a temporary name, check it and rename it. The caller holds its lock.

    Raises:
        CacheError: The store exists, or the archive is damaged.
    """
    if target.exists():
        raise CacheError(
            f"'{target}' exists. To replace it, first run: serctl cache rm {target.stem}"
        )
    remove_stale(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with progress.task(f"unpack {target.stem}", len(members), "files") as advance:
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
    """Remove owner and time of a file, so that archives are reproducible."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def _store_name(members: list[tarfile.TarInfo], archive: Path) -> str:
    """Return the folder of all members. Other members are refused."""
    names = set()
    for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or len(path.parts) < 2:
            raise CacheError(
                f"'{archive}' holds '{member.name}', expected a path inside its store. {MAKE}"
            )
        if not member.isreg():
            raise CacheError(f"'{archive}' holds '{member.name}', expected plain files. {MAKE}")
        names.add(path.parts[0])
    if len(names) != 1 or not (name := names.pop()).endswith(".zarr") or name.startswith("."):
        raise CacheError(f"'{archive}' does not hold exactly one feature store. {MAKE}")
    return name


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    source = tar.extractfile(member) or io.BytesIO()
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        shutil.copyfileobj(source, file, 2**20)
    sync(path)
