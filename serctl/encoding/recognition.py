"""Settings of a transcription: weights, back-end, and the source of the transcripts."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.cache.key import FeatureKey
from serctl.data.manifest import Utterance
from serctl.data.transcripts import Transcript
from serctl.encoders.base import EncoderIdentity
from serctl.encoders.catalog import get_spec
from serctl.encoders.load import identify_encoder
from serctl.encoders.recognisers.backends import choose_backend
from serctl.encoders.weights import resolve_weights
from serctl.encoding.inputs import AudioInputs
from serctl.encoding.pipeline import Encoded
from serctl.errors import UsageError
from serctl.options import TranscribeOptions

if TYPE_CHECKING:
    import torch

    from serctl.config import Workspace
    from serctl.encoders.recognisers.base import Recognised, Recogniser

WHISPER_WINDOW = "30s"
"""Window rule of Whisper's encoders."""


@dataclass(frozen=True)
class Recognition:
    """Settings of a transcription, known before weights are loaded.

    Attributes:
        identity: Identity of the encoder and its frames.
        checkpoint: Folder of the weights.
        backend: ``transformers`` or ``faster-whisper``.
        options: Given options.
    """

    identity: EncoderIdentity
    checkpoint: Path
    backend: str
    options: TranscribeOptions

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.identity.encoder

    @property
    def revision(self) -> str:
        """First twelve hex digits of the weights' commit or hash."""
        return self.identity.revision.removeprefix("sha256:")[:12]

    @property
    def source(self) -> str:
        """All settings that change transcripts, as readable text for the keys of text features.

        Example: ``whisper-tiny;d6dc76b954ed;faster-whisper;en;float32;seed=0``.
        """
        parts = (self.name, self.revision, self.backend, self.options.language)
        return ";".join((*parts, self.options.dtype, f"seed={self.options.seed}"))

    @property
    def key(self) -> FeatureKey:
        """Feature key of the frames, that of `serctl extract` with the same weights and layer."""
        storage = self.options.storage
        return FeatureKey(**asdict(self.identity), source=AudioInputs.source, storage=storage)

    def to_dict(self) -> dict[str, Any]:
        """Return the record of these settings for the JSON file of the transcripts."""
        return {"source": self.source, "backend": self.backend, "model": asdict(self.identity)}

    def load(self, cache: Path, device: "torch.device", workers: int) -> "Recogniser":
        """Load encoder and decoder for ``workers`` threads. ``cache`` keeps a converted model."""
        from serctl.encoders.recognisers.load import load_recogniser

        return load_recogniser(
            self.checkpoint,
            self.identity,
            device,
            backend=self.backend,
            language=self.options.language,
            seed=self.options.seed,
            converted=cache / f"ctranslate2-{self.revision}",
            workers=workers,
        )


def settle_recognition(workspace: "Workspace", options: TranscribeOptions) -> Recognition:
    """Find the weights and choose the back-end.

    Raises:
        UsageError: The model is not a Whisper, or its tokenizer has no such language.
        WeightsError: The weights are missing.
        ConfigError: The back-end is not installed.
    """
    identity = identify_encoder(
        options.model,
        weights=options.weights,
        mapping=workspace.weights,
        layer=options.layer,
        dtype=options.dtype,
    )
    if identity.window != WHISPER_WINDOW:
        raise UsageError(
            f"The model is '{options.model}', expected a Whisper model. "
            f"Use whisper-large-v3, whisper-tiny or any Whisper model of the hub."
        )
    spec = get_spec(options.model, workspace.weights)
    checkpoint = resolve_weights(spec, options.weights, workspace.weights).path
    _check_language(options.language, identity.encoder, checkpoint)
    return Recognition(identity, checkpoint, choose_backend(options.backend, checkpoint), options)


def _check_language(language: str, name: str, checkpoint: Path) -> None:
    """Check the language code before the network is loaded."""
    if language in ("auto", "en") or not (checkpoint / "tokenizer.json").is_file():
        return
    # Imported late: the defaults do not need the library of tokenizers.
    from serctl.encoders.recognisers.vocabulary import Vocabulary, check_language

    check_language(language, name, Vocabulary(checkpoint, multilingual=True).languages)


def make_row(one: "Encoded[Utterance, Recognised]") -> Transcript:
    """Return the row of the CSV file for a recognised utterance."""
    words = one.made.words
    return Transcript(
        utterance_id=one.row.utterance_id,
        text=words.text,
        language=words.language,
        mean_logprob=words.mean_logprob,
        no_speech=words.no_speech,
        compression_ratio=words.compression_ratio,
        temperature=words.temperature,
        suspect="+".join(one.made.doubts),
        audio=one.source,
    )
