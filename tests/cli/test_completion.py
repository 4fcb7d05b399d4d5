"""Shell completion, as a shell asks for it."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("serctl pre", {"predict"}),
        ("serctl bundle ", {"make", "check", "show"}),
        ("serctl predict --format ", {"table", "csv", "jsonl", "textgrid"}),
    ],
)
def test_the_shell_completes_what_fits(line: str, expected: set[str]) -> None:
    environment = os.environ | {
        "_SERCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    code = "from serctl.cli import app; app(prog_name='serctl')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert expected <= set(done.stdout.split())
