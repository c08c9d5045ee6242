"""How far two arrays are apart: where, by how much, and in units in the last place."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import DTypeLike

# Relative tolerances by dtype: rounding of a sum of some hundred terms.
_RTOL = {"float64": 1e-12, "float32": 1e-5, "float16": 5e-3, "bfloat16": 3e-2}
# What one product of float32 matrices loses by default: TensorFloat-32 has 10 bits, bfloat16 has 7.
_FLOAT32_PRODUCT = {"cpu": 0.0, "gpu": 2e-3, "tpu": 2e-2}


class Tolerance(NamedTuple):
    """|a − b| ≤ atol + rtol |b|."""

    rtol: float
    atol: float


def tolerances(*dtypes: DTypeLike, backend: str | None = None) -> Tolerance:
    """Returns tolerances that fit the coarsest of some dtypes and a backend.

    | dtype | rtol | atol |
    |---|---|---|
    | float64 | 1e-12 | 1e-13 |
    | float32 | 1e-5 on CPUs, 2e-3 on GPUs (TensorFloat-32), 2e-2 on TPUs (bfloat16 products) | a tenth |
    | float16 | 5e-3 | 5e-4 |
    | bfloat16 | 3e-2 | 3e-3 |
    | 8 bits and less | 2 eps | a tenth |
    | integers, booleans, keys | 0 | 0 |

    A complex dtype counts as its part.

    Args:
      *dtypes: one or more dtypes.
      backend: "cpu", "gpu" or "tpu"; None takes JAX's default backend.

    Returns:
      rtol and atol.

    Example:
      >>> tolerances(jnp.float32, backend="cpu")
      Tolerance(rtol=1e-05, atol=1e-06)
      >>> tolerances(jnp.float32, jnp.bfloat16, backend="cpu").rtol
      0.03
    """
    backend = jax.default_backend() if backend is None else backend
    backend = {"cuda": "gpu", "rocm": "gpu"}.get(backend, backend)
    if backend not in _FLOAT32_PRODUCT:
        raise ValueError(f"tolerances: backend must be one of 'cpu', 'gpu', 'tpu', got {backend!r}")
    rtol = 0.0
    for dtype in (jnp.dtype(d) for d in dtypes):
        if jnp.issubdtype(dtype, jnp.complexfloating):
            dtype = np.empty(0, dtype).real.dtype
        if jnp.issubdtype(dtype, jnp.floating):
            own = _RTOL.get(dtype.name) or 2.0 * float(jnp.finfo(dtype).eps)
            rtol = max(rtol, own, _FLOAT32_PRODUCT[backend] if dtype == jnp.float32 else 0.0)
    return Tolerance(rtol, float(f"{rtol / 10:.12g}"))


def is_key(x: Any) -> bool:
    """Returns whether a leaf is an array of typed keys."""
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def as_host(x: Any) -> np.ndarray:
    """Returns a leaf as a NumPy array: keys as their data, narrow floats of JAX as float32."""
    x = np.asarray(jax.random.key_data(x) if is_key(x) else x)
    if is_narrow(x.dtype):
        return x.astype(np.float32)
    return x.astype(np.int32) if x.dtype.kind == "V" and jnp.issubdtype(x.dtype, jnp.integer) else x


def is_narrow(dtype: Any) -> bool:
    """Returns whether a dtype is a float that NumPy does not know, such as bfloat16."""
    return dtype.kind == "V" and jnp.issubdtype(dtype, jnp.floating)


def is_number(x: np.ndarray) -> bool:
    """Returns whether an array has numbers or booleans."""
    return x.dtype.kind in "biufc"


def common_float(*leaves: Any) -> Any:
    """Returns the dtype in which to count ulps: that to which floats of the leaves are promoted, or None."""
    kinds = [x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype for x in leaves if not is_key(x)]
    if len(set(kinds)) > 1:
        kinds = [np.dtype(np.float32) if is_narrow(np.dtype(k)) else k for k in kinds]
    if not all(jnp.issubdtype(k, jnp.number) or k == np.bool_ for k in kinds):
        return None
    kind = np.result_type(*kinds) if len(set(kinds)) > 1 else np.dtype(kinds[0]) if kinds else None
    if kind is None or not jnp.issubdtype(kind, jnp.inexact):
        return None
    return np.empty(0, kind).real.dtype


def ulps(a: Any, b: Any, dtype: Any, xp: Any = np) -> Any:
    """Returns how many numbers of a dtype lie from a to b; NaN is 0 from NaN and far from all else."""
    if jnp.issubdtype(xp.result_type(a), jnp.complexfloating) or jnp.issubdtype(xp.result_type(b), jnp.complexfloating):
        return xp.maximum(ulps(a.real, b.real, dtype, xp), ulps(a.imag, b.imag, dtype, xp))
    a, b = xp.asarray(a).astype(dtype), xp.asarray(b).astype(dtype)
    bits = dtype.itemsize * 8
    wide = xp.uint64 if bits == 64 else xp.uint32
    sign = wide(1 << (bits - 1))

    def magnitude(x):
        raw = f"uint{bits}"
        u = (x.view(raw) if xp is np else jax.lax.bitcast_convert_type(x, raw)).astype(wide)
        return u & (sign - wide(1)), (u & sign) != 0

    (p, p_neg), (q, q_neg) = magnitude(a), magnitude(b)
    apart = xp.where(p_neg == q_neg, xp.maximum(p, q) - xp.minimum(p, q), p + q)
    nan_a, nan_b = xp.isnan(a), xp.isnan(b)
    far = wide(np.iinfo(np.uint64 if bits == 64 else np.uint32).max)
    return xp.where(nan_a & nan_b, wide(0), xp.where(nan_a | nan_b, far, apart))


def fits_shape(a: Any, b: Any, strict: bool) -> bool:
    """Returns whether two leaves can be compared: one shape, or one of them a scalar unless `strict`."""
    return np.shape(a) == np.shape(b) or (not strict and (np.ndim(a) == 0 or np.ndim(b) == 0))


def report(name: str, index: tuple[int, ...], a: Any, b: Any, dtype: Any, num_bad: int, size: int) -> str:
    """Writes where two leaves differ first and by how much."""
    at = f" at index {index}" if index else ""
    text = f"{name}{at}: expected {b!s}, got {a!s}"
    if is_number(np.asarray(a)) and is_number(np.asarray(b)):
        kinds = {np.asarray(x).dtype.kind for x in (a, b)}
        wide = complex if "c" in kinds else float if "f" in kinds else int
        text += f", off by {abs(wide(a) - wide(b)):.3g}"
        if dtype is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                text += f", {int(ulps(np.asarray(a), np.asarray(b), dtype))} ulps of {dtype.name}"
    return f"{text}; {num_bad} of {size} entries differ"
