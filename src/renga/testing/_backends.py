"""Which backends may compile, and how many CPU devices there are."""

import contextlib
import functools
from collections.abc import Generator, Iterable
from typing import Any

import jax

_COMPILING = ("compile", "compile_and_load", "deserialize_executable")
_ALIASES = {"cuda": "gpu", "rocm": "gpu"}


class RestrictedBackendError(RuntimeError):
    """A program was to be compiled for a backend that is not allowed."""


@contextlib.contextmanager
def restrict_backends(
    *, allowed: Iterable[str] | None = None, forbidden: Iterable[str] | None = None
) -> Generator[None, None, None]:
    """While open, refuses to compile programs for some backends.

    Finds operations that run on the CPU unseen beside an accelerator. A program that is compiled already runs.

    Args:
      allowed: the only backends for which to compile: "cpu", "gpu", "tpu".
      forbidden: backends for which not to compile.

    Raises:
      RestrictedBackendError: a RuntimeError, where a program for such a backend would be compiled.
      ValueError: if neither is given, or one backend is in both.

    Example:
      >>> with restrict_backends(allowed=["cpu", "gpu", "tpu"]):
      ...     y = jax.jit(lambda x: x + 1)(1)
    """
    names = lambda given: {given} if isinstance(given, str) else set(given or ())
    yes, no = names(allowed), names(forbidden)
    if allowed is None and forbidden is None:
        raise ValueError("restrict_backends: needs allowed or forbidden, got neither")
    if yes & no:
        raise ValueError(f"restrict_backends: {sorted(yes & no)} is both allowed and forbidden")

    def judge(platform: str) -> None:
        own = {platform, _ALIASES.get(platform, platform)}
        if own & no or (allowed is not None and not own & yes):
            rule = f"allowed are {sorted(yes)}" if allowed is not None else f"forbidden are {sorted(no)}"
            raise RestrictedBackendError(f"restrict_backends: a program for the backend {platform!r}, and {rule}")

    # All of JAX compiles through the client of a backend: one place that sees each program and its platform.
    clients = {type(jax.devices(name)[0].client) for name in _platforms()}
    with contextlib.ExitStack() as stack:
        for kind in clients:
            for method in _COMPILING:
                if hasattr(kind, method):
                    stack.enter_context(_guarded(kind, method, judge))
        yield


def _platforms() -> list[str]:
    found = []
    for name in ("cpu", "gpu", "tpu"):
        with contextlib.suppress(RuntimeError):
            jax.devices(name)
            found.append(name)
    return found


@contextlib.contextmanager
def _guarded(kind: Any, method: str, judge: Any) -> Generator[None, None, None]:
    original = getattr(kind, method)

    @functools.wraps(original)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        judge(self.platform)
        return original(self, *args, **kwargs)

    setattr(kind, method, guarded)
    try:
        yield
    finally:
        setattr(kind, method, original)


def set_n_cpu_devices(n: Any = None) -> None:
    """Makes JAX show a number of CPU devices. Call it before the first computation.

    Args:
      n: the number of devices; None leaves it as it is.

    Raises:
      RuntimeError: if JAX has started already.

    Example:
      >>> set_n_cpu_devices()
    """
    if n is None:
        return
    try:
        jax.config.update("jax_num_cpu_devices", n)
    except (RuntimeError, TypeError, ValueError) as error:
        raise RuntimeError(
            f"set_n_cpu_devices: n = {n!r} cannot be set: call it before JAX computes for the first time"
        ) from error
