"""Renga: the JAX ecosystem of "JAX at DeepMind" as one package.

Each library is imported by itself and brings no other along:

    from renga import nn, optim, rl, search, dist, testing

or, after `import renga`, when it is first used: `renga.nn`.
"""

__version__ = "0.1.0"

_LIBRARIES = ("data", "dist", "envs", "graph", "loop", "nn", "optim", "rl", "search", "systems", "testing", "web")


def __getattr__(name: str):
    if name in _LIBRARIES:
        from importlib import import_module

        return import_module(f"renga.{name}")
    raise AttributeError(f"module 'renga' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*(name for name in globals() if not name.startswith("_")), "__version__", *_LIBRARIES]
