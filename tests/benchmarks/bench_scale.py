"""Two Dask workers against one process, and the cost of parts (`make bench-scale`).

Speed: whisper-tiny on clips of RAVDESS, or on noise of similar lengths, by one process of one
thread and by two Dask workers of one thread each. The times leave out the loading of the encoder.

Coordination: eGeMAPS without its computation on hard links to a few short files. The time of one
process is reading, hashing, and writing of zeros. That of two workers is everything between
submission and end: also manifest, headers and plan, for each part. Scheduler, workers and client
are separate processes. A small step comes first, so imports and loading are left out.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

DATA = Path(os.environ.get("SERCTL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
SERCTL = [sys.executable, "-m", "serctl"]
STUBBED = [sys.executable, __file__, "--stubbed"]
"""The command line without the computation of eGeMAPS."""
RUNS = 3
CLIPS = 64
SIZES = (1_000, 10_000, 100_000)
SHORT_FILES = 20


def dask_setup(worker: Any = None) -> None:
    """Replace the computation of eGeMAPS by zeros; Dask calls it in each preloaded worker."""
    from serctl.encoders.lld import LLDEncoder

    def encode_layers(self: LLDEncoder, batch: list[Any], layers: Any) -> list[Any]:
        return [[np.zeros((len(wave) // 160 + 1, self.dim), np.float32)] for wave in batch]

    LLDEncoder.encode_layers = encode_layers  # type: ignore[method-assign, assignment]


def write_project(root: Path, files: Iterable[Path]) -> Path:
    """Write the manifest of a project with one utterance for each file."""
    root.mkdir()
    (root / "serctl.toml").touch()
    with (root / "manifest.csv").open("w") as manifest:
        manifest.write("utterance_id,path,split,emotion\n")
        manifest.writelines(f"u{i:06},{file},train,happy\n" for i, file in enumerate(files))
    return root


def make_clips(folder: Path) -> list[Path]:
    """Return clips of RAVDESS, or noise of similar lengths."""
    if found := sorted((DATA / "ravdess").rglob("*.flac"))[::22][:CLIPS]:
        return found
    return make_noise(folder, CLIPS, 3.0, 5.0)


def make_noise(folder: Path, count: int, shortest: float, longest: float) -> list[Path]:
    """Write files of noise with lengths in seconds."""
    rng = np.random.default_rng(0)
    files = [folder / f"{i}.wav" for i in range(count)]
    for file in files:
        seconds = rng.uniform(shortest, longest)
        soundfile.write(file, rng.normal(0, 0.1, int(seconds * 16_000)), 16_000)
    return files


def link(files: list[Path], folder: Path, count: int) -> Iterator[Path]:
    """Yield ``count`` hard links to the files, a thousand in each folder.

    They are not kept: the peak memory of a child process includes that of its parent before exec.
    """
    for i in range(count):
        name = folder / f"{i // 1000:03}" / f"{i:06}.wav"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.hardlink_to(files[i % len(files)])
        yield name


def read_peak(process: subprocess.Popen) -> float:
    """Return the peak of a process' resident memory (VmHWM) in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) * 1024 / 1e6


@contextmanager
def start_dask(*preload: str) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Yield the address of a scheduler with two workers of one thread, and the three processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address, dask = f"tcp://127.0.0.1:{port}", [sys.executable, "-m", "distributed.cli"]
    quiet: dict[str, Any] = {"env": ONE_THREAD, "stderr": subprocess.DEVNULL}
    place = ["--host", "127.0.0.1", "--no-dashboard"]
    scheduler = [*dask[:2], f"{dask[2]}.dask_scheduler", "--port", port, *place]
    worker = [*dask[:2], f"{dask[2]}.dask_worker", address, "--nthreads", "1", "--no-nanny", *place]
    processes = [subprocess.Popen(scheduler, **quiet)]
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(2):
            more = ["--local-directory", scratch, *preload]
            processes.append(subprocess.Popen([*worker, *more], **quiet))
        try:
            yield address, processes
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


