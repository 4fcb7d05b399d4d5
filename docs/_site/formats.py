"""Write docs/formats.md from the documents of serctl.documents: `python docs/_site/formats.py`."""

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from serctl.cache.header import StoreHeader
from serctl.data.transcripts import TranscriptsSidecar
from serctl.document import Document
from serctl.documents.bundle import BundleDocument
from serctl.documents.layers import LayersDocument
from serctl.documents.logits import LogitsSidecar
from serctl.documents.recipe import RecipeDocument
from serctl.documents.report import Report
from serctl.documents.run import EpochRecord, RunConfig, RunSummary
from serctl.documents.stacker import StackerDocument
from serctl.options import TrainOptions
from serctl.project import ProjectDocument

PAGE = Path(__file__).parents[1] / "formats.md"
DOCUMENTS: dict[str, type[Document]] = {
    "Config of a run": RunConfig,
    "Metrics of a run": EpochRecord,
    "Summary of a run": RunSummary,
    "Sidecar of logits": LogitsSidecar,
    "Stacker": StackerDocument,
    "Report": Report,
    "Comparison of layers": LayersDocument,
    "Bundle": BundleDocument,
    "Recipe": RecipeDocument,
    "Project file": ProjectDocument,
    "Header of a store": StoreHeader,
    "Sidecar of transcripts": TranscriptsSidecar,
}
INTRODUCTION = """\
# File formats

<!-- Made by `make docs` from serctl/documents/. Do not edit. -->

The documents that the commands write and read. All are JSON in UTF-8, except recipes and
serctl.toml, which are TOML. A document of another format version, with an unknown field, or with a
value of the wrong type is refused with an error that names the file, the field and the value.
Documents that keep unknown fields say so. An optional field may be absent.

[Feature cache](cache.md) describes the stores of frames, [Manifest](manifest.md) the table of
utterances, and [Stacking](stacking.md) the columns of logits.
"""
TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any value"}


def describe_page() -> str:
    """Return the page: a section for each document, a table for each object in it."""
    sections = [INTRODUCTION]
    for title, kind in DOCUMENTS.items():
        sections += [f"## {title}\n", f"{describe_place(kind)} {describe_policy(kind)}\n"]
        for part in find_parts(kind):
            sections += [] if part is kind else [f"### {name_part(kind, part)}\n"]
            sections.append("\n".join(describe_table(kind, part)) + "\n")
    return "\n".join(sections)


def describe_place(kind: type[Document]) -> str:
    """Return the path or paths of a document as code."""
    return f"`{kind.place.replace(', ', '`, `')}`."


def describe_policy(kind: type[Document]) -> str:
    """Return the summary of a document, and whether it keeps unknown fields."""
    summary = str(kind.__doc__).splitlines()[0].replace("``", "`")
    summary = summary.split("; ")[0].removesuffix(".")
    keeps = kind.model_config.get("extra") == "allow"
    return f"{summary}. Unknown fields are {'kept' if keeps else 'refused'}."


def find_parts(kind: type) -> list[type]:
    """Return a document and every object in it, once, in the order of first use."""
    found = [kind]
    for part in found:  # grows while it is read
        for hint, _, _ in list_fields(part):
            found += [inner for inner in classes_of(hint) if inner not in found]
    return found


def list_fields(part: type) -> list[tuple[Any, str, str]]:
    """Return type, name and meaning of the fields of a pydantic model or a dataclass."""
    if issubclass(part, BaseModel):
        fields = part.model_fields.items()
        return [
            (
                field.annotation,
                field.alias or name,
                f"{field.description}{'' if field.is_required() else '; optional'}",
            )
            for name, field in fields
        ]
    hints = typing.get_type_hints(part)
    text = str(part.__doc__).partition("Attributes:")[2]
    meanings = dict(re.findall(r"^ {8}(\w+): (.+(?:\n {10,}.+)*)", text, re.MULTILINE))
    return [
        (hints[field.name], field.name, to_cell(meanings.get(field.name, "")))
        for field in dataclasses.fields(part)
    ]


def to_cell(text: str) -> str:
    """Return a meaning of a docstring as a table's cell."""
    return " ".join(text.split()).replace("``", "`").removesuffix(".").replace("|", "\\|")


def classes_of(hint: Any) -> Iterator[type]:
    """Yield the objects in a type; the options have a page of their own."""
    if isinstance(hint, type) and hint is not TrainOptions:
        if issubclass(hint, BaseModel) or dataclasses.is_dataclass(hint):
            yield hint
        return
    for inner in typing.get_args(hint):
        yield from classes_of(inner)


def describe_table(kind: type, part: type) -> Iterator[str]:
    """Yield the lines of a table of fields."""
    yield "| Field | Type | Meaning |"
    yield "|---|---|---|"
    for hint, name, meaning in list_fields(part):
        yield f"| `{name}` | {name_type(kind, hint)} | {meaning} |"


def name_type(kind: type, hint: Any) -> str:
    """Return a type in words; an object is a link to its table."""
    if hint is TrainOptions:
        return "[options](options.md#train)"
    if hint in TYPES:
        return TYPES[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return name_type(kind, arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments if value != "")
    if origin in (types.UnionType, typing.Union):
        inner = [name_type(kind, one) for one in arguments if one is not type(None)]
        return " or ".join([*inner, "null"] if type(None) in arguments else inner)
    if origin is dict:
        if arguments[1] is Any:
            return "object of any values"
        return f"object: {name_type(kind, arguments[1])} by name"
    if origin in (tuple, list):
        fixed = len(arguments) if origin is tuple and arguments[-1] is not Ellipsis else 0
        return f"list of {f'{fixed} × ' * bool(fixed)}{name_type(kind, arguments[0])}"
    title = name_part(kind, hint)
    anchor = re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
    return f"[{title.partition(': ')[2]}](#{anchor})"


def name_part(kind: type, part: type) -> str:
    """Return the heading of an object inside a document."""
    title = next(title for title, document in DOCUMENTS.items() if document is kind)
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", part.__name__).lower()
    return f"{title}: {words}"


if __name__ == "__main__":
    PAGE.write_text(describe_page(), encoding="utf-8")
