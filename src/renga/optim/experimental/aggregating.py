"""Optimisers that see the gradient of each example: averages, variances, and small batches one after the other."""
# ruff: noqa: N801

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, PyTree

from renga._core.varying import vary_like
from renga.optim import _search
from renga.optim._chain import chain
from renga.optim._leaves import abs_sq, as_state_scalar, map_leaves, zeros_like
from renga.optim._moments import correction, moment_zeros, safe_increment, zero_count
from renga.optim._ranges import COUNT, check_number
from renga.optim._transformation import (
    EmptyState,
    GradientTransformation,
    GradientTransformationExtraArgs,
    TransformInitFn,
    as_transformation,
    identity,
)
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import static, value

__all__ = [
    "AccumulateAvgUpdatesState",
    "AggregatedUpdates",
    "Aggregator",
    "AggregatorUpdateFn",
    "MaybeAxis",
    "PerElementMeanAndSumSqDiffGradsState",
    "PerElementMeanAndVarianceEMAState",
    "PerElementUpdates",
    "accumulate_avg_updates",
    "add_mean_variance_to_opt",
    "average_incrementally_updates",
    "average_per_element_updates",
    "get_batch_size_from_per_elt_updates",
    "get_per_element_mean_and_sum_sq_diff_grads",
    "get_unbiased_mean_and_variance_ema",
    "process",
    "track_per_element_mean_and_variance_with_ema",
]

Axis = int | Sequence[int]
# An axis, several, or none.
MaybeAxis = Axis | None
# Updates whose leaves have axes of examples.
PerElementUpdates = PyTree  # updates whose leaves have axes of examples
# Updates whose leaves have no axes of examples.
AggregatedUpdates = PyTree  # updates without them


class AggregatorUpdateFn(Protocol):
    """The type of an aggregator's `update`: the updates that come have axes of examples, those that go have none."""

    def __call__(
        self, per_elt_updates: PyTree, state: PyTree, params: Params | None = None, **extra_args: Any
    ) -> tuple[Any, PyTree]:
        """Aggregates the updates and steps the state."""
        ...


class Aggregator(NamedTuple):
    """A pair of functions like a transformation, whose updates lose their axes of examples.

    Example:
      >>> total = Aggregator(lambda params: (), lambda u, state, params=None: (u.sum(0), state))
      >>> total.update(jnp.ones((3, 2)), ())[0]
      Array([3., 3.], dtype=float32)
    """

    init: TransformInitFn
    update: AggregatorUpdateFn | Callable[..., Any]


@value
class _aggregator(GradientTransformationExtraArgs):
    """An aggregator that is a value."""


def _axes(axis: Axis) -> tuple[int, ...]:
    return (axis,) if isinstance(axis, int) else tuple(axis)


def _mean(x: Array, axis: tuple[int, ...]) -> Array:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.mean(wide, axis=axis).astype(x.dtype)


def get_batch_size_from_per_elt_updates(per_elt_updates: PyTree, per_elt_axis: Axis) -> int:
    """The number of examples: the size of their axis, or axes.

    Args:
      per_elt_updates: a tree of arrays with axes of examples.
      per_elt_axis: the axis, or axes.

    Returns:
      A Python int.

    Raises:
      ValueError: if the tree has no leaves, or they differ.

    Example:
      >>> get_batch_size_from_per_elt_updates({"w": jnp.ones((3, 2))}, 0)
      3
    """
    sizes = set()
    for leaf in jax.tree.leaves(per_elt_updates):
        size = 1
        for a in _axes(per_elt_axis):
            size *= jnp.shape(leaf)[a]
        sizes.add(size)
    if len(sizes) != 1:
        raise ValueError(
            "get_batch_size_from_per_elt_updates: all updates must have the same number of examples, "
            f"got {sorted(sizes)}"
        )
    return sizes.pop()


