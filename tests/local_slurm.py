"""A real Slurm of one node on the loopback, in a folder of its own (Debian: slurm-wlm, munge)."""

import getpass
import os
import platform
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
SECONDS = 20
"""That the node has to become idle."""
CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={here}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmdParameters=config_overrides
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=64000 State=UNKNOWN
PartitionName=short Nodes={host} Default=YES State=UP
"""


def find_missing() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if not shutil.which(name, path=PATH)]


@contextmanager
def run_slurm() -> Iterator[dict[str, str]]:
    """Start munged, slurmctld and slurmd, and end them; yield the environment of a client."""
    with ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        for name in ("state", "spool"):
            (here / name).mkdir()
        (here / "munge.key").write_bytes(secrets.token_bytes(128))
        (here / "munge.key").chmod(0o400)
        settings = {"host": platform.node().partition(".")[0], "user": getpass.getuser()}
        ports = {"controller": _find_port(), "node": _find_port()}
        (here / "slurm.conf").write_text(CONF.format(here=here, **settings, **ports))
        (here / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        told = {**os.environ, "PATH": PATH, "SLURM_CONF": str(here / "slurm.conf")}
        names = ("key", "socket", "pid", "log", "seed")
        files = [f"--{name}-file={here}/munge.{name}" for name in names if name != "socket"]
        munged = ["munged", "--foreground", "--force", f"--socket={here}/munge.socket", *files]
        for words in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            log = stack.enter_context((here / f"{words[0]}.out").open("w"))
            program = subprocess.Popen(words, env=told, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(program.wait, 30)
            stack.callback(program.terminate)
            time.sleep(0.5)  # each of them needs the one before it
        stack.callback(subprocess.run, ["scancel", f"--user={settings['user']}"], env=told)
        _wait_for_node(told, here)
        yield told


def _wait_for_node(told: dict[str, str], here: Path) -> None:
    end = time.monotonic() + SECONDS
    words = ["sinfo", "--noheader", "--format=%T"]
    while time.monotonic() < end:
        done = subprocess.run(words, env=told, capture_output=True, text=True, check=False)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(here.glob("*.out")))
    raise TimeoutError(f"the node of Slurm is not idle after {SECONDS} s:\n{logs}")


def _find_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
