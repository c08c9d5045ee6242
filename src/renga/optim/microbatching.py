"""Large batches in small memory: a function is called on parts of its batch, one after the other."""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from renga._core.checks import check_differentiable
from renga._core.varying import vary_like

__all__ = ["AccumulationType", "Accumulator", "micro_grad", "micro_vmap", "microbatch", "reshape_batch_axis"]


class AccumulationType(enum.Enum):
    """How the results of the parts become one: their mean, sum, mean so far, or all in the order of the batch."""

    MEAN = enum.auto()
    SUM = enum.auto()
    RUNNING_MEAN = enum.auto()
    CONCAT = enum.auto()


@dataclasses.dataclass(frozen=True)
class Accumulator:
    """A way to make one result of the results of the parts.

    Args:
      init: the shapes and dtypes of one result ↦ the first state.
      update: (state, result, number of the part) ↦ state.
      finalize: state ↦ the result of all.
      aggregate: the results of all examples of a part, with a leading axis ↦ the result of the part; only
        `micro_vmap` calls it.

    Example:
      >>> largest = Accumulator(
      ...     init=lambda like: jnp.full(like.shape, -jnp.inf, like.dtype),
      ...     update=lambda state, result, i: jnp.maximum(state, result),
      ...     finalize=lambda state: state,
      ...     aggregate=lambda results: jnp.max(results, axis=0),
      ... )
      >>> microbatch(jnp.max, 0, 2, largest)(jnp.arange(6.0))
      Array(5., dtype=float32)
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any], Any]
    finalize: Callable[[Any], Any]
    aggregate: Callable[[Any], Any]


AccumulatorTree = Any  # an AccumulationType, an Accumulator, or a tree of them that is a prefix of the result


def _wide(dtype: Any) -> Any:
    """Sums of 16-bit numbers are taken in float32."""
    return jnp.promote_types(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.inexact) else dtype


def _concatenation(name: str, parts: int) -> Accumulator:
    def room(like):
        if not like.shape:
            raise ValueError(f"{name}: CONCAT needs results with a leading axis of examples, got a scalar; take SUM")
        return jnp.zeros((parts, *like.shape), like.dtype)

    def join(rows):
        # Part i holds the examples i, i + n, i + 2n, ...: a transposition puts them back.
        rows = jnp.swapaxes(rows, 0, 1)
        return rows.reshape(rows.shape[0] * rows.shape[1], *rows.shape[2:])

    return Accumulator(room, lambda rows, x, i: rows.at[i].set(x), join, lambda x: x)


def _built_in(name: str, kind: AccumulationType, parts: int, dtype: Any) -> Accumulator:
    """The accumulator of a type, for one array of a dtype."""
    if kind is AccumulationType.CONCAT:
        return _concatenation(name, parts)
    if kind is not AccumulationType.SUM and not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(f"{name}: {kind.name} needs results of a floating dtype, got {dtype}; take SUM")
    wide = _wide(dtype)

    def update(total, x, i):
        x = x.astype(wide)
        return total + ((x - total) / (i + 1) if kind is AccumulationType.RUNNING_MEAN else x)

    def finalize(total):
        return (total / parts if kind is AccumulationType.MEAN else total).astype(dtype)

    def aggregate(x):
        reduce = jnp.sum if kind is AccumulationType.SUM else jnp.mean
        return reduce(x.astype(wide), axis=0).astype(dtype)

    return Accumulator(lambda like: jnp.zeros(like.shape, wide), update, finalize, aggregate)


def _is_accumulator(x: Any) -> bool:
    return isinstance(x, AccumulationType | Accumulator)


def _spread(name: str, accumulator: AccumulatorTree, like: PyTree, parts: int) -> tuple[list[Accumulator], Any]:
    """An accumulator for each piece of a result, and the structure of the pieces."""
    for leaf in jax.tree.leaves(accumulator, is_leaf=_is_accumulator):
        if not _is_accumulator(leaf):
            raise ValueError(
                f"{name}: accumulator must be an AccumulationType, an Accumulator or a tree of them, got {leaf!r}"
            )

    def one(a, part):
        if isinstance(a, Accumulator):
            return a
        return jax.tree.map(lambda x: _built_in(name, a, parts, x.dtype), part)

    try:
        each = jax.tree.map(one, accumulator, like, is_leaf=_is_accumulator)
    except ValueError as error:
        if str(error).startswith(f"{name}: "):
            raise
        raise ValueError(
            f"{name}: accumulator must be a prefix of the result, got {accumulator} for {jax.tree.structure(like)}"
        ) from error
    return jax.tree.flatten(each, is_leaf=_is_accumulator)


def reshape_batch_axis(tree: PyTree, microbatch_size: int, axis: int = 0) -> PyTree:
    """Splits a batch axis into parts: part i takes the examples i, i + n, i + 2n, ... of n parts.

    Taken with stride, each part is spread over all devices if the batch is.

    Args:
      tree: arrays with a batch axis of B examples.
      microbatch_size: m, the examples of a part.
      axis: the batch axis.

    Returns:
      Arrays with the axes [B / m, m] in its place.

    Raises:
      ValueError: if m does not divide B.

    Example:
      >>> reshape_batch_axis(jnp.arange(6), 2)
      Array([[0, 3],
             [1, 4],
             [2, 5]], dtype=int32)
    """

    def split(x):
        x = jnp.asarray(x)
        parts, at = _parts("reshape_batch_axis", x.shape[axis], microbatch_size), axis % x.ndim
        return jnp.swapaxes(_strided(x, parts, at), at, at + 1)

    return jax.tree.map(split, tree)


def _strided(x: Array, parts: int, axis: int) -> Array:
    """The batch axis as [B / n, n], which moves nothing in memory: part i of n is the index i of the second axis."""
    return x.reshape(*x.shape[:axis], x.shape[axis] // parts, parts, *x.shape[axis + 1 :])


def _parts(name: str, size: int, microbatch_size: int) -> int:
    if microbatch_size < 1 or size % microbatch_size:
        raise ValueError(
            f"{name}: microbatch_size must divide the batch, got batch_size={size}, microbatch_size={microbatch_size}"
        )
    return size // microbatch_size


def _axes_of(name: str, in_axes: Any, count: int) -> tuple[Any, ...]:
    if isinstance(in_axes, int):
        return (in_axes,) * count
    if len(in_axes) != count:
        raise ValueError(
            f"{name}: in_axes must be one int or one for each of the {count} batched arguments, got {in_axes}"
        )
    return tuple(in_axes)


def microbatch(
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    microbatch_size: int | None,
    accumulator: AccumulatorTree = AccumulationType.SUM,
    *,
    argnames: str | Sequence[str] = (),
    in_axes: int | Sequence[int] = 0,
    num_real_microbatches: int | Array | None = None,
) -> Callable[..., Any]:
    """The function, called on parts of its batch one after the other.

    It takes the memory of a part instead of that of the batch. A function whose result is a sum over examples, such as
    the gradient of a summed loss, has the same result with `SUM`; one that is a mean, with `MEAN`. Sums of 16-bit
    results are taken in float32.

    Args:
      fun: the function.
      argnums: its positional arguments that have a batch axis, trees of arrays.
      microbatch_size: the examples of a part, a divisor of the batch; None calls `fun` once.
      accumulator: how the results become one: an `AccumulationType`, an `Accumulator`, or a tree of them like the
        result (or a prefix of it).
      argnames: its arguments by name that have a batch axis.
      in_axes: the batch axis, or one for each batched argument, those by name last.
      num_real_microbatches: how many parts to call `fun` on, from the first; all by default. It may be traced; then
        there is no reverse mode. `MEAN` divides by all parts, `RUNNING_MEAN` by those called, and `CONCAT` has zeros
        for the others.

    Returns:
      A function with the arguments of `fun`.

    Raises:
      ValueError: if the size does not divide the batch, or an accumulator does not fit the result.

    Example:
      >>> x = jnp.arange(12.0).reshape(6, 2)
      >>> loss = lambda w, x: jnp.sum((x @ w) ** 2)
      >>> w = jnp.array([1.0, 2.0])
      >>> microbatch(jax.grad(loss), argnums=1, microbatch_size=2)(w, x)
      Array([1440., 1644.], dtype=float32)
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    names = (argnames,) if isinstance(argnames, str) else tuple(argnames)
    if microbatch_size is None:
        return fun
    axes = _axes_of("microbatch", in_axes, len(numbers) + len(names))

    def in_parts(*args: Any, **kwargs: Any) -> Any:
        batched = [args[n] for n in numbers] + [kwargs[n] for n in names]
        if any(jnp.ndim(x) == 0 for x in jax.tree.leaves(batched)):
            raise ValueError("microbatch: the batched arguments must have a batch axis, got a scalar")
        sizes = {jnp.shape(x)[a] for part, a in zip(batched, axes, strict=True) for x in jax.tree.leaves(part)}
        if len(sizes) != 1:
            raise ValueError(f"microbatch: the batched arguments must have one batch size, got {sorted(sizes)}")
        parts = _parts("microbatch", sizes.pop(), microbatch_size)

        def call(i):
            def take(x, axis):
                x = jnp.asarray(x)
                axis = axis % x.ndim
                return lax.dynamic_index_in_dim(_strided(x, parts, axis), i, axis + 1, keepdims=False)

            now = [jax.tree.map(lambda x, a=a: take(x, a), part) for part, a in zip(batched, axes, strict=True)]
            positional = list(args)
            for n, x in zip(numbers, now, strict=False):
                positional[n] = x
            return fun(*positional, **(kwargs | dict(zip(names, now[len(numbers) :], strict=True))))

        like = jax.eval_shape(call, jnp.int32(0))
        accumulators, pieces = _spread("microbatch", accumulator, like, parts)

        def step(i, states):
            values = pieces.flatten_up_to(call(i))
            new = [a.update(s, x, i) for a, s, x in zip(accumulators, states, values, strict=True)]
            return vary_like(new, args, kwargs)

        start = [a.init(x) for a, x in zip(accumulators, pieces.flatten_up_to(like), strict=True)]
        count = parts if num_real_microbatches is None else num_real_microbatches
        states = lax.fori_loop(0, count, step, vary_like(start, args, kwargs))
        return pieces.unflatten([a.finalize(s) for a, s in zip(accumulators, states, strict=True)])

    return in_parts


