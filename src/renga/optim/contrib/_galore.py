"""GaLore: moments of the gradient in a subspace of low rank."""
# ruff: noqa: N801

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from renga._core.varying import vary_like
from renga.optim._adam import scale_by_adam
from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import map_leaves
from renga.optim._masking import MaskedNode, ParamsMarker, made_tree
from renga.optim._moments import safe_increment, zero_count
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs, adapt
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, steps, value


class GaLoreDimensionNumbers(NamedTuple):
    """Which axes of a weight make the rows and which the columns of its matrix; each axis belongs to one of them."""

    reduction_axis: Any = 0
    output_axis: Any = 1


class GaLoreState(NamedTuple):
    """The state of `scale_by_galore`."""

    count: Any
    base_optimizer_state: Any  # for the projected parameters
    projector: Any  # [rows, r] or [cols, r], and [0, 0] where a leaf is not projected


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple | list) else (axis,)))


def _matrix(x: Array, numbers: GaLoreDimensionNumbers) -> Array:
    """A weight as its matrix [rows, cols]."""
    rows, cols = _axes(numbers.reduction_axis, x.ndim), _axes(numbers.output_axis, x.ndim)
    if sorted(rows + cols) != list(range(x.ndim)):
        raise ValueError(
            "scale_by_galore: weight_dimension_numbers must name each axis once, "
            f"got {tuple(numbers)} for a parameter of shape {x.shape}"
        )
    sides = [math.prod(x.shape[a] for a in side) for side in (rows, cols)]
    return jnp.transpose(x, rows + cols).reshape(sides)


def _unmatrix(m: Array, shape: tuple[int, ...], numbers: GaLoreDimensionNumbers) -> Array:
    order = _axes(numbers.reduction_axis, len(shape)) + _axes(numbers.output_axis, len(shape))
    moved = m.reshape([shape[a] for a in order])
    return jnp.transpose(moved, [order.index(a) for a in range(len(shape))])


def _wide(m: Array) -> bool:
    """Whether the columns are projected; of two equal sides, the rows are."""
    return m.shape[0] < m.shape[1]


def _project(m: Array, projector: Array) -> Array:
    """A matrix in its subspace."""
    low = m @ projector if _wide(m) else projector.conj().T @ m
    return low.astype(m.dtype)


def _basis(m: Array, rank: int) -> Array:
    """The first singular vectors of the longer side. They are constants to `grad`."""
    work = lax.stop_gradient(m).astype(jnp.promote_types(m.dtype, jnp.float32))
    left, _, right = jnp.linalg.svd(work, full_matrices=False)
    basis = right[:rank].conj().T if _wide(m) else left[:, :rank]
    return basis.astype(m.dtype)


