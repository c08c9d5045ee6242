"""Small modules and functions without parameters of their own."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Shaped

from renga._core.checks import check_callable
from renga._core.ranges import check_integer
from renga.nn._arrays import floating, spread
from renga.nn._module import Module


class Sequential(Module):
    """Calls one function after the other; the first gets all the arguments.

    Args:
      layers: modules or functions.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     return nn.Sequential([nn.Linear(8), jax.nn.relu, nn.Linear(2)])(x)
      >>> list(nn.transform(f).init(jax.random.key(0), jnp.ones(3)))
      ['linear', 'linear_1']
    """

    def __init__(self, layers: Iterable[Callable[..., Any]], name: str | None = None):
        super().__init__(name=name)
        self.layers = tuple(layers)
        check_callable("Sequential", **{f"layers[{i}]": layer for i, layer in enumerate(self.layers)})

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls the layers.

        Args:
          inputs: of the first layer.
          *args: more arguments of the first layer.
          **kwargs: named arguments of the first layer.
        """
        out = inputs
        for i, layer in enumerate(self.layers):
            out = layer(out, *args, **kwargs) if i == 0 else layer(out)
        return out


class BatchApply:
    """Merges the leading axes, applies a function, and takes them apart again.

    Args:
      f: a function or module of arrays with one batch axis.
      num_dims: number of leading axes.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.BatchApply(nn.Linear(2))(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([5, 4, 3]))
      >>> f.apply(params, None, jnp.ones([5, 4, 3])).shape
      (5, 4, 2)
    """

    def __init__(self, f: Callable[..., Any], num_dims: int = 2):
        check_callable("BatchApply", f=f)
        self._f = f
        self.num_dims = num_dims

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Applies the function to trees of arrays with equal leading axes."""
        n, leading = self.num_dims, []

        def merge(x: Any) -> Any:
            if x is None or not hasattr(x, "shape"):
                return x
            leading.append(tuple(x.shape[:n]))
            return x.reshape(math.prod(x.shape[:n]), *x.shape[n:])

        out = self._f(*jax.tree.map(merge, args), **jax.tree.map(merge, kwargs))
        if not leading:
            raise ValueError("BatchApply: at least one argument must be an array")
        if len(set(leading)) > 1:
            raise ValueError(
                f"BatchApply: all arguments must have the same {n} leading axes, got "
                f"{', '.join(map(str, dict.fromkeys(leading)))}"
            )
        return jax.tree.map(lambda y: y.reshape(*leading[0], *y.shape[1:]), out)


def expand_apply(f: Callable[..., Any], axis: int = 0) -> Callable[..., Any]:
    """Adds an axis of size 1 to all arguments, applies a function, and takes it away again.

    Args:
      f: a function of arrays with that axis.
      axis: 0 or -1.

    Raises:
      ValueError: on another axis.

    Example:
      >>> expand_apply(lambda x: x.sum(axis=1))(jnp.arange(3))
      Array(3, dtype=int32)
    """
    check_callable("expand_apply", f=f)
    if axis not in (0, -1):
        raise ValueError(f"expand_apply: axis must be 0 or -1, got {axis}")

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        expand = functools.partial(jnp.expand_dims, axis=axis)
        out = f(*jax.tree.map(expand, args), **jax.tree.map(expand, kwargs))
        return jax.tree.map(lambda y: jnp.take(y, 0, axis=axis) if y.ndim else y, out)

    return wrapped


class Reshape(Module):
    """Gives an array another shape, behind its leading axes.

    Args:
      output_shape: the new sizes behind the leading axes; one of them may be -1.
      preserve_dims: number of leading axes that stay; negative to count from the end.
      name: name of the module.

    Raises:
      ValueError: if `preserve_dims` is 0, or more than one size is -1.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Reshape([-1, 2])(x))
      >>> f.apply({}, None, jnp.ones([5, 3, 4])).shape
      (5, 6, 2)
    """

    def __init__(self, output_shape: Sequence[int], preserve_dims: int = 1, name: str | None = None):
        super().__init__(name=name)
        if preserve_dims == 0:
            raise ValueError("Reshape: preserve_dims must not be 0; use jnp.reshape to change all axes")
        if list(output_shape).count(-1) > 1:
            raise ValueError(f"Reshape: at most one size may be -1, got output_shape {tuple(output_shape)}")
        self.output_shape = tuple(output_shape)
        self.preserve_dims = preserve_dims

    def __call__(self, inputs: Shaped[ArrayLike, "..."]) -> Shaped[Array, "..."]:
        """Reshapes.

        Args:
          inputs: an array.
        """
        inputs = jnp.asarray(inputs)
        if inputs.ndim <= self.preserve_dims:
            return inputs
        n = self.preserve_dims if self.preserve_dims > 0 else inputs.ndim + self.preserve_dims
        known = math.prod(size for size in self.output_shape if size != -1)
        rest = math.prod(inputs.shape[n:])
        fits = rest % known == 0 if -1 in self.output_shape and known else rest == known
        if not fits:
            raise ValueError(
                f"Reshape: inputs of shape {inputs.shape} cannot be reshaped to "
                f"{inputs.shape[:n]} + {self.output_shape}"
            )
        sizes = [rest // known if size == -1 and known else max(size, 0) for size in self.output_shape]
        return inputs.reshape(*inputs.shape[:n], *sizes)


class Flatten(Reshape):
    """Merges all axes behind the leading ones.

    Args:
      preserve_dims: number of leading axes that stay; negative to count from the end.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> nn.transform(lambda x: nn.Flatten()(x)).apply({}, None, jnp.ones([5, 3, 4])).shape
      (5, 12)
    """

    def __init__(self, preserve_dims: int = 1, name: str | None = None):
        super().__init__(output_shape=(-1,), preserve_dims=preserve_dims, name=name)


def dropout(
    rng: Any, rate: Any, x: Shaped[ArrayLike, "..."], broadcast_dims: Sequence[int] = ()
) -> Shaped[Array, "..."]:
    """Sets elements to zero at random and scales up the others, so that the mean stays.

        y = m x / (1 - rate),  m ~ Bernoulli(1 - rate)

    Args:
      rng: a random key.
      rate: probability of a zero, in [0, 1).
      x: an array.
      broadcast_dims: axes along which the same elements are dropped.

    Returns:
      An array of the shape of `x`.

    Raises:
      ValueError: if a rate that is a number is not in [0, 1).

    Example:
      >>> dropout(jax.random.key(1), 0.5, jnp.ones(4))
      Array([2., 0., 2., 2.], dtype=float32)

    References:
      Srivastava et al., "Dropout", 2014, section 4.
    """
    concrete = not isinstance(rate, jax.core.Tracer)
    if concrete and not 0 <= float(rate) < 1:
        raise ValueError(f"dropout: rate must be in [0, 1), got {rate}")
    x = floating(x)
    if concrete and float(rate) == 0.0:
        return x
    shape = list(x.shape)
    for axis in broadcast_dims:
        if not -x.ndim <= axis < x.ndim:
            raise ValueError(f"dropout: broadcast_dims must be axes of x, of shape {x.shape}, got {axis}")
        shape[axis] = 1
    keep_rate = 1.0 - rate
    keep = jax.random.bernoulli(rng, keep_rate, shape=shape)
    keep = spread(keep, x.shape)
    scale = jnp.asarray(keep_rate, x.dtype)
    return lax.select(keep, x / scale, jnp.zeros_like(x))


def one_hot(x: ArrayLike, num_classes: int, dtype: Any = jnp.float32) -> Shaped[Array, "..."]:
    """Vectors that are 1 at the place given and 0 elsewhere; all 0 if there is no such place.

    Args:
      x: [...] indices: integers, or whole numbers in another dtype.
      num_classes: number of places.
      dtype: of the result.

    Returns:
      [..., num_classes].

    Example:
      >>> one_hot(1, 3)
      Array([0., 1., 0.], dtype=float32)
    """
    check_integer("one_hot", low=0, num_classes=num_classes)
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.integer):  # whole numbers in floats, 0 and 1 in bools
        places = jnp.arange(num_classes).astype(floating(x).dtype)
        return (jnp.expand_dims(floating(x), -1) == places.reshape([1] * x.ndim + [-1])).astype(dtype)
    return jax.nn.one_hot(x, num_classes, dtype=dtype)


def multinomial(
    rng: Any, logits: Shaped[ArrayLike, "*batch classes"], num_samples: int
) -> Shaped[Array, "*batch samples"]:
    """Draws classes with probability proportional to exp(logits).

    Args:
      rng: a random key.
      logits: unnormalised log-probabilities.
      num_samples: number of draws from each distribution.

    Returns:
      int32 indices of classes.

    Example:
      >>> multinomial(jax.random.key(0), jnp.array([-jnp.inf, 0.0]), 3)
      Array([1, 1, 1], dtype=int32)
    """
    logits = floating(logits)
    if not logits.ndim or not logits.shape[-1]:
        raise ValueError(f"multinomial: logits must have at least one class on the last axis, got shape {logits.shape}")
    check_integer("multinomial", low=0, num_samples=num_samples)
    shape = (num_samples, *logits.shape[:-1])
    samples = jax.random.categorical(rng, jnp.expand_dims(logits, 0), axis=-1, shape=shape)
    return jnp.moveaxis(samples, 0, -1)


def to_module(f: Callable[..., Any]) -> type[Module]:
    """Makes a module class of a function: what it makes is named as in the module's `__call__`.

    Args:
      f: a function, whose name is the default name of the modules.

    Returns:
      A subclass of `Module` with the constructor `(name=None)`.

    Example:
      >>> from renga import nn
      >>> def encoder(x):
      ...     return nn.Linear(2)(x)
      >>> f = nn.transform(lambda x: nn.to_module(encoder)()(x))
      >>> list(f.init(jax.random.key(0), jnp.ones(3)))
      ['encoder/linear']
    """
    check_callable("to_module", f=f)

    class ToModuleWrapper(Module):
        """A function as a module."""

        def __init__(self, name: str | None = None):
            super().__init__(name=name or getattr(f, "__name__", None))

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Calls the function."""
            return f(*args, **kwargs)

    return ToModuleWrapper
