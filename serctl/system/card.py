"""The model card of a bundle: what it is for, what it must not be used for, what it was made of."""

from collections.abc import Mapping
from typing import Any

USE = """\
## Intended use

Research on emotional speech: one emotion, of those below, for an utterance of a few seconds by one
speaker. The classes are what raters heard (or actors were asked to play), not what a speaker felt.

## Limits

- It was judged on the corpora below and on nothing else. Another language, microphone, age, accent
  or way of speaking can cost most of the accuracy; measure it on your own labelled recordings.
- Probabilities are calibrated on the dev split of those corpora. On other audio they are not.
- Where a text branch reads recognised words, errors of the recogniser become errors here.
- Nothing here was tested for use in decisions about people. Do not use it for them.

## Law

- Regulation (EU) 2024/1689 (AI Act), Article 5(1)(f), prohibits AI systems that infer emotions of a
  natural person in the areas of workplace and education institutions, except for medical or safety
  reasons, since 2 February 2025. Recital 44 says why: limited reliability, lack of specificity,
  limited generalisability.
- Elsewhere, systems intended for emotion recognition from biometric data (Article 3(39)) are listed
  as high-risk (Annex III, point 1(c); Article 6 has exceptions). Whoever uses one must inform the
  people exposed to it (Article 50(3)).
- Voice recordings are personal data; consent and purpose are yours to settle. This is no legal
  advice, and other countries have other laws.

The Regulation: https://eur-lex.europa.eu/eli/reg/2024/1689/oj. It has been amended in 2026; the
points above were checked on 2026-11-22 against reproductions of it, not the Official Journal.
"""


def write_card(document: Mapping[str, Any]) -> str:
    """Return README.md of a bundle from what ``bundle.json`` says."""
    system = f"stacker `{document['stacker']['kind']}` over " if document["stacker"] else ""
    count = len(document["networks"])
    parts = [
        f"# {document['name']}",
        f"Speech emotion recognition: {system}{count} fusion network{'s' * (count > 1)} on frames "
        f"of frozen encoders. Emotions: {', '.join(document['labels'])}.",
        "    serctl predict AUDIO --model FOLDER",
        USE,
        "## Figures",
        _table(
            ("split", "utterances", "macro-F1", "UAR", "accuracy"),
            [
                (
                    split,
                    str(found["num_utterances"]),
                    *(f"{found[name]:.3f}" for name in ("macro_f1", "uar", "accuracy")),
                )
                for split, found in document["metrics"].items()
            ],
        ),
        "Answers as trained, before `--prior`. Dev fitted the temperature and may have chosen the "
        "epochs of the networks: its figures are too good.",
        f"Fitted on dev ({document['calibration']['num_rows']} utterances): temperature "
        f"{document['calibration']['temperature']:.2f}.",
        _table(
            ("emotion", "share in dev", "share that the answers imply"),
            [
                (
                    name,
                    f"{document['calibration']['natural_prior'][name]:.3f}",
                    f"{document['calibration']['implied_prior'][name]:.3f}",
                )
                for name in document["labels"]
            ],
        ),
        "## Encoders",
        "Not in this directory: they are found by name and must be of the revision given.",
        _table(
            ("encoder", "modality", "layer", "weights", "revision", "licence"),
            [
                tuple(
                    str(row[name])
                    for name in ("encoder", "modality", "layer", "weights", "revision", "license")
                )
                for row in document["encoders"]
            ],
        ),
        f"Words: {_words_of(document)}.",
        "## Data",
        _table(("corpus", "terms"), [(row["name"], row["terms"]) for row in document["corpora"]]),
        "The networks learnt from these recordings: their terms may bind the weights too.",
        f"Made by serctl {document['serctl']} on {document['made']}.",
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _words_of(document: Mapping[str, Any]) -> str:
    recogniser = document["recogniser"]
    return f"`{recogniser['source']}`" if recogniser else "none are read"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
