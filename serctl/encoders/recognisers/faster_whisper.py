"""Whisper's decoder by faster-whisper (CTranslate2), on windows encoded by transformers."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from serctl.encoders.recognisers.backends import is_ctranslate2, require_faster_whisper
from serctl.encoders.recognisers.base import Decoder, Hypothesis
from serctl.encoders.recognisers.vocabulary import MAX_TOKENS, Vocabulary
from serctl.errors import WeightsError


class FasterWhisperDecoder:
    """Decodes greedily with CTranslate2; see `serctl.encoders.recognisers.base.Decoder`.

    ``sampler`` samples suspects again: CTranslate2 has one random generator per worker thread that
    cannot be reseeded, so its samples would depend on earlier transcriptions.

    Args:
        folder: Folder of the model in CTranslate2 format.
        dtype: Data type of the computation, that of the encoded windows.
        device: Device to compute on.
        workers: Number of threads that use it in parallel.
        sampler: Returns the decoder for sampling. It is called for the first suspect.
    """

    def __init__(
        self,
        folder: Path,
        dtype: str,
        device: torch.device,
        workers: int,
        sampler: Callable[[], Decoder],
    ) -> None:
        require_faster_whisper()
        from faster_whisper import WhisperModel

        try:
            model = WhisperModel(
                str(folder),
                device=device.type,
                device_index=device.index or 0,
                compute_type="float32" if device.type == "cpu" else dtype,
                cpu_threads=torch.get_num_threads(),
                num_workers=workers,
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise WeightsError(f"faster-whisper cannot load '{folder}': {reason}") from error
        self._model = model.model
        self._vocabulary = Vocabulary(folder, multilingual=self._model.is_multilingual)
        self._make_sampler = sampler
        self._sampler: Decoder | None = None
        self._lock = Lock()
        self.languages = self._vocabulary.languages

    def draw(
        self, hidden: Tensor, languages: Sequence[str], temperatures: Sequence[float], seed: int
    ) -> list[list[Hypothesis]]:
        """Call the sampler."""
        with self._lock:
            self._sampler = self._sampler or self._make_sampler()
        return self._sampler.draw(hidden, languages, temperatures, seed)

    def decode(self, hidden: Tensor, language: str | None) -> list[Hypothesis]:
        """Return the most probable transcripts of encoded windows ``(num_windows, 1500, D)``."""
        from ctranslate2 import StorageView

        on_cpu = hidden.device.type == "cpu"
        features = StorageView.from_array(hidden.float().numpy() if on_cpu else hidden)
        languages = [language or "en"] * len(hidden)
        if language is None and self._vocabulary.multilingual:
            detected = self._model.detect_language(features)
            languages = [found[0][0].strip("<|>") for found in detected]
        made = self._model.generate(
            features,
            [self._vocabulary.prompt(code) for code in languages],
            beam_size=1,
            length_penalty=0,  # so that the score is the plain sum
            max_length=2 * MAX_TOKENS,  # CTranslate2 uses half of it for the output
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [
            Hypothesis(
                text=self._vocabulary.text(found.sequences_ids[0]),
                language=code,
                logprob=found.scores[0],
                num_tokens=len(found.sequences_ids[0]) + 1,
                no_speech=found.no_speech_prob,
            )
            for found, code in zip(made, languages, strict=True)
        ]


def prepare_ctranslate2(checkpoint: Path, converted: Path) -> Path:
    """Return a folder in CTranslate2 format: the checkpoint itself, or its cached conversion.

    Args:
        checkpoint: Folder of the weights in either format.
        converted: Folder of the conversion, if the checkpoint needs one.

    Raises:
        WeightsError: The checkpoint cannot be converted.
    """
    for folder in (checkpoint, converted):
        if is_ctranslate2(folder):
            return folder
    require_faster_whisper()
    from ctranslate2.converters import TransformersConverter

    unfinished = converted.with_name(f".{converted.name}.tmp")
    copied = ["tokenizer.json", "preprocessor_config.json"]
    present = [name for name in copied if (checkpoint / name).is_file()]
    try:
        TransformersConverter(str(checkpoint), copy_files=present).convert(
            str(unfinished), force=True
        )
        unfinished.replace(converted)
    except (OSError, ValueError, RuntimeError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"'{checkpoint}' cannot be converted for faster-whisper: {reason}. "
            f"Use --backend transformers."
        ) from error
    return converted
