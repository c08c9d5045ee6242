"""Arrays of parameters and values: floats, ranks that fit, sixteen bits."""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from renga._core.ranges import check_range

_HALVES = frozenset(map(jnp.dtype, (jnp.bfloat16, jnp.float16)))


@functools.cache
def is_floating(dtype: Any) -> bool:
    """Whether a dtype is one of floats; remembered, because NumPy and JAX take their time."""
    return jnp.issubdtype(dtype, jnp.floating)


def as_float(x: ArrayLike) -> Array:
    """Returns x as an array of a floating dtype; integers become the default float.

    What is known stays known under `jit`, so that a wrong number is refused there too.
    """
    if not isinstance(x, jax.Array):
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x))
        with contextlib.nullcontext() if traced else jax.ensure_compile_time_eval():
            x = jnp.asarray(x)
    return x if is_floating(x.dtype) else x.astype(jnp.result_type(float))


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape; quick where they are all the same, but for scalars."""
    given = {shape for shape in shapes if shape}
    return jnp.broadcast_shapes(*given) if len(given) > 1 else (*given, ())[0]


def broadcast_shape(function: str, **arguments: Any) -> tuple[int, ...]:
    """Returns the common shape, or says which arguments do not broadcast."""
    try:
        return broadcast_shapes(*(np.shape(x) for x in arguments.values()))
    except ValueError:
        shapes = " and ".join(f"{name} {np.shape(x)}" for name, x in arguments.items())
        raise ValueError(f"{function}: shapes must broadcast, got {shapes}") from None


def to_rank(x: Any, rank: int) -> Array:
    """Adds leading axes of size 1."""
    x = x if isinstance(x, jax.Array) else jnp.asarray(x)
    return x.reshape((1,) * (rank - x.ndim) + x.shape) if x.ndim < rank else x


def align(*arrays: ArrayLike) -> list[Array]:
    """Gives arrays one rank by leading axes of size 1, so that they broadcast without rank promotion.

    Raises:
      ValueError: if they do not broadcast.
    """
    try:
        jnp.broadcast_shapes(*(np.shape(x) for x in arrays))
    except ValueError:
        shapes = ", ".join(str(np.shape(x)) for x in arrays)
        raise ValueError(f"dist: values and parameters must have shapes that broadcast, got {shapes}") from None
    rank = max(np.ndim(x) for x in arrays)
    return [to_rank(x, rank) for x in arrays]


def add(x: Any, y: Any) -> Array:
    """x + y, of arrays of any ranks that broadcast."""
    x, y = align(x, y)
    return x + y


def is_half(x: Any) -> bool:
    """Whether x is an array of 16-bit floats."""
    return getattr(x, "dtype", None) in _HALVES


def widen(tree: Any) -> Any:
    """The tree with float32 in place of 16-bit floats."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if is_half(x) else x, tree)


def _leaves(tree: Any) -> Any:
    """The leaves of a tree; those of an array or a family quickly."""
    if isinstance(tree, jax.Array):
        return (tree,)
    parameters = getattr(tree, "_parameters", dict)()
    return [x for x, _ in parameters.values()] if parameters else jax.tree.leaves(tree)


def narrow_dtype(*trees: Any) -> Any:
    """The 16-bit dtype that arithmetic of these arrays results in, or None if it is another."""
    leaves = [x for tree in trees for x in _leaves(tree) if hasattr(x, "dtype")]
    if not any(map(is_half, leaves)):
        return None
    dtype = jnp.result_type(*(x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)))
    return dtype if dtype in (jnp.bfloat16, jnp.float16) else None


def narrowed(tree: Any, dtype: Any) -> Any:
    """Rounds the floats of a tree to `dtype`, unless that is None."""
    if dtype is None:
        return tree
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def one_of(function: str, logits: Any, probs: Any) -> None:
    """Checks that exactly one of the two is given."""
    if (logits is None) == (probs is None):
        got = "neither" if logits is None else "both"
        raise ValueError(f"{function}: give exactly one of logits and probs, got {got}")


def check_logits(function: str, logits: Any) -> None:
    """Checks that no logit is known to be NaN."""
    check_range(function, finite=False, logits=logits)


def check_sample_dtype(function: str, dtype: Any, boolean: bool = False) -> np.dtype:
    """Checks the dtype of samples, and returns it as JAX has it; `boolean`: all of them are 0 or 1."""
    real = jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)
    if not (real or (boolean and jnp.issubdtype(dtype, jnp.bool_))):
        raise ValueError(f"{function}: dtype must be a real number{' or boolean' if boolean else ''}, got {dtype}")
    return jax.dtypes.canonicalize_dtype(dtype)
