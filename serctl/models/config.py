"""Shape of the fusion network, without the feature dimensions of its branches."""

from dataclasses import dataclass
from typing import Literal

Pooling = Literal["vector", "linear", "statistics"]
"""``vector``: softmax(r·m/√D), bias-free, as the paper's equation 1; ``linear``: softmax(r·m + b),
as the released code; ``statistics``: attentive mean and deviation."""

Attention = Literal["pair", "query"]
"""Attention weights for every ordered pair of branches (the paper), or one set per querying branch,
shared by its partners (the released code)."""


LayerFusion = Literal["sum", "concat"]
"""Several layers of an encoder as a learned sum, or side by side before the projection."""


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a `FusionModel`; the defaults are the paper's.

    Attributes:
        num_classes: Number of emotions, C.
        hidden: Width of the projections, of each GRU direction and of the heads, H.
        dropout: On attention weights and in the heads.
        heads: Attention heads of each querying branch; () means one for all.
        attention: Sharing of attention weights.
        pooling: Pooling of a branch to one vector.
        neutral_head: Whether to add a head for neutral or expressive speech (soft margin loss).
        num_attributes: Outputs of an attribute head (3: arousal, valence, dominance); 0 is none.
        standardise: Branches whose frames are standardised with stored mean and deviation (raw
            descriptors such as eGeMAPS); () is none.
        layers: Number of encoder layers of each branch; () means one for all.
        layer_fusion: How a branch reads several layers.
        downsample: Number of consecutive frames of each branch that are averaged; () means 1.
        kind: A `FusionModel`, or a `PooledModel`, which ignores most other fields.
        by_speaker: Whether frames are standardised per speaker. The network stores the corpus
            statistics.
        normalise_layers: Whether each frame of each of several layers is normalised to mean 0,
            variance 1.
    """

    num_classes: int = 8
    hidden: int = 512
    dropout: float = 0.5
    heads: tuple[int, ...] = ()
    attention: Attention = "pair"
    pooling: Pooling = "vector"
    neutral_head: bool = False
    num_attributes: int = 0
    standardise: tuple[bool, ...] = ()
    layers: tuple[int, ...] = ()
    layer_fusion: LayerFusion = "sum"
    downsample: tuple[int, ...] = ()
    normalise_layers: bool = False
    kind: Literal["fusion", "pooled"] = "fusion"
    by_speaker: bool = False
