"""One line on the terminal for each step of `serctl run`."""

from statistics import fmean
from typing import TYPE_CHECKING, Any

from serctl.errors import count

if TYPE_CHECKING:
    from collections.abc import Callable

    from serctl.pipeline import RecipeStep
    from serctl.stages.export_logits import ExportLogitsResult
    from serctl.stages.extract import ExtractResult
    from serctl.stages.stack import StackResult
    from serctl.stages.train import TrainResult
    from serctl.stages.transcribe import TranscribeResult

STAGE_WIDTH = len("export-logits")


def describe_step(step: "RecipeStep", result: Any) -> str:
    """Return stage, subject and outcome of a finished step; '' if the step prints a table."""
    if step.stage not in SUMMARIES:
        return ""
    return f"{step.stage:<{STAGE_WIDTH}}  {step.what}: {SUMMARIES[step.stage](result)}"


def _transcribe(result: "TranscribeResult") -> str:
    return _count(result.transcribed, "transcribed", result.present, result.failed)


def _extract(result: "ExtractResult") -> str:
    return _count(result.encoded, "encoded", result.present, result.failed)


def _count(done: int, verb: str, present: int, failed: int) -> str:
    parts = [f"{done:,} {verb}"] if done or not present else []
    parts += [f"{present:,} already done"] if present else []
    parts += [f"{failed:,} could not be read"] if failed else []
    return ", ".join(parts)


def _train(result: "TrainResult") -> str:
    """Return the outcome of the run, and the mean dev metric of its fold models."""
    networks = (*result.runs, *result.folds)
    if all(one.present for one in networks):
        return "already trained"
    found = result.runs[0].summary
    fits = count(len(result.folds) or 1, "fit")
    parts = [f"epoch {found.best_epoch} of {found.epochs}" if found.epochs else fits]
    if found.metrics:
        parts.append(f"dev macro-F1 {found.metrics['dev_macro_f1']:.3f}")
        folds = [fold.summary.metrics["dev_macro_f1"] for fold in result.folds]
        parts += [f"each fold alone {fmean(folds):.3f}"] if folds else []
    from serctl.training.run_folder import MODEL

    has_main = (result.runs[0].folder / MODEL).is_file()  # else its seconds include the folds'
    counted = networks if has_main else result.runs
    seconds = sum(one.summary.seconds for one in counted)
    return ", ".join([*parts, f"{seconds:,.0f} s"])


def _export(result: "ExportLogitsResult") -> str:
    splits = ", ".join(f"{part.split} {part.rows:,}" for part in result.splits)
    return f"{splits}{', already done' if all(part.present for part in result.splits) else ''}"


def _stack(result: "StackResult") -> str:
    from serctl.documents.logits import name_source

    rows = f"{count(result.num_rows, 'utterance')} ({name_source(result.stack_on)})"
    return f"{result.kind} over {len(result.models)} models, {rows}"


SUMMARIES: "dict[str, Callable[[Any], str]]" = {
    "transcribe": _transcribe,
    "extract": _extract,
    "train": _train,
    "export-logits": _export,
    "stack": _stack,
}
