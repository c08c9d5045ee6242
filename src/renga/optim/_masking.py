"""Masking: transforming some leaves and leaving the others alone."""
# ruff: noqa: N801

import dataclasses
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from renga.optim._leaves import path_name, paths
from renga.optim._transformation import GradientTransformationExtraArgs, adapt, set_to_zero
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import static, value

# A tree of bools (or a prefix of one), or a function from parameters to it.
MaskOrFn = Any  # a tree of bools (or a prefix of one), or a function from parameters to it


class MaskedNode(NamedTuple):
    """Stands in a tree where a leaf is hidden by a mask. It has no leaves."""


@jax.tree_util.register_static
class ParamsMarker:
    """Stands for the whole tree of parameters while `init` shows where such trees end up."""


class MaskedState(NamedTuple):
    """The state of `masked`."""

    inner_state: Any


def made_tree(given: Any, params: Any) -> Any:
    """A tree of masks or labels that is given as such, or by a function of the parameters.

    A module may be both a tree and callable. It is taken for a tree where its leaves can be masks or labels.
    """
    if not callable(given):
        return given
    leaves = jax.tree.leaves(given)
    is_function = isinstance(given, jax.tree_util.Partial) or not leaves
    return given(params) if is_function or not all(map(_can_be_label, leaves)) else given


def _can_be_label(leaf: Any) -> bool:
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return jnp.issubdtype(leaf.dtype, jnp.bool_)
    return isinstance(leaf, Hashable) and not isinstance(leaf, float | complex) and not callable(leaf)


def mask_tree(name: str, mask: Any, tree: Any) -> Any:
    """The tree with `MaskedNode()` wherever the mask is False.

    Raises:
      ValueError: if the mask is no prefix of the tree, or not made of bools.
    """

    def choose(keep: Any, subtree: Any) -> Any:
        if not isinstance(keep, bool | int | np.bool_ | np.integer | jax.Array | np.ndarray):
            raise ValueError(f"{name}: the leaves of mask must be bools, got {keep!r} of type {type(keep).__name__}")
        return subtree if keep else MaskedNode()

    if isinstance(tree, ParamsMarker):
        return tree
    try:
        return jax.tree.map(choose, mask, tree)
    except jax.errors.TracerBoolConversionError as error:
        raise ValueError(
            f"{name}: mask must be known when tracing: make it of Python bools, or compute it from shapes and paths"
        ) from error
    except ValueError as error:
        if "leaves of mask" in str(error):
            raise
        raise ValueError(
            f"{name}: mask must have the structure of the parameters or be a prefix of it; "
            f"mask has the leaves {', '.join(paths(mask)[:8])}, "
            f"the parameters {', '.join(paths(tree)[:8])}"
        ) from error


def unmask(masked_tree: Any, original: Any) -> Any:
    """Fills the hidden places of a masked tree from the original."""
    is_hidden = lambda x: isinstance(x, MaskedNode)
    return jax.tree.map(
        lambda new, old: old if is_hidden(new) else new,
        masked_tree,
        original,
        is_leaf=is_hidden,
    )


@value
class masked(GradientTransformationExtraArgs):
    """Transforms only the leaves where a mask is True; the others pass unchanged.

    The inner state has `MaskedNode()` in place of the hidden leaves.

    Args:
      inner: the transformation.
      mask: a tree of bools like the parameters (or a prefix of it), or a function from the
        parameters (at `init`) or updates (at `update`) to such a tree.
      mask_compatible_extra_args: whether extra arguments that have the structure of the
        parameters are masked too.

    Raises:
      ValueError: if the mask does not fit the parameters.

    Example:
      >>> from renga.optim import scale
      >>> tx = masked(scale(-1.0), {"w": True, "b": False})
      >>> g = {"w": 2.0, "b": 3.0}
      >>> {k: float(u) for k, u in tx.update(g, tx.init(g))[0].items()}
      {'b': 3.0, 'w': -2.0}
    """

    inner: Any
    mask: Any = static()
    _: dataclasses.KW_ONLY
    mask_compatible_extra_args: bool = static(default=False)

    def __post_init__(self):
        adapt(self, "inner")

    def _mask_for(self, tree: Any) -> Any:
        return self.mask if isinstance(tree, ParamsMarker) else made_tree(self.mask, tree)

    def init(self, params: Params) -> OptState:
        """Makes the inner state for the visible leaves."""
        visible = mask_tree("masked", self._mask_for(params), params)
        return MaskedState(self.inner.init(visible))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Transforms the visible leaves."""
        mask = self._mask_for(updates)
        if self.mask_compatible_extra_args:
            extra_args = {k: _mask_if_alike(mask, v) for k, v in extra_args.items()}
        visible = mask_tree("masked", mask, updates)
        visible_params = None if params is None else mask_tree("masked", mask, params)
        new, inner_state = self.inner.update(visible, state.inner_state, visible_params, **extra_args)
        return unmask(new, updates), MaskedState(inner_state)


def _mask_if_alike(mask: Any, argument: Any) -> Any:
    """Masks an extra argument that has the structure of the parameters."""
    treedef = jax.tree.structure(mask)
    try:
        treedef.flatten_up_to(argument)
    except (ValueError, TypeError, KeyError):
        return argument
    return mask_tree("masked", mask, argument)


def freeze(mask: MaskOrFn = True) -> GradientTransformationExtraArgs:
    """Sets the updates to zero where a mask is True; the others pass unchanged.

    Args:
      mask: which parameters to freeze; all by default.

    Returns:
      The transformation.

    Example:
      >>> tx = freeze({"w": True, "b": False})
      >>> g = {"w": 2.0, "b": 3.0}
      >>> {k: float(u) for k, u in tx.update(g, tx.init(g))[0].items()}
      {'b': 3.0, 'w': 0.0}
    """
    return masked(set_to_zero(), mask)


def tree_of_paths(tree: PyTree) -> PyTree:
    """Replaces each leaf with its path, as `encoder/w`."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path_name(path), tree)
