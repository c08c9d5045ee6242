"""Errors that teach: they name the function, the argument, what was expected and what came."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike


def check_shapes(function: str, /, **arguments: tuple[ArrayLike | None, str]) -> dict[str, int]:
    """Checks arrays against shapes written as in jaxtyping, and returns the sizes.

    Each argument is a pair `(array, "T A")`: a name stands for one size that must be the same
    wherever it occurs, a number for itself, a leading `...` for any number of axes, and `""`
    for a scalar. An array that is None is skipped.

    Args:
      function: name of the public function, for the message.
      **arguments: argument name = (array, shape).

    Returns:
      The size of each named axis.

    Raises:
      ValueError: naming the function, the argument, the shape it should have and the one it has.

    Example:
      >>> check_shapes("f", r_t=(np.zeros(3), "T"), q_t=(np.zeros((3, 2)), "T A"))
      {'T': 3, 'A': 2}
      >>> check_shapes("f", r_t=(np.zeros(3), "T"), v_t=(np.zeros(4), "T"))
      Traceback (most recent call last):
      ValueError: f: v_t must have shape [T] with T = 3 (from r_t), got (4,)
    """
    sizes: dict[str, int] = {}
    origin: dict[str, str] = {}
    for name, (array, spec) in arguments.items():
        if array is None:
            continue
        shape, axes = np.shape(array), spec.split()
        free = bool(axes) and axes[0] == "..."
        axes = axes[1:] if free else axes
        fits = len(shape) >= len(axes) if free else len(shape) == len(axes)
        if fits:
            for size, axis in zip(shape[len(shape) - len(axes) :], axes, strict=True):
                if axis.isdigit():
                    fits &= size == int(axis)
                elif axis not in sizes:
                    sizes[axis], origin[axis] = size, name
                else:
                    fits &= size == sizes[axis]
        if not fits:
            known = [
                f"{a} = {sizes[a]} (from {origin[a]})" for a in dict.fromkeys(axes) if a in sizes and origin[a] != name
            ]
            expected = "a scalar" if not spec.split() else f"[{', '.join(spec.split())}]"
            raise ValueError(
                f"{function}: {name} must "
                + (f"be {expected}" if not spec.split() else f"have shape {expected}")
                + (f" with {', '.join(known)}" if known else "")
                + f", got {shape}"
            )
    return sizes


def check_trees(function: str, /, **arguments: Any) -> None:
    """Checks that trees have one structure, and leaves of one shape.

    Raises:
      ValueError: naming the function, the argument, the path of the first leaf that differs, and both shapes.

    Example:
      >>> check_trees("f", old={"w": np.zeros(2)}, new={"w": np.zeros(3)})
      Traceback (most recent call last):
      ValueError: f: new['w'] must have the shape (2,) of old, got (3,)
    """
    (first, like), *others = arguments.items()
    expected = dict(jax.tree.leaves_with_path(like))
    for name, tree in others:
        if jax.tree.structure(tree) != jax.tree.structure(like):
            structures = jax.tree.structure(like), jax.tree.structure(tree)
            raise ValueError(
                f"{function}: {name} must have the structure of {first}, {structures[0]}, got {structures[1]}"
            )
        for path, leaf in jax.tree.leaves_with_path(tree):
            if np.shape(leaf) != np.shape(expected[path]):
                where = f"{name}{jax.tree_util.keystr(path)}"
                shape = np.shape(expected[path])
                raise ValueError(f"{function}: {where} must have the shape {shape} of {first}, got {np.shape(leaf)}")


def check_dtype(function: str, /, kind: Any, **arguments: ArrayLike | None) -> None:
    """Checks that arrays have a dtype of `kind`, such as `jnp.floating` or `jnp.integer`.

    Raises:
      TypeError: naming the function, the argument, the kind expected and the dtype that came.

    Example:
      >>> check_dtype("f", jnp.integer, a_t=np.zeros(3, np.float32))
      Traceback (most recent call last):
      TypeError: f: a_t must have an integer dtype, got float32
    """
    for name, array in arguments.items():
        if array is None:
            continue
        dtype = jnp.result_type(array)
        if not jnp.issubdtype(dtype, kind):
            word = getattr(kind, "__name__", str(kind))
            article = "an" if word[0] in "aeiou" else "a"
            raise TypeError(f"{function}: {name} must have {article} {word} dtype, got {dtype}")


def check_differentiable(function: str, /, **arguments: Any) -> None:
    """Checks that a gradient can be taken by trees: that their leaves have a floating or complex dtype.

    Raises:
      TypeError: naming the function, the argument, the path of the first leaf that has another, and its dtype.

    Example:
      >>> check_differentiable("f", params={"w": np.zeros(3, np.int32)})
      Traceback (most recent call last):
      TypeError: f: params['w'] must have a floating or complex dtype, got int32
    """
    for name, tree in arguments.items():
        for path, leaf in jax.tree.leaves_with_path(tree):
            if not jnp.issubdtype(dtype := jnp.result_type(leaf), jnp.inexact):
                where = f"{name}{jax.tree_util.keystr(path)}"
                raise TypeError(f"{function}: {where} must have a floating or complex dtype, got {dtype}")


def check_callable(function: str, /, **arguments: Any) -> None:
    """Checks that arguments are functions, or other objects that can be called.

    Raises:
      TypeError: naming the function, the argument and what came.

    Example:
      >>> check_callable("f", schedule=0.1)
      Traceback (most recent call last):
      TypeError: f: schedule must be a function, got 0.1 of type float
    """
    for name, argument in arguments.items():
        if not callable(argument):
            raise TypeError(
                f"{function}: {name} must be a function, got {argument!r} of type {type(argument).__name__}"
            )


def check_has(function: str, kind: str, attributes: Sequence[str], /, **arguments: Any) -> None:
    """Checks that arguments are of a kind, which is to have some attributes; of which class they are does not matter.

    Raises:
      TypeError: naming the function, the argument, the kind and what came.

    Example:
      >>> check_has("f", "a pair", ("apply", "apply_inv"), tx_pair=0.1)
      Traceback (most recent call last):
      TypeError: f: tx_pair must be a pair, with apply and apply_inv, got 0.1 of type float
    """
    for name, argument in arguments.items():
        if not all(hasattr(argument, attribute) for attribute in attributes):
            came = f"{argument!r} of type {type(argument).__name__}"
            raise TypeError(f"{function}: {name} must be {kind}, with {' and '.join(attributes)}, got {came}")


def check_choice(function: str, /, argument: str, value: Any, choices: Any) -> None:
    """Checks that a value is one of a few.

    Raises:
      ValueError: listing the valid values.

    Example:
      >>> check_choice("f", "mode", "fan", ["fan_in", "fan_out"])
      Traceback (most recent call last):
      ValueError: f: mode must be one of 'fan_in', 'fan_out', got 'fan'
    """
    if value not in choices:
        valid = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{function}: {argument} must be one of {valid}, got {value!r}")
