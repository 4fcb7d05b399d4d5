"""Output of `serctl predict --every`: timelines as a table, files of several formats or a page."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from serctl.cli import console
from serctl.cli.prediction_checks import check_names
from serctl.cli.predictions import SECONDS, open_lines, write_textgrid
from serctl.config import Workspace
from serctl.errors import UsageError, count
from serctl.files import write_atomic
from serctl.options import PredictOptions
from serctl.progress import Progress

if TYPE_CHECKING:
    from serctl.stages.timeline import RecordingTimelines
    from serctl.timeline.course import Timeline

Write = Callable[["RecordingTimelines"], None]
PICTURE_HEIGHT, COURSE_HEIGHT, LINE_HEIGHT = 480, 470, 38
"""Heights in pixels: the page without figures, one figure, one line of the transcript."""
TALLEST = 8000


def show_timelines(
    workspace: Workspace | None,
    options: PredictOptions,
    paths: Sequence[Path],
    form: str,
    output: Path | None,
    plot: Path | None,
    progress: Progress,
) -> None:
    """Predict over time, write the timelines and plots, and report skipped recordings."""
    from serctl.stages.timeline import predict_timelines

    with open_timelines(form, paths, output) as write:

        def report(recording: "RecordingTimelines") -> None:
            write(recording)
            if plot:
                write_plot(recording, options, name_plot(plot, recording))

        result = predict_timelines(workspace, options, report=report, progress=progress)
    if output:
        console.say(f"Wrote {output}.")
    for note in result.notes:
        console.say(note)
    for name, reason in result.failures:
        console.say(f"Left out: {name}: {reason}")
    seconds = sum(recording.seconds for recording in result.recordings)
    recordings = count(len(result.recordings), "recording")
    console.say(f"{recordings} ({seconds:,.1f} s of audio) in {result.seconds:,.1f} s")
    if result.failures:
        raise typer.Exit(3)


@contextmanager
def open_timelines(form: str, paths: Sequence[Path], output: Path | None) -> Iterator[Write]:
    """Yield a function that writes a recording to a file, a folder of TextGrids or stdout."""
    from serctl.timeline import formats

    if form == "textgrid":
        yield lambda it: write_textgrid(formats.to_textgrid(it.timelines), it.path, output)
        return
    longest = max((len(path.name) for path in paths), default=0)

    def to_text(timelines: Sequence["Timeline"], header: bool) -> str:
        if form == "csv":
            return formats.to_csv(timelines, header=header)
        if form == "table":
            channel = max(len(timeline.name) - len(timeline.audio) for timeline in timelines)
            return formats.to_table(timelines, header=header, least=(longest + channel, SECONDS))
        return formats.to_jsonl(timelines) if form == "jsonl" else formats.to_rttm(timelines)

    with open_lines(output) as write_line:
        header = True

        def write(recording: "RecordingTimelines") -> None:
            nonlocal header
            if text := to_text(recording.timelines, header):
                write_line(text.removesuffix("\n"))
            header = False

        yield write


def check_plot(plot: Path, paths: Sequence[Path]) -> None:
    """Check, before prediction, that a plot can be written.

    Raises:
        UsageError: The suffix belongs to no format, one file is given for several recordings, or
            two recordings have the same name.
        SerctlError: A package for plots, or the browser for a PNG, is not installed.
    """
    if plot.suffix not in (".html", ".png", ""):
        raise UsageError(f"--plot '{plot}': expected FILE.html, FILE.png, or a folder.")
    if plot.suffix and len(paths) > 1:
        raise UsageError(f"{len(paths)} recordings need a folder: --plot {plot.with_suffix('')}")
    check_names("html", paths)
    from serctl.page.packages import check_report_packages
    from serctl.page.picture import find_browser

    check_report_packages()
    if plot.suffix == ".png":
        find_browser(plot)


def name_plot(plot: Path, recording: "RecordingTimelines") -> Path:
    """Return the file for the plot of a recording."""
    return plot if plot.suffix else plot / f"{recording.path.stem}.html"


def write_plot(recording: "RecordingTimelines", options: PredictOptions, path: Path) -> None:
    """Write the page of a recording, or a picture of it."""
    from serctl.page.picture import take_picture
    from serctl.page.timeline import TimelinePage, render_timeline

    page = TimelinePage(
        recording.timelines, recording.sound, options.every, options.window, recording.notes
    )
    if path.suffix == ".png":
        lines = sum(len(timeline.transcript) for timeline in recording.timelines)
        height = PICTURE_HEIGHT + COURSE_HEIGHT * len(recording.timelines) + LINE_HEIGHT * lines
        take_picture(render_timeline(page, scheme="light"), path, height=min(height, TALLEST))
    else:
        with write_atomic(path) as file:
            file.write(render_timeline(page))
    console.say(f"Wrote {path}.")
