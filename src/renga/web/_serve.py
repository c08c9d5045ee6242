"""Serving applications with uvicorn."""

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from renga.loop import RunDirectory, RunError, SettingError
from renga.web._app import make_app
from renga.web._follow import follow_app


def serve(
    agent: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    announce: Callable[[str], None] = print,
    **options: Any,
) -> None:
    """Serves games against an agent until it is interrupted.

    Args:
      agent: a `renga.systems.muzero.Agent`.
      host: the address to listen at; only this machine can reach the default.
      port: to listen at; 0 for a free one.
      announce: told the address of the page.
      **options: of `make_app`.

    Raises:
      RunError: if it cannot listen there.
      ValueError: if `make_app` refuses.
    """
    _check_port("play", port)
    _listen("play", make_app(agent, local=is_local(host), **options), host, port, announce)


def serve_report(
    files: RunDirectory,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    announce: Callable[[str], None] = print,
) -> None:
    """Serves a run's report, which grows with the run, until it is interrupted.

    Args:
      files: the run.
      host: the address to listen at; only this machine can reach the default.
      port: to listen at; 0 for a free one.
      announce: told the address of the page.

    Raises:
      RunError: if it is no run, or cannot listen there.
    """
    _check_port("report", port)
    _listen("report", follow_app(files, local=is_local(host)), host, port, announce)


def _check_port(command: str, port: int) -> None:
    if not 0 <= port < 65_536:
        raise SettingError(f"{command}: port must lie in 0 … 65535, got {port}")


def _listen(command: str, app: Any, host: str, port: int, announce: Callable[[str], None]) -> None:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise RunError(f"{command}: cannot listen at {host}, port {port}: {error}; --port takes another") from error
    with listening:
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{listening.getsockname()[1]}")
        config = uvicorn.Config(
            app,
            log_config=None,  # its own would close the handlers of the program that calls this
            log_level="warning",
            access_log=False,
            ws="none",
            server_header=False,
            timeout_keep_alive=75,  # seconds: a request that meets a closing connection is lost
            timeout_graceful_shutdown=1,  # seconds: pages that listen for events do not go by themselves
        )
        uvicorn.Server(config).run(sockets=[listening])


def is_local(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
