"""Run the steps of a plan in order. Finished work is skipped."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import groupby
from multiprocessing import get_context
from threading import Lock
from time import perf_counter
from typing import Any

from serctl.config import Workspace
from serctl.errors import ConfigError, SerctlError
from serctl.pipeline.recipe import Step
from serctl.progress import Progress, silent

Tell = Callable[[Step, Any], None]
Log = Callable[[str], None]
DASK_SECONDS = 5
"""Maximum seconds to wait for a scheduler."""
PARTS = 4
"""Parts of an encoder's work per thread of the workers. A killed worker loses one part."""
_ALONE = Lock()
"""Lock for the threads of a worker, because random generator and thread count are per process."""


@dataclass(frozen=True)
class Execution:
    """Settings of running steps, and receivers of their reports.

    Attributes:
        jobs: Number of parallel trainings, each in a separate process with its share of the cores.
        scheduler: Address of a Dask scheduler whose workers extract and train, or ``local``. The
            project must be on a file system that all workers share.
        tell: Called with each finished step and its result.
        log: Receives notes of trainings, and errors while other steps are running.
        log_epoch: Receives a line for every epoch.
        progress: Reports the progress of each stage.
    """

    jobs: int = 1
    scheduler: str = ""
    tell: Tell = lambda step, result: None
    log: Log = lambda line: None
    log_epoch: Log = lambda line: None
    progress: Progress = silent


IN_TURN = Execution()
"""Default: sequential steps in this process, without reports."""


def run_steps(workspace: Workspace, steps: Sequence[Step], execution: Execution = IN_TURN) -> Any:
    """Run the steps of a plan, from `plan_steps`, and return the result of the last.

    Raises:
        SerctlError: A stage failed. The results of the stages before it are kept, and the next run
            of the same plan continues from there.
    """
    result: Any = None
    with _open_pool(execution) as pool:
        for stage, group in groupby(steps, key=lambda step: step.stage):
            if execution.scheduler and pool and stage == "extract":
                for step in group:
                    result = _extract_in_parts(pool, workspace, step, execution)
                    execution.tell(step, result)
                continue
            if pool and stage == "train":
                result = _call_together(pool, workspace, list(group), execution)
                continue
            logs = {"log": execution.log, "log_epoch": execution.log_epoch}
            more = logs if stage == "train" else {}
            for step in group:
                result = call_stage(workspace, step, progress=execution.progress, **more)
                execution.tell(step, result)
    return result


def call_stage(workspace: Workspace, step: Step, **more: Any) -> Any:
    """Call the stage function of a step."""
    name = step.stage.replace("-", "_")
    stage = getattr(import_module(f"serctl.stages.{name}"), name)
    with _ALONE if name in ("train", "extract") else nullcontext():
        return stage(workspace, step.options, **more)


def _call_together(
    pool: Executor, workspace: Workspace, steps: Sequence[Step], execution: Execution
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
                execution.tell(waiting[finished], result)
                advance(1)
        except BaseException as error:
            for future in waiting:
                future.cancel()
            if under_way := sum(not future.done() for future in waiting):
                what = f"Error: {error}" if str(error) else "Interrupted."
                execution.log(f"{what} Waiting for {under_way} running steps.")
            raise
    return result


def _extract_in_parts(
    pool: Executor, workspace: Workspace, step: Step, execution: Execution
) -> Any:
    """Extract one encoder on all workers. A part that fails twice is logged; the others continue.

    Parts are strides of the batches, which are sorted by length, so they take similar times.
    """
    size = PARTS * max(1, sum(pool._client.nthreads().values()))  # type: ignore[attr-defined]
    parts = [
        replace(step, options=replace(step.options, shard=f"{i}/{size}"))
        for i in range(1, size + 1)
    ]
    errors: list[SerctlError] = []
    results: list[Any] = []
    start = perf_counter()
    with execution.progress.task(f"extract {step.what}", size, "parts") as advance:
        waiting = {pool.submit(call_stage, workspace, part): part for part in parts}
        for finished in as_completed(waiting):
            error, where = finished.exception(), waiting[finished].options.shard
            if error is None:
                results.append(finished.result())
            elif isinstance(error, SerctlError):
                errors.append(error)
            elif type(error).__name__ == "KilledWorker":  # Dask gives up after four workers
                errors.append(SerctlError("its workers were killed. Run the same command again."))
            else:
                raise error
            if error:
                execution.log(f"Error in {step.what}, part {where} (failed twice): {errors[-1]}")
            advance(1)
    if errors:
        raise errors[0]
    return _add_up(results, perf_counter() - start)


def _add_up(parts: Sequence[Any], seconds: float) -> Any:
    """Return the result of an extraction from the results of its parts."""
    sums = {
        name: sum(getattr(part, name) for part in parts)
        for name in ("encoded", "windowed", "frames", "audio_seconds")
    }
    failed = max(part.failed for part in parts)
    whole = [part.utterances for part in parts if not part.shard]  # parts without work
    seen = max(whole) if whole else sum(part.utterances for part in parts)
    return replace(
        parts[0],
        utterances=seen,
        present=max(0, seen - sums["encoded"] - failed),
        failed=failed,
        failures=next((part.failures for part in parts if part.failures), None),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        seconds=seconds,
        shard="",
        **sums,
    )


@contextmanager
def _open_pool(execution: Execution) -> Iterator[Executor | None]:
    if execution.scheduler:
        with _connect(execution.scheduler) as client:
            execution.log(f"Dask: {client.dashboard_link}")
            yield client.get_executor(retries=1)
    elif execution.jobs > 1:
        threads = max(1, (os.cpu_count() or 1) // execution.jobs)
        context = get_context("spawn")
        with ProcessPoolExecutor(execution.jobs, context, _limit_threads, (threads,)) as pool:
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
        if scheduler == "local":  # a worker for each core, in this machine
            return Client(threads_per_worker=1, set_as_default=False)
        return Client(scheduler, timeout=DASK_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"No Dask scheduler responds at '{scheduler}' ({error}). Start one with: dask scheduler"
        ) from error


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
