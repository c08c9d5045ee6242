"""A run's report that grows while the run goes on: the page once, then each part that has changed."""

import asyncio
import html
import json
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import Route

from renga.loop import RunDirectory, RunError, report_page, report_parts

LOOK = 0.5  # seconds between looks at the files
QUIET = 15.0  # seconds after which a line is sent though nothing has changed, so that one who has gone is noticed
SCRIPT = """
const events = new EventSource("events");
events.onmessage = (event) => {
  for (const [name, part] of Object.entries(JSON.parse(event.data))) {
    const place = document.getElementById(name);
    const open = [...place.querySelectorAll("details[open] > summary")].map((summary) => summary.textContent);
    place.innerHTML = part;
    for (const summary of place.querySelectorAll("summary"))
      summary.parentElement.open = open.includes(summary.textContent);
  }
  document.body.classList.remove("pointing");
};
"""


def follow_app(files: RunDirectory, local: bool = True) -> Starlette:
    """Makes the application that shows a run as it goes on.

    Args:
      files: the run.
      local: whether only requests to this machine's own names are answered.

    Returns:
      An ASGI application: `/` is the page, `/events` its changes as server-sent events.

    Raises:
      RunError: if it is no run.

    Example:
      >>> import tempfile
      >>> from renga.loop import RunDirectory, write_json
      >>> from starlette.testclient import TestClient
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     files, loop = RunDirectory(directory), {"steps": 2, "seed": 0, "window": 1}  # as a run leaves it
      ...     write_json(files.path / "config.json", {"system": "lines", "config": {}, "loop": loop})
      ...     files.write_environment()
      ...     client = TestClient(follow_app(files), base_url="http://localhost")
      ...     "No metrics yet" in client.get("/").text
      True
    """
    files.read_config()

    async def show(request: Request) -> HTMLResponse:
        del request
        page = await asyncio.to_thread(report_page, files, SCRIPT)
        return HTMLResponse(page, headers={"Cache-Control": "no-store"})

    async def events(request: Request) -> StreamingResponse:
        return StreamingResponse(_changes(files, request), media_type="text/event-stream")

    hosts = ["127.0.0.1", "localhost", "[::1]"] if local else ["*"]
    return Starlette(
        routes=[Route("/", show), Route("/events", events)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
    )


async def _changes(files: RunDirectory, request: Request) -> AsyncIterator[str]:
    """What has changed, as events: parts of the page by name."""
    seen, shown, silent = None, {}, 0.0
    while not await request.is_disconnected():
        now = await asyncio.to_thread(_marks, files.path)
        if now != seen:
            try:
                parts = await asyncio.to_thread(lambda: report_parts(files, files.read_metrics()))
            except RunError as error:  # it is being written, or has gone
                parts = {"head": f"<p class='warning'>{html.escape(str(error))}</p>"}
            changed = {name: part for name, part in parts.items() if shown.get(name) != part}
            seen, shown, silent = now, {**shown, **parts}, 0.0
            yield f"data: {json.dumps(changed)}\n\n"
        elif silent >= QUIET:
            silent = 0.0
            yield ": nothing new\n\n"
        await asyncio.sleep(LOOK)
        silent += LOOK


def _marks(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of what the report is made from."""
    found = []
    for file in (*path.glob("*.json*"), *path.glob("episode.gif"), *path.glob("pictures/*/*.png")):
        try:
            about = file.stat()
        except OSError:  # it has just gone
            continue
        found.append((str(file), about.st_size, about.st_mtime_ns))
    return sorted(found)
