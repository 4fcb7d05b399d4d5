"""A system that is standardised per speaker, on utterances whose speakers are unknown."""

from dataclasses import replace

import numpy as np
import torch

from serctl.config import Workspace
from serctl.data.labels import LabelSet
from serctl.data.manifest import Manifest
from serctl.documents.bundle import SplitMetrics
from serctl.documents.logits import LogitsSidecar
from serctl.encoding.features import check_features, reopen_branches
from serctl.ensemble.logits import Logits
from serctl.ensemble.stacker_folder import load_stacker
from serctl.system.bundle_facts import score_split
from serctl.system.parts import Parts
from serctl.training.checkpoint import load_run
from serctl.training.dataset import build_set, make_reader
from serctl.training.inference import infer
from serctl.training.run_folder import read_train_ids


def measure_without_speakers(
    workspace: Workspace, parts: Parts, manifest: Manifest, device: torch.device
) -> dict[str, SplitMetrics]:
    """Return the metrics of a plain `serctl predict` on every split but train, from stored frames.

    Utterances that a network was trained on are left out.

    Raises:
        CacheError: Frames are missing, or are of other audio or transcripts.
    """
    runs = {
        name: load_run(folder, device, parts.predicted_by.get(name))
        for name, folder in parts.networks.items()
    }
    branches = {name: reopen_branches(workspace, run.branches) for name, run in runs.items()}
    stacker = load_stacker(parts.stacker) if parts.stacker else None
    seen = frozenset[str]().union(*map(read_train_ids, parts.networks.values()))
    found = {}
    for split in manifest.splits:
        rows = manifest.select(split).where(lambda row: row.emotion in parts.labels)
        if split == "train":
            continue
        left_out = seen.union(
            *(check_features(workspace, one, rows.utterances)[0] for one in branches.values())
        )
        unlabelled = [replace(row, emotion="") for row in rows if row.utterance_id not in left_out]
        if not unlabelled:
            continue
        made = []
        for name, run in runs.items():
            readers = [make_reader(branch.stores) for branch in branches[name]]
            data = build_set(unlabelled, readers, LabelSet(run.labels))
            values = infer(run.model, data, device).logits
            unseen = np.zeros(len(data.ids), dtype=bool)
            made.append(Logits(data.ids, values, run.labels, unseen, name).reorder(parts.labels))
        predicted = made[0]
        if stacker is not None:
            kind = LogitsSidecar(kind="probabilities")
            predicted = replace(predicted, values=stacker.predict_parts(made), provenance=kind)
        found[split] = score_split(predicted, manifest, parts.labels)
    return found
