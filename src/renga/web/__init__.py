"""Pages for people: play against a trained agent and look into its search; follow a run while it goes on."""

from renga import __version__ as __version__
from renga._core import packages as _packages

_packages.check_installed("renga.web", "starlette", "uvicorn")

from renga.web._app import make_app  # noqa: E402
from renga.web._follow import follow_app  # noqa: E402
from renga.web._serve import serve, serve_report  # noqa: E402

__all__ = ["follow_app", "make_app", "serve", "serve_report"]
