"""`renga compare` and `renga report --serve`: runs side by side, and a run while it goes on."""

import dataclasses
import json
import threading
import urllib.error
import urllib.request

import pytest

from renga import loop, web
from renga.cli import main
from renga.loop import RunDirectory


@dataclasses.dataclass(frozen=True)
class Config:
    units: int = 3
    rate: float = 0.1


def a_run(path, losses=(3.0, 2.0, 1.0), system="toy", metric="loss", env_steps=None, measures=None, **config):
    files = RunDirectory(path)
    path.mkdir(parents=True)
    files.write_config(system, Config(**config), {"steps": 30, "seed": 0, "window": 10})
    more = {} if env_steps is None else {"env_steps": env_steps}
    rows = [{"step": 10 * i, "seconds": 1.0, metric: y, "flat": 1.0, **more} for i, y in enumerate(losses, 1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if measures:
        (path / "evaluation.json").write_text(json.dumps({"step": 30, "measures": measures}))
    return path


def test_runs_stand_side_by_side_with_what_differs(tmp_path, capsys):
    one = a_run(tmp_path / "a" / "0", rate=0.1, measures={"greedy_return": 1.5})
    two = a_run(tmp_path / "b" / "0", losses=(4.0, 3.0), rate=0.2)
    output = tmp_path / "both.html"
    assert main(["compare", str(one), str(two), "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    page = output.read_text()
    assert "<h1>a/0 · b/0</h1>" in page
    assert page.count("<figure class='chart") == 1, "flat metrics are left out"
    assert "a/0 3 at first, 1 at last; b/0 4 at first, 3 at last" in page
    assert "<th scope='row'>rate</th><td class='number'>0.1</td><td class='number'>0.2</td>" in page
    assert "<th scope='row'>units</th>" not in page
    assert "<th scope='row'>greedy return</th><td class='number'>1.5</td><td>not measured</td>" in page
    assert "b/0: Unfinished: step 20 of 30." in page
    assert main(["compare", str(one), str(two), f"--output={output}"]) == 0, "a comparison is replaced"


def test_steps_of_environments_are_the_axis_if_all_know_them(tmp_path):
    agents = [RunDirectory(a_run(tmp_path / name, env_steps=8.0)) for name in "ab"]
    toy = RunDirectory(a_run(tmp_path / "toy", system="other"))
    loop.write_comparison(agents, tmp_path / "one.html")
    loop.write_comparison([*agents, toy], tmp_path / "two.html")
    axis = "<p class='axis'>environment steps</p>"
    assert axis in (tmp_path / "one.html").read_text()
    text = (tmp_path / "two.html").read_text()
    assert axis not in text
    assert "3 runs of toy and other." in text
    assert "left out" not in text


def test_a_comparison_says_which_run_is_not_finite_and_from_where(tmp_path):
    one, two = a_run(tmp_path / "one"), a_run(tmp_path / "two", losses=(2.5, "nan", "nan"), metric="loss")
    other = a_run(tmp_path / "three", metric="return")
    loop.write_comparison([RunDirectory(path) for path in (one, two, other)], tmp_path / "all.html")
    page = (tmp_path / "all.html").read_text()
    assert "<p class='warning'>two: loss was not finite, first by step 20.</p>" in page
    assert "one 3 at first, 1 at last; two 2.5 at first, 2.5 at step 10, then not finite" in page
    assert "<output>2.5</output> <span class='last'>at step 10, then not finite</span>" in page
    assert "<td class='number'>1</td><td>2.5 at step 10, then not finite</td><td>not recorded</td>" in page
    assert "Metrics that only one run has are left out." in page


def test_what_cannot_be_compared_is_refused_and_nothing_is_overwritten(tmp_path, capsys):
    one, two = (a_run(tmp_path / name) for name in "ab")
    other = a_run(tmp_path / "other", metric="return")
    (tmp_path / "other" / "metrics.jsonl").write_text('{"step": 1, "seconds": 1.0, "return": 1.0}\n')
    empty = a_run(tmp_path / "empty", losses=())
    notes = tmp_path / "notes.html"
    notes.write_text("my notes")

    def says(args, code, text):
        assert main(["compare", *map(str, args)]) == code
        assert text in capsys.readouterr().err

    says([one], 2, "compare takes two or more runs, got 1; usage: renga compare RUN RUN")
    says([one, two, "--colour"], 2, "got '--colour'")
    says([one, two, "--output"], 2, "--output must be followed by a file")
    says([one, one.parent / "." / "a"], 1, "is there twice")
    says([one, tmp_path / "none"], 1, "there is no directory ")
    says([one, empty], 1, "empty has no metrics yet")
    says([one, other], 1, "a and other have no metric in common")
    says([one, two, "--output", notes], 1, "notes.html is not a comparison: it is not replaced")
    assert notes.read_text() == "my notes"


@pytest.fixture
def followed(tmp_path):
    """A run that is served, and the address."""
    files = RunDirectory(a_run(tmp_path / "run"))
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(web.follow_app(files), port=0, log_level="error"))
    server.config.timeout_graceful_shutdown = 1
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield files, f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive(), "who listens for events does not keep it"


def test_a_run_is_followed_part_by_part(followed):
    files, address = followed
    with urllib.request.urlopen(address) as page:
        text = page.read().decode()
    assert "new EventSource" in text
    assert "loss 3 at first, 1 at last" in text
    events = urllib.request.urlopen(address + "events", timeout=20)
    next_event = lambda: json.loads(next(line for line in events if line.startswith(b"data:"))[5:])
    assert set(next_event()) == {"head", "result", "charts", "pictures", "details"}
    with (files.path / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 40, "seconds": 1.0, "loss": 0.5, "flat": 1.0}\n{"step": 50, "lo')  # under way
    changed = next_event()
    assert "charts" in changed or "result" in changed
    assert "pictures" not in changed
    assert "0.5 at last" in "".join(changed.values())
    (files.path / "config.json").write_text("{}")
    assert "config.json is damaged" in next_event()["head"]


def test_only_this_machine_is_answered(followed):
    request = urllib.request.Request(followed[1], headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)


def test_what_cannot_be_served_is_said(tmp_path, capsys):
    run = a_run(tmp_path / "run")
    for args, code, text in (
        ([run, "--port", "80"], 2, "--port goes with --serve"),
        ([run, "--serve", "--port", "x"], 2, "--port must be a whole number, got 'x'"),
        ([run, "--serve", "--port", "99999"], 2, "--port must be in [0, 65535], got 99999"),
        ([tmp_path, "--serve"], 1, f"is no run, but holds some; pass one of them, the newest first:\n  {run}"),
    ):
        assert main(["report", *map(str, args)]) == code
        assert text in capsys.readouterr().err


def test_ctrl_c_is_how_one_ends_a_page(tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("renga.web.serve_report", interrupted)
    assert main(["report", str(a_run(tmp_path / "run")), "--serve"]) == 0
    assert capsys.readouterr().err == ""
