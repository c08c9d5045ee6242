"""Muon: orthogonalised momentum for matrices."""
# ruff: noqa: N801

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from renga._core.checks import check_choice
from renga.optim._adam import scale_by_adam
from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, map_leaves, sqrt
from renga.optim._masking import MaskedNode, ParamsMarker, made_tree
from renga.optim._moments import average, moment_zeros, safe_increment, zero_count
from renga.optim._partition import partition
from renga.optim._ranges import DECAY, need_rate
from renga.optim._scale import descent, scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value

PRECONDITIONINGS = ("frobenius", "spectral", "aol", "schatten")


class MuonDimensionNumbers(NamedTuple):
    """Which axes of a weight make the rows and columns of its matrix; all others are batch axes."""

    reduction_axis: Any = 0
    output_axis: Any = 1


class MuonState(NamedTuple):
    """The state of `scale_by_muon`."""

    count: Any
    mu: Any
    ns_coeffs: Any


def _is_numbers(x: Any) -> bool:
    return x is None or isinstance(x, MuonDimensionNumbers)


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple | list) else (axis,)))


def _sides(shape: tuple[int, ...], numbers: MuonDimensionNumbers) -> tuple[int, int]:
    """The sizes of the reduction axes and of the output axes together."""
    rows, cols = _axes(numbers.reduction_axis, len(shape)), _axes(numbers.output_axis, len(shape))
    return math.prod(shape[a] for a in rows), math.prod(shape[a] for a in cols)


def _as_matrices(x: Array, numbers: MuonDimensionNumbers) -> tuple[Array, Any]:
    """An array as a batch of matrices [N, rows, cols], and the way back."""
    rows, cols = _axes(numbers.reduction_axis, x.ndim), _axes(numbers.output_axis, x.ndim)
    batch = tuple(a for a in range(x.ndim) if a not in rows + cols)
    order = batch + rows + cols
    moved = jnp.transpose(x, order)
    inverse = tuple(order.index(a) for a in range(x.ndim))
    matrices = moved.reshape(-1, *_sides(x.shape, numbers))
    return matrices, lambda m: jnp.transpose(m.reshape(moved.shape), inverse)


def _precondition(x: Array, kind: str, eps: Number) -> Array:
    """Scales a matrix [rows ≤ cols] so that its singular values are at most about 1."""
    if kind == "frobenius":
        return x / (sqrt(jnp.sum(abs_sq(x))) + eps)
    if kind == "spectral":
        return x / (jnp.linalg.norm(x, ord=2) + eps)
    gram = x @ x.conj().T
    if kind == "schatten":
        return x / (sqrt(sqrt(jnp.sum(abs_sq(gram)))) + eps)
    sizes = jax.lax.rsqrt(jnp.sum(jnp.abs(gram), axis=-1) + eps)
    return x * sizes[:, None]


def _orthogonalize(x: Array, coeffs: Array, steps: int, kind: str, eps: Number) -> Array:
    """Moves the singular values of a matrix towards 1, by Newton-Schulz iterations."""
    tall = x.shape[0] > x.shape[1]
    x = _precondition(x.conj().T if tall else x, kind, eps)

    def step(x, abc):
        gram = x @ x.conj().T
        return abc[0] * x + (abc[1] * gram + abc[2] * gram @ gram) @ x, None

    rows = coeffs if coeffs.ndim == 2 else jnp.broadcast_to(coeffs, (steps, 3))
    x, _ = jax.lax.scan(step, x, rows[:steps].astype(x.dtype))
    return x.conj().T if tall else x


