"""Files that a path given for a result must not replace."""

from pathlib import Path

from serctl.data.corpora.scan import AUDIO, UNREADABLE
from serctl.errors import UsageError, explain_os_error
from serctl.files import follow_link
from serctl.workspace import BUNDLE_FILE, PROJECT_FILE, Workspace


def check_output_file(
    workspace: Workspace | None, output: Path | str, flag: str = "--output"
) -> None:
    """Check that a result replaces no recording, and no file that later commands read.

    Args:
        workspace: The project, if there is one.
        output: File that will be written.
        flag: Flag of the path, for the message.

    Raises:
        UsageError: It would, it would be in a bundle, or the path is a device or a link to a
            read-only file.
    """
    path = Path(output)
    check_outside_bundles(path / "a file", flag)
    try:
        follow_link(path)
    except OSError as error:
        raise UsageError(
            f"{flag} '{output}' cannot be replaced: {explain_os_error(error)}"
        ) from error
    if not path.is_file():
        return
    names = (path.name, path.resolve().name)  # of a link and of what it leads to
    if any(Path(name).suffix.lower() in (*AUDIO, *UNREADABLE) for name in names):
        raise UsageError(f"{flag} '{output}' would replace a recording. Name another file.")
    if PROJECT_FILE in names or (workspace and _is_read(workspace, path.resolve())):
        raise UsageError(
            f"{flag} '{output}' would replace a file of the project. Name another file."
        )


def check_outside_bundles(output: Path, flag: str = "--output") -> None:
    """Check that no folder above a result is a bundle, which would be refused with another file.

    Raises:
        UsageError: One is.
    """
    for folder in output.resolve().parents:
        if (folder / BUNDLE_FILE).is_file():
            raise UsageError(
                f"{flag} would write into the bundle '{folder}', which is complete. Name another "
                f"place."
            )


def _is_read(workspace: Workspace, path: Path) -> bool:
    """Return whether a file is an input of later commands."""
    transcripts = workspace.transcripts
    files = (workspace.manifest, transcripts, transcripts.with_suffix(".json"))
    return any(path == file.resolve() for file in files) or is_in_results(workspace, path)


def is_in_results(workspace: Workspace, path: Path) -> bool:
    """Return whether a resolved path is in the cache, a run or a stacker."""
    root = workspace.root.resolve()
    folders = [one.resolve() for one in (workspace.cache, workspace.runs, workspace.stackers)]
    return any(
        path.is_relative_to(folder)
        for folder in folders
        if not root.is_relative_to(folder)  # with cache = "." every result is in the cache
    )
