"""A made-up evaluation as `serctl evaluate` leaves it, and what a page reads beside it."""

import json
import math
from pathlib import Path

import numpy as np
from synthetic_run import SUMMARY, make_branch, write_run

from serctl.config import PROJECT_FILE, Workspace, read_workspace
from serctl.data.labels import EMOTIONS
from serctl.documents.report import PairedResult, Report, SystemFacts, UtteranceColumns
from serctl.evaluation.published import RELEASED
from serctl.evaluation.trial import duration_group, make_trial, score_system
from serctl.metrics.paired import PairedTest
from serctl.options import TrainOptions

SHARES = (0.23, 0.09, 0.25, 0.04, 0.03, 0.03, 0.05, 0.28)
WORDS = ("I", "think", "that", "is", "really", "not", "what", "she", "told", "me", "last", "year")
PAPER = (
    ("hubert-xlarge", "roberta-large"),
    ("whisper-large-v3", "roberta-large"),
    ("wavlm-large", "roberta-large"),
    ("whisper-large-v3", "deberta-v2-xxlarge"),
    ("whisper-large-v3", "hubert-xlarge"),
    ("whisper-large-v3", "roberta-large", "facodec-prosody"),
)


def make_evaluation(size=400, runs=("a", "b"), stacker="stack", *, prefix="MSP-PODCAST_", seed=0):
    """Return the JSON of runs of growing skill, a stacker better than all, the majority class."""
    rng = np.random.default_rng(seed)
    true = rng.choice(8, size, p=np.array(SHARES) / sum(SHARES))
    true[:8] = range(8)
    seconds = rng.gamma(4, 1.4, size).round(2)
    speakers = [f"s{i:03d}" for i in rng.integers(0, max(8, size // 40), size)]
    genders = ["fm"[int(name[1:]) % 2] for name in speakers]
    trial = make_trial(
        EMOTIONS,
        true,
        speakers,
        groups={
            "speaker": speakers,
            "gender": genders,
            "duration": [duration_group(s) for s in seconds],
        },
        num_resamples=50,
    )
    difficulty = rng.normal(0, 1, (size, 8))
    systems = []
    for i, name in enumerate((*runs, stacker)):
        is_stacker = name == stacker
        noise = difficulty + rng.normal(0, 0.7, (size, 8))
        values = noise + (2.0 if is_stacker else 1.2 + 0.05 * i) * np.eye(8)[true]
        facts = {"base_models": list(runs), "stack_on": "heldout"} if is_stacker else {}
        systems.append(_score(trial, name, "stacker" if is_stacker else "run", values, facts))
    systems.append(_score(trial, "majority-class", "baseline", np.tile(np.log(SHARES), (size, 1))))
    utterances = UtteranceColumns(
        utterance_id=[f"{prefix}{i:04d}_{i % 97:04d}" for i in range(size)],
        true=true.tolist(),
        speaker=speakers,
        gender=genders,
        duration=seconds.tolist(),
        path=[f"/nowhere/{prefix}{i:04d}.wav" for i in range(size)],
        transcript=[" ".join(rng.choice(WORDS, 4 + i % 12)) for i in range(size)],
    )
    report = Report(
        serctl_report=1,
        title=f"Evaluation on dev: {size} utterances",
        split="dev",
        labels=EMOTIONS,
        num_utterances=size,
        num_speakers=len(set(speakers)),
        warnings=["The epoch of every run was selected on dev: metrics on dev are optimistic."],
        notes=["BS-F1: mean of 100 balanced subsets.", "95 % intervals: resampled speakers."],
        systems=systems,
        paired=[make_verdict(f"{stacker} is better than a by 0.1 macro-F1.", is_real=True)],
        utterances=utterances,
    )
    return json.loads(json.dumps(report.to_dict()))


def make_verdict(text, *, is_real):
    test = PairedTest("stack", "a", 0.1, 0.05, 0.15, 0.01, 9)
    return PairedResult(**vars(test), corrected_p=0.01, is_real=is_real, verdict=text)


def read_evaluation(document) -> Report:
    """Return the report as `serctl report` reads it."""
    return Report.parse(json.dumps(document).encode(), "report.json")


def _score(trial, name, kind, values, facts=None):
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    facts = SystemFacts(**facts or {})
    return score_system(trial, name, kind, probabilities, facts=facts)


def write_project(
    folder: Path, document, *, name="dev", encoders=PAPER[:2], released=True
) -> Workspace:
    """Write the evaluation and the runs and stackers that it names."""
    (folder / PROJECT_FILE).parent.mkdir(parents=True, exist_ok=True)
    (folder / PROJECT_FILE).write_text("")
    _write(folder / "reports" / f"{name}.json", json.dumps(document))
    runs = [system["name"] for system in document["systems"] if system["kind"] == "run"]
    recipe = RELEASED if released else {}
    for i, run in enumerate(runs):
        loss = ("wce", "wce+sml")[i // len(encoders) % 2]
        branches = [make_branch(encoder) for encoder in encoders[i % len(encoders)]]
        write_run(folder / "runs" / run, TrainOptions(**recipe, loss=loss), branches)
        summary = SUMMARY.model_copy(update={"best_epoch": 9 + i % 5})
        summary.write(folder / "runs" / run / "summary.json")
        records = [_epoch(epoch, i) for epoch in range(1, 21)]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        _write(folder / "runs" / run / "metrics.jsonl", lines)
    for system in document["systems"]:
        if system["kind"] == "stacker":
            rng = np.random.default_rng(1)
            shares = rng.dirichlet(np.full(len(runs) * 8, 2.0)).reshape(len(runs), 8)
            stacker = {"serctl_stacker": 1, "kind": "random-forest", "models": runs}
            stacker |= {"labels": EMOTIONS, "importances": shares.tolist()}
            _write(folder / "stackers" / system["name"] / "stacker.json", json.dumps(stacker))
    return read_workspace(folder / PROJECT_FILE)


def _epoch(epoch, i):
    wave = 0.004 * math.sin(3.1 * epoch + i)
    loss = 1.2 + (0.8 + 0.03 * i) * math.exp(-epoch / 6) + wave
    score = 0.4 + 0.008 * (i % 7) - 0.25 * math.exp(-epoch / 4) - 0.0004 * max(0, epoch - 9) ** 2
    return {"epoch": epoch, "loss": loss, "dev_macro_f1": score + wave}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
