"""A run keeps what it makes, resumes to the same bits, and says what is wrong."""

import functools
import json
import os
import re
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import loop, systems
from renga.loop import RunDirectory, RunError
from renga.loop._subject import name_of

from . import toy
from .running import assert_same_bits, run, start, wait_for


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of twelve steps that nothing stopped."""
    return run(tmp_path_factory.mktemp("whole") / "run")


def test_a_run_is_the_same_as_a_python_loop_over_the_step(whole):
    init, step = toy.make(toy.Config())
    state = jax.jit(init)(jax.random.key(0))
    losses = []
    for _ in range(12):
        state, metrics = jax.jit(step)(state)
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(state.w, whole.state.w, rtol=1e-5)
    written = [row["loss"] for row in RunDirectory(whole.directory).read_metrics()]
    np.testing.assert_allclose(written, losses, rtol=1e-4)


def test_a_run_writes_its_files(whole):
    files = RunDirectory(whole.directory)
    loop.write_report(files)
    assert files.read_config()["config"]["batch_size"] == 8
    environment = json.loads((whole.directory / "env.json").read_text())
    assert {"versions", "devices", "command", "commit", "python"} <= set(environment)
    rows = files.read_metrics()
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert {"loss", "norm/w", "seconds"} <= set(rows[0])
    assert list((whole.directory / "tensorboard").glob("events*"))
    report = (whole.directory / "report.html").read_text()
    assert "aria-label='loss against steps: " in report
    assert "http" not in report.replace("http-equiv", "")  # self-contained
    assert (whole.finished, whole.step) == (True, 12)


def test_a_run_has_the_name_of_its_makes_module_unless_another_is_given(tmp_path):
    assert [name_of(systems.get(name).make) for name in systems.names()] == systems.names()
    assert name_of(lambda config: toy.make(config)) == "", "no `make` of a module"
    settings = {"steps": 1, "num_devices": 1, "show": False, "directory": tmp_path / "run"}
    files = RunDirectory(tmp_path / "run")
    loop.run(functools.partial(toy.make), toy.Config(), **settings)
    assert files.read_config()["system"] == ""
    message = f"must be a run of {toy.__name__}, but config.json names no system: pass system='{toy.__name__}' to loop"
    with pytest.raises(RunError, match=re.escape(message)):
        loop.restore(files, toy)
    loop.run(toy.make, toy.Config(), resume=True, **settings)
    assert files.read_config()["system"] == toy.__name__
    assert loop.restore(files, toy)[1] == 1
    loop.run(toy.make, toy.Config(), system="own", **settings | {"directory": tmp_path / "own"})
    loop.run(toy.make, toy.Config(), resume=True, **settings | {"directory": tmp_path / "own"})
    assert RunDirectory(tmp_path / "own").read_config()["system"] == "own"


def test_five_steps_saved_and_loaded_and_seven_more_are_twelve_to_the_bit(whole, tmp_path):
    run(tmp_path / "run", steps=5)
    resumed = run(tmp_path / "run", steps=12, resume=True)
    assert_same_bits(resumed.state, whole.state)
    rows = RunDirectory(tmp_path / "run").read_metrics()
    expected = RunDirectory(whole.directory).read_metrics()
    assert [r | {"seconds": 0} for r in rows] == [r | {"seconds": 0} for r in expected]


def test_how_steps_are_cut_into_chunks_does_not_change_a_bit(whole):
    init, step = toy.make(toy.Config())
    for seconds, window, marks in [(0.0, 1, ()), (10.0, 5, (3, 7))]:
        state = jax.jit(init)(jax.random.key(0))
        updates = list(loop.iterate(step, state, steps=12, window=window, marks=marks, seconds=seconds, donate=False))
        assert_same_bits(updates[-1].state, whole.state)
        assert updates[-1].step == 12


def test_the_state_that_went_in_stays_valid_and_may_share_arrays():
    w = jnp.arange(3.0)
    (update,) = loop.iterate(lambda s: ((s[0] + 1, s[1]), {}), (w, w), steps=2, window=2)
    np.testing.assert_array_equal(update.state[0], [2.0, 3.0, 4.0])
    np.testing.assert_array_equal(w, [0.0, 1.0, 2.0])


def test_the_step_is_traced_once_however_many_chunks_there_are():
    traces = []

    def step(n):
        traces.append(n)
        return n + 1, {"n": n}

    updates = list(loop.iterate(step, jnp.int32(0), steps=50, window=3, marks=[10, 20], seconds=0.0))
    assert updates[-1].step == 50
    assert len(updates) > 5
    assert len(traces) <= 3  # once for the metrics' shapes, once for the loop, and its check


@pytest.mark.parametrize("stops", [(3,), (4, 7), (5, 9)])
def test_metrics_are_the_same_wherever_a_run_is_stopped_within_a_window(stops, tmp_path):
    expected = run(tmp_path / "whole", steps=12, window=4)
    for i, stop in enumerate((*stops, 12)):

        def pictures(state, stop=stop):
            if int(state.step) == stop < 12:
                signal.raise_signal(signal.SIGTERM)
            return {}

        settings = {"pictures": pictures, "num_pictures": 12, "window": 4 if i == 0 else None}
        last = run(tmp_path / "run", steps=12, resume=i > 0, **settings)
        assert (last.step, last.finished) == (stop, stop == 12)
    assert_same_bits(last.state, expected.state)
    rows, want = (RunDirectory(tmp_path / name).read_metrics() for name in ("run", "whole"))
    assert [r["step"] for r in rows] == [4, 8, 12]
    assert [r | {"seconds": 0} for r in rows] == [r | {"seconds": 0} for r in want]


def test_metrics_are_the_same_if_a_run_is_made_longer_than_it_was(tmp_path):
    run(tmp_path / "run", steps=5, window=4)
    run(tmp_path / "run", steps=5, resume=True)  # nothing is left to do
    assert [r["step"] for r in RunDirectory(tmp_path / "run").read_metrics()] == [4, 5]
    run(tmp_path / "run", steps=12, resume=True)
    run(tmp_path / "whole", steps=12, window=4)
    rows, want = (RunDirectory(tmp_path / name).read_metrics() for name in ("run", "whole"))
    assert [r | {"seconds": 0} for r in rows] == [r | {"seconds": 0} for r in want]


def test_a_process_that_is_killed_loses_at_most_the_work_since_the_last_checkpoint(tmp_path):
    process = start(tmp_path / "run", 100_000_000)
    checkpoints = tmp_path / "run" / "checkpoints"
    wait_for(lambda: checkpoints.is_dir() and any(p.name.isdigit() for p in checkpoints.iterdir()))
    process.kill()
    process.communicate()
    saved = loop.Checkpoints(checkpoints).steps()[-1]
    resumed = run(tmp_path / "run", steps=saved + 40, resume=True)
    assert_same_bits(resumed.state, run(tmp_path / "other", steps=saved + 40, window=2000).state)


@pytest.mark.parametrize("number", [signal.SIGHUP])
def test_a_signal_finishes_the_chunk_saves_and_ends_well(number, tmp_path):
    process = start(tmp_path / "run", 100_000_000)
    wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists() and RunDirectory(tmp_path / "run").read_metrics())
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    done = int(output.split()[1])
    assert output.split()[2] == "False"
    assert f"renga: {number.name}: ends after the steps at hand" in errors
    assert json.loads((tmp_path / "run" / "status.json").read_text())["signal"] == number
    assert loop.Checkpoints(tmp_path / "run" / "checkpoints").steps()[-1] == done


@pytest.mark.parametrize("damage", ["truncate", "flip", "no manifest"])
def test_a_torn_checkpoint_is_skipped_with_a_warning(damage, whole, tmp_path, caplog):
    run(tmp_path / "run", steps=5)
    run(tmp_path / "run", steps=9, resume=True)
    newest = tmp_path / "run" / "checkpoints" / "9"
    if damage == "no manifest":
        (newest / "manifest.json").unlink()
    else:
        for file in [p for p in newest.rglob("d/*") if p.is_file()]:  # the arrays' bytes
            data = bytearray(file.read_bytes())
            if damage == "truncate":
                data = data[: len(data) // 2]
            else:
                data[len(data) // 2] ^= 0xFF
            file.write_bytes(bytes(data))
    resumed = run(tmp_path / "run", steps=12, resume=True)
    assert "skipped the torn checkpoint of step 9" in caplog.text
    assert_same_bits(resumed.state, whole.state)


def test_a_config_that_differs_is_refused_by_field_unless_told(tmp_path):
    run(tmp_path / "run", steps=2)
    other = toy.Config(learning_rate=0.1)
    with pytest.raises(RunError, match=r"learning_rate: saved 0\.05, given 0\.1") as error:
        run(tmp_path / "run", steps=4, resume=True, config=other)
    assert "batch_size" not in str(error.value)
    assert run(tmp_path / "run", steps=4, resume=True, config=other, override=True).step == 4


def test_a_state_that_does_not_fit_is_refused_by_name(tmp_path):
    run(tmp_path / "run", steps=2)

    def make(config):
        init, step = toy.make(config)
        return lambda key: init(key)._replace(w=jnp.zeros(4)), step

    with pytest.raises(RunError, match=r"w is float32\[3\], expected float32\[4\]"):
        loop.run(make, toy.Config(), steps=4, directory=tmp_path / "run", resume=True, num_devices=1, show=False)


def test_a_directory_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write to the run directory"):
        run(tmp_path / "file" / "run")
    run(tmp_path / "run", steps=1)
    with pytest.raises(RunError, match="already holds a finished run"):
        run(tmp_path / "run", steps=1)
    with pytest.raises(RunError, match="there is no directory .*other"):
        run(tmp_path / "other", steps=1, resume=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match="is not the directory of a run: it holds no config.json"):
        run(tmp_path / "other", steps=1, resume=True)


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    run(tmp_path / "run", steps=3)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    checkpoints = loop.Checkpoints(tmp_path / "run" / "checkpoints")
    with pytest.raises(RunError, match=r"No space left on device; the last complete checkpoint is of step 3"):
        checkpoints.save(4, {"x": jnp.zeros(3)})
    assert checkpoints.steps() == [3]


def test_debug_nans_names_the_step_the_metric_and_the_operation(tmp_path):
    with pytest.raises(
        RunError, match=r"step 8 made loss non-finite: .*nan.* in log.*|step 8 made loss.*toy\.py"
    ) as error:
        run(tmp_path / "run", config=toy.Config(bad_step=7), debug_nans=True)
    assert "jnp.log(poison)" in str(error.value)


def test_without_debug_nans_a_warning_says_what_to_do(tmp_path, caplog):
    assert run(tmp_path / "run", steps=9, config=toy.Config(bad_step=7)).finished
    assert "loss is not finite; --debug-nans" in caplog.text
    assert RunDirectory(tmp_path / "run").read_metrics()[7]["loss"] == "nan"


def test_a_metric_that_is_no_scalar_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"metric 'x' must be a scalar, got shape \(3,\)"):
        list(loop.iterate(lambda s: (s, {"x": jnp.zeros(3)}), jnp.int32(0), steps=1))


def test_two_devices_give_the_numbers_of_one(whole, tmp_path):
    two = run(tmp_path / "run", num_devices=2)
    assert len(two.state.w.sharding.device_set) == 2
    np.testing.assert_allclose(two.state.w, whole.state.w, rtol=1e-5)


def test_a_batch_that_does_not_divide_by_the_devices_is_refused(tmp_path):
    with pytest.raises(RunError, match="a batch of 7 does not divide by 2 devices"):
        run(tmp_path / "run", config=toy.Config(batch_size=7), num_devices=2)
    with pytest.raises(RunError, match=r"--devices must be in \[1, 2\], got 3"):
        run(tmp_path / "other", num_devices=3)


def test_pictures_are_made_evenly_and_shown_in_the_report(tmp_path):
    def pictures(state):
        return {"weights": np.full((4, 4), int(state.step), np.uint8)}

    result = run(tmp_path / "run", steps=10, pictures=pictures, num_pictures=2)
    assert [step for step, _ in RunDirectory(result.directory).pictures()["weights"]] == [0, 5, 10]
    assert "weights at step 10" in (result.directory / "report.html").read_text()


def test_plain_lines_are_printed_where_there_is_no_terminal(tmp_path, capsys):
    run(tmp_path / "run", show=True)
    assert "step 12/12" in capsys.readouterr().err


def test_advice_is_said_once_a_kind(tmp_path, caplog):
    def advise(metrics):
        return {"low": f"the loss is {metrics['loss']:.1f}"} if "loss" in metrics else {"none": "no loss"}

    run(tmp_path / "run", steps=3, advise=advise)
    (said,) = [record.getMessage() for record in caplog.records if "by step" in record.getMessage()]
    assert said.startswith("by step 1: the loss is")


def test_how_large_a_state_is_is_said_before_it_is_made(capsys):
    from renga.loop import _devices

    large = {"replay": jax.ShapeDtypeStruct((1 << 28,), jnp.float32), "x": jax.ShapeDtypeStruct((), jnp.float32)}
    _devices.require_memory(large, show=True)
    assert "the state takes 1.00 GiB of" in capsys.readouterr().err
    with pytest.raises(
        RunError, match=r"the state takes 1,048,576.00 GiB, and a device has .* largest: replay float32"
    ):
        _devices.require_memory({"replay": jax.ShapeDtypeStruct((1 << 48,), jnp.float32)})


def test_a_chunk_is_compiled_once_on_several_devices_too(tmp_path, caplog):
    def make(config):
        del config
        step = lambda state: ({"x": loop.shard_batch(state["x"]) + 1, "none": None}, {"x": state["x"][0]})
        return lambda key: {"x": jnp.zeros(4), "none": None}, step

    with jax.log_compiles(), caplog.at_level("WARNING"):
        result = run(tmp_path / "run", make=make, steps=6, window=1, num_devices=2)
    assert len([r for r in caplog.records if "Finished XLA compilation of jit(steps)" in r.getMessage()]) == 1
    assert result.state["x"].sharding.is_fully_replicated


def test_time_goes_on_where_a_run_does(tmp_path):
    run(tmp_path / "run", steps=3)
    path = tmp_path / "run" / "metrics.jsonl"
    rows = [json.loads(line) | {"seconds": 100.0} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(tmp_path / "run", steps=5, resume=True)
    seconds = [row["seconds"] for row in RunDirectory(tmp_path / "run").read_metrics()]
    assert seconds[:3] == [100.0] * 3
    assert all(x >= 100.0 for x in seconds[3:])


def test_a_state_that_no_checkpoint_can_hold_is_refused_before_it_is_trained(tmp_path):
    def make(config):
        return lambda key: {"w": {"b": jnp.zeros((0, 3))}}, lambda state: (state, {"loss": jnp.float32(0)})

    for settings in ({}, {"seeds": 2}):
        with pytest.raises(
            loop.RunError, match=r"w/b of the state is float32\[(2, )?0, 3\]: no checkpoint holds an array"
        ):
            loop.run(make, toy.Config(), steps=1, directory=tmp_path / "run", show=False, **settings)
    assert not (tmp_path / "run" / "checkpoints").exists() or not list((tmp_path / "run" / "checkpoints").iterdir())


def test_compilation_that_takes_long_shows_how_long(monkeypatch, capsys):
    from renga.loop import _progress

    monkeypatch.setattr(_progress, "PATIENCE", 0.01)
    monkeypatch.setattr(_progress.sys.stderr, "isatty", lambda: False, raising=False)
    said, end = "", time.monotonic() + 20
    with _progress.Progress(0, 1) as progress:
        while "compiling (0 s)\n" not in said:
            assert time.monotonic() < end
            said += capsys.readouterr().err
        progress.update(1, {"loss": 1.0})
        capsys.readouterr()
        time.sleep(0.05)
        assert "compiling" not in capsys.readouterr().err


def test_time_left_leaves_compilation_out(monkeypatch, capsys):
    from renga.loop import _progress

    now = iter([0.0, 60.0, 62.0, 70.0])  # made; compiled and a step; four steps
    monkeypatch.setattr(_progress.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(_progress.sys.stderr, "isatty", lambda: False, raising=False)
    with _progress.Progress(0, 100, every=0.0) as progress:
        progress.update(1, {"loss": 1.0, "env_steps": 1024.0})
        progress.update(5, {"loss": 1.0})
        progress.update(21, {"loss": 1.0, "env_steps": 1024.0, "episode_return": 0.0, "episode_length": 0.0})
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "compiling"
    assert said.pop(1) == "100 steps = 102,400 environment steps"
    assert said[1] == "step 1/100  60 s with compilation  loss 1", "no speed, of which the compiler has most"
    assert said[2] == "step 5/100  2.00 steps/s  48 s left  loss 1"
    assert said[3] == "step 21/100  2.00 steps/s  2,048 environment steps/s  40 s left  loss 1"
