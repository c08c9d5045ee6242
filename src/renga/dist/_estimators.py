r"""Monte Carlo estimators of ∇_θ E_{p_θ(x)}[f(x)], one Jacobian a sample.

All share the slide's signature `(function, params, dist_builder, rng, num_samples)`: `function` takes one sample and
returns a scalar (it is vectorised here), `dist_builder(*params)` builds p_θ, and the result has the structure of
`params` with a leading axis of samples. The mean over that axis estimates the gradient; the spread over it is the
estimator's variance.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga._core.checks import check_differentiable
from renga.dist._discrete import Bernoulli, Categorical
from renga.dist._distribution import Distribution
from renga.dist._multivariate import MultivariateNormalDiag
from renga.dist._normal import Normal

Function = Callable[[Array], Float[Array, ""]]
Estimator = Callable[..., Sequence[PyTree]]  # of the arguments that the three estimators share


class ControlVariate(NamedTuple):
    """A function h close to f whose expectation is known, so that only f − h is left to chance.

        ∇E[f] = ∇E[f − h] + ∇E[h]

    Attributes:
      function: h(x), of one sample; it must not depend on θ.
      expectation: E_p[h(x)] in closed form, of a distribution p.

    Example:
      >>> square = ControlVariate(lambda x: x**2, lambda p: p.mean() ** 2 + p.variance())
      >>> float(square.function(3.0)), float(square.expectation(Normal(1.0, 2.0)))  # 1² + 2²
      (9.0, 5.0)
    """

    function: Function
    expectation: Callable[[Any], Float[Array, ""]]


def _check_num_samples(name: str, num_samples: int) -> None:
    if num_samples < 1:
        raise ValueError(f"{name}: num_samples must be at least 1, got {num_samples}")


def _check_sample(name: str, function: Function, x: Any) -> None:
    """Checks that f takes one sample like x to a scalar."""
    shape = jax.eval_shape(function, x).shape
    if shape != ():
        raise ValueError(f"{name}: function must return a scalar for one sample of shape {x.shape}, got {shape}")


def pathwise_jacobians(
    function: Function,
    params: Sequence[PyTree],
    dist_builder: Callable[..., Any],
    rng: PRNGKeyArray | Array,
    num_samples: int,
) -> Sequence[PyTree]:
    """Differentiates through the sample: the reparametrisation trick.

        ∇_θ E_{p_θ(x)}[f(x)] = E_{p(ε)}[∇_θ f(g_θ(ε))],   x = g_θ(ε)

    Args:
      function: f, differentiable, from one sample to a scalar.
      params: θ, the arguments of `dist_builder`.
      dist_builder: builds p_θ from `*params`; its samples are differentiable in θ.
      rng: a key.
      num_samples: number N of samples.

    Returns:
      One Jacobian a sample, in the structure of `params`: `[N, *param.shape]`.

    Raises:
      ValueError: if `function` does not return a scalar.
      TypeError: if the samples are integers, which no path leads to.

    Example:
      >>> params = (jnp.zeros(2), jnp.ones(2))
      >>> jacobians = pathwise_jacobians(lambda x: (3.0 * x).sum(), params, Normal, jax.random.key(0), 4)
      >>> jacobians[0].shape, jacobians[0].mean(0)  # dE[3x]/dμ = 3
      ((4, 2), Array([3., 3.], dtype=float32))

    References:
      Mohamed et al., "Monte Carlo Gradient Estimation in Machine Learning", 2020, eq. 17.
    """
    _check_num_samples("pathwise_jacobians", num_samples)
    check_differentiable("pathwise_jacobians", params=params)
    x = jax.eval_shape(lambda params: dist_builder(*params).sample(seed=rng), params)
    _check_sample("pathwise_jacobians", function, x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(
            f"pathwise_jacobians: dist_builder must give samples of a floating dtype, got {x.dtype}; "
            "use score_function_jacobians or measure_valued_jacobians"
        )

    def value(params, key):
        return function(dist_builder(*params).sample(seed=key))

    # A key a sample: one backward pass each, where the Jacobian of one batched draw would take one pass a parameter.
    return jax.vmap(jax.grad(value), in_axes=(None, 0))(params, jax.random.split(rng, num_samples))


def score_function_jacobians(
    function: Function,
    params: Sequence[PyTree],
    dist_builder: Callable[..., Any],
    rng: PRNGKeyArray | Array,
    num_samples: int,
) -> Sequence[PyTree]:
    """Weighs the score by the value: REINFORCE. `function` need not be differentiable.

        ∇_θ E_{p_θ(x)}[f(x)] = E_{p_θ(x)}[f(x) ∇_θ log p_θ(x)]

    A batch of distributions is one joint distribution here: log p_θ(x) is the sum over the batch.

    Args:
      function: f, from one sample to a scalar.
      params: θ, the arguments of `dist_builder`.
      dist_builder: builds p_θ from `*params`; its `log_prob` is differentiable in θ.
      rng: a key.
      num_samples: number N of samples.

    Returns:
      One Jacobian a sample, in the structure of `params`: `[N, *param.shape]`.

    Raises:
      ValueError: if `function` does not return a scalar.

    Example:
      >>> coin = lambda p: Bernoulli(probs=p)
      >>> jacobians = score_function_jacobians(lambda x: x, (0.5,), coin, jax.random.key(0), 10_000)
      >>> bool(abs(jacobians[0].mean() - 1.0) < 0.05)  # dE[x]/dp = 1
      True

    References:
      Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", 1992;
      Mohamed et al., "Monte Carlo Gradient Estimation in Machine Learning", 2020, eq. 13.
    """
    _check_num_samples("score_function_jacobians", num_samples)
    check_differentiable("score_function_jacobians", params=params)
    x = jax.lax.stop_gradient(dist_builder(*params).sample((num_samples,), seed=rng))
    _check_sample("score_function_jacobians", function, x[0])
    value = jax.vmap(function)(x)

    def jacobian(value, x):
        score = jax.grad(lambda params: dist_builder(*params).log_prob(x).sum())(params)
        return jax.tree.map(lambda g: value.astype(g.dtype) * g, score)

    return jax.vmap(jacobian)(value, x)


def measure_valued_jacobians(
    function: Function,
    params: Sequence[PyTree],
    dist_builder: Callable[..., Any],
    rng: PRNGKeyArray | Array,
    num_samples: int,
    *,
    coupling: bool = True,
) -> Sequence[PyTree]:
    """Takes the difference of f under the two halves of the density's derivative; f need not be differentiable.

        ∂p_φ(x)/∂φ = c_φ (p⁺(x) − p⁻(x)),   ∇_φ E[f] = c_φ (E_{p⁺}[f] − E_{p⁻}[f])

    for each natural parameter φ of each coordinate in turn, the others drawn from p, and on to θ by the chain rule:

        | distribution | φ | c_φ | p⁺ | p⁻ |
        |---|---|---|---|---|
        | Gaussian | μ | 1 / (σ √2π) | μ + σ W, W Rayleigh | μ − σ W |
        | Gaussian | σ | 1 / σ | μ + σ M, M double-sided Maxwell | p |
        | Bernoulli | logit | p (1 − p) | 1 | 0 |
        | categorical | logit k | pₖ | k | p |

    It costs two evaluations of f a coordinate (A + 1 for a categorical of A classes).

    Args:
      function: f, from one sample to a scalar.
      params: θ, the arguments of `dist_builder`.
      dist_builder: builds a Normal, MultivariateNormalDiag, Bernoulli or Categorical from `*params`.
      rng: a key.
      num_samples: number N of samples.
      coupling: whether p⁺ and p⁻ share their random numbers, which lowers the variance.

    Returns:
      One Jacobian a sample, in the structure of `params`: `[N, *param.shape]`.

    Raises:
      TypeError: for any other distribution.
      ValueError: if `function` does not return a scalar.

    Example:
      >>> logits = jnp.zeros(2)
      >>> jacobians = measure_valued_jacobians(lambda x: x.sum(), (logits,), Bernoulli, jax.random.key(0), 3)
      >>> jacobians[0].mean(0)  # exact here: dE[x]/dl = p (1 − p)
      Array([0.25, 0.25], dtype=float32)

    References:
      Mohamed et al., "Monte Carlo Gradient Estimation in Machine Learning", 2020, eq. 29 and table 1.
    """
    _check_num_samples("measure_valued_jacobians", num_samples)
    dist = dist_builder(*params)
    key_x, key_weak = jax.random.split(rng)
    x = jax.lax.stop_gradient(dist.sample((num_samples,), seed=key_x))
    _check_sample("measure_valued_jacobians", function, x[0])
    natural, weak_derivatives = _family(dist)

    def one_sample(key, x):
        return weak_derivatives(function, jax.lax.stop_gradient(dist), key, x, coupling)

    phi_jacobians = jax.vmap(one_sample)(jax.random.split(key_weak, num_samples), x)
    _, pullback = jax.vjp(lambda params: natural(dist_builder(*params)), params)
    return jax.vmap(lambda ct: pullback(ct)[0])(phi_jacobians)


def _family(dist: Any) -> tuple[Callable, Callable]:
    """Returns what gives a distribution's natural parameters φ, and the weak derivatives with respect to them."""
    if isinstance(dist, Normal | MultivariateNormalDiag):
        return lambda d: (d.mean(), d.stddev()), _gaussian
    if isinstance(dist, Bernoulli):
        return lambda d: (d.logits,), _bernoulli
    if isinstance(dist, Categorical):
        return lambda d: (d.logits,), _categorical
    raise TypeError(
        "measure_valued_jacobians: dist_builder must build a Normal, MultivariateNormalDiag, Bernoulli or Categorical, "
        f"got {type(dist).__name__}"
    )


