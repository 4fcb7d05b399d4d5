"""Where a store lies: a local folder, or a URL that fsspec opens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serctl.errors import CacheError


@dataclass(frozen=True)
class Place:
    """A folder of small files; ``local`` is its path, None where fsspec's ``system`` reads it."""

    url: str
    local: Path | None
    system: Any = None
    root: str = ""

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            CacheError: It is not there or cannot be read.
        """
        try:
            if self.local is not None:
                return (self.local / name).read_bytes()
            return bytes(self.system.cat_file(f"{self.root}/{name}"))
        except OSError as error:
            if name == "zarr.json":
                raise CacheError(
                    f"There is no feature store at '{self.url}'. Make one with: serctl extract"
                ) from None
            raise CacheError(
                f"'{self.url}/{name}' cannot be read ({error.strerror or error}). "
                f"Run: serctl cache verify"
            ) from error

    def segments(self) -> list[str]:
        """Return the names of the segment folders, oldest first."""
        if self.local is not None:
            names = [path.name for path in self.local.iterdir()]
        else:
            names = [path.rsplit("/", 1)[-1] for path in self.system.ls(self.root, detail=False)]
        return sorted(name for name in names if name.isdigit())


def open_place(path: Path | str) -> Place:
    """Return the place that a path or URL names."""
    if "://" not in str(path):
        return Place(str(path), Path(path))
    from fsspec.core import url_to_fs

    system, root = url_to_fs(str(path))
    return Place(str(path).rstrip("/"), None, system, root.rstrip("/"))
