"""PopArt: targets normalised adaptively, outputs preserved precisely."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from renga._core.checks import check_dtype, check_shapes, check_trees
from renga._core.ranges import check_index, check_integer, check_range, known
from renga.rl._base import check_alike, taken, taken_each
from renga.rl._moving_averages import AllSum
from renga.rl._recurrence import widen


class PopArtState(NamedTuple):
    """Moments of the targets of each of K outputs.

    Fields:
      shift: μ [K].
      scale: σ [K].
      second_moment: ν, the average of the squares [K].

    Example:
      >>> state = PopArtState(shift=jnp.array([1.0]), scale=jnp.array([2.0]), second_moment=jnp.array([5.0]))
      >>> state.second_moment - state.shift**2 == state.scale**2
      Array([ True], dtype=bool)
    """

    shift: Float[Array, " K"]
    scale: Float[Array, " K"]
    second_moment: Float[Array, " K"]


class PopArtOutput(NamedTuple):
    """The outputs as the network gives them, and in the units of the targets."""

    normalized: Float[Array, "..."]
    unnormalized: Float[Array, "..."]


def normalize(
    state: PopArtState, unnormalized: Float[ArrayLike, "..."], indices: Int[ArrayLike, "..."]
) -> Float[Array, "..."]:
    r"""Brings targets to the units of the network.

        y = (x − μᵢ) / σᵢ

    Args:
      state: the moments.
      unnormalized: targets x.
      indices: which output i each belongs to.

    Returns:
      y.

    Example:
      >>> state = PopArtState(jnp.array([0.0, 1.0]), jnp.array([1.0, 2.0]), jnp.array([1.0, 5.0]))
      >>> normalize(state, jnp.array([3.0, 3.0]), jnp.array([0, 1]))
      Array([3., 1.], dtype=float32)

    References:
      van Hasselt et al., "Learning values across many orders of magnitude", 2016, section 2.
    """
    check_alike("normalize", indices=(indices, 0), unnormalized=(unnormalized, 0))
    shift, scale = _of(state, indices, "normalize")
    return (jnp.asarray(unnormalized) - shift) / scale


def unnormalize(
    state: PopArtState, normalized: Float[ArrayLike, "..."], indices: Int[ArrayLike, "..."]
) -> Float[Array, "..."]:
    r"""Brings outputs of the network to the units of the targets.

        x = σᵢ y + μᵢ

    Args:
      state: the moments.
      normalized: outputs y.
      indices: which output i each belongs to.

    Returns:
      x.

    Example:
      >>> state = PopArtState(jnp.array([0.0, 1.0]), jnp.array([1.0, 2.0]), jnp.array([1.0, 5.0]))
      >>> unnormalize(state, jnp.array([3.0, 1.0]), jnp.array([0, 1]))
      Array([3., 3.], dtype=float32)

    References:
      van Hasselt et al., "Learning values across many orders of magnitude", 2016, section 2.
    """
    check_alike("unnormalize", indices=(indices, 0), normalized=(normalized, 0))
    shift, scale = _of(state, indices, "unnormalize")
    return scale * jnp.asarray(normalized) + shift


def unnormalize_linear(
    state: PopArtState, inputs: Float[ArrayLike, "*B K"], indices: Int[ArrayLike, "*B"]
) -> PopArtOutput:
    r"""Takes one of the K outputs of a linear layer for each state, in both units.

        y = zᵢ,   x = σᵢ y + μᵢ

    Args:
      state: the moments.
      inputs: outputs z of the layer.
      indices: which output i each state takes.

    Returns:
      `PopArtOutput(normalized, unnormalized)`.

    Example:
      >>> state = PopArtState(jnp.array([0.0, 1.0]), jnp.array([1.0, 2.0]), jnp.array([1.0, 5.0]))
      >>> unnormalize_linear(state, jnp.array([[7.0, 3.0]]), jnp.array([1])).unnormalized
      Array([7.], dtype=float32)

    References:
      van Hasselt et al., "Learning values across many orders of magnitude", 2016, section 2.
    """
    check_dtype("unnormalize_linear", jnp.integer, indices=indices)
    sizes = check_shapes("unnormalize_linear", inputs=(inputs, "... K"))
    if jnp.shape(inputs)[:-1] != jnp.shape(indices):
        raise ValueError(
            f"unnormalize_linear: indices must have the leading shape {jnp.shape(inputs)[:-1]} of inputs, "
            f"got {jnp.shape(indices)}"
        )
    check_index("unnormalize_linear", sizes["K"], indices=indices)
    normalized = taken_each(inputs, indices)
    return PopArtOutput(normalized, unnormalize(state, normalized, indices))


def art(
    state: PopArtState,
    targets: Float[ArrayLike, "..."],
    indices: Int[ArrayLike, "..."],
    step_size: Float[ArrayLike, ""],
    scale_lb: Float[ArrayLike, ""],
    scale_ub: Float[ArrayLike, ""],
    axis_name: str | None = None,
) -> PopArtState:
    r"""Adaptively rescales targets: follows their moments.

    Each output takes one step for all of its targets together:

        μᵢ ← μᵢ + β Σ (x − μᵢ),   νᵢ ← νᵢ + β Σ (x² − νᵢ),   σᵢ = clip(√(νᵢ − μᵢ²), l, h)

    Args:
      state: the moments.
      targets: x, in any shape; constants to `grad`, as is the state.
      indices: which output i each target belongs to.
      step_size: β.
      scale_lb: l, the least σ.
      scale_ub: h, the greatest σ.
      axis_name: name of a mapped axis over whose targets to sum, too.

    Returns:
      The new moments.

    Raises:
      ValueError: if targets and indices differ in shape.
      TypeError: if the indices are no integers.

    Example:
      >>> state = PopArtState(jnp.zeros(1), jnp.ones(1), jnp.ones(1))
      >>> art(state, jnp.array([2.0]), jnp.array([0]), 0.5, 0.01, 10.0)  # μ = 1, ν = 2.5
      PopArtState(shift=Array([1.], dtype=float32), scale=Array([1.2247449], dtype=float32), second_moment=Array([2.5], dtype=float32))

    References:
      van Hasselt et al., "Learning values across many orders of magnitude", 2016, section 2.
      Hessel et al., "Multi-task deep reinforcement learning with PopArt", 2019.
    """  # noqa: E501
    check_dtype("art", jnp.integer, indices=indices)
    check_trees("art", targets=targets, indices=indices)
    check_range("art", low=0, high=1, step_size=step_size)
    _check_scale("art", scale_lb, scale_ub)
    *moments, targets = widen(*jax.lax.stop_gradient((*state, jnp.ravel(targets))))
    state = PopArtState(*moments)
    indices = _places("art", state.shift, jnp.ravel(jnp.asarray(indices)))
    add_up = AllSum(axis_name)
    # The target of no output is left out.
    collect = lambda change, like: add_up(jnp.zeros_like(like).at[indices].add(change, mode="drop"), axis=())
    shift = state.shift + step_size * collect(targets - taken(state.shift, indices), state.shift)
    second = state.second_moment + step_size * collect(
        targets**2 - taken(state.second_moment, indices), state.second_moment
    )
    # Where squares leave the range of the dtype, ν stays ∞ and σ is as large as it may be.
    second = jnp.where(jnp.isinf(state.second_moment), state.second_moment, second)
    variance = jnp.where(jnp.isinf(second), second, jnp.maximum(second - shift**2, 0.0))
    scale = jnp.clip(jnp.sqrt(variance), scale_lb, scale_ub)
    return PopArtState(shift, scale, second)


def pop(params: Mapping[str, Array], old: PopArtState, new: PopArtState) -> dict[str, Array]:
    r"""Preserves outputs precisely: changes a linear layer such that its unnormalised outputs stay what they were.

        w ← w σ / σ′,   b ← (σ b + μ − μ′) / σ′

    Args:
      params: the layer's weights `{"w": [D, K], "b": [K]}`.
      old: the moments μ, σ before.
      new: the moments μ′, σ′ after.

    Returns:
      The new weights.

    Raises:
      ValueError: if the layer has no "w" or no "b".

    Example:
      >>> old = PopArtState(jnp.zeros(1), jnp.ones(1), jnp.ones(1))
      >>> new = PopArtState(jnp.ones(1), 2 * jnp.ones(1), 5 * jnp.ones(1))
      >>> pop({"w": jnp.ones((1, 1)), "b": jnp.zeros(1)}, old, new)
      {'w': Array([[0.5]], dtype=float32), 'b': Array([-0.5], dtype=float32)}

    References:
      van Hasselt et al., "Learning values across many orders of magnitude", 2016, proposition 1.
    """
    if not {"w", "b"} <= set(params):
        raise ValueError(f"pop: params must have entries 'w' and 'b', got {sorted(params)}")
    K = check_shapes("pop", b=(params["b"], "K"), w=(params["w"], "... K"))["K"]
    if jnp.shape(old.shift) not in ((K,), (1,), ()):
        raise ValueError(
            f"pop: old.shift must have shape ({K},), one entry for each output, or (1,), got {jnp.shape(old.shift)}"
        )
    old, new = (PopArtState(*(jnp.broadcast_to(x, K) for x in state)) for state in (old, new))
    ratio = old.scale / new.scale
    w = jnp.asarray(params["w"])
    w = w * jax.lax.expand_dims(ratio, range(w.ndim - 1))
    b = (old.scale * jnp.asarray(params["b"]) + old.shift - new.shift) / new.scale
    return {**params, "w": w, "b": b}


def popart(
    num_outputs: int,
    step_size: Float[ArrayLike, ""],
    scale_lb: Float[ArrayLike, ""],
    scale_ub: Float[ArrayLike, ""],
    axis_name: str | None = None,
) -> tuple[Callable[[], PopArtState], Callable[..., tuple[dict[str, Array], PopArtState]]]:
    r"""PopArt: `art` and then `pop`.

    Args:
      num_outputs: K, the outputs of the layer; or 1, one statistic for all of them.
      step_size: β.
      scale_lb: the least σ.
      scale_ub: the greatest σ.
      axis_name: name of a mapped axis over whose targets to sum, too.

    Returns:
      `init() -> PopArtState` and `update(params, state, targets, indices) -> (params, state)`, where `params` are the
      weights `{"w": ..., "b": ...}` of the last layer.

    Example:
      >>> init, update = popart(1, 0.5, 0.01, 10.0)
      >>> params = {"w": jnp.ones((1, 1)), "b": jnp.zeros(1)}
      >>> params, state = update(params, init(), jnp.array([2.0]), jnp.array([0]))
      >>> unnormalize_linear(state, params["w"] * 3 + params["b"], jnp.array([0])).unnormalized  # as before
      Array([3.], dtype=float32)

    References:
      van Hasselt et al., "Learning values across many orders of magnitude", 2016, algorithm 1.
    """
    check_integer("popart", low=1, num_outputs=num_outputs)
    check_range("popart", low=0, high=1, step_size=step_size)
    _check_scale("popart", scale_lb, scale_ub)

    def init() -> PopArtState:
        return PopArtState(jnp.zeros(num_outputs), jnp.ones(num_outputs), jnp.ones(num_outputs))

    def update(
        params: Mapping[str, Array], state: PopArtState, targets: ArrayLike, indices: ArrayLike
    ) -> tuple[dict[str, Array], PopArtState]:
        new = art(state, targets, indices, step_size, scale_lb, scale_ub, axis_name)
        return pop(params, state, new), new

    return init, update


def _of(state: Any, indices: ArrayLike, function: str) -> tuple[Array, Array]:
    check_dtype(function, jnp.integer, indices=indices)
    places = _places(function, state.shift, indices)
    return taken(state.shift, places), taken(state.scale, places)


def _places(function: str, shift: ArrayLike, indices: ArrayLike) -> Array:
    """Where the moments of each output are: one statistic serves all outputs."""
    if jnp.shape(shift) == (1,):
        return jnp.zeros_like(indices)
    check_index(function, jnp.shape(shift)[0], indices=indices)
    return jnp.asarray(indices)


def _check_scale(function: str, scale_lb: ArrayLike, scale_ub: ArrayLike) -> None:
    check_range(function, above=0, scale_lb=scale_lb)
    low = known(scale_lb)
    check_range(function, low=None if low is None or low.ndim else float(low), finite=False, scale_ub=scale_ub)