@value
class average_per_element_updates(_aggregator):
    """Averages the updates of a batch.

    Args:
      per_elt_axis: the axis of examples, or axes.

    Example:
      >>> tx = average_per_element_updates()
      >>> tx.update(jnp.array([[1.0, 2.0], [3.0, 4.0]]), tx.init(jnp.zeros(2)))[0]
      Array([2., 3.], dtype=float32)
    """

    per_elt_axis: Axis = static(default=0)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Averages."""
        mean = lambda g: _mean(jnp.asarray(g), _axes(self.per_elt_axis))
        return map_leaves("average_per_element_updates", mean, 1, updates), state


class AccumulateAvgUpdatesState(NamedTuple):
    """The state of `accumulate_avg_updates`."""

    micro_step: Any  # updates since the last average
    ready: Any  # whether the last updates are an average
    avg_grad: Any  # of the updates since then


def _emit(ready: Array, tree: PyTree) -> tuple[PyTree, PyTree]:
    """What goes out, zeros unless it is ready; and what stays, zeros if it has gone."""
    out = jax.tree.map(lambda x: jnp.where(ready, x, jnp.zeros_like(x)), tree)
    return out, jax.tree.map(lambda x: jnp.where(ready, jnp.zeros_like(x), x), tree)


@value
class accumulate_avg_updates(GradientTransformationExtraArgs):
    """Averages updates over k calls: every k-th update is the average, the others are zero.

    Args:
      accumulation_steps: k.

    Raises:
      ValueError: if k is less than 1.

    Example:
      >>> tx = accumulate_avg_updates(2)
      >>> u, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
      >>> u, tx.update(jnp.array(2.0), state)[0]
      (Array(0., dtype=float32), Array(1.5, dtype=float32))
    """

    accumulation_steps: int = static()

    def init(self, params: Params) -> OptState:
        """A zero average."""
        return AccumulateAvgUpdatesState(zero_count(), jnp.zeros([], bool), zeros_like(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the average."""
        step = lambda g, m: (m + (g - m) / (state.micro_step + 1)).astype(m.dtype)
        average = map_leaves("accumulate_avg_updates", step, 1, updates, state.avg_grad, fresh=0)
        ready = state.micro_step == self.accumulation_steps - 1
        out, kept = _emit(ready, average)
        micro_step = (state.micro_step + 1) % self.accumulation_steps
        return out, AccumulateAvgUpdatesState(micro_step, ready, kept)


def average_incrementally_updates(
    per_elt_axis: Axis | None, accumulation_steps: int
) -> GradientTransformationExtraArgs:
    """Averages the updates of a batch, and of k batches: every k-th update is the average, the others are zero.

    Args:
      per_elt_axis: the axis of examples, or axes; None if the updates are averages already.
      accumulation_steps: k.

    Returns:
      The aggregator.

    Raises:
      ValueError: if k is less than 1.

    Example:
      >>> tx = average_incrementally_updates(0, 2)
      >>> u, state = tx.update(jnp.array([1.0, 3.0]), tx.init(jnp.array(0.0)))
      >>> tx.update(jnp.array([5.0, 7.0]), state)[0]
      Array(4., dtype=float32)
    """
    check_number("average_incrementally_updates", "accumulation_steps", accumulation_steps, COUNT)
    if per_elt_axis is None:
        return accumulate_avg_updates(accumulation_steps)
    if accumulation_steps == 1:
        return average_per_element_updates(per_elt_axis)
    return chain(average_per_element_updates(per_elt_axis), accumulate_avg_updates(accumulation_steps))


class PerElementMeanAndSumSqDiffGradsState(NamedTuple):
    """The state of `get_per_element_mean_and_sum_sq_diff_grads` over several batches."""

    micro_step: Any  # batches since the last result
    ready: Any  # whether the last result is one of all batches
    mean_grads: Any
    sum_sq_diff_grads: Any


