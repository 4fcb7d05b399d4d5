"""The page of a timeline in a real Chromium: quiet, offline, and its cursor follows the audio."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser_fixtures import eventually, list_requests
from synthetic_timeline import LABELS, make_page, make_timeline

from serctl.errors import ReportError
from serctl.page.painting import read_palette
from serctl.page.picture import take_picture
from serctl.page.timeline import (
    choose_colours,
    embed_sound,
    make_figure,
    render_timeline,
    show_course,
)

EVIL = '</script><script>window.hit = 1</script><img src=x onerror="window.hit = 1">'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_page(30)
    evil = replace(make_timeline(30, "left", 1, text=EVIL), audio=EVIL, model=EVIL)
    path = tmp_path_factory.mktemp("timeline") / "call.html"
    text = render_timeline(replace(made, timelines=[evil, made.timelines[1]], notes=[EVIL]))
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def shown(open_page, page):
    driver = open_page(page)
    eventually(driver, lambda: driver.execute_script("return audio.readyState >= 1"))
    return driver


def test_nothing_is_fetched_logged_or_run(shown) -> None:
    asked = list_requests(shown)
    assert shown.current_url in asked
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert shown.get_log("browser") == []
    assert shown.execute_script("return window.hit") is None


def test_the_cursor_and_the_transcript_follow_the_audio(shown) -> None:
    assert shown.execute_script("return audio.duration") == pytest.approx(30, abs=0.2)
    shown.execute_script("audio.currentTime = 9.5")
    where = "return plotOf(0).xaxis.p2l(parseFloat(cursor.style.left) - plotOf(0).xaxis._offset)"
    prepare = "const plotOf = (i) => figures[i].plot._fullLayout, cursor = figures[0].cursor;"
    eventually(shown, lambda: abs((shown.execute_script(prepare + where) or 0) - 9.5) < 0.1)
    current = shown.find_elements("css selector", "#transcript [aria-current]")
    assert [line.find_element("css selector", "time").text for line in current] == ["0:09"] * 2


def test_a_channel_without_speech_has_an_axis_and_a_cursor(open_page, tmp_path: Path) -> None:
    made = make_page(10)
    silent = replace(
        made.timelines[0],
        probabilities=np.full((10, len(LABELS)), np.nan),
        emotions=(None,) * 10,
        segments=(),
    )
    path = tmp_path / "silent.html"
    path.write_text(render_timeline(replace(made, timelines=[silent, made.timelines[1]])), "utf-8")
    driver = open_page(path)
    eventually(driver, lambda: driver.execute_script("return audio.readyState >= 1"))
    driver.execute_script("audio.currentTime = 2.5")
    shown = "return figures.map(({ cursor }) => cursor.hidden || cursor.style.left === '')"
    eventually(driver, lambda: driver.execute_script(shown) == [False, False])
    assert driver.get_log("browser") == []
    names = "return [...document.querySelectorAll('.plot')[0].querySelectorAll('.legendtext')]"
    assert len(driver.execute_script(names)) == len(LABELS)


def test_a_click_into_the_figure_or_the_transcript_goes_there(shown) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    plot = shown.find_element("css selector", ".plot")
    shown.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    script = "const x = figures[0].plot._fullLayout.xaxis; return [x._offset, x._length]"
    offset, length = shown.execute_script(script)
    right = offset + length / 2 - plot.size["width"] / 2
    ActionChains(shown).move_to_element_with_offset(plot, right, 0).click().perform()
    eventually(shown, lambda: shown.execute_script("return audio.currentTime") >= 14.5)
    shown.execute_script("audio.pause()")
    assert shown.execute_script("return audio.currentTime") == pytest.approx(15.5, abs=1.5)
    button = shown.find_elements("css selector", "#transcript button")[-1]
    shown.execute_script("arguments[0].click()", button)
    eventually(shown, lambda: shown.execute_script("return audio.currentTime") >= 16)


def test_colours_follow_the_button(shown) -> None:
    read = "return getComputedStyle(document.querySelector('.plot .scatter .js-fill')).fill"
    light = shown.execute_script(read)
    shown.find_element("css selector", "#theme").click()
    eventually(shown, lambda: shown.execute_script(read) != light)


def test_on_a_narrow_screen_nothing_scrolls_sideways(driver, open_page, page) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        open_page(page)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_figure_holds_the_probabilities_and_its_table_the_segments() -> None:
    timeline = make_timeline(20)
    chart = show_course(timeline)
    areas = [trace for trace in chart.figure["data"] if trace.get("stackgroup")]
    assert [trace["name"] for trace in areas] == list(LABELS)
    for step in range(20):
        total = sum(trace["y"][step] for trace in areas)
        spoken = timeline.emotions[step] is not None or timeline.probabilities[step, 0] >= 0
        assert total == pytest.approx(1 if spoken else 0, abs=0.001)
        read = [trace["customdata"][step] for trace in areas]  # what the cursor shows
        shares = timeline.probabilities[step]
        assert read == [f"{share:.2f}" if spoken else "no speech" for share in shares]
    assert {trace["hovertemplate"] for trace in areas} == {"%{customdata}"}
    assert len(chart.rows) == len(timeline.segments)
    figure = make_figure(timeline, "dark")
    assert "var(" not in figure.to_json()


def test_emotions_keep_their_colour_and_others_get_one() -> None:
    assert choose_colours(LABELS)["angry"] == choose_colours(("happy", "angry"))["angry"]
    found = choose_colours((*LABELS, "bored"))
    assert set(found.values()) <= set(read_palette("light"))
    assert len(set(choose_colours(LABELS).values())) == 8


def test_sound_is_short_and_plays(tmp_path: Path) -> None:
    sound = make_page(10).sound
    text = embed_sound(sound)
    assert text.startswith("data:audio/mpeg;base64,")
    assert len(text) < sound.nbytes / 4


def test_the_mean_of_more_channels_than_mp3_has_is_played() -> None:
    tones = np.sin(np.outer(np.arange(16_000), (0.1, 0.2, 0.3))).astype(np.float32)
    content = base64.b64decode(embed_sound(tones).partition(",")[2])
    played, _ = soundfile.read(io.BytesIO(content))
    assert played.ndim == 1
    middle = slice(4_000, 12_000)  # the encoder's delay and padding are outside
    best = np.correlate(played, tones.mean(axis=1)[middle]).max()
    assert best == pytest.approx((tones.mean(axis=1)[middle] ** 2).sum(), rel=0.05)


@pytest.mark.posix("only POSIX tells root, whom Chromium refuses a sandbox")
def test_a_picture_is_taken_or_what_is_missing_is_reported(
    driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "call.png"
    take_picture(render_timeline(make_page(10), scheme="dark"), path, width=640, height=900)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    path.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReportError, match=r"Install one, or write the page itself: --plot .*html"):
        take_picture("<p>", path)
    assert not path.exists()
