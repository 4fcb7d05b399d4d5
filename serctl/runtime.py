"""Device, dtype, seeds and versions. It is the only module of the lowest layer with torch."""

import platform
import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch

from serctl.errors import ConfigError

REPORTED_PACKAGES = ("serctl", "torch", "transformers", "zarr", "numpy", "scikit-learn", "xgboost")


def resolve_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: The device does not exist on this machine.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"Device '{name}' is not usable here ({reason}). Use --device cpu."
        ) from error
    return device


@contextmanager
def split_threads(device: torch.device) -> Iterator[int]:
    """Yield the number of computations to run in parallel.

    On a CPU every computation gets one thread, so that its result does not depend on the number
    of cores. On other devices the number is 1.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu":
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def seed_everything(seed: int) -> None:
    """Seed the global generators, which only weight initialisation and dropout use."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def environment() -> dict[str, str]:
    """Return the versions of Python, packages and machine that every run records."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in REPORTED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
