"""A thousand resamples of 25,000 utterances against a scikit-learn loop (`make bench-evaluate`).

The hard case is measured: every utterance its own speaker. The loop is timed on part of the
resamples and scaled, and its figures are compared with serctl's.
"""

import json
from time import perf_counter

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, recall_score

from serctl.metrics.bootstrap import draw_resamples, interval, score_resamples
from serctl.metrics.paired import compare_paired

NUM_UTTERANCES, NUM_CLASSES, NUM_RESAMPLES, LOOP_RESAMPLES = 25_000, 8, 1000, 50
SHARES = np.array([5836, 2341, 6344, 987, 326, 542, 1459, 7423]) / 25_258  # MSP-Podcast dev


def measure(num_speakers: int) -> dict[str, float]:
    """Time drawing, three metrics with intervals and a paired test, and the loop."""
    rng = np.random.default_rng(0)
    true = rng.choice(NUM_CLASSES, NUM_UTTERANCES, p=SHARES)
    wrong = rng.integers(0, NUM_CLASSES, (2, NUM_UTTERANCES))
    first, second = np.where(rng.random((2, NUM_UTTERANCES)) < 0.4, true, wrong)
    clusters = [f"s{i}" for i in np.arange(NUM_UTTERANCES) % num_speakers]

    start = perf_counter()
    resamples = draw_resamples(clusters, NUM_RESAMPLES)
    scores = score_resamples(resamples, true, first, NUM_CLASSES)
    bounds = [interval(values) for values in (scores.macro_f1, scores.uar, scores.accuracy)]
    seconds = perf_counter() - start
    compare_paired(resamples, true, ("first", first), ("second", second), NUM_CLASSES)
    with_test = perf_counter() - start

    start = perf_counter()
    options = {"labels": range(NUM_CLASSES), "average": "macro", "zero_division": 0}
    for i in range(LOOP_RESAMPLES):
        rows = np.repeat(
            np.arange(NUM_UTTERANCES), resamples.weights[i][resamples.cluster_of].astype(int)
        )
        figures = (
            f1_score(true[rows], first[rows], **options),
            recall_score(true[rows], first[rows], **options),
            accuracy_score(true[rows], first[rows]),
        )
        ours = scores.macro_f1[i], scores.uar[i], scores.accuracy[i]
        assert np.allclose(figures, ours), (figures, ours)
    loop = (perf_counter() - start) * NUM_RESAMPLES / LOOP_RESAMPLES
    print(
        f"{num_speakers:6d} speakers: {seconds:6.3f} s, with a paired test {with_test:6.3f} s, "
        f"scikit-learn loop {loop:6.1f} s (x{loop / seconds:.0f}), macro-F1 {bounds[0]}"
    )
    return {"seconds": seconds, "with_test": with_test, "loop": loop, "vs_loop": loop / seconds}


if __name__ == "__main__":
    print(f"{NUM_RESAMPLES} resamples of {NUM_UTTERANCES} utterances, {NUM_CLASSES} classes")
    speakers = measure(500)
    hard = measure(NUM_UTTERANCES)
    figures = hard | {"seconds_500_speakers": speakers["seconds"], "loop_measured": LOOP_RESAMPLES}
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
