"""Parts of the work on a manifest: ``--shard i/n``, or the task of a job array (``auto``).

Slurm sets the index of a task, and the size, first and last index of its array. LSF sets the index
and the last index. PBS sets only the index.
"""

import os
import re
from collections.abc import Mapping

from serctl.data.journal import WHOLE
from serctl.errors import UsageError

INDEXES = ("SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX", "PBS_ARRAYID", "LSB_JOBINDEX")
"""Variables of a task's index: Slurm, PBS Professional, Torque and LSF (0 means no array)."""
SHARD = re.compile(r"(?P<part>[0-9]+|auto)(/(?P<parts>[0-9]+))?")


def parse_shard(shard: str, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return i and n of ``i/n``, ``auto`` or ``auto/n``; 1 and 1 for ''.

    ``auto`` is the position of this task in its job array. ``auto/n`` takes i only from the index
    of the task, so that some tasks of an array from 1 to n can be submitted again.

    Raises:
        UsageError: The value is malformed, or the environment does not define the part.
    """
    if not shard:
        return WHOLE
    found = SHARD.fullmatch(shard)
    if not found or not (found["parts"] or shard == "auto"):
        raise _refuse(shard)
    if found["part"] != "auto":
        part, parts = int(found["part"]), int(found["parts"])
    elif found["parts"]:
        part, parts = _read_index(shard, environment), int(found["parts"])
    else:
        part, parts = _read_place(shard, environment)
    if not 1 <= part <= parts:
        raise _refuse(shard, f" (this is task {part})" if found["part"] == "auto" else "")
    return part, parts


def _refuse(shard: str, why: str = "") -> UsageError:
    return UsageError(f"--shard is {shard}, expected i/n with i from 1 to n, such as 2/8{why}.")


def _read_index(shard: str, environment: Mapping[str, str]) -> int:
    """Return the index of this task in its array."""
    for name in INDEXES:
        value = environment.get(name, "")
        if value.isdecimal() and (name, value) != ("LSB_JOBINDEX", "0"):
            return int(value)
    raise UsageError(
        f"--shard is {shard}, but this is not a task of a job array (none of {', '.join(INDEXES)} "
        f"is set). Name the part, such as --shard 2/8."
    )


def _read_place(shard: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Return the position of this task in its array, from 1, and the number of tasks."""
    index = _read_index(shard, environment)

    def read(name: str) -> int:
        if not (value := environment.get(name, "")).isdecimal():
            raise UsageError(
                f"--shard is {shard}, but the number of tasks is unknown ({name} is not set). "
                f"State it in the job file: --shard auto/8 for an array from 1 to 8."
            )
        return int(value)

    if not environment.get("SLURM_ARRAY_TASK_ID"):
        return index, read("LSB_JOBINDEX_END")
    first, last, tasks = (read(f"SLURM_ARRAY_TASK_{name}") for name in ("MIN", "MAX", "COUNT"))
    if last - first + 1 != tasks:
        raise UsageError(
            f"--shard is {shard}, but the array has {tasks} tasks between {first} and {last}, so "
            f"the part is ambiguous. State the number of parts, such as --shard auto/{last}."
        )
    return index - first + 1, tasks
