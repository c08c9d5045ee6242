"""A command that is refused has changed nothing, and no two runs share a directory."""

import dataclasses
import functools
import json
import math
import os
import re
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import loop
from renga.loop import RunDirectory, RunError

from . import toy
from .running import contents, run, start, wait_for


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run of five steps."""
    directory = tmp_path_factory.mktemp("done") / "run"
    run(directory, steps=5)
    return directory


def wide(config):
    init, step = toy.make(config)
    return lambda key: init(key)._replace(w=jnp.zeros(4)), step


def huge(config):
    init, step = toy.make(config)
    return lambda key: init(key)._replace(w=jnp.zeros((2**20, 2**20, 64))), step


def odd(config):
    init, step = toy.make(config)

    def odd_step(state):
        loop.shard_batch(jnp.zeros((7, 1)))
        return step(state)

    return init, odd_step


def no_scalar(config):
    init, step = toy.make(config)
    return init, lambda state: (step(state)[0], {"x": state.w})


def no_memory(config):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")


def no_memory_to_compile(config):
    init, step = toy.make(config)
    traces = []

    def stepping(state):
        traces.append(1)
        if len(traces) > 1:  # the first one is of the metrics' names
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
        return step(state)

    return init, stepping


OTHER = toy.Config(learning_rate=0.1)
REFUSED = {
    "a second run": ({}, r"already holds a finished run; resume it, or .*:\n  renga train \w+ --resume /.* --steps N$"),
    "a second run of another config": ({"config": OTHER}, "already holds a finished run"),
    "a config that differs": ({"resume": True, "config": OTHER}, r"learning_rate: saved 0\.05, given 0\.1"),
    "fewer steps": ({"resume": True, "steps": 3}, "has 5 steps behind it already: steps must be at least that, got 3"),
    "a state of another shape": ({"resume": True, "make": wide}, r"w is float32\[3\], expected float32\[4\]"),
    "and with override": ({"resume": True, "make": wide, "config": OTHER, "override": True}, r"w is float32\[3\]"),
    "a batch that does not divide": (
        {"resume": True, "make": odd, "num_devices": 2},
        "a batch of 7 does not divide by 2 devices",
    ),
    "another seed": ({"resume": True, "seed": 1}, "has the seed 0, which cannot be changed, got 1"),
    "another window": ({"resume": True, "window": 3}, "has the window 1, which cannot be changed, got 3"),
    "a metric that is no scalar": ({"resume": True, "make": no_scalar}, "metric 'x' must be a scalar"),
    "a state larger than memory": (
        {"resume": True, "make": huge},
        r"the state takes [\d,.]+ GiB, .*largest: w float32",
    ),
    "memory that ran out": ({"resume": True, "make": no_memory}, "out of memory; make the sizes in the config smaller"),
    "memory that ran out in the compiler": (
        {"resume": True, "make": no_memory_to_compile, "config": OTHER, "override": True},
        "out of memory; make the sizes in the config smaller",
    ),
    "too many devices": ({"resume": True, "num_devices": 3}, r"--devices must be in \[1, 2\], got 3"),
    "steps beyond 32 bits": ({"resume": True, "steps": 2**31}, "steps must be at most 2147483647"),
    "a seed beyond 32 bits": ({"resume": True, "seed": 2**32}, "seed must be a number of 32 bits"),
    "no window": ({"resume": True, "window": 0}, "window must be at least 1, got 0"),
    "no time": ({"resume": True, "checkpoint_seconds": math.nan}, "checkpoint_seconds must be 0 or positive, got nan"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_run_changes_nothing(case, done):
    settings, message = REFUSED[case]
    before = contents(done)
    with pytest.raises(RunError, match=message):
        run(done, **{"steps": 9, **settings})
    assert contents(done) == before


@pytest.mark.parametrize("case", ["a batch that does not divide", "a metric that is no scalar", "no window"])
def test_a_refused_new_run_leaves_no_directory(case, tmp_path):
    settings = REFUSED[case][0] | {"resume": False, "override": False}
    with pytest.raises(RunError):
        run(tmp_path / "deep" / "run", **settings)
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_system_is_refused(done):
    with pytest.raises(RunError, match="is a run of toy, not of other"):
        loop.run(toy.make, toy.Config(), steps=9, directory=done, system="other", resume=True, show=False)


def test_a_field_that_was_added_takes_its_default(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Newer(toy.Config):
        momentum: tuple[float, ...] = (0.9,)

    run(tmp_path / "run", steps=2)
    assert run(tmp_path / "run", steps=3, config=Newer(), resume=True).step == 3
    run(tmp_path / "again", steps=2)
    with pytest.raises(RunError, match=r"momentum: saved \[0\.9\], given \[0\.5\]"):
        run(tmp_path / "again", steps=3, config=Newer(momentum=(0.5,)), resume=True)


def test_a_config_with_infinity_is_the_same_when_a_run_goes_on(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Odd(toy.Config):
        limit: float = math.inf
        unknown: float = math.nan

    run(tmp_path / "run", steps=2, config=Odd())
    assert run(tmp_path / "run", steps=3, config=Odd(), resume=True).step == 3


def test_a_live_run_is_left_alone_and_a_killed_one_holds_nobody_up(tmp_path):
    process = start(tmp_path / "run", 100_000_000)
    files = RunDirectory(tmp_path / "run")
    wait_for(lambda: loop.Checkpoints(files.checkpoints).steps() and files.read_metrics())
    for resume in (True, False):
        with pytest.raises(RunError, match=f"already holds|is in use by process {process.pid} on .*toy.py"):
            run(files.path, steps=1_000_000, resume=resume)
    with pytest.raises(RunError, match=f"is in use by process {process.pid}"):
        loop.examine(files.path, repair=True)
    assert f"live, held by process {process.pid}" in loop.examine(files.path).facts[0]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = loop.examine(files.path)
    assert found.facts[0].startswith(f"lock: stale, left by process {process.pid}")
    assert "its process was killed after step" in str(found.facts)
    (saved,) = loop.Checkpoints(files.checkpoints).steps()[-1:]
    assert run(files.path, steps=saved + 1, resume=True).finished
    assert not (files.path / ".lock").exists()


@pytest.mark.parametrize("directory", ["", "checkpoints", "pictures/000000000"])
def test_leftovers_of_a_killed_process_are_cleared(directory, tmp_path):
    run(tmp_path / "run", steps=1)
    place = tmp_path / "run" / directory
    place.mkdir(parents=True, exist_ok=True)
    for name in (".probe", "x.json.tmp", "x.png.tmp.123"):
        (place / name).write_text("")
    (place / "7.tmp").mkdir()
    run(tmp_path / "run", steps=2, resume=True)
    assert not [p for p in place.iterdir() if ".tmp" in p.name or p.name == ".probe"]


def test_torn_checkpoints_of_later_steps_do_not_push_out_good_ones(tmp_path, caplog):
    run(tmp_path / "run", steps=2)
    for step in (100, 200, 300):
        (tmp_path / "run" / "checkpoints" / str(step)).mkdir()
    run(tmp_path / "run", steps=4, resume=True)
    assert loop.Checkpoints(tmp_path / "run" / "checkpoints").steps() == [2, 4, 100, 200, 300]
    assert run(tmp_path / "run", steps=5, resume=True).step == 5


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "config.json", "tensorboard", "000000000/weights.png", "report.html"]
)
def test_a_full_disk_is_said_with_the_files_name(name, tmp_path, monkeypatch):
    is_it = lambda path: name.split("/")[-1] in Path(path).name
    real_open, real_replace = Path.open, Path.replace

    def open_(self, *args, **kwargs):
        if is_it(self) and args[:1] == ("ab",):
            return open("/dev/full", "ab")
        return real_open(self, *args, **kwargs)

    def replace(self, target):
        if is_it(self) and name != "metrics.jsonl" and (name != "config.json" or "run" in str(self)):
            raise FULL
        return real_replace(self, target)

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(Path, "replace", replace)
    if name == "tensorboard":
        from tensorboardX.event_file_writer import EventsWriter

        def fail(self):
            raise FULL

        monkeypatch.setattr(EventsWriter, "flush", fail)
    with pytest.raises(RunError, match=rf"cannot write .*{name}: No space left on device"):
        run(tmp_path / "run", steps=4, pictures=lambda s: {"weights": np.zeros((2, 2))}, num_pictures=1)
    assert not list((tmp_path / "run").rglob("*.tmp*"))


def test_numbers_that_are_not_finite_are_in_the_result_and_the_report(tmp_path):
    result = run(tmp_path / "run", steps=9, config=toy.Config(bad_step=7))
    assert dict(result.non_finite) == {"loss": 8}
    assert "loss was not finite, first by step 8." in (tmp_path / "run" / "report.html").read_text()
    assert dict(run(tmp_path / "run", steps=10, config=toy.Config(bad_step=7), resume=True).non_finite) == {"loss": 8}
    assert any("loss was not finite" in problem for problem in loop.examine(tmp_path / "run").problems)


def test_a_number_that_is_not_finite_is_seen_before_its_window_ends(tmp_path, caplog):
    config = toy.Config(bad_step=1)
    run(tmp_path / "run", steps=9, config=config, window=9, pictures=lambda s: {}, num_pictures=9)
    assert "by step 2, loss is not finite" in caplog.text
    assert caplog.text.count("not finite") == 1


def test_a_picture_that_cannot_be_drawn_does_not_end_a_run(tmp_path, caplog):
    def pictures(state):
        return {} if int(state.step) == 0 else 1 / 0

    assert run(tmp_path / "run", steps=4, pictures=pictures, num_pictures=2).finished
    assert "the pictures of step 2 cannot be drawn: ZeroDivisionError" in caplog.text


def test_a_file_that_never_answers_is_no_config(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(RunError, match="cannot read config.json"):
        run(tmp_path, resume=True)


@pytest.mark.parametrize(
    "text", ["[1]", '{"system": 1}', "{", '{"system":"toy","config":{},"loop":{"steps":"x"}}', "ü"]
)
def test_a_damaged_config_is_said(text, done, tmp_path):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        run(tmp_path, resume=True)


def test_a_config_has_words_where_words_are_meant_and_numbers_where_numbers_are():
    @dataclasses.dataclass(frozen=True)
    class Config:
        env: str = "catch"
        data: str = "digits"
        count: int = 1

    for change, message in (
        ({"env": {}}, "line: env must be a name of `renga list --envs`, or MODULE:NAME, got a dict"),
        ({"data": None}, "line: data must be a str, got a NoneType"),
        ({"count": "8"}, "line: count must be int, got '8'"),
    ):
        with pytest.raises(RunError, match=message):
            loop.check_config("line", Config(**change))


def test_a_module_in_place_of_a_function_and_a_class_in_place_of_a_config_are_said(unchecked, tmp_path):
    said = "make must be a function config -> (init, step), such as actor_critic.make, got "
    for function in (loop.run, functools.partial(loop.sweep, texts={})):
        name = getattr(function, "func", function).__name__
        for make, config, message in (
            (toy, toy.Config(), f"{name}: {said}the module {toy.__name__}"),
            (toy.make(toy.Config()), toy.Config(), f"{name}: {said}a tuple"),
            (toy.make, toy.Config, f"{name}: config must be a config such as Config(), got the class"),
        ):
            with pytest.raises(TypeError, match=re.escape(message)):
                function(make, config, steps=1, directory=tmp_path / "run")
    with pytest.raises(TypeError, match=r"iterate: step must be a function .*, got a module"):
        next(loop.iterate(toy, 0, steps=1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**31, (1.0, -math.inf)])
def test_a_config_is_of_numbers_that_devices_have(value):
    @dataclasses.dataclass(frozen=True)
    class Config:
        rate: object = value

    with pytest.raises(RunError, match=r"line: rate must be (finite|a number of 32 bits), got"):
        loop.check_config("line", Config())


def test_json_that_is_written_is_json(tmp_path):
    loop.write_json(tmp_path / "x.json", {"a": [math.nan, (math.inf, 1.5)]})
    assert json.loads((tmp_path / "x.json").read_text(), parse_constant=None) == {"a": ["nan", ["inf", 1.5]]}
