"""Imports what an adapter needs, on demand."""

import importlib
from types import ModuleType

import jax


def import_package(name: str, package: str | None = None) -> ModuleType:
    """Imports a module, or says which package has it."""
    package = package or name
    try:
        with jax.ensure_compile_time_eval():  # some make arrays as they are imported, which are to be none of a trace
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == name.partition(".")[0]:
            raise ImportError(f"renga.envs needs the package {package}: pip install {package}") from error
        raise ImportError(
            f"renga.envs: the package {package} is installed, but it needs {missing}: pip install {missing}"
        ) from error
