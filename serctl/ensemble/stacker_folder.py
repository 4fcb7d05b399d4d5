"""Saved stackers: a JSON document and skops or XGBoost files, without pickles."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serctl import __version__
from serctl.documents.stacker import STACKER_FILE, STACKER_VERSION, FittedOn, StackerDocument
from serctl.ensemble.logits import JoinedLogits, Logits, join_logits
from serctl.ensemble.selection import Selection
from serctl.ensemble.stackers import Learned, Stacker, make_stacker
from serctl.errors import CheckpointError, LogitsError
from serctl.hashes import hash_file

TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]
"""Types that skops may load in addition to its defaults (numpy and scikit-learn estimators)."""
REPORTED_PACKAGES = ("numpy", "scikit-learn", "xgboost", "skops")


@dataclass(frozen=True, eq=False)
class TrainedStacker:
    """A fitted stacker with its labels and base models in a fixed order.

    Attributes:
        stacker: Classifier or average.
        labels: C emotions in the order of the probabilities.
        models: M base models in the order of the input.
        fitted_on: Utterances that the stacker was fitted on.
        options: All options of ``serctl stack``.
    """

    stacker: Stacker
    labels: tuple[str, ...]
    models: tuple[str, ...]
    fitted_on: FittedOn
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def importances(self) -> NDArray[np.float64] | None:
        """Shares ``(M, C)`` of each model's logit of each class; None for an average."""
        found = self.stacker.importances()
        return None if found is None else found.reshape(len(self.models), -1)

    def predict(self, joined: JoinedLogits) -> NDArray[np.float64]:
        """Return probabilities ``(N, C)``.

        Raises:
            LogitsError: The base models or labels, or their order, differ from those of the fit.
        """
        for what, got, expected in (
            ("base models", joined.names, self.models),
            ("labels", joined.labels, self.labels),
        ):
            if got != expected:
                raise LogitsError(
                    f"The {what} are {', '.join(got)}, expected {', '.join(expected)} in this "
                    f"order, as the stacker was fitted."
                )
        return self.stacker.predict_proba(joined.values)

    def predict_parts(self, parts: Sequence[Logits]) -> NDArray[np.float64]:
        """Return probabilities for one `Logits` per base model, given in any order, by name.

        Raises:
            LogitsError: A base model is missing.
        """
        by_name = {part.name: part for part in parts}
        missing = [name for name in self.models if name not in by_name]
        if missing:
            raise LogitsError(
                f"Base models of the stacker are missing: {', '.join(missing)}. "
                f"Export them: serctl export-logits {missing[0]}"
            )
        chosen = [by_name[name].reorder(self.labels) for name in self.models]
        return self.predict(join_logits(chosen, parts[0].ids))


def save_stacker(folder: Path, trained: TrainedStacker) -> None:
    """Write the estimators, then ``stacker.json`` with the hash of each."""
    folder.mkdir(parents=True, exist_ok=True)
    stacker, files, settings = trained.stacker, {}, {}
    if isinstance(stacker, Learned):
        suffix = "ubj" if stacker.kind == "xgboost" else "skops"
        for i, estimator in enumerate(stacker.estimators):
            path = folder / f"estimator-{i}.{suffix}"
            _save_estimator(path, estimator)
            files[path.name] = _hash(path)
        settings = {
            "balance": stacker.balance,
            "fold": stacker.fold,
            "seed": stacker.seed,
            "draws": stacker.draws,
            "classes": stacker.classes.tolist(),
        }
    if isinstance(stacker, Selection):
        settings = {"seed": stacker.seed, "weights": tuple(stacker.weights.tolist())}
    shares = trained.importances
    StackerDocument(
        serctl_stacker=STACKER_VERSION,
        kind=stacker.kind,
        labels=trained.labels,
        models=trained.models,
        files=files,
        versions={"serctl": __version__} | {name: version(name) for name in REPORTED_PACKAGES},
        fitted_on=trained.fitted_on,
        options=trained.options,
        importances=None if shares is None else shares.round(6).tolist(),
        **settings,
    ).write(folder / STACKER_FILE)


def load_stacker(folder: Path) -> TrainedStacker:
    """Read a stacker of `save_stacker`.

    Raises:
        CheckpointError: A file is missing, was changed, or holds a type that is not trusted.
    """
    found = StackerDocument.read(folder / STACKER_FILE)
    stacker = make_stacker(
        found.kind, found.labels, balance=found.balance, fold=found.fold, seed=found.seed
    )
    if isinstance(stacker, Selection):
        stacker.weights = np.array(found.weights)
    if isinstance(stacker, Learned):
        stacker.classes = np.array(found.classes, dtype=np.intp)
        for name, expected in found.files.items():
            path = folder / Path(name).name
            if not path.is_file() or _hash(path) != expected:
                hint = StackerDocument.hint
                raise CheckpointError(f"'{path}' is missing or was changed. {hint}")
            stacker.estimators.append(_load_estimator(path))
    return TrainedStacker(stacker, found.labels, found.models, found.fitted_on, found.options)


def _save_estimator(path: Path, estimator: Any) -> None:
    import zipfile

    import skops.io

    if path.suffix == ".ubj":
        estimator.save_model(path)
    else:
        skops.io.dump(estimator, path, compression=zipfile.ZIP_DEFLATED)


def _load_estimator(path: Path) -> Any:
    import zipfile

    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException
    from xgboost import XGBClassifier
    from xgboost.core import XGBoostError

    try:
        if path.suffix == ".skops":
            return skops.io.load(path, trusted=TRUSTED_TYPES)
        estimator = XGBClassifier()
        estimator.load_model(path)
        return estimator
    except UntrustedTypesFoundException as error:
        raise CheckpointError(f"'{path}' is refused: {error}") from error
    except (zipfile.BadZipFile, XGBoostError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"'{path}' is not readable ({error}), expected a skops or XGBoost file. Pickles are "
            f"never loaded."
        ) from error


def _hash(path: Path) -> str:
    return hash_file(path, lambda: hashlib.blake2b(digest_size=16))
