"""Several processes as one run: they say at the start what they are about to do, and end together.

Each process keeps a connection to process 0, at the coordinator's port. They meet there before JAX's service starts,
which answers a mistake by ending the process with a stack. The operating system closes a connection when a process
ends, however it ends, so that the others know at once and not after a time-out.
"""

import atexit
import contextlib
import json
import os
import queue
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from renga.loop._errors import RunError, SettingError
from renga.loop._progress import say

SHOWN_WITHIN = 10.0  # seconds that a file system of a network may take to show a file to another machine
GRACE = 2.0  # seconds that a process has to say for itself what has ended another one
_LIMIT = 1 << 24  # bytes of a message
_peers: "_Peers | None" = None


def split_address(coordinator: str) -> tuple[str, int]:
    """Splits `host:port`, and finds the host.

    Raises:
      RunError: if it is no such thing, or nobody knows the host.
    """
    host, colon, port = coordinator.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (colon and host and port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise SettingError(f"--coordinator must be host:port with a port in [1, 65535], got {coordinator!r}")
    try:
        socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RunError(f"--coordinator {coordinator!r}: there is no host {host!r} ({error})") from error
    return host, int(port)


def join(
    coordinator: str,
    num_processes: int,
    process_id: int,
    timeout: float,
    facts: dict[str, Any],
    start: Callable[[], None] | None = None,
) -> None:
    """Meets the other processes, then starts JAX's service.

    Args:
      coordinator: `host:port` of process 0.
      num_processes: how many processes there are.
      process_id: which one this is.
      timeout: how many seconds to wait for the others.
      facts: by name, what must be the same in all processes for JAX to work.
      start: starts JAX's service; by default with these numbers.

    Raises:
      RunError: if the others do not come in time, or are not the same.
    """
    global _peers
    host, port = split_address(coordinator)
    end = time.monotonic() + timeout
    others = f"process 0 at {coordinator}" if process_id else f"the other {num_processes - 1} processes"
    waiting = threading.Timer(2.0, say, [f"renga: waiting for {others}, for {timeout:.0f} s at most"])
    waiting.daemon = True
    waiting.start()
    try:
        if process_id:
            connections = _find_coordinator(host, port, num_processes, process_id, end)
        else:
            connections = _gather(host, port, num_processes, end)
    except _LateError as error:
        raise RunError(f"{error} within {timeout:.0f} s at {coordinator}") from error
    finally:
        waiting.cancel()
    _peers = _Peers(process_id, connections)
    try:
        compare(_peers.exchange(facts))
    except RunError:
        _peers.leave()  # all of them know
        _peers = None
        raise
    start() if start else jax.distributed.initialize(coordinator, num_processes, process_id)
    atexit.register(_leave)  # runs before JAX's own end, which was registered earlier


class _LateError(Exception):
    """Who did not come."""


def _find_coordinator(host: str, port: int, num_processes: int, process_id: int, end: float) -> dict[int, Any]:
    """Connects to process 0, as soon as it is there."""
    while time.monotonic() < end:
        try:
            connection = socket.create_connection((host, port), timeout=min(max(end - time.monotonic(), 0.1), 5.0))
        except OSError:
            time.sleep(0.1)
            continue
        try:
            connection.settimeout(max(end - time.monotonic(), 0.1))
            _send(connection, {"renga": process_id, "of": num_processes})
            answer = _receive(connection)
        except OSError:
            answer = None
        if answer is not None and answer.get("welcome"):
            return {0: connection}
        connection.close()
        if answer is not None and "refused" in answer:
            raise RunError(f"process 0 at {host}:{port} cannot go on: {answer['refused']}")
        time.sleep(0.1)
    raise _LateError("process 0 did not answer")


def _gather(host: str, port: int, num_processes: int, end: float) -> dict[int, Any]:
    """Lets the other processes connect."""
    found: dict[int, Any] = {}
    try:
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        server = socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6)
    except OSError as error:
        raise RunError(f"--coordinator {host}:{port}: process 0 cannot use the port ({error})") from error
    with server:
        try:
            while len(found) < num_processes - 1:
                missing = ", ".join(str(i) for i in range(1, num_processes) if i not in found)
                server.settimeout(max(end - time.monotonic(), 0.001))
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    raise _LateError(f"process {missing} did not come") from None
                _greet(connection, num_processes, found)
        except (RunError, _LateError) as error:
            for connection in found.values():
                with contextlib.suppress(OSError):
                    _send(connection, {"refused": str(error)})
                connection.close()
            raise
    for connection in found.values():
        _send(connection, {"welcome": True})
    return found


def _greet(connection: socket.socket, num_processes: int, found: dict[int, Any]) -> None:
    """Takes a process in, or says why not; who does not speak as we do is a stranger, and is let go."""
    connection.settimeout(5.0)
    try:
        hello = _receive(connection) or {}
    except OSError:
        hello = {}
    number = hello.get("renga")
    if type(number) is not int:
        connection.close()
        return
    reason = None
    if hello.get("of") != num_processes:
        reason = f"process {number} was started with --num-processes {hello.get('of')}, process 0 with {num_processes}"
    elif not 0 < number < num_processes or number in found:
        reason = f"there is another process with --process-id {number}"
    found[number if reason is None else -1] = connection
    if reason is not None:
        raise RunError(reason)


def meet(facts: dict[str, Any]) -> None:
    """Compares what the processes are about to do.

    Args:
      facts: by name, what must be the same in all processes.

    Raises:
      RunError: in each process, if they differ, naming what differs.
    """
    if _peers is not None:
        _peers.exchange(facts, compare)


