"""The files and folders of a project. `serctl.config` reads them from `serctl.toml`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT_FILE = "serctl.toml"
BUNDLE_FILE = "bundle.json"
PATHS = {
    "manifest": "manifest.csv",
    "transcripts": "transcripts.csv",
    "cache": "cache",
    "runs": "runs",
    "stackers": "stackers",
    "reports": "reports",
}


@dataclass(frozen=True)
class Workspace:
    """Paths of a project, and its defaults for the options of the stages."""

    root: Path
    paths: Mapping[str, Path] = field(default_factory=dict)
    weights: Mapping[str, Path] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    label_order: tuple[str, ...] = ()
    """Emotions in the order of the logits; () for the default order of `LabelSet.of`."""

    def __post_init__(self) -> None:
        """Convert strings to paths."""
        object.__setattr__(self, "root", Path(self.root))
        for name in ("paths", "weights"):
            found = {key: Path(path) for key, path in getattr(self, name).items()}
            object.__setattr__(self, name, found)

    def _path(self, name: str) -> Path:
        return self.paths.get(name, self.root / PATHS[name])

    @property
    def manifest(self) -> Path:
        """The table of utterances."""
        return self._path("manifest")

    @property
    def transcripts(self) -> Path:
        """The transcripts, written by `serctl transcribe`."""
        return self._path("transcripts")

    @property
    def cache(self) -> Path:
        """The folder of feature stores."""
        return self._path("cache")

    @property
    def runs(self) -> Path:
        """The folder of trained models."""
        return self._path("runs")

    @property
    def stackers(self) -> Path:
        """The folder of second-level classifiers."""
        return self._path("stackers")

    @property
    def reports(self) -> Path:
        """The folder of evaluations."""
        return self._path("reports")
