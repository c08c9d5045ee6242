"""The page, in a browser; and the command that serves it."""

import contextlib
import json
import logging
import queue
import re
import shutil
import threading

import jax
import jax.numpy as jnp
import pytest
import uvicorn

from renga import cli, web
from renga.cli import _play
from renga.loop import RunError
from renga.systems import muzero
from renga.web import _rules
from renga.web._serve import is_local

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browsing = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium (see .ci/run)")


@pytest.fixture(scope="module")
def address(agent):
    """A server in a thread."""
    told, servers = queue.Queue(), []

    class Server(uvicorn.Server):
        def __init__(self, config):
            super().__init__(config)
            servers.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn, "Server", Server)
        options = {"port": 0, "announce": told.put, "levels": (0, 4), "batch": 4}
        thread = threading.Thread(target=web.serve, args=(agent,), kwargs=options)
        thread.start()
        yield told.get(timeout=60)
        servers[0].should_exit = True
        thread.join(60)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Opens the page, and holds that nothing went wrong in it."""
    pages, wrong = [], []

    def open_page(**options):
        page = browser.new_page(**options)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        # A browser also writes down each answer that refuses something.
        page.on(
            "console", lambda m: wrong.append(m.text) if m.type == "error" and "status of 4" not in m.text else None
        )
        page.on("request", lambda request: None if request.url.startswith(address) else wrong.append(request.url))
        page.goto(address)
        page.wait_for_selector("body[data-state=ready]", timeout=60_000)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not wrong


def stands_at(page, ply, of=None):
    from playwright.sync_api import expect

    expect(page.locator("#ply")).to_have_text(f"{ply} of {ply if of is None else of}", timeout=15_000)


def legal(page):
    return page.locator("#board .spot.legal")


@browsing
def test_a_person_plays_with_mouse_and_keyboard_and_takes_moves_back(open_page):
    from playwright.sync_api import expect

    page = open_page(viewport={"width": 1200, "height": 900})
    assert legal(page).count() == 9
    page.locator("#board .spot").nth(4).click()
    stands_at(page, 2)
    assert page.locator("#board .last").count() == 1
    assert legal(page).count() == 7
    expect(page.locator("#said")).to_contain_text("to move")
    assert page.locator("#said").get_attribute("aria-live") == "polite"

    free = int(legal(page).first.get_attribute("data-action"))
    page.keyboard.press(str(free + 1))  # a number plays a place
    stands_at(page, 4)
    page.locator("#board .spot[tabindex='0']").focus()
    taken = page.locator("#board .spot").nth(4)
    assert "no move" in taken.get_attribute("aria-label")
    for key in ("ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
    page.keyboard.press("u")
    stands_at(page, 2)
    page.keyboard.press("5")  # taken
    expect(page.locator("#said")).to_contain_text("no legal move")
    stands_at(page, 2)
    page.keyboard.press("n")
    stands_at(page, 0)
    page.locator("#board .spot[tabindex='0']").focus()
    page.keyboard.press("Enter")
    stands_at(page, 2)
    # Who plays second is answered at once.
    page.select_option("#mode", "second")
    page.click("#new")
    stands_at(page, 1)


@browsing
def test_the_agents_view_is_there_as_bars_text_and_tree(open_page):
    from playwright.sync_api import expect

    page = open_page(viewport={"width": 1200, "height": 900})
    expect(page.locator("#bars tr[data-action]")).to_have_count(9)
    expect(page.locator("#value")).to_contain_text(re.compile(r"wins with \d+ %.*of 4 visits"))
    expect(page.locator("#variation")).to_contain_text("Principal variation")
    top = page.locator("#tree > details").first
    top.locator("summary").first.click()
    expect(top.locator("svg.mini").first).to_be_visible()
    assert "X is Red" in top.locator("svg.mini").first.get_attribute("aria-label")
    page.locator("#board .spot").nth(0).click()
    stands_at(page, 2)
    expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("after 0 moves.*after 1 moves.*after 2 "))
    page.uncheck("#showview")
    expect(page.locator("#view")).to_be_hidden()
    page.check("#showview")
    page.select_option("#level", "0")
    expect(page.locator("#tree")).to_contain_text("Without search there is no tree")


@browsing
def test_stored_games_are_stepped_through_and_gone_on_from(open_page):
    from playwright.sync_api import expect

    page = open_page(viewport={"width": 1200, "height": 900})
    page.fill("#moves", "1 4 2 5 3")
    page.click("#open")
    stands_at(page, 0, of=5)
    for ply in (1, 2):
        page.click("#forward")
        stands_at(page, ply, of=5)
    page.click("#end")
    expect(page.locator("#said")).to_contain_text("Red wins")
    assert page.locator("#board .won").count() == 3
    page.keyboard.press("[")
    stands_at(page, 4, of=5)
    page.keyboard.press("9")  # another move from here
    stands_at(page, 5)
    expect(page.locator("#said")).to_contain_text("Yellow to move")
    page.reload()
    stands_at(page, 5)  # the game is in the address
    page.fill("#moves", "1 1")
    page.click("#open")
    expect(page.locator("#error")).to_contain_text("move 2 is not legal")
    page.fill("#moves", "one")
    page.click("#open")
    expect(page.locator("#error")).to_contain_text("Moves are numbers")
    page.click("#refresh")
    page.locator("#list button", has_text="5 moves, Red won").first.click()
    stands_at(page, 0, of=5)


@browsing
def test_the_agent_plays_itself_on_a_dark_phone(open_page):
    from playwright.sync_api import expect

    page = open_page(viewport={"width": 360, "height": 740}, color_scheme="dark", has_touch=True)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 27)"
    page.select_option("#mode", "watch")
    page.wait_for_selector("#stop:visible")
    page.click("#stop")
    page.click("#go")
    expect(page.locator("#said")).to_contain_text(re.compile("wins|draw"), timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.click("#first")
    expect(page.locator("#ply")).to_contain_text("0 of")


# ---------------------------------------------------------------- the command


def test_only_this_machine_is_let_in_unless_told(agent):
    assert all(map(is_local, ("127.0.0.1", "::1", "localhost", "127.9.9.9")))
    assert not any(map(is_local, ("0.0.0.0", "::", "192.168.1.1", "example.org")))
    with pytest.raises(RunError, match=r"cannot listen at 192\.0\.2\.1, port 8000.*--port"):
        web.serve(agent, host="192.0.2.1")
    with pytest.raises(RunError, match="port must lie in 0 … 65535, got 99999"):
        web.serve(agent, port=99_999)


def test_the_command_serves_an_exported_agent(agent, tmp_path, monkeypatch, capsys):
    agent.save(tmp_path / "agent.safetensors")
    served = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: served.append(sockets[0].getsockname()))
    assert cli.main(["play", str(tmp_path / "agent.safetensors"), "--port", "0", "--simulations", "0", "4"]) == 0
    assert served[0][0] == "127.0.0.1"
    assert f"play at http://127.0.0.1:{served[0][1]}" in capsys.readouterr().out


def test_logs_of_the_program_that_serves_stay_open(agent, tmp_path, monkeypatch):
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    handler = logging.FileHandler(tmp_path / "log", mode="w")
    with contextlib.closing(handler):
        web.serve(agent, port=0, announce=lambda url: None)
        handler.emit(logging.LogRecord("mine", logging.WARNING, "", 0, "kept", None, None))
    assert (tmp_path / "log").read_text() == "kept\n"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ([], 2, "usage: renga play RUN"),
        (["--port", "1"], 2, "usage: renga play RUN"),
        (["nowhere"], 1, "nowhere must be the directory of a run, or a file"),
        ([".", "--port", "1"], 1, "."),
    ],
)
def test_the_command_says_what_is_wrong(args, code, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["play", *args]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("system", "config", "said"),
    [
        ("gan", {}, "gan: `renga report {run}`"),
        ("dqn", {"env": "catch"}, "catch: `renga watch {run}`"),
        ("muzero", {"env": "pgx/go_9x9"}, "pgx/go_9x9: `renga watch {run}`"),
    ],
)
def test_a_run_that_plays_no_game_is_refused(system, config, said, tmp_path, capsys):
    (tmp_path / "config.json").write_text(
        json.dumps({"system": system, "config": config, "loop": {"steps": 1, "seed": 0, "window": 1}})
    )
    assert cli.main(["play", str(tmp_path)]) == 1
    said = f"renga: play is for connect_four and tic_tac_toe; this run is of {said.format(run=tmp_path)}\n"
    assert capsys.readouterr() == ("", said)
    assert tuple(_rules.GAMES) == _play.GAMES


def test_a_file_that_plays_no_game_is_refused(tmp_path, capsys):
    config = muzero.Config(env="catch", model="learned", units=8, blocks=1)
    shapes = jax.eval_shape(muzero.networks(config).init, jax.random.key(0), jnp.zeros((1, 10, 5)))
    muzero.Agent(config, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)).save(tmp_path / "agent")
    assert cli.main(["play", str(tmp_path / "agent")]) == 1
    said = "renga: play is for connect_four and tic_tac_toe; this file is of catch\n"
    assert capsys.readouterr() == ("", said)
