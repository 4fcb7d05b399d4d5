"""What MkDocs does not do by itself: pages from outside docs/, and the list of public names."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import serctl

ROOT = Path(__file__).parents[2]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""Files at the root of the repository that become pages."""
PUBLIC_NAMES = "<!-- public names -->"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and the examples that lie outside of docs/."""
    for name in PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text.replace("](docs/", "](")))
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    notice = f"# Licences\n\n```text\n{notice}```\n"
    files.append(File.generated(config, "NOTICE.md", content=notice))
    for path in sorted((ROOT / "examples").rglob("*.*")):
        if path.suffix in {".ipynb", ".py", ".sh", ".yml"}:
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links out of docs/ at what `on_files` added, and list the public names of serctl."""
    markdown = markdown.replace("](../NOTICE)", "](NOTICE.md)").replace("](../", "](")
    return markdown.replace(PUBLIC_NAMES, list_public_names())


def list_public_names() -> str:
    """Return a mkdocstrings block for every public name but the options classes."""
    return "\n\n".join(
        f"::: {module}.{function}\n    options: {{heading: serctl.{name}, toc_label: {name}}}"
        for name, (module, function) in serctl._HOME.items()
        if module != "serctl.options"
    )
