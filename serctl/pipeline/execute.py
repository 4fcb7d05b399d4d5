"""Run the steps of a plan in order. A step does only what is missing."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from importlib import import_module
from itertools import groupby
from multiprocessing import get_context
from threading import Lock
from typing import Any

from serctl.config import Workspace
from serctl.errors import ConfigError
from serctl.pipeline.recipe import Step
from serctl.progress import Progress, silent

Tell = Callable[[Step, Any], None]
Log = Callable[[str], None]
DASK_SECONDS = 5
"""Seconds that a scheduler has to respond."""
_TRAINING = Lock()
"""A process has one global random generator, so threads of a Dask worker train in turn."""


def run_steps(
    workspace: Workspace,
    steps: Sequence[Step],
    *,
    jobs: int = 1,
    scheduler: str = "",
    tell: Tell = lambda step, result: None,
    log: Log = lambda line: None,
    log_epoch: Log = lambda line: None,
    progress: Progress = silent,
) -> Any:
    """Run the steps of a plan and return the result of the last.

    Args:
        workspace: The project; with a ``scheduler``, on a file system that all workers share.
        steps: From `plan_steps`.
        jobs: Trainings at a time, each in a process of its own with its share of the cores.
        scheduler: Address of a Dask scheduler whose workers extract and train.
        tell: Called with each finished step and its result.
        log: Receives notes of trainings, and the error of one while others are under way.
        log_epoch: Receives a line for every epoch.
        progress: Shows the progress of each stage.

    Raises:
        SerctlError: A stage failed. The results of the stages before it are kept, and the next run
            of the same plan continues from there.
    """
    result: Any = None
    with _open_pool(jobs, scheduler) as pool:
        for stage, group in groupby(steps, key=lambda step: step.stage):
            if pool and stage in (("extract", "train") if scheduler else ("train",)):
                result = _call_together(pool, workspace, list(group), tell, log, progress)
                continue
            more = {"log": log, "log_epoch": log_epoch} if stage == "train" else {}
            for step in group:
                result = call_stage(workspace, step, progress=progress, **more)
                tell(step, result)
    return result


def call_stage(workspace: Workspace, step: Step, **more: Any) -> Any:
    """Call the stage function of a step."""
    name = step.stage.replace("-", "_")
    stage = getattr(import_module(f"serctl.stages.{name}"), name)
    with _TRAINING if name == "train" else nullcontext():
        return stage(workspace, step.options, **more)


def _call_together(
    pool: Executor,
    workspace: Workspace,
    steps: Sequence[Step],
    tell: Tell,
    log: Log,
    progress: Progress,
) -> Any:
    """Run steps that do not depend on each other; return the result of the last to finish.

    The error of a step is logged at once. It is raised when the other steps under way have ended.
    """
    with progress.task(f"{steps[0].stage} in parallel", len(steps), "steps") as advance:
        waiting = {pool.submit(call_stage, workspace, step): step for step in steps}
        result: Any = None
        try:
            for finished in as_completed(waiting):
                result = finished.result()
                tell(waiting[finished], result)
                advance(1)
        except BaseException as error:
            for future in waiting:
                future.cancel()
            if under_way := sum(not future.done() for future in waiting):
                what = f"Error: {error}" if str(error) else "Interrupted."
                log(f"{what} Waiting for {under_way} steps under way.")
            raise
    return result


@contextmanager
def _open_pool(jobs: int, scheduler: str) -> Iterator[Executor | None]:
    if scheduler:
        with _connect(scheduler) as client:
            yield client.get_executor()
    elif jobs > 1:
        threads = max(1, (os.cpu_count() or 1) // jobs)
        context = get_context("spawn")
        with ProcessPoolExecutor(jobs, context, _limit_threads, (threads,)) as pool:
            yield pool
    else:
        yield None


def _connect(scheduler: str) -> Any:
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise ConfigError(
            "--dask needs Dask. Install it with: pip install 'serctl[dask]'"
        ) from None
    try:
        return Client(scheduler, timeout=DASK_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"No Dask scheduler answers at '{scheduler}' ({error}). Start one with: dask scheduler"
        ) from error


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
