"""The challenge's CSV file: ``FileName,EmoClass``, one class code per file."""

import csv
from collections import Counter
from pathlib import Path

from serctl.config import Workspace
from serctl.data.labels import EMOTIONS
from serctl.data.manifest import Manifest
from serctl.data.outputs import check_output_file
from serctl.ensemble.systems import System, find_systems, list_systems
from serctl.errors import LogitsError, UsageError, first_few
from serctl.files import write_atomic
from serctl.options import EvaluateOptions

CODES = dict(zip(EMOTIONS, "ASHUFDCN", strict=True))


def write_submission(
    workspace: Workspace, manifest: Manifest, options: EvaluateOptions
) -> tuple[str, Path, System]:
    """Write one system's predictions for one split. Default: the only stacker and unlabelled split.

    Returns:
        Split, file and system.

    Raises:
        UsageError: The system or the split is ambiguous, or a file has several utterances.
        LogitsError: The system has no prediction for an utterance, or labels without a code.
    """
    systems = find_systems(workspace, options.systems)
    if not systems:
        known = list_systems(workspace)
        systems = [system for system in known if system.kind == "stacker"] or known
    if len(systems) != 1:
        shown = first_few(system.name for system in systems) or "none"
        raise UsageError(
            f"{len(systems)} systems ({shown}), expected one for a submission. Name it: "
            f"serctl evaluate NAME --submission FILE"
        )
    open_splits = [
        split for split in manifest.splits if not any(row.emotion for row in manifest.select(split))
    ]
    if not options.split and len(open_splits) != 1:
        shown = ", ".join(open_splits or manifest.splits)
        raise UsageError(f"No split given for the submission. Add: --split NAME (one of {shown}).")
    split = options.split or open_splits[0]
    rows = manifest.select(split)
    logits = systems[0].load_all(split, rows.ids)
    if lacking := [name for name in rows.ids if name in logits.unread]:
        raise LogitsError(
            f"'{logits.name}' has no prediction for {len(lacking)} of {len(rows)} utterances "
            f"({first_few(lacking)}), expected all of them. They could not be read: repair the "
            f"files (see failures.csv), then extract and export again."
        )
    if strange := sorted(set(logits.labels) - set(CODES)):
        raise LogitsError(
            f"'{logits.name}' has the labels {first_few(strange)}, expected only those with a code "
            f"of the challenge: {', '.join(CODES)}. Train it on these."
        )
    names = Counter(row.path.name for row in rows)
    if twice := [name for name, times in names.items() if times > 1]:
        raise UsageError(
            f"{len(twice)} files of '{split}' have several utterances ({first_few(twice)}), "
            f"expected a FileName once. Write a submission with a manifest of whole files, each of "
            f"another name."
        )
    path = Path(options.submission)
    check_output_file(workspace, path, "--submission")
    with write_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["FileName", "EmoClass"])
        for row, label_id in zip(rows, logits.values.argmax(axis=1), strict=True):
            writer.writerow([row.path.name, CODES[logits.labels[label_id]]])
    return split, path, systems[0]
