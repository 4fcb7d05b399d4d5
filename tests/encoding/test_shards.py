"""Parts of the work: as a user names them, and as Slurm, PBS and LSF number their tasks."""

import pytest

from serctl.encoding.shards import parse_shard
from serctl.errors import UsageError

SLURM = {
    "SLURM_ARRAY_TASK_ID": "5",
    "SLURM_ARRAY_TASK_COUNT": "8",
    "SLURM_ARRAY_TASK_MIN": "0",
    "SLURM_ARRAY_TASK_MAX": "7",
}
AGAIN = SLURM | {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "2"}
"""`sbatch --array=2,5,7` without the last."""


@pytest.mark.parametrize(
    ("shard", "environment", "part"),
    [
        ("", SLURM, (1, 1)),
        ("2/8", SLURM, (2, 8)),
        ("auto", SLURM, (6, 8)),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "8"}, (5, 8)),
        ("auto/9", AGAIN, (5, 9)),
        ("auto/8", {"PBS_ARRAY_INDEX": "3"}, (3, 8)),
        ("auto/8", {"PBS_ARRAYID": "3"}, (3, 8)),
        ("auto", {"LSB_JOBINDEX": "3", "LSB_JOBINDEX_END": "4"}, (3, 4)),
    ],
)
def test_a_part_is_named_or_the_place_of_a_task(
    shard: str, environment: dict[str, str], part: tuple[int, int]
) -> None:
    assert parse_shard(shard, environment) == part


@pytest.mark.parametrize(
    ("shard", "environment", "message"),
    [
        ("auto", {}, "not a task of a job array"),
        ("auto", {"LSB_JOBINDEX": "0"}, "not a task of a job array"),
        ("auto", {"PBS_ARRAY_INDEX": "3"}, "auto/8 for an array from 1 to 8"),
        ("auto", AGAIN, "2 tasks between 2 and 7"),
        ("auto/4", SLURM, r"expected i/n .* \(this is task 5\)"),
        ("auto/8", SLURM | {"SLURM_ARRAY_TASK_ID": "0"}, r"\(this is task 0\)"),
        ("auto/", SLURM, "expected i/n"),
        ("9/8", {}, "expected i/n"),
    ],
)
def test_a_part_that_is_not_known_is_refused(
    shard: str, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        parse_shard(shard, environment)
