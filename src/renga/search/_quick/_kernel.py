"""A function over a batch of trees as one kernel of the CPU.

A search consists of very many very small operations. XLA starts each of them by itself on the CPU, which costs more
than the operation. A call that is marked as small is compiled to one function of machine code instead, loops and
all: then trees can be walked one after the other, without lock step, as one would in C. The mark is a hint: where
XLA does not know it, results are the same.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import jaxpr_as_fun
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from renga.search._forms import FORMS, form_on

try:
    from jax.experimental.xla_metadata import set_xla_metadata as mark
except ImportError:  # only a hint is lost

    def mark(**_: str | None) -> contextlib.AbstractContextManager[None]:
        """Marks nothing."""
        return contextlib.nullcontext()


def one_kernel(by_tree: Callable[..., Any], together: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function that runs as one kernel or as `together`, as `_forms` says for the platform.

    `by_tree` handles one tree after the other, `together` all in operations over the batch; both take and give arrays
    with a leading batch axis. Under `vmap`, the new axis becomes a part of the batch.
    """

    @custom_vmap
    def call(*args: PyTree) -> PyTree:
        # Only XLA's compiler for CPUs knows the mark.
        one_by_one = lambda platform: _by_shard(_small(by_tree) if platform == "cpu" else by_tree)
        special = {platform: one_by_one(platform) for platform in FORMS if form_on(platform) == "kernels"}
        return lax.platform_dependent(*args, **special, default=together)

    @call.def_vmap
    def fold(size: int, batched: PyTree, *args: PyTree) -> PyTree:
        def flat(x: Array, has_axis: bool) -> Array:
            x = x if has_axis else jnp.broadcast_to(x, (size, *x.shape))
            return x.reshape(size * x.shape[1], *x.shape[2:])

        results = call(*jax.tree.map(flat, args, tuple(batched)))
        results = jax.tree.map(lambda x: x.reshape(size, x.shape[0] // size, *x.shape[1:]), results)
        return results, jax.tree.map(lambda _: True, results)

    return call


def touch(needed: bool, args: PyTree) -> PyTree:
    """One more result, of every argument: XLA cannot compile a kernel with an argument that it does not use."""
    if not needed:
        return []
    return [sum(x.reshape(x.shape[0], -1)[:, 0].astype(jnp.float32) for x in jax.tree.leaves(args) if x.size)]


def _by_shard(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Lets each device handle its part of a batch that `jit` has distributed: XLA cannot see into a kernel."""

    def call(*args: PyTree) -> PyTree:
        leaves, structure = jax.tree.flatten(args)
        shape = jax.eval_shape(fn, *args)

        @custom_partitioning
        def flat(*leaves: Array) -> list[Array]:
            return jax.tree.leaves(fn(*structure.unflatten(leaves)))

        def partition(mesh: Mesh, arg_shapes: Sequence[Any], result_shapes: Sequence[Any]) -> Any:
            axes = [spec[0] for x in arg_shapes if (spec := x.sharding.spec)]
            along = NamedSharding(mesh, PartitionSpec(next((axis for axis in axes if axis is not None), None)))
            return mesh, flat.fun, [along] * len(result_shapes), (along,) * len(arg_shapes)

        inputs, outputs = (
            ", ".join(f"b {' '.join(f'{kind}{i}x{j}' for j in range(x.ndim - 1))}" for i, x in enumerate(xs))
            for kind, xs in (("i", leaves), ("o", jax.tree.leaves(shape)))
        )
        flat.def_partition(partition=partition, sharding_rule=f"{inputs} -> {outputs}")
        return jax.tree.unflatten(jax.tree.structure(shape), flat(*leaves))

    return call


def _small(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a marked call of what it uses: XLA cannot compile one with an argument that it does not use."""

    def call(*args: PyTree) -> PyTree:
        leaves, structure = jax.tree.flatten(args)
        closed, shape = jax.make_jaxpr(lambda *xs: fn(*structure.unflatten(xs)), return_shape=True)(*leaves)
        read = {id(x) for equation in closed.jaxpr.eqns for x in equation.invars}
        read |= {id(x) for x in closed.jaxpr.outvars}
        used = [id(x) in read for x in closed.jaxpr.invars]
        unused = [None if is_used else x for is_used, x in zip(used, leaves, strict=True)]

        def unmarked(*some: Array) -> PyTree:
            rest = iter(some)
            xs = [next(rest) if is_used else x for is_used, x in zip(used, unused, strict=True)]
            with mark(xla_cpu_small_call=None, inlineable=None):
                return jaxpr_as_fun(closed)(*xs)

        compiled = jax.jit(unmarked)
        # XLA's compiler ends the process where an argument of such a call is a large constant, of the model say.
        arguments = lax.optimization_barrier([x for is_used, x in zip(used, leaves, strict=True) if is_used])
        with mark(xla_cpu_small_call="true", inlineable="false"):
            results = compiled(*arguments)
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return call
