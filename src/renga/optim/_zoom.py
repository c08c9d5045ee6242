"""Zoom line search: the length of a step by the strong Wolfe conditions, bracketing and then zooming in."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from renga._core.checks import check_choice
from renga._core.varying import vary_like
from renga.optim._leaves import zeros_like
from renga.optim._linesearch import check_search, search_dtype, slope_along, walk, with_known_arguments
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, Stepped, Updates
from renga.optim._value import static, steps, value

GUESSES = ("keep", "one")
# An interpolated point nearer to an end of the interval than these shares of its length is not trusted.
CUBIC_MARGIN, QUADRATIC_MARGIN = 0.2, 0.1


class ZoomLinesearchInfo(NamedTuple):
    """How the last search went."""

    num_linesearch_steps: Any  # evaluations of the loss and its gradient
    decrease_error: Any  # by how much the last one missed the sufficient decrease
    curvature_error: Any  # by how much the last one missed the curvature condition


class ScaleByZoomLinesearchState(NamedTuple):
    """The state of `scale_by_zoom_linesearch`."""

    learning_rate: Any
    value: Any  # of the loss after the step
    grad: Any  # there
    info: Any


class _Point(NamedTuple):
    """A rate η, the loss φ(η) there, and its slope φ'(η)."""

    rate: Any
    value: Any
    slope: Any


class _Search(NamedTuple):
    """The carry of the loop."""

    count: Any  # evaluations so far
    point: Any  # the last trial
    bracketed: Any  # whether an interval with a solution is known
    interpolated: Any  # whether a trial inside it has been made
    low: Any  # the end of the interval with the smaller loss; while none is known, the trial before
    high: Any  # the other end
    other: Any  # an earlier trial, for the cubic
    result: Any  # (point, gradient) to return: the best with a sufficient decrease, else the last trial
    result_is_safe: Any  # whether its decrease is sufficient
    errors: Any  # of decrease and curvature, at the last trial
    done: Any


def _cubic_minimum(a: _Point, b: _Point, c: _Point) -> Array:
    """Where the cubic through three values, with the slope at the first one, has its minimum."""
    x, y = b.rate - a.rate, c.rate - a.rate
    p = b.value - a.value - a.slope * x
    q = c.value - a.value - a.slope * y
    scale = x**2 * y**2 * (x - y)
    third = (y**2 * p - x**2 * q) / scale
    second = (x**3 * q - y**3 * p) / scale
    return a.rate + (jnp.sqrt(second**2 - 3 * third * a.slope) - second) / (3 * third)


def _quadratic_minimum(a: _Point, b: _Point) -> Array:
    """Where the parabola through two values, with the slope at the first one, has its minimum."""
    x = b.rate - a.rate
    curvature = (b.value - a.value - a.slope * x) / x**2
    return a.rate - a.slope / (2 * curvature)


def _interpolate(low: _Point, high: _Point, other: _Point, use_cubic: Array) -> Array:
    """A rate inside the interval: by the cubic, the parabola, or the middle, whichever is first to be trusted."""
    length = jnp.abs(high.rate - low.rate)
    left, right = jnp.minimum(low.rate, high.rate), jnp.maximum(low.rate, high.rate)
    inside = lambda x, share: (x > left + share * length) & (x < right - share * length)
    cubic, quadratic = _cubic_minimum(low, high, other), _quadratic_minimum(low, high)
    rate = jnp.where(inside(quadratic, QUADRATIC_MARGIN), quadratic, (low.rate + high.rate) / 2)
    return jnp.where(use_cubic & inside(cubic, CUBIC_MARGIN), cubic, rate)


