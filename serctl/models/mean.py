"""The mean of several networks of the same shape, with the interface of one network."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from serctl.models.fusion import FusionModel, FusionOutput
from serctl.models.pooled import PooledModel


class MeanModel(nn.Module):
    """The mean of the logits and attributes of fold models.

    A stacker is fitted on predictions of fold models and must be applied to the same type of model.
    A network that was trained on all utterances is more confident.

    Args:
        models: K networks with the same inputs and classes.
    """

    models: Sequence[FusionModel | PooledModel]

    def __init__(self, models: Iterable[FusionModel | PooledModel]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)  # type: ignore[assignment]
        self.config = self.models[0].config

    def forward(self, frames: Sequence[Tensor], lengths: Sequence[Tensor]) -> FusionOutput:
        """Return the mean over the networks; see `FusionModel.forward`."""
        outputs = [model(frames, lengths) for model in self.models]
        attributes = [output.attributes for output in outputs if output.attributes is not None]
        return FusionOutput(
            torch.stack([output.logits for output in outputs]).mean(dim=0),  # (K, B, C) -> (B, C)
            None,
            torch.stack(attributes).mean(dim=0) if attributes else None,
        )

    def layer_shares(self) -> dict[int, list[float]]:
        """Return the mean weights of summed layers; see `FusionModel.layer_shares`."""
        found = [model.layer_shares() for model in self.models]
        return {
            index: torch.tensor([shares[index] for shares in found]).mean(dim=0).tolist()
            for index in found[0]
        }
