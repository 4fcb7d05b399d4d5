"""JSON documents with a checksum of their bytes, which detects a single flipped bit."""

import json
import re
from collections.abc import Mapping
from typing import Any

import google_crc32c

from serctl.errors import CacheError

CHECKSUM = "document_crc32c"
_FIELD = re.compile(rb'"document_crc32c": "([^"]{8})"')
_BLANK = b"0" * 8


def dump_checksummed(document: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    """Return a document as JSON bytes with their CRC-32C in its field ``document_crc32c``.

    The checksum is computed with eight zeros in its field. The field is in ``attributes`` if the
    document has them (Zarr allows no other additional field), else at the top level.
    """
    blank = {CHECKSUM: _BLANK.decode()}
    if "attributes" in document:
        document = {**document, "attributes": {**blank, **document["attributes"]}}
    else:
        document = {**blank, **document}
    text = json.dumps(document, indent=indent, separators=(",", ": "), ensure_ascii=False) + "\n"
    data = text.encode()
    return _FIELD.sub(b'"document_crc32c": "%08x"' % google_crc32c.value(data), data, count=1)


def load_checksummed(data: bytes, name: object) -> dict[str, Any]:
    """Return the document in the bytes of `dump_checksummed`.

    Args:
        data: Bytes of the document.
        name: Name of the document in error messages.

    Raises:
        CacheError: A byte has changed.
    """
    verify_checksum(data, name)
    document: dict[str, Any] = json.loads(data)
    return document


def verify_checksum(data: bytes, name: object) -> None:
    """Check bytes against their checksum without parsing, which takes 20 times as long.

    Raises:
        CacheError: A byte has changed.
    """
    field = _FIELD.search(data)
    if field:
        blank = data[: field.start(1)] + _BLANK + data[field.end(1) :]
        if field[1] == b"%08x" % google_crc32c.value(blank):
            return
    raise CacheError(f"'{name}' is damaged: its checksum differs. Run: serctl cache verify")