def _pick(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


@value
class scale_by_zoom_linesearch(GradientTransformationExtraArgs):
    """Takes a step after which the loss is lower and its slope is flatter (the strong Wolfe conditions).

        f(θ + η u) ≤ f(θ) + c₁ η ⟨u, ∇f(θ)⟩,  |⟨u, ∇f(θ + η u)⟩| ≤ c₂ |⟨u, ∇f(θ)⟩|

    Near a minimum, where the first condition is lost in rounding, it may be replaced by

        ⟨u, ∇f(θ + η u)⟩ ≤ (2 c₁ - 1) ⟨u, ∇f(θ)⟩  and  f(θ + η u) ≤ f(θ) + ε |f(θ)|

    η grows until an interval must hold a solution; then the interval shrinks by interpolation. If the steps run out,
    the point with the least loss that satisfied the first condition is taken, else the last one.

    It stands at the end of a chain, after the sign has been turned downhill. `update` needs `params`, `value`, `grad`
    and `value_fn`; further arguments go to `value_fn` if it takes them.

    Args:
      max_linesearch_steps: the largest number of evaluations.
      max_learning_rate: the largest η; None for none.
      tol: tolerance of both conditions.
      increase_factor: growth of η while no interval is known.
      slope_rtol: c₁.
      curv_rtol: c₂.
      approx_dec_rtol: ε; None leaves the replacement out.
      stepsize_precision: the search ends when the interval is shorter than this.
      initial_guess_strategy: 'keep' starts from the last η, 'one' from 1.
      verbose: whether to print each search.

    Raises:
      ValueError: if the strategy is unknown.
      TypeError: if `update` lacks one of its arguments.

    Example:
      >>> f = lambda x: jnp.sum((x - 1.0) ** 4)
      >>> x, g = jnp.zeros(2), -4.0 * jnp.ones(2)
      >>> tx = scale_by_zoom_linesearch(max_linesearch_steps=20)
      >>> u, state = tx.update(-g, tx.init(x), x, value=f(x), grad=g, value_fn=f)
      >>> u, state.info.num_linesearch_steps
      (Array([1.2152504, 1.2152504], dtype=float32), Array(3, dtype=int32))

    References:
      Nocedal & Wright, "Numerical Optimization", 2nd ed., algorithms 3.5 and 3.6.
      Hager & Zhang, "Algorithm 851: CG_DESCENT", 2006, section 2 (the approximate condition).
    """

    max_linesearch_steps: int = steps()
    max_learning_rate: Number | None = None
    tol: Number = 0.0
    increase_factor: Number = 2.0
    slope_rtol: Number = 1e-4
    curv_rtol: Number = 0.9
    approx_dec_rtol: Number | None = 1e-6
    stepsize_precision: Number = 1e-5
    initial_guess_strategy: str = static(default="keep")
    verbose: bool = static(default=False)

    def __post_init__(self):
        check_choice("scale_by_zoom_linesearch", "initial_guess_strategy", self.initial_guess_strategy, GUESSES)

    def init(self, params: Params) -> OptState:
        """The first guess is a rate of 1."""
        dtype = search_dtype(params)
        infinity = lambda: jnp.full([], jnp.inf, dtype)
        return ScaleByZoomLinesearchState(
            learning_rate=jnp.ones([], dtype),
            value=infinity(),
            grad=zeros_like(params),
            info=ZoomLinesearchInfo(jnp.zeros([], jnp.int32), infinity(), infinity()),
        )

    def update(
        self,
        updates: Updates,
        state: OptState,
        params: Params | None = None,
        *,
        value: Any = None,
        grad: Any = None,
        value_fn: Any = None,
        **extra_args: Any,
    ) -> Stepped:
        """Searches."""
        check_search("scale_by_zoom_linesearch", params, value, grad, value_fn)
        dtype = state.value.dtype
        fun = with_known_arguments(value_fn, extra_args)
        both = jax.value_and_grad(fun)
        like = lambda tree: jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), tree, state.grad)
        zero = jnp.zeros([], dtype)
        start = _Point(zero, jnp.asarray(value, dtype), slope_along(updates, grad).astype(dtype))
        top = jnp.asarray(jnp.inf if self.max_learning_rate is None else self.max_learning_rate, dtype)
        guess = state.learning_rate if self.initial_guess_strategy == "keep" else jnp.ones([], dtype)
        guess = jnp.minimum(jnp.where(guess > 0, guess, 1), top).astype(dtype)

        def next_rate(s: _Search) -> Array:
            grown = jnp.minimum(self.increase_factor * s.point.rate, top)
            grown = jnp.where(s.count == 0, guess, grown)
            inner = _interpolate(s.low, s.high, s.other, s.interpolated)
            return jnp.where(s.bracketed, inner, grown).astype(dtype)

        def body(s: _Search) -> _Search:
            rate = next_rate(s)
            new_value, new_grad = both(walk(params, rate, updates)[1])
            slope = slope_along(updates, new_grad).astype(dtype)
            new = _Point(rate, jnp.asarray(new_value, dtype), slope)
            decrease, curvature = self._errors(start, new)
            short = jnp.abs(s.high.rate - s.low.rate) <= self.stepsize_precision
            solved = (decrease <= self.tol) & (curvature <= self.tol)
            enough = decrease <= self.tol
            first = s.count == 0

            # Without an interval: the trial and the one before it enclose a solution, or the rate grows.
            fails = ~enough | (~first & (new.value >= s.point.value))
            rises = ~fails & (slope >= 0)
            low_1, high_1 = _pick(fails, s.low, new), _pick(fails, new, s.low)
            # With an interval: the trial takes the place of one end.
            worse = ~enough | ~(new.value < s.low.value)
            turned = slope * (s.high.rate - s.low.rate) >= 0
            low_2 = _pick(worse, s.low, new)
            high_2 = _pick(worse, new, _pick(turned, s.low, s.high))
            other_2 = _pick(worse | turned, s.high, s.low)

            low, high = _pick(s.bracketed, (low_2, high_2), (low_1, high_1))
            other = _pick(s.bracketed, other_2, start)
            safe = ~jnp.where(s.bracketed, worse, fails)
            result = _pick(solved | safe | ~s.result_is_safe, (new, like(new_grad)), s.result)
            ended = jnp.where(s.bracketed, short & (s.result_is_safe | safe), ~(fails | rises) & (rate >= top))
            return _Search(
                count=s.count + 1,
                point=new,
                bracketed=s.bracketed | fails | rises,
                interpolated=s.bracketed,
                low=low,
                high=high,
                other=other,
                result=result,
                result_is_safe=s.result_is_safe | safe,
                errors=(decrease, curvature),
                done=solved | ended,
            )

        false = jnp.zeros([], bool)
        infinity = jnp.full([], jnp.inf, dtype)
        begin = _Search(
            jnp.zeros([], jnp.int32), start, false, false, start, start, start,
            (start, like(grad)), false, (infinity, infinity), false,
        )  # fmt: skip
        begin = vary_like(begin, params, updates, value, grad)
        s = lax.while_loop(lambda s: ~s.done & (s.count < self.max_linesearch_steps), body, begin)
        point, new_grad = s.result
        if self.verbose:
            jax.debug.print(
                "zoom: {n} evaluations, learning rate {r}, loss {v}, missed decrease {d}, missed curvature {c}",
                n=s.count, r=point.rate, v=point.value, d=s.errors[0], c=s.errors[1],
            )  # fmt: skip
        info = ZoomLinesearchInfo(s.count, *s.errors)
        after = ScaleByZoomLinesearchState(point.rate, point.value, new_grad, info)
        return walk(params, point.rate, updates)[0], after

    def _errors(self, start: _Point, new: _Point) -> tuple[Array, Array]:
        """By how much a trial misses the sufficient decrease, and the curvature condition."""
        decrease = new.value - start.value - self.slope_rtol * new.rate * start.slope
        if self.approx_dec_rtol is not None:
            flat = new.slope - (2 * self.slope_rtol - 1) * start.slope
            level = new.value - start.value - self.approx_dec_rtol * jnp.abs(start.value)
            decrease = jnp.minimum(decrease, jnp.maximum(flat, level))
        curvature = jnp.abs(new.slope) - self.curv_rtol * jnp.abs(start.slope)
        known = lambda x: jnp.where(jnp.isnan(x), jnp.inf, jnp.maximum(x, 0)).astype(new.value.dtype)
        return known(decrease), known(curvature)
