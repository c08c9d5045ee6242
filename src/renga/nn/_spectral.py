"""Spectral normalisation."""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, PyTree, Shaped

from renga._core.ranges import check_integer
from renga.nn._arrays import as_array, cast, floating, wide
from renga.nn._module import Module
from renga.nn._moving import map_named
from renga.nn._params import get_state, set_state, state_of_shape
from renga.nn.initializers import RandomNormal


class SpectralNorm(Module):
    """Divides a matrix by its largest singular value, found by power iteration from call to call.

        v ← u Wᵀ / ‖u Wᵀ‖,  u ← v W / ‖v W‖,  σ = v W uᵀ,  W / σ

    State:
      u0: [1, out], the vector u after the last call.
      sigma: [], σ.

    Args:
      eps: the least norm to divide by.
      n_steps: power iterations a call.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda w: nn.SpectralNorm(n_steps=20)(w))
      >>> w = jnp.diag(jnp.array([3.0, 1.0]))
      >>> params, state = f.init(jax.random.key(0), w)
      >>> print(f"{f.apply(params, state, None, w)[0][0, 0]:.3f}")
      1.000

    References:
      Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018,
      algorithm 1.
    """

    def __init__(self, eps: float | int = 1e-4, n_steps: int = 1, name: str | None = None):
        super().__init__(name=name)
        check_integer(type(self).__name__, low=1, n_steps=n_steps)
        self.eps = eps
        self.n_steps = n_steps

    def __call__(
        self,
        value: Shaped[ArrayLike, "..."],
        update_stats: bool = True,
        error_on_non_matrix: bool = False,
    ) -> Shaped[Array, "..."]:
        """Returns the normalised matrix.

        Args:
          value: [..., out]; more than two axes are taken as [prod(...), out].
          update_stats: whether the state is set.
          error_on_non_matrix: whether more than two axes are an error.

        Raises:
          ValueError: on a scalar or vector, or on `error_on_non_matrix`.
        """
        value = floating(value)
        if value.ndim < 2:
            raise ValueError(
                "SpectralNorm: value must have at least two axes, a scalar or vector has no "
                f"spectral norm; got shape {value.shape}"
            )
        if value.ndim > 2 and error_on_non_matrix:
            raise ValueError(f"SpectralNorm: value must be a matrix, got shape {value.shape}")
        w = value.reshape(math.prod(value.shape[:-1]), value.shape[-1])  # -1 is not known of empty arrays
        u0 = state_of_shape("SpectralNorm", "u0", (1, w.shape[1]), w.dtype, RandomNormal())
        w = cast(w, wide(w.dtype))
        u = cast(as_array(u0), w.dtype)
        for _ in range(self.n_steps - 1):
            u = _normalise(_normalise(u @ w.T, self.eps) @ w, self.eps)
        v = _normalise(u @ w.T, self.eps)
        u, v = lax.stop_gradient((_normalise(v @ w, self.eps), v))
        sigma = (v @ w @ u.T)[0, 0]
        sigma = jnp.where(sigma == 0.0, 1.0, sigma).astype(w.dtype)
        if update_stats:
            set_state("u0", cast(u, value.dtype))
            set_state("sigma", cast(sigma, value.dtype))
        return cast(cast(value, w.dtype) / sigma, value.dtype)

    @property
    def u0(self) -> Array:
        """The vector u after the last call."""
        return get_state("u0")

    @property
    def sigma(self) -> Array:
        """The largest singular value found in the last call."""
        return get_state("sigma", (), jnp.float32, init=jnp.ones)


def _normalise(x: Array, eps: float) -> Array:
    # Of x divided by its largest entry, whose square cannot overflow.
    scale = jnp.maximum(jnp.max(jnp.abs(x), initial=0.0), 1)
    x = x / scale
    return x * lax.rsqrt(jnp.sum(lax.square(x)) + jnp.asarray(eps, x.dtype) / scale / scale)


class SNParamsTree(Module):
    """Divides the matrices of a parameter tree by their largest singular values.

    State:
      {bundle}__{name}/u0, sigma: as in `SpectralNorm`, where "/" in the bundle's name is written
        "__" and "~" is "_tilde".

    Args:
      eps: the least norm to divide by.
      n_steps: power iterations a call.
      ignore_regex: full names ("linear/b") that match are passed through.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda p: nn.SNParamsTree(ignore_regex=".*b")(p))
      >>> params = {"linear": {"w": jnp.ones([2, 2]), "b": jnp.ones(2)}}
      >>> _, state = f.init(jax.random.key(0), params)
      >>> list(state)
      ['sn_params_tree/linear__w']
    """

    def __init__(
        self,
        eps: float | int = 1e-4,
        n_steps: int = 1,
        ignore_regex: str = "",
        name: str | None = None,
    ):
        super().__init__(name=name)
        check_integer(type(self).__name__, low=1, n_steps=n_steps)
        self.eps = eps
        self.n_steps = n_steps
        self.ignore_regex = ignore_regex

    def __call__(self, tree: PyTree, update_stats: bool = True) -> PyTree:
        """Returns the tree with its matrices normalised.

        Args:
          tree: bundle name → parameter name → array.
          update_stats: whether the state is set.
        """

        def normalise(name: str, value: ArrayLike) -> Array:
            norm = SpectralNorm(self.eps, self.n_steps, name=name)
            return norm(value, update_stats=update_stats)

        return map_named(normalise, tree, self.ignore_regex, tilde="_tilde")
