"""`serctl bundle push`: a bundle on the Hugging Face hub, in one commit."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from serctl.encoders.weights import ask_within
from serctl.errors import HubError, UsageError
from serctl.options import PushOptions
from serctl.progress import Progress, silent
from serctl.system.bundle_folder import BUNDLE_FILE, Bundle, open_bundle
from serctl.system.hub import HUB_SECONDS, NEWEST, HubName, hub_errors, parse_hub_name

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
MAKE_SECONDS = 3 * HUB_SECONDS
"""How long up to three questions, which precede the upload, may take."""


@dataclass(frozen=True)
class PushResult:
    """A bundle that is on the hub.

    Attributes:
        model: ``hf:OWNER/NAME@COMMIT``, the name by which `serctl predict` finds it.
        url: Page of the commit.
        commit: Hash of the commit.
        files: Number of files of the bundle.
        notes: What a user should know.
    """

    model: str
    url: str
    commit: str
    files: int
    notes: tuple[str, ...] = ()


def push_bundle(options: PushOptions, *, progress: Progress = silent) -> PushResult:
    """Check a bundle and upload it; files that the repository held before are removed.

    One commit holds everything, so a reader sees the old bundle or the new one.

    Raises:
        CheckpointError: The folder is no whole bundle.
        UsageError: The repository is not of the form OWNER/NAME.
        HubError: There is no token, it may not write there, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi, get_token

    name = parse_hub_name(options.repository)
    if name.revision != NEWEST:
        raise UsageError(f"Name the branch with --revision {name.revision}, not with '@'.")
    bundle = open_bundle(Path(options.folder).expanduser())
    if get_token() is None:
        raise HubError(
            f"Pushing to '{name.repository}' needs a token of the hub. Run: hf auth login"
        )
    api = HfApi()
    with progress.task(f"push {name.repository}", 2) as advance, hub_errors(name.repository):
        ask_within(partial(_make_repository, api, name.repository, options), MAKE_SECONDS)
        advance(note="repository")
        commit = api.upload_folder(
            repo_id=name.repository,
            folder_path=bundle.folder,
            revision=options.revision,
            commit_message=f"serctl bundle {bundle.document.name}",
            allow_patterns=[BUNDLE_FILE, *bundle.document.files],
            delete_patterns="*",
        )
        advance(note="files")
    return PushResult(
        model=str(HubName(name.repository, commit.oid)),
        url=commit.commit_url,
        commit=commit.oid,
        files=len(bundle.document.files) + 1,
        notes=_list_notes(bundle),
    )


def _make_repository(api: "HfApi", repository: str, options: PushOptions) -> None:
    # Only a new repository is made private by this; what is public already would stay so.
    api.create_repo(repository, private=options.private or None, exist_ok=True)
    if options.private and not api.model_info(repository).private:
        raise HubError(
            f"'{repository}' is there already and public; nothing was uploaded. Make it private in "
            f"its settings, name another repository, or leave out --private."
        )
    if options.revision != NEWEST:
        api.create_branch(repository, branch=options.revision, exist_ok=True)


def _list_notes(bundle: Bundle) -> tuple[str, ...]:
    notes = []
    local = [row.encoder for row in bundle.document.encoders if row.weights == "local"]
    if local:
        notes.append(
            f"{', '.join(local)}: weights from this machine, which the bundle does not hold. "
            f"Whoever loads it must have the same files."
        )
    card = bundle.folder / CARD
    if not card.is_file() or not card.read_text(encoding="utf-8").startswith("---"):
        notes.append(
            f"{CARD} has no header for the hub: the bundle is of an older serctl. "
            f"Make it again with: serctl bundle make --overwrite"
        )
    return tuple(notes)
