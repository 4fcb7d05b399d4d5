"""Files that hold options: recipes, ``--config`` files and the recorded options of a run."""

import json
import tomllib
from pathlib import Path
from typing import Any

from serctl.errors import ConfigError, UnknownNameError, first_few
from serctl.files import read_file

RECIPES = Path(__file__).parents[1] / "recipes"


def find_recipe(name: str) -> Path:
    """Return the file of a shipped recipe (``small``) or of a path.

    Raises:
        UnknownNameError: There is no such recipe and no such file.
    """
    shipped = {path.stem: path for path in RECIPES.glob("*.toml")}
    if name not in shipped and not Path(name).is_file():
        raise UnknownNameError("recipe", name, shipped, "Or give the path of a TOML file.")
    return shipped.get(name, Path(name))


def read_config(path: Path, stage: str, *, required: bool = False) -> dict[str, Any]:
    """Read the table of one stage from a TOML recipe or from a run's ``config.json``.

    The file is read once, because it may be a pipe. A recipe need not name every stage.

    Raises:
        ConfigError: The file is not readable, or the table is malformed, or ``required`` and not
            there.
    """
    if path.suffix == ".json":
        try:
            document = json.loads(read_file(path).decode())
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"'{path}' is not a readable JSON file: {error}.") from error
        options = document.get("options") if isinstance(document, dict) else None
        if not isinstance(options, dict):
            raise ConfigError(f"'{path}' is not the config.json of a run: it has no 'options'.")
        return options
    document = read_toml(path)
    if required and stage not in document:
        raise ConfigError(
            f"'{path}' has no table [{stage}]; it holds {first_few(document) or 'nothing'}. "
            f"Write the options below a line [{stage}]."
        )
    table = document.get(stage, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: '{stage}' is {table!r}, expected a table: [{stage}].")
    return table


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: The file does not exist or is not TOML.
    """
    try:
        return tomllib.loads(read_file(path).decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"'{path}' is not TOML: {error}.") from error
