"""Facts that a bundle records: encoders, metrics, and terms of the corpora."""

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from serctl.config import PROJECT_FILE, Workspace
from serctl.data.corpora import CORPORA
from serctl.data.manifest import Manifest
from serctl.documents.bundle import CorpusRecord, EncoderRecord, RecogniserRecord, SplitMetrics
from serctl.encoders.catalog import get_spec
from serctl.encoders.weights import hash_content, have_weights, resolve_weights
from serctl.ensemble.logits import Logits
from serctl.ensemble.systems import System
from serctl.errors import SerctlError, UsageError, first_few
from serctl.metrics.classification import METRICS, score_predictions
from serctl.system.parts import EncoderKey, Parts

NOT_STATED = "not stated"


def measure_splits(
    parts: Parts, manifest: Manifest
) -> tuple[dict[str, SplitMetrics], dict[str, int]]:
    """Return the metrics of every split with labels and predictions, except train.

    Utterances that a network was trained on are not in the metrics. Their number is returned by
    split as the second value.
    """
    folder = parts.stacker or next(iter(parts.networks.values())) / "logits"
    system = System(parts.name, "stacker" if parts.stacker else "run", folder)
    found: dict[str, SplitMetrics] = {}
    in_sample: dict[str, int] = {}
    for split in manifest.splits:
        rows = manifest.select(split).where(lambda row: row.emotion in parts.labels)
        logits = system.load(split, rows.ids) if split != "train" else None
        if logits is None:
            continue
        if number := int(logits.in_sample.sum()):
            in_sample[split] = number
        if number < len(logits):
            kept = [
                name for name, seen in zip(logits.ids, logits.in_sample, strict=True) if not seen
            ]
            unseen = logits.select(kept).reorder(parts.labels)
            found[split] = score_split(unseen, manifest, parts.labels)
    return found, in_sample


def count_unmeasured(manifest: Manifest, labels: Sequence[str]) -> dict[str, int]:
    """Return the number of utterances outside of train by emotion that the system lacks."""
    rows = (row.emotion for row in manifest if row.split != "train" and row.emotion)
    return dict(sorted(Counter(emotion for emotion in rows if emotion not in labels).items()))


def note_unmeasured(manifest: Manifest, labels: Sequence[str]) -> tuple[str, ...]:
    """Return notes on emotions that the system does not know, and on those that dev lacks."""
    rows = [row for row in manifest if row.split != "train" and row.emotion]
    unknown = count_unmeasured(manifest, labels)
    in_dev = {row.emotion for row in rows if row.split == "dev"}
    notes = []
    if unknown:
        number = sum(unknown.values())
        notes.append(
            f"Not in the metrics: {number} of {len(rows)} labelled utterances outside of "
            f"train have emotions that the system does not know ({first_few(list(unknown))}). "
            f"If it has them under other names: serctl init --map OLD=NEW"
        )
    if absent := [name for name in labels if name not in in_dev]:
        notes.append(
            f"No utterance of dev is {', '.join(absent)}: the calibration is fitted without."
        )
    return tuple(notes)


def score_split(logits: Logits, manifest: Manifest, labels: Sequence[str]) -> SplitMetrics:
    """Return the metrics of the labelled utterances that were predicted."""
    emotion = {row.utterance_id: row.emotion for row in manifest}
    true = np.array([labels.index(emotion[name]) for name in logits.ids])
    scores = score_predictions(true, logits.probabilities().argmax(axis=1), len(labels))
    metrics = {name: round(float(getattr(scores, name)), 6) for name in METRICS}
    return SplitMetrics(num_utterances=len(true), **metrics)


def check_license(name: str) -> None:
    """Check that a licence is an identifier as the hub's model cards have it.

    Raises:
        UsageError: It has capitals, blanks or other characters.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", name):
        raise UsageError(
            f"--license is '{name}', expected the hub's spelling in lower case without blanks, "
            f"such as cc-by-nc-4.0."
        )


def list_corpora(
    workspace: Workspace, manifest: Manifest, given: Sequence[str]
) -> list[CorpusRecord]:
    """Return the corpora and their terms: the given ones, else those that `serctl init` recorded.

    Raises:
        UsageError: A given corpus is not in the catalogue and has no terms.
    """
    named = {}
    for text in given:
        name, _, terms = (part.strip() for part in text.partition(":"))
        if not terms and name not in CORPORA:
            raise UsageError(
                f"--data is '{text}', expected NAME: TERMS. Use --data '{name}: TERMS'"
            )
        named[name] = terms or CORPORA[name].terms
    if not named:
        project = workspace.root / PROJECT_FILE
        text = project.read_text(encoding="utf-8") if project.is_file() else ""
        named = dict(re.findall(r"^# Terms of ([^:\n]+): (.+)$", text, re.MULTILINE))
    for name in sorted({row.extra.get("corpus", "") for row in manifest} - {"", *named}):
        named[name] = CORPORA[name].terms if name in CORPORA else NOT_STATED
    named = named or {NOT_STATED: NOT_STATED}
    return [CorpusRecord(name=name, terms=terms) for name, terms in named.items()]


def describe_encoder(one: EncoderKey, workspace: Workspace) -> EncoderRecord:
    """Return key and licence of an encoder, and the hash of its files if they are available."""
    key, license_id, content = one.key, NOT_STATED, ""
    with suppress(SerctlError):
        spec = get_spec(key.encoder, workspace.weights)
        license_id = spec.license or NOT_STATED
        if key.revision.startswith("sha256:"):
            content = key.revision
        elif have_weights(spec):  # do not download them for a hash
            found = resolve_weights(spec)
            if found.revision == key.revision:  # the machine may hold a newer commit
                content = hash_content(found.path, spec.files)
    return EncoderRecord(**key.to_dict(), digest=key.digest, license=license_id, content=content)


def drop_paths(recogniser: RecogniserRecord) -> RecogniserRecord:
    """Return the recogniser without settings that apply only to this machine."""
    if recogniser.settings is None:
        return recogniser
    kept = ("model", "language", "dtype", "layer", "storage", "seed")
    settings = {name: recogniser.settings[name] for name in kept}
    return recogniser.model_copy(update={"settings": settings})


def note_terms(encoders: Sequence[EncoderRecord], corpora: Sequence[CorpusRecord]) -> list[str]:
    """Return notes on local weights and on missing terms."""
    notes = []
    if local := [row.encoder for row in encoders if row.weights == "local"]:
        notes.append(
            f"{first_few(local)}: weights from this machine. Users of the bundle need the same "
            f"files, named under [weights] in serctl.toml."
        )
    if unstated := [row.name for row in corpora if row.terms == NOT_STATED]:
        notes.append(
            f"The terms of the training data are not stated"
            f"{'' if unstated == [NOT_STATED] else f' ({first_few(unstated)})'}. "
            f"State them: --data 'NAME: TERMS'"
        )
    return notes
