"""Returns of one trajectory over several steps."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from renga._core.checks import check_shapes
from renga._core.cutting import times
from renga._core.ranges import check_integer, known
from renga._core.varying import vary_like
from renga.rl._base import Flag, bootstrap, check, constant_if
from renga.rl._recurrence import Method, backwards, cut, widen, windowed


def _sequence(spec: Any) -> str:
    return "T" if jnp.ndim(spec) else ""


def _check(function: str, truncation_t: Any, **arguments: Any) -> int:
    """Checks sequences of T ≥ 1 steps (`lambda…` and `v_t` may have been scalars) and returns T."""
    length = check(function, **{k: (x, _sequence(x) if k.startswith("lambda") else "T") for k, x in arguments.items()})
    check_shapes(function, truncation_t=(truncation_t, str(length["T"])))
    return length["T"]


def one_for_all(lambda_: Any, truncation_t: Any) -> float | None:
    """The λ of all steps, if it is one number that is known."""
    value = None if truncation_t is not None else known(lambda_)
    return None if value is None or value.ndim else float(value)


def _steps(lambda_: Array) -> tuple[Array, ...]:
    """A λ for each step runs along with the other sequences; one for all is a constant of the loop."""
    return (lambda_,) if lambda_.ndim else ()


def discounted_returns(
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    v_t: Float[ArrayLike, " T"] | Float[ArrayLike, ""],
    stop_target_gradients: Flag = False,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""Sums discounted rewards to the end of the trajectory and bootstraps there.

    Computed backwards from G_T = v_T:

        Gₜ = rₜ₊₁ + γₜ₊₁ Gₜ₊₁

    Args:
      r_t: rewards rₜ for t in [1, T].
      discount_t: discounts γₜ for t in [1, T]; 0 at a terminal step.
      v_t: values v(sₜ) for t in [1, T], of which the last counts (and those at time-outs); or one number.
      stop_target_gradients: whether the returns are constants to `grad`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps from v_t there.
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      Gₜ for t in [0, T-1].

    Raises:
      ValueError: if the sequences differ in length.

    Example:
      >>> discounted_returns(jnp.array([1.0, 2.0]), jnp.array([0.5, 0.5]), 8.0)  # [1 + 0.5·6, 2 + 0.5·8]
      Array([4., 6.], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 3.9.
    """
    v_t = jnp.broadcast_to(v_t, jnp.shape(r_t)) if not jnp.ndim(v_t) else v_t
    _check("discounted_returns", truncation_t, r_t=r_t, discount_t=discount_t, v_t=v_t)
    return lambda_returns(r_t, discount_t, v_t, 1.0, stop_target_gradients, truncation_t=truncation_t, method=method)