def _each_coordinate(function: Function, x: Array, replacement: Array) -> Array:
    """Returns f(x with coordinate i replaced), for each i: an array of the shape of x."""
    one_at_a_time = jnp.where(jnp.eye(x.size, dtype=bool), replacement.reshape(1, -1), x.reshape(1, -1))
    return jax.vmap(lambda row: function(row.reshape(x.shape)))(one_at_a_time).reshape(x.shape)


def _gaussian(function, dist, key, x, coupling):
    keys = jax.random.split(key, 5)
    μ, σ = dist.mean(), dist.stddev()
    # Location: W has density w exp(−w²/2), drawn by inverting its distribution function.
    w = [jnp.sqrt(-2.0 * jnp.log1p(-jax.random.uniform(k, x.shape, x.dtype))) for k in keys[:2]]
    up = _each_coordinate(function, x, μ + σ * w[0])
    down = _each_coordinate(function, x, μ - σ * w[0 if coupling else 1])
    d_loc = (up - down) / (σ * math.sqrt(2.0 * math.pi))
    # Scale: M is a Maxwell variable with a random sign, and U·M is standard normal for U uniform.
    m = jnp.linalg.norm(jax.random.normal(keys[2], (3, *x.shape), x.dtype), axis=0)
    m = m * jax.random.rademacher(keys[3], x.shape, x.dtype)
    u = jax.random.uniform(keys[4], x.shape, x.dtype)
    wide = _each_coordinate(function, x, μ + σ * m)
    narrow = _each_coordinate(function, x, μ + σ * u * m if coupling else x)
    return d_loc, (wide - narrow) / σ


