"""Everything that shapes the fusion network beside the feature dimensions of its branches."""

from dataclasses import dataclass
from typing import Literal

Pooling = Literal["vector", "linear", "statistics"]
"""``vector``: softmax(r·m/√D), bias-free, as the paper's equation 1; ``linear``: softmax(r·m + b),
as the released code; ``statistics``: attentive mean and deviation."""

Attention = Literal["pair", "query"]
"""Own attention weights for every ordered pair of branches (the paper), or one set for every
querying branch, shared by its partners (the released code)."""


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a `FusionModel`; the defaults are the paper's.

    Attributes:
        num_classes: Number of emotions, C.
        hidden: Width of the projections, of each GRU direction and of the heads, H.
        dropout: On attention weights and in the heads.
        heads: Attention heads of each querying branch; () is one everywhere.
        attention: Which attentions share their weights.
        pooling: How a branch becomes one vector.
        neutral_head: A second head: neutral or expressive speech (for the soft margin loss).
        num_attributes: Outputs of an attribute head (3: arousal, valence, dominance); 0 is none.
        standardise: Branches whose frames are standardised with stored mean and deviation (raw
            descriptors such as eGeMAPS); () is none.
        layers: How many layers of its encoder each branch sums; () is one everywhere.
        kind: A `FusionModel`, or a `PooledModel`, for which most other fields mean nothing.
        by_speaker: The frames are restated per speaker before the network reads them; it keeps the
            statistics of the corpus.
        normalise_layers: Give every frame of a summed layer mean 0 and variance 1 first.
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
    normalise_layers: bool = False
    kind: Literal["fusion", "pooled"] = "fusion"
    by_speaker: bool = False
