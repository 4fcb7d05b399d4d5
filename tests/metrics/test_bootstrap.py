"""Subsets as pandas draws them; the clustered bootstrap against plain copies of utterances."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_predictions import C, draw_predictions, macro_f1

from serctl.metrics.bootstrap import (
    draw_resamples,
    draw_subsets,
    interval,
    score_resamples,
    score_subsets,
)


@given(st.integers(0, 1000), st.integers(1, 60))
def test_subsets_are_the_draws_of_pandas_sample(seed: int, per_class: int) -> None:
    true, predicted, _ = draw_predictions(seed)
    subsets = draw_subsets(true, per_class, num_subsets=3)
    figures = score_subsets(true, predicted, subsets, C)
    frame = pd.DataFrame({"true": true, "predicted": predicted})
    size = min(per_class, frame["true"].value_counts().min())
    for i in range(3):
        parts = [frame[frame["true"] == c].sample(size, random_state=i) for c in range(C)]
        theirs = pd.concat(parts)
        assert subsets[i].tolist() == theirs.index.tolist()
        assert figures[i] == pytest.approx(macro_f1(theirs["true"], theirs["predicted"]))


def test_the_smallest_class_bounds_a_subset_and_absent_classes_have_no_rows() -> None:
    subsets = draw_subsets([0, 0, 0, 2, 2, 3, 3, 3], per_class=200, num_subsets=5)
    assert subsets.shape == (5, 6)
    assert all(len(set(row)) == 6 for row in subsets.tolist())


@given(st.integers(0, 1000), st.integers(2, 30))
def test_a_resample_scores_as_if_its_speakers_were_copied_out(seed: int, speakers: int) -> None:
    true, predicted, clusters = draw_predictions(seed, size=80, speakers=speakers)
    resamples = draw_resamples(clusters, num_resamples=4, seed=seed)
    figures = score_resamples(resamples, true, predicted, C).macro_f1
    for weights, figure in zip(resamples.weights, figures, strict=True):
        assert weights.sum() == resamples.num_clusters == len(set(clusters))
        copies = np.repeat(np.arange(80), weights[resamples.cluster_of].astype(int))
        assert figure == pytest.approx(macro_f1(true[copies], predicted[copies]))


def test_resamples_do_not_depend_on_the_order_of_utterances() -> None:
    true, predicted, clusters = draw_predictions(1)
    order = np.random.default_rng(0).permutation(len(true))
    plain = score_resamples(draw_resamples(clusters), true, predicted, C)
    shuffled = draw_resamples([clusters[i] for i in order])
    assert np.array_equal(
        plain.macro_f1, score_resamples(shuffled, true[order], predicted[order], C).macro_f1
    )


def test_resampling_speakers_is_wider_than_resampling_utterances() -> None:
    rng = np.random.default_rng(3)
    easy = rng.random(20) < 0.5  # half the speakers are always understood, half never
    speakers = np.repeat(np.arange(20), 50)
    true = rng.integers(0, C, 1000)
    predicted = np.where(easy[speakers], true, (true + 1) % C)

    def width(clusters) -> float:
        low, high = interval(score_resamples(draw_resamples(clusters), true, predicted, C).macro_f1)
        return high - low

    assert width([str(s) for s in speakers]) > 3 * width([str(i) for i in range(1000)])
