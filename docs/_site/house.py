"""Measure a checkout's code: the table 'Before and after' of `docs/architecture.md`.

    python docs/_site/house.py [FOLDER ...]

A function's length is its lines from ``def`` to its last one, docstring included. The comment share
is that of lines with a comment among the lines that are neither blank nor inside a docstring. Reads
by key are subscripts with a constant string that are read and not assigned, ``x["key"]``, without
those of columns of tables in `serctl/data` and of JSON in the benchmarks.
"""

import ast
import io
import sys
import tokenize
from pathlib import Path
from statistics import median

HEADER = (
    "Code of `serctl/`",
    "files",
    "lines",
    "longest module",
    "median function",
    "longest function",
    "comments",
    'reads by `["key"]`',
)


def measure(folder: Path) -> tuple[str, ...]:
    """Return the cells of a row, in the order of `HEADER` without the name."""
    lines = longest = comments = code = keys = 0
    lengths: list[int] = []
    paths = sorted(folder.rglob("*.py"))
    for path in paths:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        lines += text.count("\n")
        longest = max(longest, text.count("\n"))
        documented: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths.append((node.end_lineno or node.lineno) - node.lineno + 1)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            if (
                isinstance(node, ast.Subscript)
                and isinstance(node.ctx, ast.Load)
                and isinstance(node.slice, ast.Constant)
                and isinstance(node.slice.value, str)
                and not is_type(node.value)
                and path.relative_to(folder).parts[0] != "data"
            ):
                keys += 1
        counted = set()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                comments += 1
            if token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
                counted.update(range(token.start[0], token.end[0] + 1))
        code += len(counted - documented)
    counts = (len(paths), lines, longest, round(median(lengths)), max(lengths))
    return (*(f"{count:,}" for count in counts), f"{comments / code:.1%}", str(keys))


def is_type(node: ast.expr) -> bool:
    """Return whether a name is that of a type: in ``Iterator["Row"]`` nothing is read."""
    return isinstance(node, ast.Name) and node.id[0].isupper() and not node.id.isupper()


if __name__ == "__main__":
    rows = [HEADER, ("---",) + ("---:",) * (len(HEADER) - 1)]
    rows += [(name, *measure(Path(name) / "serctl")) for name in sys.argv[1:] or ["."]]
    sys.stdout.writelines(f"| {' | '.join(row)} |\n" for row in rows)
