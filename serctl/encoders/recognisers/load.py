"""From a checkpoint and a back-end to a recogniser."""

from functools import partial
from pathlib import Path

import torch

from serctl.encoders.base import EncoderIdentity
from serctl.encoders.recognisers.backends import is_ctranslate2
from serctl.encoders.recognisers.base import Decoder, Recogniser
from serctl.encoders.recognisers.faster_whisper import FasterWhisperDecoder, prepare_ctranslate2
from serctl.encoders.recognisers.huggingface import HuggingFaceDecoder
from serctl.encoders.recognisers.vocabulary import check_language
from serctl.encoders.whisper import WhisperEncoder, load_extractor, load_whisper


def load_recogniser(
    checkpoint: Path,
    identity: EncoderIdentity,
    device: torch.device,
    *,
    backend: str,
    language: str,
    seed: int,
    converted: Path,
    workers: int = 1,
) -> Recogniser:
    """Load encoder and decoder.

    Args:
        checkpoint: Folder, from Hugging Face or in CTranslate2 form.
        identity: Of the frames.
        device: Where to compute.
        backend: ``transformers`` or ``faster-whisper``.
        language: A code, or ``auto`` to detect it.
        seed: Of the draws when a doubtful text is tried again.
        converted: Where faster-whisper keeps its own form of a Hugging Face checkpoint.
        workers: Threads that will recognise at once.

    Raises:
        WeightsError: The checkpoint is damaged or of another architecture.
        UsageError: The model does not know the language.
    """
    load = partial(load_whisper, checkpoint, identity.compute_dtype, device)
    decoder: Decoder
    if backend == "transformers":
        whole = load(decoder=True)
        network = whole.model.encoder
        decoder = HuggingFaceDecoder(whole, checkpoint)
    else:
        if not is_ctranslate2(checkpoint) and not is_ctranslate2(converted):
            load(decoder=True)  # refuses an encoder alone, which would get a random decoder
        network = load(decoder=False)
        folder = prepare_ctranslate2(checkpoint, converted)
        decoder = FasterWhisperDecoder(
            folder,
            identity.compute_dtype,
            device,
            workers,
            sampler=lambda: HuggingFaceDecoder(load(decoder=True), checkpoint),
        )
    check_language(language, identity.encoder, decoder.languages)
    encoder = WhisperEncoder(network, load_extractor(checkpoint, network.num_mel_bins), identity)
    return Recogniser(encoder, decoder, None if language == "auto" else language, seed)
