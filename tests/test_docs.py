"""What the documentation says can be done can be done."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import serctl
from serctl.cli import app
from serctl.data.manifest_file import read_manifest
from serctl.demo import corpus as demo
from serctl.options import check
from serctl.options.files import find_recipe
from serctl.workspace import PATHS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
WRITTEN = [page for page in PAGES if page.name not in {"cli.md", "options.md"}]
SCRIPTS = [ROOT / "examples" / "quickstart.sh"]
WORKFLOW = ROOT / "examples" / "ci" / "serctl.yml"
QUICKSTART = ROOT / "docs" / "quickstart.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
EXTERNAL = re.compile(r"""<(?:script|link rel="stylesheet"|img)[^>]+(?:src|href)=["']https?:""")
SHELL = re.compile(r"^(\$ )?([A-Z_]+=\S+ )*(torchrun .* -m )?| &$| >> .*$")
"""What stands around a command: prompt, environment, torchrun, background, a log."""
CODE = re.compile(r"^(?:```.*?^```|(?: {4}.*\n)+)", re.MULTILINE | re.DOTALL)


def commands_of(text: str, program: str) -> Iterator[list[str]]:
    """Yield the arguments of every line of ``text`` that calls a program."""
    for line in text.replace("\\\n", " ").splitlines():
        line = SHELL.sub("", line.strip())
        if line.startswith(f"{program} "):
            yield shlex.split(line, comments=True)[1:]


def code_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return "\n".join(CODE.findall(text)) if page.suffix == ".md" else text


def inline_code_of(page: Path) -> str:
    """Return what stands between single backquotes, an item a line."""
    prose = CODE.sub("", page.read_text(encoding="utf-8"))
    return "\n".join(re.findall(r"`([^`\n]+)`", prose))


def parse(arguments: list[str]) -> None:
    """Find the subcommand and let its parser read the flags, without running it."""
    command: Any = typer.main.get_command(app)
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    words = [word for word in arguments if word not in {"…", "..."}]
    if hasattr(command, "commands"):
        flags = {flag for option in command.params for flag in option.opts} | {"--help", "-h"}
        assert all(word in {*flags, "COMMAND"} for word in words), f"no such command: {words}"
        return
    command.make_parser(command.context_class(command)).parse_args(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target}: no such file"
        if anchor:
            assert anchor in headings_of(linked), f"{target}: no such heading"


