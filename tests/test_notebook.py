"""The notebook runs from top to bottom, and shows what it says it shows."""

import shutil
import sys
from pathlib import Path

import pytest
from trained_project import SPEECH

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "emodb.ipynb"


def test_every_cell_of_the_notebook_runs(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    project = shutil.copytree(trained, tmp_path / "project")
    # A kernel of this very Python, whatever kernels the machine has.
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    command = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    (kernel / "kernel.json").write_text(
        f'{{"argv": {command}, "display_name": "Python 3", "language": "python"}}'
    )
    for name, value in {
        "PYTHONPATH": ROOT,
        "JUPYTER_PATH": tmp_path / "jupyter",
        "IPYTHONDIR": tmp_path / "ipython",
        "SERCTL_PROJECT": project,
        "SERCTL_MODEL": SPEECH,
    }.items():
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs) == 2
    printed = "".join(output.get("text", "") for output in outputs)
    assert "macro-F1" in printed
    assert Path(printed.splitlines()[-1]).is_file()


def test_it_is_kept_without_outputs() -> None:
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
