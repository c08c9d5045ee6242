"""The errors for functions whose results do not fit where a loop or a branch puts them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def difference(a: Any, b: Any) -> tuple[str, str, str] | None:
    """The first place where two trees of arrays differ, and what is there; None if they agree.

    Example:
      >>> difference({"x": jnp.ones(2)}, {"x": jnp.ones(3)})
      ("['x']", 'float32[2]', 'float32[3]')
    """
    if jax.tree.structure(a) != jax.tree.structure(b):
        return "", str(jax.tree.structure(a)), str(jax.tree.structure(b))
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        if jnp.shape(x) != jnp.shape(y) or _dtype(x) != _dtype(y):
            return jax.tree_util.keystr(path), _words(x), _words(y)
    return None


def _dtype(x: Any) -> Any:
    return getattr(x, "dtype", None) or jnp.result_type(x)


def _words(x: Any) -> str:
    return f"{_dtype(x)}[{','.join(map(str, jnp.shape(x)))}]"


def branches_that_differ(who: str, labels: Sequence[str], outs: Sequence[Any]) -> TypeError | None:
    """The error for branches with unequal results, None if they are equal."""
    for label, out in zip(labels[1:], outs[1:], strict=True):
        found = difference(outs[0], out)
        if found is not None:
            path, first, other = found
            return TypeError(
                f"{who}: all branches must return arrays of the same structure, shapes and dtypes; {labels[0]} returns "
                f"{first}{f' at {path}' if path else ''}, {label} returns {other}"
            )
    return None


def loop_that_changes(who: str, what: str, step: Callable[..., Any], carry: Any, *args: Any) -> TypeError | None:
    """The error for a loop whose carry comes out of a step as another type, None if it does not."""
    found = difference(carry, jax.eval_shape(step, carry, *args))
    if found is None:
        return None
    path, first, other = found
    return TypeError(
        f"{who}: {what} must keep its structure, shapes and dtypes from step to step; it goes in as "
        f"{first}{f' at {path}' if path else ''} and comes out as {other}"
    )
