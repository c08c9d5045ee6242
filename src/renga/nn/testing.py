"""Helpers for tests of functions that use modules."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp  # noqa: F401 (examples)

from renga.nn._transform import transform_with_state

__all__ = ["transform_and_run"]


def transform_and_run(
    f: Callable[..., Any] | None = None,
    seed: int | None = 42,
    run_apply: bool = True,
    jax_transform: Callable[..., Any] | None = None,
    *,
    map_rng: Callable[[Any], Any] | None = None,
) -> Callable[..., Any]:
    """Transforms a function and runs `init` and `apply` when it is called; a decorator for tests.

    Args:
      f: a function that uses modules; a decorator is returned if None.
      seed: of the random key of `init`; that of `apply` is from seed + 1. None for no keys.
      run_apply: whether `apply` is run, and its result returned; else None is.
      jax_transform: applied to `init` and `apply`, such as `jax.jit`.
      map_rng: applied to each key, say to split it for a mapped axis.

    Returns:
      A function with the arguments and the result of `f`.

    Example:
      >>> from renga import nn
      >>> @transform_and_run
      ... def test_linear_keeps_the_batch():
      ...     return nn.Linear(3)(jnp.ones([2, 5])).shape
      >>> test_linear_keeps_the_batch()
      (2, 3)
    """
    if f is None:
        return functools.partial(
            transform_and_run,
            seed=seed,
            run_apply=run_apply,
            jax_transform=jax_transform,
            map_rng=map_rng,
        )

    function = f

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        keys = (None, None) if seed is None else (jax.random.PRNGKey(seed), jax.random.PRNGKey(seed + 1))
        if seed is not None and map_rng is not None:
            keys = map_rng(keys[0]), map_rng(keys[1])
        init, apply = transform_with_state(lambda *a: function(*a, **kwargs))
        if jax_transform is not None:
            init, apply = jax_transform(init), jax_transform(apply)
        params, state = init(keys[0], *args)
        if not run_apply:
            return None
        return apply(params, state, keys[1], *args)[0]

    return run
