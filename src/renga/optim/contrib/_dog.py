"""DoG and DoWG: learning rates from the distance that the parameters have gone."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from renga._core.checks import check_choice
from renga.optim import _tree
from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, copies, map_leaves, need_params, sqrt
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate, scale_tree
from renga.optim._transformation import GradientTransformationExtraArgs, identity
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value

INIT_STEPS = ("distance", "learning_rate", "heuristic")


def _sq_norm(tree: PyTree) -> Array:
    """‖x‖², in float32 at least."""
    square = lambda x: jnp.sum(abs_sq(jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))))
    return jnp.asarray(_tree.sum(jax.tree.map(square, tree)), jnp.result_type(float))


def _sq_distance(name: str, params: PyTree, start: PyTree) -> Array:
    wide = lambda x: jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))
    return _sq_norm(map_leaves(name, lambda p, p0: wide(p) - wide(p0), 1, params, start))


class DoGState(NamedTuple):
    """The state of `dog`."""

    is_init_step: Any
    init_params: Any  # x₀
    max_dist: Any  # r̄
    sum_sq_norm_grads: Any  # G


@value
class _scale_by_dog(GradientTransformationExtraArgs):
    """The gradient times the distance gone over the root of the summed squares."""

    kind: str = static()
    first: Number
    eps: Number

    def init(self, params: Params) -> OptState:
        dtype = jnp.result_type(float)
        distance = jnp.asarray(0 if self.kind == "learning_rate" else self.first, dtype)
        if self.kind == "heuristic":
            distance = distance * (1 + sqrt(_sq_norm(params)))
        return DoGState(jnp.ones([], bool), copies(params), distance, jnp.zeros([], dtype))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        need_params("dog", params)
        total = state.sum_sq_norm_grads + _sq_norm(updates)
        distance = jnp.maximum(state.max_dist, sqrt(_sq_distance("dog", params, state.init_params)))
        rate = distance / sqrt(total + self.eps)
        if self.kind == "learning_rate":
            rate = jnp.where(state.is_init_step, self.first, rate)
        after = DoGState(jnp.zeros([], bool), state.init_params, distance, total)
        return scale_tree("dog", updates, rate), after


def dog(
    learning_rate: ScalarOrSchedule = 1.0,
    init_step: tuple[str, Number] = ("heuristic", 1e-6),
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Distance over gradients: descent whose learning rate grows with the distance gone.

        r̄ₜ = max(rε, maxᵢ ‖xᵢ - x₀‖),  Gₜ = Σᵢ ‖gᵢ‖²,  uₜ = -α r̄ₜ / √(Gₜ + ε) gₜ

    Args:
      learning_rate: α, a number or a schedule; 1 is right by design.
      init_step: what sets the first step: ('distance', rε), ('heuristic', c) for rε = c (1 + ‖x₀‖), or
        ('learning_rate', the first learning rate).
      eps: ε.
      weight_decay: λ, added to the gradient; None for none.
      mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Raises:
      ValueError: if the kind of first step is unknown.

    Example:
      >>> tx, x = dog(init_step=("distance", 0.1)), jnp.array([1.0, -2.0])
      >>> tx.update(jnp.array([3.0, -4.0]), tx.init(x), x)[0].round(3)
      Array([-0.06      ,  0.08000001], dtype=float32)

    References:
      Ivgi et al., "DoG is SGD's Best Friend", https://arxiv.org/abs/2302.12022, eq. 2-3.
    """
    kind, first = init_step
    check_choice("dog", "init_step[0]", kind, INIT_STEPS)
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        _scale_by_dog(kind, first, eps),
        scale_by_learning_rate(need_rate("dog", learning_rate)),
    )


class DoWGState(NamedTuple):
    """The state of `dowg`."""

    init_params: Any  # x₀
    weighted_sq_norm_grads: Any  # v
    estim_sq_dist: Any  # r̄²


@value
class _scale_by_dowg(GradientTransformationExtraArgs):
    """The gradient times the squared distance gone over the root of the weighted summed squares."""

    first: Number | None
    eps: Number

    def init(self, params: Params) -> OptState:
        dtype = jnp.result_type(float)
        first = jnp.asarray(self.eps if self.first is None else self.first, dtype)
        return DoWGState(copies(params), jnp.zeros([], dtype), first)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        need_params("dowg", params)
        square = jnp.maximum(state.estim_sq_dist, _sq_distance("dowg", params, state.init_params))
        total = state.weighted_sq_norm_grads + square * _sq_norm(updates)
        rate = square / (sqrt(total) + self.eps)
        return scale_tree("dowg", updates, rate), DoWGState(state.init_params, total, square)


def dowg(
    learning_rate: ScalarOrSchedule = 1.0,
    init_estim_sq_dist: Number | None = None,
    eps: Number = 1e-4,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Distance over weighted gradients: descent whose learning rate grows with the distance gone.

        r̄ₜ² = max(rε², maxᵢ ‖xᵢ - x₀‖²),  vₜ = vₜ₋₁ + r̄ₜ² ‖gₜ‖²,  uₜ = -α r̄ₜ² / (√vₜ + ε) gₜ

    Args:
      learning_rate: α, a number or a schedule; 1 is right by design.
      init_estim_sq_dist: rε²; ε by default.
      eps: ε.
      weight_decay: λ, added to the gradient; None for none.
      mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx, x = dowg(init_estim_sq_dist=0.01, eps=0.0), jnp.array([1.0, -2.0])
      >>> tx.update(jnp.array([3.0, -4.0]), tx.init(x), x)[0].round(3)
      Array([-0.06      ,  0.08000001], dtype=float32)

    References:
      Khaled et al., "DoWG Unleashed", https://arxiv.org/abs/2305.16284, algorithm 1.
    """
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        _scale_by_dowg(init_estim_sq_dist, eps),
        scale_by_learning_rate(need_rate("dowg", learning_rate)),
    )
