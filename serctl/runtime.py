"""Device, dtype, seeds and versions: the only module of the ground floor that knows torch."""

import platform
import random
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch

from serctl.errors import ConfigError

REPORTED_PACKAGES = ("serctl", "torch", "transformers", "zarr", "numpy", "scikit-learn", "xgboost")


def resolve_device(name: str) -> torch.device:
    """Return the device a name stands for; ``auto`` takes CUDA, then MPS, then the CPU.

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
        raise ConfigError(f"Device '{name}' is not usable here ({reason}). Use --device cpu.") from error
    return device


def seed_everything(seed: int) -> None:
    """Seed the global generators; only weight initialisation and dropout read them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def environment() -> dict[str, str]:
    """Return the versions that belong in every run: Python, packages, machine."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in REPORTED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