def extract(
    project: Path, encoder: str, *flags: str, command: list[str] = SERCTL
) -> dict[str, Any]:
    """Run `serctl extract` into an empty cache; return its result and its peak memory in MB."""
    cache = tempfile.mkdtemp(dir=project, prefix="cache")
    (project / "serctl.toml").write_text(f'[paths]\ncache = "{cache}"\n')
    words = [*command, "extract", "--encoder", encoder, "--device", "cpu", "--json"]
    with subprocess.Popen(
        [*words, "-C", str(project), *flags],
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        output = process.stdout.read() if process.stdout else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed")
    return {**json.loads(output), "peak": used.ru_maxrss * 1024 / 1e6}


def bench_speed(folder: Path, runs: int) -> dict[str, Any]:
    """Measure whisper-tiny in one process and on two workers, in turn."""
    clips = make_clips(folder)
    project, few = write_project(folder / "speed", clips), write_project(folder / "few", clips[:8])
    one, two = [], []
    with start_dask() as (address, _):
        extract(few, "whisper-tiny", "--dask", address)
        for _ in range(runs):
            one.append(extract(project, "whisper-tiny")["seconds"])
            two.append(extract(project, "whisper-tiny", "--dask", address)["seconds"])
    ratios = [a / b for a, b in zip(one, two, strict=True)]
    print(f"\nwhisper-tiny, {len(clips)} clips such as {clips[0].name}: seconds without loading")
    print(f"{'run':>4}{'one process':>14}{'two workers':>14}{'ratio':>8}")
    for run, row in enumerate(zip(one, two, ratios, strict=True), 1):
        print("{:4}{:14.2f}{:14.2f}{:8.2f}".format(run, *row))
    return {"one": one, "two": two, "ratio": statistics.median(ratios)}


def bench_coordination(folder: Path, sizes: list[int], runs: int) -> list[dict[str, float]]:
    """Measure the stub encoder, each run with a scheduler, workers and client of its own."""
    files = make_noise(folder, SHORT_FILES, 0.3, 1.0)
    few = write_project(folder / "short", files)
    rows = []
    print("\neGeMAPS without its computation: ms per utterance, peak memory in MB")
    names = ("utterances", "one process", "two workers", "scheduler", "client", "worker")
    print("".join(f"{name:>12}" for name in names))
    for size in sizes:
        project = write_project(folder / str(size), link(files, folder / f"audio{size}", size))
        for _ in range(runs):
            alone = extract(project, "egemaps", command=STUBBED)
            with start_dask("--preload", __file__) as (address, processes):
                extract(few, "egemaps", "--dask", address)
                done = extract(project, "egemaps", "--dask", address)
                scheduler, *workers = map(read_peak, processes)
            assert alone["encoded"] == done["encoded"] == size
            row = {
                "utterances": size,
                "one_process_ms": 1000 * alone["seconds"] / size,
                "two_workers_ms": 1000 * done["seconds"] / size,
                "scheduler_mb": scheduler,
                "client_mb": done["peak"],
                "worker_mb": max(workers),
            }
            rows.append(row)
            print(("{:12,}{:12.2f}{:12.2f}" + 3 * "{:12.0f}").format(*row.values()), flush=True)
    return rows


def main() -> None:
    """Run all, print tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--no-speed", action="store_true", help="measure the coordination only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        speed = {} if given.no_speed else bench_speed(Path(folder), given.runs)
        rows = bench_coordination(Path(folder), given.sizes, given.runs)
    print(json.dumps({"benchmark": "scale", "speed": speed, "coordination": rows}))


if __name__ == "__main__":
    if "--stubbed" in sys.argv:
        sys.argv.remove("--stubbed")
        dask_setup()
        from serctl.cli import app

        app(prog_name="serctl")
    main()
