"""Saved stackers: a JSON document beside skops or XGBoost files; nothing here can run a pickle."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serctl import __version__
from serctl.ensemble.logits import JoinedLogits, Logits, join_logits
from serctl.ensemble.stackers import Learned, Stacker, make_stacker
from serctl.errors import CheckpointError, LogitsError
from serctl.files import read_json, write_json
from serctl.hashes import hash_file

FORMAT_VERSION = 1
HINT = "Fit it again with: serctl stack"
TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]
"""All that skops may build beside its own defaults (numpy and scikit-learn estimators)."""
REPORTED_PACKAGES = ("numpy", "scikit-learn", "xgboost", "skops")


@dataclass(frozen=True, eq=False)
class TrainedStacker:
    """A fitted stacker and what it was fitted on: labels and base models in a fixed order."""

    stacker: Stacker
    labels: tuple[str, ...]
    models: tuple[str, ...]
    document: Mapping[str, Any]

    def predict(self, joined: JoinedLogits) -> NDArray[np.float64]:
        """Return probabilities ``(N, C)``.

        Raises:
            LogitsError: The base models or labels are others than those it was fitted on, or stand
                in another order.
        """
        for what, got, expected in (
            ("base models", joined.names, self.models),
            ("labels", joined.labels, self.labels),
        ):
            if got != expected:
                raise LogitsError(
                    f"The stacker was fitted on the {what} {', '.join(expected)}, in this order; "
                    f"got {', '.join(got)}."
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
                f"The stacker needs the base models {', '.join(self.models)}; "
                f"missing: {', '.join(missing)}. Export them: serctl export-logits {missing[0]}"
            )
        chosen = [by_name[name].reorder(self.labels) for name in self.models]
        return self.predict(join_logits(chosen, parts[0].ids))


def save_stacker(folder: Path, trained: TrainedStacker) -> None:
    """Write the estimators and then ``stacker.json``, which names the hash of each."""
    folder.mkdir(parents=True, exist_ok=True)
    stacker, files = trained.stacker, {}
    document = {"serctl_stacker": FORMAT_VERSION, "kind": stacker.kind}
    if isinstance(stacker, Learned):
        suffix = "ubj" if stacker.kind == "xgboost" else "skops"
        for i, estimator in enumerate(stacker.estimators):
            path = folder / f"estimator-{i}.{suffix}"
            _save_estimator(path, estimator)
            files[path.name] = _hash(path)
        document |= {
            "balance": stacker.balance,
            "fold": stacker.fold,
            "seed": stacker.seed,
            "classes": stacker.classes.tolist(),
        }
    document |= {"labels": trained.labels, "models": trained.models, "files": files}
    versions = {"serctl": __version__} | {name: version(name) for name in REPORTED_PACKAGES}
    write_json(folder / "stacker.json", document | {"versions": versions} | dict(trained.document))


def load_stacker(folder: Path) -> TrainedStacker:
    """Read a stacker that `save_stacker` wrote.

    Raises:
        CheckpointError: A file is missing, was changed, or holds a type that is not trusted.
    """
    document = read_document(folder)
    labels = tuple(document["labels"])
    given = {name: document[name] for name in ("balance", "fold", "seed") if name in document}
    stacker = make_stacker(document["kind"], labels, **given)
    if isinstance(stacker, Learned):
        stacker.classes = np.array(document["classes"], dtype=np.intp)
        for name, expected in document["files"].items():
            path = folder / Path(name).name
            if not path.is_file() or _hash(path) != expected:
                raise CheckpointError(f"'{path}' is missing or was changed since. {HINT}")
            stacker.estimators.append(_load_estimator(path))
    return TrainedStacker(stacker, labels, tuple(document["models"]), document)


def read_document(folder: Path) -> dict[str, Any]:
    """Return ``stacker.json`` without loading any classifier.

    Raises:
        CheckpointError: It is missing or of another format.
    """
    document = read_json(folder / "stacker.json", CheckpointError, HINT)
    if not isinstance(document, dict) or document.get("serctl_stacker") != FORMAT_VERSION:
        raise CheckpointError(f"'{folder}/stacker.json' is not of format {FORMAT_VERSION}. {HINT}")
    return document


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
            f"'{path}' is neither a skops nor an XGBoost file ({error}). Pickles are never loaded."
        ) from error


def _hash(path: Path) -> str:
    return hash_file(path, lambda: hashlib.blake2b(digest_size=16))
