"""One function, every transformation of JAX, one answer."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PyTree

from renga.testing._rules import wrong_rules

_AXIS = "check_transforms"


def check_transforms(
    fn: Callable[..., PyTree],
    *args: PyTree,
    differentiable: bool = True,
    rtol: float | int = 1e-5,
    atol: float | int = 1e-6,
    compiler_options: dict[str, Any] | None = None,
    custom_rules: bool = True,
    eager: bool = True,
) -> None:
    """Checks that a function gives the plain call's result under every transformation.

    `fn(*args)` runs as plain Python, and then under `jit`, `grad`, `vmap`, `vmap` of `vmap`, `lax.scan` and
    `shard_map` over two devices. Lanes of a batch hold the same arguments, so each must repeat the plain result.
    To compile little, all but `grad` run one inside the other, `jit(shard_map(scan(vmap(vmap(fn)))))`; only if
    something is wrong each runs alone, to name it. Where there are random keys, all but `grad` run once more with
    every typed key turned into a legacy one and the other way round.

    `grad` takes y = Σ w ∘ fn(x) for fixed weights w over the inexact outputs, and holds reverse mode against forward
    mode:

        ⟨∇y(x), v⟩ = ∂y(x)[v]

    Where forward mode does not exist (`jax.custom_vjp`), the gradient must be finite. Each custom rule in the program
    is held against differences of the function it belongs to, at the values of the call.

    Args:
      fn: a function of trees of arrays that returns a tree of arrays and numbers. Bind whatever is static.
      *args: its arguments. Leaves are arrays, numbers or keys.
      differentiable: whether to check `grad`.
      rtol: relative tolerance.
      atol: absolute tolerance.
      compiler_options: passed to `jax.jit`; large tables compile faster with less optimisation.
      custom_rules: whether a custom rule must be the derivative of its function; False where it differs on purpose.
      eager: whether the plain call runs as Python, one operation after another; False: compiled, in one program with
        the others, which takes less time, and sees nothing that goes wrong in Python alone.

    Raises:
      AssertionError: naming the function, the transformation and the leaf, and by how much it is off.
      RuntimeError: if there are fewer than two devices.

    Example:
      >>> check_transforms(lambda x: jnp.sin(x).sum(), jnp.arange(3.0))
      >>> check_transforms(lambda x: x if x.sum() > 0 else -x, jnp.arange(3.0))  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      AssertionError: check_transforms(<lambda>): jit raised TracerBoolConversionError: ...

    References:
      "JAX at DeepMind", NeurIPS 2020: composable program transformations.
    """
    name = getattr(fn, "__name__", None) or type(fn).__name__
    if len(jax.devices()) < 2:
        raise RuntimeError(
            "check_transforms: shard_map needs two devices, got "
            f'{len(jax.devices())}; call jax.config.update("jax_num_cpu_devices", 2) before the first computation'
        )
    args = jax.tree.map(jnp.asarray, args)
    given = fn
    # Python numbers among the results become arrays, which all transformations return.
    fn = lambda *args: jax.tree.map(jnp.asarray, given(*args))
    plain = fn(*args) if eager else None
    check = functools.partial(_check, rtol=rtol, atol=atol, compiler_options=compiler_options)
    gradient = {}
    if differentiable and _has_inexact(args, plain if eager else _shapes(name, fn, args)):
        gradient["grad"] = (functools.partial(_value_and_derivatives, fn, forward_mode=True), ())
    try:
        plain = check(name, fn, args, plain, gradient)
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        gradient["grad"] = (functools.partial(_value_and_derivatives, fn, forward_mode=False), ())
        plain = check(name, fn, args, plain, gradient)
    if differentiable and custom_rules:
        for text in wrong_rules(fn, args):
            raise AssertionError(f"check_transforms({name}): {text}")

    swapped = jax.tree.map(_swap_key, args)
    if any(_is_key(x) for x in jax.tree.leaves((args, swapped))):
        name = f"{name}, with the other kind of key"
        other = check(name, fn, swapped, fn(*swapped) if eager else None, {})
        _compare(name, "the plain call", _raw(other), _raw(plain), 0, rtol, atol)


def _check(name, fn, args, plain, gradient, *, rtol, atol, compiler_options) -> PyTree:
    """Runs the transformations in one program; if that is not the plain result, each alone, to name the culprit.

    Returns:
      The plain result, which is computed with the others where it is not given.
    """
    check = functools.partial(
        _check_each, name, fn, args=args, plain=plain, rtol=rtol, atol=atol, compiler_options=compiler_options
    )
    try:
        return check(_composed(fn) | gradient)
    except AssertionError as error:
        for transformation, program in (_programs(fn) | gradient).items():
            check({transformation: program})
        if error.__cause__ is None:
            raise
        # JAX itself refuses some loops in vmap inside of shard_map.
        return check({"scan of vmap of vmap": (_scanned(jax.vmap(jax.vmap(fn))), (2, 2, 2))})


def _check_each(name, fn, programs, *, args, plain, rtol, atol, compiler_options) -> PyTree:
    """Runs the programs, holds each against the plain result and returns that."""
    if plain is None:
        programs = {"jit": (fn, ())} | programs
    outputs = _run(name, programs, args, compiler_options)
    plain = outputs[0] if plain is None else plain
    for (transformation, (_, lanes)), output in zip(programs.items(), outputs, strict=True):
        if transformation == "grad":
            # pyrefly: ignore[bad-argument-count]
            _check_gradient(name, *output, rtol, atol)
            _compare(name, "grad's value", output[0], plain, 0, rtol, atol)
        else:
            _compare(name, transformation, output, plain, len(lanes), rtol, atol)
    return plain


_Programs = dict[str, tuple[Callable, tuple[int, ...]]]


def _programs(fn: Callable) -> _Programs:
    """Returns, by name, the transformed function and the leading axes that it adds to its arguments."""
    return {
        "jit": (fn, ()),
        "vmap": (jax.vmap(fn), (2,)),
        "vmap of vmap": (jax.vmap(jax.vmap(fn)), (2, 2)),
        "scan": (_scanned(fn), (2,)),
        "shard_map": (_sharded(fn), (2,)),
    }


def _composed(fn: Callable) -> _Programs:
    """Returns one program that contains them all."""
    return {"shard_map of scan of vmap of vmap": (_on_devices(_scanned(jax.vmap(jax.vmap(fn)))), (4, 2, 2))}


def _scanned(fn: Callable) -> Callable:
    return lambda *args: jax.lax.scan(lambda _, x: (None, fn(*x)), None, args)[1]


def _sharded(fn: Callable) -> Callable:
    def one_row(*args):
        out = fn(*jax.tree.map(lambda x: x[0], args))
        return jax.tree.map(lambda x: x[None], out)

    return _on_devices(one_row)


def _on_devices(fn: Callable) -> Callable:
    mesh = Mesh(np.array(jax.devices()[:2]), (_AXIS,))
    return jax.shard_map(fn, mesh=mesh, in_specs=PartitionSpec(_AXIS), out_specs=PartitionSpec(_AXIS))


def _run(name: str, programs: _Programs, args: tuple, compiler_options: dict[str, Any] | None) -> list[PyTree]:
    """Runs all programs inside one jitted function: one compilation is much cheaper than several."""

    @functools.partial(jax.jit, compiler_options=compiler_options)
    def run(args):
        outputs = []
        for transformation, (program, lanes) in programs.items():
            batch = jax.tree.map(lambda x, n=lanes: jnp.broadcast_to(x, (*n, *x.shape)), args)
            try:
                outputs.append(program(*batch))
            except Exception as error:
                raise _raised(name, transformation, error) from error
        return outputs

    return run(args)


def _shapes(name: str, fn: Callable, args: tuple) -> PyTree:
    try:
        return jax.eval_shape(fn, *args)
    except Exception as error:
        raise _raised(name, "jit", error) from error


def _raised(name: str, transformation: str, error: Exception) -> AssertionError:
    return AssertionError(f"check_transforms({name}): {transformation} raised {type(error).__name__}: {error}")


def _value_and_derivatives(fn: Callable, *args: PyTree, forward_mode: bool) -> tuple[PyTree, Array, Array, PyTree]:
    """Returns fn(x), ⟨∇y(x), v⟩, ∂y(x)[v] (NaN without forward mode) and ∇y(x)."""
    leaves, treedef = jax.tree.flatten(args)
    where = [i for i, x in enumerate(leaves) if _is_inexact(x)]

    def scalar(inexact):
        filled = list(leaves)
        for i, x in zip(where, inexact, strict=True):
            filled[i] = x
        out = fn(*jax.tree.unflatten(treedef, filled))
        terms = [_weighted_sum(x) for x in jax.tree.leaves(out) if _is_inexact(x)]
        return sum(terms, jnp.float32(0.0)), out

    x = [leaves[i] for i in where]
    v = [_direction(x, i) for i, x in enumerate(x)]
    gradient, value = jax.grad(scalar, has_aux=True)(x)
    reverse = sum(jnp.sum((g * t).real) for g, t in zip(gradient, v, strict=True))
    forward = jax.jvp(lambda x: scalar(x)[0], (x,), (v,))[1] if forward_mode else jnp.full_like(reverse, jnp.nan)
    # pyrefly: ignore[bad-return]
    return value, reverse, forward, gradient


def _weighted_sum(x: Array) -> Array:
    """Returns Σ w ∘ x for fixed weights w in [½, 1½], real part and imaginary part."""
    w = (0.5 + jnp.arange(x.size, dtype=jnp.float32).reshape(x.shape) * 0.618 % 1.0).astype(x.dtype)
    total = (w * x).sum()
    return total.real + total.imag if jnp.iscomplexobj(x) else total


def _direction(x: Array, seed: int) -> Array:
    """Returns a fixed tangent v with entries in [−1, 1] of the shape of x."""
    n = jnp.arange(x.size, dtype=jnp.float32).reshape(x.shape)
    return jnp.cos(1.7 * n + seed).astype(x.dtype)


def _check_gradient(name, value, reverse, forward, gradient, rtol, atol) -> None:
    """Checks that the gradient is finite where the value is, and that reverse mode agrees with forward mode."""
    finite_value = all(np.isfinite(np.asarray(x, np.complex64)).all() for x in jax.tree.leaves(value) if _is_inexact(x))
    finite = all(np.isfinite(np.asarray(g, np.complex64)).all() for g in gradient)
    if finite_value and not finite:
        raise AssertionError(f"check_transforms({name}): grad is not finite")
    if finite and np.isfinite(forward):
        scale = sum(float(np.abs(np.asarray(g, np.complex64)).sum()) for g in gradient)
        error = abs(float(reverse) - float(forward))
        # Both are sums over all entries, so the error is measured against the sum of magnitudes.
        if error > 10 * (atol + rtol * max(1.0, scale)):
            raise AssertionError(
                f"check_transforms({name}): grad: reverse mode gives {float(reverse):.8g} along a fixed direction, "
                f"forward mode {float(forward):.8g}"
            )


def _compare(name, label, output, plain, num_lanes, rtol, atol) -> None:
    """Compares every lane of every leaf with the plain result."""
    got = jax.tree.leaves_with_path(output)
    want = jax.tree.leaves_with_path(plain)
    if jax.tree.structure(output) != jax.tree.structure(plain):
        raise AssertionError(
            f"check_transforms({name}): {label} returns the structure {jax.tree.structure(output)}, "
            f"the plain call {jax.tree.structure(plain)}"
        )
    for (path, x), (_, y) in zip(got, want, strict=True):
        leaf = jax.tree_util.keystr(path) or "the result"
        x, y = (np.asarray(_raw(z)) for z in (x, jnp.asarray(y)))
        if x.shape[num_lanes:] != y.shape or x.dtype != y.dtype:
            raise AssertionError(
                f"check_transforms({name}): {label}: {leaf} is {x.dtype}{list(x.shape[num_lanes:])}, "
                f"the plain call gives {y.dtype}{list(y.shape)}"
            )
        wide = np.complex128 if np.iscomplexobj(y) else np.float64
        x, y = x.astype(wide), y.astype(wide)
        close = np.isclose(x, y, rtol=rtol, atol=atol, equal_nan=True)
        if not close.all():
            error = np.abs(x - y)
            worst = np.unravel_index(np.argmax(np.where(close, -1, np.nan_to_num(error, nan=np.inf))), error.shape)
            raise AssertionError(
                f"check_transforms({name}): {label}: {leaf} is off by {error[worst]:.3g} at {tuple(map(int, worst))} "
                f"(plain {np.broadcast_to(y, x.shape)[worst]:.8g}, got {x[worst]:.8g}; "
                f"{int((~close).sum())} of {close.size} entries)"
            )


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)


def _is_inexact(x: Any) -> bool:
    return not _is_key(x) and jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def _has_inexact(inputs: PyTree, outputs: PyTree) -> bool:
    return all(any(map(_is_inexact, jax.tree.leaves(t))) for t in (inputs, outputs))


def _is_legacy_key(x: Array) -> bool:
    return x.dtype == jnp.uint32 and x.ndim >= 1 and x.shape[-1] == 2


def _swap_key(x: Array) -> Array:
    """Turns a typed key into a legacy one and the other way round."""
    if _is_key(x):
        return jax.random.key_data(x)
    return jax.random.wrap_key_data(x) if _is_legacy_key(x) else x


def _raw(tree: PyTree) -> PyTree:
    """Replaces typed keys by their data."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)
