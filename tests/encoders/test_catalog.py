"""Names of encoders."""

from dataclasses import replace
from pathlib import Path

import pytest

from serctl.encoders.catalog import ALIASES, ENCODERS, get_spec
from serctl.errors import UnknownNameError, UsageError


@pytest.mark.parametrize(
    ("name", "weights", "dim"),
    [
        ("whisper-large-v3", "openai/whisper-large-v3", 1280),
        ("hubert-xlarge", "facebook/hubert-xlarge-ls960-ft", 1280),
        ("wavlm-large", "microsoft/wavlm-large", 1024),
        ("facodec", "amphion/naturalspeech3_facodec", 512),
        ("facodec-prosody", "amphion/naturalspeech3_facodec", 256),
        ("roberta-large", "FacebookAI/roberta-large", 1024),
        ("deberta-v2-xxlarge", "microsoft/deberta-v2-xxlarge", 1536),
    ],
)
def test_the_papers_encoders_have_their_published_ids_and_widths(
    name: str, weights: str, dim: int
) -> None:
    spec = get_spec(name)
    assert (spec.weights, spec.dim) == (weights, dim)


def test_an_alias_and_a_hub_id_are_the_row_itself() -> None:
    assert get_spec("ns3") is ENCODERS["facodec"]
    for alias, name in ALIASES.items():
        assert get_spec(alias) is ENCODERS[name]
    for name, spec in ENCODERS.items():
        expected = "facodec" if name == "facodec-prosody" else name
        assert get_spec(spec.weights.upper()).name == expected


def test_any_hub_id_folder_or_mapped_name_gets_a_row(tmp_path: Path) -> None:
    assert get_spec("someone/some-model").weights == "someone/some-model"
    folder = tmp_path / "my-wavlm"
    folder.mkdir()
    assert get_spec(str(folder)).name == "my-wavlm"
    assert get_spec("mine", {"mine": folder}) == replace(get_spec("a/b"), name="mine", weights="")


@pytest.mark.parametrize("name", ["wavml", "whisper_large"])
def test_an_unknown_name_is_refused_with_what_is_known(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"Known: .*wavlm-large"):
        get_spec(name)


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "/nowhere/x"])
def test_a_path_that_leads_nowhere_is_said_so(name: str) -> None:
    with pytest.raises(UsageError, match=f"The folder '{name}' does not exist"):
        get_spec(name)


def test_a_folder_hides_no_name_and_no_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("whisper", "owner/model", "mine"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert get_spec("whisper") is ENCODERS["whisper-large-v3"]
    assert get_spec("./whisper").weights == str(tmp_path / "whisper")
    assert get_spec("owner/model").weights == "owner/model"
    assert get_spec("./owner/model").weights == str(tmp_path / "owner" / "model")
    with pytest.raises(UnknownNameError, match=r"that name use \./mine"):
        get_spec("mine")
