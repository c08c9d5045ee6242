"""Imports what an adapter needs, on demand."""

import importlib
from types import ModuleType


def import_package(name: str) -> ModuleType:
    """Imports a package, or says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"this environment needs the package {name}: pip install {name}") from error
