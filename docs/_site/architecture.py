"""Write the table of rooms in docs/architecture.md: `python docs/_site/architecture.py`.

Floors come from tests/test_architecture.py, arrows from the imports of the code, and the last
column from the first sentence of each docstring.
"""

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "serctl"
PAGE = ROOT / "docs" / "architecture.md"
MARKED = re.compile(r"(?<=<!-- rooms -->\n\n).*?(?=\n\n<!-- end of rooms -->)", re.DOTALL)


def describe_page() -> str:
    """Return the page with a fresh table."""
    table = "\n".join(describe_rooms())
    return MARKED.sub(lambda _: table, PAGE.read_text(encoding="utf-8"))


def describe_rooms() -> Iterator[str]:
    """Yield the lines of the table, from the highest floor down."""
    floors = runpy.run_path(str(ROOT / "tests" / "test_architecture.py"))["FLOORS"]
    yield "| Floor | Room | Content | Imports |"
    yield "|---:|---|---|---|"
    for room, floor in sorted(floors.items(), key=lambda item: -item[1]):
        arrows = sorted(find_arrows(room) & set(floors), key=lambda name: (-floors[name], name))
        imports = ", ".join(f"`{name}`" for name in arrows)
        yield f"| {floor} | `{room}/` | {read_summary(room)} | {imports} |".replace("|  |", "| |")


def find_arrows(room: str) -> set[str]:
    """Return the other rooms that the modules of a room import from."""
    found = set()
    for path in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("serctl."):
                found.add(str(node.module).split(".")[1])
    return found - {room}


def read_summary(room: str) -> str:
    """Return the first line of a room's docstring."""
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").splitlines()[0]


if __name__ == "__main__":
    PAGE.write_text(describe_page(), encoding="utf-8")
