"""What MkDocs does not do by itself: pages from outside docs/, and the list of public names."""

import re
from pathlib import Path

from mkdocs.structure.files import File, Files

import serctl

ROOT = Path(__file__).parents[2]
PAGES = {"CHANGELOG.md": "CHANGELOG.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "NOTICE": "NOTICE.md"}
"""Files at the root of the repository that become pages."""
EXAMPLES = ("examples",)
"""Folders at the root whose files are copied, so that links to them lead somewhere."""
PUBLIC_NAMES = "<!-- public names -->"


def on_files(files: Files, config):
    """Add the pages and files that lie outside of docs/."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = text.replace("](docs/", "](") if page == source else f"# Licences\n\n```text\n{text}```\n"
        files.append(File.generated(config, page, content=text))
    for folder in EXAMPLES:
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in {".py", ".sh", ".yml"}:
                name = path.relative_to(ROOT).as_posix()
                files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links out of docs/ at what `on_files` added, and list the public names of serctl."""
    markdown = markdown.replace("](../NOTICE)", "](NOTICE.md)")
    markdown = re.sub(r"\]\(\.\./", "](", markdown)
    return markdown.replace(PUBLIC_NAMES, list_public_names())


def list_public_names() -> str:
    """Return a heading and a mkdocstrings block for every public name but the options classes."""
    return "\n\n".join(
        f"::: {module}.{name}"
        for module, names in serctl._PUBLIC.items()
        if module != "serctl.options"
        for name in names
    )