def headings_of(page: Path) -> set[str]:
    """Return the anchors that a page's headings get on GitHub."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}


@pytest.mark.parametrize("page", [*WRITTEN, *SCRIPTS], ids=lambda page: page.name)
def test_commands_and_their_flags_exist(page: Path) -> None:
    for arguments in commands_of(code_of(page) + "\n" + inline_code_of(page), "serctl"):
        try:
            parse(arguments)
        except Exception as error:
            raise AssertionError(f"serctl {shlex.join(arguments)}: {error}") from error


@pytest.mark.parametrize(
    "line", ["extarct", "extract --encoders x", "manifest chekc", "train --speech", "--vesrion"]
)
def test_a_slip_in_a_page_would_be_found(line: str) -> None:
    with pytest.raises(Exception, match=r"[Nn]o such|requires an argument"):
        parse(line.split())


def test_make_targets_and_their_variables_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = WORKFLOW.read_text() + "\n".join(code_of(page) for page in PAGES)
    calls = re.findall(r"^\s*(?:\$ |run: )?make (?:-f \S+ )?([a-z][\w-]*)(.*)", text, re.MULTILINE)
    assert {target for target, _ in calls} >= {"extract", "train", "stack", "evaluate", "demo"}
    for target, rest in calls:
        assert target in targets or target.startswith("bench-"), f"make {target}"
        for variable in re.findall(r"\b([A-Z_]+)=", rest):
            assert re.search(rf"\b{variable}\b", makefile), f"make {target} {variable}="


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Strictly: no dead link or anchor, no page outside the navigation, no broken docstring."""
    if "CI" not in os.environ:
        pytest.importorskip("mkdocstrings", reason="the extra 'docs' is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "serctl.extract" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    for page in tmp_path.rglob("*.html"):
        assert not EXTERNAL.search(page.read_text(encoding="utf-8")), f"{page} loads from elsewhere"


def test_python_of_the_page_on_scale_runs_once_all_workers_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The block with a cluster that records its calls, since there is no Slurm here."""
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    steps: list[Any] = []

    class Cluster:
        scheduler_address = "tcp://127.0.0.1:8786"

        def __init__(self, **settings: Any) -> None:
            self.jobs = settings["processes"]

        def __enter__(self) -> "Cluster":
            return self

        def __exit__(self, *_: object) -> None:
            steps.append("closed")

        def scale(self, *, jobs: int) -> None:
            self.jobs *= jobs

        def wait_for_workers(self, n_workers: int) -> None:
            steps.append(n_workers == self.jobs)

    monkeypatch.setitem(sys.modules, "dask_jobqueue", SimpleNamespace(SLURMCluster=Cluster))
    monkeypatch.setattr(subprocess, "run", lambda line, *, check: steps.append((line, check)))
    exec(block, {})
    waited, ((program, *arguments), checked), end = steps
    assert (waited, program, checked, end) == (True, "serctl", True, "closed")
    assert arguments[-2:] == ["--dask", Cluster.scheduler_address]
    parse(arguments)


def test_every_page_is_listed_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages == set(LINK.findall(index)) & pages, "list it in docs/index.md"


def test_tests_that_the_page_on_the_paper_names_exist() -> None:
    text = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+/test_\w+\.py)::([\w, ]+)`", text)
    assert len(named) > 30
    for path, names in named:
        source = (ROOT / "tests" / path).read_text(encoding="utf-8")
        for name in names.split(", "):
            assert f"def {name}(" in source, f"{path}::{name}"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def test_reference_of_commands_is_up_to_date(tmp_path: Path) -> None:
    made = tmp_path / "cli.md"
    command = [sys.executable, "-m", "typer", "serctl.cli", "utils", "docs", "--name", "serctl"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [*command, "--output", str(made)],
        check=True, capture_output=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert made.read_text() == (ROOT / "docs" / "cli.md").read_text(), "run: make docs"


@pytest.mark.parametrize("name", ["options", "formats", "architecture"])
def test_generated_tables_are_up_to_date(name: str) -> None:
    made = runpy.run_path(str(ROOT / "docs" / "_site" / f"{name}.py"))["describe_page"]()
    page = ROOT / "docs" / f"{name}.md"
    assert made == page.read_text(encoding="utf-8"), f"run: python docs/_site/{name}.py"


def test_example_script_holds_the_lines_of_the_quickstart() -> None:
    lines = list(commands_of(code_of(SCRIPTS[0]), "serctl"))
    assert lines == road_of_quickstart()


def road_of_quickstart() -> list[list[str]]:
    """Return the commands of the page up to those of the end."""
    text = QUICKSTART.read_text(encoding="utf-8").split("## All of it at once")[0]
    return list(commands_of("\n".join(CODE.findall(text)), "serctl"))


@pytest.mark.usefixtures("few_trees")
def test_quickstart_runs_line_by_line_and_python_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's lines on as few utterances as forest and folds need, two emotions, one epoch."""
    for package in ("espeakng_loader", "faster_whisper", "opensmile"):
        pytest.importorskip(package, reason="the extra 'demo' is not installed")
    *road, (judge, audio, *model) = road_of_quickstart()
    assert audio in {str(plan.row.path) for plan in demo.plan_demo(Path("corpus"), seed=0)}
    few = {"train": 5, "dev": 1, "test": 1}
    counts = {split: (n, 0, 0, 0, 0, 0, 0, n, 0) for split, n in few.items()}
    monkeypatch.setattr(demo, "COUNTS", counts)
    recipe = tmp_path / "recipe.toml"
    short = {"epochs": 1, "folds": 2}
    text = find_recipe("demo").read_text()
    for name, value in short.items():
        text, found = re.subn(rf"(?m)^{name} = \d+$", f"{name} = {value}", text)
        assert found == 1
    recipe.write_text(text)
    monkeypatch.setattr(check, "find_recipe", {"demo": recipe}.__getitem__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    first, *rest = road
    run(first)
    with (tmp_path / "serctl.toml").open("a") as file:
        file.write("\n[stack]\ndraws = 2\n")
    for arguments in rest:
        run(arguments)
    assert (tmp_path / "reports" / "test.html").is_file()
    assert "three-branches" in (tmp_path / "reports" / "test.md").read_text()
    shutil.copy(read_manifest(tmp_path / PATHS["manifest"]).utterances[-1].path, audio)
    run([judge, audio, *model])
    # The example fits ten draws; two take the same path.
    monkeypatch.setattr(serctl, "StackOptions", partial(serctl.StackOptions, draws=2))
    runpy.run_path(str(ROOT / "examples" / "python_api.py"), run_name="__main__")
    assert "frames of whisper-tiny, 50" in capsys.readouterr().out


def run(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, f"serctl {shlex.join(arguments)}\n{result.output}"