def _bernoulli(function, dist, key, x, coupling):
    del key, coupling  # both halves are points
    difference = _each_coordinate(function, x, jnp.ones_like(x)) - _each_coordinate(function, x, jnp.zeros_like(x))
    return ((dist.variance() * difference).astype(dist.logits.dtype),)


def _categorical(function, dist, key, x, coupling):
    if coupling:
        at_p = jnp.broadcast_to(function(x), x.shape)  # x itself is the draw from p
    else:
        at_p = _each_coordinate(function, x, dist.sample(seed=key))
    at_k = jax.vmap(lambda k: _each_coordinate(function, x, jnp.full_like(x, k)))(jnp.arange(dist.num_categories))
    difference = jnp.moveaxis(at_k, 0, -1) - at_p[..., None]
    return ((dist.probs * difference).astype(dist.logits.dtype),)


def delta_method(function: Function, dist: Distribution) -> ControlVariate:
    """Makes a control variate of f's second-order Taylor polynomial about the mean.

        h(x) = f(μ) + ∇f(μ)ᵀ (x − μ) + ½ (x − μ)ᵀ ∇²f(μ) (x − μ)

    Its expectation is known from the mean and variance of independent coordinates.

    Args:
      function: f, twice differentiable, from one sample to a scalar.
      dist: the distribution at whose mean μ to expand; μ is a constant from here on.

    Returns:
      h and E_p[h].

    Example:
      >>> h = delta_method(lambda x: x**2, Normal(1.0, 2.0))
      >>> h.expectation(Normal(1.0, 2.0))  # E[x²] = μ² + σ², exactly
      Array(5., dtype=float32)

    References:
      Paisley, Blei & Jordan, "Variational Bayesian Inference with Stochastic Search", 2012, section 3.
    """
    μ = jax.lax.stop_gradient(dist.mean())
    value, slope = jax.value_and_grad(function)(μ)
    curvature = jax.hessian(function)(μ).reshape(μ.size, μ.size)

    def h(x):
        if jnp.shape(x) != μ.shape:
            raise ValueError(f"delta_method: a sample must have the shape {μ.shape} of the mean, got {jnp.shape(x)}")
        d = (x - μ).ravel()
        return value + slope.ravel() @ d + 0.5 * d @ curvature @ d

    def expectation(p):
        d, variance = (p.mean() - μ).ravel(), p.variance().ravel()
        return value + slope.ravel() @ d + 0.5 * (d @ curvature @ d + jnp.diagonal(curvature) @ variance)

    return ControlVariate(h, expectation)


