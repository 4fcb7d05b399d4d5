"""Names that are valid on every system, in spreadsheets and in shells."""

import csv
import io
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from serctl.errors import UsageError, guess

URL = re.compile(r"\b(https?|ftp|s3|gs):/+([^/].*)")
HUB = "https://huggingface.co/"
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows reserves for devices."""
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


def is_portable_name(name: str) -> bool:
    """Return whether a name is valid for files and folders on Linux, macOS and Windows.

    Example:
        >>> [is_portable_name(name) for name in ("wavlm-s0", "a:b", "../x", "con.x", "end.")]
        [True, False, False, False, False]
    """
    forbidden = FORBIDDEN.search(name) or name.endswith((".", " "))
    return bool(name) and not forbidden and not RESERVED.fullmatch(name)


SPECIAL = re.compile(r"[\s&;$`'()\[\]{}!]|^[-#~]")
"""What a shell reads in another way. Messages show commands with names in them."""
LONGEST_NAME = 150
"""Maximum bytes of a name. File systems allow 255, and temporary files add to it."""


def check_name(name: str) -> str:
    """Return the value of ``--name`` if it is a valid folder name on every system.

    Raises:
        UsageError: The name holds a slash, a blank or another forbidden character, or is reserved.
    """
    if not is_portable_name(name) or name.startswith("."):
        raise UsageError(
            f"--name '{name}' is not a valid file name. Expected a name without "
            f'< > : " / \\ | ? *, without a dot at either end, and not reserved such as CON.'
        )
    if found := SPECIAL.search(name):
        raise UsageError(
            f"--name '{name}' holds '{found[0]}', which a shell reads in another way. "
            f"Expected letters, digits and - _ . + @: --name {SPECIAL.sub('-', name).strip('-')}"
        )
    if (size := len(name.encode(errors="surrogateescape"))) > LONGEST_NAME:
        raise UsageError(f"--name '{name:.20}' has {size} bytes, expected at most {LONGEST_NAME}.")
    return name


def clean_name(name: str) -> str:
    """Return a name with a hyphen for what `check_name` refuses, except at its ends.

    Example:
        >>> clean_name("test-scores (1)")
        'test-scores--1-'
    """
    return SPECIAL.sub("-", FORBIDDEN.sub("-", name))


def guess_path(name: str) -> str:
    """Return a suggestion for a path that does not exist; '' if no name there is similar."""
    path = Path(name).expanduser()
    return guess(path.name, [neighbour.name for neighbour in path.parent.glob("*")])


def explain_url(path: Path | str) -> str:
    """Return that a path which does not exist is a URL, and what to type; '' if it is none.

    Example:
        >>> explain_url(Path("https://host.org/a.wav"))
        ' It is a URL, and serctl reads local files. Download it: curl -LO https://host.org/a.wav'
    """
    if not (found := URL.search(str(path))):
        return ""
    url = f"{found[1]}://{found[2]}"  # a path keeps one of its slashes
    remedy = f"Download it: curl -LO {shlex.quote(url)}"
    if url.startswith(HUB):
        remedy = f"For a bundle on the hub: hf:{'/'.join(url.removeprefix(HUB).split('/')[:2])}"
    elif found[1] in ("s3", "gs"):
        remedy = "Download it, and name the file."
    return f" It is a URL, and serctl reads local files. {remedy}"


def guard_cell(value: object) -> object:
    """Return a table cell that spreadsheets do not execute as a formula.

    Text that begins like a formula gets a leading apostrophe.

    Example:
        >>> guard_cell("=1+1"), guard_cell("plain"), guard_cell("-0.5")
        ("'=1+1", 'plain', '-0.5')
    """
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def join_cells(cells: Iterable[object]) -> str:
    r"""Return cells as a row of a CSV file, without its end.

    Before Python 3.13, ``csv.writer`` quotes only the line breaks that end its own rows, but a
    reader ends a row at any of them.

    Example:
        >>> join_cells(["a", "one, two", "so\roh"])
        'a,"one, two","so\roh"'
    """
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n")


def guard_path(path: str) -> str:
    """Return a relative path that is not read as a formula or as a flag.

    Example:
        >>> guard_path("-rf.wav"), guard_path("a.wav")
        ('./-rf.wav', 'a.wav')
    """
    return f"./{path}" if path.startswith(("=", "+", "-", "@")) else path
