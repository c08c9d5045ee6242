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
    rows = zip(leaves, *columns[: len(rest)], strict=True)
    results = [fn(*row) if row[0] is not None else _without_gradient(row, outputs, fresh) for row in rows]
    if outputs == 1:
        return treedef.unflatten(results)
    trees = zip(*results, strict=True) if results else [()] * outputs
    return [treedef.unflatten(column) for column in trees]


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
