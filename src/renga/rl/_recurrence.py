"""The one linear recurrence behind every multistep return, sequential or parallel in time."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from renga._core.checks import check_choice
from renga._core.cutting import times
from renga._core.varying import vary_like

Method = Literal["sequential", "parallel"]

# On CPU the parallel form was not clearly faster at any length measured (16 to 4,096, 1 and 64 trajectories). Elsewhere
# a sequential step costs a kernel launch, so that the logarithmic depth counts from short lengths on; that
# length is an estimate.
ACCELERATOR_CROSSOVER = 16


def choose(function: str, method: Method | None, length: int) -> Method:
    """Chooses how to run a recurrence of this length on the default platform."""
    if method is None:
        long = length >= ACCELERATOR_CROSSOVER and jax.default_backend() != "cpu"
        return "parallel" if long else "sequential"
    check_choice(function, "method", method, ("sequential", "parallel"))
    return method


def widen(*arrays: Any) -> tuple[Array, ...]:
    """Brings floating arrays to at least 32 bits, in which sums are taken."""
    wide = jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
    return tuple(jnp.asarray(x).astype(wide) for x in arrays)


def narrow(x: Array, *like: Any) -> Array:
    """Brings a result back to the dtype of what it was computed from, if that is floating."""
    dtype = jnp.result_type(*like)
    return x.astype(dtype) if jnp.issubdtype(dtype, jnp.floating) else x


def cut(lambda_: Any, truncation_t: Any) -> Array:
    """Sets λ to zero at time-outs: the return bootstraps there."""
    lambda_ = jnp.asarray(lambda_)
    return lambda_ if truncation_t is None else jnp.where(jnp.asarray(truncation_t), jnp.zeros_like(lambda_), lambda_)


def backwards(
    function: str,
    step: Callable[..., Array],
    sequences: tuple[Shaped[Array, " T"], ...],
    last: Float[Array, ""],
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""Solves xₜ = f(xₜ₊₁, sₜ) backwards from x_T, for a step f that is linear in x.

    The sequential form is the loop. The parallel form writes the steps as maps x ↦ bₜ + aₜ x, with b = f(0, s) and
    a = ∂f/∂x, and composes them, which is associative:

        (a, b) ∘ (a′, b′) = (a a′, b + a b′)

    On CPU, arithmetic on whole sequences before the loop is spread over threads, and waiting for these costs more than
    a short loop; but `vmap` transposes every sequence that enters the loop. So callers give f two to four sequences,
    and what f does with them belongs into it.

    Args:
      function: name of the public function, for messages.
      step: f; takes xₜ₊₁ and the entries of `sequences`, of one step or of all.
      sequences: s, for t in [0, T-1].
      last: x_T.
      method: "sequential" or "parallel"; None chooses by platform and length.

    Returns:
      xₜ for t in [0, T-1].

    Example:
      >>> a, b = jnp.array([0.5, 0.5]), jnp.array([1.0, 2.0])
      >>> backwards("f", lambda x, a, b: b + a * x, (a, b), jnp.array(4.0))
      Array([3., 4.], dtype=float32)

    References:
      Blelloch, "Prefix sums and their applications", 1990, section 1.4.
    """
    if choose(function, method, sequences[0].shape[0]) == "parallel":
        zeros = jnp.zeros_like(sequences[0], last.dtype)
        increment, decay = jax.jvp(lambda x: step(x, *sequences), (zeros,), (jnp.ones_like(zeros),))
        decay, increment = jax.lax.associative_scan(_compose_later, (decay, increment), reverse=True)
        return increment + times(decay, last)

    def body(later: Array, entries: tuple[Array, ...]) -> tuple[Array, Array]:
        now = step(later, *entries)
        return now, now

    return jax.lax.scan(body, vary_like(last, sequences), sequences, reverse=True)[1]


def windowed(
    decay_t: Float[Array, " T"], increment_t: Float[Array, " T"], steps: int
) -> tuple[Float[Array, " T"], Float[Array, " T"]]:
    r"""Composes `steps` maps x ↦ bₜ + aₜ x from every t on, in about 2 log₂(steps) operations.

    Maps beyond the end are the identity.

    Example:
      >>> windowed(jnp.array([2.0, 3.0, 4.0]), jnp.ones(3), 2)
      (Array([ 6., 12.,  4.], dtype=float32), Array([3., 4., 1.], dtype=float32))
    """
    result = jnp.ones_like(decay_t), jnp.zeros_like(increment_t)
    power, width, offset = (decay_t, increment_t), 1, 0
    while steps:
        if steps & 1:
            result = _compose(result, _shift(power, offset))
            offset += width
        power = _compose(power, _shift(power, width))
        width, steps = 2 * width, steps >> 1
    return result


def _compose(outer: tuple[Array, Array], inner: tuple[Array, Array]) -> tuple[Array, Array]:
    return times(outer[0], inner[0]), outer[1] + times(outer[0], inner[1])


def _compose_later(later: tuple[Array, Array], earlier: tuple[Array, Array]) -> tuple[Array, Array]:
    return _compose(earlier, later)


def _shift(maps: tuple[Array, Array], by: int) -> tuple[Array, Array]:
    """Moves maps `by` steps towards the start; the identity follows."""
    by = min(by, maps[0].shape[0])
    fill = lambda x, value: jnp.concatenate([x[by:], jnp.full(by, value, x.dtype)])
    return fill(maps[0], 1), fill(maps[1], 0)
