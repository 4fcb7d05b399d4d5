"""Text encoders: transcript → tokens → one frame per token, special tokens included."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from serctl.encoders.base import Encoder, EncoderIdentity, Frames
from serctl.encoders.network import cut_padding, list_layers, load_network, pick_layers
from serctl.errors import WeightsError, first_few

TOKENS_PER_SECOND = 200
"""Cost of a token in seconds of speech: about a quarter of a frame, which needs convolutions."""

MASKED = ("bert", "roberta", "xlm-roberta", "deberta-v2", "modernbert")
"""Model types whose frames do not depend on padding (tests/encoders). Others are tested at load."""


class TextEncoder(Encoder):
    """BERT-like encoders, such as RoBERTa, DeBERTa, ModernBERT and MiniLM.

    An empty transcript consists of its special tokens. A transcript that is too long for the
    network is cut into windows, each with special tokens. Their frames are concatenated.

    Source: the networks and tokenizers are those of transformers.
    """

    frame_rate: float | None = None

    def __init__(self, path: Path, identity: EncoderIdentity, device: torch.device) -> None:
        self.tokenizer = _load_tokenizer(path)
        self.identity = identity
        self.device = device
        self.network = load_network(path, identity.compute_dtype, device)
        self.dim: int = self.network.config.hidden_size
        self.max_tokens = _max_tokens(self.tokenizer, self.network)
        self.windowed = 0
        self.notes: tuple[str, ...] = ()
        self.alone = self.network.config.model_type not in MASKED and self._sees_padding()
        if self.alone:
            self.notes = (
                f"Padding reaches real frames of {identity.encoder}: its utterances run one at a "
                "time.",
            )

    def all_layers(self) -> tuple[int, ...]:
        """Return every layer; see `serctl.encoders.base.Encoder`."""
        return list_layers(self.network.config)

    def cost(self, size: int) -> float:
        """Return the cost of ``size`` tokens in seconds."""
        return size / TOKENS_PER_SECOND

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of frames of each transcript, including special tokens."""
        return [sum(map(len, windows)) for windows in map(self._windows, texts)]

    def encode_layers(self, batch: Sequence[Any], layers: Sequence[int]) -> list[Frames]:
        """Encode transcripts; see `serctl.encoders.base.Encoder`."""
        windows = [self._windows(text) for text in batch]
        long = sum(len(parts) > 1 for parts in windows)
        self.windowed += long
        flat = [part for parts in windows for part in parts]
        groups = [[part] for part in flat] if self.alone else [flat]
        frames = iter([found for group in groups for found in self._encode(group, layers)])
        # The windows of a long text are joined layer by layer.
        return [
            list(map(np.concatenate, zip(*[next(frames) for _ in parts], strict=True)))
            for parts in windows
        ]

    def _windows(self, text: str) -> list[list[int]]:
        return cut_text(self.tokenizer, text, self.max_tokens)

    def _sees_padding(self) -> bool:
        """Return whether the frames of a text change in a batch with a longer text."""
        short, long = self._windows("a word")[0], self._windows("a word and more " * 4)[0]
        [[alone], [beside]] = [self._encode(texts, (-1,))[0] for texts in ([short], [short, long])]
        tolerance = 1e-4 if self.identity.compute_dtype == "float32" else 0.05
        return bool(np.abs(alone - beside).max() > tolerance * max(1.0, np.abs(alone).max()))

    @torch.inference_mode()
    def _encode(self, windows: Sequence[list[int]], layers: Sequence[int]) -> list[Frames]:
        sizes = torch.tensor([len(window) for window in windows])
        # RoBERTa computes positions from tokens that are not the pad token.
        tokens = torch.full((len(windows), int(sizes.max())), self.tokenizer.pad_token_id or 0)
        for row, window in zip(tokens, windows, strict=True):
            row[: len(window)] = torch.tensor(window)
        mask = torch.arange(tokens.shape[1]) < sizes[:, None]
        output = self.network(
            input_ids=tokens.to(self.device),
            attention_mask=mask.long().to(self.device),
            output_hidden_states=max(layers) >= 0,
        )
        return cut_padding(pick_layers(output, layers), sizes.tolist())


def cut_text(tokenizer: Any, text: str, longest: int) -> list[list[int]]:
    """Return the token ids of a text in the minimum number of windows, each with special tokens.

    The ids are cut here, because tokenizers written in Python return only the first window.
    """
    whole = tokenizer(text, verbose=False)["input_ids"]
    if len(whole) <= longest:
        return [whole]
    content = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    added = len(whole) - len(content)
    # The special tokens before the content. Their number differs between tokenizers.
    first = next(i for i in range(added + 1) if whole[i : i + len(content)] == content)
    before, after, room = whole[:first], whole[first + len(content) :], longest - added
    starts = range(0, len(content), room)
    return [before + content[start : start + room] + after for start in starts]


def _load_tokenizer(path: Path) -> Any:
    """Load the tokenizer of a checkpoint folder.

    Raises:
        WeightsError: The files are missing (transformers would use no vocabulary) or damaged.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
        names = dict(tokenizer.vocab_files_names)
        whole = path / names.pop("tokenizer_file", "tokenizer.json")
        lacking = [name for name in names.values() if not (path / name).exists()]
        if not whole.exists() and (lacking or not names):
            raise FileNotFoundError(f"{first_few(lacking or [whole.name])} is missing")
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"'{path}' has no readable tokenizer ({reason}). Copy tokenizer.json or the vocabulary "
            f"from the model's page."
        ) from error
    return tokenizer


def _max_tokens(tokenizer: Any, network: Any) -> int:
    """Return the maximum number of tokens of the network, including special tokens.

    RoBERTa's position table begins with unused rows (up to its padding index). Tokenizers without
    a length have a huge number.
    """
    positions = getattr(network.config, "max_position_embeddings", None) or 512
    table = getattr(getattr(network, "embeddings", None), "position_embeddings", None)
    unused = getattr(table, "padding_idx", None)
    return min(tokenizer.model_max_length, positions - (0 if unused is None else unused + 1))
