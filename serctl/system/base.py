"""A bundle as the base of another one, calibrated and evaluated on a project's recordings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serctl.config import Workspace
from serctl.data.audio import read_audio
from serctl.data.manifest import Manifest, Utterance
from serctl.documents.bundle import BundleDocument
from serctl.ensemble.calibration import Calibrator, fit_calibration
from serctl.ensemble.logits import Logits
from serctl.errors import ManifestError, SerctlError
from serctl.options import BundleOptions, PredictOptions
from serctl.progress import Progress
from serctl.system.bundle_folder import Bundle
from serctl.system.hub import find_bundle, is_hub_name, pin
from serctl.system.loading import load_utterance
from serctl.system.parts import read_bundle
from serctl.system.predictor import Predictor
from serctl.system.utterances import LoadedUtterance


@dataclass(frozen=True)
class Base:
    """A bundle and its predictions for the labelled utterances of a project.

    Attributes:
        bundle: The bundle.
        name: ``hf:OWNER/NAME@COMMIT``, or the name in ``bundle.json`` and the digest.
        predictions: Probabilities by split, without train.
        notes: Notes for the user.
    """

    bundle: Bundle
    name: str
    predictions: dict[str, Logits]
    notes: tuple[str, ...]

    @property
    def document(self) -> BundleDocument:
        """Content of ``bundle.json``."""
        return self.bundle.document

    def calibrate(self, manifest: Manifest) -> Calibrator:
        """Return temperature and priors fitted on the project's dev."""
        found = self.predictions["dev"]
        emotion = {row.utterance_id: row.emotion for row in manifest}
        targets = [self.bundle.labels.index(emotion[name]) for name in found.ids]
        return fit_calibration(found.probabilities(), np.array(targets, dtype=np.intp))


def predict_base(
    workspace: Workspace, options: BundleOptions, manifest: Manifest, progress: Progress
) -> Base:
    """Load a bundle and predict all splits of a project except train from their audio.

    Raises:
        ManifestError: Dev has no utterance of the bundle's emotions.
        HubError: The bundle cannot be downloaded.
        SerctlError: An utterance cannot be predicted.
    """
    bundle, notes = find_bundle(options.base)
    rows = {
        split: manifest.select(split).where(lambda row: row.emotion in bundle.labels)
        for split in manifest.splits
        if split != "train"
    }
    if not rows.get("dev"):
        raise ManifestError(
            f"'{workspace.manifest}' has no dev utterance of {', '.join(bundle.labels)}, which "
            f"--base needs for the calibration. Make a dev split: serctl manifest split"
        )
    predicting = PredictOptions(model=options.base, device=options.device)
    predictor = Predictor(read_bundle(bundle), predicting, workspace.weights)
    predictor.note_without_speakers()
    name = pin(options.base, bundle) if is_hub_name(options.base) else _name(bundle)
    with progress.task(f"predict with {options.base}", sum(map(len, rows.values()))) as advance:
        predictions = {}
        for split, chosen in rows.items():
            found = []
            for one, made in predictor.predict_stream(_load(row, predictor) for row in chosen):
                if isinstance(made, SerctlError):
                    raise type(made)(f"'{one.name}': {made}")
                found.append(list(made.probabilities.values()))
                advance()
            if found:
                # The softmax of log p is p, so log p serves as logits.
                values = np.log(np.maximum(found, np.finfo(np.float64).tiny))
                unseen = np.zeros(len(found), dtype=bool)
                predictions[split] = Logits(chosen.ids, values, bundle.labels, unseen, name)
    return Base(bundle, name, predictions, (*notes, *predictor.notes))


def _name(bundle: Bundle) -> str:
    return f"{bundle.document.name} (sha256 {bundle.digest[:12]})"


def _load(row: Utterance, predictor: Predictor) -> LoadedUtterance:
    def read() -> NDArray[np.float32]:
        return read_audio(row.path, row.start, row.end, row.channel, report=predictor.downmixed)

    return load_utterance(row.utterance_id, read)
