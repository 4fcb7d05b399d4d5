"""Load a recogniser from a checkpoint."""

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
        checkpoint: Folder in the format of Hugging Face or CTranslate2.
        identity: Identity of the encoder.
        device: Device to compute on.
        backend: ``transformers`` or ``faster-whisper``.
        language: Language code, or ``auto`` to detect it.
        seed: Seed of the samples for suspects.
        converted: Folder of the checkpoint converted for faster-whisper.
        workers: Number of threads that use it in parallel.

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
            load(decoder=True)  # an encoder without decoder raises an error
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
