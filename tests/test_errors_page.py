"""docs/errors.md quotes real messages of serctl."""

import ast
import re
from pathlib import Path

import pytest

import serctl

ROOT = Path(__file__).resolve().parents[1]


def quotes() -> list[str]:
    """Return the messages in the first column of the page's tables."""
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [quote for cell in cells for quote in re.findall(r"`(.*?)`", cell)]


@pytest.fixture(scope="module")
def messages() -> str:
    """Return every string of the package as the parser joins it, what is put in as {…}."""
    found = []
    for path in Path(serctl.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(
                        str(part.value)
                        if isinstance(part, ast.Constant)
                        else f"{{{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
                        for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_the_page_has_tables() -> None:
    assert len(quotes()) > 20


@pytest.mark.parametrize("quote", quotes())
def test_serctl_says_so(quote: str, messages: str) -> None:
    assert quote in messages


def test_no_message_names_a_page_that_a_wheel_lacks(messages: str) -> None:
    assert not re.findall(r"(?<!`)docs/[a-z-]+\.md", messages)  # docstrings quote them in ``
