"""Stacked parameters of `layer_stack`, layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Tree = Mapping[str, Mapping[str, Any]]


def unstack_layers(params: Tree, name: str) -> list[dict[str, dict[str, Any]]]:
    """The parameters of a `layer_stack`, one tree for each layer.

    Args:
      params: parameters, or state, or gradients, of the whole model.
      name: of the stack, as in "__layer_stack_no_per_layer" or "trunk".

    Returns:
      A list of trees, whose module names are those in the layer function.

    Raises:
      ValueError: if there is no such stack.

    Example:
      >>> params = {"trunk/linear": {"w": jnp.arange(6.0).reshape(3, 2)}}
      >>> unstack_layers(params, "trunk")[1]
      {'linear': {'w': Array([2., 3.], dtype=float32)}}
    """
    prefix = f"{name}/"
    stacked = {b.removeprefix(prefix): v for b, v in params.items() if b.startswith(prefix)}
    if not stacked:
        raise ValueError(f"unstack_layers: no parameters below {prefix!r}; there are {sorted(params)}")
    count = jax.tree.leaves(stacked)[0].shape[0]
    return [{b: {n: x[layer] for n, x in v.items()} for b, v in stacked.items()} for layer in range(count)]


def stack_layers(layers: Sequence[Tree], name: str) -> dict[str, dict[str, Any]]:
    """The inverse of `unstack_layers`: parameters of a `layer_stack`, from those of its layers.

    Args:
      layers: one tree for each layer, with the same names and shapes.
      name: of the stack.

    Returns:
      A tree to be merged into the parameters of the whole model.

    Example:
      >>> layers = [{"linear": {"w": jnp.zeros(2)}}, {"linear": {"w": jnp.ones(2)}}]
      >>> stack_layers(layers, "trunk")["trunk/linear"]["w"].shape
      (2, 2)
    """
    shapes = [jax.tree.map(jnp.shape, dict(layer)) for layer in layers]
    for i, found in enumerate(shapes):
        if found != shapes[0]:
            raise ValueError(
                f"stack_layers: all layers must have the same names and shapes, got {shapes[0]} in layer 0 and {found} "
                f"in layer {i}"
            )
    return {
        f"{name}/{bundle}": {n: jnp.stack([jnp.asarray(layer[bundle][n]) for layer in layers]) for n in values}
        for bundle, values in layers[0].items()
    }