def micro_vmap(
    fun: Callable[..., Any],
    in_axes: int | Sequence[int | None] = 0,
    out_axes: int = 0,
    *,
    microbatch_size: int | None = None,
    vmap_fn: Callable[..., Any] = jax.vmap,
    accumulator: AccumulatorTree = AccumulationType.CONCAT,
    num_real_microbatches: int | Array | None = None,
) -> Callable[..., Any]:
    """`jax.vmap`, over parts of the batch one after the other.

    Args:
      fun: function of one example.
      in_axes: the batch axis of each positional argument, None for one without; arguments by name have theirs first.
      out_axes: the axis of the results; 0.
      microbatch_size: the examples of a part; None for all at once.
      vmap_fn: what is called as `jax.vmap` is.
      accumulator: how the results of all examples become one; `CONCAT` keeps them all, as `jax.vmap` does.
      num_real_microbatches: how many parts to call `fun` on; see `microbatch`.

    Returns:
      A function of the whole batch.

    Raises:
      ValueError: if `out_axes` is not 0, or the size does not divide the batch.

    Example:
      >>> micro_vmap(jnp.sum, microbatch_size=2)(jnp.arange(8.0).reshape(4, 2))
      Array([ 1.,  5.,  9., 13.], dtype=float32)
    """
    if out_axes != 0:
        raise ValueError(f"micro_vmap: out_axes must be 0, got {out_axes!r}")

    def mapped(*args: Any, **kwargs: Any) -> Any:
        results = vmap_fn(fun, in_axes, 0)(*args, **kwargs)
        accumulators, pieces = _spread("micro_vmap", accumulator, results, 1)
        values = pieces.flatten_up_to(results)
        return pieces.unflatten([a.aggregate(x) for a, x in zip(accumulators, values, strict=True)])

    def over_batch(*args: Any, **kwargs: Any) -> Any:
        axes = (in_axes,) * len(args) if isinstance(in_axes, int) else tuple(in_axes)
        if len(axes) != len(args):
            raise ValueError(
                f"micro_vmap: in_axes must have one entry for each of the {len(args)} arguments, got {axes}"
            )
        numbers = [n for n, a in enumerate(axes) if a is not None]
        batch_axes = [a for a in axes if a is not None] + [0] * len(kwargs)
        parts = microbatch(
            mapped, numbers, microbatch_size, accumulator, argnames=tuple(kwargs), in_axes=batch_axes,
            num_real_microbatches=num_real_microbatches,
        )  # fmt: skip
        return parts(*args, **kwargs)

    return over_batch


