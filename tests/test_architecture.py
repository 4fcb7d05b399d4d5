"""The house rules that a machine can check: floors, late imports, no pickle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import serctl

PACKAGE = Path(serctl.__file__).parent
FLOORS = {
    "cli": 8,
    "pipeline": 7,
    "stages": 6,
    "web": 6,
    "system": 5,
    "page": 5,
    "training": 4,
    "evaluation": 4,
    "timeline": 3,
    "encoding": 3,
    "ensemble": 3,
    "documents": 2,
    "encoders": 2,
    "demo": 2,
    "models": 1,
    "data": 1,
    "cache": 1,
    "metrics": 1,
}
"""Everything else (errors, files, config, options, progress, runtime) is the ground floor."""
NO_TORCH = (
    "cli",
    "data",
    "cache",
    "metrics",
    "evaluation",
    "page",
    "timeline",
    "documents",
    "demo",
    "ensemble",
    "config",
    "workspace",
    "options",
    "errors",
    "files",
    "locks",
    "names",
)
HEAVY = ("torch", "transformers", "sklearn", "xgboost", "zarr")
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") else "serctl"


def imports_of(path: Path, *, members: bool = False) -> set[str]:
    """Return the imported modules; with ``members`` also what is imported from them."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if members}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_its_own_folder_or_a_lower_floor(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts in (("__init__",), ("__main__",)):
        return
    for module in imports_of(path):
        if not module.startswith("serctl.") or room_of(module) == parts[0]:
            continue
        above, below = FLOORS.get(parts[0], 0), FLOORS.get(room_of(module), 0)
        assert below < above or below == above == 0, f"imports up or across: {module}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    parts = {path: path.relative_to(PACKAGE.parent).with_suffix("").parts for path in MODULES}
    names = {path: ".".join(part).removesuffix(".__init__") for path, part in parts.items()}
    known = set(names.values())
    left = {name: imports_of(path, members=True) & known - {name} for path, name in names.items()}
    while free := [name for name, imported in left.items() if not imported & left.keys()]:
        for name in free:
            del left[name]
    assert not left


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_stays_out_of_the_rooms_that_do_without_it(path: Path) -> None:
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if room in NO_TORCH:
        assert not {name.split(".")[0] for name in imports_of(path)} & {"torch", "transformers"}


def test_the_command_line_and_its_completion_import_nothing_heavy() -> None:
    code = (
        "import sys; from serctl.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_the_report_and_the_warnings_of_changes_import_no_torch() -> None:
    code = (
        "import sys, serctl.stages.report, serctl.training.changes; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_no_load_path_unpickles() -> None:
    for path in MODULES:
        source = path.read_text()
        assert not imports_of(path) & {"pickle", "joblib", "dill", "cloudpickle"}, path
        for call in source.split("torch.load(")[1:]:
            assert "weights_only=True" in call[:300], path
        assert "trust_remote_code=True" not in source, path
