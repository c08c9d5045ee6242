"""Settings that hold in a thread or task, as context managers."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

_DEFAULTS: dict[str, Any] = {
    "check_jax_usage": True,
    "module_auto_repr": True,
    "rng_reserve_size": 1,
}
_settings: ContextVar[dict[str, Any]] = ContextVar("renga.nn settings")
_globals: dict[str, Any] = dict(_DEFAULTS)


def get(name: str) -> Any:
    """The value of a setting: of this context, or else of the process."""
    local = _settings.get(None)
    return _globals[name] if local is None or name not in local else local[name]


def set_globally(**settings: Any) -> None:
    """Sets values for the process."""
    _check(settings)
    _globals.update(settings)


def exchange(name: str, value: Any) -> Any:
    """Sets a value for the process; returns the one so far."""
    before = get(name)
    set_globally(**{name: value})
    return before


@contextlib.contextmanager
def local(**settings: Any) -> Iterator[None]:
    """Sets values inside a `with` block, in this thread or task only."""
    _check(settings)
    token = _settings.set({**(_settings.get(None) or {}), **settings})
    try:
        yield
    finally:
        _settings.reset(token)


def _check(settings: dict[str, Any]) -> None:
    for name in settings:
        if name not in _DEFAULTS:
            raise ValueError(f"config: {name!r} must be one of {', '.join(_DEFAULTS)}")
