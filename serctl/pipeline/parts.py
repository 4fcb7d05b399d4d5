"""Dask: the workers of a scheduler run a step in parts."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import replace
from time import perf_counter
from typing import Any

from serctl.config import Workspace
from serctl.errors import ConfigError, SerctlError
from serctl.pipeline.recipe import RecipeStep
from serctl.progress import Progress

DASK_SECONDS = 5
"""Maximum seconds to wait for a scheduler."""
PARTS = 4
"""Parts of a step per thread of the workers. A killed worker loses one part."""
WORK = ("encoded", "transcribed", "windowed", "frames", "bytes", "audio_seconds")
"""Results to add up over all parts."""
SEEN = ("utterances", "failed", "suspect", "retried")
"""Results of the utterances of a part; of all utterances for a part that finds nothing missing."""


def connect(scheduler: str) -> Any:
    """Return a client of a Dask scheduler; ``local`` starts a worker for each core.

    Raises:
        ConfigError: Dask is not installed, or no scheduler responds.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise ConfigError(
            "--dask needs Dask. Install it with: pip install 'serctl[dask]'"
        ) from None
    try:
        if scheduler == "local":
            return Client(threads_per_worker=1, set_as_default=False)
        return Client(scheduler, timeout=DASK_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"No Dask scheduler responds at '{scheduler}' ({error}). Start one with: dask scheduler"
        ) from error


def can_cut(step: RecipeStep) -> bool:
    """Return whether a step can be cut into parts, because it runs Whisper or an encoder."""
    return step.stage in ("transcribe", "extract") and not getattr(
        step.options, "from_manifest", False
    )


def run_in_parts(
    pool: Executor,
    call: Callable[[Workspace, RecipeStep], Any],
    workspace: Workspace,
    step: RecipeStep,
    log: Callable[[str], None],
    progress: Progress,
) -> Any:
    """Run a step on all workers and return its result.

    A part that fails twice is logged, and the others continue.

    Raises:
        SerctlError: Of the first part that failed twice, when all others have ended.
    """
    size = PARTS * max(1, sum(pool._client.nthreads().values()))  # type: ignore[attr-defined]
    parts = [
        replace(step, options=replace(step.options, shard=f"{i}/{size}"))
        for i in range(1, size + 1)
    ]
    errors: list[SerctlError] = []
    results: list[Any] = []
    start = perf_counter()
    with progress.task(f"{step.stage} {step.what}", size, "parts") as advance:
        waiting = {pool.submit(call, workspace, part): part for part in parts}
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
                log(f"Error in {step.what}, part {where} (failed twice): {errors[-1]}")
            advance(1)
    if errors:
        raise errors[0]
    return add_up(results, perf_counter() - start)


def add_up(parts: Sequence[Any], seconds: float) -> Any:
    """Return the result of a step from the results of its parts."""
    known = vars(parts[0]).keys()
    all_done = next((part for part in parts if not part.shard), None)
    seen = [all_done] if all_done else parts
    sums = {name: sum(getattr(part, name) for part in parts) for name in WORK if name in known}
    sums |= {name: sum(getattr(part, name) for part in seen) for name in SEEN if name in known}
    if "suspects" in known:
        sums["suspects"] = dict(sum((Counter(part.suspects) for part in seen), Counter()))
        sums["left"] = 0
    now = sums.get("encoded", 0) + sums.get("transcribed", 0)
    return replace(
        parts[0],
        present=max(0, sums["utterances"] - now - sums["failed"]),
        failures=next((part.failures for part in parts if part.failures), None),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        seconds=seconds,
        shard="",
        **sums,
    )
