"""The one command that measures an accelerator runs every part, survives what may happen to it, and fills its page."""

import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "accelerator.py"
FIELDS = {"part", "status", "commit", "date", "platform", "device", "devices", "versions", "tiny", "rows"}
# What a bare machine has besides JAX is enough for these; the others are shown with the packages they compare with.
WITH_ORIGINALS = ("search", "rl", "muzero")
MISSING = ["tyro", "rich", "tensorboardX", "safetensors", "pgx", "gymnax", "gymnasium", "mctx", "rlax", "haiku"]
MISSING += ["distrax", "jraph", "tensorflow_probability", "networkx", "starlette", "uvicorn"]
BLOCKER = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


def load():
    spec = importlib.util.spec_from_file_location("accelerator", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


accelerator = load()


def environment(*paths):
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT / "src")))}


def command(out, *options, script=SCRIPT, paths=()):
    run = [sys.executable, script, "--out", out, "--commit", "abc", *options]
    return subprocess.run(run, env=environment(*paths), capture_output=True, text=True, timeout=400)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder that makes any Python process that finds it a bare one."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory, bare):
    out = tmp_path_factory.mktemp("accelerator")
    for names, paths in (
        ([name for name in accelerator.PARTS if name not in WITH_ORIGINALS], [bare]),
        (WITH_ORIGINALS, []),
    ):
        done = command(out, "--tiny", "--only", *names, paths=paths)
        assert done.returncode == 0, done.stderr
    return out


# ---------------------------------------------------------------- every part runs


@pytest.mark.parametrize("name", accelerator.PARTS)
def test_each_part_writes_a_complete_record(measured, name):
    record = json.loads((measured / f"{name}.json").read_text())
    assert set(record) == FIELDS
    assert (record["status"], record["commit"], record["tiny"]) == ("done", "abc", True)
    assert record["rows"]
    keys = [row["key"] for row in record["rows"]]
    assert len(set(keys)) == len(keys)
    for row in record["rows"]:
        assert "error" not in row, row
        assert "skipped" not in row, row
        assert row.get("agrees", True) is True, row
        assert "us" not in row or row["us"] > 0, row


def test_the_parts_tell_what_they_are_for(measured):
    rows = {name: json.loads((measured / f"{name}.json").read_text())["rows"] for name in accelerator.PARTS}
    told = {name: {cell for row in found for cell in row} for name, found in rows.items()}
    assert {"share in the model", "KB moved a simulation by the compiler's estimate", "form", "faster"} <= told[
        "search"
    ]
    assert {"million env steps/s", "bound by", "share of measured bandwidth", "operations"} <= told["lpg"]
    assert {"simulations/s", "moves/s", "share in the networks", "goal, simulations/s"} <= told["muzero"]
    assert {"env steps/s", "updates/s", "bar", "reached"} <= told["systems"]
    assert any(row.get("baseline") == "mctx" for row in rows["search"])
    assert any(row.get("baseline") == "rlax" for row in rows["rl"])


def test_the_summary_has_every_row(measured):
    summary = accelerator.table(measured)
    assert (measured / "summary.md").read_text() == summary
    for name in accelerator.PARTS:
        for row in json.loads((measured / f"{name}.json").read_text())["rows"]:
            assert f"| {name} | {row['key']} |" in summary


def test_what_is_finished_is_not_measured_again(measured):
    before = {name: (measured / f"{name}.json").read_text() for name in accelerator.PARTS}
    done = command(measured, "--tiny")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done before") == len(accelerator.PARTS)
    assert before == {name: (measured / f"{name}.json").read_text() for name in accelerator.PARTS}
    assert command(measured).returncode == 2, "records of --tiny are not mixed with others"


def test_on_a_bare_machine_every_part_can_be_imported_and_finds_no_baseline(bare):
    names = [*accelerator.PARTS, *accelerator.EXTRAS]
    code = f"""
import importlib
from accelerator_parts.timing import optional
import renga.cli, renga.data, renga.envs, renga.graph, renga.loop, renga.testing
for name in {names!r}:
    assert importlib.import_module("accelerator_parts." + name).run
assert all(optional(name) is None for name in ("mctx", "rlax", "pgx"))
from accelerator_parts import minatar_run, muzero, muzero_run
muzero.TABLE = [row for row in muzero.TABLE if row[0] != "breakout"]
parts = (muzero, len(muzero.TABLE) + 1, "pgx"), (muzero_run, 1, "pgx"), (minatar_run, 1, "gymnax")
for part, count, package in parts:
    rows = [row for row in part.run(False, set()) if "running" not in row]
    assert len(rows) == count and all(package in row["skipped"] for row in rows), rows
"""
    paths = environment(bare, ROOT / "benchmarks")
    done = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- whatever happens

