"""Corpora that serctl reads from their official layouts, one module each."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from serctl.data.corpora.found import Corpus
from serctl.errors import UnknownNameError


@dataclass(frozen=True)
class CorpusSpec:
    """One corpus serctl knows: the module that reads it, its terms of use and where it is had."""

    module: str
    title: str
    terms: str
    page: str


CORPORA = {
    "emodb": CorpusSpec(
        "emodb",
        "Berlin Database of Emotional Speech (German, acted)",
        "no licence text; free for research with citation",
        "http://emodb.bilderbar.info",
    ),
    "ravdess": CorpusSpec(
        "ravdess",
        "RAVDESS, audio-only speech (English, acted)",
        "CC BY-NC-SA 4.0",
        "https://zenodo.org/record/1188976",
    ),
}


def read_corpus(name: str, root: Path) -> Corpus:
    """Read a corpus by its name.

    Returns:
        Utterances in a fixed order; their split is '' where the corpus has no splits of its own.

    Raises:
        UnknownNameError: There is no importer of that name.
        CorpusError: ``root`` does not look like the corpus.
    """
    if name not in CORPORA:
        raise UnknownNameError("corpus", name, [*CORPORA, "demo"], "Any other: --manifest CSV.")
    reader = import_module(f"serctl.data.corpora.{CORPORA[name].module}")
    corpus: Corpus = reader.read(root)
    return corpus
