"""Initialisers: functions of a shape and a dtype that draw a parameter's first value.

Those that are random take the next key of the transformed function, and so must be called in one.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from renga._core.checks import check_choice
from renga.nn._draws import Draw, Drawn
from renga.nn._keys import next_rng_key

__all__ = [
    "Constant",
    "Identity",
    "Initializer",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "UniformScaling",
    "VarianceScaling",
]

# (shape, dtype) -> initial value.
Initializer = Callable[[Sequence[int], Any], Any]

# Standard deviation of a unit normal cut off at ±2.
_TRUNCATED_STDDEV = 0.87962566103423978


class Constant(Drawn):
    """A constant, broadcast to the shape.

    Args:
      constant: a number or an array.

    Example:
      >>> Constant(3.0)([2], jnp.float32)
      Array([3., 3.], dtype=float32)
    """

    def __init__(self, constant: Any):
        self.constant = constant

    def draw(self, shape: Sequence[int], dtype: Any) -> Draw:
        """What is to be drawn: the kind, the shape, the dtype and the numbers of the distribution."""
        found = np.shape(self.constant)
        fits = len(found) <= len(shape) and all(
            have in (1, want) for have, want in zip(found[::-1], tuple(shape)[::-1], strict=False)
        )
        if not fits:
            raise ValueError(f"Constant: constant must broadcast to the shape {tuple(shape)}, got shape {found}")
        return Draw("constant", tuple(shape), _dtype(dtype), mean=self.constant)


class RandomNormal(Drawn):
    """Independent normal numbers, N(mean, stddev²).

    Args:
      stddev: standard deviation.
      mean: expectation.

    Example:
      >>> from renga import nn
      >>> init = RandomNormal(stddev=0.1)
      >>> f = nn.transform(lambda: nn.get_parameter("w", [3], init=init))
      >>> f.init(jax.random.key(0))["~"]["w"].shape
      (3,)
    """

    def __init__(self, stddev: ArrayLike = 1.0, mean: ArrayLike = 0.0):
        self.stddev = stddev
        self.mean = mean

    def draw(self, shape: Sequence[int], dtype: Any) -> Draw:
        """What is to be drawn: the kind, the shape, the dtype and the numbers of the distribution."""
        return Draw("normal", tuple(shape), _drawn_dtype(self, dtype), self.stddev, self.mean)


class TruncatedNormal(Drawn):
    """Independent normal numbers, mean + stddev·x, with x ~ N(0, 1) drawn again outside of [lower, upper].

    The standard deviation of the result is less than `stddev`: 0.88·stddev for bounds of ±2.

    Args:
      stddev: standard deviation before the cut.
      mean: expectation before the cut.
      lower: lower bound of x.
      upper: upper bound of x.

    Example:
      >>> from renga import nn
      >>> init = TruncatedNormal(stddev=0.1)
      >>> f = nn.transform(lambda: nn.get_parameter("w", [1000], init=init))
      >>> bool(abs(f.init(jax.random.key(0))["~"]["w"]).max() <= 0.2)
      True
    """

    def __init__(
        self,
        stddev: ArrayLike = 1.0,
        mean: ArrayLike = 0.0,
        lower: ArrayLike = -2.0,
        upper: ArrayLike = 2.0,
    ):
        self.stddev = stddev
        self.mean = mean
        self.lower = lower
        self.upper = upper

    def draw(self, shape: Sequence[int], dtype: Any) -> Draw:
        """What is to be drawn: the kind, the shape, the dtype and the numbers of the distribution."""
        return Draw(
            "truncated_normal",
            tuple(shape),
            _drawn_dtype(self, dtype),
            self.stddev,
            self.mean,
            self.lower,
            self.upper,
        )


class RandomUniform(Drawn):
    """Independent uniform numbers from [minval, maxval).

    Args:
      minval: lower bound.
      maxval: upper bound.

    Example:
      >>> from renga import nn
      >>> init = RandomUniform(-1.0, 1.0)
      >>> f = nn.transform(lambda: nn.get_parameter("w", [3], init=init))
      >>> f.init(jax.random.key(0))["~"]["w"].shape
      (3,)
    """

    def __init__(self, minval: ArrayLike = 0.0, maxval: ArrayLike = 1.0):
        self.minval = minval
        self.maxval = maxval

    def draw(self, shape: Sequence[int], dtype: Any) -> Draw:
        """What is to be drawn: the kind, the shape, the dtype and the numbers of the distribution."""
        return Draw("uniform", tuple(shape), _drawn_dtype(self, dtype), low=self.minval, high=self.maxval)


class VarianceScaling(Drawn):
    """Numbers whose variance is scale / fan, so that signals keep their size from layer to layer.

    The fan is the number of inputs of a unit (fan_in), of outputs (fan_out), or their mean. For a
    shape [..., in, out] the leading axes are a receptive field that multiplies both.

        LeCun: VarianceScaling(1.0, "fan_in", "truncated_normal")
        He:    VarianceScaling(2.0, "fan_in", "truncated_normal")
        Glorot: VarianceScaling(1.0, "fan_avg", "uniform")

    Args:
      scale: factor, positive.
      mode: "fan_in", "fan_out" or "fan_avg".
      distribution: "truncated_normal" (cut at two standard deviations, and corrected for it),
        "normal" or "uniform".
      fan_in_axes: the axes whose sizes make up the fan-in, in place of all but the last; the
        other axes make up the fan-out.

    Raises:
      ValueError: if the scale is not positive, or mode or distribution is none of the above.

    Example:
      >>> from renga import nn
      >>> he = VarianceScaling(2.0)
      >>> f = nn.transform(lambda: nn.get_parameter("w", [200, 50], init=he))
      >>> float(f.init(jax.random.key(0))["~"]["w"].std())  # √(2 / 200)  # doctest: +ELLIPSIS
      0.1...

    References:
      He et al., "Delving Deep into Rectifiers", 2015, eq. 10.
      Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks",
      2010, eq. 16.
    """

    def __init__(
        self,
        scale: float | int = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        fan_in_axes: Sequence[int] | None = None,
    ):
        if scale < 0:
            raise ValueError(f"VarianceScaling: scale must be positive, got {scale}")
        check_choice("VarianceScaling", "mode", mode, ("fan_in", "fan_out", "fan_avg"))
        check_choice(
            "VarianceScaling",
            "distribution",
            distribution,
            ("truncated_normal", "normal", "uniform"),
        )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.fan_in_axes = fan_in_axes

    def draw(self, shape: Sequence[int], dtype: Any) -> Draw:
        """What is to be drawn: the kind, the shape, the dtype and the numbers of the distribution."""
        fan_in, fan_out = _fans(shape, self.fan_in_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        variance = self.scale / max(1.0, fan[self.mode])
        stddev = float(np.sqrt(variance))
        if self.distribution == "truncated_normal":
            init = TruncatedNormal(stddev / _TRUNCATED_STDDEV)
        elif self.distribution == "normal":
            init = RandomNormal(stddev)
        else:
            limit = float(np.sqrt(3.0 * variance))
            init = RandomUniform(-limit, limit)
        return init.draw(shape, dtype)


class UniformScaling(Drawn):
    """Uniform numbers from ±scale·√(3 / fan_in), which keep the variance of a linear layer's input.

    Args:
      scale: factor.

    Example:
      >>> from renga import nn
      >>> init = UniformScaling()
      >>> f = nn.transform(lambda: nn.get_parameter("w", [300, 3], init=init))
      >>> bool(abs(f.init(jax.random.key(0))["~"]["w"]).max() <= 0.1)
      True
    """

    def __init__(self, scale: float | int = 1.0):
        self.scale = scale

    def draw(self, shape: Sequence[int], dtype: Any) -> Draw:
        """What is to be drawn: the kind, the shape, the dtype and the numbers of the distribution."""
        fan_in = max(1.0, math.prod(shape[:-1]))
        limit = float(np.sqrt(3 / fan_in)) * self.scale
        return RandomUniform(-limit, limit).draw(shape, dtype)


class Orthogonal:
    """A random matrix with orthonormal rows or columns, uniformly distributed.

    The axis `axis` makes the rows, all the others together the columns. Made from the QR
    decomposition of a normal matrix, with the sign of R's diagonal fixed.

    Args:
      scale: factor.
      axis: the axis of the rows, often that of the outputs.

    Raises:
      ValueError: on a shape of fewer than two axes.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda: nn.get_parameter("w", [3, 3], init=Orthogonal()))
      >>> w = f.init(jax.random.key(0))["~"]["w"]
      >>> bool(jnp.allclose(w @ w.T, jnp.eye(3), atol=1e-5))
      True

    References:
      Saxe et al., "Exact solutions to the nonlinear dynamics of learning", 2014.
    """

    def __init__(self, scale: float | int = 1.0, axis: int = -1):
        self.scale = scale
        self.axis = axis

    def __call__(self, shape: Sequence[int], dtype: Any) -> Any:
        """Draws a value with the next random key."""
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: shape must have at least two axes, got {tuple(shape)}")
        rows = shape[self.axis]
        columns = math.prod(shape) // rows
        tall = (max(rows, columns), min(rows, columns))
        q, r = jnp.linalg.qr(jax.random.normal(next_rng_key(), tall, dtype))
        sign = jnp.sign(jnp.diag(r))
        q = q * jnp.broadcast_to(sign, q.shape)
        q = q if rows >= columns else q.T
        others = np.delete(np.asarray(shape), self.axis)
        q = jnp.moveaxis(q.reshape(rows, *others), 0, self.axis)
        return jnp.asarray(self.scale, q.dtype) * q


class Identity:
    """The identity matrix, on the last two axes.

    Args:
      gain: factor.

    Raises:
      ValueError: on a shape of fewer than two axes.

    Example:
      >>> Identity(gain=2.0)([2, 2], jnp.float32)
      Array([[2., 0.],
             [0., 2.]], dtype=float32)
    """

    def __init__(self, gain: ArrayLike = 1.0):
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any) -> Any:
        """Makes the value."""
        shape = tuple(shape)
        if len(shape) < 2:
            raise ValueError(f"Identity: shape must have at least two axes, got {shape}")
        eye = jnp.eye(shape[-2], shape[-1], dtype=dtype)
        return jnp.broadcast_to(jnp.asarray(self.gain, dtype) * eye, shape)


def _dtype(dtype: Any) -> Any:
    return jax.dtypes.canonicalize_dtype(dtype)


def _drawn_dtype(initializer: Any, dtype: Any) -> Any:
    dtype = _dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError(
            f"{type(initializer).__name__}: only floats can be drawn, got dtype {dtype}. The parameters of most layers "
            "have the dtype of their inputs: convert integers to floats first"
        )
    return dtype


def _fans(shape: Sequence[int], fan_in_axes: Sequence[int] | None) -> tuple[int, int]:
    """The number of inputs and of outputs of a unit."""
    if not shape:
        return 1, 1
    if fan_in_axes is not None:
        axes = {axis % len(shape) for axis in fan_in_axes}
        fan_in = math.prod(n for i, n in enumerate(shape) if i in axes)
        return fan_in, math.prod(n for i, n in enumerate(shape) if i not in axes)
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field
