"""Tiny checkpoints with random weights, laid out as the hub's repositories really are.

Not what ``save_pretrained`` of the installed transformers writes: pickled ``pytorch_model.bin`` of
the old names of weight norm, heads on top, vocabularies without ``tokenizer.json``.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer, SentencePieceUnigramTokenizer
from tokenizers.processors import BertProcessing, RobertaProcessing

SENTENCES = [
    "I am so happy to see you",
    "why would you do that to me",
    "the report is on the table",
    "leave me alone right now",
    "what a lovely surprise this is",
    "well that is just great isn't it",
]

CONV_STACK = {
    "conv_dim": [8] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_feat_extract_layers": 7,
    "feat_extract_activation": "gelu",
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 32,
}
"""The real kernels and strides (20 ms frames), everything else small."""

STABLE = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
GROUP = {"feat_extract_norm": "group", "conv_bias": False, "do_stable_layer_norm": False}

BERT_LIKE = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
}


def write_wavlm(folder: Path) -> Path:
    """As microsoft/wavlm-large: the bare network, stable layer norm, pytorch_model.bin."""
    config = CONV_STACK | STABLE | {"num_buckets": 320, "max_bucket_distance": 800}
    return write_speech(folder, "WavLMModel", "wavlm", config)


def write_hubert(folder: Path) -> Path:
    """As facebook/hubert-xlarge-ls960-ft: a CTC head on top and its vocabulary beside it."""
    write_speech(folder, "HubertForCTC", "hubert", CONV_STACK | STABLE)
    (folder / "vocab.json").write_text(json.dumps({"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}))
    return folder


def write_wav2vec2(folder: Path) -> Path:
    """As facebook/wav2vec2-base-960h: group norm over time, no attention mask."""
    return write_speech(folder, "Wav2Vec2ForCTC", "wav2vec2", CONV_STACK | GROUP)


def write_xls_r(folder: Path) -> Path:
    """As facebook/wav2vec2-xls-r-300m: stable layer norm, the quantiser of pre-training on top."""
    quantiser = {
        "num_codevector_groups": 2,
        "num_codevectors_per_group": 4,
        "codevector_dim": 8,
        "proj_codevector_dim": 8,
    }
    config = CONV_STACK | STABLE | quantiser
    return write_speech(folder, "Wav2Vec2ForPreTraining", "wav2vec2", config)


def write_w2v_bert(folder: Path) -> Path:
    """As facebook/w2v-bert-2.0: mel filter banks in, safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    preprocessor = {
        "feature_extractor_type": "SeamlessM4TFeatureExtractor",
        "feature_size": 80,
        "num_mel_bins": 80,
        "padding_side": "right",
        "padding_value": 1,
        "return_attention_mask": True,
        "sampling_rate": 16000,
        "stride": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    config = {
        "architectures": ["Wav2Vec2BertModel"],
        "model_type": "wav2vec2-bert",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "feature_projection_input_dim": 160,
    }
    state = _build("Wav2Vec2BertModel", folder, config)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


def write_whisper(folder: Path) -> Path:
    """As openai/whisper-large-v3: 128 mel bands, encoder and decoder in model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    preprocessor = {
        "chunk_length": 30,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 128,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "sampling_rate": 16000,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    config = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "num_hidden_layers": 2,
        "num_mel_bins": 128,
        "max_source_positions": 1500,
        "vocab_size": 60,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "decoder_start_token_id": 1,
    }
    state = _build("WhisperForConditionalGeneration", folder, config)
    del state["proj_out.weight"]  # tied to the decoder's embeddings
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


def write_roberta(folder: Path) -> Path:
    """As FacebookAI/roberta-large: merges and vocabulary, a masked-language head, a pooler."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        SENTENCES, vocab_size=320, special_tokens=special, show_progress=False
    )
    tokenizer.save_model(str(folder))
    config = {
        **BERT_LIKE,
        "architectures": ["RobertaForMaskedLM"],
        "model_type": "roberta",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 34,
        "type_vocab_size": 1,
        "vocab_size": tokenizer.get_vocab_size(),
    }
    state = _build("RobertaForMaskedLM", folder, config)
    state["roberta.embeddings.position_ids"] = torch.arange(34)[None]
    state["roberta.pooler.dense.weight"] = torch.zeros(16, 16)
    state["roberta.pooler.dense.bias"] = torch.zeros(16)
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def write_modernbert(folder: Path) -> Path:
    """As answerdotai/ModernBERT-large: rotary positions, local layers, tokenizer.json alone."""
    ids = _write_tokenizer(folder)
    config = {
        **{key: value for key, value in BERT_LIKE.items() if key != "hidden_act"},
        "architectures": ["ModernBertForMaskedLM"],
        "model_type": "modernbert",
        **{f"{name}_token_id": ids[name] for name in ("cls", "sep", "pad")},
        "bos_token_id": ids["cls"],
        "eos_token_id": ids["sep"],
        "global_attn_every_n_layers": 3,
        "local_attention": 8,
        "max_position_embeddings": 64,
        "vocab_size": ids["size"],
    }
    state = _build("ModernBertForMaskedLM", folder, config)
    del state["decoder.weight"]  # tied to the embeddings
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


