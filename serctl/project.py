"""The project file `serctl.toml` as a document, and the tables that it shares with recipes."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from serctl.document import Document, Section
from serctl.errors import ConfigError
from serctl.workspace import PATHS, PROJECT_FILE, Workspace

TomlTable = dict[str, Any]


def _table(stage: str) -> Any:
    return Field(default_factory=dict, alias=stage, description=f"[options](options.md#{stage})")


def _path(name: str) -> Any:
    meaning = str(getattr(Workspace, name).__doc__).removesuffix(".").replace("``", "`")
    shown = f"{meaning}; default `{PATHS[name]}`"
    return Field(default=PATHS[name], min_length=1, description=shown)


class StageTables(Document):
    """Options of the stages of a recipe, as they are in the file; `serctl.config` checks them."""

    error: ClassVar = ConfigError

    transcribe: TomlTable = _table("transcribe")
    extract: TomlTable = _table("extract")
    train: TomlTable = _table("train")
    export_logits: TomlTable = _table("export-logits")
    stack: TomlTable = _table("stack")
    evaluate: TomlTable = _table("evaluate")
    report: TomlTable = _table("report")
    predict: TomlTable = _table("predict")
    bundle: TomlTable = _table("bundle")
    push: TomlTable = _table("push")


class Paths(Section):
    """Places of files and folders, relative to serctl.toml."""

    manifest: str = _path("manifest")
    transcripts: str = _path("transcripts")
    cache: str = _path("cache")
    runs: str = _path("runs")
    stackers: str = _path("stackers")
    reports: str = _path("reports")


class LabelOrder(Section):
    """The order of the emotions."""

    order: tuple[str, ...] = Field(default=(), description="emotions in the order of the logits")

    @field_validator("order")
    @classmethod
    def _settle(cls, order: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names in lower case."""
        names = tuple(name.strip().lower() for name in order)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected each emotion once, '{twice[0]}' is there twice")
        return names


class ProjectDocument(StageTables):
    """The places of a project and its own defaults of options."""

    noun: ClassVar = "project file"
    place: ClassVar = PROJECT_FILE

    paths: Paths = Field(default_factory=Paths, description="places of files and folders")
    weights: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict, description="folder of the weights, by encoder"
    )
    labels: LabelOrder = Field(default_factory=LabelOrder, description="order of the emotions")
    layers: TomlTable = _table("layers")
    space: TomlTable = _table("space")
    serve: TomlTable = _table("serve")
    slurm: TomlTable = _table("slurm")

    def list_tables(self) -> dict[str, TomlTable]:
        """Return the tables of the stages that the file has."""
        own = {"paths", "weights", "labels"}
        return self.model_dump(by_alias=True, exclude_unset=True, exclude=own)
