"""The report in a browser: numbers under the pointer, keys, light and dark, narrow, without a script."""

import dataclasses
import json
import shutil

import pytest

from renga import loop
from renga.loop import RunDirectory

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium (see .ci/run)")
LOSSES = [8.0, 4.0, 2.0, 1.0]


@dataclasses.dataclass(frozen=True)
class Config:
    units: int = 3


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    files = RunDirectory(path)
    rows = [
        {"step": 10 * (i + 1), "seconds": 1.0, "env_steps": 8.0, "loss": y, "norm/a": y, "norm/b": 2 * y}
        for i, y in enumerate(LOSSES)
    ]
    files.write_config("toy", Config(), {"steps": 40, "seed": 0, "window": 10})
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loop.write_report(files)
    return (path / "report.html").as_uri()


def test_pointing_at_a_chart_reads_all_at_that_step_and_arrows_go_on(browser, address):
    page = browser.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    loss, first_norm = (page.locator("output").nth(i) for i in (0, 1))
    assert (loss.inner_text(), first_norm.inner_text()) == ("1", "1")
    box = page.locator(".plot").nth(0).bounding_box()
    page.mouse.move(box["x"] + 0.52 * box["width"], box["y"] + 20)
    assert (loss.inner_text(), first_norm.inner_text()) == ("4", "4")
    assert page.locator(".axis").nth(1).inner_text() == "environment steps 160"
    page.mouse.move(box["x"] + 0.52 * box["width"], 2)
    assert loss.inner_text() == "1"
    page.locator(".plot").nth(1).focus()
    page.keyboard.press("Home")
    assert loss.inner_text() == "8"
    page.keyboard.press("ArrowRight")
    assert loss.inner_text() == "4"
    assert not wrong
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen_and_follows_the_scheme(browser, address, scheme):
    page = browser.new_page(viewport={"width": 320, "height": 700}, color_scheme=scheme)
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, back[4:-1].split(","))) < 200) == (scheme == "dark")
    page.close()


def test_it_says_all_without_a_script(browser, address):
    page = browser.new_page(java_script_enabled=False)
    page.goto(address)
    assert page.locator("path.line").count() == 3
    assert page.locator("output").all_inner_texts() == ["1", "1", "2"]
    page.close()
