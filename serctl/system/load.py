"""`serctl.load`: a trained system by its name, ready for new audio."""

from collections.abc import Mapping
from pathlib import Path

from serctl.config import find_workspace
from serctl.errors import UsageError
from serctl.options import PredictOptions
from serctl.options.idle import say_idle
from serctl.system.parts import find_parts
from serctl.system.predictor import Predictor


def load(
    model: str | Path,
    *,
    project: Path | str | None = None,
    device: str = "auto",
    prior: str = "as-trained",
    abstain_below: float = 0.0,
    weights: Mapping[str, str | Path] | None = None,
    one_at_a_time: bool = False,
    recogniser: str = "",
    transcribe: bool = True,
) -> Predictor:
    """Load a bundle, or a stacker or run of a project, ready for new audio.

    Args:
        model: Folder of a bundle, its name on the hub (``hf:OWNER/NAME@COMMIT``), or name of a
            stacker or run.
        project: Folder of the project; default: the working directory or a parent. A bundle needs
            none, but uses the ``[weights]`` of a project.
        device: Device to compute on.
        prior: ``as-trained``, ``natural``, ``balanced`` or a file of shares by emotion.
        abstain_below: Return no emotion if the highest probability is lower.
        weights: Encoder name to checkpoint folder.
        one_at_a_time: Hold one encoder in memory, and load each again for every call.
        recogniser: Whisper that transcribes, instead of the one that the system was trained with.
        transcribe: Whether to transcribe; False if every recording comes with its ``text``.

    Raises:
        UsageError: A recogniser is given, and nothing is transcribed.
        SerctlError: The model is missing or damaged, or weights of its encoders are missing.

    Example:
        >>> model = load("bundle")  # doctest: +SKIP
        >>> model.predict("a.wav").emotion  # doctest: +SKIP
        'happy'
    """
    if recogniser and not transcribe:
        raise UsageError(say_idle(["recogniser"], "with transcribe=False"))
    workspace = find_workspace(project)
    options = PredictOptions(
        model=str(model),
        device=device,
        prior=prior,
        abstain_below=abstain_below,
        weights=tuple(f"{name}={path}" for name, path in (weights or {}).items()),
        one_at_a_time=one_at_a_time,
        recogniser=recogniser,
    )
    parts = find_parts(options.model, workspace)
    return Predictor(
        parts, options, workspace.weights if workspace else None, transcribe=transcribe
    )
