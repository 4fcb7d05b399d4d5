"""Job files for Slurm: an array for each stage of a recipe, and the states of its tasks.

Every task runs ``serctl run RECIPE --only STAGE --shard auto/n`` and writes its exit code to a file
next to the job file. Slurm is queried only for tasks in its queue.
"""

import getpass
import hashlib
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serctl.config import PROJECT_FILE, Workspace
from serctl.data.manifest_file import read_manifest
from serctl.errors import ConfigError, SerctlError
from serctl.files import write_atomic
from serctl.options import SlurmOptions
from serctl.options.files import find_recipe
from serctl.pipeline.recipe import RecipeStep, count_networks

JOBS = (
    ("transcribe", ("transcribe",)),
    ("extract", ("extract",)),
    ("train", ("train",)),
    ("export-logits", ("export-logits",)),
    ("evaluate", ("stack", "evaluate")),
)
"""Jobs and the stages of their tasks, in the order of dependence."""
UNDER_WAY = "running"
"""State of a running task. If the task is not in Slurm's queue, it was killed."""

SCRIPT = """\
#!/bin/bash
{directives}
# Manifest, audio, recipe and serctl.toml: {inputs}
cd {root} || exit 1
{setup}
state={stem}.$SLURM_ARRAY_TASK_ID.state
echo {under_way} > "$state"
{command}
code=$?
# 3: finished, and failures.csv lists utterances that cannot be read.
[ $code -eq 3 ] && code=0
echo $code > "$state"
exit $code
"""


@dataclass(frozen=True)
class Task:
    """One task of an array.

    Attributes:
        index: From 1.
        state: ``done``, ``queued``, ``failed`` or ``new``.
        log: File with the output of the task.
    """

    index: int
    state: str
    log: Path


@dataclass(frozen=True)
class Job:
    """An array and its tasks.

    Attributes:
        name: Name of the job: its first stage, or evaluate.
        script: File for sbatch.
        tasks: All tasks.
        submitted: Job id of the tasks submitted now; '' for none.
    """

    name: str
    script: Path
    tasks: tuple[Task, ...]
    submitted: str = ""

    def indexes(self, *states: str) -> list[int]:
        """Return the indexes of the tasks in the given states."""
        return [task.index for task in self.tasks if task.state in states]


