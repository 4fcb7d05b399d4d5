"""Whisper's decoder by transformers; also the one that draws when a text is tried again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig, GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from serctl.encoders.recognisers.base import Hypothesis
from serctl.encoders.recognisers.vocabulary import MAX_TOKENS, Vocabulary


class HuggingFaceDecoder:
    """Decodes what the encoder has already encoded; see `serctl.encoders.recognisers.base.Decoder`.

    Args:
        network: `WhisperForConditionalGeneration`.
        folder: Of the checkpoint, for its tokenizer.
    """

    def __init__(self, network: Any, folder: Path) -> None:
        self._network = network.eval()
        self._vocabulary = Vocabulary(folder, network.config.vocab_size)
        self.languages = self._vocabulary.languages

    @torch.inference_mode()
    def decode(
        self, hidden: Tensor, language: str | None, temperature: float = 0.0
    ) -> list[Hypothesis]:
        """Return the words of encoded windows ``(N, 1500, D)``."""
        vocabulary = self._vocabulary
        start = torch.full((len(hidden), 1), vocabulary.start, device=hidden.device)
        first = self._network(
            encoder_outputs=BaseModelOutput(hidden), decoder_input_ids=start, use_cache=True
        )
        chances = first.logits[:, 0].float().softmax(-1)
        languages = self._choose(chances, language)
        prompts = torch.tensor(
            [vocabulary.prompt(code) for code in languages], device=hidden.device
        )
        # Not Whisper's own generate(): given only encoder outputs, it fails at everything beyond
        # one greedy pass. The projections of all 1500 frames are taken over from the first step.
        projected = first.past_key_values.cross_attention_cache
        made: Any = GenerationMixin.generate(
            self._network,
            encoder_outputs=BaseModelOutput(hidden),
            decoder_input_ids=prompts,
            past_key_values=EncoderDecoderCache(DynamicCache(), projected),
            generation_config=self._settings(temperature),
        )
        scores = tuple(step * (temperature or 1.0) for step in made.scores)
        logprobs = self._network.compute_transition_scores(
            made.sequences, scores, normalize_logits=True
        )
        return [
            self._read(tokens.tolist(), logprob, code, float(chance), temperature)
            for tokens, logprob, code, chance in zip(
                made.sequences[:, prompts.shape[1] :],
                logprobs,
                languages,
                chances[:, vocabulary.no_speech],
                strict=True,
            )
        ]

    def _choose(self, chances: Tensor, language: str | None) -> Sequence[str]:
        """Return the language asked for, or the likeliest of each window."""
        if language is not None or not self._vocabulary.multilingual:
            return [language or "en"] * len(chances)
        codes = list(self._vocabulary.language_ids)
        ids = list(self._vocabulary.language_ids.values())
        return [codes[best] for best in chances[:, ids].argmax(1).tolist()]

    def _settings(self, temperature: float) -> GenerationConfig:
        own = self._network.generation_config
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}
        return GenerationConfig(
            suppress_tokens=own.suppress_tokens,
            begin_suppress_tokens=own.begin_suppress_tokens,
            eos_token_id=self._vocabulary.end,
            pad_token_id=self._vocabulary.end,
            decoder_start_token_id=self._vocabulary.start,
            max_new_tokens=MAX_TOKENS,
            return_dict_in_generate=True,
            output_scores=True,
            **drawn,
        )

    def _read(
        self, tokens: list[int], logprobs: Tensor, language: str, chance: float, temperature: float
    ) -> Hypothesis:
        """Read one row, up to and with its end token (the rest is padding)."""
        end = self._vocabulary.end
        length = tokens.index(end) + 1 if end in tokens else len(tokens)
        return Hypothesis(
            text=self._vocabulary.text(tokens[:length]),
            language=language,
            logprob=float(logprobs[:length].sum()),
            num_tokens=length,
            no_speech=chance,
            temperature=temperature,
        )
