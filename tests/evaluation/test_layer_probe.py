"""Cross-validated comparison of layers: equal to scikit-learn, and noise is not significant."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from serctl.cache.key import FeatureKey
from serctl.documents.layers import LayerScore, LayersDocument
from serctl.evaluation.layer_probe import REGULARISATION, predict_folds, score_layers
from serctl.metrics.bootstrap import draw_resamples
from serctl.page.layer_curve import draw_curve

SPEAKERS, SIZE = 12, 240
RNG = np.random.default_rng(0)
TARGETS = np.tile(np.arange(4), SIZE // 4)
SPEAKER = np.arange(SIZE) // (SIZE // SPEAKERS)
FOLD = SPEAKER % 3
KEY = FeatureKey("whisper", "speech", "w", "r", 0, "float32", "30s", "audio-16k-mono")


def make_layer(strength: float, width: int = 20, seed: int = 1) -> np.ndarray:
    """Noise around a mean of the class, with the given strength."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(4, width)) * strength
    return (means[TARGETS] + rng.normal(size=(SIZE, width))).astype(np.float32)


def make_document(strengths: tuple[float, ...]) -> LayersDocument:
    moments = np.stack([make_layer(one, seed=i) for i, one in enumerate(strengths)])
    numbers = (*range(len(strengths) - 1), -1)
    resamples = draw_resamples([f"s{one}" for one in SPEAKER])
    scores = score_layers(moments, numbers, TARGETS, FOLD, resamples)
    return LayersDocument(
        serctl_layers=1, encoder="whisper", key=KEY, labels=("a", "b", "c", "d"), utterances=SIZE,
        speakers=SPEAKERS, folds=3, data="", scores=tuple(scores),
    )  # fmt: skip


@pytest.mark.parametrize("width", [20, 400])
def test_predictions_are_those_of_scikit_learn(width: int) -> None:
    vectors = make_layer(0.3, width)
    vectors[:, 0] = 7.0  # a value that never varies
    expected = np.empty(SIZE, dtype=np.intp)
    for fold in range(3):
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=REGULARISATION, max_iter=500, class_weight="balanced"),
        )
        model.fit(vectors[fold != FOLD], TARGETS[fold != FOLD])
        expected[fold == FOLD] = model.predict(vectors[fold == FOLD])
    assert (predict_folds(vectors, TARGETS, FOLD) == expected).mean() > 0.99


def test_a_fold_that_holds_all_of_one_of_two_emotions_is_predicted_as_the_other() -> None:
    vectors, targets = make_layer(0.3), (SPEAKER == 0).astype(np.intp)
    predicted = predict_folds(vectors, targets, FOLD)
    assert (predicted[SPEAKER % 3 == 0] == 0).all()
    assert (predicted[SPEAKER % 3 == 1] == 1).any()


def test_a_layer_with_more_information_is_found_and_named() -> None:
    document = make_document((0.0, 0.6, 0.6, 0.1))
    assert [score.layer for score in document.scores] == [0, 1, 2, -1]
    assert document.best.layer in (1, 2)
    assert document.last.is_worse
    assert document.last.behind_low > 0
    assert document.best.low < document.best.macro_f1 < document.best.high
    assert "above the last layer" in document.verdict()
    assert document.next_command("whisper").endswith(f"--layer {document.best.layer}")


def test_differences_of_noise_are_called_noise_and_keep_the_last_layer() -> None:
    document = make_document((0.3, 0.3, 0.3))
    if document.best is not document.last:
        assert "noise" in document.verdict()
    assert document.next_command("whisper") == "serctl extract --encoder whisper"


def test_the_best_layer_is_compared_with_itself_as_equal() -> None:
    best = make_document((0.0, 0.5, 0.1)).best
    assert (best.behind, best.is_worse) == (0.0, False)


def test_the_curve_is_an_svg_with_every_layer() -> None:
    from xml.etree import ElementTree

    scores = tuple(
        LayerScore(
            layer=n, macro_f1=0.5 + n / 100, low=0.4, high=0.7, uar=0.5, behind=0.0,
            behind_low=0.0, behind_high=0.0, p_value=1.0, is_worse=False,
        )
        for n in (*range(24), -1)
    )  # fmt: skip
    document = make_document((0.1, 0.2)).model_copy(
        update={"scores": scores, "encoder": "<b>&evil"}
    )
    root = ElementTree.fromstring(draw_curve(document))
    assert len(root.findall("{*}circle")) == 25
    assert "<b>&evil" in "".join(root.itertext())
