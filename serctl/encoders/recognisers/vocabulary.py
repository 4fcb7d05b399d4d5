"""Whisper's tokens: the prompt of the decoder, and text from its output."""

import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from serctl.errors import UsageError, WeightsError, first_few
from serctl.files import read_json

MAX_TOKENS = 224
"""Maximum tokens of a window: half of the decoder's positions, as in OpenAI's implementation."""


class Vocabulary:
    """The tokenizer of a checkpoint and the numbers of its special tokens.

    Args:
        folder: Folder with ``tokenizer.json``.
        multilingual: Whether the network is multilingual. The tokenizers of English models have
            all languages too.

    Raises:
        WeightsError: There is no tokenizer, or it is not Whisper's.
    """

    def __init__(self, folder: Path, *, multilingual: bool) -> None:
        path = folder / "tokenizer.json"
        read_json(path, WeightsError, "Copy that file from the model's page too.")
        self._tokenizer = Tokenizer.from_file(str(path))
        tokens = self._tokenizer.get_added_tokens_decoder()
        ids = {str(token.content): number for number, token in tokens.items()}
        try:
            self.start = ids["<|startoftranscript|>"]
            self.end = ids["<|endoftext|>"]
            self._task = (ids["<|transcribe|>"], ids["<|notimestamps|>"])
            self.no_speech = ids.get("<|nospeech|>") or ids["<|nocaptions|>"]
        except KeyError as error:
            raise WeightsError(f"'{path}' has no token {error}: it is not Whisper's.") from None
        named = {name.strip("<|>"): number for name, number in ids.items()}
        self.language_ids = {
            name: number for name, number in named.items() if re.fullmatch("[a-z]{2,3}", name)
        }
        self.multilingual = multilingual

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages of the network."""
        return tuple(self.language_ids) if self.multilingual else ("en",)

    def prompt(self, language: str) -> list[int]:
        """Return the prompt to transcribe one language without timestamps."""
        if not self.multilingual:
            return [self.start, self._task[1]]
        return [self.start, self.language_ids[language], *self._task]

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text without special tokens and surrounding white space."""
        words = [token for token in tokens if token < self.end]
        return self._tokenizer.decode(words, skip_special_tokens=False).strip()


def check_language(language: str, model: str, known: Sequence[str]) -> None:
    """Check that a model knows a language.

    Raises:
        UsageError: The language is unknown and not ``auto``.
    """
    if language not in ("auto", *known):
        raise UsageError(
            f"--language is {language}, expected {first_few(known)} for '{model}'. Use a "
            f"multilingual model, or --from-manifest for the transcripts of the corpus."
        )
