"""The command `renga`."""

from renga.cli._main import main

__all__ = ["main"]
