"""The page in a real Chromium: quiet console, no network, filters, keyboard, light and dark."""

import json
import wave
from pathlib import Path

import pytest
from browser_fixtures import eventually, list_requests
from synthetic_report import make_evaluation, write_project

from serctl.options import ReportOptions
from serctl.stages.report import report

By, Keys = "css selector", {"down": "\ue015", "up": "\ue013", "enter": "\ue007", "tab": "\ue004"}
EVIL = '</script><script>window.hit = 1</script><img src=x onerror="window.hit = 1">'
GONE = "said in a lost file"
PAGE_ROWS = 25


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 400 utterances: one with hostile text, one without its audio file."""
    folder = tmp_path_factory.mktemp("report")
    document = make_evaluation(400, runs=("a", "b <i>"))
    rows = document["utterances"]
    for column in ("utterance_id", "speaker", "transcript"):
        rows[column][7] = EVIL
    audio = folder / "corpus é" / "a b#1?%.wav"
    audio.parent.mkdir()
    with wave.open(str(audio), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(32000))
    rows["path"] = [str(audio)] * len(rows["path"])
    rows["path"][9], rows["transcript"][9] = str(folder / "lost.wav"), GONE
    rows["channel"] = [0, 2] * 200
    workspace = write_project(folder, document)
    return report(workspace, ReportOptions()).output


@pytest.fixture
def shown(driver, open_page, page):
    """The page with its filters reset. It is opened again only if another test left it."""
    if driver.execute_script("return window.isShared"):
        click(driver, "button[type=reset]")
        driver.execute_async_script("setTimeout(arguments[0])")  # the rows are drawn again first
        driver.get_log("browser")
    else:
        open_page(page)
        driver.execute_script("window.isShared = true")
    return driver


def find(driver, selector):
    return driver.find_element(By, selector)


def rows_of(driver):
    script = "return [...document.querySelectorAll('#rows tbody tr')]"
    return driver.execute_script(f"{script}.map(r => [...r.cells].map(c => c.textContent))")


def choose(driver, selector, text):
    from selenium.webdriver.support.ui import Select

    Select(find(driver, selector)).select_by_visible_text(text)


def click(driver, selector):
    """Click with the element in the middle of the window, clear of the bar on top."""
    target = find(driver, selector)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    target.click()


def expect_count(driver, number: int) -> None:
    eventually(driver, lambda: find(driver, "#count").text.startswith(f"{number:,} of "))


def test_it_opens_without_a_word_in_the_console_or_on_the_network(open_page, page) -> None:
    driver = open_page(page)
    eventually(driver, lambda: len(driver.find_elements(By, ".plot .main-svg")) >= 6)
    click(driver, "#theme")
    choose(driver, "#system", "a")
    assert driver.get_log("browser") == []
    urls = list_requests(driver)
    assert page.resolve().as_uri() in urls
    assert all(url.startswith(("file:", "data:", "blob:")) for url in urls), urls


def test_its_policy_stops_foreign_scripts_and_requests(shown) -> None:
    driver = shown
    driver.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.hit = 2';"
        "const image = Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'});"
        "window.foreign = [script, image]; document.body.append(...window.foreign);"
    )
    assert driver.execute_script("return window.hit") is None
    logged = " ".join(entry["message"] for entry in driver.get_log("browser"))
    assert logged.count("Content Security Policy") >= 2
    driver.execute_script("window.foreign.forEach(element => element.remove())")


def test_hostile_words_are_shown_and_do_nothing(shown) -> None:
    driver = shown
    choose(driver, "[name=show]", "all")
    find(driver, "[name=text]").send_keys("window.hit")
    expect_count(driver, 1)
    click(driver, "#rows tbody button")
    assert find(driver, "#detail h3").text == EVIL
    assert find(driver, "#detail blockquote").text == EVIL
    assert driver.execute_script("return window.hit") is None
    assert not driver.find_elements(By, "#detail img, #rows img, .plot i")


def test_filters_narrow_and_reset_widens(shown, page) -> None:
    driver = shown
    document = json.loads((page.parent / "dev.json").read_text())
    stack = next(system for system in document["systems"] if system["name"] == "stack")
    true, answers = document["utterances"]["true"], stack["predictions"]
    wrong = sum(x != y for x, y in zip(true, answers, strict=True))
    expect_count(driver, wrong)
    choose(driver, "[name=show]", "all")
    expect_count(driver, 400)
    choose(driver, "[name=true]", "happy")
    expect_count(driver, true.count(2))
    choose(driver, "[name=predicted]", "sad")
    both = sum((x, y) == (2, 1) for x, y in zip(true, answers, strict=True))
    expect_count(driver, both)
    assert all(row[1] == "happy" and row[2] == "sad" for row in rows_of(driver))
    click(driver, "button[type=reset]")
    expect_count(driver, wrong)
    choose(driver, "[name=show]", "all")
    find(driver, "[name=speaker]").send_keys("S003")
    expect_count(driver, document["utterances"]["speaker"].count("s003"))
    find(driver, "[name=speaker]").clear()
    find(driver, "[name=least]").send_keys("4")
    find(driver, "[name=most]").send_keys("6")
    expect_count(driver, sum(4 <= s <= 6 for s in document["utterances"]["duration"]))


def test_a_cell_of_the_matrix_opens_its_utterances(shown, page) -> None:
    driver = shown
    document = json.loads((page.parent / "dev.json").read_text())
    stack = next(system for system in document["systems"] if system["name"] == "stack")
    details = find(driver, "[data-chart=confusion] details")
    driver.execute_script("arguments[0].open = true", details)
    cell = find(driver, "[data-chart=confusion] tbody tr:nth-child(3) td:nth-child(2) button")
    cell.send_keys(Keys["enter"])
    expect_count(driver, stack["confusion"][2][0])
    assert driver.execute_script("return document.activeElement.name") == "true"
    from selenium.webdriver import ActionChains

    plot = find(driver, "[data-chart=confusion] .nsewdrag")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    box = plot.rect
    first = (-box["width"] * 7 / 16, -box["height"] * 7 / 16)
    action = ActionChains(driver).move_to_element_with_offset(plot, *map(int, first))
    action.pause(0.3).click().perform()
    expect_count(driver, stack["confusion"][0][0])


def test_columns_sort_and_say_so(shown) -> None:
    driver = shown
    header = "#rows th[data-key=seconds]"
    click(driver, f"{header} button")
    seconds = [float(row[5]) for row in rows_of(driver)]
    assert seconds == sorted(seconds, reverse=True)
    assert find(driver, header).get_attribute("aria-sort") == "descending"
    find(driver, f"{header} button").send_keys(Keys["enter"])
    seconds = [float(row[5]) for row in rows_of(driver)]
    assert seconds == sorted(seconds)
    assert len(driver.find_elements(By, "#rows [aria-sort]")) == 1
    click(driver, "#results-table th:nth-child(3) button")
    figures = [cell.text for cell in driver.find_elements(By, "#results-table td:nth-child(3)")]
    assert figures == sorted(figures, reverse=True)


def test_the_rows_are_walked_with_the_keyboard(shown) -> None:
    driver = shown
    names = [row[0] for row in rows_of(driver)]
    first = find(driver, "#rows tbody button")
    first.send_keys(Keys["enter"])
    assert find(driver, "#detail h3").text == names[0]
    first.send_keys(Keys["down"])
    driver.switch_to.active_element.send_keys(Keys["down"])
    assert find(driver, "#detail h3").text == names[2]
    driver.switch_to.active_element.send_keys(Keys["up"])
    assert find(driver, "#detail h3").text == names[1]
    assert find(driver, "#rows tr[aria-current]").text.startswith(names[1])


def test_probabilities_and_answers_of_all_systems_are_shown(shown, page) -> None:
    driver = shown
    click(driver, "#rows tbody button")
    name = find(driver, "#detail h3").text
    document = json.loads((page.parent / "dev.json").read_text())
    row = document["utterances"]["utterance_id"].index(name)
    stack = document["systems"][2]
    shown = [
        int(cell.text.removesuffix(" %"))
        for cell in driver.find_elements(By, "#detail table:nth-of-type(1) td.number")
    ][:8]
    assert shown == pytest.approx([100 * p for p in stack["probabilities"][row]], abs=0.75)
    lines = driver.find_elements(By, "#detail table:last-of-type tr")
    assert len(lines) == len(document["systems"])
    assert document["labels"][stack["predictions"][row]] in lines[2].text


def test_audio_plays_from_where_it_lies(shown) -> None:
    driver = shown
    click(driver, "#rows tbody button")
    ready = "return document.querySelector('audio').readyState"
    eventually(driver, lambda: driver.execute_script(ready) >= 1)
    assert driver.execute_script("return document.querySelector('audio').duration") == 1.0


def test_the_channel_of_an_utterance_is_named_since_the_player_has_all(shown, page) -> None:
    driver = shown
    names = json.loads((page.parent / "dev.json").read_text())["utterances"]["utterance_id"]
    seen = set()
    for button in driver.find_elements(By, "#rows tbody button")[:10]:
        driver.execute_script("arguments[0].click()", button)
        facts = find(driver, "#detail p.note").text
        second = names.index(button.text) % 2 == 1
        assert ("channel 2 (the player has all)" in facts) == second
        assert "channel" in facts if second else "channel" not in facts
        seen.add(second)
    assert seen == {True, False}


def test_an_audio_file_that_is_gone_is_said(shown) -> None:
    driver = shown
    choose(driver, "[name=show]", "all")
    find(driver, "[name=text]").send_keys(GONE)
    expect_count(driver, 1)
    click(driver, "#rows tbody button")
    eventually(driver, lambda: "Cannot play" in find(driver, "#detail").text)


def test_axe_finds_no_barrier(shown) -> None:
    """Contrast, names, labels, landmarks, headings: axe-core's rules, best practice included."""
    from axe_core_python.selenium import Axe

    driver = shown
    click(driver, "#rows tbody button")
    driver.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    for rules in ({}, {"runOnly": ["color-contrast"]}):  # in the dark only colours are others
        options = {"resultTypes": ["violations"], **rules}  # one node of each rule that passes
        found = Axe().run(driver, {"exclude": [[".plot svg"]]}, options)
        assert found["passes"]
        violations = [
            (x["id"], [node["html"] for node in x["nodes"][:3]]) for x in found["violations"]
        ]
        assert violations == []
        click(driver, "#theme")


