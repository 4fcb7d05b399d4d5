"""Bundles on the Hugging Face hub: downloaded at one commit and checked like a local folder.

``hf:OWNER/NAME@COMMIT`` names one fixed state of a repository. Without a commit, the newest one is
used and reported, so that the next call can pin it. Downloaded bundles are kept in
``$XDG_CACHE_HOME/serctl/bundles``, in a folder for each commit, and need no network again.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from serctl.encoders.weights import ask_within
from serctl.errors import CheckpointError, HubError, UsageError, first_few
from serctl.files import read_json, write_json
from serctl.system.bundle_folder import (
    BUNDLE_FILE,
    SUFFIXES,
    Bundle,
    check_unlisted,
    open_bundle,
    read_listing,
)

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo
    from huggingface_hub.errors import HfHubHTTPError

PREFIX = "hf:"
NEWEST = "main"
LARGEST_BYTES = 10_000_000_000
"""Maximum size of a bundle. The paper's twelve networks and stacker take about 1.5 GB."""
LARGEST_LISTING = 10_000_000
"""Maximum bytes of ``bundle.json``, which is downloaded first."""
NOT_FETCHED = frozenset({".gitattributes"})
"""Files that the hub adds to a repository."""
HUB_SECONDS = 10.0
"""Maximum seconds of a request to the hub, including name resolution."""


class HubUnreachableError(HubError):
    """The hub does not respond, or offline mode is on."""


