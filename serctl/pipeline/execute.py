"""Carry a plan out, one stage after the other; each does only what is missing."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import import_module
from multiprocessing import get_context
from typing import Any

from serctl.config import Workspace
from serctl.pipeline.recipe import Step
from serctl.progress import Progress, silent


def run_steps(
    workspace: Workspace,
    steps: Sequence[Step],
    *,
    jobs: int = 1,
    tell: Callable[[Step, Any], None] = lambda step, result: None,
    log: Callable[[str], None] = lambda line: None,
    progress: Progress = silent,
) -> Any:
    """Call the stages of a plan and return the result of the last.

    Args:
        workspace: The project.
        steps: From `plan_steps`.
        jobs: Trainings at a time, each in a process of its own with its share of the cores.
        tell: Called with each finished step and its result.
        log: Hears a line for every epoch.
        progress: Where the stages report to.

    Raises:
        SerctlError: A stage failed; what the stages before it made stays, and the next run of the
            same plan goes on from there.
    """
    result: Any = None
    together = [step for step in steps if step.stage == "train"] if jobs > 1 else []
    for step in steps:
        if step in together:
            if step is together[0]:
                _train_together(workspace, together, jobs, tell, progress)
            continue
        more = {"log": log} if step.stage == "train" else {}
        result = call_stage(workspace, step, progress=progress, **more)
        tell(step, result)
    return result


def call_stage(workspace: Workspace, step: Step, **more: Any) -> Any:
    """Call the stage function of a step."""
    name = step.stage.replace("-", "_")
    return getattr(import_module(f"serctl.stages.{name}"), name)(workspace, step.options, **more)


def _train_together(
    workspace: Workspace,
    steps: Sequence[Step],
    jobs: int,
    tell: Callable[[Step, Any], None],
    progress: Progress,
) -> None:
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with (
        progress.task(f"training {jobs} at a time", len(steps)) as advance,
        ProcessPoolExecutor(
            jobs, mp_context=get_context("spawn"), initializer=_limit_threads, initargs=(threads,)
        ) as pool,
    ):
        waiting = {pool.submit(call_stage, workspace, step): step for step in steps}
        try:
            for finished in as_completed(waiting):
                tell(waiting[finished], finished.result())
                advance(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
