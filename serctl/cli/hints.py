"""The next command that fits the state of the project."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serctl.config import Workspace

FEW = 5000
"""Maximum training utterances for the recipe ``small``. The paper's needs a large corpus."""


def choose_recipe(num_train: int) -> str:
    """Return the shipped recipe that fits the size of a corpus."""
    return "small" if num_train <= FEW else "paper"


def hint_train(workspace: "Workspace", branches: "Sequence[str]") -> str:
    """Return the command that trains on some branches (``--speech NAME``)."""
    from serctl.data.manifest_file import read_manifest

    recipe = choose_recipe(sum(row.split == "train" for row in read_manifest(workspace.manifest)))
    own = workspace.tables.get("train", {}).get("recipe")
    flag = "" if own or recipe == "paper" else f" --recipe {recipe}"
    return f"serctl train {' '.join(branches)}{flag}"


def hint_logits(workspace: "Workspace") -> str:
    """Return the command that follows an export: another export, `stack` or `evaluate`."""
    finished = sorted(path.parent for path in workspace.runs.glob("*/summary.json"))
    for run in finished:
        if not any((run / "logits").glob("*.csv")):
            return f"serctl export-logits {run.name}"
    has_stack = any(workspace.stackers.glob("*/stacker.json"))
    return "serctl evaluate" if len(finished) < 2 or has_stack else "serctl stack"
