"""Documents of format version 1 stay readable, are written back byte for byte, or are refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serctl.cache.header import StoreHeader, group_document, parse_header
from serctl.data.transcripts import TranscriptsSidecar
from serctl.document import HASH_FIELD, UPDATE, Document, version_field
from serctl.documents.bundle import BundleDocument
from serctl.documents.logits import LogitsSidecar
from serctl.documents.report import Report
from serctl.documents.run import EpochRecord, RunConfig, RunSummary, read_epochs
from serctl.documents.stacker import StackerDocument
from serctl.errors import SerctlError
from serctl.options import TrainOptions

FILES = Path(__file__).parent / "version_1"
KINDS: dict[str, type[Document]] = {
    "run.json": RunConfig,
    "summary.json": RunSummary,
    "logits_of_a_run.json": LogitsSidecar,
    "stacker.json": StackerDocument,
    "stacker_average.json": StackerDocument,
    "bundle.json": BundleDocument,
    "report.json": Report,
    "header.json": StoreHeader,
    "transcripts.json": TranscriptsSidecar,
}
VERSIONED = [name for name, kind in KINDS.items() if version_field(kind)]


def refuse(kind: type[Document], document: object) -> str:
    """Return the message with which a document is refused."""
    with pytest.raises(kind.error) as caught:
        kind.parse(json.dumps(document).encode(), "place/x.json")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("'place/x.json' ")
    assert message.endswith(UPDATE if UPDATE in message else kind.hint)
    return message.removeprefix("'place/x.json' ")


def load(name: str) -> dict:
    return json.loads((FILES / name).read_text(encoding="utf-8"))


HASHED = [name for name, kind in KINDS.items() if HASH_FIELD in kind.model_fields]


@pytest.mark.parametrize("name", sorted({*KINDS} - {"run.json", *HASHED}))
def test_what_is_read_and_written_again_has_the_same_bytes(tmp_path: Path, name: str) -> None:
    KINDS[name].read(FILES / name).write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == (FILES / name).read_bytes()


@pytest.mark.parametrize("name", HASHED)
@pytest.mark.parametrize("changed", ["list", "number"])
def test_a_document_that_was_changed_since_it_was_written_is_refused(
    tmp_path: Path, name: str, changed: str
) -> None:
    path = tmp_path / name
    KINDS[name].read(FILES / name).write(path)  # without a hash, as earlier versions wrote it
    written = json.loads(path.read_text())
    KINDS[name].read(path)
    assert {**written, HASH_FIELD: ""} == {**load(name), HASH_FIELD: ""}
    if changed == "list":
        written["notes" if "notes" in written else "labels"].append("sad")
    elif name in ("summary.json", "logits_of_a_run.json"):
        written["loss" if "loss" in written else "seed"] += 1
    else:
        section = written.get("calibration") or written["fitted_on"]
        section["num_rows"] += 1
    assert refuse(KINDS[name], written).startswith("was changed since serctl wrote it")


def test_the_header_of_a_store_keeps_its_bytes_and_checksum() -> None:
    content = (FILES / "store_zarr.json").read_bytes()
    header = parse_header(content, "x")
    assert (header.dim, header.frame_rate, header.key.storage) == (384, 50.0, "float16")
    assert group_document(header) == content


def test_a_field_that_the_key_of_a_store_does_not_have_is_refused() -> None:
    header = load("header.json")
    message = refuse(StoreHeader, header | {"key": header["key"] | {"stride": 2}})
    assert message.startswith("has the unknown field 'key.stride'.")


def test_a_stackers_sidecar_keeps_every_value(tmp_path: Path) -> None:
    name = "logits_of_a_stacker.json"
    LogitsSidecar.read(FILES / name).write(tmp_path / name)
    written = json.loads((tmp_path / name).read_text())
    assert written.pop(HASH_FIELD)  # which earlier versions did not write
    assert written == load(name)


def test_a_run_keeps_every_value_and_gains_the_defaults_of_options_made_since(
    tmp_path: Path,
) -> None:
    before = load("run.json")
    RunConfig.read(FILES / "run.json").write(tmp_path / "run.json")
    after = json.loads((tmp_path / "run.json").read_text())
    assert list(after) == list(before)
    for part in ("options", "model"):
        old, new = before.pop(part), after.pop(part)
        assert all(old[name] == new[name] for name in set(old) & set(new))
    assert after == before


@pytest.mark.parametrize("name", VERSIONED)
@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_version_is_refused_whatever_else_is_in_it(name: str, number: object) -> None:
    kind = KINDS[name]
    message = refuse(kind, {version_field(kind): number, "of": "the future"})
    assert message.startswith(f"has {kind.noun} format {number!r}, but this serctl reads 1.")
    assert (UPDATE in message) == (number == 2)  # to make it again would lose the newer one


@pytest.mark.parametrize("kind", [RunConfig, RunSummary, StackerDocument])
def test_an_unknown_field_is_refused_with_a_suggestion(kind: type[Document]) -> None:
    name = next(name for name, known in KINDS.items() if known is kind)
    field = list(kind.model_fields)[-1]
    message = refuse(kind, load(name) | {f"{field}x": 1})
    assert f"has the unknown field '{field}x'." in message
    assert f"Did you mean '{field}'?" in message


def test_a_sidecar_keeps_what_another_program_wrote() -> None:
    theirs = {"kind": "probabilities", "made_by": {"tool": "theirs"}}
    assert LogitsSidecar.parse(json.dumps(theirs).encode(), "x").to_dict() == theirs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "3"}, "has the value '3' in 'seed', expected a valid integer."),
        ({"labels": None}, "has the value None in 'labels', expected a valid array."),
        ({"model": {"hidden": 1.5}}, "has the value 1.5 in 'model.hidden', expected a valid int"),
        ({"branches": [{"dim": "x"}]}, "lacks the field 'branches[0].modality'."),
        ({"options": {"loss": "ce"}}, "is wrong in options: 'loss' is 'ce', expected wce, "),
        ({"options": 3}, "is wrong in options: expected the options of a training."),
    ],
)
def test_one_line_names_file_field_value_and_expectation(change: dict, message: str) -> None:
    assert refuse(RunConfig, load("run.json") | change).startswith(message)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b'{"a": 1}'])
@pytest.mark.parametrize("kind", [*dict.fromkeys(KINDS.values()), EpochRecord])
def test_a_file_of_something_else_is_refused(kind: type[Document], content: bytes) -> None:
    if kind is LogitsSidecar and content == b'{"a": 1}':
        return
    with pytest.raises(kind.error) as caught:
        kind.parse(content, "x")
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(SerctlError, match=r"does not exist\. Fit it again with: serctl stack"):
        StackerDocument.read(tmp_path / "stacker.json")
    with pytest.raises(SerctlError, match="cannot be read"):
        StackerDocument.read(tmp_path)


def test_options_of_another_version_of_serctl_are_read() -> None:
    document = load("run.json")
    del document["options"]["mixup"]
    document["options"]["removed_since"] = 3
    options = RunConfig.parse(json.dumps(document).encode(), "x").options
    assert options.mixup == TrainOptions().mixup
    assert options.hidden == 8


def test_a_damaged_line_of_metrics_is_named(tmp_path: Path) -> None:
    first, second = read_epochs(FILES / "metrics.jsonl")
    assert (first.epoch, second.epoch) == (1, 2)
    path = tmp_path / "metrics.jsonl"
    path.write_text((FILES / "metrics.jsonl").read_text()[:-9])
    with pytest.raises(SerctlError, match=r"metrics\.jsonl:2' is not JSON"):
        read_epochs(path)
    assert read_epochs(tmp_path / "none.jsonl") == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.sampled_from([*KINDS]), st.data())
def test_any_value_in_any_field_is_taken_or_refused_in_one_line(name: str, data) -> None:
    document = load(name)
    document[data.draw(st.sampled_from(list(document)))] = data.draw(JSON)
    message = ""
    try:
        KINDS[name].parse(json.dumps(document).encode(), "x")
    except SerctlError as error:
        message = str(error)
    assert "\n" not in message
