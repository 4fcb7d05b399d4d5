"""Bundles on the Hugging Face hub: fetched at one commit, checked as a local folder is.

``hf:OWNER/NAME@COMMIT`` names one state of a repository for good. Without a commit, the newest one
is asked for and reported, so that the next call can pin it. Fetched bundles lie below
``$XDG_CACHE_HOME/serctl/bundles``, a folder for each commit, and need no network again.
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
"""Of all files of a bundle; the paper's twelve networks and stacker take about 1.5 GB."""
LARGEST_LISTING = 10_000_000
"""Bytes of ``bundle.json``, which is read before anything else is known."""
NOT_FETCHED = frozenset({".gitattributes"})
"""Files that the hub itself puts into a repository."""
HUB_SECONDS = 10.0
"""How long the hub, and the name server before it, may take to answer a question."""


class UnreachableError(HubError):
    """The hub does not answer, or may not be asked."""


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
        """Whether the revision is a commit, which nobody can move."""
        return re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}@{self.revision}"


def is_hub_name(model: str) -> bool:
    """Return whether a model is named by its place on the hub."""
    return model.startswith(PREFIX)


def parse_hub_name(model: str) -> HubName:
    """Read ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION``; the prefix may be left out.

    Raises:
        UsageError: It is not of that form.

    Example:
        >>> parse_hub_name("hf:me/emotions").repository
        'me/emotions'
    """
    part = r"[A-Za-z0-9][A-Za-z0-9._-]*"
    match = re.fullmatch(rf"({part}/{part})(?:@([\w./-]+))?", model.removeprefix(PREFIX))
    if match is None or ".." in model:
        raise UsageError(f"'{model}' is not of the form {PREFIX}OWNER/NAME or OWNER/NAME@COMMIT.")
    return HubName(match[1], match[2] or NEWEST)


def find_bundle(model: str | Path) -> tuple[Bundle, tuple[str, ...]]:
    """Return a bundle by its folder or its place on the hub, and what to report about it.

    Raises:
        CheckpointError: It is no bundle, or not whole.
        HubError: The hub does not give it.
    """
    if is_hub_name(str(model)):
        return fetch_bundle(str(model))
    return open_bundle(Path(model).expanduser()), ()


def pin(model: str, bundle: Bundle) -> str:
    """Return the name by which a fetched bundle is the same for good."""
    return str(_pin(parse_hub_name(model), bundle.folder.name))


def fetch_bundle(model: str) -> tuple[Bundle, tuple[str, ...]]:
    """Return a bundle of the hub, downloaded if it is not here yet, and what to report about it.

    Raises:
        HubError: The repository is absent, closed or unreachable, or a download broke off.
        CheckpointError: What lies there is no bundle, or holds what a bundle must not hold.
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
    """Return the commit that a name stands for now; if the hub is silent, the one fetched last."""
    if name.is_pinned:
        return name.revision, ()
    refs = place / "refs.json"
    known = read_json(refs, HubError) if refs.is_file() else {}
    try:
        commit = str(_ask_repository(name).sha)
    except HubError as error:
        commit = known.get(name.revision, "")
        if not isinstance(error, UnreachableError) or not (place / commit / BUNDLE_FILE).is_file():
            raise
        return commit, (f"{error} Used the commit fetched before: {_pin(name, commit)}",)
    write_json(refs, known | {name.revision: commit})
    return commit, (f"'{name}' is at commit {commit}. Pin it: {_pin(name, commit)}",)


def _pin(name: HubName, commit: str) -> HubName:
    return HubName(name.repository, commit)


def _download(name: HubName, folder: Path) -> None:
    """Fetch what ``bundle.json`` lists, and nothing before the whole listing is found in order."""
    from huggingface_hub import HfApi

    info = _ask_repository(name)
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
    sizes = {path: size for path, size in sizes.items() if path not in NOT_FETCHED}
    _check_sizes(name, sizes, folder)
    # It has this name until it is whole; the files in it are not fetched again.
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
        shutil.rmtree(part, ignore_errors=True)  # a second try must not meet the same damage
        raise
    part.rename(folder)


def _check_sizes(name: HubName, sizes: Mapping[str, int], folder: Path) -> None:
    """Refuse a repository that is no bundle, holds other kinds of files or is too large."""
    if BUNDLE_FILE not in sizes:
        raise CheckpointError(f"'{name}' holds no {BUNDLE_FILE}: it is no bundle of serctl.")
    if strange := sorted(path for path in sizes if PurePosixPath(path).suffix not in SUFFIXES):
        raise CheckpointError(
            f"'{name}' holds {first_few(strange)}, none of {', '.join(sorted(SUFFIXES))}: refused, "
            f"and nothing was downloaded. Pickles can run code and are never loaded."
        )
    total, listing = sum(sizes.values()), sizes[BUNDLE_FILE]
    if total > LARGEST_BYTES or listing > LARGEST_LISTING:
        raise CheckpointError(
            f"'{name}' has {total / 1e9:,.1f} GB, of which {listing / 1e6:,.1f} MB {BUNDLE_FILE}; "
            f"a bundle has at most {LARGEST_BYTES / 1e9:g} GB and {LARGEST_LISTING / 1e6:g} MB."
        )
    parent = next(path for path in folder.parents if path.exists())
    free = shutil.disk_usage(parent).free
    if total > free:
        raise HubError(
            f"'{name}' needs {total / 1e9:,.2f} GB and '{parent}' has {free / 1e9:,.2f} GB free. "
            f"Free some, or set XDG_CACHE_HOME to a folder on another disk."
        )


def _check_listing(name: HubName, sizes: Mapping[str, int], listed: Mapping[str, int]) -> None:
    """Refuse a repository whose files are not those that its ``bundle.json`` lists."""
    check_unlisted(str(name), set(sizes) - {BUNDLE_FILE}, listed)
    if wrong := [path for path, size in listed.items() if sizes.get(path) != size]:
        raise CheckpointError(
            f"'{name}': missing or of another size than listed: {first_few(wrong)}. "
            f"Nothing but {BUNDLE_FILE} was downloaded. Push the bundle again."
        )


def _ask_repository(name: HubName) -> "ModelInfo":
    from huggingface_hub import HfApi

    ask = partial(HfApi().model_info, name.repository, revision=name.revision, files_metadata=True)
    with hub_errors(name.repository):
        return ask_within(partial(ask, timeout=HUB_SECONDS), HUB_SECONDS)


@contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Raise what huggingface_hub raises as one line that names the next command."""
    from huggingface_hub import errors

    try:
        yield
    except errors.LocalTokenNotFoundError:
        raise HubError(f"'{repository}' needs a token of the hub. Run: hf auth login") from None
    except errors.GatedRepoError:
        raise HubError(
            f"'{repository}' asks for consent on its page. Give it there, then run: hf auth login"
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
    except ValueError as error:  # a name or a card that huggingface_hub refuses to send
        raise HubError(f"'{repository}': {_first_line(error)}") from error
    except (errors.HTTPError, OSError) as error:
        raise UnreachableError(
            f"The hub did not give or take '{repository}' ({_first_line(error)}). "
            f"Check the connection; the same command continues."
        ) from error


def _explain_status(repository: str, error: "HfHubHTTPError") -> HubError:
    status = error.response.status_code
    if status in (401, 403):
        return HubError(
            f"You may not do that with '{repository}' (status {status}). Log in with a token that "
            f"has write access: hf auth login"
        )
    known = UnreachableError if status >= 500 or status == 429 else HubError
    told = error.server_message or _first_line(error)
    return known(f"The hub refused '{repository}' with status {status}: {told}")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().partition("\n")[0]
