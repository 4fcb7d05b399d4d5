"""Build the network of a configuration."""

from collections.abc import Sequence

from serctl.models.config import ModelConfig
from serctl.models.fusion import FusionModel
from serctl.models.mean import MeanModel
from serctl.models.pooled import PooledModel

Network = FusionModel | PooledModel | MeanModel


def build_model(dims: Sequence[int], config: ModelConfig) -> FusionModel | PooledModel:
    """Return an untrained network for branches of these feature dimensions."""
    kinds = {"fusion": FusionModel, "pooled": PooledModel}
    return kinds[config.kind](dims, config)
