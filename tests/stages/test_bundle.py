"""`serctl bundle`: what is put in, what the card says, what is not overwritten."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score
from trained_project import EMOTIONS, SPEECH
from typer.testing import CliRunner

from serctl.cli import app
from serctl.config import Workspace, open_workspace
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.outputs import check_output_file
from serctl.documents.bundle import CorpusRecord, RecogniserRecord
from serctl.encoders.catalog import get_spec
from serctl.ensemble.logits_file import read_logits
from serctl.errors import CheckpointError, LogitsError, UnknownNameError, UsageError
from serctl.options import BundleOptions, EvaluateOptions, ReportOptions, SpaceOptions
from serctl.stages.bundle import (
    BundleResult,
    describe_bundle,
    find_missing_weights,
    make_bundle,
)
from serctl.stages.evaluate import evaluate
from serctl.stages.report import report
from serctl.system.bundle_folder import open_bundle
from serctl.web.space import write_space

FOLD_FILES = [f"folds/{k}/{f}" for k in range(2) for f in ("config.json", "model.safetensors")]


@pytest.fixture(scope="module")
def project(trained: Path) -> Workspace:
    return open_workspace(trained)


@pytest.fixture(scope="module")
def bundle(project: Workspace, tmp_path_factory: pytest.TempPathFactory) -> BundleResult:
    output = tmp_path_factory.mktemp("out") / "tones"
    return make_bundle(project, BundleOptions(name="tones", stacker="linear", output=str(output)))


def test_it_holds_networks_and_stacker_and_nothing_of_the_corpus(bundle: BundleResult) -> None:
    files = {p.relative_to(bundle.folder).as_posix() for p in bundle.folder.rglob("*.*")}
    assert files == {
        "bundle.json",
        "README.md",
        *(f"networks/{n}/{f}" for n in ("both", SPEECH) for f in ("config.json", *FOLD_FILES)),
        "stacker/stacker.json",
        "stacker/estimator-0.skops",
    }
    assert bundle.files == len(files) - 1
    text = "".join(p.read_text() for p in bundle.folder.rglob("*.json"))
    assert "u05" not in text  # no utterance, and so no one's voice, is named
    assert bundle.document.recogniser == RecogniserRecord(source="manifest")


def test_emotions_beyond_the_eight_are_evaluated_and_shown_but_not_submitted(
    project: Workspace, tmp_path: Path
) -> None:
    assert EMOTIONS[-1] == "bored"
    judged = evaluate(project, EvaluateOptions(resamples=40, subsets=2))
    assert judged.markdown is not None
    assert "bored" in judged.markdown.read_text()
    page = report(project, ReportOptions(output=str(tmp_path / "page.html"))).output
    assert "bored" in page.read_text(encoding="utf-8")
    with pytest.raises(LogitsError, match=r"has the labels bored, expected only those with a code"):
        evaluate(project, EvaluateOptions(("linear",), "test", submission=str(tmp_path / "x.csv")))


def test_labels_in_another_order_are_refused(bundle: BundleResult, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle.folder, tmp_path / "b")
    document = json.loads((folder / "bundle.json").read_text())
    document["labels"].reverse()
    (folder / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="was changed since serctl wrote it"):
        describe_bundle(folder)
    document["labels"].reverse()
    del document["document_hash"]  # as an older serctl wrote it
    (folder / "bundle.json").write_text(json.dumps(document))
    assert "An older serctl made the bundle" in describe_bundle(folder).notes[0]
    assert not describe_bundle(bundle.folder).notes


def test_nothing_is_written_into_a_bundle(
    project: Workspace, bundle: BundleResult, tmp_path: Path
) -> None:
    folder = shutil.copytree(bundle.folder, tmp_path / "b")
    with pytest.raises(UsageError, match="would write into the bundle"):
        make_bundle(project, BundleOptions(base=str(folder), output=str(folder / "sub")))
    with pytest.raises(UsageError, match="would write into the bundle"):
        write_space(SpaceOptions(bundle=str(folder), output=str(folder / "space")))
    for output in (
        folder,
        folder / "new.csv",
        folder / "networks" / "x.csv",
        folder / "bundle.json",
    ):
        with pytest.raises(UsageError, match="would write into the bundle"):
            check_output_file(None, output)
    assert describe_bundle(folder).files == bundle.files
    for place in (project.runs / SPEECH / "b", project.stackers / "b", project.cache / "b"):
        with pytest.raises(UsageError, match="is in a folder of the project's results"):
            make_bundle(project, BundleOptions(run=SPEECH, output=str(place)))
    again = BundleOptions(name=SPEECH, output=str(folder), overwrite=True)
    assert make_bundle(project, again).folder == folder


def test_a_full_disk_is_one_line_and_leaves_nothing(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr("serctl.stages.bundle.shutil.copyfile", copy)
    with pytest.raises(CheckpointError, match=r"' to '.*out.*': No space .* device\. Free space"):
        make_bundle(project, BundleOptions(name=SPEECH, output=str(tmp_path / "out")))
    assert not list(tmp_path.iterdir())


def test_its_figures_are_those_of_scikit_learn(project: Workspace, bundle: BundleResult) -> None:
    assert set(bundle.document.metrics) == {"dev", "test"}
    rows = read_manifest(project.manifest).select("test")
    answers = read_logits(project.stackers / "linear" / "test.csv").select(rows.ids)
    predicted = [EMOTIONS[best] for best in answers.values.argmax(axis=1)]
    true = [row.emotion for row in rows]
    found = bundle.document.metrics["test"]
    assert found.num_utterances == len(rows)
    expected = f1_score(true, predicted, labels=EMOTIONS, average="macro", zero_division=0)
    assert found.macro_f1 == pytest.approx(expected, abs=1e-6)
    assert found.uar == pytest.approx(balanced_accuracy_score(true, predicted), abs=1e-6)


def test_encoders_are_named_with_revision_and_licence(bundle: BundleResult) -> None:
    found = {row.encoder: row for row in bundle.document.encoders}
    assert set(found) == {"wavlm-large", "roberta-large"}
    assert found["wavlm-large"].license == get_spec("wavlm-large").license
    assert found["roberta-large"].revision == found["roberta-large"].content
    assert any("weights from this machine" in note for note in bundle.notes)
    assert set(find_missing_weights(bundle.document, {})) == set(found)
    assert not find_missing_weights(bundle.document, dict.fromkeys(found, bundle.folder))


def test_the_card_names_law_data_and_figures(bundle: BundleResult) -> None:
    card = (bundle.folder / "README.md").read_text()
    for part in (
        "Article 5(1)(f)",
        "workplace and education",
        "medical or safety",
        "| tones | CC0; https://example.org |",
        f"| {get_spec('wavlm-large').license} |",
        f"| test | 6 | {bundle.document.metrics['test'].macro_f1:.3f} |",
    ):
        assert part in card, part


def test_terms_that_are_given_go_before_those_that_init_noted(
    project: Workspace, tmp_path: Path
) -> None:
    options = BundleOptions(
        name=SPEECH, output=str(tmp_path / "b"), data=("ravdess", "own: secret")
    )
    result = make_bundle(project, options)
    assert result.document.corpora[0].terms.startswith("CC BY-NC-SA")
    assert result.document.corpora[1] == CorpusRecord(name="own", terms="secret")
    assert result.document.stacker is None
    with pytest.raises(UsageError, match="expected NAME: TERMS"):
        make_bundle(project, replace(options, data=("own",), overwrite=True))
    with pytest.raises(UsageError, match=r"'CC BY 4\.0', expected the hub's spelling"):
        make_bundle(project, replace(options, license="CC BY 4.0", overwrite=True))


def test_a_base_is_calibrated_and_evaluated_again(project: Workspace, tmp_path: Path) -> None:
    first = make_bundle(
        project,
        BundleOptions(run=SPEECH, name="first", output=str(tmp_path / "a"), license="mit"),
    )
    options = BundleOptions(
        base=str(first.folder), output=str(tmp_path / "b"), data=("new: mine",), device="cpu"
    )
    made = make_bundle(project, options)
    old, new = first.document, made.document
    # The same recordings, predicted from their audio: the metrics of the exported logits.
    assert new.metrics == old.metrics
    assert new.calibration.temperature == pytest.approx(old.calibration.temperature, rel=1e-2)
    assert new.calibration.natural_prior == old.calibration.natural_prior
    assert {k: v for k, v in new.files.items() if k != "README.md"} == {
        k: v for k, v in old.files.items() if k != "README.md"
    }
    assert (new.license, new.corpora) == ("mit", old.corpora)
    assert new.base == f"first (sha256 {first.digest[:12]})"
    card = (made.folder / "README.md").read_text()
    assert new.base in card
    assert "| new | mine |" in card
    assert "name: new (test)" in card
    assert "| bored | 0.333 |" in card
    assert "does not know" not in card
    assert not any("networks of the base" in text for text in made.notes)
    same = make_bundle(project, replace(options, data=("tones: CC0",), overwrite=True))
    assert "networks of the base were trained on tones too" in same.notes[0]
    assert same.notes[0] in (same.folder / "README.md").read_text()
    own = open_workspace(Path(shutil.copytree(project.root, tmp_path / "own")))
    rows = [
        replace(row, emotion="happy") if row.emotion == "bored" else row
        for row in read_manifest(own.manifest)
    ]
    write_manifest(own.manifest, rows)
    again = make_bundle(own, replace(options, overwrite=True))
    assert again.notes[0].startswith(
        "Not in the metrics: 4 of 12 labelled utterances outside of train have emotions that the "
        "system does not know (happy)."
    )
    assert again.notes[1].startswith("No utterance of dev is bored:")
    card = (again.folder / "README.md").read_text()
    assert "| bored | 0.000 |" in card
    assert "whose emotions the system does not know: happy (4)." in card
    with pytest.raises(UsageError, match="--run and --base name several systems"):
        make_bundle(project, replace(options, run=SPEECH, overwrite=True))


def test_nothing_is_replaced_unasked(
    project: Workspace, bundle: BundleResult, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle.folder, tmp_path / "b")
    options = BundleOptions(name=SPEECH, output=str(copy))
    with pytest.raises(UsageError, match="--overwrite"):
        make_bundle(project, options)
    assert make_bundle(project, replace(options, overwrite=True)).name == SPEECH
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.tex").write_text("")
    with pytest.raises(UsageError, match="is not a bundle"):
        make_bundle(project, replace(options, output=str(precious), overwrite=True))
    assert (precious / "chapter.tex").exists()


def test_what_is_missing_is_reported(project: Workspace, tmp_path: Path) -> None:
    output = str(tmp_path / "b")
    with pytest.raises(UnknownNameError):
        make_bundle(project, BundleOptions(name="lienar", output=output))
    with pytest.raises(UsageError, match="--output"):
        make_bundle(project, BundleOptions(name="linear"))
    with pytest.raises(UsageError, match="name several systems"):
        make_bundle(project, BundleOptions(stacker="linear", run=SPEECH, output=output))
    copy = open_workspace(shutil.copytree(project.root, tmp_path / "copy"))
    (copy.runs / SPEECH / "logits" / "dev.csv").unlink()
    with pytest.raises(LogitsError, match=f"serctl export-logits {SPEECH}"):
        make_bundle(copy, BundleOptions(run=SPEECH, output=output))
    assert not Path(output).exists()


def test_commands_make_check_and_show(project: Workspace, tmp_path: Path) -> None:
    def call(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["bundle", *arguments])
        assert result.exit_code == code, result.output
        return result.stdout

    folder = str(tmp_path / "b")
    made = json.loads(call("make", "linear", "-o", folder, "-C", str(project.root), "--json"))
    assert made["digest"] == open_bundle(Path(folder)).digest
    assert "is intact" in call("check", folder, "-C", str(project.root))
    assert "## Law" in call("show", folder)
    assert json.loads(call("show", folder, "--json"))["labels"] == list(EMOTIONS)
    network = Path(folder) / "networks" / SPEECH / FOLD_FILES[1]
    content = np.frombuffer(network.read_bytes(), np.uint8).copy()
    content[-1] ^= 1
    network.write_bytes(content.tobytes())
    call("check", folder, code=1)
