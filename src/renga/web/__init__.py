"""Pages for people: play against a trained agent, and look into its search."""

from renga.web._app import make_app
from renga.web._serve import serve

__all__ = ["make_app", "serve"]
