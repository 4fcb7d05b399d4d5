"""A recipe: a whole experiment in one TOML file."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from serctl.project import StageTables, TomlTable


class RecipeDocument(StageTables):
    """Options of every stage, and the models to train."""

    noun: ClassVar = "recipe"
    place: ClassVar = "<name>.toml"

    title: str = Field(default="", description="title in one line")
    note: str = Field(default="", description="note for readers of the results")
    models: list[TomlTable] = Field(
        default_factory=list, description="a table `[[models]]` per model with its train options"
    )

    @classmethod
    def read_toml(cls, path: Path) -> "RecipeDocument":
        """Read a recipe.

        Raises:
            ConfigError: The file is missing, is not TOML, or holds an unknown key, a value of the
                wrong type or no models.
        """
        found = super().read_toml(path)
        if not found.models:
            raise cls.error(
                f"Recipe '{path}' names no models. "
                f"Add one: [[models]] speech = ['whisper-large-v3']"
            )
        return found
