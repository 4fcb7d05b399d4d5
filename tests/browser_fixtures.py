"""A real headless Chromium for the tests of pages; conftest.py imports it for all folders."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        # In CI a page that nobody opened is a failure.
        tell = pytest.fail if os.environ.get("CI") else pytest.skip
        tell(f"no {' and no '.join(missing)} (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    profile = tmp_path_factory.mktemp("chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(120)  # axe-core on a busy machine
    try:
        yield driver
    finally:
        driver.quit()


def list_requests(driver) -> list[str]:
    """Return the URLs that the open page asked for; Chromium may still load its own start page."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
        and event["params"]["documentURL"] == driver.current_url
    ]


def eventually(driver, condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for what a browser does in its own time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, driver.get_log("browser")
        time.sleep(0.05)


@pytest.fixture
def open_page(driver):
    """Open a page in a colour scheme, after what was logged before is forgotten."""

    def open_page(place: Path | str, scheme: str = "light"):
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        driver.get_log("browser")
        driver.get_log("performance")
        driver.get(place if isinstance(place, str) else place.resolve().as_uri())
        return driver

    return open_page
