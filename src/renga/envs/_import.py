"""Imports what an adapter needs, on demand."""

import importlib
from types import ModuleType


def import_package(name: str, package: str | None = None) -> ModuleType:
    """Imports a module, or says which package has it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = package or name
        raise ImportError(f"renga.envs needs the package {package}: pip install {package}") from error
