"""Several layers in one pass of an encoder: the very bits of a pass for each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny

from serctl.encoders.load import load_encoder

WRITERS: dict[str, Callable[[Path], Path]] = {
    "wavlm": tiny.write_wavlm,
    "hubert": tiny.write_hubert,
    "wav2vec2": tiny.write_wav2vec2,
    "xls-r": tiny.write_xls_r,
    "w2v-bert": tiny.write_w2v_bert,
    "whisper": tiny.write_whisper,
    "roberta": tiny.write_roberta,
    "modernbert": tiny.write_modernbert,
    "xlm-roberta": tiny.write_xlm_roberta,
    "deberta": tiny.write_deberta,
}
WAVES = [
    np.random.default_rng(size).standard_normal(size).astype(np.float32) * 0.1
    for size in (16_000, 5_000, 399)
]
LAYERS = (2, -1, 0, 1)


@pytest.mark.parametrize("name", WRITERS)
def test_one_pass_gives_the_frames_of_a_pass_for_each_layer(name: str, tmp_path: Path) -> None:
    path = str(WRITERS[name](tmp_path / name))
    together = load_encoder(path, layer=LAYERS[0])
    is_text = together.identity.modality == "text"
    batch = ["I am happy", "", "leave me alone " * 9] if is_text else WAVES
    found = together.encode_layers(batch, LAYERS)
    for position, layer in enumerate(LAYERS):
        alone = load_encoder(path, layer=layer).encode(batch)
        for utterance, expected in zip(found, alone, strict=True):
            np.testing.assert_array_equal(utterance[position], expected)
    lowest, last = found[0][2], found[0][1]
    assert lowest.shape == last.shape
    assert np.abs(lowest - last).max() > 1e-3


def test_windows_of_long_audio_are_joined_in_every_layer(tmp_path: Path) -> None:
    encoder = load_encoder(str(tiny.write_whisper(tmp_path / "whisper")), window=1)
    wave = np.concatenate(WAVES)
    [layers] = encoder.encode_layers([wave], (0, 2))
    for frames, layer in zip(layers, (0, 2), strict=True):
        pieces = [
            encoder.encode_layers([wave[i : i + 16_000]], (layer,))[0][0]
            for i in range(0, len(wave), 16_000)
        ]
        np.testing.assert_array_equal(frames, np.concatenate(pieces))
