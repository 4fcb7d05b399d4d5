"""A tiny Whisper with random weights that can be asked for words: tokenizer, settings and all."""

from pathlib import Path

import torch
from tiny import SENTENCES
from tokenizers import ByteLevelBPETokenizer
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor
from transformers import WhisperForConditionalGeneration as Whisper

SPECIAL = (
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|fr|>", "<|translate|>"),
    *("<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
)
"""In the order of the multilingual models."""


def write_speaking_whisper(folder: Path, *, multilingual: bool) -> Path:
    """As openai/whisper-tiny or, with English only, openai/whisper-tiny.en."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(SENTENCES, vocab_size=320)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = {name: tokenizer.token_to_id(name) for name in SPECIAL}
    end, vocab_size = ids["<|endoftext|>"], tokenizer.get_vocab_size()
    config = WhisperConfig(
        vocab_size=vocab_size,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=end + 1,
    )
    torch.manual_seed(1)
    network = Whisper(config)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    network.generation_config = GenerationConfig(
        eos_token_id=end,
        pad_token_id=end,
        bos_token_id=end,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        is_multilingual=multilingual,
        lang_to_id={name: ids[name] for name in ("<|en|>", "<|de|>", "<|fr|>")},
        task_to_id={"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"],
        suppress_tokens=list(range(end + 1, vocab_size)),
        begin_suppress_tokens=[end],
        max_length=448,
    )
    network.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder
