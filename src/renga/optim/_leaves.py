"""Arithmetic of one leaf, and its application to whole trees.

A transformation states its arithmetic once, as a function of one leaf; `@leafwise` compiles that function as a unit,
so that a tree of a thousand leaves with ten shapes is traced ten times and not a thousand. `jax.disable_jit()` makes
it plain Python again, for a debugger.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

try:
    from jax.experimental.shard_alike import shard_alike
except ImportError:  # JAX from 0.11 on

    def shard_alike(x: Any, y: Any) -> tuple[Any, Any]:
        """Makes y an element-wise result of x, which the compiler shards as x before it sees that y is constant."""
        return x, jnp.where(x != x, y, y)


T = TypeVar("T")


def leafwise(fn: Callable[..., Any] | None = None, *, flags: Sequence[str] = ()) -> Any:
    """Traces the arithmetic of a leaf once per shape and dtype; `flags` are its static arguments."""
    if fn is None:
        return functools.partial(leafwise, flags=flags)
    return jax.jit(fn, static_argnames=tuple(flags))


STEPPED = ("updates", "the state or the parameters")  # what `update` compares


def map_leaves(
    name: str,
    fn: Callable[..., Any],
    outputs: int,
    tree: Any,
    *rest: Any,
    free: Sequence[int] = (),
    like: Any = None,
    fresh: int = 1,
    of: tuple[str, str] = STEPPED,
) -> Any:
    """Applies `fn` to each leaf; several outputs of `fn` become several trees.

    A leaf of `tree` may be None where the others have one, a parameter without a gradient: the update is None there,
    and the state stays as it was.

    Args:
      name: the public function, for the error.
      fn: function of one leaf of each tree, returning `outputs` leaves.
      outputs: number of trees that come out; 1 gives the tree itself, more a list.
      tree: the tree of updates.
      *rest: trees with the same structure (at each leaf of `tree` they may hold a subtree) and the same shapes.
      free: those of `rest` whose shapes are of their own.
      like: a tree of which structure and shapes are compared only; None for none.
      fresh: number of outputs that are not the new form of one of `rest`; those after them are, in order.
      of: what `tree` is, and what the others are, for the error.

    Raises:
      ValueError: if a structure or a shape differs, listing the paths.
    """
    leaves, treedef = jax.tree.flatten(tree)
    others = rest if like is None else (*rest, like)
    try:
        columns = [treedef.flatten_up_to(other) for other in others]
    except (ValueError, TypeError, KeyError):
        leaves, treedef = jax.tree.flatten(tree, is_leaf=_is_none)
        columns = [_flatten_up_to(name, tree, treedef, other, of) for other in others]
    for i, column in enumerate(columns):
        if i not in free and not all(map(_fits, leaves, column)):
            raise ValueError(_misfit(name, tree, leaves, column, of))
    if of == STEPPED:
        leaves = [leaf if leaf is None else as_float(leaf) for leaf in leaves]
    rows = zip(leaves, *columns[: len(rest)], strict=True)
    results = [fn(*row) if row[0] is not None else _without_gradient(row, outputs, fresh) for row in rows]
    if outputs == 1:
        return treedef.unflatten(results)
    trees = zip(*results, strict=True) if results else [()] * outputs
    return [treedef.unflatten(column) for column in trees]


def map_pairs(name: str, fn: Callable[..., Any], *trees: Any, exact: bool = False) -> Any:
    """`jax.tree.map`, with an error that names function and path where shapes do not broadcast (or do not agree)."""

    def leaf(path, *parts):
        shapes = [jnp.shape(x) for x in parts if x is not None]
        if len(set(shapes)) > 1 and (exact or not _broadcast(shapes)):
            at = f" at {path_name(path)}" if path else ""
            fit = "the same shape" if exact else "shapes that broadcast"
            raise ValueError(f"{name}: the leaves{at} must have {fit}, got {' and '.join(map(str, shapes))}")
        return fn(*parts)

    return jax.tree_util.tree_map_with_path(leaf, *trees)


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> bool:
    rank = max(map(len, shapes))
    columns = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    return all(len(set(sizes) - {1}) <= 1 for sizes in columns)


def check_alike(name: str, tree: Any, other: Any, of: tuple[str, str]) -> None:
    """Raises unless two trees have one structure and the same shapes; see `map_leaves`."""
    map_leaves(name, lambda x, _: x, 1, tree, other, of=of)


def _is_none(x: Any) -> bool:
    return x is None


def _without_gradient(row: Sequence[Any], outputs: int, fresh: int) -> Any:
    parts = (*[None] * fresh, *row[1 : 1 + outputs - fresh])
    return parts[0] if outputs == 1 else parts


def _flatten_up_to(name: str, tree: Any, treedef: Any, other: Any, of: tuple[str, str]) -> list[Any]:
    try:
        return treedef.flatten_up_to(other)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(_mismatch(name, tree, other, of)) from error


def _shape(x: Any) -> tuple[int, ...] | None:
    """The shape of an array; () of a number; None for what is neither, such as a subtree."""
    shape = getattr(x, "shape", None)
    return () if shape is None and isinstance(x, int | float | complex) else shape


def _fits(leaf: Any, other: Any) -> bool:
    if leaf is None:
        return True
    mine, theirs = _shape(leaf), _shape(other)
    return other is not None and (mine is None or theirs is None or mine == theirs)


def _misfit(name: str, tree: Any, leaves: list[Any], column: list[Any], of: tuple[str, str]) -> str:
    """What does not fit, by path."""
    where = [path_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_none)]
    if len(where) != len(leaves):
        where = paths(tree)
    wrong = [
        f"{f'at {path} ' if path else ''}expected {'nothing' if other is None else _shape(other)}, got {_shape(leaf)}"
        for path, leaf, other in zip(where, leaves, column, strict=True)
        if not _fits(leaf, other)
    ]
    return f"{name}: the {of[0]} must have the shapes of {of[1]}: {'; '.join(wrong[:8])}"


def paths(tree: Any) -> list[str]:
    """The path of each leaf, as `encoder/w`."""
    return [path_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(tree)]


def path_name(path: Any) -> str:
    """A key path as `encoder/w`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _mismatch(name: str, tree: Any, other: Any, of: tuple[str, str]) -> str:
    mine, theirs = paths(tree), paths(other)
    extra = [p for p in mine if p not in set(theirs)]
    missing = [p for p in theirs if p not in set(mine)]
    whose = "that `init` saw" if of == STEPPED else f"of {of[1]}"
    text = f"{name}: the {of[0]} must have the structure {whose}"
    if extra:
        text += f"; leaves only in the {of[0]}: {', '.join(extra[:8])}"
    if missing:
        text += f"; leaves only in {of[1]}: {', '.join(missing[:8])}"
    if not (extra or missing):
        text += f", got {jax.tree.structure(tree)} and {jax.tree.structure(other)}"
    return text


def need_params(name: str, params: T | None) -> T:
    """The parameters that `update` needs, which must not be None."""
    if params is None:
        raise ValueError(
            f"{name}: this transformation needs the parameters; "
            "call update(updates, state, params) with params, got None"
        )
    return params


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


def is_known(x: Any) -> bool:
    """Whether a hyperparameter is one number that is known while tracing."""
    if isinstance(x, jax.core.Tracer | bool | np.bool_):
        return False
    return isinstance(x, int | float | np.number) or (isinstance(x, jax.Array | np.ndarray) and x.ndim == 0)


def as_float(x: Any) -> Any:
    """Integers and bools as floats, so that steps of them are not rounded to 0; all else as it is."""
    dtype = getattr(x, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_)):
        return x
    return jnp.asarray(x, jnp.result_type(float))


def own_dtype(x: Any) -> Any:
    """The dtype of a parameter as a part of a state has it: its own, or float for integers."""
    dtype = jnp.result_type(x)
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.result_type(float)


def is_narrow(dtype: Any) -> bool:
    """Whether a dtype is a float of 16 bits or fewer."""
    return jnp.issubdtype(dtype, jnp.floating) and jnp.dtype(dtype).itemsize <= 2


def widened(x: jax.Array) -> jax.Array:
    """16-bit floats in float32, where squares and sums neither overflow nor lose what is added."""
    return x.astype(jnp.float32) if is_narrow(x.dtype) else as_float(x)


def abs_sq(x: jax.Array) -> jax.Array:
    """|x|², real for complex x and in float32 at least, with a derivative at 0."""
    x = widened(x)
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


def filled_like(x: Any, fill_value: Any, dtype: Any) -> jax.Array:
    """A constant shaped and sharded as `x`. In a jitted function only the compiler knows how that is sharded."""
    constant = jnp.full_like(x, fill_value, dtype=dtype)
    return shard_alike(x, constant)[1] if isinstance(x, jax.core.Tracer) and constant.ndim else constant


def zeros_like(tree: Any, dtype: Any = None) -> Any:
    """Zeros shaped, typed and sharded as the tree; floats for integers."""
    return full_like(tree, 0, dtype)


def full_like(tree: Any, fill_value: Any, dtype: Any = None) -> Any:
    """Constant leaves shaped, typed and sharded as the tree; floats for integers."""
    return jax.tree.map(lambda x: filled_like(x, fill_value, own_dtype(x) if dtype is None else dtype), tree)


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
