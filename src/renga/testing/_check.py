"""One check, with one message, in and out of compiled programs."""

import functools
import re
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jaxtyping import ArrayLike

from renga.testing._assertion import enabled, is_chexifying, is_traced

_lock = threading.Lock()
_raised: list["CheckError"] = []


class CheckError(AssertionError):
    """A `check` that failed."""


def check(pred: ArrayLike | Callable[[], ArrayLike], message: str, **values: Any) -> None:
    """Raises an error with values if a condition does not hold, in compiled programs too.

    Outside of `jit`, CheckError (an AssertionError) is raised at once; inside, when the program runs. There JAX wraps
    the error: `jax.errors.JaxRuntimeError`, whose text ends with the same message. `checked` gives back the bare
    CheckError, and inside of `chexify` it is an AssertionError with that message. Under `vmap` the error shows the
    values of the lane that failed. After `disable_asserts()` nothing of it is in the program: the jaxpr is that of the
    function without it.

    Args:
      pred: a boolean, an array of which all must be true, or a function that returns one of these. The function is
        not called while checks are off, so that not even the comparison is traced.
      message: what must hold, or what is wrong. `{name}` puts in a value.
      **values: what to show: arrays, or anything with a `repr`.

    Raises:
      CheckError: if not all of `pred` is true.

    Example:
      >>> @jax.jit
      ... def normalise(p):
      ...     check(p.sum() > 0, "the sum must be positive", p=p)
      ...     return p / p.sum()
      >>> normalise(jnp.array([1.0, 3.0]))
      Array([0.25, 0.75], dtype=float32)
      >>> check(1 > 2, "step {n} must go up", n=3)
      Traceback (most recent call last):
      renga.testing._check.CheckError: step 3 must go up (n = 3)
    """
    if not enabled():
        return
    held: Any = pred() if callable(pred) else pred
    if not is_traced(held):
        if not np.all(np.asarray(held)):
            raise CheckError(_text(message, {name: _Shown(x) for name, x in values.items()}))
        return
    dynamic = {name: x for name, x in values.items() if is_traced(x) or isinstance(x, jax.Array | np.ndarray)}
    static = {name: x for name, x in values.items() if name not in dynamic}
    ok = jnp.all(held)
    if is_chexifying():
        _check_by_checkify(ok, message, values, dynamic)
        return
    fail = functools.partial(_fail, message, static, tuple(values))
    # The callback runs only where the condition fails; `vmap` turns the branch into a selection, so it looks again.
    jax.lax.cond(ok, lambda _: None, lambda x: jax.debug.callback(fail, ok, **x), dynamic)


def _check_by_checkify(ok: Any, message: str, values: dict[str, Any], dynamic: dict[str, Any]) -> None:
    """Leaves what is known only at run time to checkify's own formatting."""
    arrays = {name: x for name, x in dynamic.items() if isinstance(x, jax.Array | np.ndarray)}
    shown = {name: _Later(name) if name in arrays else _Shown(x, escape=True) for name, x in values.items()}
    given: dict[str, Any] = {n: jax.random.key_data(x) if _is_key(x) else jnp.asarray(x) for n, x in arrays.items()}
    checkify.check(ok, _text(message, shown, escape=True), **given)


def _fail(message: str, static: dict, order: tuple[str, ...], ok: Any, **dynamic: Any) -> None:
    if np.all(ok):
        return
    values = static | dynamic
    error = CheckError(_text(message, {name: _Shown(values[name]) for name in order}))
    with _lock:
        _raised.append(error)
    raise error


class _Later:
    """Stands for a value that checkify puts in."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __format__(self, spec: str) -> str:
        return f"{{{self.name}:{spec}}}" if spec else f"{{{self.name}}}"


class _Shown:
    """Writes a value for a message: arrays on one line, without `Array(...)`."""

    def __init__(self, x: Any, escape: bool = False) -> None:
        self.x, self.escape = x, escape

    def __format__(self, spec: str) -> str:
        text = format(self.x, spec) if spec else _show(self.x)
        return text.replace("{", "{{").replace("}", "}}") if self.escape else text


class _Leaf:
    """An array in a tree."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __repr__(self) -> str:
        return _show(self.x)


def _show(x: Any) -> str:
    if isinstance(x, jax.core.Tracer):
        x = jax.lax.stop_gradient(x)  # within `grad` alone the value is known
    if isinstance(x, jax.core.Tracer):
        return f"{x.dtype}{list(x.shape)}"
    if not isinstance(x, jax.Array | np.ndarray | np.generic):
        whole = jax.tree.leaves(x)
        plain = not whole or whole[0] is x
        return repr(x) if plain else repr(jax.tree.map(_Leaf, x))
    if _is_key(x):
        x = jax.random.key_data(x)  # pyrefly: ignore[bad-argument-type]
    x = np.asarray(x)
    if x.ndim == 0:
        return str(x[()])
    return np.array2string(x, separator=", ", threshold=20, max_line_width=10**6).replace("\n", "")


_FIELD = re.compile(r"\{\{|\}\}|\{(\w+)(?::([^{}]*))?\}")


def _text(message: str, shown: dict[str, Any], escape: bool = False) -> str:
    """Puts values into `{name}`; other braces stay, doubled ones become single where there are names."""
    known = lambda m: m[1] in shown
    is_template = any(map(known, _FIELD.finditer(message)))
    single = {"{{": "{", "}}": "}"} if is_template else {}
    parts, end = [], 0
    for m in _FIELD.finditer(message):
        parts += [_keep(message[end : m.start()], escape)]
        parts += [format(shown[m[1]], m[2] or "") if known(m) else _keep(single.get(m[0], m[0]), escape)]
        end = m.end()
    listed = ", ".join(f"{name} = {x}" for name, x in shown.items())
    return "".join([*parts, _keep(message[end:], escape)]) + (f" ({listed})" if listed else "")


def _keep(text: str, escape: bool) -> str:
    return text.replace("{", "{{").replace("}", "}}") if escape else text


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def checked(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a compiled function so that a `check` that fails in it raises the bare CheckError.

    The call waits until the result is there.

    Args:
      fn: a function, such as one made by `jax.jit`.

    Returns:
      A function with the arguments and the result of `fn`.

    Raises:
      CheckError: by the returned function.

    Example:
      >>> @checked
      ... @jax.jit
      ... def root(x):
      ...     check(x >= 0, "x must not be negative", x=x)
      ...     return jnp.sqrt(x)
      >>> root(-4.0)
      Traceback (most recent call last):
      renga.testing._check.CheckError: x must not be negative (x = -4.0)
    """

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        with _lock:
            _raised.clear()
        try:
            return effects_done(fn(*args, **kwargs))
        except CheckError as error:
            found = error  # of a function that is not compiled
            with _lock:
                _raised.clear()
        except jax.errors.JaxRuntimeError:
            with _lock:
                found = _raised[0] if _raised else None
                _raised.clear()
            if found is None:
                raise
        raise CheckError(*found.args)

    return run


def effects_done(tree: Any) -> Any:
    """Waits for the arrays of a tree and for the callbacks that made them."""
    tree = jax.block_until_ready(tree)
    jax.effects_barrier()
    return tree
