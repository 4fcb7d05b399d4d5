"""Options of the job files that `serctl run --slurm` writes."""

from dataclasses import dataclass

from serctl.options.check import checked
from serctl.options.option import option


@checked("slurm")
@dataclass(frozen=True)
class SlurmOptions:
    """Options of `serctl run --slurm`; the table ``[slurm]`` of serctl.toml."""

    parts: int = option(
        8, "Tasks of each array of transcribe and extract.", min=1, only_in_files=True
    )
    partition: str = option("", "Partition of the jobs.", shown="Slurm's", only_in_files=True)
    account: str = option("", "Account of the jobs.", shown="Slurm's", only_in_files=True)
    gpus: int = option(1, "GPUs of a task; stack and evaluate use none.", min=0, only_in_files=True)
    cpus: int = option(4, "CPU cores of a task.", min=1, only_in_files=True)
    memory: str = option("16G", "Memory of a task.", only_in_files=True)
    time: str = option(
        "", "Time limit of a task, such as 4:00:00.", shown="Slurm's", only_in_files=True
    )
    setup: str = option(
        "", "Shell lines before the command, such as: module load cuda.", only_in_files=True
    )