def write_bert_like(folder: Path, architecture: str, config: dict[str, Any]) -> Path:
    """Write a text encoder of any kind, the bare network."""
    ids = _write_tokenizer(folder)
    config = {**BERT_LIKE, "pad_token_id": ids["pad"], "vocab_size": ids["size"], **config}
    state = _build(architecture, folder, config | {"architectures": [architecture]})
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


def _write_tokenizer(folder: Path) -> dict[str, int]:
    """Write a tokenizer.json with BERT's special tokens; return their ids and how many it has."""
    folder.mkdir(parents=True, exist_ok=True)
    special = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        SENTENCES, vocab_size=320, special_tokens=list(special.values()), show_progress=False
    )
    ids = {name: tokenizer.token_to_id(token) for name, token in special.items()}
    tokenizer.post_processor = BertProcessing(("[SEP]", ids["sep"]), ("[CLS]", ids["cls"]))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {f"{name}_token": token for name, token in special.items()}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return ids | {"size": tokenizer.get_vocab_size()}


def write_xlm_roberta(folder: Path) -> Path:
    """As FacebookAI/xlm-roberta-large: RoBERTa's network, SentencePiece in a tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = SentencePieceUnigramTokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        SENTENCES, vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512}))
    config = {
        **BERT_LIKE,
        "architectures": ["XLMRobertaForMaskedLM"],
        "model_type": "xlm-roberta",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 34,
        "type_vocab_size": 1,
        "vocab_size": tokenizer.get_vocab_size(),
    }
    state = _build("XLMRobertaForMaskedLM", folder, config)
    for name in ("lm_head.decoder.weight", "lm_head.decoder.bias"):
        del state[name]  # tied
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


def write_deberta(folder: Path) -> Path:
    """As microsoft/deberta-v2-xxlarge: spm.model and no tokenizer.json, convolution, MLM head."""
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_repeat(SENTENCES),
        model_writer=model,
        vocab_size=60,
        **{"pad_id": 0, "pad_piece": "[PAD]", "bos_id": 1, "bos_piece": "[CLS]"},
        **{"eos_id": 2, "eos_piece": "[SEP]", "unk_id": 3, "unk_piece": "[UNK]"},
        minloglevel=2,
        hard_vocab_limit=False,
    )
    (folder / "spm.model").write_bytes(model.getvalue())
    tokenizer_config = {"do_lower_case": False, "vocab_type": "spm"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    config = {
        **BERT_LIKE,
        "model_type": "deberta-v2",
        "relative_attention": True,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "max_relative_positions": -1,
        "position_biased_input": False,
        "conv_kernel_size": 3,
        "conv_act": "gelu",
        "layer_norm_eps": 1e-7,
        "max_position_embeddings": 24,
        "type_vocab_size": 0,
        "vocab_size": 64,
        "pad_token_id": 0,
    }
    state = _build("DebertaV2ForMaskedLM", folder, config)
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def write_speech(
    folder: Path, architecture: str, model_type: str, config: dict[str, Any], *, std: float = 0.25
) -> Path:
    """Write a wav2vec2-like checkpoint of any shape, as the hub has it."""
    folder.mkdir(parents=True, exist_ok=True)
    preprocessor = {
        "do_normalize": True,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0,
        "return_attention_mask": config["feat_extract_norm"] == "layer",
        "sampling_rate": 16000,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    config = config | {"architectures": [architecture], "model_type": model_type}
    old_names = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    state = {}
    for name, value in _build(architecture, folder, config, std).items():
        for new, old in old_names.items():
            name = name.replace(new, old)
        state[name] = value
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def _build(
    architecture: str, folder: Path, config: dict[str, Any], std: float = 0.25
) -> dict[str, torch.Tensor]:
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    kind = getattr(transformers, architecture)
    network = kind(kind.config_class.from_pretrained(folder))
    # Larger than the initialiser's 0.02, so that every layer leaves its mark on the frames.
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for value in state.values():
        if value.is_floating_point() and value.dim() > 1:
            value.normal_(std=std)
    return state


def _repeat(sentences: list[str]) -> Iterator[str]:
    for _ in range(20):
        yield from sentences
