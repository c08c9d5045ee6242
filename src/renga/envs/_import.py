"""What the adapters to other packages say when a package or a name is missing."""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

import jax

_EXTRAS = {"gymnasium": "envs", "gymnax": "envs", "pgx": "all"}  # of Renga, which bring the package


def check_name(adapter: str, name: str, known: Iterable[str]) -> None:
    """Checks that a package has an environment.

    Raises:
      ValueError: naming the nearest names, or all if there is none like it.

    Example:
      >>> check_name("Pgx", "ches", ["chess", "go_9x9"])
      Traceback (most recent call last):
      ValueError: Pgx: name must be that of an environment, got 'ches'; did you mean 'chess'?
    """
    known = list(known)
    if name in known:
        return
    lower = {one.lower(): one for one in known}
    near = [lower[one] for one in difflib.get_close_matches(name.lower(), lower, n=2)]
    meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else f"; there are {', '.join(sorted(known))}"
    raise ValueError(f"{adapter}: name must be that of an environment, got {name!r}{meant}")


def import_package(name: str, package: str | None = None) -> ModuleType:
    """Imports a module, or says which package has it."""
    package = package or name
    try:
        with jax.ensure_compile_time_eval():  # some make arrays as they are imported, which are to be none of a trace
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == name.partition(".")[0]:
            install = f"'renga[{_EXTRAS[package]}]'" if package in _EXTRAS else package
            raise ModuleNotFoundError(
                f"renga.envs needs the package {package}: pip install {install}", name=package
            ) from error
        raise ImportError(
            f"renga.envs: the package {package} is installed, but it needs {missing}: pip install {missing}"
        ) from error
