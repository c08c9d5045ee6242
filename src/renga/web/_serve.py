"""Serving the application with uvicorn."""

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from renga.loop import RunError
from renga.web._app import make_app


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
    if not 0 <= port < 65_536:
        raise RunError(f"play: port must lie in 0 … 65535, got {port}")
    app = make_app(agent, local=is_local(host), **options)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise RunError(f"play: cannot listen at {host}, port {port}: {error}; --port takes another") from error
    with listening:
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{listening.getsockname()[1]}")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            ws="none",
            server_header=False,
            timeout_keep_alive=75,  # seconds: a move that meets a closing connection is lost
        )
        uvicorn.Server(config).run(sockets=[listening])


def is_local(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
