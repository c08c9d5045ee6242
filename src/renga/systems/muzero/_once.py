"""Programs that are compiled once for an environment, however often an agent is measured in it."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class _One:
    """A value that is equal to itself alone: an environment may hold arrays, which have no hash."""

    def __init__(self, value: Any):
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _One) and self.value is other.value


def once(make: Callable[P, R]) -> Callable[P, R]:
    """Lets `make(env, …)` make what it makes once for each environment, the very object, and each other argument."""

    @functools.lru_cache(maxsize=16)
    def kept(env: _One, *args: Any, **kwargs: Any) -> R:
        return make(env.value, *args, **kwargs)  # pyrefly: ignore

    @functools.wraps(make)
    def asked(env: Any, *args: Any, **kwargs: Any) -> R:
        return kept(_One(env), *args, **kwargs)

    return asked
