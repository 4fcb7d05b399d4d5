"""Run the steps of a plan in order. Finished work is skipped."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from multiprocessing import get_context
from threading import Lock
from typing import Any

from serctl.config import Workspace
from serctl.errors import SerctlError, UsageError
from serctl.options.idle import refuse_idle
from serctl.pipeline.parts import can_cut, connect, run_in_parts
from serctl.pipeline.recipe import RecipeStep
from serctl.progress import Log, Progress, silent

ReportStep = Callable[[RecipeStep, Any], None]
_ALONE = Lock()
"""Lock for the threads of a worker, because random generator and thread count are per process."""


@dataclass(frozen=True)
class Execution:
    """Settings of running steps, and receivers of their reports.

    Attributes:
        jobs: Number of parallel trainings, each in a separate process with its share of the cores.
        scheduler: Address of a Dask scheduler whose workers transcribe, extract and train, or
            ``local``. The project must be on a file system that all workers share.
        report: Called with each finished step and its result.
        log: Receives notes of trainings, and errors while other steps are running.
        log_epoch: Receives a line for every epoch.
        progress: Reports the progress of each stage.
    """

    jobs: int = 1
    scheduler: str = ""
    report: ReportStep = lambda step, result: None
    log: Log = lambda line: None
    log_epoch: Log = lambda line: None
    progress: Progress = silent


IN_TURN = Execution()
"""Default: sequential steps in this process, without reports."""


def run_steps(
    workspace: Workspace, steps: Sequence[RecipeStep], execution: Execution = IN_TURN
) -> Any:
    """Run the steps of a plan, from `plan_recipe`, and return the result of the last.

    Raises:
        UsageError: A step is a part already, and the workers of a scheduler make parts too; or
            jobs and a scheduler are given.
        SerctlError: A stage failed. The results of the stages before it are kept, and the next run
            of the same plan continues from there.
    """
    if execution.scheduler and any(getattr(step.options, "shard", "") for step in steps):
        raise UsageError("--shard and --dask exclude each other: --dask makes its own parts.")
    if execution.scheduler:
        refuse_idle({"--jobs": execution.jobs > 1}, "with --dask", "its workers train")
    result: Any = None
    with _open_pool(execution) as pool:
        for stage, group in groupby(steps, key=lambda step: step.stage):
            if pool and stage == "train":
                result = _call_together(pool, workspace, list(group), execution)
                continue
            logs = {"log": execution.log, "log_epoch": execution.log_epoch}
            more = logs if stage == "train" else {}
            for step in group:
                if execution.scheduler and pool and can_cut(step):
                    log, progress = execution.log, execution.progress
                    result = run_in_parts(pool, call_stage, workspace, step, log, progress)
                else:
                    result = call_stage(workspace, step, progress=execution.progress, **more)
                execution.report(step, result)
    return result


def call_stage(workspace: Workspace, step: RecipeStep, **more: Any) -> Any:
    """Call the stage function of a step."""
    name = step.stage.replace("-", "_")
    stage = getattr(import_module(f"serctl.stages.{name}"), name)
    with _ALONE if name in ("train", "extract", "transcribe") else nullcontext():
        return stage(workspace, step.options, **more)


def _call_together(
    pool: Executor, workspace: Workspace, steps: Sequence[RecipeStep], execution: Execution
) -> Any:
    """Run independent steps in parallel and return the result of the last one to finish.

    The error of a step is logged at once. It is raised when the other running steps have ended.
    """
    with execution.progress.task(f"{steps[0].stage} in parallel", len(steps), "steps") as advance:
        waiting = {pool.submit(call_stage, workspace, step): step for step in steps}
        result: Any = None
        try:
            for finished in as_completed(waiting):
                result = finished.result()
                execution.report(waiting[finished], result)
                advance(1)
        except BaseException as error:
            for future in waiting:
                future.cancel()
            if under_way := sum(not future.done() for future in waiting):
                what = f"Error: {error}" if str(error) else "Interrupted."
                execution.log(f"{what} Waiting for {under_way} running steps.")
            raise
    return result


@contextmanager
def _open_pool(execution: Execution) -> Iterator[Executor | None]:
    if execution.scheduler:
        with connect(execution.scheduler) as client:
            execution.log(f"Dask: {client.dashboard_link}")
            yield client.get_executor(retries=1)
    elif execution.jobs > 1:
        threads = max(1, (os.cpu_count() or 1) // execution.jobs)
        context = get_context("spawn")
        with ProcessPoolExecutor(execution.jobs, context, _limit_threads, (threads,)) as pool:
            try:
                yield pool
            except BrokenProcessPool:
                raise SerctlError(
                    f"A process of --jobs {execution.jobs} was killed, perhaps because the memory "
                    f"was full. Expected memory for {execution.jobs} trainings at once. Run the "
                    f"same command again with a smaller --jobs; it continues."
                ) from None
    else:
        yield None


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
