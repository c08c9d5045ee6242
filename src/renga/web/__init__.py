"""Pages for people: play against a trained agent and look into its search; follow a run while it goes on."""

from renga.web._app import make_app
from renga.web._follow import follow_app
from renga.web._serve import serve, serve_report

__all__ = ["follow_app", "make_app", "serve", "serve_report"]
