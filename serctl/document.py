"""Reading, validation and writing of documents.

A document is a pydantic model. The order of its fields is the order of the keys on disk, and the
description of a field is its row in ``docs/formats.md``. Optional fields that were not set are not
written, so a document that is read and written again has the same bytes.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from serctl.errors import SerctlError, guess, show_value
from serctl.files import read_file, write_json
from serctl.hashes import hash_document
from serctl.options.files import read_toml

HASH_FIELD = "document_hash"
"""Optional field with the hash of the other fields. It detects accidental changes of labels,
orders and numbers, which would otherwise be read as valid."""


UPDATE = "A newer serctl wrote it: pip install --upgrade serctl"
"""Next command for a file of a newer format. To make the file again would lose it."""


def hash_field() -> Any:
    """Return the definition of the field `HASH_FIELD` of a document."""
    return Field(default="", description="hash of all other fields; earlier versions wrote none")


class Section(BaseModel):
    """A JSON object inside a document. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Section):
    """The content of a file.

    A subclass whose first field is ``serctl_<something>`` has a format version. Another version is
    refused before any other field is checked.

    Attributes:
        noun: Name of the document in error messages.
        place: Path of the file below the project folder, for the documentation.
        error: Class of all errors about this document.
        hint: Next command, for error messages.
    """

    noun: ClassVar[str]
    place: ClassVar[str]
    error: ClassVar[type[SerctlError]]
    hint: ClassVar[str] = ""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a file.

        Raises:
            SerctlError: The file is missing, is not JSON, has another format version, a field is
                missing, unknown or of another type, or its `HASH_FIELD` is of other values. The
                class of the error is ``error``.
        """
        try:
            return cls.parse(read_file(path), path)
        except FileNotFoundError:
            raise cls.error(f"'{path}' does not exist. {cls.hint}".rstrip()) from None
        except OSError as error:
            raise cls.error(f"'{path}' cannot be read: {error.strerror}.") from error

    @classmethod
    def parse(cls, content: bytes, source: object) -> Self:
        """Check the bytes of a file; ``source`` names it in the error. See `read`."""
        try:
            # Strict: the text "3" is not a number. An int is accepted as a float.
            document = cls.model_validate_json(content, strict=True)
        except ValidationError as error:
            problem = describe_errors(cls, error.errors(include_url=False))
            hint = "" if problem.endswith(UPDATE) else cls.hint
            raise cls.error(f"'{source}' {problem} {hint}".rstrip()) from error
        # Files of earlier versions have no hash.
        known = getattr(document, HASH_FIELD, "")
        if known and known != _hash_values(json.loads(content)):
            changed = f"was changed since serctl wrote it: its values differ from its {HASH_FIELD}."
            raise cls.error(f"'{source}' {changed} {cls.hint}".rstrip())
        return document

    @classmethod
    def read_toml(cls, path: Path) -> Self:
        """Read and check a TOML file; see `read`."""
        values = json.dumps(read_toml(path), default=str)  # a date of TOML is no JSON
        return cls.parse(values.encode(), path)

    def write(self, path: Path) -> None:
        """Write the document atomically as indented JSON, with a hash if it has the field."""
        values = self.to_dict()
        if HASH_FIELD in type(self).model_fields:
            values[HASH_FIELD] = _hash_values(values)
        write_json(path, values)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys and values of the file, without optional fields that were not set."""
        return self.model_dump(exclude_unset=True)


def _hash_values(values: dict[str, Any]) -> str:
    return hash_document({name: one for name, one in values.items() if name != HASH_FIELD})


def version_field(kind: type[Document]) -> str:
    """Return the name of the field that holds the format version; '' if there is none."""
    first = next(iter(kind.model_fields))
    return first if first.startswith("serctl_") else ""


def describe_errors(kind: type[Document], errors: list[ErrorDetails]) -> str:
    """Return the sentence that follows the file's name: version, or field, value, expectation."""
    version = version_field(kind)
    for found in errors:
        if version and found["loc"] == (version,):
            (known,) = kind.model_fields[version].annotation.__args__  # type: ignore[union-attr]
            number = None if found["type"] == "missing" else found["input"]
            newer = isinstance(number, int) and number > known
            refused = f"has {kind.noun} format {number!r}, but this serctl reads {known}."
            return f"{refused} {UPDATE}" if newer else refused
    first, rest = errors[0], len(errors) - 1
    more = f" ({rest} more like this.)" if rest else ""
    return f"{_describe_error(kind, first)}{more}"


def _describe_error(kind: type[Document], found: ErrorDetails) -> str:
    field, message = _name_field(found["loc"]), found["msg"]
    match found["type"]:
        case "json_invalid":
            return f"is not JSON: {message.removeprefix('Invalid JSON: ')}."
        case "missing":
            return f"lacks the field '{field}'."
        case "extra_forbidden" | "unexpected_keyword_argument":
            *places, name = found["loc"]
            near = guess(str(name), _list_fields(kind, places))
            return f"has the unknown field '{field}'.{near}"
        case "value_error":  # raised by serctl's validators, which name field and expectation
            return f"is wrong in {field}: {str(found['ctx']['error']).removesuffix('.')}."
        case "string_too_short":
            expected = "expected text that is not empty"
        case _:
            expected = f"expected {message.removeprefix('Input should be ')}"
            if kind.place.endswith(".toml"):
                expected = expected.replace("an object", "a table")
    if not field:
        return f"is not a valid {kind.noun}: {expected}."
    return f"has the value {show_value(found['input'])} in '{field}', {expected}."


def _list_fields(kind: type[Section], places: Sequence[int | str]) -> list[str]:
    """Return the fields of the section at a place in a document; [] if it holds other keys."""
    for place in places:
        field = kind.model_fields.get(str(place))
        if field is None or not isinstance(field.annotation, type(Section)):
            return []
        kind = field.annotation
    return [field.alias or name for name, field in kind.model_fields.items()]


def _name_field(places: tuple[int | str, ...]) -> str:
    """Return the path of a field in a document as text.

    Example:
        >>> _name_field(("branches", 0, "key", "layer"))
        'branches[0].key.layer'
    """
    name = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in places)
    return repr(name)[1:-1].removeprefix(".")  # escape line breaks in keys