@value
class get_per_element_mean_and_sum_sq_diff_grads(_aggregator):
    """The mean of the gradients of all examples, and the sum of the squared differences from it.

    The updates become the pair (mean, {"sum_sq_diff_grads": Σ |gᵢ - mean|², "sample_size": n}), over k batches by the
    parallel algorithm; before the k-th batch all are zero.

    Args:
      per_elt_axis: the axis of examples, or axes.
      accumulation_steps: k.

    Raises:
      ValueError: if k is less than 1.

    Example:
      >>> tx = get_per_element_mean_and_sum_sq_diff_grads()
      >>> (mean, aux), _ = tx.update(jnp.array([1.0, 2.0, 6.0]), tx.init(jnp.array(0.0)))
      >>> mean, aux["sum_sq_diff_grads"], aux["sample_size"]
      (Array(3., dtype=float32), Array(14., dtype=float32), 3)

    References:
      Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979, eq. 2.1.
    """

    per_elt_axis: Axis = static(default=0)
    accumulation_steps: int = static(default=1)

    def init(self, params: Params) -> OptState:
        """Zero sums."""
        if self.accumulation_steps == 1:
            return EmptyState()
        squares = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=jnp.real(p).dtype), params)
        false = jnp.zeros([], bool)
        return PerElementMeanAndSumSqDiffGradsState(zero_count(), false, zeros_like(params), squares)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Takes mean and squares of the batch, and joins them with those before."""
        name = "get_per_element_mean_and_sum_sq_diff_grads"
        axes = _axes(self.per_elt_axis)
        n = get_batch_size_from_per_elt_updates(updates, axes)

        def batch(g):
            g = jnp.asarray(g)
            wide = g.astype(jnp.promote_types(g.dtype, jnp.float32))
            mean = jnp.mean(wide, axis=axes, keepdims=True)
            squares = jnp.sum(abs_sq(wide - mean), axis=axes)
            return jnp.squeeze(mean, axes).astype(g.dtype), squares.astype(jnp.real(g).dtype)

        mean, squares = map_leaves(name, batch, 2, updates)
        if self.accumulation_steps == 1:
            return (mean, {"sum_sq_diff_grads": squares, "sample_size": n}), state

        before = state.micro_step
        share = 1 / (before + 1)

        def join(m, q, old_m, old_q):
            difference = m - old_m
            new_m = old_m + share * difference
            new_q = old_q + q + n * before * share * abs_sq(difference)
            return new_m.astype(old_m.dtype), new_q.astype(old_q.dtype)

        mean, squares = map_leaves(name, join, 2, mean, squares, state.mean_grads, state.sum_sq_diff_grads)
        ready = before == self.accumulation_steps - 1
        (mean, squares), kept = _emit(ready, (mean, squares))
        size = jnp.where(ready, n * self.accumulation_steps, 0)
        micro_step = (before + 1) % self.accumulation_steps
        aux = {"sum_sq_diff_grads": squares, "sample_size": size}
        return (mean, aux), PerElementMeanAndSumSqDiffGradsState(micro_step, ready, *kept)


class PerElementMeanAndVarianceEMAState(NamedTuple):
    """The state of `track_per_element_mean_and_variance_with_ema`."""

    count: Any  # steps taken
    ema_decay: Any
    mean_grads_ema: Any  # average mean, not corrected
    variance_grads_ema: Any  # average variance, not corrected


@value
class track_per_element_mean_and_variance_with_ema(GradientTransformationExtraArgs):
    """Keeps exponential averages of the mean and of the variance of gradients, and leaves the updates as they are.

        mₜ = β mₜ₋₁ + (1 - β) ḡₜ,  vₜ = β vₜ₋₁ + (1 - β) Σᵢ |gᵢ - ḡₜ|² / (n - 1)

    `update` needs `sum_sq_diff_grads` and `sample_size`, see `get_per_element_mean_and_sum_sq_diff_grads`.

    Args:
      ema_decay: β.

    Raises:
      ValueError: if `update` lacks one of them, or there is only one example.

    Example:
      >>> tx = track_per_element_mean_and_variance_with_ema()
      >>> aux = {"sum_sq_diff_grads": jnp.array(14.0), "sample_size": 3}
      >>> _, state = tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)), **aux)
      >>> mean, variance = get_unbiased_mean_and_variance_ema(state)
      >>> mean.round(3), variance.round(3)
      (Array(3.0000002, dtype=float32), Array(7.0000005, dtype=float32))
    """

    ema_decay: ArrayLike = 0.9

    def init(self, params: Params) -> OptState:
        """Zero averages."""
        mean = moment_zeros(params, self.ema_decay)
        variance = jax.tree.map(lambda m: jnp.zeros_like(m, dtype=jnp.real(m).dtype), mean)
        return PerElementMeanAndVarianceEMAState(zero_count(), as_state_scalar(self.ema_decay), mean, variance)

    def update(
        self,
        updates: Updates,
        state: OptState,
        params: Params | None = None,
        *,
        sum_sq_diff_grads: Any = None,
        sample_size: Any = None,
        **extra_args: Any,
    ) -> Stepped:
        """Steps the averages."""
        name = "track_per_element_mean_and_variance_with_ema"
        if sum_sq_diff_grads is None or sample_size is None:
            raise ValueError(
                f"{name}: update needs sum_sq_diff_grads and sample_size, "
                "as get_per_element_mean_and_sum_sq_diff_grads gives them"
            )
        if isinstance(sample_size, int) and sample_size < 2:
            raise ValueError(f"{name}: a variance needs at least two examples, got sample_size={sample_size}")
        decay = state.ema_decay
        step = lambda x, m: ((1 - decay) * x + decay * m).astype(m.dtype)
        mean = map_leaves(name, step, 1, updates, state.mean_grads_ema, fresh=0)
        squared = lambda q, v: step(q / (sample_size - 1), v)
        variance = map_leaves(name, squared, 1, sum_sq_diff_grads, state.variance_grads_ema, fresh=0)
        return updates, PerElementMeanAndVarianceEMAState(safe_increment(state.count), decay, mean, variance)


def get_unbiased_mean_and_variance_ema(state: Any) -> tuple[PyTree, PyTree]:
    """The averages of mean and variance in a state, without the pull of their zero start.

    Args:
      state: a state that holds one `PerElementMeanAndVarianceEMAState`.

    Returns:
      (mean, variance), both divided by 1 - βᵗ.

    Raises:
      ValueError: if the state holds no such part.

    Example:
      >>> tx = track_per_element_mean_and_variance_with_ema()
      >>> aux = {"sum_sq_diff_grads": jnp.array(14.0), "sample_size": 3}
      >>> _, state = tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)), **aux)
      >>> get_unbiased_mean_and_variance_ema(state)[1].round(3)
      Array(7.0000005, dtype=float32)
    """
    part = _search.get(state, "PerElementMeanAndVarianceEMAState")
    if part is None:
        raise ValueError(
            "get_unbiased_mean_and_variance_ema: state must hold a PerElementMeanAndVarianceEMAState, "
            f"got {type(state).__name__}"
        )
    fix = correction(part.ema_decay, part.count)
    unbiased = lambda tree: jax.tree.map(lambda x: (x / fix).astype(x.dtype), tree)
    return unbiased(part.mean_grads_ema), unbiased(part.variance_grads_ema)


@value
class process(_aggregator):
    """An optimiser that sees the gradient of each example: before, while and after they become one.

    The preprocessor sees the gradients of all examples, the postprocessor what the aggregator makes of them. If the
    aggregator takes several batches (its state has a field `ready`), the postprocessor waits for it, and the updates
    are zero until then.

    Args:
      preprocessor: a transformation of gradients with axes of examples.
      aggregator: an `Aggregator`, or a transformation.
      postprocessor: a transformation, such as the optimiser.
      aggregator_has_aux: whether the aggregator's updates are a pair (updates, aux); aux is a dict of further
        arguments for the postprocessor.

    Example:
      >>> from renga.optim import clip, sgd
      >>> tx = process(clip(1.0), average_per_element_updates(), sgd(0.1))
      >>> tx.update(jnp.array([0.5, 9.0]), tx.init(jnp.array(0.0)))[0]
      Array(-0.075, dtype=float32)
    """

    preprocessor: Any
    aggregator: Any
    postprocessor: Any
    aggregator_has_aux: bool = static(default=False)

    def __post_init__(self):
        for name in ("preprocessor", "aggregator", "postprocessor"):
            part = getattr(self, name)
            part = GradientTransformation(*part) if isinstance(part, Aggregator) else part
            object.__setattr__(self, name, as_transformation("process", name, part))

    def init(self, params: Params) -> OptState:
        """The states of the three."""
        return self.preprocessor.init(params), self.aggregator.init(params), self.postprocessor.init(params)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Hands the updates on."""
        before, middle, after = state
        updates, before = self.preprocessor.update(updates, before, params, **extra_args)
        out, middle = self.aggregator.update(updates, middle, params, **extra_args)
        updates, aux = out if self.aggregator_has_aux else (out, {})
        post = lambda updates, after: self.postprocessor.update(updates, after, params, **extra_args, **aux)
        ready = _search.get(middle, "ready")
        if ready is None:
            updates, after = post(updates, after)
        else:
            like = jax.eval_shape(post, updates, after)[0]
            wait = lambda updates, after: (jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like), after)
            varied = lambda branch: lambda *x: vary_like(branch(*x), updates, after)
            updates, after = lax.cond(ready, varied(post), varied(wait), updates, after)
        return updates, (before, middle, after)


