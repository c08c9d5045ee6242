"""Gradients against differences in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga.testing._assertion import assertion
from renga.testing._differences import central_difference, direction, is_inexact


@assertion
def assert_numerical_grads(
    f: Callable[..., Any], f_args: Any, order: Any, atol: float | int = 0.01, **check_kwargs: Any
) -> None:
    """Checks derivatives of a function against differences, by `jax.test_util.check_grads`.

    Args:
      f: a function of arrays.
      f_args: where to differentiate.
      order: the highest derivative to check.
      atol: absolute tolerance.
      **check_kwargs: further options of `check_grads`, such as `rtol`, `modes=["rev"]` and `eps`.

    Raises:
      AssertionError: if a derivative differs.

    Example:
      >>> assert_numerical_grads(jnp.sin, (jnp.ones(2),), order=1)
    """
    from jax.test_util import check_grads

    options = {"atol": atol, "rtol": atol} | check_kwargs
    try:
        check_grads(f, tuple(f_args), order, **options)
    except TypeError as error:
        if "custom_vjp" not in str(error) or "modes" in options:
            raise
        check_grads(f, tuple(f_args), order, **options, modes=["rev"])


def check_gradients(
    fn: Callable[..., Any],
    *args: Any,
    rtol: float | int = 1e-4,
    atol: float | int = 1e-6,
    modes: Sequence[str] = ("forward", "reverse"),
) -> None:
    """Checks the derivatives of a function of trees against differences in float64.

    Runs `fn` with all floats widened to float64 and holds, for each leaf x of the arguments and fixed v and w,

        ⟨w, ∂f(x)[v]⟩  (forward mode)  and  ⟨wᵀ ∂f(x), v⟩  (reverse mode)

    against central differences of ⟨w, f(x + hv)⟩, extrapolated to h = 0. A custom rule is part of `fn`, so a
    wrong one is caught. Where the function itself computes in less than float64, the error of the differences is
    estimated and allowed for. A leaf with a kink, such as |x| at 0, has no derivative to check, and fails.

    Args:
      fn: a function of trees of arrays that returns a tree of arrays.
      *args: where to differentiate. Integers, booleans and keys are constants.
      rtol: relative tolerance.
      atol: absolute tolerance.
      modes: of "forward" and "reverse". Forward mode is left out where a `jax.custom_vjp` has none.

    Raises:
      AssertionError: naming the argument, the mode, both numbers, and, for leaves of up to 64 entries, the index.
      ValueError: if no argument is a float, or a mode is unknown.

    Example:
      >>> check_gradients(lambda p, x: jnp.tanh(p["w"] * x).sum(), {"w": 0.5}, jnp.arange(3.0))
      >>> @jax.custom_jvp
      ... def cube(x):
      ...     return x**3
      >>> cube.defjvp(lambda x, v: (cube(*x), 2 * x[0] ** 2 * v[0]))
      <function <lambda> at ...>
      >>> check_gradients(cube, 2.0)
      Traceback (most recent call last):
      AssertionError: check_gradients(cube): args[0]: forward mode gives 8, differences 12, off by 4...
    """
    name = getattr(fn, "__name__", None) or type(fn).__name__
    unknown = set(modes) - {"forward", "reverse"}
    if unknown:
        raise ValueError(f"check_gradients: modes must be of 'forward' and 'reverse', got {sorted(unknown)}")
    with jax.enable_x64(True):
        leaves, treedef = jax.tree.flatten(args)
        paths = [f"args{jax.tree_util.keystr(p)}" for p, _ in jax.tree.leaves_with_path(args)]
        leaves = [_widen(x) if is_inexact(x) else x for x in leaves]
        where = [i for i, x in enumerate(leaves) if is_inexact(x)]
        if not where:
            raise ValueError("check_gradients: no argument is a float, and so there is no derivative")

        def scalar(inexact: list) -> Any:
            filled = list(leaves)
            for i, x in zip(where, inexact, strict=True):
                filled[i] = x
            out = fn(*jax.tree.unflatten(treedef, filled))
            return _weighted(out)

        compiled = jax.jit(scalar)
        x = [leaves[i] for i in where]
        derivatives = _derivatives(scalar, x, modes)
        for k, i in enumerate(where):
            v = direction(x[k], seed=i)
            for mode, along in derivatives.items():
                got, want, error = _both(compiled, along, x, k, v)
                tolerance = atol + rtol * max(abs(want), abs(got)) + 4 * error
                if not abs(got - want) <= tolerance:
                    at = _worst_index(compiled, along, x, k) if v.size <= 64 else None
                    where_ = paths[i]
                    if at is not None:
                        index, got, want = at
                        where_ += f" at index {index}" if index else ""
                    raise AssertionError(
                        f"check_gradients({name}): {where_}: {mode} mode gives {got:.8g}, differences {want:.8g}, "
                        f"off by {abs(got - want):.3g} (rtol {rtol:.3g}, atol {atol:.3g})"
                    )


def _widen(x: Any) -> Any:
    wide = jnp.complex128 if jnp.issubdtype(jnp.result_type(x), jnp.complexfloating) else jnp.float64
    return jnp.asarray(x, wide)


def _weighted(out: Any) -> Any:
    """Returns Σ w ∘ x over the inexact leaves, real part and imaginary part, in float64."""
    total = jnp.float64(0)
    for k, y in enumerate(jax.tree.leaves(out)):
        if is_inexact(y):
            y = jnp.asarray(y)
            w = direction(np.zeros(y.shape), seed=1000 + k) if y.size > 1 else np.ones(y.shape)
            part = y.real + 0.7 * y.imag if jnp.iscomplexobj(y) else y
            total += (w * part.astype(jnp.float64)).sum()
    return total


def _derivatives(scalar: Callable, x: list, modes: Sequence[str]) -> dict[str, Callable]:
    """Returns, by mode, what gives the derivative along a direction of one leaf."""
    found: dict[str, Callable] = {}
    if "reverse" in modes:
        gradient = jax.jit(jax.grad(scalar))(x)
        found["reverse"] = lambda k, v: float((np.asarray(gradient[k]) * v).sum().real)
    if "forward" in modes:
        forward = jax.jit(lambda x, v: jax.jvp(scalar, (x,), (v,))[1])

        def along(k: int, v: np.ndarray) -> float:
            tangents = [jnp.zeros_like(y) if i != k else jnp.asarray(v, y.dtype) for i, y in enumerate(x)]
            return float(forward(x, tangents))

        try:
            along(0, np.zeros(x[0].shape))
            found = {"forward": along} | found
        except TypeError as error:
            if "custom_vjp" not in str(error) or "reverse" not in modes:
                raise
    return found


def _both(compiled: Callable, along: Callable, x: list, k: int, v: np.ndarray) -> tuple[float, float, float]:
    """Returns the derivative of one leaf along a direction, that of differences, and the error of these."""
    scale = float(np.max(np.abs(x[k]), initial=0.0)) or 1.0

    def moved(h: float) -> np.ndarray:
        return np.asarray(compiled([y + h * v if i == k else y for i, y in enumerate(x)]), np.float64)

    want, error, _ = min(
        (central_difference(moved, step * min(1.0, scale)) for step in (1e-2, 1e-3)),
        key=lambda found: float(found[1]) if np.isfinite(found[0]) else np.inf,
    )
    return along(k, v), float(want), float(error)


def _worst_index(compiled: Callable, along: Callable, x: list, k: int) -> tuple[tuple[int, ...], float, float] | None:
    """Returns the entry of a leaf whose derivative is off most, with both derivatives."""
    worst, found = 0.0, None
    for index in np.ndindex(x[k].shape):
        v = np.zeros(x[k].shape, x[k].dtype)
        v[index] = 1
        got, want, error = _both(compiled, along, x, k, v)
        off = abs(got - want)
        if not off <= max(worst, 4 * error):
            worst, found = off if np.isfinite(off) else np.inf, (tuple(map(int, index)), got, want)
    return found