class Aux(NamedTuple):
    """What `micro_grad` returns beside the gradient, for each example."""

    values: Any  # of the function
    metrics: Any  # of its gradient
    aux: Any  # what the function returned beside its value


def micro_grad(
    fun: Callable[..., Any],
    has_aux: bool = False,
    argnums: int | Sequence[int] = 0,
    *,
    batch_argnums: int | Sequence[int] = 1,
    keep_batch_dim: bool = True,
    microbatch_size: int | None = None,
    accumulator: AccumulatorTree = AccumulationType.SUM,
    transform_fn: Callable[[Any], Any] = lambda grad: grad,
    metrics_fn: Callable[[Any], Any] = lambda grad: None,
    num_real_microbatches: int | Array | None = None,
) -> Callable[..., tuple[Any, Aux]]:
    """The sum of the gradients of all examples, each of which may be changed on its way, such as clipped.

    Args:
      fun: function whose gradient is taken, of a batch of one example.
      has_aux: whether it returns (value, aux).
      argnums: the arguments by which the gradient is taken.
      batch_argnums: the positional arguments with a leading batch axis; arguments by name have one too.
      keep_batch_dim: whether `fun` sees the batch axis, of length 1.
      microbatch_size: the examples whose gradients are in memory at once; None for all.
      accumulator: how the gradients become one.
      transform_fn: gradient of an example ↦ what is accumulated.
      metrics_fn: gradient of an example ↦ what is returned of it.
      num_real_microbatches: how many parts of the batch to use; see `microbatch`.

    Returns:
      A function ↦ (gradient, `Aux(values, metrics, aux)`), the latter with a leading axis of examples.

    Raises:
      ValueError: if the size does not divide the batch.

    Example:
      >>> x = jnp.arange(12.0).reshape(6, 2)
      >>> loss = lambda w, x: jnp.mean((x @ w) ** 2)
      >>> unit = lambda g: g / jnp.linalg.norm(g)
      >>> grad, aux = micro_grad(loss, microbatch_size=2, transform_fn=unit)(jnp.array([1.0, 2.0]), x)
      >>> grad.round(3), aux.values
      (Array([3.167, 4.86 ], dtype=float32), Array([   4.,   64.,  196.,  400.,  676., 1024.], dtype=float32))
    """
    batched = (batch_argnums,) if isinstance(batch_argnums, int) else tuple(batch_argnums)
    one = lambda tree: jax.tree.map(lambda x: jnp.expand_dims(x, 0), tree) if keep_batch_dim else tree

    def example(*args: Any, **kwargs: Any) -> tuple[Any, Aux]:
        seen = [one(x) if n in batched else x for n, x in enumerate(args)]
        by = (argnums,) if isinstance(argnums, int) else argnums
        check_differentiable("micro_grad", **{f"args[{n}]": args[n] for n in by if -len(args) <= n < len(args)})
        out, grad = jax.value_and_grad(fun, argnums, has_aux)(*seen, **{k: one(x) for k, x in kwargs.items()})
        value, aux = out if has_aux else (out, None)
        return transform_fn(grad), Aux(value, metrics_fn(grad), aux)

    def over_batch(*args: Any, **kwargs: Any) -> tuple[Any, Aux]:
        in_axes = [0 if n in batched else None for n in range(len(args))]
        mapped = micro_vmap(
            example, in_axes, microbatch_size=microbatch_size, accumulator=(accumulator, AccumulationType.CONCAT),
            num_real_microbatches=num_real_microbatches,
        )  # fmt: skip
        return mapped(*args, **kwargs)

    return over_batch