def test_tab_reaches_every_control(open_page, page) -> None:
    driver = open_page(page)
    driver.execute_script(
        "window.reached = []; addEventListener('focusin',"
        " event => window.reached.push(event.target.name || event.target.id))"
    )
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(60 * Keys["tab"]).perform()
    reached = set(driver.execute_script("return window.reached"))
    assert {"system", "theme", "show", "true", "predicted", "speaker", "least", "text"} <= reached


def test_colours_follow_the_reader_and_the_button(open_page, page) -> None:
    def colours(driver):
        script = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        ink = "return document.querySelector('.plot .xtick text').style.fill"
        return [*driver.execute_script(script), driver.execute_script(ink)]

    driver = open_page(page, "dark")
    dark = colours(driver)
    assert driver.get_log("browser") == []
    driver = open_page(page)
    light = colours(driver)
    assert all(a != b for a, b in zip(light, dark, strict=True))
    click(driver, "#theme")
    assert colours(driver) == dark
    assert find(driver, "#theme").get_attribute("aria-label") == "Light colours"
    click(driver, "#theme")
    assert colours(driver) == light


def test_on_a_narrow_screen_nothing_but_tables_scrolls_sideways(driver, open_page, page) -> None:
    metrics = {"width": 420, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        open_page(page)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 420
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_10000_utterances_keep_the_page_small(open_page, tmp_path) -> None:
    workspace = write_project(tmp_path, make_evaluation(10_000, runs=("a",)))
    output = report(workspace, ReportOptions()).output
    assert output.stat().st_size < 7.5e6
    driver = open_page(output)
    missing = "return document.querySelectorAll('.plot:not(:has(.main-svg))').length"
    eventually(driver, lambda: driver.execute_script(missing) == 0)
    size = driver.execute_script("return document.querySelectorAll('*').length")
    choose(driver, "[name=show]", "all")
    expect_count(driver, 10_000)
    for word in ("t", "h", "a", "t"):
        find(driver, "[name=text]").send_keys(word)
        assert len(driver.find_elements(By, "#rows tbody tr")) <= PAGE_ROWS
    click(driver, "#next")
    assert find(driver, "#page").text.startswith("Page 2 of")
    grown = driver.execute_script("return document.querySelectorAll('*').length") - size
    assert grown < 20 * PAGE_ROWS
    assert driver.get_log("browser") == []