@value
class scale_by_galore(GradientTransformationExtraArgs):
    """Lets an optimiser see matrices in the subspace of their largest singular vectors.

        P = the first r singular vectors of g, computed anew every T steps
        R = g P (or Pᵀ g, where there are at least as many rows as columns),  u = s N(R) Pᵀ (or s P N(R))

    with N the inner optimiser. Its moments take r (rows or cols) numbers and not rows × cols. The projection is a
    constant to `grad`.

    Args:
      rank: r.
      update_proj_gap: T.
      scale: s.
      base_optimizer: N; `scale_by_adam()` by default.
      weight_dimension_numbers: a tree of `GaLoreDimensionNumbers` like the parameters (or a prefix of it), or a
        function from parameters to it; None for a leaf that is not projected. All leaves with two axes by default.

    Raises:
      ValueError: if the rank is less than 1, or numbers do not name each axis once.

    Example:
      >>> from renga.optim import identity
      >>> tx = scale_by_galore(rank=1, base_optimizer=identity())
      >>> g = jnp.diag(jnp.array([3.0, 0.5]))
      >>> tx.update(g, tx.init(g))[0].round(2)
      Array([[3., 0.],
             [0., 0.]], dtype=float32)

    References:
      Zhao et al., "GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection",
      https://arxiv.org/abs/2403.03507, algorithm 2.
    """

    rank: int = static(default=128)
    update_proj_gap: int = steps(default=200)
    scale: Number = 1.0
    base_optimizer: Any = None
    weight_dimension_numbers: Any = static(default=None)

    def __post_init__(self):
        if self.base_optimizer is not None:
            adapt(self, "base_optimizer")

    def _base(self):
        return scale_by_adam() if self.base_optimizer is None else self.base_optimizer

    def init(self, params: Params) -> OptState:
        """Empty subspaces."""
        if isinstance(params, ParamsMarker):
            return GaLoreState(zero_count(), self._base().init(params), params)

        def empty(p, numbers):
            p = jnp.asarray(p)
            if numbers is None:
                return jnp.zeros([0, 0], p.dtype)
            rows, cols = _matrix(p, numbers).shape
            return jnp.zeros([max(rows, cols), min(self.rank, rows, cols)], p.dtype)

        def low(p, projector, numbers):
            return p if numbers is None else jnp.zeros_like(_project(_matrix(jnp.asarray(p), numbers), projector))

        numbers = _numbers_for(self.weight_dimension_numbers, params)
        projector = map_leaves("scale_by_galore", empty, 1, params, numbers, free=(0,))
        seen = map_leaves("scale_by_galore", low, 1, params, projector, numbers, free=(0, 1))
        return GaLoreState(zero_count(), self._base().init(seen), projector)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Projects, lets the optimiser step, and projects back."""
        name = "scale_by_galore"
        numbers = _numbers_for(self.weight_dimension_numbers, updates)
        due = state.count % self.update_proj_gap == 0

        def renew(g, projector, n):
            if n is None:
                return projector
            m = _matrix(jnp.asarray(g), n)
            new = lambda: vary_like(_basis(m, projector.shape[1]).astype(projector.dtype), m, projector)
            return lax.cond(due, new, lambda: vary_like(projector, m, projector))

        def down(x, projector, n):
            return x if n is None else _project(_matrix(jnp.asarray(x), n), projector)

        def up(low, g, projector, n):
            if n is None:
                return low
            g = jnp.asarray(g)
            full = low @ projector.conj().T if _wide(_matrix(g, n)) else projector @ low
            return _unmatrix((self.scale * full).astype(low.dtype), g.shape, n)

        projector = map_leaves(name, renew, 1, updates, state.projector, numbers, free=(0, 1), like=params)
        low = map_leaves(name, down, 1, updates, projector, numbers, free=(0, 1))
        low_params = None if params is None else map_leaves(name, down, 1, params, projector, numbers, free=(0, 1))
        low, base = self._base().update(low, state.base_optimizer_state, low_params, **extra_args)
        u = map_leaves(name, up, 1, low, updates, projector, numbers, free=(0, 1, 2))
        return u, GaLoreState(safe_increment(state.count), base, projector)


def _is_numbers(x: Any) -> bool:
    return x is None or isinstance(x, GaLoreDimensionNumbers)


def _numbers_for(numbers: Any, tree: PyTree) -> PyTree:
    """Dimension numbers, or None, for each leaf of a (masked) tree."""
    if numbers is None:
        return jax.tree.map(lambda x: GaLoreDimensionNumbers() if jnp.ndim(x) == 2 else None, tree)
    numbers = made_tree(numbers, tree)
    skip = lambda x: isinstance(x, MaskedNode)
    spread = lambda n, x: jax.tree.map(lambda leaf: leaf if skip(leaf) else n, x, is_leaf=skip)
    return jax.tree.map(spread, numbers, tree, is_leaf=_is_numbers)


def galore(
    learning_rate: ScalarOrSchedule,
    rank: int = 128,
    update_proj_gap: int = 200,
    scale: Number = 1.0,
    base_optimizer: Any = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Any = None,
    weight_dimension_numbers: Any = None,
) -> GradientTransformationExtraArgs:
    """GaLore: Adam whose moments of matrices have low rank, with decay.

    Args:
      learning_rate: α, a number or a schedule.
      rank: the rank of the subspace.
      update_proj_gap: steps between two computations of the subspace.
      scale: a factor of the steps of matrices.
      base_optimizer: the optimiser in the subspace; `scale_by_adam()` by default.
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay.
      weight_dimension_numbers: which leaves are projected, and how; see `scale_by_galore`.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = galore(0.1, rank=1)
      >>> params = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}
      >>> jax.tree.map(jnp.shape, tx.init(params)[0].base_optimizer_state.mu)
      {'b': (3,), 'w': (1, 3)}

    References:
      Zhao et al., "GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection",
      https://arxiv.org/abs/2403.03507, algorithm 2.
    """
    return chain(
        scale_by_galore(rank, update_proj_gap, scale, base_optimizer, weight_dimension_numbers),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(need_rate("galore", learning_rate)),
    )
