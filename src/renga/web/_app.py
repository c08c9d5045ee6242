"""The server: games, moves and analyses as JSON, and the page that shows them."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from renga.web import _views
from renga.web._rules import IllegalMoveError, Position, Rules
from renga.web._searcher import Analysis, BusyError, Searcher
from renga.web._store import GoneError, Store

LEVELS = (0, 8, 32, 128, 512)
MOST_BYTES = 16_384
BODY_SECONDS = 10.0
LISTED = 50
LOCAL = ("127.0.0.1", "localhost", "[::1]")

_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that cannot be answered: HTTP status, a word for programs, a sentence for people."""

    def __init__(self, status: int, code: str, message: str, **more: Any):
        super().__init__(message)
        self.status, self.code, self.more = status, code, more


def make_app(
    agent: Any, *, levels: Sequence[int] = LEVELS, batch: int = 8, games: int = 1000, local: bool = True
) -> Starlette:
    """Makes the application that serves games against an agent.

    Args:
      agent: a `renga.systems.muzero.Agent` of Connect Four or tic-tac-toe.
      levels: the numbers of simulations that a page offers; each is compiled at start.
      batch: how many positions are searched at once.
      games: how many are kept; the one that was longest unused is dropped.
      local: whether only requests to this machine's own names are answered, so that no other site's page can play.

    Returns:
      An ASGI application.

    Raises:
      ValueError: if the agent plays another game, or a number makes no sense.

    Example:
      >>> from starlette.testclient import TestClient
      >>> from renga.systems import muzero
      >>> config = muzero.Config(env="tic_tac_toe", units=8, blocks=1)
      >>> agent = muzero.Agent(config, params=None)  # a trained one is `muzero.load(path)`
      >>> client = TestClient(make_app(agent, levels=[0, 16]), base_url="http://localhost")
      >>> client.post("/api/games", json={"moves": [4]}).json()["position"]["board"]
      [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    """
    levels = sorted(set(levels))
    if not levels or levels[0] < 0:
        raise ValueError(f"play: levels must be numbers of simulations, 0 or more, got {levels}")
    for name, value in (("batch", batch), ("games", games)):
        if value < 1:
            raise ValueError(f"play: {name} must be 1 or more, got {value}")
    rules = Rules(agent.env)
    server = _Server(rules, Searcher(agent, rules.beginning, levels, batch), Store(games), agent.config.simulations)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        server.searcher.start()
        yield
        await asyncio.to_thread(server.searcher.stop)

    return Starlette(
        routes=[
            Route("/", server.page),
            Route("/api/status", server.guarded(server.status, local)),
            Route("/api/games", server.guarded(server.listed, local), methods=["GET"]),
            Route("/api/games", server.guarded(server.begin, local), methods=["POST"]),
            Route("/api/games/{name}", server.guarded(server.show, local), methods=["GET"]),
            Route("/api/games/{name}/moves", server.guarded(server.move, local), methods=["POST"]),
            Route("/api/games/{name}/agent", server.guarded(server.reply, local), methods=["POST"]),
            Route("/api/games/{name}/undo", server.guarded(server.undo, local), methods=["POST"]),
            Route("/api/games/{name}/analysis", server.guarded(server.analysis, local), methods=["GET"]),
            Route("/api/games/{name}/tree", server.guarded(server.tree, local), methods=["GET"]),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _unexpected},
        lifespan=lifespan,
    )


