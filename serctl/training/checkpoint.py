"""Networks and unfinished trainings on disk: safetensors and JSON, no pickle.

An unfinished training is one file: parameters and optimiser as tensors, counters as JSON in the
header. The file is written under a temporary name and renamed, so it is complete.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from serctl.documents.run import BranchRecord, PredictedBy, RunConfig
from serctl.errors import CheckpointError
from serctl.files import write_beside
from serctl.models.build import Network, build_model
from serctl.models.fusion import FusionModel
from serctl.models.mean import MeanModel
from serctl.models.pooled import PooledModel
from serctl.training.run_folder import CONFIG, MODEL, check_run, list_folds, usual_model


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Any = None) -> None:
    """Write tensors and a JSON document atomically to one file, and flush it to the disk.

    Raises:
        SerctlError: The disk is full or the folder cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with write_beside(path) as temporary:
            save_file(plain, temporary, {"state": json.dumps(state)})
    except SafetensorError as error:
        raise CheckpointError(f"Cannot write '{path}': {error}.") from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read a file of `save_tensors`.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {}).get("state", "null"))
        return load_file(path), state
    except FileNotFoundError:
        raise CheckpointError(f"'{path}' does not exist. Run: serctl train") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"'{path}' is damaged ({error}). Remove it and train again."
        ) from error


def pack_training(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return parameters, buffers and the optimiser's tensors by name."""
    packed = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        packed |= {f"optimizer.{index}.{slot}": tensor for slot, tensor in slots.items()}
    return packed


def unpack_training(
    packed: Mapping[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Restore the result of `pack_training`."""
    own: dict[str, Tensor] = {}
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in packed.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            own[rest] = tensor
        else:
            index, slot = rest.split(".")
            slots.setdefault(int(index), {})[slot] = tensor
    model.load_state_dict(own)
    document = optimizer.state_dict()
    optimizer.load_state_dict({"state": slots, "param_groups": document["param_groups"]})


@dataclass(frozen=True)
class Run:
    """A trained network and its configuration.

    Attributes:
        name: Name of the run.
        model: Network in evaluation mode, on the requested device. For a run of fold models it is
            their mean.
        config: Content of ``config.json``.
    """

    name: str
    model: Network
    config: RunConfig

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotions in the order of the logits."""
        return self.config.labels

    @property
    def branches(self) -> tuple[BranchRecord, ...]:
        """The stores that the network reads, in the order of its inputs."""
        return self.config.branches

    def layer_weights(self) -> dict[str, dict[str, float]]:
        """Return the learned weight of each layer, by name of each branch with a layer sum."""
        return {
            self.branches[index].encoder: dict(
                zip(map(str, self.branches[index].layers), shares, strict=True)
            )
            for index, shares in self.model.layer_shares().items()
        }


def load_run(
    folder: Path, device: torch.device | None = None, predicted_by: PredictedBy | None = None
) -> Run:
    """Load a finished run.

    Args:
        folder: Folder of the run, or of one of its fold models.
        device: Device to compute on.
        predicted_by: ``folds``: the mean of the fold models; ``main``: the model that was trained
            on all of train. None uses `usual_model`.

    Raises:
        CheckpointError: The run is missing, unfinished, of another version, damaged or changed, or
            has no such model.
    """
    config = RunConfig.read(folder / CONFIG)
    check_run(folder)
    if (predicted_by or usual_model(folder)) == "main":
        if not (folder / MODEL).is_file() and list_folds(folder, config):
            raise CheckpointError(
                f"Run '{folder.name}' has fold models and no main model. "
                f"Train it with: serctl train --main"
            )
        model: Network = load_model(folder, config)
    else:
        folds = list_folds(folder, config)
        if not folds:
            raise CheckpointError(
                f"Run '{folder.name}' has no fold models. Train it with: serctl train --folds 5"
            )
        model = MeanModel(load_model(fold, RunConfig.read(fold / CONFIG)) for fold in folds)
    model.to(device or "cpu").eval()
    return Run(folder.name, model, config)


def load_model(folder: Path, config: RunConfig) -> FusionModel | PooledModel:
    """Load the network of one folder.

    Raises:
        CheckpointError: The network is missing or damaged.
    """
    model = build_model([branch.dim for branch in config.branches], config.model)
    tensors, _ = load_tensors(folder / MODEL)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"'{folder}': {str(error).splitlines()[0]} Train it again."
        ) from error
    return model
