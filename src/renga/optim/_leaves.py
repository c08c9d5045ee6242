"""Arithmetic of one leaf, and its application to whole trees.

A transformation states its arithmetic once, as a function of one leaf; `@leafwise` compiles that function as a unit,
so that a tree of a thousand leaves with ten shapes is traced ten times and not a thousand. `jax.disable_jit()` makes
it plain Python again, for a debugger.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def leafwise(fn: Callable[..., Any] | None = None, *, flags: Sequence[str] = ()) -> Any:
    """Traces the arithmetic of a leaf once per shape and dtype; `flags` are its static arguments."""
    if fn is None:
        return functools.partial(leafwise, flags=flags)
    return jax.jit(fn, static_argnames=tuple(flags))


def map_leaves(name: str, fn: Callable[..., Any], outputs: int, tree: Any, *rest: Any) -> Any:
    """Applies `fn` to each leaf; several outputs of `fn` become several trees.

    Args:
      name: the public function, for the error.
      fn: function of one leaf of each tree, returning `outputs` leaves.
      outputs: number of trees that come out; 1 gives the tree itself, more a list.
      tree: the tree of updates.
      *rest: trees with the same structure (at each leaf of `tree` they may hold a subtree).

    Raises:
      ValueError: if a structure differs, listing the paths.
    """
    leaves, treedef = jax.tree.flatten(tree)
    columns = [leaves]
    for other in rest:
        try:
            columns.append(treedef.flatten_up_to(other))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(_mismatch(name, tree, other)) from error
    results = [fn(*row) for row in zip(*columns, strict=True)]
    if outputs == 1:
        return treedef.unflatten(results)
    trees = zip(*results, strict=True) if results else [()] * outputs
    return [treedef.unflatten(column) for column in trees]


def paths(tree: Any) -> list[str]:
    """The path of each leaf, as `encoder/w`."""
    return [path_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(tree)]


def path_name(path: Any) -> str:
    """A key path as `encoder/w`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _mismatch(name: str, tree: Any, other: Any) -> str:
    mine, theirs = paths(tree), paths(other)
    extra = [p for p in mine if p not in set(theirs)]
    missing = [p for p in theirs if p not in set(mine)]
    text = f"{name}: the updates must have the structure that `init` saw"
    if extra:
        text += f"; leaves only in the updates: {', '.join(extra[:8])}"
    if missing:
        text += f"; leaves only in the state or the parameters: {', '.join(missing[:8])}"
    if not (extra or missing):
        text += f", got {jax.tree.structure(tree)} and {jax.tree.structure(other)}"
    return text


def need_params(name: str, params: Any) -> None:
    """Raises if `update` was called without the parameters it needs."""
    if params is None:
        raise ValueError(
            f"{name}: this transformation needs the parameters; "
            "call update(updates, state, params) with params, got None"
        )


@jax.custom_jvp
def sqrt(x: jax.Array) -> jax.Array:
    """The square root, with derivatives 0 at 0 and where they would overflow.

    The infinite slope at 0 would meet a zero factor and make NaN.
    """
    return lax.sqrt(x)


@sqrt.defjvp
def _sqrt_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    tiny = jnp.abs(x) < 1e-24
    slope = jnp.where(tiny, 0, 0.5 / sqrt(jnp.where(tiny, 1, x)))
    return sqrt(x), slope.astype(x.dtype) * x_dot


@jax.custom_jvp
def rsqrt(x: jax.Array) -> jax.Array:
    """1 / √x, with derivatives 0 where they would overflow."""
    return lax.rsqrt(x)


@rsqrt.defjvp
def _rsqrt_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    tiny = jnp.abs(x) < 1e-15
    safe = jnp.where(tiny, 1, x)
    slope = jnp.where(tiny, 0, -0.5 * rsqrt(safe) / safe)
    return rsqrt(x), slope.astype(x.dtype) * x_dot


def abs_sq(x: jax.Array) -> jax.Array:
    """|x|², real for complex x, with a derivative at 0."""
    if jnp.iscomplexobj(x):
        return jnp.square(jnp.real(x)) + jnp.square(jnp.imag(x))
    return jnp.square(x)


def complement(decay: Any) -> Any:
    """1 - decay, exact to the last digit where the decay is a Python number."""
    return 1 - decay


def as_state_scalar(x: Any) -> jax.Array:
    """A scalar as it is kept in a state: of one dtype, so that loops can carry it."""
    return jnp.asarray(x, jnp.result_type(float))


def varying_like(constant: Any, data: Any) -> jax.Array:
    """A constant as the start of a loop whose carry will depend on `data`, as `shard_map` wants it marked."""
    any_of_it = jnp.ravel(data)[0] == 0
    return jnp.where(any_of_it, constant, constant)


def zeros_like(tree: Any, dtype: Any = None) -> Any:
    """Zeros shaped, typed and sharded as the tree."""
    return jax.tree.map(lambda x: jnp.zeros_like(x, dtype=dtype), tree)


def full_like(tree: Any, fill_value: Any, dtype: Any = None) -> Any:
    """Constant leaves shaped, typed and sharded as the tree."""
    return jax.tree.map(lambda x: jnp.full_like(x, fill_value, dtype=dtype), tree)


def real_vdot(tree: Any, other: Any) -> jax.Array:
    """Re Σ x̄ y over all leaves, summed in float32 at least."""

    def dot(x, y):
        wide = jnp.promote_types(jnp.result_type(x, y), jnp.float32)
        x, y = jnp.asarray(x, wide), jnp.asarray(y, wide)
        return jnp.real(jnp.vdot(x, y, precision=lax.Precision.HIGHEST))

    dots = map_leaves("vdot", dot, 1, tree, other)
    return sum(jax.tree.leaves(dots), jnp.zeros([], jnp.result_type(float)))


def copies(tree: Any) -> Any:
    """Arrays of their own, so that a state that remembers parameters can be donated together with them."""
    return jax.tree.map(lambda x: jnp.array(x, copy=True), tree)