FAKE = """
import os, pathlib, time
FOLDER = LIMIT = None
def run(tiny, done):
    for key in ("first", "second", "third"):
        if key in done:
            continue
        yield {"running": key}
        if key == "second":
            {what}
        yield {"key": key, "us": 1.0, "seen": float("nan")}
"""


@pytest.fixture
def fake(tmp_path):
    """Makes a copy of the command whose parts are fakes: two named `rl` and `optim`; returns it and its folder."""

    def make(rl="pass", optim="pass", limit=60):
        parts = tmp_path / "accelerator_parts"
        parts.mkdir(exist_ok=True)
        (parts / "__init__.py").write_text("")
        for name, what in (("rl", rl), ("optim", optim)):
            (parts / f"{name}.py").write_text(FAKE.replace("{what}", what))
        text = SCRIPT.read_text()
        begin = text.index("PARTS = {")
        text = text[:begin] + f'PARTS = {{"rl": {limit}, "optim": {limit}}}' + text[text.index("\n", begin) :]
        (tmp_path / "accelerator.py").write_text(text)
        return tmp_path / "accelerator.py", tmp_path / "out"

    return make


def keys_of(out, name):
    return [row["key"] for row in json.loads((out / f"{name}.json").read_text())["rows"]]


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes as Linux shows them")
def test_a_start_that_is_killed_leaves_no_process_and_the_next_goes_on(fake, tmp_path):
    slow = "(FOLDER / 'pid').write_text(str(os.getpid())); time.sleep(60 if not (FOLDER / 'quick').exists() else 0)"
    script, out = fake(rl=slow)
    run = [sys.executable, script, "--out", out, "--commit", "abc", "--only", "rl"]
    process = subprocess.Popen(run, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ends = time.monotonic() + 60
    while not (out / "pid").exists() or not (out / "pid").read_text():
        assert time.monotonic() < ends, "the part did not come to its second row"
        time.sleep(0.05)
    second = command(out, "--only", "rl", script=script)
    assert second.returncode == 1
    assert "another start is at work" in second.stderr
    process.send_signal(signal.SIGKILL)
    process.wait()
    pid = int((out / "pid").read_text())
    while alive(pid):
        assert time.monotonic() < ends, "the part goes on without the command that started it"
        time.sleep(0.05)
    record = json.loads((out / "rl.json").read_text())
    assert (record["status"], record["running"], keys_of(out, "rl")) == ("running", "second", ["first"])
    record["rows"][0]["mark"] = 1
    accelerator.save(out, "rl", record)
    (out / "quick").write_text("")
    done = command(out, "--only", "rl", "--commit", "def", script=script)
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "rl.json").read_text())
    assert (record["status"], keys_of(out, "rl")) == ("done", ["first", "second", "third"])
    assert record["rows"][0] == {"key": "first", "us": 1.0, "seen": "nan", "mark": 1, "commit": "abc"}
    assert (record["commit"], set(record)) == ("def", FIELDS)


def test_one_part_out_of_memory_or_crashed_loses_a_row_of_its_own(fake):
    end = "print('RESOURCE_EXHAUSTED: out of memory', flush=True); os._exit(1)"
    script, out = fake(rl="print('last words', flush=True); os.abort()", optim=end)
    done = command(out, script=script)
    assert done.returncode == 0, done.stderr
    for name, status in (("rl", "crashed"), ("optim", "out of memory")):
        record = json.loads((out / f"{name}.json").read_text())
        assert record["status"] == "done", "the part goes on behind the row"
        assert keys_of(out, name) == ["first", "second", "third"]
        assert record["rows"][1]["error"].startswith(status)
        assert f"{name}: {status}, 2 rows" in done.stdout
    assert not list(out.glob("*.new"))