@dataclass(frozen=True)
class HubName:
    """A bundle on the hub.

    Attributes:
        repository: ``OWNER/NAME``.
        revision: Commit, branch or tag.
    """

    repository: str
    revision: str = NEWEST

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which cannot change."""
        return re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}@{self.revision}"


def is_hub_name(model: str) -> bool:
    """Return whether a model name is that of a bundle on the hub."""
    return model.startswith(PREFIX)


def parse_hub_name(model: str) -> HubName:
    """Parse ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION``. The prefix is optional.

    Raises:
        UsageError: The name is not of this form.

    Example:
        >>> parse_hub_name("hf:me/emotions").repository
        'me/emotions'
    """
    part = r"[A-Za-z0-9][A-Za-z0-9._-]*"
    match = re.fullmatch(rf"({part}/{part})(?:@([\w./-]+))?", model.removeprefix(PREFIX))
    if match is None or ".." in model:
        raise UsageError(
            f"The model is '{model}', expected {PREFIX}OWNER/NAME or OWNER/NAME@COMMIT."
        )
    return HubName(match[1], match[2] or NEWEST)


def find_bundle(model: str | Path) -> tuple[Bundle, tuple[str, ...]]:
    """Return a bundle by its folder or its name on the hub, and notes for the user.

    Raises:
        CheckpointError: The folder is not a complete bundle.
        HubError: The bundle cannot be downloaded.
    """
    if is_hub_name(str(model)):
        return fetch_bundle(str(model))
    return open_bundle(Path(model).expanduser()), ()


def pin(model: str, bundle: Bundle) -> str:
    """Return the name of a downloaded bundle with its commit."""
    return str(_pin(parse_hub_name(model), bundle.folder.name))


def fetch_bundle(model: str) -> tuple[Bundle, tuple[str, ...]]:
    """Return a bundle of the hub, downloaded if necessary, and notes for the user.

    Raises:
        HubError: The repository is missing, private or unreachable, or a download failed.
        CheckpointError: The repository is not a bundle, or holds files that are not allowed.
    """
    name = parse_hub_name(model)
    place = _cache() / name.repository.replace("/", "--")
    commit, notes = _settle_commit(name, place)
    folder = place / commit
    if not folder.is_dir():
        _download(HubName(name.repository, commit), folder)
    return open_bundle(folder), notes


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "serctl" / "bundles"


def _settle_commit(name: HubName, place: Path) -> tuple[str, tuple[str, ...]]:
    """Return the current commit of a name; the last downloaded one if the hub does not respond."""
    if name.is_pinned:
        return name.revision, ()
    refs = place / "refs.json"
    known = read_json(refs, HubError) if refs.is_file() else {}
    try:
        commit = str(_ask_repository(name).sha)
    except HubError as error:
        commit = known.get(name.revision, "")
        if not isinstance(error, HubUnreachableError):
            raise
        if not (place / commit / BUNDLE_FILE).is_file():
            present = sorted(path.parent.name for path in place.glob(f"[!.]*/{BUNDLE_FILE}"))
            known_names = first_few([str(_pin(name, one)) for one in present])
            raise HubUnreachableError(
                f"{error} Downloaded before: {known_names}." if present else str(error)
            ) from None
        return commit, (f"{error} Used the last downloaded commit: {_pin(name, commit)}",)
    write_json(refs, known | {name.revision: commit})
    return commit, (f"'{name}' is at commit {commit}. Pin it: {_pin(name, commit)}",)


def _pin(name: HubName, commit: str) -> HubName:
    return HubName(name.repository, commit)


def _download(name: HubName, folder: Path) -> None:
    """Download the files of ``bundle.json``, after its complete list was checked."""
    from huggingface_hub import HfApi

    info = _ask_repository(name)
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
    sizes = {path: size for path, size in sizes.items() if path not in NOT_FETCHED}
    _check_sizes(name, sizes, folder)
    # The folder has this name until it is complete. Its files are not downloaded again.
    part = folder.with_name(f".{folder.name}.part")

    def fetch(path: str) -> None:
        with hub_errors(name.repository):
            HfApi().hf_hub_download(
                name.repository, path, revision=name.revision, local_dir=part, etag_timeout=10
            )

    fetch(BUNDLE_FILE)
    listed = read_listing(part).files
    _check_listing(name, sizes, {path: facts.bytes for path, facts in listed.items()})
    for path in listed:
        fetch(path)
    shutil.rmtree(part / ".cache", ignore_errors=True)  # of huggingface_hub, to continue downloads
    try:
        open_bundle(part)
    except CheckpointError:
        shutil.rmtree(part, ignore_errors=True)  # a second try must not reuse damaged files
        raise
    part.rename(folder)


def _check_sizes(name: HubName, sizes: Mapping[str, int], folder: Path) -> None:
    """Refuse a repository that is not a bundle, holds other file types or is too large."""
    if BUNDLE_FILE not in sizes:
        raise CheckpointError(f"'{name}' holds no {BUNDLE_FILE}, expected a bundle of serctl.")
    if strange := sorted(path for path in sizes if PurePosixPath(path).suffix not in SUFFIXES):
        raise CheckpointError(
            f"'{name}' holds {first_few(strange)}, expected only {', '.join(sorted(SUFFIXES))}. "
            f"Downloaded no file. Pickles can run code and are never loaded."
        )
    total, listing = sum(sizes.values()), sizes[BUNDLE_FILE]
    if total > LARGEST_BYTES or listing > LARGEST_LISTING:
        raise CheckpointError(
            f"'{name}' has {total / 1e9:,.1f} GB, and {BUNDLE_FILE} has {listing / 1e6:,.1f} MB. "
            f"Expected at most {LARGEST_BYTES / 1e9:g} GB and {LARGEST_LISTING / 1e6:g} MB."
        )
    parent = next(path for path in folder.parents if path.exists())
    free = shutil.disk_usage(parent).free
    if total > free:
        raise HubError(
            f"'{name}' needs {total / 1e9:,.2f} GB, but '{parent}' has {free / 1e9:,.2f} GB free. "
            f"Free space, or set XDG_CACHE_HOME to a folder on another disk."
        )


def _check_listing(name: HubName, sizes: Mapping[str, int], listed: Mapping[str, int]) -> None:
    """Refuse a repository whose files are not those that its ``bundle.json`` lists."""
    check_unlisted(str(name), set(sizes) - {BUNDLE_FILE}, listed)
    if wrong := [path for path, size in listed.items() if sizes.get(path) != size]:
        raise CheckpointError(
            f"'{name}': missing files or sizes that differ from the list: {first_few(wrong)}. "
            f"Downloaded only {BUNDLE_FILE}. Push the bundle again."
        )


def _ask_repository(name: HubName) -> "ModelInfo":
    from huggingface_hub import HfApi

    ask = partial(HfApi().model_info, name.repository, revision=name.revision, files_metadata=True)
    with hub_errors(name.repository):
        return ask_within(partial(ask, timeout=HUB_SECONDS), HUB_SECONDS)


@contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Raise errors of huggingface_hub as one line with the next command."""
    from huggingface_hub import errors

    try:
        yield
    except errors.LocalTokenNotFoundError:
        raise HubError(f"No token of the hub for '{repository}'. Run: hf auth login") from None
    except errors.GatedRepoError:
        raise HubError(
            f"'{repository}' asks for consent on its page. Agree there, then run: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise HubError(f"'{repository}' has no such commit, branch or tag.") from None
    except errors.RepositoryNotFoundError:
        raise HubError(
            f"There is no model '{repository}' on the hub, or you may not read it. "
            f"If it is private: hf auth login"
        ) from None
    except errors.HfHubHTTPError as error:
        raise _explain_status(repository, error) from None
    except ValueError as error:  # huggingface_hub refuses the name or the card
        raise HubError(f"'{repository}': {_first_line(error)}") from error
    except (errors.HTTPError, OSError) as error:
        raise HubUnreachableError(
            f"The transfer of '{repository}' failed ({_first_line(error)}). "
            f"Check the connection and run the same command again; it continues."
        ) from error


def _explain_status(repository: str, error: "HfHubHTTPError") -> HubError:
    status = error.response.status_code
    if status in (401, 403):
        return HubError(
            f"No permission for '{repository}' (status {status}). Log in with a token that "
            f"has write access: hf auth login"
        )
    known = HubUnreachableError if status >= 500 or status == 429 else HubError
    reason = error.server_message or _first_line(error)
    return known(f"The hub refused '{repository}' with status {status}: {reason}")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().partition("\n")[0]
