"""Whisper's decoder by transformers. It also samples suspects again for both back-ends."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessor,
    LogitsProcessorList,
)
from transformers.modeling_outputs import BaseModelOutput

from serctl.encoders.recognisers.base import Hypothesis
from serctl.encoders.recognisers.vocabulary import MAX_TOKENS, Vocabulary

MULTILINGUAL_SIZE = 51_865
"""Vocabulary size of the smallest multilingual Whisper. English models have one token less."""


class HuggingFaceDecoder:
    """Decodes encoded windows; see `serctl.encoders.recognisers.base.Decoder`.

    Args:
        network: `WhisperForConditionalGeneration`.
        folder: Folder of the checkpoint, for its tokenizer.
    """

    def __init__(self, network: Any, folder: Path) -> None:
        self._network = network.eval()
        by_size = network.config.vocab_size >= MULTILINGUAL_SIZE
        multilingual = getattr(network.generation_config, "is_multilingual", by_size)
        self._vocabulary = Vocabulary(folder, multilingual=multilingual)
        self.languages = self._vocabulary.languages

    @torch.inference_mode()
    def decode(self, hidden: Tensor, language: str | None) -> list[Hypothesis]:
        """Return the most probable transcripts of encoded windows ``(num_windows, 1500, D)``."""
        projected, chances = self._begin(hidden)
        languages = self._choose(chances, language)
        return self._finish(hidden, projected, chances, languages, _Watch())

    @torch.inference_mode()
    def draw(
        self, hidden: Tensor, languages: Sequence[str], temperatures: Sequence[float], seed: int
    ) -> list[list[Hypothesis]]:
        """Return for each window the transcripts sampled at every temperature."""
        projected, chances = self._begin(hidden)
        times = len(temperatures)
        projected.batch_repeat_interleave(times)
        drawn = self._finish(
            hidden.repeat_interleave(times, 0),
            projected,
            chances.repeat_interleave(times, 0),
            [code for code in languages for _ in temperatures],
            _Watch(temperatures, seed),
        )
        return [drawn[i : i + times] for i in range(0, len(drawn), times)]

    def _begin(self, hidden: Tensor) -> tuple[Any, Tensor]:
        """Run the first step from the start token.

        Returns:
            The decoder's projections of all 1500 frames, which cost more than the steps, and the
            probabilities of tokens ``(num_windows, vocabulary)``, for languages and no speech.
        """
        start = torch.full((len(hidden), 1), self._vocabulary.start, device=hidden.device)
        first = self._network(
            encoder_outputs=BaseModelOutput(hidden), decoder_input_ids=start, use_cache=True
        )
        return first.past_key_values.cross_attention_cache, first.logits[:, 0].float().softmax(-1)

    def _choose(self, chances: Tensor, language: str | None) -> Sequence[str]:
        """Return the requested language, or the most probable one of each window."""
        if language is not None or not self._vocabulary.multilingual:
            return [language or "en"] * len(chances)
        codes = list(self._vocabulary.language_ids)
        ids = list(self._vocabulary.language_ids.values())
        return [codes[best] for best in chances[:, ids].argmax(1).tolist()]

    def _finish(
        self,
        hidden: Tensor,
        projected: Any,
        chances: Tensor,
        languages: Sequence[str],
        watch: "_Watch",
    ) -> list[Hypothesis]:
        """Generate the transcript of each row."""
        prompts = torch.tensor([self._vocabulary.prompt(code) for code in languages])
        # Whisper's generate() fails with encoder outputs, except for one greedy pass.
        made: Any = GenerationMixin.generate(
            self._network,
            encoder_outputs=BaseModelOutput(hidden),
            decoder_input_ids=prompts.to(hidden.device),
            past_key_values=EncoderDecoderCache(DynamicCache(), projected),
            logits_processor=LogitsProcessorList([watch]),
            generation_config=self._settings(),
        )
        logprobs = self._network.compute_transition_scores(
            made.sequences, tuple(watch.seen), normalize_logits=True
        )
        answers = made.sequences[:, prompts.shape[1] :].tolist()
        no_speech = chances[:, self._vocabulary.no_speech].tolist()
        temperatures = watch.temperatures or (0.0,)
        every = [*temperatures] * (len(hidden) // len(temperatures))
        rows = zip(answers, logprobs.tolist(), languages, no_speech, every, strict=True)
        return [self._read(*row) for row in rows]

    def _settings(self) -> GenerationConfig:
        own = self._network.generation_config
        return GenerationConfig(
            suppress_tokens=own.suppress_tokens,
            begin_suppress_tokens=own.begin_suppress_tokens,
            eos_token_id=self._vocabulary.end,
            pad_token_id=self._vocabulary.end,
            decoder_start_token_id=self._vocabulary.start,
            max_new_tokens=MAX_TOKENS,
            return_dict_in_generate=True,
        )

    def _read(
        self,
        tokens: list[int],
        logprobs: list[float],
        language: str,
        no_speech: float,
        temperature: float,
    ) -> Hypothesis:
        """Read one row up to and including its end token. The rest is padding."""
        end = self._vocabulary.end
        length = tokens.index(end) + 1 if end in tokens else len(tokens)
        text = self._vocabulary.text(tokens[:length])
        return Hypothesis(text, language, sum(logprobs[:length]), length, no_speech, temperature)


class _Watch(LogitsProcessor):
    """Records the logits of each step and, with temperatures, adds noise for sampling.

    The argmax of ``logits / temperature + Gumbel noise`` is a sample from the softmax. Unlike the
    library's sampling this needs no global generator, so threads are independent. Every window has
    the same noise, so its samples do not depend on other windows.

    Args:
        temperatures: Temperatures of the rows of a window, the same for each window.
        seed: Seed of the noise.
    """

    def __init__(self, temperatures: Sequence[float] = (), seed: int = 0) -> None:
        self.temperatures = temperatures
        self.seen: list[Tensor] = []
        self._seed = seed
        self._generator: torch.Generator | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.seen.append(scores)
        if not self.temperatures:
            return scores
        if self._generator is None:
            self._generator = torch.Generator(scores.device).manual_seed(self._seed)
        shape = (len(self.temperatures), scores.shape[1])
        noise = -scores.new_empty(shape).exponential_(generator=self._generator).log()
        warm = scores.unflatten(0, (-1, shape[0])) / scores.new_tensor(self.temperatures)[:, None]
        return (warm + noise).flatten(0, 1)