def test_a_part_that_is_stopped_gets_the_time_that_others_leave_while_it_comes_on(tmp_path, monkeypatch, capsys):
    started, rows = [], {"rl": iter([1, 2, 2]), "nn": iter([0, 0]), "optim": iter([3])}

    def start(name, out, seconds, tiny, commit):
        started.append((name, round(seconds)))
        status = "done" if name == "optim" else "timeout"
        found = [{"key": str(i)} for i in range(next(rows[name]))]
        accelerator.save(out, name, {"status": status, "rows": found})

    monkeypatch.setattr(accelerator, "start_part", start)
    monkeypatch.setattr(accelerator, "PARTS", {"rl": 60, "optim": 120, "nn": 60})
    accelerator.run_all(["rl", "optim", "nn"], tmp_path, 10, False, "abc")
    assert started == [("rl", 60), ("optim", 120), ("nn", 60), ("rl", 600), ("nn", 600), ("rl", 600)]
    assert capsys.readouterr().out.count("rl: timeout, 2 rows") == 2
    started.clear()
    accelerator.run_all(["rl", "optim"], tmp_path, 0.05, False, "abc")
    assert not started
    assert capsys.readouterr().out.split("\n")[:2] == ["rl: no time left", "optim: done before"]


def test_rows_of_two_devices_are_not_mixed(fake):
    script, out = fake()
    out.mkdir()
    accelerator.save(out, "rl", {"status": "timeout", "device": "a GPU", "rows": [{"key": "first", "us": 3.0}]})
    assert command(out, "--only", "rl", script=script).returncode == 0
    record = json.loads((out / "rl.json").read_text())
    assert record["rows"] == [{"key": "first", "us": 3.0}]
    assert "holds rows of 'a GPU'" in record["last_lines"][-1]


@pytest.mark.parametrize(
    ("program", "seconds", "status"),
    [
        ("raise SystemExit('RESOURCE_EXHAUSTED: out of memory')", 20, "out of memory"),
        ("import os; print('last words', flush=True); os.abort()", 20, "crashed"),
        ("import time; time.sleep(60)", 0.5, "timeout"),
    ],
)
def test_a_part_that_ends_badly_is_recorded_with_its_last_lines(tmp_path, monkeypatch, program, seconds, status):
    script = tmp_path / "part.py"
    script.write_text(program)
    monkeypatch.setattr(accelerator, "__file__", str(script))
    accelerator.save(tmp_path, "rl", {"status": "running", "running": "second", "rows": [{"key": "first", "us": 1.0}]})
    accelerator.start_part("rl", tmp_path, seconds, True, "abc")
    record = json.loads((tmp_path / "rl.json").read_text())
    assert record["status"] == status
    assert record["why"]
    # The row that crashed is not tried again; the one that time ran out for is.
    assert [row["key"] for row in record["rows"]] == ["first", "second"][: 1 if status == "timeout" else 2]
    assert "last words" not in program or record["last_lines"] == ["last words"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "argv", ["accelerator.py", "--out", str(tmp_path / "file" / "out")])
    with pytest.raises(SystemExit) as ended:
        accelerator.main()
    assert ended.value.code == 2
    assert "--out must be a folder that can be written" in capsys.readouterr().err

    def full(path, text):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(sys, "argv", ["accelerator.py", "--out", str(tmp_path / "out")])
    monkeypatch.setattr(accelerator, "run_all", lambda *args: full(tmp_path / "out" / "rl.json", ""))
    with pytest.raises(SystemExit, match="a record could not be written: .*Read-only file system.*rl.json"):
        accelerator.main()


def test_a_damaged_record_is_put_aside(tmp_path, capsys):
    for i, text in enumerate(('{"status": "do', "[]", '{"rows": 3}', "")):
        path = tmp_path / f"{i}.json"
        path.write_text(text)
        assert accelerator.read(path) == {}
        assert not path.exists()
        assert path.with_name(f"{i}.json.damaged").read_text() == text
    assert "0.json is damaged" in capsys.readouterr().out


# ---------------------------------------------------------------- the page


def test_the_page_has_the_table_of_the_records():
    page = accelerator.PAGE.read_text()
    assert accelerator.fill(page, accelerator.RESULTS) == page, "run python benchmarks/accelerator.py --table"


def test_the_page_names_every_part_and_option():
    page = accelerator.PAGE.read_text()
    for name in (*accelerator.PARTS, *accelerator.EXTRAS):
        assert f"\n- `{name}`" in page
    for option in ("--minutes", "--out", "--only", "--tiny", "--table", "--commit"):
        assert option in page


def test_the_first_limits_come_to_the_minutes_that_are_asked_for_by_default():
    assert sum(accelerator.PARTS.values()) == 12 * 60
