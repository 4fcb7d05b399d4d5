"""The project file `serctl.toml` and the precedence of options.

Lowest to highest: defaults (the dataclasses of `serctl.options`), ``serctl.toml``, recipe,
``--config`` file, flags.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from serctl.errors import ConfigError
from serctl.options.check import check_options, check_together, read_recipe
from serctl.options.files import read_config
from serctl.options.idle import check_idle
from serctl.options.option import FLAGS
from serctl.workspace import PROJECT_FILE, Workspace

Options = TypeVar("Options")
Layer = tuple[str, dict[str, Any]]
"""Origin of option values, and the values."""


def open_workspace(start: Path | str | None = None) -> Workspace:
    """Find `serctl.toml` in ``start`` (default: the working directory) or a parent and read it.

    Raises:
        ConfigError: There is no project file, or it holds an unknown table or key.
    """
    start = Path(start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return read_workspace(folder / PROJECT_FILE)
    raise ConfigError(
        f"No {PROJECT_FILE} in '{start}' or a folder above it. "
        f"Make one with: serctl init --corpus NAME --root DIR"
    )


def find_workspace(start: Path | str | None = None) -> Workspace | None:
    """Return the project, or None if there is none. If ``start`` is given, it must have one.

    Raises:
        ConfigError: ``start`` is given and has no project, or the project file is malformed.
    """
    here = Path.cwd()
    there = any((folder / PROJECT_FILE).is_file() for folder in (here, *here.parents))
    return open_workspace(start) if there or start is not None else None


def _resolve(root: Path, text: str) -> Path:
    """Return a path of a project file, which is relative to ``root`` or begins with ``~``."""
    try:
        return root / Path(text).expanduser()
    except RuntimeError as error:  # ~NAME of an unknown user
        raise ConfigError(f"'{text}' in '{root / PROJECT_FILE}': {error}") from error


def read_workspace(path: Path | str) -> Workspace:
    """Read a project file; see `open_workspace`."""
    from serctl.project import ProjectDocument  # late: pydantic would make --help slower

    path = Path(path)
    found, root = ProjectDocument.read_toml(path), path.parent
    return Workspace(
        root=root,
        paths={name: _resolve(root, value) for name, value in found.paths},
        weights={name: _resolve(root, value) for name, value in found.weights.items()},
        label_order=found.labels.order,
        tables=found.list_tables(),
    )


def resolve_options(
    kind: type[Options],
    stage: str,
    /,  # an option may have the name of an argument: TrainOptions.kind
    workspace: Workspace | None = None,
    config: Path | str | None = None,
    needs_table: bool = False,
    **flags: Any,
) -> Options:
    """Return the options of a stage, merged from all sources.

    Lowest to highest: defaults, serctl.toml, recipe, ``config``, ``flags`` that are not None. A
    recipe that serctl.toml names has a lower precedence than the other keys of its table. Only one
    recipe is read: the one that the highest source names.

    Args:
        kind: Dataclass of the options.
        stage: Name of their table.
        workspace: Project whose serctl.toml is read.
        config: TOML file with a table of the stage, or the ``config.json`` of a run.
        needs_table: Whether a TOML file without the table is an error. Recipes need not have all.
        flags: Values of the command line; None is a flag that was not given.

    Raises:
        ConfigError: A key is unknown, or a value has the wrong type or is out of range.
        UsageError: The same, for a flag.
    """
    stated = workspace.tables.get(stage, {}) if workspace else {}
    layers = [(PROJECT_FILE, check_options(kind, stated, PROJECT_FILE))]
    if config is not None:
        found = read_config(Path(config), stage, required=needs_table)
        layers.append((str(config), check_options(kind, found, str(config))))
    given = {name: value for name, value in flags.items() if value is not None}
    layers.append((FLAGS, check_options(kind, given, FLAGS)))
    layers = _insert_recipe(kind, stage, layers)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        values |= layer
        sources |= dict.fromkeys(layer, source)
    defaults = {item.name: item.default for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = defaults | values
    check_together(
        kind, values, lambda *names: next((sources[n] for n in names if n in sources), PROJECT_FILE)
    )
    check_idle(kind, values, given, FLAGS, sources)
    return kind(**values)


def _insert_recipe(kind: type, stage: str, layers: list[Layer]) -> list[Layer]:
    """Return the sources with the recipe that the last of them names."""
    naming = [i for i, (_, layer) in enumerate(layers) if layer.get("recipe")]
    if not naming:
        return layers
    source, top = layers[naming[-1]]
    if source.endswith(".json"):  # a run records all options, so its recipe is not needed
        return layers
    at = 0 if naming[-1] == 0 else 1
    name = top["recipe"]
    return [*layers[:at], (f"recipe '{name}'", read_recipe(kind, stage, name)), *layers[at:]]


def lay_over(options: Options, values: Mapping[str, Any], source: str) -> Options:
    """Return options with some values replaced. They are checked like the values of a file.

    Raises:
        ConfigError: A key is unknown, or a value has the wrong type or is out of range.
    """
    kind = type(options)
    checked = check_options(kind, values, source)
    values = vars(options) | checked
    check_together(kind, values, lambda *names: source)
    check_idle(kind, values, checked, source, dict.fromkeys(checked, source))
    return dataclasses.replace(options, **checked)  # type: ignore[type-var]


def options_to_dict(options: Any) -> dict[str, Any]:
    """Return options as plain JSON values, the way runs record them."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(options).items()
    }