def add_mean_variance_to_opt(
    opt: Any, ema_decay: ArrayLike = 0.9, per_elt_axis: Axis = 0, accumulation_steps: int = 1
) -> process:
    """An optimiser on gradients of single examples that keeps averages of their mean and variance.

    Args:
      opt: the optimiser, which sees the average gradient.
      ema_decay: decay of the averages.
      per_elt_axis: the axis of examples, or axes.
      accumulation_steps: batches that make a step.

    Returns:
      The optimiser; read the averages with `get_unbiased_mean_and_variance_ema(state)`.

    Raises:
      ValueError: if `accumulation_steps` is less than 1.

    Example:
      >>> from renga.optim import sgd
      >>> tx = add_mean_variance_to_opt(sgd(0.1))
      >>> u, state = tx.update(jnp.array([1.0, 2.0, 6.0]), tx.init(jnp.array(0.0)))
      >>> u.round(3), get_unbiased_mean_and_variance_ema(state)[1].round(3)
      (Array(-0.3, dtype=float32), Array(7.0000005, dtype=float32))
    """
    statistics = get_per_element_mean_and_sum_sq_diff_grads(per_elt_axis, accumulation_steps)
    post = chain(track_per_element_mean_and_variance_with_ema(ema_decay), opt)
    return process(identity(), statistics, post, aggregator_has_aux=True)
