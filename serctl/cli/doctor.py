"""`serctl doctor`."""

import dataclasses

import typer

from serctl.cli import console
from serctl.cli.options import JsonOpt, ProjectOpt

SIGNS = {"ok": "ok    ", "note": "note  ", "broken": "BROKEN"}
INDENT = 8 * " "


def doctor(project: ProjectOpt = None, as_json: JsonOpt = False) -> None:
    """Check the installation and the project, and suggest fixes. Exit 1 if something is broken."""
    from serctl.stages.doctor import examine

    checks = examine(project)
    lines = []
    for check in checks:
        lines.append(console.wrap(f"{SIGNS[check.status]}  {check.name}: {check.found}", INDENT))
        lines += [console.wrap(f"{INDENT}fix: {check.fix}", f"{INDENT}  ")] if check.fix else []
    console.show([dataclasses.asdict(check) for check in checks], "\n".join(lines), as_json=as_json)
    if any(check.status == "broken" for check in checks):
        raise typer.Exit(1)
