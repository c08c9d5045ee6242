"""The systems of the talk, each one readable file or folder.

A system is a module with

    Config                            a frozen dataclass; the comments beside its fields are the command's help
    STEPS                             how many steps to train when nobody says
    make(config) -> (init, step)      `init(key) -> state`, `step(state) -> (state, metrics)`, both pure

and, if it likes,

    PRESETS                           {name: (config, steps)}, for `--preset NAME`
    pictures(config) -> (state -> {name: image})
    advise(config, metrics) -> {kind: text}, what about the config cannot go well, seen from the metrics of a window
    evaluate(config, state, *, …) -> {measure: number or image}; what stands after the star are options of `renga eval`
    export(config, state, path)       writes what was learned to a file
    load(path) -> agent               what was learned, from the directory of a run or from such a file, as an object
"""

import importlib
import pkgutil
from types import ModuleType

from renga import __version__ as __version__


def names() -> list[str]:
    """Returns the names of all systems.

    Example:
      >>> "dqn" in names(), "muzero" in names()
      (True, True)
    """
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def get(name: str) -> ModuleType:
    """Imports a system by name.

    Raises:
      KeyError: if there is none of that name.

    Args:
      name: one of `names()`.

    Returns:
      Its module, with `Config` and `make`.

    Example:
      >>> dqn = get("dqn")
      >>> dqn.__name__, dqn.Config(env="catch").env
      ('renga.systems.dqn', 'catch')
    """
    if name not in names():
        if not name:
            raise KeyError("the run was made by a program that named no system: pass system= to loop.run") from None
        raise KeyError(f"there is no system {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


__all__ = ["get", "names"]
