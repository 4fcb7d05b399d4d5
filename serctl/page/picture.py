"""A page as a PNG file, drawn by the installed Chromium or Chrome."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from serctl.errors import ReportError
from serctl.files import write_binary

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECONDS = 120
"""Maximum seconds of the browser. A page takes about two."""


def find_browser(path: Path) -> str:
    """Return the browser that draws a PNG file.

    Raises:
        ReportError: There is no Chromium.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ReportError(
            f"'{path}': a PNG needs Chromium or Chrome on the PATH. Install one, or write the page "
            f"itself: --plot {path.with_suffix('.html')}"
        )
    return browser


def take_picture(html: str, path: Path, *, width: int = 1280, height: int = 900) -> None:
    """Write a screenshot of a page, in a window of ``width`` by ``height`` pixels.

    Raises:
        ReportError: There is no Chromium, or it writes no image.
    """
    browser = find_browser(path)
    with tempfile.TemporaryDirectory() as folder:
        page, made = Path(folder) / "page.html", Path(folder) / "page.png"
        page.write_text(html, encoding="utf-8")
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            "--virtual-time-budget=3000",
            f"--user-data-dir={folder}/profile",
            f"--window-size={width},{height}",
            f"--screenshot={made}",
            # Chromium refuses its sandbox to root, as in a container.
            *(["--no-sandbox"] if _is_root() else []),
            page.as_uri(),
        ]
        try:
            subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise ReportError(
                f"'{path}': {browser} did not finish in {SECONDS} s. Write .html instead."
            ) from None
        if not made.is_file():
            raise ReportError(f"'{path}': {browser} wrote no image. Write .html instead.")
        with write_binary(path) as file:
            file.write(made.read_bytes())


def _is_root() -> bool:
    """Whether the process runs as root; Windows has no such user."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
