"""Backtracking line search: the length of a step, and what line searches share."""
# ruff: noqa: N801

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from renga._core.checks import check_differentiable
from renga._core.varying import vary_like
from renga.optim import _search, _tree_make
from renga.optim._apply import apply_updates
from renga.optim._leaves import need_params, real_vdot, zeros_like
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, Stepped, Updates
from renga.optim._value import static, steps, value


def search_dtype(params: PyTree) -> Any:
    """The real dtype in which a line search computes: that of the parameters, float32 at least."""
    leaves = [jnp.result_type(x) for x in jax.tree.leaves(params)]
    return jnp.finfo(jnp.result_type(jnp.float32, *leaves)).dtype


def check_search(name: str, params: Any, value: Any, grad: Any, value_fn: Any) -> None:
    """Raises if `update` lacks what a line search needs."""
    need_params(name, params)
    missing = [n for n, x in (("value", value), ("grad", grad), ("value_fn", value_fn)) if x is None]
    if missing:
        raise TypeError(
            f"{name}: update needs the loss, its gradient and the function, call update(updates, state, params, "
            f"value=loss, grad=gradient, value_fn=function), got no {', '.join(missing)}"
        )


def with_known_arguments(value_fn: Any, extra_args: dict[str, Any]) -> Callable[[Any], Any]:
    """The function of the parameters alone: of the extra arguments it receives those it takes."""
    try:
        kinds = inspect.signature(value_fn).parameters.values()
    except (TypeError, ValueError):
        kinds = ()
    if any(p.kind is p.VAR_KEYWORD for p in kinds):
        known = extra_args
    else:
        names = {p.name for p in kinds if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
        known = {k: v for k, v in extra_args.items() if k in names}
    return lambda params: value_fn(params, **known)


def slope_along(updates: PyTree, grad: PyTree) -> Array:
    """The derivative of the loss along the updates. (JAX's gradient of complex parameters is the conjugate.)"""
    return real_vdot(_tree_make.conj(grad), updates)


def walk(params: PyTree, rate: Number, updates: PyTree) -> tuple[PyTree, PyTree]:
    """The step of that length, and the parameters after it."""
    step = jax.tree.map(lambda u: (rate * u).astype(jnp.result_type(u)), updates)
    return step, apply_updates(params, step)


def value_and_grad_from_state(value_fn: Callable[..., Any]) -> Callable[..., tuple[Array, PyTree]]:
    """`jax.value_and_grad` that takes both from the state of the last line search, where that has them.

    Use it if the parameters are those that the line search went to, and the loss is a function of them alone (the
    same data in each step).

    Args:
      value_fn: (params, *args, **kwargs) ↦ scalar.

    Returns:
      A function (params, *args, state, **kwargs) ↦ (value, gradient). It computes both if the state has none yet, or
      if the value there is not finite.

    Raises:
      ValueError: if the state holds no value or no gradient.

    Example:
      >>> f = lambda x: jnp.sum(x**2)
      >>> tx, x = scale_by_backtracking_linesearch(5, store_grad=True), jnp.array([1.0])
      >>> state = tx.init(x)
      >>> value, grad = value_and_grad_from_state(f)(x, state=state)
      >>> u, state = tx.update(-grad, state, x, value=value, grad=grad, value_fn=f)
      >>> value_and_grad_from_state(f)(x + u, state=state)[1]
      Array([-1.2], dtype=float32)
    """

    def from_state(params: PyTree, *args: Any, state: Any, **kwargs: Any) -> tuple[Array, PyTree]:
        value, grad = _search.get(state, "value"), _search.get(state, "grad")
        if value is None or grad is None:
            raise ValueError(
                "value_and_grad_from_state: state must hold the fields value and grad of a line search, "
                f"got value={value!r:.40}, grad={grad!r:.40}; scale_by_backtracking_linesearch keeps the gradient "
                "with store_grad=True"
            )
        check_differentiable("value_and_grad_from_state", params=params)
        compute = lambda: jax.value_and_grad(value_fn)(params, *args, **kwargs)
        new_value, new_grad = jax.eval_shape(compute)
        as_computed = lambda old, new: jnp.asarray(old, new.dtype)
        reuse = lambda: (as_computed(value, new_value), jax.tree.map(as_computed, grad, new_grad))
        varied = lambda branch: lambda: vary_like(branch(), params, value, grad, args, kwargs)
        return lax.cond(jnp.isfinite(value), varied(reuse), varied(compute))

    return from_state


class BacktrackingLinesearchInfo(NamedTuple):
    """How the last search went."""

    num_linesearch_steps: Any  # evaluations of the loss
    decrease_error: Any  # by how much the last one missed the sufficient decrease, without `atol`


class ScaleByBacktrackingLinesearchState(NamedTuple):
    """The state of `scale_by_backtracking_linesearch`."""

    learning_rate: Any
    value: Any  # of the loss after the step
    grad: Any  # there, or None
    info: Any


class _Trial(NamedTuple):
    rate: Any
    value: Any
    grad: Any
    error: Any
    evaluations: Any


@value
class scale_by_backtracking_linesearch(GradientTransformationExtraArgs):
    """Shortens the step until the loss falls enough (Armijo's condition).

        f(θ + η u) ≤ (1 + rtol) f(θ) + η c ⟨u, ∇f(θ)⟩ + atol

    The first η is the last one times `increase_factor`, at most `max_learning_rate`; then η ← d η until the condition
    holds, or `max_backtracking_steps` have been taken: then the last η counts. If the loss is not finite even there,
    the parameters stay, and the next search starts from `max_learning_rate`.

    It stands at the end of a chain, after the sign has been turned downhill. `update` needs `params`, `value`, `grad`
    and `value_fn`; further arguments go to `value_fn` if it takes them.

    Args:
      max_backtracking_steps: the largest number of times that the step is shortened.
      slope_rtol: c.
      decrease_factor: d, between 0 and 1.
      increase_factor: growth of the first guess; infinity starts from `max_learning_rate` each time.
      max_learning_rate: the largest η.
      atol: absolute tolerance of the condition.
      rtol: relative tolerance of the condition.
      store_grad: whether to compute the gradient of accepted points and keep it in the state.
      verbose: whether to print each search.

    Raises:
      TypeError: if `update` lacks one of its arguments.

    Example:
      >>> from renga.optim import chain, sgd
      >>> f = lambda x: jnp.sum(x**2)
      >>> x, tx = jnp.array([1.0, 2.0]), chain(sgd(1.0), scale_by_backtracking_linesearch(10))
      >>> u, state = tx.update(2 * x, tx.init(x), x, value=f(x), grad=2 * x, value_fn=f)
      >>> x + u
      Array([-0.6, -1.2], dtype=float32)

    References:
      Armijo, "Minimization of functions having Lipschitz continuous first partial derivatives", 1966.
      Nocedal & Wright, "Numerical Optimization", 2nd ed., algorithm 3.1.
    """

    max_backtracking_steps: int = steps()
    slope_rtol: Number = 1e-4
    decrease_factor: Number = 0.8
    increase_factor: Number = 1.5
    max_learning_rate: Number = 1.0
    atol: Number = 0.0
    rtol: Number = 0.0
    store_grad: bool = static(default=False)
    verbose: bool = static(default=False)

    def init(self, params: Params) -> OptState:
        """The first guess is a rate of 1."""
        dtype = search_dtype(params)
        infinity = lambda: jnp.full([], jnp.inf, dtype)
        return ScaleByBacktrackingLinesearchState(
            learning_rate=jnp.ones([], dtype),
            value=infinity(),
            grad=zeros_like(params) if self.store_grad else None,
            info=BacktrackingLinesearchInfo(jnp.zeros([], jnp.int32), infinity()),
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
        check_search("scale_by_backtracking_linesearch", params, value, grad, value_fn)
        dtype = state.value.dtype
        fun = with_known_arguments(value_fn, extra_args)
        value, slope = jnp.asarray(value, dtype), slope_along(updates, grad).astype(dtype)
        both = jax.value_and_grad(fun)
        like = lambda tree: jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), tree, state.grad)

        def evaluate(rate, evaluations):
            there = walk(params, rate, updates)[1]
            new, new_grad = both(there) if self.store_grad else (fun(there), None)
            new = jnp.asarray(new, dtype)
            bound = (1 + self.rtol) * value + rate * self.slope_rtol * slope
            error = jnp.maximum(new - bound, 0)
            error = jnp.where(jnp.isnan(error), jnp.inf, error).astype(dtype)
            return _Trial(rate, new, like(new_grad) if self.store_grad else None, error, evaluations + 1)

        top = jnp.asarray(self.max_learning_rate, dtype)
        grown = jnp.minimum(jnp.asarray(self.increase_factor, dtype) * state.learning_rate, top)
        guess = jnp.where(state.learning_rate > 0, grown, top)
        unmet = lambda t: (t.error > self.atol) & (t.evaluations <= self.max_backtracking_steps)
        shorten = lambda t: evaluate((self.decrease_factor * t.rate).astype(dtype), t.evaluations)
        first = vary_like(evaluate(guess, jnp.zeros([], jnp.int32)), params, updates, value, grad)
        trial = lax.while_loop(unmet, shorten, first)

        # A point where the loss is not finite is no place to go to.
        there = jnp.isfinite(trial.value)
        rate = jnp.where(there, trial.rate, 0)
        if self.store_grad:
            pick = lambda new, old: jnp.where(there, new, old.astype(new.dtype))
            kept = jax.tree.map(pick, trial.grad, grad)
        else:
            kept = None
        if self.verbose:
            jax.debug.print(
                "backtracking: {n} evaluations, learning rate {r}, loss {v}, missed decrease {e}",
                n=trial.evaluations, r=rate, v=trial.value, e=trial.error,
            )  # fmt: skip
        info = BacktrackingLinesearchInfo(trial.evaluations, trial.error)
        after = ScaleByBacktrackingLinesearchState(rate, jnp.where(there, trial.value, value), kept, info)
        return walk(params, rate, updates)[0], after