def write_jobs(
    workspace: Workspace,
    recipe: str,
    steps: Sequence[RecipeStep],
    folder: Path,
    options: SlurmOptions,
    flags: Sequence[str],
    *,
    submit: bool,
) -> list[Job]:
    """Write the job files of a plan, and with ``submit`` submit the missing tasks.

    Args:
        workspace: The project, on a file system that all nodes share.
        recipe: Name or path of the recipe.
        steps: Result of `plan_recipe`.
        folder: Folder for job files, logs and states of tasks.
        options: Table ``[slurm]`` of serctl.toml.
        flags: Flags of `serctl run` for every task.
        submit: Call sbatch.

    Raises:
        SerctlError: The folder cannot be written, or Slurm refuses a job.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    queued = list_queued() if submit or any(folder.glob("*.jobs")) else set()
    inputs = _hash_inputs(workspace, recipe)
    jobs: list[Job] = []
    before: list[str] = []
    for name, stages in JOBS:
        own = [step for step in steps if step.stage in stages]
        if not own:
            continue
        named = list(dict.fromkeys(step.stage for step in own))
        size = _count_tasks(name, own, options)
        command = _make_command(workspace, recipe, named, size, flags)
        script = _write_script(workspace, inputs, folder, name, command, size, options)
        there = _read_jobs(folder / f"{name}.jobs", queued)
        tasks = tuple(_find_task(folder, name, i, there) for i in range(1, size + 1))
        job = Job(name, script, tasks)
        wanted = job.indexes("new", "failed")
        after = [f"{number}_{i}" for i, number in sorted(there.items())]
        if submit and wanted:
            number = _submit(job, wanted, before)
            job = Job(name, script, tasks, number)
            after.append(number)
        jobs.append(job)
        before = after or before
    return jobs


def _count_tasks(name: str, steps: Sequence[RecipeStep], options: SlurmOptions) -> int:
    """Return one task for each part of the manifest, for each network, or one for all."""
    if name in ("transcribe", "extract"):
        free = name == "transcribe" and steps[0].options.from_manifest
        return 1 if free else options.parts
    if name == "train":
        return sum(count_networks(step.options) for step in steps)
    return len(steps) if name == "export-logits" else 1


def _make_command(
    workspace: Workspace, recipe: str, stages: Sequence[str], size: int, flags: Sequence[str]
) -> str:
    found = Path(recipe)
    named = str(found.resolve()) if found.is_file() else recipe  # tasks start in the project
    only = [word for stage in stages for word in ("--only", stage)]
    shard = ["--shard", f"auto/{size}"] if size > 1 else []
    place = ["-C", str(workspace.root.resolve())]
    words = [sys.executable, "-m", "serctl", "run", named, *only, *shard, *place, *flags]
    return shlex.join(words)


def _write_script(
    workspace: Workspace,
    inputs: str,
    folder: Path,
    name: str,
    command: str,
    size: int,
    options: SlurmOptions,
) -> Path:
    """Write a job file. If it has changed, the states of its tasks are deleted."""
    given = {
        "job-name": f"serctl-{name}",
        "array": f"1-{size}",
        "output": folder / f"{name}.%a.log",
        "open-mode": "append",
        "partition": options.partition,
        "account": options.account,
        "time": options.time,
        "mem": options.memory,
        "cpus-per-task": options.cpus,
        "gres": f"gpu:{options.gpus}" if options.gpus and name != "evaluate" else "",
    }
    text = SCRIPT.format(
        inputs=inputs,
        directives="\n".join(f"#SBATCH --{key}={value}" for key, value in given.items() if value),
        root=shlex.quote(str(workspace.root.resolve())),
        setup=options.setup,
        stem=shlex.quote(str(folder / name)),
        under_way=UNDER_WAY,
        command=command,
    )
    script = folder / f"{name}.sbatch"
    if script.is_file() and script.read_text() != text:
        for state in folder.glob(f"{name}.*.state"):
            state.unlink()
    with write_atomic(script) as file:
        file.write(text)
    return script


def _hash_inputs(workspace: Workspace, recipe: str) -> str:
    """Return a hash of the inputs of all tasks, so that a change alters the job file.

    These are manifest, recipe, serctl.toml, and the size and time of each audio file.
    """
    files = (workspace.manifest, find_recipe(recipe), workspace.root / PROJECT_FILE)
    content = b"".join(path.read_bytes() for path in files if path.is_file())
    with suppress(SerctlError):  # the first task reports it
        for path in dict.fromkeys(row.path for row in read_manifest(workspace.manifest)):
            with suppress(OSError):
                found = path.stat()
                content += f"{found.st_size} {found.st_mtime_ns}\n".encode()
    return hashlib.sha256(content).hexdigest()[:12]


def _find_task(folder: Path, name: str, index: int, queued: dict[int, str]) -> Task:
    log, state = folder / f"{name}.{index}.log", folder / f"{name}.{index}.state"
    if index in queued:
        return Task(index, "queued", log)
    found = state.read_text().strip() if state.is_file() else ""
    return Task(index, {"0": "done", "": "new"}.get(found, "failed"), log)


def _read_jobs(path: Path, queued: set[str]) -> dict[int, str]:
    """Return the queued tasks of earlier submissions: index and job id."""
    numbers = path.read_text().split() if path.is_file() else []
    tasks = [task.partition("_") for task in queued]
    return {
        int(index): number for number, _, index in tasks if number in numbers and index.isdecimal()
    }


def _submit(job: Job, indexes: Sequence[int], before: Sequence[str]) -> str:
    """Submit tasks that start when the tasks ``before`` have succeeded; return the job id."""
    after = [f"--dependency=afterok:{':'.join(before)}", "--kill-on-invalid-dep=yes"]
    array = f"--array={','.join(map(str, indexes))}"
    words = ["sbatch", "--parsable", array, *(after if before else []), str(job.script)]
    number = _call(words).strip().partition(";")[0]
    with (job.script.with_suffix(".jobs")).open("a") as file:
        file.write(f"{number}\n")
    return number


def list_queued() -> set[str]:
    """Return the pending and running tasks of this user, each as ``job_index``.

    Raises:
        SerctlError: Slurm is not installed or does not respond.
    """
    user = getpass.getuser()
    lines = _call(["squeue", "--noheader", "--array", "--format=%F_%K %r", "-u", user]).splitlines()
    tasks = [line.split(maxsplit=1) for line in lines]
    # Slurm still lists tasks that it will cancel because a task before them failed.
    return {task for task, *reason in tasks if reason != ["DependencyNeverSatisfied"]}


def _call(words: Sequence[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ConfigError(
            f"'{words[0]}' is not installed on this machine. Run the command on a login node, or "
            f"leave out --submit."
        ) from None
    if done.returncode:
        raise SerctlError(f"{words[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
