"""Parts of the work on a manifest: ``--shard i/n``, or the task of a job array (``auto``).

Slurm tells a task its index and the count, the first and the last index of its array. LSF tells the
index and the last one. PBS tells the index alone.
"""

import os
import re
from collections.abc import Mapping

from serctl.data.journal import WHOLE
from serctl.errors import UsageError

INDEXES = ("SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX", "PBS_ARRAYID", "LSB_JOBINDEX")
"""Of a task in its array: Slurm, PBS Professional, Torque and LSF (where 0 is no array)."""
SHARD = re.compile(r"(?P<part>[0-9]+|auto)(/(?P<parts>[0-9]+))?")


def parse_shard(shard: str, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return i and n of ``i/n``, ``auto`` or ``auto/n``; 1 and 1 of ''.

    ``auto`` is the place of this task in its job array. ``auto/n`` takes i from the task's index
    alone, so that some tasks of an array from 1 to n can be submitted again.

    Raises:
        UsageError: It is not of that form, or the environment does not tell the part.
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
    return UsageError(f"--shard {shard}: expected i/n with i from 1 to n, such as 2/8{why}.")


def _read_index(shard: str, environment: Mapping[str, str]) -> int:
    """Return the index of this task in its array."""
    for name in INDEXES:
        value = environment.get(name, "")
        if value.isdecimal() and (name, value) != ("LSB_JOBINDEX", "0"):
            return int(value)
    raise UsageError(
        f"--shard {shard}: this is no task of a job array (none of {', '.join(INDEXES)} is set). "
        f"Name the part, such as --shard 2/8."
    )


def _read_place(shard: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Return the place of this task in its array, from 1, and the number of tasks."""
    index = _read_index(shard, environment)

    def read(name: str) -> int:
        if not (value := environment.get(name, "")).isdecimal():
            raise UsageError(
                f"--shard {shard}: the job array does not say how many tasks it has ({name} is "
                f"not set). Say it in the job file: --shard auto/8 for an array from 1 to 8."
            )
        return int(value)

    if not environment.get("SLURM_ARRAY_TASK_ID"):
        return index, read("LSB_JOBINDEX_END")
    first, last, tasks = (read(f"SLURM_ARRAY_TASK_{name}") for name in ("MIN", "MAX", "COUNT"))
    if last - first + 1 != tasks:
        raise UsageError(
            f"--shard {shard}: the array has {tasks} tasks between {first} and {last}, so the part "
            f"of a task is not known. Say how many parts there are, such as --shard auto/{last}."
        )
    return index - first + 1, tasks