class _Server:
    def __init__(self, rules: Rules, searcher: Searcher, store: Store, trained: int):
        self.rules, self.searcher, self.store = rules, searcher, store
        self.default = min(searcher.levels, key=lambda level: abs(level - trained))
        self.html = resources.files("renga.web").joinpath("page.html").read_text(encoding="utf-8")

    def guarded(self, handler: Callable[[Request], Awaitable[Any]], local: bool) -> Callable[..., Awaitable[Response]]:
        """Turns what a handler returns into JSON, and what it raises into an error in JSON."""

        async def answer(request: Request) -> Response:
            try:
                host = request.headers.get("host", "").lower()
                if local and host.removesuffix(f":{host.rpartition(':')[2]}") not in LOCAL and host not in LOCAL:
                    raise RefusedError(
                        421, "wrong_host", f"this server answers to {', '.join(LOCAL)} only; start it with --host"
                    )
                return JSONResponse(await handler(request), headers={"Cache-Control": "no-store"})
            except RefusedError as error:
                return _error(error.status, error.code, str(error), **error.more)
            except IllegalMoveError as error:
                return _error(422, "illegal_move", str(error))
            except GoneError as error:
                return _error(*((410, "game_dropped") if error.dropped else (404, "no_such_game")), str(error))
            except BusyError as error:
                return _error(503, "busy", str(error))
            except ClientDisconnect:  # nobody reads the answer
                return _error(400, "disconnected", "the request was cut")
            except Exception as error:
                return await _unexpected(request, error)

        return answer

    async def page(self, request: Request) -> Response:
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        headers = {
            "Content-Security-Policy": policy + "img-src data:; frame-ancestors 'none'; base-uri 'none'",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return HTMLResponse(self.html, headers=headers)

    async def status(self, request: Request) -> dict[str, Any]:
        rules, game = self.rules, self.rules.game
        return {
            "ready": self.searcher.ready.is_set() and self.searcher.failure is None,
            "failure": self.searcher.failure,
            "game": {
                "name": rules.name,
                "title": game.title,
                "kind": game.kind,
                "rows": rules.rows,
                "columns": rules.columns,
                "actions": rules.action_names(),
            },
            "levels": self.searcher.levels,
            "default": self.default,
            "games": len(self.store),
        }

    async def listed(self, request: Request) -> dict[str, Any]:
        found = []
        for moves in self.store.newest(LISTED):
            position = self.rules.position(moves)
            found.append({"moves": moves, "over": position.over, "winner": position.winner})
        return {"games": found}

    async def begin(self, request: Request) -> dict[str, Any]:
        moves = (await _body(request, moves=[]))["moves"]
        if not isinstance(moves, list) or not all(type(move) is int for move in moves):
            raise RefusedError(400, "bad_request", "moves must be a list of integers")
        position = self.rules.position(tuple(moves))
        return self._view(self.store.add(position.moves))

    async def show(self, request: Request) -> dict[str, Any]:
        name = request.path_params["name"]
        return self._view(name, self._at(request, self.store.moves(name)))

    async def move(self, request: Request) -> dict[str, Any]:
        body = await _body(request, action=..., ply=...)
        name, moves = self._current(request, body["ply"])
        self.store.replace(name, self.rules.position((*moves, _integer(body, "action"))).moves)
        return self._view(name)

    async def reply(self, request: Request) -> dict[str, Any]:
        body = await _body(request, ply=..., simulations=self.default)
        name, moves = self._current(request, body["ply"])
        analysis = await self._analyse(self.rules.position(moves), self._level(body["simulations"]))
        if self.store.moves(name) != moves:  # while it thought
            raise self._late(name)
        self.store.replace(name, self.rules.position((*moves, analysis.action)).moves)
        return self._view(name)

    async def undo(self, request: Request) -> dict[str, Any]:
        body = await _body(request, ply=..., to=...)
        name, moves = self._current(request, body["ply"])
        to = _integer(body, "to")
        if not 0 <= to < len(moves):
            raise RefusedError(422, "bad_undo", f"to must be one of the {len(moves)} earlier plies, got {to}")
        self.store.replace(name, moves[:to])
        return self._view(name)

    async def analysis(self, request: Request) -> dict[str, Any]:
        return _views.analysis_view(*await self._asked(request))

    async def tree(self, request: Request) -> dict[str, Any]:
        path = [_query_integer("path", part) for part in request.query_params.get("path", "").split(",") if part]
        position, analysis = await self._asked(request)
        if analysis.tree is None:
            raise RefusedError(422, "no_tree", "with 0 simulations there is no tree")
        view = _views.node_view(self.rules, position, analysis, path)
        if view is None:
            raise RefusedError(404, "no_such_node", f"path {path} was not searched")
        return view

    async def _asked(self, request: Request) -> tuple[Position, Analysis]:
        """The position that a query names by `ply`, and what `simulations` find there."""
        position = self.rules.position(self._at(request, self.store.moves(request.path_params["name"])))
        level = request.query_params.get("simulations")
        return position, await self._analyse(
            position, self.default if level is None else self._level(_query_integer("simulations", level))
        )

    async def _analyse(self, position: Position, level: int) -> Analysis:
        if position.over:
            raise RefusedError(422, "game_over", "the game is over: there is nothing to search")
        if self.searcher.failure is not None:
            raise RefusedError(500, "no_search", "the search could not be compiled; the server's log says why")
        # Others may wait for the same future: one that goes away must not take it along.
        return await asyncio.shield(asyncio.wrap_future(self.searcher.submit(position, level)))

    def _current(self, request: Request, ply: Any) -> tuple[str, tuple[int, ...]]:
        """Name and moves of a game, if it stands where the request believes."""
        name = request.path_params["name"]
        moves = self.store.moves(name)
        if type(ply) is not int:
            raise RefusedError(400, "bad_request", "ply must be an integer: the number of moves made so far")
        if ply != len(moves):
            raise self._late(name)
        return name, moves

    def _late(self, name: str) -> RefusedError:
        view = self._view(name)
        return RefusedError(409, "late", f"the game has gone on: it stands at ply {len(view['moves'])}", game=view)

    def _level(self, simulations: Any) -> int:
        if type(simulations) is not int or simulations not in self.searcher.levels:
            offered = ", ".join(map(str, self.searcher.levels))
            raise RefusedError(422, "bad_simulations", f"simulations must be one of {offered}")
        return simulations

    def _at(self, request: Request, moves: tuple[int, ...]) -> tuple[int, ...]:
        ply = _query_integer("ply", request.query_params.get("ply", str(len(moves))))
        if not 0 <= ply <= len(moves):
            raise RefusedError(422, "bad_ply", f"ply must be one of 0 … {len(moves)}, got {ply}")
        return moves[:ply]

    def _view(self, name: str, shown: tuple[int, ...] | None = None) -> dict[str, Any]:
        moves = self.store.moves(name)
        position = self.rules.position(moves if shown is None else shown)
        return {"id": name, "moves": moves, "position": _views.position_view(position)}


async def _body(request: Request, **fields: Any) -> dict[str, Any]:
    """Reads a JSON object with these fields; `...` marks those that must be there."""
    # A page of another site can post a form, but not this type without asking first.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "not_json", "the body must be of type application/json")
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > MOST_BYTES:
                    raise RefusedError(413, "too_large", f"the body must have at most {MOST_BYTES} bytes")
    except TimeoutError:
        raise RefusedError(408, "too_slow", f"the body must arrive within {BODY_SECONDS:.0f} seconds") from None
    try:
        body = json.loads(bytes(raw))
    except (ValueError, RecursionError):
        raise RefusedError(400, "bad_json", "the body must be JSON") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "bad_request", "the body must be a JSON object")
    needed = {name for name, default in fields.items() if default is ...}
    if needed - set(body) or set(body) - set(fields):
        raise RefusedError(400, "bad_request", f"the body must have {', '.join(sorted(fields))}, and nothing else")
    return {name: body.get(name, default) for name, default in fields.items()}


def _integer(body: dict[str, Any], name: str) -> int:
    if type(body[name]) is not int:
        raise RefusedError(400, "bad_request", f"{name} must be an integer")
    return body[name]


def _query_integer(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise RefusedError(400, "bad_request", f"{name} must be an integer, 0 or more")
    return int(text)


def _error(status: int, code: str, message: str, **more: Any) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}, **more}, status_code=status)


async def _http_error(request: Request, error: Exception) -> Response:
    """For a path or a method that there is not."""
    assert isinstance(error, HTTPException)
    words = {404: ("no_such_page", "there is nothing at this address"), 405: ("no_such_method", "not with this method")}
    return _error(error.status_code, *words.get(error.status_code, ("refused", error.detail)))


async def _unexpected(request: Request, error: Exception) -> Response:
    """What went wrong stands in the log, not in the answer."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error(500, "failed", "something went wrong on the server; its log says what")
