"""Output of `serctl predict --every`: timelines as a table, files of several formats or a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from serctl.cli import console
from serctl.cli.prediction_checks import check_names
from serctl.config import Workspace
from serctl.errors import UsageError, count
from serctl.files import write_atomic
from serctl.options import PredictOptions

if TYPE_CHECKING:
    from serctl.stages.timeline import RecordingTimelines, TimelinesResult

PICTURE_HEIGHT, COURSE_HEIGHT, LINE_HEIGHT = 480, 470, 38
"""Heights in pixels: the page without figures, one figure, one line of the transcript."""
TALLEST = 8000


def show_timelines(
    workspace: Workspace | None,
    options: PredictOptions,
    form: str,
    output: Path | None,
    plot: Path | None,
) -> None:
    """Predict over time, write the timelines and plots, and report skipped recordings."""
    from serctl.stages.timeline import predict_timelines

    result = predict_timelines(workspace, options, progress=console.progress)
    if form == "textgrid":
        write_textgrids(result, output)
    else:
        write_text(format_timelines(result, form), output)
    for recording in result.recordings if plot else ():
        write_plot(recording, options, result, name_plot(plot, recording))
    for note in result.notes:
        console.say(note)
    for name, reason in result.failures:
        console.say(f"Left out: {name}: {reason}")
    seconds = sum(recording.seconds for recording in result.recordings)
    recordings = count(len(result.recordings), "recording")
    console.say(f"{recordings} ({seconds:,.1f} s of audio) in {result.seconds:,.1f} s")
    if result.failures:
        raise typer.Exit(3)


def format_timelines(result: "TimelinesResult", form: str) -> str:
    """Return all timelines in a format of one file."""
    from serctl.stages.timeline import list_timelines
    from serctl.timeline import formats

    write = {
        "csv": formats.to_csv,
        "jsonl": formats.to_jsonl,
        "rttm": formats.to_rttm,
        "table": lambda timelines: formats.to_table(timelines) + "\n",
    }
    return write[form](list(list_timelines(result)))


def write_text(text: str, output: Path | None) -> None:
    """Write to a file, or to stdout."""
    if output is None:
        console.write_out(text)
        return
    with write_atomic(output) as file:
        file.write(text)
    console.say(f"Wrote {output}.")


def write_textgrids(result: "TimelinesResult", output: Path | None) -> None:
    """Write a TextGrid for each recording into a folder. A single one may go to stdout."""
    from serctl.timeline.formats import to_textgrid

    for recording in result.recordings:
        path = output / f"{recording.path.stem}.TextGrid" if output else None
        write_text(to_textgrid(recording.timelines), path)


def check_plot(plot: Path, paths: Sequence[Path]) -> None:
    """Check, before prediction, that a plot can be written.

    Raises:
        UsageError: The suffix belongs to no format, one file is given for several recordings, or
            two recordings have the same name.
        SerctlError: A package for plots is not installed.
    """
    if plot.suffix not in (".html", ".png", ""):
        raise UsageError(f"--plot '{plot}': expected FILE.html, FILE.png, or a folder.")
    if plot.suffix and len(paths) > 1:
        raise UsageError(f"{len(paths)} recordings need a folder: --plot {plot.with_suffix('')}")
    check_names("html", paths)
    from serctl.page.packages import check_report_packages

    check_report_packages()


def name_plot(plot: Path | None, recording: "RecordingTimelines") -> Path:
    """Return the file for the plot of a recording."""
    assert plot is not None
    return plot if plot.suffix else plot / f"{recording.path.stem}.html"


def write_plot(
    recording: "RecordingTimelines", options: PredictOptions, result: "TimelinesResult", path: Path
) -> None:
    """Write the page of a recording, or a picture of it."""
    from serctl.page.picture import take_picture
    from serctl.page.timeline import TimelinePage, render_timeline

    page = TimelinePage(
        recording.timelines, recording.sound, options.every, options.window, result.notes
    )
    if path.suffix == ".png":
        lines = sum(len(timeline.transcript) for timeline in recording.timelines)
        height = PICTURE_HEIGHT + COURSE_HEIGHT * len(recording.timelines) + LINE_HEIGHT * lines
        take_picture(render_timeline(page, scheme="light"), path, height=min(height, TALLEST))
        console.say(f"Wrote {path}.")
        return
    write_text(render_timeline(page), path)