@value
class scale_by_muon(GradientTransformationExtraArgs):
    """Replaces momentum by the nearest (semi-)orthogonal matrix, approximately.

        mₜ = β mₜ₋₁ + (1 - β) gₜ,  X₀ = m̂ₜ / ‖m̂ₜ‖,  Xᵢ₊₁ = a Xᵢ + (b Xᵢ Xᵢᵀ + c (Xᵢ Xᵢᵀ)²) Xᵢ

    Args:
      ns_coeffs: (a, b, c), or one such triple for each iteration.
      ns_steps: number of iterations.
      beta: β.
      eps: ε, added to the norm.
      mu_dtype: dtype in which the momentum is kept.
      nesterov: whether to look one step of momentum ahead.
      adaptive: whether to multiply by the inner product of momentum and update.
      preconditioning: how X₀ is scaled: 'frobenius', 'spectral', 'schatten' (the fourth root of
        Σ σ⁴) or 'aol' (row by row).
      weight_dimension_numbers: a tree of `MuonDimensionNumbers` like the parameters, or a function
        from parameters to it; the two axes of a matrix by default.

    Raises:
      ValueError: if the preconditioning is unknown, or a leaf without numbers is no matrix.

    Example:
      >>> tx = scale_by_muon()
      >>> g = jnp.diag(jnp.array([3.0, 0.5]))
      >>> tx.update(g, tx.init(g), g)[0].round(1)
      Array([[0.7, 0. ],
             [0. , 1. ]], dtype=float32)

    References:
      Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
      Bernstein & Newhouse, "Old Optimizer, New Norm", https://arxiv.org/abs/2409.20325.
    """

    _ranges: ClassVar = {"beta": DECAY}

    ns_coeffs: Any = (3.4445, -4.7750, 2.0315)
    ns_steps: int = static(default=5)
    beta: Number = 0.95
    eps: Number = 1e-8
    mu_dtype: Any = static(default=None)
    _: dataclasses.KW_ONLY
    nesterov: bool = static(default=True)
    adaptive: bool = static(default=False)
    preconditioning: str = static(default="frobenius")
    weight_dimension_numbers: Any = static(default=None)

    def __post_init__(self):
        check_choice("scale_by_muon", "preconditioning", self.preconditioning, PRECONDITIONINGS)

    def init(self, params: Params) -> OptState:
        """Zero momentum."""
        mu = moment_zeros(params, self.beta, self.mu_dtype)
        return MuonState(zero_count(), mu, jnp.asarray(self.ns_coeffs, jnp.result_type(float)))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the momentum and orthogonalises it."""
        count = safe_increment(state.count)
        now = average(self.beta, count, self.nesterov)

        def leaf(g, mu, numbers):
            g = jnp.asarray(g)
            m = now.step(mu, g)
            matrices, back = _as_matrices(now.direction(m, g), numbers)
            u = jax.vmap(lambda x: self._step(x, state.ns_coeffs))(matrices)
            return back(u).astype(g.dtype), m.astype(mu.dtype)

        numbers = _numbers_for(self.weight_dimension_numbers, updates)
        u, mu = map_leaves("scale_by_muon", leaf, 2, updates, state.mu, numbers)
        return u, MuonState(count, mu, state.ns_coeffs)

    def _step(self, x: Array, coeffs: Array) -> Array:
        u = _orthogonalize(x, coeffs, self.ns_steps, self.preconditioning, self.eps)
        return u * jnp.real(jnp.vdot(x, u)) if self.adaptive else u


def _numbers_for(numbers: Any, tree: PyTree) -> PyTree:
    """Dimension numbers for each leaf of a (masked) tree."""
    numbers = made_tree(numbers, tree)
    if numbers is None:
        return jax.tree.map(_default_numbers, tree)
    skip = lambda x: isinstance(x, MaskedNode)
    spread = lambda n, x: jax.tree.map(lambda leaf: n if not skip(leaf) else leaf, x, is_leaf=skip)
    return jax.tree.map(spread, numbers, tree, is_leaf=_is_numbers)


def _default_numbers(x: Any) -> MuonDimensionNumbers:
    if jnp.ndim(x) != 2:
        raise ValueError(
            f"scale_by_muon: a leaf with other than two axes needs weight_dimension_numbers, got shape {jnp.shape(x)}"
        )
    return MuonDimensionNumbers()


@value
class _scale_by_shape(GradientTransformationExtraArgs):
    """Makes steps of matrices of all shapes comparable."""

    numbers: Any = static()
    consistent_rms: Any = None

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        def leaf(g, numbers):
            rows, cols = _sides(g.shape, numbers)
            if self.consistent_rms is None:
                return g * max(1.0, cols / rows) ** 0.5
            return (g * (self.consistent_rms * max(rows, cols) ** 0.5)).astype(g.dtype)

        return map_leaves("muon", leaf, 1, updates, _numbers_for(self.numbers, updates)), state


def muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Any = (3.4445, -4.7750, 2.0315),
    ns_steps: int = 5,
    beta: Number = 0.95,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = None,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    adam_b1: Number = 0.9,
    adam_b2: Number = 0.999,
    adam_eps_root: Number = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    muon_weight_dimension_numbers: Any = None,
    consistent_rms: Number | None = None,
) -> GradientTransformationExtraArgs:
    """Muon for matrices, AdamW for everything else.

    Args:
      learning_rate: α, a number or a schedule.
      ns_coeffs: coefficients of the Newton-Schulz iteration.
      ns_steps: its number of steps.
      beta: β, decay of the momentum.
      eps: ε.
      weight_decay: λ of the matrices.
      weight_decay_mask: which parameters decay.
      mu_dtype: dtype in which momentum is kept.
      nesterov: whether to look one step of momentum ahead.
      adaptive: whether to multiply by the inner product of momentum and update.
      preconditioning: how matrices are scaled before the iteration.
      adam_b1: β₁ of AdamW.
      adam_b2: β₂ of AdamW.
      adam_eps_root: ε̄ of AdamW.
      adam_weight_decay: λ of AdamW.
      adam_learning_rate: α of AdamW; `learning_rate` by default.
      muon_weight_dimension_numbers: a tree like the parameters (or a prefix of it), or a function from
        parameters to it: `MuonDimensionNumbers` for Muon, None for AdamW. All leaves with two axes
        by default.
      consistent_rms: c: steps are scaled by c √max(rows, cols) instead of √max(1, cols / rows).

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = muon(0.1)
      >>> params = {"w": jnp.eye(2), "b": jnp.ones(2)}
      >>> sorted(tx.init(params).inner_states)
      ['adam', 'muon']

    References:
      Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
      Liu et al., "Muon is Scalable for LLM Training", https://arxiv.org/abs/2502.16982, eq. 4 (consistent RMS).
    """
    numbers = muon_weight_dimension_numbers

    def labels(params: PyTree) -> PyTree:
        if isinstance(params, ParamsMarker):
            return params
        if numbers is None:
            return jax.tree.map(lambda x: "muon" if jnp.ndim(x) == 2 else "adam", params)
        found = made_tree(numbers, params)
        return jax.tree.map(lambda n: "adam" if n is None else "muon", found, is_leaf=_is_numbers)

    def visible(tree: PyTree) -> PyTree:
        """Numbers of the leaves that Muon sees; the others have been masked."""
        found = made_tree(numbers, tree)
        return jax.tree.map(lambda n: MuonDimensionNumbers() if n is None else n, found, is_leaf=_is_numbers)

    shape_numbers = None if numbers is None else visible
    matrices = chain(
        scale_by_muon(
            ns_coeffs, ns_steps, beta, eps, mu_dtype, nesterov=nesterov, adaptive=adaptive,
            preconditioning=preconditioning, weight_dimension_numbers=shape_numbers,
        ),
        _scale_by_shape(shape_numbers, consistent_rms),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(need_rate("muon", learning_rate)),
    )  # fmt: skip
    # The rate of both is read from the matrices' part; only one of its own is kept here too.
    own = adam_learning_rate is not None
    others = chain(
        scale_by_adam(adam_b1, adam_b2, eps, adam_eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(adam_weight_decay),
        scale_by_learning_rate(adam_learning_rate) if own else descent(learning_rate),
    )
    return partition({"muon": matrices, "adam": others}, labels)
