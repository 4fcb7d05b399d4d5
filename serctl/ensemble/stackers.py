"""Stackers: second-level classifiers on the logits of several models, with one interface.

``fit(x, y, groups)`` takes logits ``(N, M, C)``, label ids ``(N,)`` and the speaker of each row;
``predict_proba(x)`` returns ``(N, C)``. Seeded draws depend on the order of the rows, so callers
sort them by utterance id.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serctl.ensemble.logits import softmax
from serctl.ensemble.selection import Selection
from serctl.errors import LogitsError, UnknownNameError, UsageError, first_few

StackerBalance = Literal["subset", "weights", "none"]
Groups = Sequence[str] | None
NUM_FOLDS = 5
"""Forests in the paper's stacker. Each is fitted on four fifths of the balanced subset."""


class Stacker(Protocol):
    """Protocol of second-level classifiers. The module's docstring defines the arrays."""

    kind: str

    def fit(  # noqa: D102
        self, x: NDArray[np.float64], y: NDArray[np.intp], groups: Groups = None
    ) -> None: ...

    def predict_proba(self, x: NDArray[np.float64]) -> NDArray[np.float64]: ...  # noqa: D102

    def importances(self) -> NDArray[np.float64] | None: ...  # noqa: D102


@dataclass
class Average:
    """Rules without fitted parameters: mean of logits, mean of probabilities, majority vote."""

    kind: str

    def fit(self, x: NDArray[np.float64], y: NDArray[np.intp], groups: Groups = None) -> None:
        """Do nothing."""

    def predict_proba(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(N, C)``. Votes are shares; the mean probability breaks ties."""
        if self.kind == "mean-logits":
            return softmax(x.mean(axis=1))
        mean = softmax(x).mean(axis=1)
        if self.kind == "mean-probabilities":
            return mean
        votes = (x.argmax(axis=2)[:, :, None] == np.arange(x.shape[2])).mean(axis=1)
        tie_break = 1e-3 / x.shape[1]
        return (votes + tie_break * mean) / (1 + tie_break)

    def importances(self) -> None:
        """Return None, because all models have the same weight."""


@dataclass
class Learned:
    """One or several scikit-learn classifiers on the ``M·C`` logits, their probabilities averaged.

    Attributes:
        kind: A name of `STACKERS` with fitted parameters.
        labels: Emotions, for messages.
        balance: ``subset``: draw as many rows of each class as the smallest class has;
            ``weights``: equal class weights; ``none``.
        fold: Use only this one of the folded classifiers (4 is the paper's published dev row).
        seed: Seed of the subset, the folds and the classifiers.
        draws: Number of balanced subsets with consecutive seeds. Each has its own classifiers,
            which reduces the variance of a small subset.
        estimators: Fitted classifiers.
        classes: Label ids of the rows in the fit, in the order of the estimators' columns.
    """

    kind: str
    labels: tuple[str, ...]
    balance: StackerBalance = "subset"
    fold: int | None = None
    seed: int = 42
    draws: int = 1
    estimators: list[Any] = field(default_factory=list)
    classes: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))

    def fit(self, x: NDArray[np.float64], y: NDArray[np.intp], groups: Groups = None) -> None:
        """Fit on ``(N, M, C)`` and ``(N,)``. The speakers are not used.

        Raises:
            LogitsError: A class is too small for the balanced subset or the folds.
        """
        self._check_classes(y)
        self.classes = np.unique(y)
        num_draws = self.draws if self.balance == "subset" else 1
        self.estimators = [
            estimator
            for seed in range(self.seed, self.seed + num_draws)
            for estimator in self._fit_draw(x, y, seed)
        ]

    def _fit_draw(self, x: NDArray[np.float64], y: NDArray[np.intp], seed: int) -> list[Any]:
        """Return the classifiers of one balanced subset, or of all rows."""
        rows = draw_balanced(y, seed) if self.balance == "subset" else np.arange(len(y))
        features = x[rows].reshape(len(rows), -1)
        targets = np.searchsorted(self.classes, y[rows])
        make, folded = _ESTIMATORS[self.kind]
        parts = _split(features, targets, seed) if folded else [np.arange(len(rows))]
        return [
            _fit(make(seed), features[part], targets[part], self.balance == "weights")
            for part in parts
        ]

    def predict_proba(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(N, C)``: the mean over the classifiers, 0 for classes without rows."""
        features = x.reshape(len(x), -1)
        probabilities = np.zeros((len(x), len(self.labels)))
        probabilities[:, self.classes] = np.mean(
            [estimator.predict_proba(features) for estimator in self._list_chosen()], axis=0
        )
        return probabilities

    def _list_chosen(self) -> list[Any]:
        """Return the estimators that predict: all, or those of one fold."""
        return self.estimators if self.fold is None else self.estimators[self.fold :: NUM_FOLDS]

    def importances(self) -> NDArray[np.float64]:
        """Return ``(M·C,)`` shares of feature importances, or of absolute coefficients."""
        found = np.mean([_importances(estimator) for estimator in self._list_chosen()], axis=0)
        return found / found.sum() if found.sum() > 0 else found

    def _check_classes(self, y: NDArray[np.intp]) -> None:
        counts = np.bincount(y, minlength=len(self.labels))
        least = NUM_FOLDS if _ESTIMATORS[self.kind][1] else 2
        # A missing class makes a balanced subset empty. With weights it is not predicted.
        small = (counts < least) & ((counts > 0) | (self.balance == "subset"))
        if small.any() or (counts > 0).sum() < 2:
            shown = [f"{self.labels[i]} {counts[i]}" for i in np.flatnonzero(small)]
            other = "--balance weights if a class is missing, or " * (self.balance == "subset")
            raise LogitsError(
                f"Stacker '{self.kind}' with --balance {self.balance} needs {least} utterances "
                f"of each class to be fitted or cross-fitted; too few of: "
                f"{first_few(shown) or 'all but one'}. Use {other}--stacker mean-probabilities."
            )


def _split(features: NDArray, targets: NDArray, seed: int) -> list[NDArray[np.intp]]:
    """Return the rows for each folded classifier: all folds except one."""
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    return [rows for rows, _ in splitter.split(features, targets)]


def draw_balanced(y: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return sorted row numbers of a balanced subset, with the size of the smallest class."""
    rng = np.random.default_rng(seed)
    rows_of = [np.flatnonzero(y == label) for label in np.unique(y)]
    size = min(len(rows) for rows in rows_of)
    return np.sort(np.concatenate([rng.choice(rows, size, replace=False) for rows in rows_of]))


def make_stacker(
    kind: str,
    labels: Sequence[str],
    *,
    balance: StackerBalance = "subset",
    fold: int | None = None,
    seed: int = 42,
    draws: int = 1,
) -> Stacker:
    """Return an unfitted stacker of `STACKERS`.

    Raises:
        UnknownNameError: ``kind`` is unknown.
        UsageError: ``fold`` is out of range, or the stacker has no folds.
    """
    if kind not in STACKERS:
        raise UnknownNameError("stacker", kind, (*STACKERS, "auto"))
    if fold is not None and (not _ESTIMATORS.get(kind, (None, False))[1] or fold >= NUM_FOLDS):
        raise UsageError(
            f"--fold is {fold} with stacker '{kind}', expected random-forest and 0 to 4."
        )
    if kind in _ESTIMATORS:
        return Learned(kind, tuple(labels), balance, fold, seed, draws)
    return Selection(kind, len(labels), seed) if kind in SELECTIONS else Average(kind)


def _forest(seed: int) -> Any:
    """Return the paper's forest (section 4.2) with the released code's ``max_features``."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        n_estimators=200,
        criterion="gini",
        max_depth=8,
        min_samples_leaf=10,
        min_samples_split=10,
        max_features="sqrt",
        random_state=seed,
        n_jobs=-1,
    )


def _boosted_trees(seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(
        n_estimators=200,
        max_depth=3,
        learning_rate=0.05,
        subsample=0.8,
        colsample_bytree=0.5,
        random_state=seed,
        n_jobs=1,  # a fixed order of summation gives the same result on any machine
    )


def _logistic_regression(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _linear(seed: int) -> Any:
    """Return Fisher's linear discriminant, which is closed-form and handles correlated logits."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


_ESTIMATORS: dict[str, tuple[Callable[[int], Any], bool]] = {
    "random-forest": (_forest, True),
    "xgboost": (_boosted_trees, False),
    "logistic-regression": (_logistic_regression, False),
    "linear": (_linear, False),
}
"""Factory of each kind, and whether there is one estimator for each of `NUM_FOLDS` folds."""

AVERAGES = ("mean-logits", "mean-probabilities", "majority-vote")
SELECTIONS = ("best-single", "log-pool", "greedy")
STACKERS = (*AVERAGES, *SELECTIONS, "linear", "logistic-regression", "xgboost", "random-forest")
"""Kinds from the simplest to the most flexible."""


def _fit(estimator: Any, features: NDArray, targets: NDArray, weighted: bool) -> Any:
    """Fit an estimator; if ``weighted``, with equal class weights."""
    name = type(estimator).__name__
    weights = compute_weights(targets)
    if name == "LinearDiscriminantAnalysis":  # no row weights; equal priors are equivalent
        priors = np.bincount(targets, weights) / len(targets)
        estimator.set_params(priors=priors if weighted else None)
        return estimator.fit(features, targets)
    argument = "logisticregression__sample_weight" if name == "Pipeline" else "sample_weight"
    # No weights of 1: scikit-learn's forests draw different bootstraps with weights.
    estimator.fit(features, targets, **({argument: weights} if weighted else {}))
    if name == "RandomForestClassifier":  # threads would sum probabilities in random order
        estimator.set_params(n_jobs=None)
    return estimator


def compute_weights(targets: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return row weights ``(N,)`` with equal sums per class and mean 1."""
    counts = np.bincount(targets)
    return (len(targets) / (len(counts) * counts))[targets]


def _importances(estimator: Any) -> NDArray[np.float64]:
    last = estimator[-1] if type(estimator).__name__ == "Pipeline" else estimator
    if hasattr(last, "coef_"):
        return np.abs(last.coef_).mean(axis=0)
    return np.asarray(last.feature_importances_, dtype=np.float64)
