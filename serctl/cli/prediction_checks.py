"""Checks of the output of `serctl predict`, before the first network is loaded."""

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from serctl.data.textgrid import is_unchanged
from serctl.errors import UsageError
from serctl.timeline.formats import name_in_rttm

if TYPE_CHECKING:
    from serctl.data.recordings import Recording

STARTS = {"csv": b"audio,", "jsonl": b'{"audio": ', "rttm": b"SPEAKER ", "table": b"audio"}
"""First bytes of the files that `serctl predict` writes, by form."""


def check_output(
    form: str,
    recordings: Sequence["Recording"],
    output: Path | None,
    files: Sequence[Path] = (),
) -> None:
    """Check that the output fits the recordings and replaces no file of the user.

    Args:
        form: Of the predictions.
        recordings: To predict.
        output: File or folder to write.
        files: Other files that are read.

    Raises:
        UsageError: Several TextGrids have no folder, two have the same name, rows of a table are
            not in order, ``output`` is a folder where a file is needed, or it would replace a file
            that is read, a file of another program, or a TextGrid that was edited.
    """
    paths = list(dict.fromkeys(one.path for one in recordings))
    if form in ("rttm", "textgrid"):
        check_names(form, paths)
    if form != "textgrid":
        if output and output.is_dir():
            raise UsageError(f"--output '{output}' is a folder, expected a file.")
        if output and any(is_same_file(output, path) for path in (*paths, *files)):
            raise UsageError(f"--output '{output}' would replace an input. Name another file.")
        if output and output.is_file() and not _begins_like(form, output):
            raise UsageError(
                f"--output '{output}' would replace a file that predict did not write as {form}. "
                f"Name another file, or delete it."
            )
        return
    if output is None and len(paths) > 1:
        raise UsageError(f"{len(paths)} TextGrids need a folder: --output DIR")
    if output and (output.is_file() or output.suffix.lower() == ".textgrid"):
        raise UsageError(f"--output '{output}' names a file, expected a folder for TextGrids.")
    for path in paths if output else ():
        old = output / path.with_suffix(".TextGrid").name  # type: ignore[operator]
        if old.exists() and not _is_predicted(old):
            raise UsageError(
                f"--output '{output}' would replace '{old}', which predict did not write, or which "
                f"was edited since. Name another folder."
            )
    places = {path: i for i, path in enumerate(paths)}
    for one, then in pairwise(recordings):
        overlap = one.path == then.path and (one.end is None or then.start < one.end)
        if overlap or places[then.path] < places[one.path]:
            raise UsageError(
                f"A TextGrid has intervals one after the other, and '{then.name}' comes after "
                f"'{one.name}'. Sort the table by path and start, or take --format csv"
            )


def check_names(form: str, paths: Sequence[Path]) -> None:
    """Check that recordings have different names in the output.

    Raises:
        UsageError: Two of them would be one.
    """
    name_of = name_in_rttm if form == "rttm" else attrgetter("stem")
    names: dict[str, Path] = {}
    for path in paths:
        if (other := names.setdefault(name_of(path), path)) != path:
            raise UsageError(
                f"'{other}' and '{path}' have the same name in {form}, '{name_of(path)}'. Predict "
                f"them in two commands."
            )


def is_same_file(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one existing file."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _begins_like(form: str, path: Path) -> bool:
    """Return whether a file is empty or begins like predictions of a form."""
    try:
        with path.open("rb") as file:
            begun = file.read(len(STARTS[form]))
    except OSError:
        return True  # writing it names the reason
    return not begun or begun == STARTS[form]


def _is_predicted(path: Path) -> bool:
    """Return whether a file is a TextGrid of ``predict`` that nobody edited."""
    try:
        return is_unchanged(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
