"""`serctl bundle push`: upload a bundle to the Hugging Face hub in one commit."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from serctl.encoders.weights import ask_within
from serctl.errors import HubError, UsageError
from serctl.options import PushOptions
from serctl.progress import Progress, silent
from serctl.system.bundle_folder import BUNDLE_FILE, Bundle, open_bundle
from serctl.system.card import CARD
from serctl.system.hub import HUB_SECONDS, NEWEST, HubName, hub_errors, parse_hub_name

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAKE_SECONDS = 3 * HUB_SECONDS
"""Maximum seconds of the requests before the upload."""


@dataclass(frozen=True)
class PushResult:
    """Result of an upload.

    Attributes:
        model: ``hf:OWNER/NAME@COMMIT``, the name for `serctl predict --model`.
        url: Page of the commit.
        commit: Hash of the commit.
        files: Number of files of the bundle.
        notes: Notes for the user.
    """

    model: str
    url: str
    commit: str
    files: int
    notes: tuple[str, ...] = ()


def push_bundle(options: PushOptions, *, progress: Progress = silent) -> PushResult:
    """Check a bundle and upload it. Older files in the repository are removed.

    The upload is one commit, so a reader sees the old bundle or the new one.

    Raises:
        CheckpointError: The folder is not a complete bundle.
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
            f"No token of the hub found, needed to push to '{name.repository}'. Run: hf auth login"
        )
    api = HfApi()
    with (
        progress.task(f"push {name.repository}", 2, "steps") as advance,
        hub_errors(name.repository),
    ):
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
    # The hub makes only new repositories private. An existing public one would stay public.
    api.create_repo(repository, private=options.private or None, exist_ok=True)
    if options.private and not api.model_info(repository).private:
        raise HubError(
            f"'{repository}' is public, expected a private or new repository. Uploaded no file. "
            f"Make it private in its settings, name another one, or leave out --private."
        )
    if options.revision != NEWEST:
        api.create_branch(repository, branch=options.revision, exist_ok=True)


def _list_notes(bundle: Bundle) -> tuple[str, ...]:
    notes = []
    local = [row.encoder for row in bundle.document.encoders if row.weights == "local"]
    if local:
        notes.append(
            f"{', '.join(local)}: weights from this machine, not contained in the bundle. Users of "
            f"the bundle need the same files."
        )
    card = bundle.folder / CARD
    if not card.is_file() or not card.read_text(encoding="utf-8").startswith("---"):
        notes.append(
            f"{CARD} has no header for the hub, because an older serctl made the bundle. "
            f"Make it again with: serctl bundle make --overwrite"
        )
    return tuple(notes)
