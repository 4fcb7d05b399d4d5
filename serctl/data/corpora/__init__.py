"""Corpora that serctl reads from their official layouts, one module each."""

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from serctl.data.corpora.scan import Corpus, note_unreadable
from serctl.errors import CorpusError, UnknownNameError
from serctl.names import explain_url


@dataclass(frozen=True)
class CorpusSpec:
    """A known corpus: its reader, title, terms, page, language and suffix of its videos."""

    reader: str
    title: str
    terms: str
    page: str
    language: str = "en"
    video: str = ""


CORPORA = {
    "emodb": CorpusSpec(
        "emodb:read",
        "Berlin Database of Emotional Speech (German, acted)",
        "no licence text; free for research with citation",
        "http://emodb.bilderbar.info",
        language="de",
    ),
    "ravdess": CorpusSpec(
        "ravdess:read",
        "RAVDESS, audio-only speech (English, acted)",
        "CC BY-NC-SA 4.0",
        "https://zenodo.org/record/1188976",
        video=".mp4",
    ),
    "crema-d": CorpusSpec(
        "crema_d:read",
        "CREMA-D (English, acted, crowd votes)",
        "Open Database License 1.0",
        "https://github.com/CheyneyComputerScience/CREMA-D",
    ),
    "iemocap": CorpusSpec(
        "iemocap:read_four",
        "IEMOCAP, 4 classes: angry, sad, happy with excited, neutral (English, dialogues)",
        "USC licence agreement",
        "https://sail.usc.edu/iemocap/",
    ),
    "iemocap-5": CorpusSpec(
        "iemocap:read_five",
        "IEMOCAP, 5 classes: the four and frustrated",
        "USC licence agreement",
        "https://sail.usc.edu/iemocap/",
    ),
    "meld": CorpusSpec(
        "meld:read",
        "MELD (English TV dialogues; splits share speakers)",
        "GPL-3.0",
        "https://github.com/declare-lab/MELD",
        video=".mp4",
    ),
    "msp-podcast": CorpusSpec(
        "msp_podcast:read",
        "MSP-Podcast, releases and the Interspeech 2025 challenge (English, natural)",
        "UT Dallas licence agreement",
        "https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
    ),
    "audformat": CorpusSpec(
        "audformat_db:read",
        "any audformat database with the schemes emotion and, if known, speaker",
        "see its header",
        "https://audeering.github.io/audformat/",
    ),
    "textgrid": CorpusSpec(
        "textgrids:read",
        "a folder of Praat TextGrids and recordings: the tiers emotion and, if known, speaker",
        "your own",
        "https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html",
    ),
    "audiofolder": CorpusSpec(
        "audiofolder:read",
        "any Hugging Face audio folder: metadata.csv, or a folder per emotion",
        "see its card",
        "https://huggingface.co/docs/hub/en/datasets-audio",
    ),
}


def read_corpus(name: str, root: Path) -> Corpus:
    """Read a corpus by its name.

    Returns:
        Utterances in a fixed order. Their split is '' if the corpus has no splits.

    Raises:
        UnknownNameError: There is no importer of that name.
        CorpusError: ``root`` does not look like the corpus.
    """
    if name not in CORPORA:
        raise UnknownNameError("corpus", name, [*CORPORA, "demo"], "Any other: --manifest CSV.")
    module, function = CORPORA[name].reader.split(":")
    reader = getattr(import_module(f"serctl.data.corpora.{module}"), function)
    try:
        if not root.is_dir():
            raise CorpusError(f"'{root}' is not a folder.{explain_url(root)}")
        corpus: Corpus = reader(root)
    except CorpusError as error:
        told = "".join(f" ({note})" for note in note_unreadable(root, video=CORPORA[name].video))
        raise CorpusError(
            f"{error}{told} --root is the folder of the unpacked corpus. "
            f"For other layouts: serctl init --manifest CSV"
        ) from error
    used = {row.path for row in corpus.utterances}
    notes = note_unreadable(root, used, CORPORA[name].video)
    return replace(corpus, notes=(*corpus.notes, *notes))
