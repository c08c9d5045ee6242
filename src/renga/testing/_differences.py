"""Directional derivatives by central differences, with an estimate of their error."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_inexact(x: Any) -> bool:
    """Returns whether a leaf has a derivative: a float or complex array or number, and no key."""
    dtype = jnp.result_type(x)
    return not jnp.issubdtype(dtype, jax.dtypes.prng_key) and jnp.issubdtype(dtype, jnp.inexact)


def direction(x: Any, seed: int) -> np.ndarray:
    """Returns a fixed direction of the shape of a leaf, with entries in ±[½, 1½]."""
    rng = np.random.default_rng(seed)
    shape, dtype = np.shape(x), jnp.result_type(x)
    v = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        v = v + 1j * rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
    return np.asarray(v)


def central_difference(
    fn: Callable[[float], np.ndarray], step: float, rounds: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differentiates a function of one number at 0 by Ridders's method, for each of its outputs.

    Takes (f(h) − f(−h)) / 2h for h that fall by 1.6 each and extrapolates to h = 0; of all extrapolations the one that
    changes least is kept, and its change is the error.

    Args:
      fn: returns an array of fixed shape.
      step: the first h.
      rounds: how many h.

    Returns:
      The derivative, its error, and how much the two one-sided derivatives differ at the smallest h (a kink).

    References:
      Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", Advances in Engineering Software 4 (1982).
    """
    ratio = 1.6**2
    best: Any = None
    error: Any = None
    previous: list[np.ndarray] = []
    at_zero = np.asarray(fn(0.0))
    kink = np.zeros(at_zero.shape)
    for i in range(rounds):
        h = step / 1.6**i
        up, down = np.asarray(fn(h)), np.asarray(fn(-h))
        row = [(up - down) / (2 * h)]
        kink = np.abs((up - at_zero) - (at_zero - down)) / h
        for k, old in enumerate(previous):
            factor = ratio ** (k + 1)
            row.append((row[k] * factor - old) / (factor - 1))
            change = np.maximum(np.abs(row[k + 1] - row[k]), np.abs(row[k + 1] - old))
            change = np.where(np.isfinite(change), change, np.inf)
            if best is None:
                best, error = row[k + 1], change
            else:
                better = change < error
                best, error = np.where(better, row[k + 1], best), np.where(better, change, error)
        if best is None:
            best, error = row[0], np.full(at_zero.shape, np.inf)
        previous = row
    return np.asarray(best), np.asarray(error), np.asarray(kink)
