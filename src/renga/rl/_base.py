"""Indexing and broadcasting by leading axes; checks and constants that every formula uses."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Int, Num, Shaped

from renga._core.checks import check_dtype, check_shapes
from renga._core.cutting import leave_out, times
from renga._core.ranges import check_index

Flag = bool | Bool[Array, ""]


def check(function: str, /, **arguments: tuple[ArrayLike | None, str]) -> dict[str, int]:
    """Checks shapes, and dtypes by the paper's names: an action `a…` is an integer in [0, A), all else is floating."""
    for name, (array, _) in arguments.items():
        check_dtype(function, jnp.integer if name.startswith("a_") else jnp.floating, **{name: array})
    sizes = check_shapes(function, **arguments)
    for axis, size in sizes.items():
        if not size and axis in ("T", "A", "K", "L", "M"):
            name, array = next((name, x) for name, (x, spec) in arguments.items() if axis in spec.split())
            what = {"T": "step", "A": "action"}.get(axis, "entry")
            # pyrefly: ignore[bad-argument-type]
            raise ValueError(f"{function}: {name} must have at least one {what}, got shape {jnp.shape(array)}")
    if "A" in sizes:
        check_index(function, sizes["A"], **{name: x for name, (x, _) in arguments.items() if name.startswith("a_")})
    return sizes


def check_alike(function: str, /, **arguments: tuple[ArrayLike | None, int]) -> None:
    """Checks that arrays are of one shape, up to axes of size one, but for their last axes.

    Args:
      function: name of the public function.
      **arguments: argument name = (array, how many of its last axes do not count). One without any other axis fits all.

    Raises:
      ValueError: if they would broadcast to something that is larger than each, or differ in rank.
    """
    shapes = {name: jnp.shape(x)[: jnp.ndim(x) - last] for name, (x, last) in arguments.items() if x is not None}
    shapes = {name: shape for name, shape in shapes.items() if shape}
    first = next(iter(shapes), "")
    for name, shape in shapes.items():
        like, pairs = shapes[first], []
        if len(shape) == len(like):
            pairs = [(s, o) for s, o in zip(shape, like, strict=True) if s != o]
        one_way = all(s == 1 for s, _ in pairs) or all(o == 1 for _, o in pairs)
        if len(shape) != len(like) or not one_way:
            raise ValueError(f"{function}: {name} must have the (leading) shape {like} of {first}, got {shape}")


def taken(values: Any, indices: Any, axis: int = 0) -> Any:
    """The entries of one axis at given indices; NaN at an index out of range."""
    values, indices = jnp.asarray(values), jnp.asarray(indices)
    indices = jnp.where(indices < 0, values.shape[axis], indices)  # a negative one would count from the end
    return jnp.take(values, indices, axis=axis, mode="fill")


def taken_each(values: Any, indices: Any) -> Any:
    """One entry of the last axis for each index of the leading axes; NaN at an index out of range."""
    values, indices = jnp.asarray(values), jnp.asarray(indices)
    indices = jnp.where(indices < 0, values.shape[-1], indices)  # a negative one would count from the end
    return jnp.take_along_axis(values, indices[..., None], axis=-1, mode="fill")[..., 0]


def bootstrap(r_t: Any, discount_t: Any, value: Any) -> Any:
    """r + γ v, where γ = 0 cuts off whatever v is."""
    return r_t + times(discount_t, value)


def followed(discount_t: Any, x: Any, stop: Flag) -> Any:
    """What comes after a discount, to be reduced to a value; zeros if γ = 0 and a gradient through NaN would come."""
    return jnp.asarray(x) if stop is True else leave_out(discount_t, x)


def constant_if(stop: Flag, x: Any) -> Any:
    """Makes `x` a constant to `grad` if `stop`, which may be traced."""
    if isinstance(stop, jax.Array):
        return jax.tree.map(lambda v: jnp.where(stop, jax.lax.stop_gradient(v), v), x)
    return jax.lax.stop_gradient(x) if stop else x


def batched_index(
    values: Shaped[ArrayLike, "*B A"],
    indices: Int[ArrayLike, "*B"],
    keepdims: bool = False,
) -> Shaped[Array, "..."]:
    r"""Takes one entry of the last axis for each index of the leading axes.

        y[b] = x[b, i[b]]

    Args:
      values: x.
      indices: i, one number for each vector of `values`.
      keepdims: whether the result keeps a last axis of size one.

    Returns:
      y of shape [*B], or [*B, 1] with `keepdims`. A negative index counts from the end; one out of range gives NaN.

    Raises:
      TypeError: if the indices are no integers.
      ValueError: if the leading axes differ.

    Example:
      >>> batched_index(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1, 0]))
      Array([2., 3.], dtype=float32)
    """
    check_dtype("batched_index", jnp.integer, indices=indices)
    values, indices = jnp.asarray(values), jnp.asarray(indices)
    if values.shape[:-1] != indices.shape or not values.ndim:
        raise ValueError(
            f"batched_index: indices must have the leading shape {values.shape[:-1]} of values, got {indices.shape}"
        )
    taken = jnp.take_along_axis(values, indices[..., None], axis=-1)
    return taken if keepdims else taken[..., 0]


def one_hot(indices: Int[ArrayLike, "*B"], num_classes: int, dtype: Any = jnp.float32) -> Num[Array, "*B A"]:
    r"""Encodes each index as a unit vector.

        y[b, k] = 1 if k = i[b] else 0

    Args:
      indices: i; one outside of [0, num_classes) gives a vector of zeros.
      num_classes: A, the length of a vector.
      dtype: dtype of the result.

    Returns:
      The unit vectors.

    Example:
      >>> one_hot(jnp.array([1, 0]), 3)
      Array([[0., 1., 0.],
             [1., 0., 0.]], dtype=float32)
    """
    classes = jax.lax.expand_dims(jnp.arange(num_classes), range(jnp.ndim(indices)))
    return (jnp.asarray(indices)[..., None] == classes).astype(dtype)


def lhs_broadcast(source: Shaped[ArrayLike, "*S"], target: Shaped[ArrayLike, "*T"]) -> Shaped[Array, "..."]:
    r"""Appends axes of size one, so that `source` broadcasts against `target` from the left.

    Args:
      source: an array whose axes are the first axes of `target`, or of size one.
      target: an array of at least as many axes.

    Returns:
      `source` with as many axes as `target`.

    Raises:
      ValueError: if an axis of `source` is neither one nor the target's.

    Example:
      >>> lhs_broadcast(jnp.ones(2), jnp.ones((2, 3))).shape
      (2, 1)
    """
    have, want = jnp.shape(source), jnp.shape(target)
    if len(have) > len(want) or any(s not in (1, t) for s, t in zip(have, want, strict=False)):
        raise ValueError(f"lhs_broadcast: source of shape {have} does not broadcast from the left to target {want}")
    return jnp.reshape(jnp.asarray(source), have + (1,) * (len(want) - len(have)))
