"""The project file `serctl.toml` and how options are put together.

Defaults (the dataclasses of `serctl.options`) < ``serctl.toml`` < a ``--config`` file < flags.
"""

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from serctl.errors import ConfigError, UnknownNameError, UsageError

PROJECT_FILE = "serctl.toml"
FLAGS = "flags"
"""Where the values of a command line come from."""
PATHS = {
    "manifest": "manifest.csv",
    "transcripts": "transcripts.csv",
    "cache": "cache",
    "runs": "runs",
    "stackers": "stackers",
    "reports": "reports",
}

Options = TypeVar("Options")


@dataclass(frozen=True)
class Workspace:
    """Where a project keeps what its steps read and write, and its own defaults."""

    root: Path
    paths: Mapping[str, Path] = field(default_factory=dict)
    weights: Mapping[str, Path] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def _path(self, name: str) -> Path:
        return self.paths.get(name, self.root / PATHS[name])

    @property
    def manifest(self) -> Path:
        """The table of utterances."""
        return self._path("manifest")

    @property
    def transcripts(self) -> Path:
        """The words of each utterance, as `serctl transcribe` wrote them."""
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


def open_workspace(start: Path | None = None) -> Workspace:
    """Find `serctl.toml` in ``start`` (default: the working directory) or a parent and read it.

    Raises:
        ConfigError: There is no project file, or it holds an unknown table or key.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return read_workspace(folder / PROJECT_FILE)
    raise ConfigError(
        f"No {PROJECT_FILE} in '{start}' or a folder above it. "
        f"Make one with: serctl init --corpus NAME --root DIR"
    )


def find_workspace(start: Path | None = None) -> Workspace | None:
    """Return the project if there is one, for what needs none; a named one must be there.

    Raises:
        ConfigError: ``start`` is given and there is none, or its file is malformed.
    """
    here = Path.cwd()
    there = any((folder / PROJECT_FILE).is_file() for folder in (here, *here.parents))
    return open_workspace(start) if there or start is not None else None


def read_workspace(path: Path) -> Workspace:
    """Read a project file; see `open_workspace`."""
    from serctl.options import STAGE_OPTIONS

    document = read_toml(path)
    root = path.parent
    for table, content in document.items():
        if table not in ("paths", "weights", *STAGE_OPTIONS):
            raise ConfigError(
                f"{path}: {_unknown('table', table, [*STAGE_OPTIONS, 'paths', 'weights'])}"
            )
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: '{table}' is {content!r}, expected a table: [{table}].")
    for name in document.get("paths", {}):
        if name not in PATHS:
            raise ConfigError(f"{path} [paths]: {_unknown('key', name, PATHS)}")
    for table in ("paths", "weights"):
        for name, value in document.get(table, {}).items():
            if not isinstance(value, str):
                raise ConfigError(f"{path} [{table}]: '{name}' is {value!r}, expected a path.")
    return Workspace(
        root=root,
        paths={name: root / value for name, value in document.pop("paths", {}).items()},
        weights={name: root / value for name, value in document.pop("weights", {}).items()},
        tables=document,
    )


def resolve_options(
    kind: type[Options],
    stage: str,
    workspace: Workspace | None = None,
    config: Path | None = None,
    **flags: Any,
) -> Options:
    """Return a stage's options: defaults < serctl.toml < ``config`` < ``flags`` that are not None.

    Where the options have a ``recipe``, it comes below the file or flag that names it.

    ``config`` is a TOML file with a table named after the stage, or the ``config.json`` of a run.

    Raises:
        ConfigError: An unknown key (with a suggestion) or a value of the wrong type.
        UsageError: A flag has a value of the wrong type.
    """
    values = check_options(kind, workspace.tables.get(stage, {}) if workspace else {}, PROJECT_FILE)
    if own := values.get("recipe"):
        values = read_recipe(kind, stage, own) | values
    if recipe := flags.get("recipe"):
        values |= read_recipe(kind, stage, recipe)
    if config is not None:
        values |= check_options(kind, read_config(config, stage), str(config))
    values |= check_options(kind, {k: v for k, v in flags.items() if v is not None}, FLAGS)
    return kind(**values)


def read_recipe(kind: type, stage: str, name: str) -> dict[str, Any]:
    """Read the options of one stage from a shipped recipe or from a user's own file.

    Raises:
        UnknownNameError: It is neither a shipped recipe nor a file.
        ConfigError: The file holds an unknown key or a value of the wrong type.
    """
    return check_options(kind, read_config(find_recipe(name), stage), f"recipe '{name}'")


def find_recipe(name: str) -> Path:
    """Return the file of a shipped recipe (``small``) or of a user's own (a path)."""
    shipped = {path.stem: path for path in (Path(__file__).parent / "recipes").glob("*.toml")}
    if name not in shipped and not Path(name).is_file():
        raise UnknownNameError("recipe", name, shipped, "Or give the path of a TOML file.")
    return shipped.get(name, Path(name))


def read_config(path: Path, stage: str) -> dict[str, Any]:
    """Read the table of one stage from a TOML recipe or from a run's ``config.json``."""
    if path.suffix == ".json":
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"'{path}' is not a readable JSON file: {error}.") from error
        return dict(document.get("options", {}))
    table = read_toml(path).get(stage, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: '{stage}' is {table!r}, expected a table: [{stage}].")
    return table


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: It does not exist or is not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{path}' is not TOML: {error}.") from error


def check_options(kind: type, values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Check keys and types of option values against a dataclass; lists become tuples."""
    hints = typing.get_type_hints(kind)
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(f"{source}: {_unknown('key', name, hints)}")
        value = tuple(value) if isinstance(value, list) else value
        value = float(value) if hints[name] is float and type(value) is int else value
        if not _fits(value, hints[name]):
            is_choice = typing.get_origin(hints[name]) is typing.Literal
            choices = ", ".join(str(it) for it in typing.get_args(hints[name]) if it != "")
            shown = choices if is_choice else getattr(hints[name], "__name__", hints[name])
            if source == FLAGS:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} is {value!r}, expected {shown}.")
            raise ConfigError(f"{source}: '{name}' is {value!r}, expected {shown}.")
        checked[name] = value
    return checked


def options_to_dict(options: Any) -> dict[str, Any]:
    """Return options as plain JSON values, the way runs record them."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(options).items()
    }


def _fits(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in args
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, args[0]) for item in value)
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _unknown(kind: str, name: str, known: typing.Iterable[str]) -> str:
    return str(UnknownNameError(kind, name, known))
