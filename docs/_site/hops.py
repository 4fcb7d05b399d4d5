"""Trace one utterance from audio to the cache, and one recording from audio to its prediction.

    python docs/_site/hops.py [FOLDER]

Prints the modules of serctl that the data crosses, in the order in which they get it. A module is
crossed when one of its functions takes or returns the data: the bytes of the file, the waveform,
frames, logits or probabilities, alone or inside a list, a dictionary or an object. The project is
the little one of `tests/trained_project.py`; its network reads one speech encoder.
"""

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
DEPTH = 4
"""Objects inside objects that are looked into."""
FEW = 3
"""Items of a list that are looked at."""


def trace(work: Callable[[], Any]) -> dict[str, bool]:
    """Call ``work`` and return the modules that data crosses, in order of first use.

    The value says whether the module makes data: one of its functions is the first to return it.
    """
    crossed: dict[str, bool] = {}
    seen: dict[int, Any] = {}  # by id; a kept object's id is not used again

    def note(frame: FrameType, event: str, value: Any) -> None:
        name, code = frame.f_globals.get("__name__", ""), frame.f_code
        if not name.startswith("serctl.") or event not in ("call", "return"):
            return
        if code.co_filename == "<string>":  # the constructor of a dataclass
            return
        count = code.co_argcount + code.co_kwonlyargcount
        given = [frame.f_locals.get(name) for name in code.co_varnames[:count]]
        data = {id(one): one for one in find_data(given if event == "call" else [value])}
        if data:
            crossed[name] = crossed.get(name, False) or (
                event == "return" and not data.keys() <= seen.keys()
            )
        seen.update(data)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return crossed


def find_data(value: Any, depth: int = DEPTH) -> Iterator[Any]:
    """Yield audio, frames and scores in a value."""
    import torch

    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and value.size > 1:
            yield value
    elif isinstance(value, torch.Tensor):
        if value.is_floating_point() and value.numel() > 1:
            yield value
    elif isinstance(value, bytes):
        if value.startswith(b"RIFF"):
            yield value
    elif depth and not isinstance(value, str | int | float | torch.nn.Module | None):
        if isinstance(value, Mapping):  # tensors by name are weights
            inner = [one for one in value.values() if not isinstance(one, torch.Tensor)]
        elif isinstance(value, list | tuple):
            inner = list(value)
        else:
            own = type(value).__module__.startswith("serctl.")
            inner = list(getattr(value, "__dict__", {}).values()) if own else []
        for one in inner[:FEW]:
            yield from find_data(one, depth - 1)


def trace_extraction(workspace: Any, folder: Path) -> dict[str, bool]:
    """Return the modules that one utterance of a project crosses in `serctl extract`."""
    import serctl

    rows = serctl.read_manifest(workspace.manifest).utterances
    serctl.write_manifest(folder / "one.csv", rows[:1])
    paths = {"manifest": folder / "one.csv", "cache": folder / "cache"}
    options = serctl.ExtractOptions(encoder="wavlm-large", device="cpu")
    return trace(lambda: serctl.extract(replace(workspace, paths=paths), options))


def trace_prediction(workspace: Any) -> dict[str, bool]:
    """Return the modules that one recording crosses in `serctl predict`."""
    import serctl

    audio = str(serctl.read_manifest(workspace.manifest).utterances[0].path)
    options = serctl.PredictOptions(model="speech", audio=(audio,), device="cpu")
    return trace(lambda: serctl.predict(workspace, options))


def show(title: str, crossed: Mapping[str, bool]) -> str:
    """Return a walk as lines."""
    lines = [f"{title}: {len(crossed)} modules, {sum(crossed.values())} make data"]
    for name, makes in crossed.items():
        lines.append(f"  {name}{'' if makes else ' (takes it or hands it on)'}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    checkout = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    sys.path[:0] = [str(checkout), str(checkout / "tests")]
    from trained_project import make_trained_project

    with tempfile.TemporaryDirectory() as name:
        project = make_trained_project(Path(name) / "project")
        sys.stdout.write(show("audio to cache", trace_extraction(project, Path(name))))
        sys.stdout.write(show("audio to prediction", trace_prediction(project)))
