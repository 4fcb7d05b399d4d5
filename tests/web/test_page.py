"""The page in a real Chromium: a file in, an answer out, nothing from other hosts."""

import pytest
from browser_fixtures import eventually, list_requests


@pytest.fixture
def shown(driver, open_page, served):
    driver = open_page(served.address)
    eventually(driver, lambda: driver.find_elements("css selector", "input[type=file]"))
    return driver


def text_of(driver, selector: str) -> str:
    return driver.find_element("css selector", selector).text


def test_a_file_is_predicted_and_nothing_comes_from_elsewhere(shown, served) -> None:
    path = served.project / "u35.wav"
    (prediction,) = served.get("/predict", path.read_bytes())[1]["predictions"]
    shown.find_element("css selector", "input[type=file]").send_keys(str(path))
    eventually(
        shown,
        lambda: shown.find_elements("css selector", "[aria-label='Play'], .play-pause-button"),
    )
    shown.find_element("css selector", "#predict").click()
    eventually(shown, lambda: "%" in text_of(shown, "#emotion"))
    lines = text_of(shown, "#emotion").splitlines()
    assert prediction["emotion"] in lines
    for share in prediction["probabilities"].values():
        assert f"{round(100 * share)}%" in lines
    eventually(shown, lambda: shown.find_elements("css selector", "#course .plot-container"))
    errors = [line for line in shown.get_log("browser") if line["level"] == "SEVERE"]
    assert errors == []
    asked = list_requests(shown)
    hosts = {url.split("/")[2] if "://" in url else url.split(":")[0] for url in asked}
    assert hosts - {"data", "blob"} == {served.address.removeprefix("http://")}


def test_record_button_examples_card_law_and_api_are_there(shown, served) -> None:
    assert shown.find_elements("css selector", "[aria-label='Record audio']")
    assert "one.wav" in text_of(shown, "body")
    assert "Article 5(1)(f)" in text_of(shown, "#law")
    tabs = {tab.text: tab for tab in shown.find_elements("css selector", "[role=tab]") if tab.text}
    tabs["Model card"].click()
    eventually(shown, lambda: "Intended use" in text_of(shown, "body"))
    tabs["API"].click()
    eventually(shown, lambda: f"{served.address}/predict" in text_of(shown, "body"))


def test_without_a_recording_it_says_what_to_do(shown) -> None:
    shown.find_element("css selector", "#predict").click()
    eventually(shown, lambda: "Record something, or choose a file." in text_of(shown, "body"))


def test_on_a_narrow_screen_all_is_below_each_other_and_nothing_scrolls_sideways(
    driver, open_page, served
) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        open_page(served.address)
        eventually(driver, lambda: driver.find_elements("css selector", "#predict"))
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        button, emotion = (driver.find_element("id", name).rect for name in ("predict", "emotion"))
        assert emotion["y"] > button["y"] + button["height"]
        assert min(button["width"], emotion["width"]) > 340
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
