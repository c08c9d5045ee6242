"""The error for parameters that do not fit a function: every entry that is missing, or too many."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from renga.nn._errors import MissingParameterError


def explain(
    error: MissingParameterError,
    init: Callable[[Any, Any, Any], Any],
    params: Any,
    state: Any,
    args: Any,
    kwargs: Any,
) -> MissingParameterError:
    """Adds to an error what `init` would have made and what came.

    Args:
      error: says which entry was missed first.
      init: makes (params, state) from a key, args and kwargs.
      params: the parameters that came.
      state: the state that came.
      args: the arguments of the call.
      kwargs: the named arguments of the call.
    """
    try:
        key = jax.eval_shape(lambda: jax.random.key(0))
        expected = jax.eval_shape(lambda key: init(key, args, kwargs), key)
    except Exception:  # the function cannot be initialised on these arguments
        return MissingParameterError(str(error))
    lines = []
    for what, wanted, came in zip(("params", "state"), expected, (params, state), strict=True):
        lines += compare(what, wanted, came or {})
    return MissingParameterError(f"{error}.\n" + "\n".join(lines))


def compare(what: str, wanted: Any, came: Any) -> list[str]:
    """One line for every entry that is missing, superfluous or of another shape."""
    wanted, came = _shapes(wanted), _shapes(came)
    missing = [f"{k} {v}" for k, v in wanted.items() if k not in came]
    extra = [f"{k} {v}" for k, v in came.items() if k not in wanted]
    other = [f"{k} {came[k]}, expected {v}" for k, v in wanted.items() if k in came and came[k] != v]
    lines = []
    for title, entries in (
        (f"Missing from {what}", missing),
        (f"In {what}, but not used", extra),
        (f"Of another shape in {what}", other),
    ):
        if entries:
            lines.append(f"{title}:")
            lines += [f"  {entry}" for entry in entries]
    return lines


def _shapes(tree: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    found = {}
    for bundle, values in tree.items():
        for name, value in values.items():
            leaves = jax.tree.leaves_with_path(value)
            for path, leaf in leaves:
                key = f"{bundle}/{name}{jax.tree_util.keystr(path)}"
                found[key] = str(list(np.shape(leaf)))
    return found