def baseline(value: Float[Array, ""] | float) -> ControlVariate:
    """Makes a control variate of a constant, such as a moving average of past values of f.

        h(x) = b,   E[h] = b

    Args:
      value: b; it must not depend on the samples it is used with.

    Returns:
      h and E_p[h].

    Example:
      >>> baseline(2.0).function(jnp.zeros(3))
      Array(2., dtype=float32)

    References:
      Greensmith, Bartlett & Baxter, "Variance Reduction Techniques for Gradient Estimates in Reinforcement Learning",
      2004.
    """
    value = jnp.asarray(value, jnp.result_type(float))
    return ControlVariate(lambda x: value, lambda p: value)


def control_variates_jacobians(
    function: Function,
    control_variate: ControlVariate,
    estimator: Estimator,
    params: Sequence[PyTree],
    dist_builder: Callable[..., Any],
    rng: PRNGKeyArray | Array,
    num_samples: int,
    *,
    coefficient: float | Float[Array, ""] | None = 1.0,
) -> Sequence[PyTree]:
    """Estimates with less variance by leaving only f − βh to chance.

        J = J[f] − β (J[h] − ∇_θ E_{p_θ}[h(x)])

    Args:
      function: f, from one sample to a scalar.
      control_variate: h and its expectation.
      estimator: the estimator J: `pathwise_jacobians`, `score_function_jacobians` or `measure_valued_jacobians`.
      params: θ, the arguments of `dist_builder`.
      dist_builder: builds p_θ from `*params`.
      rng: a key.
      num_samples: number N of samples.
      coefficient: β. None estimates the best one for each parameter, Cov(J[f], J[h]) / Var(J[h]), from N samples of
        its own, so that the result stays unbiased; that doubles the cost.

    Returns:
      One Jacobian a sample, in the structure of `params`: `[N, *param.shape]`.

    Raises:
      ValueError: if coefficient is None and num_samples is below 2.

    Example:
      >>> f = lambda x: x**2
      >>> jacobians = control_variates_jacobians(
      ...     f, delta_method(f, Normal(1.0, 2.0)), score_function_jacobians, (1.0, 2.0), Normal, jax.random.key(0), 5)
      >>> [j.round(3).tolist() for j in jacobians]  # f is its own polynomial: no variance is left
      [[2.0, 2.0, 2.0, 2.0, 2.0], [4.0, 4.0, 4.0, 4.0, 4.0]]

    References:
      Mohamed et al., "Monte Carlo Gradient Estimation in Machine Learning", 2020, eq. 41.
    """
    if coefficient is None and num_samples < 2:
        raise ValueError(
            f"control_variates_jacobians: num_samples must be at least 2 to estimate the coefficient, got {num_samples}"
        )
    check_differentiable("control_variates_jacobians", params=params)
    known = jax.grad(lambda params: control_variate.expectation(dist_builder(*params)))(params)

    def both(key):
        arguments = (params, dist_builder, key, num_samples)
        return estimator(function, *arguments), estimator(control_variate.function, *arguments)

    def best(f, h):
        f, h = f - f.mean(0, keepdims=True), h - h.mean(0, keepdims=True)
        variance = (h * h).sum(0)
        return jnp.where(variance > 0, (f * h).sum(0) / jnp.where(variance > 0, variance, 1.0), 0.0)

    key, key_coefficient = jax.random.split(rng) if coefficient is None else (rng, rng)
    jacobians_f, jacobians_h = both(key)
    if coefficient is None:
        β = jax.tree.map(best, *both(key_coefficient))
    else:
        β = jax.tree.map(lambda k: jnp.full_like(k, coefficient), known)
    return jax.tree.map(lambda f, h, k, β: f - β[None] * (h - k[None]), jacobians_f, jacobians_h, known, β)
