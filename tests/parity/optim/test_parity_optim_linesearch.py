"""L-BFGS and line searches against Optax, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import optim

optax = pytest.importorskip("optax")

pytestmark = pytest.mark.usefixtures("rank_promotion")

# Each starts at x with the direction -d f'(x): brackets from both sides, noise, kinks, NaN and ∞ ahead.
LANDSCAPES = {
    "steep": (lambda x: 500 * x**2, 1.0, 1.0),
    "quartic": (lambda x: (x - 3) ** 4 + x, 0.0, 1.0),
    "wave": (lambda x: jnp.sin(13 * x) + 0.5 * x**2, 1.0, 1.0),
    "kink": (lambda x: jnp.abs(x - 0.3) + 0.01 * x, 0.0, 1.0),
    "endless": (lambda x: -x, 0.0, 1.0),
    "flattening": (lambda x: jnp.exp(-x) + 0.001 * x**2, 0.0, 1.0),
    "NaN ahead": (lambda x: jnp.where(x > 0.5, jnp.nan, (x - 0.4) ** 2), 0.0, 1.0),
    "inf ahead": (lambda x: jnp.where(x > 0.5, jnp.inf, (x - 0.4) ** 2), 0.0, 1.0),
    "uphill": (lambda x: x**2, 1.0, -1.0),
    "flat": (lambda x: 0 * x + 1.0, 1.0, 1.0),
}
SEARCHES = {
    "zoom": lambda o: o.scale_by_zoom_linesearch(12),
    "zoom strict": lambda o: o.scale_by_zoom_linesearch(12, curv_rtol=0.01, approx_dec_rtol=None),
    "zoom short": lambda o: o.scale_by_zoom_linesearch(3, curv_rtol=0.01),
    "zoom bounded": lambda o: o.scale_by_zoom_linesearch(12, max_learning_rate=1.5, curv_rtol=0.01),
    "zoom tolerant": lambda o: o.scale_by_zoom_linesearch(12, tol=0.1, curv_rtol=0.001),
    "zoom coarse": lambda o: o.scale_by_zoom_linesearch(12, stepsize_precision=0.1, curv_rtol=0.001),
    "backtracking": lambda o: o.scale_by_backtracking_linesearch(6),
    "backtracking far": lambda o: o.scale_by_backtracking_linesearch(
        9, max_learning_rate=5.0, increase_factor=3.0, decrease_factor=0.5, rtol=0.01, atol=0.01, store_grad=True
    ),
}


def searched(library, search):
    """The ends of the searches in all landscapes, by one compiled function."""
    tx = SEARCHES[search](library)
    functions = [f for f, _, _ in LANDSCAPES.values()]

    @jax.jit
    def run(i, x, scale):
        f = lambda x: jax.lax.switch(i, functions, x)
        value, grad = jax.value_and_grad(f)(x)
        return tx.update(-scale * grad, tx.init(x), x, value=value, grad=grad, value_fn=f)

    ends = [run(i, jnp.float32(x), scale) for i, (_, x, scale) in enumerate(LANDSCAPES.values())]
    return {name: jax.tree.leaves(end) for name, end in zip(LANDSCAPES, ends, strict=True)}


@pytest.mark.parametrize("search", SEARCHES)
def test_searches_end_where_those_of_optax_end(search):
    ours, theirs = searched(optim, search), searched(optax, search)
    for name, ends in theirs.items():
        for a, b in zip(ours[name], ends, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=name)


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: o.lbfgs(),
        lambda o: o.lbfgs(memory_size=2, scale_init_precond=False),
        lambda o: o.chain(o.sgd(1.0), o.scale_by_zoom_linesearch(15)),
    ],
    ids=["default", "short memory", "gradient descent"],
)
def test_twenty_steps_and_their_memories_are_those_of_optax(make, x64):
    """In float64: the steps magnify rounding."""

    def run(library):
        tx, x = make(library), jnp.zeros(4)
        value_and_grad = library.value_and_grad_from_state(rosenbrock)

        def step(carry, _):
            x, state = carry
            value, grad = value_and_grad(x, state=state)
            u, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=rosenbrock)
            return (x + u, state), x

        (x, state), path = jax.jit(lambda c: jax.lax.scan(step, c, None, length=20))((x, tx.init(x)))
        return path, state

    (ours, our_state), (theirs, their_state) = run(optim), run(optax)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)
    for name in optax.ScaleByLBFGSState._fields:
        a, b = optim.tree.get(our_state, name), optax.tree.get(their_state, name)
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
