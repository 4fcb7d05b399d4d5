"""A recipe: a whole experiment in one TOML file.

The document holds the tables as they are in the file; `serctl.config` checks the options in them.
"""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, ValidationError

from serctl.documents.base import Document, describe_errors
from serctl.errors import ConfigError
from serctl.options.files import read_toml

Table = dict[str, Any]


def _table(stage: str) -> Any:
    return Field(default_factory=dict, alias=stage, description=f"[options](options.md#{stage})")


class RecipeDocument(Document):
    """Options of every stage, and the models to train."""

    model_config = ConfigDict(strict=True)
    noun: ClassVar = "recipe"
    place: ClassVar = "<name>.toml"
    error: ClassVar = ConfigError

    title: str = Field(default="", description="one line for people")
    note: str = Field(default="", description="what a reader of the results must know")
    models: list[Table] = Field(
        default_factory=list, description="a table `[[models]]` per model: its own train options"
    )
    transcribe: Table = _table("transcribe")
    extract: Table = _table("extract")
    train: Table = _table("train")
    export_logits: Table = _table("export-logits")
    stack: Table = _table("stack")
    evaluate: Table = _table("evaluate")
    report: Table = _table("report")
    predict: Table = _table("predict")
    bundle: Table = _table("bundle")
    push: Table = _table("push")

    @classmethod
    def read_toml(cls, path: Path) -> "RecipeDocument":
        """Read a recipe.

        Raises:
            ConfigError: The file is missing, is not TOML, or holds an unknown key, a value of the
                wrong type or no models.
        """
        try:
            found = cls.model_validate(read_toml(path))
        except ValidationError as error:
            problem = describe_errors(cls, error.errors(include_url=False))
            raise cls.error(f"'{path}' {problem}") from error
        if not found.models:
            raise cls.error(
                f"Recipe '{path}' names no models. "
                f"Add one: [[models]] speech = ['whisper-large-v3']"
            )
        return found