def compare(everyone: list[dict[str, Any]]) -> None:
    """Says what differs between the processes."""
    problems = []
    for process, other in enumerate(everyone):
        for name in sorted(set(everyone[0]) | set(other)):
            first, second = everyone[0].get(name, "nothing"), other.get(name, "nothing")
            if first != second:
                problems.append(f"{name}: process 0 has {first!r}, process {process} has {second!r}")
    if problems:
        listed = "\n  ".join(problems[:20])
        raise RunError(f"the processes of a run must be the same but for --process-id:\n  {listed}")


def all_find(path: Path) -> None:
    """Checks that all processes have one and the same directory: that they find there what process 0 puts there.

    Args:
      path: the directory; process 0 can write to it.

    Raises:
      RunError: in each process, naming those that do not find it.
    """
    if _peers is None:
        return
    token = path / f".shared-{secrets.token_hex(8)}" if not _peers.me else None
    try:
        if token is not None:
            token.touch()
        name = _peers.exchange({"token": token and token.name})[0]["token"]
        _peers.exchange({"found": _appears(path / name)}, lambda everyone: _refuse_blind(path, everyone))
    finally:
        if token is not None:
            token.unlink(missing_ok=True)


def _refuse_blind(path: Path, everyone: list[dict[str, Any]]) -> None:
    blind = [str(process) for process, said in enumerate(everyone) if not said["found"]]
    if blind:
        raise RunError(
            f"{path} must be one directory that all processes share: "
            f"process {', '.join(blind)} does not find there what process 0 wrote"
        )


def _appears(path: Path) -> bool:
    """Whether a file is there, or soon will be."""
    end = time.monotonic() + SHOWN_WITHIN
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def fail(knows_why: bool) -> None:
    """Ends the other processes: this one cannot go on. Does nothing where there are none.

    Args:
      knows_why: whether what it is about to say is the reason. Else it may be that another process is gone.
    """
    if _peers is not None:
        _peers.fail(knows_why)


def _leave() -> None:
    """Says good-bye at the end of the process, and waits for the others, of which process 0 may be measuring."""
    if _peers is None:
        return
    if _peers.failed:  # JAX's own end would wait for the others
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(1)
    _peers.leave()


class _Peers:
    """The connections of this process: one to each other process for process 0, one to process 0 for the others."""

    def __init__(self, me: int, connections: dict[int, socket.socket]) -> None:
        self.failed = False
        self.me, self._connections = me, connections
        self._inbox: dict[int, queue.Queue] = {process: queue.Queue() for process in connections}
        self._threads = []
        for process, connection in connections.items():
            connection.settimeout(None)
            _keep_alive(connection)
            thread = threading.Thread(target=self._listen, args=(process,), name="renga.peers", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _listen(self, process: int) -> None:
        """Runs in a thread until the other process has said good-bye."""
        while True:
            try:
                message = _receive(self._connections[process])
            except OSError:
                message = None
            if message is None:
                time.sleep(0.0 if self.failed else GRACE)
            if message is None and not self.failed:
                say(f"renga: process {process} of this run has ended, so process {self.me} ends too")
                os._exit(1)
            if message is None or "bye" in message:
                return
            # Before anybody reads it: the other one may be gone by then, for the same reason that this one will give.
            self.failed = self.failed or message.get("refused", False)
            self._inbox[process].put(message)

    def exchange(
        self, facts: dict[str, Any], check: Callable[[list[dict[str, Any]]], None] = lambda everyone: None
    ) -> list[dict[str, Any]]:
        """Returns what each process says.

        Args:
          facts: what this one says.
          check: raises a RunError, the same in each process, if they cannot go on with that.
        """
        facts = json.loads(json.dumps(facts))  # so that tuples are lists, as they are for the others
        if self.me:
            _send(self._connections[0], {"said": facts})
            everyone = self._inbox[0].get()["said"]
            check(everyone)
            return everyone
        everyone = [facts, *(self._inbox[process].get()["said"] for process in sorted(self._inbox))]
        try:
            check(everyone)
        except RunError:
            self.failed = True
        for connection in self._connections.values():
            _send(connection, {"said": everyone, "refused": self.failed})
        check(everyone)
        return everyone

    def fail(self, knows_why: bool) -> None:
        if not knows_why:  # a thread that finds that another process is gone says so, and ends this one
            time.sleep(GRACE + 0.5)
        self.failed = True
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                _send(connection, {"bye": True})
        for thread in self._threads:
            thread.join()
        for connection in self._connections.values():
            connection.close()


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    connection.sendall(len(data).to_bytes(4, "big") + data)


def _receive(connection: socket.socket) -> dict[str, Any] | None:
    """Returns the next message, or None if the other end is closed or does not speak as we do."""
    head = _exactly(connection, 4)
    size = int.from_bytes(head, "big")
    if len(head) < 4 or size > _LIMIT:
        return None
    try:
        message = json.loads(_exactly(connection, size))
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _exactly(connection: socket.socket, size: int) -> bytes:
    return b"".join(_blocks(connection, size))


def _blocks(connection: socket.socket, size: int) -> Iterator[bytes]:
    while size and (block := connection.recv(min(size, 1 << 16))):
        size -= len(block)
        yield block


def _keep_alive(connection: socket.socket) -> None:
    """Asks the system to notice within half a minute that a machine has vanished."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
