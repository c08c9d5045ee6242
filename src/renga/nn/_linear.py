"""Affine maps."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Shaped

from renga._core.ranges import check_integer
from renga.nn._arrays import add_bias, as_array, dot, spread
from renga.nn._module import Module
from renga.nn._params import get_parameter
from renga.nn.initializers import Initializer, TruncatedNormal


class Linear(Module):
    """An affine map of the last axis: y = x w + b.

    Parameters:
      w: [input_size, output_size], from a normal cut at ±2σ with σ = 1/√input_size.
      b: [output_size], zeros; if `with_bias`.

    Args:
      output_size: size of the last axis of the output.
      with_bias: whether b is added.
      w_init: initialiser of w.
      b_init: initialiser of b.
      name: name of the module.

    Raises:
      ValueError: if the input is a scalar.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Linear(3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([2, 5]))
      >>> f.apply(params, None, jnp.ones([2, 5])).shape
      (2, 3)
    """

    def __init__(
        self,
        output_size: int,
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.input_size: int | None = None
        if not isinstance(output_size, int) or output_size < 0:
            check_integer("Linear", low=0, output_size=output_size)
        self.output_size = output_size
        self.with_bias = with_bias
        self.w_init = w_init
        self.b_init = b_init or jnp.zeros

    def __call__(self, inputs: Shaped[ArrayLike, "..."], *, precision: Any = None) -> Shaped[Array, "..."]:
        """Applies the map.

        Args:
          inputs: [..., input_size].
          precision: of the product, as in `jax.lax.dot`.

        Returns:
          [..., output_size].
        """
        inputs = as_array(inputs)
        if not inputs.shape:
            raise ValueError("Linear: inputs must have at least one axis, got a scalar")
        size = self.input_size = inputs.shape[-1]
        dtype = inputs.dtype
        w_init = self.w_init or TruncatedNormal(stddev=1.0 / np.sqrt(max(size, 1)))
        w = get_parameter("w", [size, self.output_size], dtype, init=w_init)
        out = dot(inputs, w, precision)
        if self.with_bias:
            b = get_parameter("b", [self.output_size], dtype, init=self.b_init)
            out = add_bias(out, b)
        return out


class Bias(Module):
    """Adds a bias: y = x + m b.

    Parameters:
      b: the sizes of the axes `bias_dims`, 1 for the other axes behind the first of them; zeros.

    Args:
      output_size: the shape of x without the leading axis; found from x if None.
      bias_dims: the axes of x with a bias of their own, all but the leading one if None, none
        (a scalar bias) if empty.
      b_init: initialiser of b.
      name: name of the module.

    Raises:
      ValueError: if x has another shape than `output_size`, or `bias_dims` holds the batch axis.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Bias(bias_dims=[-1])(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([2, 5, 3]))
      >>> params["bias"]["b"].shape
      (3,)
    """

    def __init__(
        self,
        output_size: Sequence[int] | None = None,
        bias_dims: Sequence[int] | None = None,
        b_init: Initializer | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.output_size = output_size
        self.bias_dims = bias_dims
        self.b_init = b_init or jnp.zeros
        self.bias_shape: tuple[int, ...] | None = None

    def __call__(self, inputs: Shaped[ArrayLike, "..."], multiplier: ArrayLike | None = None) -> Shaped[Array, "..."]:
        """Adds the bias.

        Args:
          inputs: [batch, ...].
          multiplier: factor m of the bias, 1 if None.

        Returns:
          An array of the shape of `inputs`.
        """
        inputs = as_array(inputs)
        shape = inputs.shape[1:]
        if self.output_size is not None and tuple(self.output_size) != shape:
            raise ValueError(
                f"Bias: inputs must have shape [batch, {', '.join(map(str, self.output_size))}], got {inputs.shape}"
            )
        self.bias_shape = _bias_shape(inputs.shape, self.bias_dims)
        b = get_parameter("b", self.bias_shape, inputs.dtype, init=self.b_init)
        b = spread(b, inputs.shape)
        if multiplier is not None:
            b = b * spread(jnp.asarray(multiplier), b.shape)
        return inputs + b


def _bias_shape(shape: tuple[int, ...], bias_dims: Sequence[int] | None) -> tuple[int, ...]:
    if bias_dims is not None and not bias_dims:
        return ()
    if bias_dims is None:
        return shape[1:]
    axes = {axis % len(shape) for axis in bias_dims}
    if 0 in axes:
        raise ValueError("Bias: bias_dims must not hold the batch axis 0")
    return tuple(shape[axis] if axis in axes else 1 for axis in range(min(axes), len(shape)))