def lambda_returns(
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    v_t: Float[ArrayLike, " T"],
    lambda_: Float[ArrayLike, " T"] | Float[ArrayLike, ""] = 1.0,
    stop_target_gradients: Flag = False,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""Mixes all n-step returns with weights that decay as λⁿ.

    Computed backwards from G_T = v_T:

        Gₜ = rₜ₊₁ + γₜ₊₁ [(1 - λₜ₊₁) vₜ₊₁ + λₜ₊₁ Gₜ₊₁]

    Args:
      r_t: rewards rₜ for t in [1, T].
      discount_t: discounts γₜ for t in [1, T]; 0 at a terminal step.
      v_t: values v(sₜ) for t in [1, T].
      lambda_: λₜ, a scalar or one number a step.
      stop_target_gradients: whether the returns are constants to `grad`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps from v_t there (λₜ = 0).
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      Gₜ for t in [0, T-1].

    Raises:
      ValueError: if the sequences differ in length.

    Example:
      >>> r, γ, v = jnp.array([1.0, 2.0]), jnp.array([0.5, 0.5]), jnp.array([4.0, 8.0])
      >>> lambda_returns(r, γ, v, lambda_=0.0)  # one step: r + γv
      Array([3., 6.], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 12.18.
    """
    _check("lambda_returns", truncation_t, r_t=r_t, discount_t=discount_t, v_t=v_t, lambda_=lambda_)
    dtype = jnp.result_type(r_t, discount_t, v_t)
    always = one_for_all(lambda_, truncation_t)
    r_t, discount_t, v_t, lambda_ = widen(r_t, discount_t, v_t, cut(lambda_, truncation_t))

    def step(later: Array, r: Array, discount: Array, v: Array, lambda_: Array = lambda_) -> Array:
        now = r + times(discount * lambda_, later)
        return now if always == 1.0 else now + times(discount * (1.0 - lambda_), v)

    sequences = (r_t, discount_t, v_t, *_steps(lambda_))
    returns = backwards("lambda_returns", step, sequences, vary_like(v_t[-1], lambda_), method)
    return constant_if(stop_target_gradients, returns.astype(dtype))


def n_step_bootstrapped_returns(
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    v_t: Float[ArrayLike, " T"],
    n: int,
    lambda_t: Float[ArrayLike, " T"] | Float[ArrayLike, ""] = 1.0,
    stop_target_gradients: Flag = False,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""Looks n steps ahead from every step, fewer near the end, and bootstraps.

    Gₜ = Gₜ⁽ⁿ⁾ with

        Gₜ⁽¹⁾ = rₜ₊₁ + γₜ₊₁ vₜ₊₁
        Gₜ⁽ᵏ⁾ = rₜ₊₁ + γₜ₊₁ [(1 - λₜ₊₁) vₜ₊₁ + λₜ₊₁ Gₜ₊₁⁽ᵏ⁻¹⁾],   G_T⁽ᵏ⁾ = v_T

    The n maps are composed by doubling, in about 2 log₂(n) operations.

    Args:
      r_t: rewards rₜ for t in [1, T].
      discount_t: discounts γₜ for t in [1, T]; 0 at a terminal step.
      v_t: values v(sₜ) for t in [1, T].
      n: the number of steps, at least one.
      lambda_t: λₜ, a scalar or one number a step; 1 gives the plain n-step return.
      stop_target_gradients: whether the returns are constants to `grad`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps from v_t there (λₜ = 0).

    Returns:
      Gₜ for t in [0, T-1], in at least 32 bits.

    Raises:
      ValueError: if the sequences differ in length, or n is less than one.
      TypeError: if n is no integer.

    Example:
      >>> r, γ, v = jnp.ones(3), jnp.full(3, 0.5), jnp.array([2.0, 4.0, 8.0])
      >>> n_step_bootstrapped_returns(r, γ, v, n=2)  # 1 + 0.5(1 + 0.5·4), 1 + 0.5(1 + 0.5·8), 1 + 0.5·8
      Array([2.5, 3.5, 5. ], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 7.1.
    """
    name = "n_step_bootstrapped_returns"
    _check(name, truncation_t, r_t=r_t, discount_t=discount_t, v_t=v_t, lambda_t=lambda_t)
    check_integer(name, low=1, n=n)
    always = one_for_all(lambda_t, truncation_t)
    r_t, discount_t, v_t, lambda_t = widen(r_t, discount_t, v_t, cut(lambda_t, truncation_t))
    T = r_t.shape[0]
    ahead = min(n, T) - 1
    mixed = r_t if always == 1.0 else r_t + times(discount_t * (1.0 - lambda_t), v_t)
    decay, increment = windowed(discount_t * lambda_t, mixed, ahead)
    # The last map of a window bootstraps fully; beyond the end every map is the identity at v_T.
    one_step = bootstrap(r_t, discount_t, v_t)
    last = jnp.concatenate([one_step[ahead:], jnp.broadcast_to(v_t[-1], (ahead,))])
    return constant_if(stop_target_gradients, increment + times(decay, last))


def truncated_generalized_advantage_estimation(
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    lambda_: Float[ArrayLike, " T"] | Float[ArrayLike, ""],
    values: Float[ArrayLike, " T+1"],
    stop_target_gradients: Flag = False,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    bootstrap_t: Float[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""Sums discounted one-step errors: the λ-return's advantage over the value.

    Computed backwards from A_T = 0:

        δₜ = rₜ₊₁ + γₜ₊₁ vₜ₊₁ - vₜ
        Aₜ = δₜ + γₜ₊₁ λₜ₊₁ Aₜ₊₁

    Args:
      r_t: rewards rₜ for t in [1, T].
      discount_t: discounts γₜ for t in [1, T]; 0 at a terminal step.
      lambda_: λₜ, a scalar or one number a step.
      values: v(sₜ) for t in [0, T].
      stop_target_gradients: whether the advantages are constants to `grad`.
      truncation_t: where an episode was cut by a time limit: the sum stops there, δ keeps its bootstrap.
      bootstrap_t: values of the last observations before a reset, for t in [1, T]; they count where
        `truncation_t` is true, where `values` hold those of the next episode.
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      Aₜ for t in [0, T-1].

    Raises:
      ValueError: if the lengths do not fit, or only one of `truncation_t` and `bootstrap_t` is given.

    Example:
      >>> r, γ, v = jnp.array([1.0, 2.0]), jnp.array([0.5, 0.5]), jnp.array([1.0, 4.0, 8.0])
      >>> truncated_generalized_advantage_estimation(r, γ, 0.5, v)  # δ = [2, 2]
      Array([2.5, 2. ], dtype=float32)

    References:
      Schulman et al., "High-dimensional continuous control using generalized advantage estimation",
      2016, section 3; "Proximal policy optimization algorithms", 2017, section 5.
    """
    name = "truncated_generalized_advantage_estimation"
    T = _check(name, truncation_t, r_t=r_t, discount_t=discount_t, lambda_=lambda_)
    if (truncation_t is None) != (bootstrap_t is None):
        raise ValueError(f"{name}: give both truncation_t and bootstrap_t, or neither")
    check(name, values=(values, f"{T + 1}"), bootstrap_t=(bootstrap_t if bootstrap_t is not None else r_t, f"{T}"))
    dtype = jnp.result_type(r_t, discount_t, values)
    r_t, discount_t, values, lambda_ = widen(r_t, discount_t, values, cut(lambda_, truncation_t))
    v_t = values[1:] if bootstrap_t is None else jnp.where(jnp.asarray(truncation_t), bootstrap_t, values[1:])

    def step(later: Array, delta: Array, discount: Array, lambda_: Array = lambda_) -> Array:
        return delta + times(discount * lambda_, later)

    sequences = (bootstrap(r_t, discount_t, v_t) - values[:-1], discount_t, *_steps(lambda_))
    advantages = backwards(name, step, sequences, vary_like(jnp.zeros_like(r_t[0]), lambda_), method)
    return constant_if(stop_target_gradients, advantages.astype(dtype))
