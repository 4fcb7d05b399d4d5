"""Mean and standard deviation over time of every layer of an encoder, to compare layers.

They are cached as a feature store in the folder ``layers`` of the cache, which trainings do not
read. An utterance has two rows per layer, mean and deviation, in float16. WavLM large takes 100 kB
per utterance instead of 2.5 MB per second.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serctl.cache.sources import SourceHasher
from serctl.cache.store import FeatureStore
from serctl.config import Workspace
from serctl.documents.layers import FOLDER
from serctl.encoders.base import Encoder, Frames
from serctl.encoders.catalog import get_spec
from serctl.encoders.load import UNLAYERED
from serctl.encoding.extraction import Extraction
from serctl.errors import UsageError
from serctl.options import ExtractOptions


class LayerMoments(Extraction):
    """One pass of an encoder that stores the moments of all its layers; see `Extraction`.

    Raises:
        UsageError: The encoder has no layers to choose from.
    """

    verb = "layers of"

    def __init__(self, workspace: Workspace, options: ExtractOptions, hasher: SourceHasher) -> None:
        spec = get_spec(options.encoder, workspace.weights)
        if spec.family in UNLAYERED:
            raise UsageError(
                f"'{spec.name}' has no layers, expected a network. See: serctl encoders"
            )
        # Layer 0 has the width of all hidden states. An adapter after the last one may differ.
        super().__init__(workspace, replace(options, layer=0, storage="float16"), hasher)
        [key] = self.keys
        self.stores = (workspace.cache / FOLDER / key.store_name,)

    def _make_network(self, encoder: Encoder) -> Callable[[list[Any]], list[Frames]]:
        layers = encoder.all_layers()

        def measure(contents: list[Any]) -> list[Frames]:
            return [
                [stack_layer_moments(frames)] for frames in encoder.encode_layers(contents, layers)
            ]

        return measure

    def _frame_rate(self, encoder: Encoder) -> float | None:
        return None  # the rows of an utterance are layers, not frames

    def _check_disk(self, encoder: Encoder, sizes: Sequence[int]) -> None:
        """Skip the check, because moments take about a hundredth of the space of frames."""


def stack_layer_moments(layers: Frames) -> NDArray[np.float32]:
    """Return mean and deviation of each layer's frames ``(T, D)``, as rows ``(2·L, D)``."""
    return np.concatenate([[frames.mean(axis=0), frames.std(axis=0)] for frames in layers])


def read_layer_moments(store: FeatureStore, ids: Sequence[str]) -> NDArray[np.float32]:
    """Return mean and deviation of every layer, concatenated: ``(L, N, 2·D)``."""
    rows = np.stack([store.read(name) for name in ids]).astype(np.float32)  # (N, 2L, D)
    num_utterances, num_rows, dim = rows.shape
    by_layer = rows.reshape(num_utterances, num_rows // 2, 2 * dim)  # (N, L, 2D)
    return np.ascontiguousarray(by_layer.transpose(1, 0, 2))
