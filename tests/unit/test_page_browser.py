"""report.html in headless Chromium: filters, sorting, focus, dark, narrow, offline. Skipped without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qaprune.report.collect import collect
from qaprune.report.rows import build_rows
from tests.unit import browser
from tests.unit.page_data import HOSTILE, Parsed, hostile, page_of, stage_page
from tests.unit.report_data import write_evaluate, write_profile

pytestmark = pytest.mark.slow

DESKTOP, PHONE = (1280, 900), (360, 740)
CONTRAST = """
const lum = (c) => {
  const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const rgba = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const [r, g, b, a = 1] = rgba(getComputedStyle(at).backgroundColor);
    if (a > 0) return [r, g, b];
  }
  return null;
};
const found = [];
document.querySelectorAll("body *").forEach((element) => {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) return;
  const style = getComputedStyle(element);
  const colour = rgba(element instanceof SVGElement ? style.fill : style.color).slice(0, 3);
  const paper = behind(element);
  const [high, low] = [lum(colour), lum(paper)].sort((a, b) => b - a);
  const ratio = (high + 0.05) / (low + 0.05);
  found.push([ratio, element.tagName, element.textContent.trim().slice(0, 40), String(paper)]);
});
return found.sort((a, b) => a[0] - b[0]);
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(stage_page(path.parent / "results"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Any:
    reason = browser.missing()
    if reason:
        pytest.skip(reason)
    with browser.chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def opened(driver: Any, page: Path) -> Any:
    """The page as it opens on a wide, light screen; afterwards the console must have no error."""
    driver.get_log("performance")
    show(driver, page)
    yield driver
    errors = [entry["message"] for entry in driver.get_log("browser") if entry["level"] != "INFO"]
    assert errors == []


def show(
    driver: Any, page: Path, size: tuple[int, int] = DESKTOP, dark: bool = False, script: bool = True
) -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    scheme = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    driver.get(page.as_uri())


def all_of(driver: Any, selector: str) -> list[Any]:
    return driver.find_elements("css selector", selector)


def one(driver: Any, selector: str) -> Any:
    return driver.find_element("css selector", selector)


def count(driver: Any, selector: str) -> int:
    return driver.execute_script("return document.querySelectorAll(arguments[0]).length", selector)


def column(driver: Any, name: str) -> list[str]:
    """The texts of a column, without their intervals, from top to bottom."""
    return driver.execute_script(
        "const place = [...document.querySelectorAll('#rows thead th')]"
        ".findIndex((cell) => cell.dataset.column === arguments[0]);"
        "return [...document.querySelectorAll('#rows tbody tr')]"
        ".map((row) => row.cells[place].childNodes[0]?.textContent.trim() ?? '')",
        name,
    )


def test_it_opens_without_errors_and_asks_no_network(opened: Any, page: Path):
    sent = []
    for entry in opened.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            sent.append(message["params"]["request"]["url"])
    assert page.as_uri() in sent
    assert [url for url in sent if url != page.as_uri() and not url.startswith("data:")] == []
    assert one(opened, "#filters").is_displayed()
    assert count(opened, "#figures img, #figures .gap") == 2 * 6, "six plates a pair, drawn or not"
    assert count(opened, "#figures img") > 2
    assert opened.execute_async_script(
        "const done = arguments[0];"
        "for (const image of document.images) image.loading = 'eager';"
        "Promise.all([...document.images].map((image) => image.decode().then(() => image.naturalWidth)))"
        ".then((widths) => done(widths.every((width) => width > 100)), () => done(false))"
    ), "figures are drawn under the page's own policy"


def test_names_with_markup_run_nothing_and_show_as_they_are(driver: Any, tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "squad2")
    rows = hostile(build_rows(collect([run], [write_profile(tmp_path, run.name)]), 100))
    path = tmp_path / "hostile.html"
    path.write_text(page_of(rows, name=HOSTILE), encoding="utf-8")
    driver.get_log("browser")
    show(driver, path)
    assert driver.get_log("browser") == []
    assert count(driver, "#rows tbody tr") == len(rows)
    driver.execute_script("document.querySelector('.point').focus()")
    assert HOSTILE in driver.execute_script("return document.getElementById('readout').textContent")
    points = count(driver, ".point")
    one(driver, "input[name=criterion]").click()
    assert 0 < count(driver, ".point") < points
    assert count(driver, "script") == 2


def test_a_request_would_be_blocked(driver: Any, page: Path):
    """The planted fault for the check above: the policy refuses what the page might be made to ask for."""
    show(driver, page)
    outcome = driver.execute_async_script(
        "const done = arguments[0];"
        "document.addEventListener('securitypolicyviolation', (event) => done(event.violatedDirective));"
        "const image = new Image(); image.src = 'http://127.0.0.1:9/x.png'; document.body.append(image);"
        "setTimeout(() => done('not blocked'), 2000);"
    )
    assert outcome == "img-src"
    driver.get_log("browser")


def test_the_script_writes_what_the_static_table_says(opened: Any, page: Path):
    static = Parsed(page.read_text(encoding="utf-8"))
    found = column(opened, "f1")
    data = static.data()
    assert len(found) == len(data["rows"])
    cells = [text.strip() for tag, text in static.texts if tag == "td" and text.strip()]
    drawn = opened.execute_script(
        "return [...document.querySelectorAll('#rows tbody td')]"
        ".map((cell) => cell.childNodes[0]?.textContent.trim() ?? '').filter(Boolean)"
    )
    assert drawn == cells[: len(drawn)]


@pytest.mark.parametrize(
    ("name", "value"), [("model", "roberta"), ("dataset", "nq"), ("text", "gain h25"), ("cell", "1")]
)
def test_lists_and_search_filter_chart_and_table(opened: Any, name: str, value: str):
    rows, points = count(opened, "#rows tbody tr"), count(opened, ".point")
    speeds = column(opened, "latency_ms")
    opened.execute_script(
        "const field = document.getElementById('filters').elements[arguments[0]];"
        "field.value = arguments[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )
    if name == "cell":
        assert column(opened, "latency_ms") != speeds
        assert "batch 1 x 128" in one(opened, "#rows-cell").text
        assert count(opened, ".point") == points
        return
    assert 0 < count(opened, "#rows tbody tr") < rows
    assert count(opened, ".point") < points
    assert f"{count(opened, '#rows tbody tr')} of {rows} rows" in one(opened, "#count").text
    one(opened, "#filters button[type=reset]").click()
    opened.execute_async_script("setTimeout(arguments[0], 50)")
    assert count(opened, "#rows tbody tr") == rows
    assert count(opened, ".point") == points


@pytest.mark.parametrize(("name", "value"), [("criterion", "random"), ("variant", "pruned")])
def test_chips_filter_by_pointer_and_by_keyboard(opened: Any, name: str, value: str):
    rows, points = count(opened, "#rows tbody tr"), count(opened, ".point")
    box = one(opened, f"input[name={name}][value={value}]")
    box.click()
    fewer = count(opened, "#rows tbody tr"), count(opened, ".point")
    assert fewer[0] < rows
    assert fewer[1] < points
    box.send_keys(" ")
    assert (count(opened, "#rows tbody tr"), count(opened, ".point")) == (rows, points)


def test_filters_that_leave_nothing_say_so(opened: Any):
    for button in all_of(opened, "[data-all]"):
        button.click()
    assert count(opened, ".point") == 0
    assert "No row is left" in one(opened, "#panels").text


def test_published_points_are_hollow_and_come_when_asked(opened: Any):
    assert count(opened, ".point.published") == 0
    one(opened, "input[name=published]").click()
    assert count(opened, ".point.published") > 5
    assert count(opened, ".point.published .full") == 0
    opened.execute_script("document.querySelector('.point.published').focus()")
    assert "not measured here" in one(opened, "#readout").text


def test_sorting_by_click(opened: Any):
    before = column(opened, "f1")
    header = one(opened, "th[data-column=f1]")
    header.find_element("css selector", "button").click()
    down = [float(value) for value in column(opened, "f1")]
    assert one(opened, "th[data-column=f1]").get_attribute("aria-sort") == "descending"
    assert down == sorted(down, reverse=True)
    header.find_element("css selector", "button").click()
    assert one(opened, "th[data-column=f1]").get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in column(opened, "f1")] == sorted(down)
    header.find_element("css selector", "button").click()
    assert one(opened, "th[data-column=f1]").get_attribute("aria-sort") == "none"
    assert column(opened, "f1") == before


def test_sorting_by_keyboard_and_rows_without_a_value_stand_last(opened: Any):
    from selenium.webdriver.common.keys import Keys

    button = one(opened, "th[data-column=speedup] button")
    button.send_keys(Keys.ENTER)
    found = column(opened, "speedup")
    assert one(opened, "th[data-column=speedup]").get_attribute("aria-sort") == "descending"
    assert "" in found
    numbers = found[: found.index("")]
    assert set(found[len(numbers) :]) == {""}
    assert [float(value) for value in numbers] == sorted(map(float, numbers), reverse=True)
    button.send_keys(" ")
    assert one(opened, "th[data-column=speedup]").get_attribute("aria-sort") == "ascending"


def test_headers_explain_their_column_and_figures_stand_right(opened: Any):
    button = one(opened, "th[data-column=margin_share] button")
    opened.execute_script("arguments[0].focus()", button)
    assert "margin over no-answer" in one(opened, "#tip").text
    described = button.get_attribute("aria-describedby")
    assert opened.execute_script("return document.getElementById(arguments[0]).textContent", described)
    aligned = opened.execute_script(
        "return [...document.querySelectorAll('#rows td:not(.word)')]"
        ".map((cell) => getComputedStyle(cell).textAlign)"
    )
    assert set(aligned) == {"right"}


def test_a_point_is_named_by_what_tells_it_from_others(driver: Any, tmp_path: Path):
    """Where a criterion has one budget its own name does: others may have the same budget."""
    shares = {
        ("l0", "h50-f50"): (0.5, 0.9, 0.9, 2),
        ("l0", "h25-f25"): (0.7, 0.6, 0.7, 3),
        ("first_layers", "h50-f50"): (0.4, 0.5, 0.6, 2),
    }
    run = write_evaluate(tmp_path, "bert", "squad2", shares=shares)
    profile = write_profile(tmp_path, run.name, shares=shares)
    path = tmp_path / "report.html"
    path.write_text(page_of(build_rows(collect([run], [profile]), 100)), encoding="utf-8")
    show(driver, path)
    names = [label.text for label in all_of(driver, ".panel svg .label:not(.quiet)")]
    assert sorted(names) == ["first layers", "h25-f25", "h50-f50"]


def test_the_pointer_shows_the_whole_row(opened: Any):
    from selenium.webdriver.common.action_chains import ActionChains

    point = next(
        p for p in all_of(opened, ".point") if "l0-h25-f25/distilled" in p.get_attribute("aria-label")
    )
    opened.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", point)
    ActionChains(opened).move_to_element(point).perform()
    assert "l0-h25-f25/distilled" in one(opened, "#tip").text
    text = one(opened, "#readout").text
    for words in ("l0-h25-f25/distilled", "holdout f1", "Example CPU 3000", "snakemake", "no GPU"):
        assert words in text


def test_the_keyboard_reaches_every_point_and_shows_its_row(opened: Any):
    from selenium.webdriver.common.keys import Keys

    assert count(opened, ".panel svg [tabindex='0']") == 1, "one stop for the one panel that is timed"
    opened.execute_script("document.querySelector(\".panel svg [tabindex='0']\").focus()")
    seen = set()
    for _ in range(count(opened, ".point")):
        active = opened.switch_to.active_element
        seen.add(active.get_attribute("aria-label"))
        assert active.get_attribute("aria-label").split(",")[0] in one(opened, "#readout").text
        assert active.get_attribute("aria-label") == one(opened, "#tip").text
        active.send_keys(Keys.ARROW_RIGHT)
    assert len(seen) == count(opened, ".point")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_contrast(driver: Any, page: Path, dark: bool):
    show(driver, page, dark=dark)
    driver.execute_script("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    driver.execute_script("document.querySelector('.point').focus()")
    found = driver.execute_script(CONTRAST)
    assert len(found) > 300
    assert found[0][0] >= 4.5, found[:5]
    paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark


def test_print_is_light_even_on_a_dark_screen(driver: Any, page: Path):
    show(driver, page, dark=True)
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert paper == "rgb(255, 255, 255)"


def test_a_phone_scrolls_only_up_and_down(driver: Any, page: Path):
    show(driver, page, PHONE)
    driver.execute_script("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    driver.execute_script("document.querySelector('.point').focus()")
    wide = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide == [PHONE[0], PHONE[0]]
    svg = driver.execute_script("return document.querySelector('.panel svg').getBoundingClientRect().right")
    assert svg <= PHONE[0]


def test_table_and_figures_stand_without_a_script(driver: Any, page: Path):
    show(driver, page, script=False)
    try:
        assert len(all_of(driver, "#rows tbody tr")) == len(Parsed(page.read_text()).data()["rows"])
        assert not one(driver, "#filters").is_displayed()
        assert one(driver, "noscript p").is_displayed()
        assert one(driver, "#figures img").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
