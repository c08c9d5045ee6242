"""Processes meet, compare, and end together."""

import contextlib
import socket
import threading

import jax
import pytest

from renga import loop
from renga.loop import RunError, _peers, _run
from renga.loop._errors import WriteError

from . import toy
from .running import assert_same_bits, run, start


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.parametrize(
    "coordinator", ["127.0.0.1:abc", "127.0.0.1", ":80", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:²", "", "a b:1"]
)
def test_an_address_that_is_none_is_refused_before_jax_sees_it(coordinator):
    with pytest.raises(RunError, match="--coordinator"):
        loop.join_processes(coordinator, 2, 0)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [((0, 0), "--num-processes must be"), ((2, 2), "--process-id must be"), ((2, -1), "--process-id must be")],
)
def test_numbers_of_processes_that_do_not_fit_are_refused(numbers, message):
    with pytest.raises(RunError, match=message):
        loop.join_processes("127.0.0.1:1234", *numbers)


def test_waiting_has_an_end_that_says_who_did_not_come(monkeypatch):
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(RunError, match=f"process 0 did not answer within 0 s at {address}"):
        loop.join_processes(address, 2, 1, timeout=0.3)
    with pytest.raises(RunError, match=f"process 1, 2 did not come within 0 s at {address}"):
        loop.join_processes(address, 3, 0, timeout=0.3)


def test_waiting_is_said(capsys):
    with pytest.raises(RunError):
        loop.join_processes(f"127.0.0.1:{free_port()}", 2, 1, timeout=2.2)
    assert "renga: waiting for process 0 at 127.0.0.1" in capsys.readouterr().err


def test_a_port_in_use_is_said():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(RunError, match=f"process 0 cannot use the port .*{port}|cannot use the port"):
            loop.join_processes(f"127.0.0.1:{port}", 2, 0, timeout=1.0)


def together(num_processes, *talks):
    """Runs each process's part in a thread and returns what each returned or raised."""
    results = [None] * len(talks)

    def call(i):
        try:
            results[i] = talks[i]()
        except (RunError, _peers._LateError) as error:
            results[i] = error

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(talks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
        assert not thread.is_alive()
    return results


def meet(port, number, facts, count=3, claims=None):
    """The part of one process, without JAX's."""
    end = _peers.time.monotonic() + 3.0
    if number == 0:
        connections = _peers._gather("127.0.0.1", port, count, end)
    else:
        connections = _peers._find_coordinator("127.0.0.1", port, claims or count, number, end)
    peers = _peers._Peers(number, connections)
    everyone = peers.exchange(facts)
    peers.leave()
    _peers.compare(everyone)
    return everyone


def test_processes_that_are_the_same_go_on_and_strangers_are_ignored():
    port = free_port()

    def stranger():
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(b"\x00\x00\x00\x05hello")
                return
            _peers.time.sleep(0.02)

    facts = {"config.sizes": (1, 2), "seed": 0}
    results = together(3, *(lambda i=i: meet(port, i, facts) for i in range(3)), stranger)
    assert results[:3] == [[{"config.sizes": [1, 2], "seed": 0}] * 3] * 3


def test_processes_that_differ_are_refused_in_each_by_name():
    port = free_port()
    all_facts = [
        {"config.r1": 0.1, "version of jax": "1"},
        {"config.r1": 7.0, "version of jax": "1"},
        {"config.r1": 0.1},
    ]
    for error in together(3, *(lambda i=i: meet(port, i, all_facts[i]) for i in range(3))):
        assert "config.r1: process 0 has 0.1, process 1 has 7.0" in str(error)
        assert "version of jax: process 0 has '1', process 2 has 'nothing'" in str(error)


@pytest.mark.parametrize(
    ("second", "claims", "message"),
    [(1, None, "there is another process with --process-id 1"), (2, 4, "was started with --num-processes 4")],
)
def test_processes_that_do_not_fit_together_are_refused(second, claims, message):
    port = free_port()
    found = together(3, lambda: meet(port, 0, {}), lambda: meet(port, 1, {}), lambda: meet(port, second, {}, 3, claims))
    assert message in str(found[0])
    assert any(message in str(error) for error in found[1:])  # one may have come when process 0 had gone


def test_a_run_of_two_processes_goes_on_with_one_and_with_two_again_to_the_bit(tmp_path):
    directory = tmp_path / "run"

    def go_on(steps, *flags):
        address = f"127.0.0.1:{free_port()}"
        processes = [start(directory, steps, *flags, address, 2, i) for i in range(2)]
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors

    go_on(4)
    run(directory, steps=8, resume=True, num_devices=2, window=1)
    go_on(12, "--resume")
    init, _ = toy.make(toy.Config())
    step, state = loop.Checkpoints(directory / "checkpoints").load_newest(jax.eval_shape(init, jax.random.key(0)))
    assert step == 12
    assert_same_bits(state, run(tmp_path / "whole", num_devices=2).state)


@pytest.mark.parametrize(
    ("error", "is_the_reason"), [(RunError("so"), True), (WriteError("so"), False), (OSError(), False)]
)
def test_what_all_processes_do_together_may_have_failed_because_one_is_gone(error, is_the_reason, monkeypatch):
    said = []
    monkeypatch.setattr(_run, "fail", said.append)
    _run._on_error(type(error), error, None)
    assert said == [is_the_reason]
