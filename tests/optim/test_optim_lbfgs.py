"""L-BFGS and line searches: against SciPy, under every transformation, and by the number of evaluations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from renga import optim

X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
Y = np.sign(X @ np.array([1.0, -2.0, 0.5, 0.0], np.float32))


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def logistic(w):
    return jnp.mean(jnp.logaddexp(0, -Y * (X @ w))) + 0.01 * jnp.sum(w**2)


def counted(f):
    """The function, and the parameters of each of its runs."""
    runs = []

    def g(x):
        jax.debug.callback(lambda v: runs.append(np.asarray(v)), x)
        return f(x)

    return g, runs


@pytest.mark.parametrize(("f", "size"), [(rosenbrock, 5), (logistic, 4)])
def test_lbfgs_finds_the_minimum_that_scipy_finds(f, size):
    found = jax.jit(lambda x: optim.minimize(f, x, optim.lbfgs(), tol=1e-4, max_steps=100))(jnp.zeros(size))
    with jax.enable_x64(True):
        fun = jax.jit(jax.value_and_grad(f))
        want = scipy.optimize.minimize(fun, np.zeros(size), jac=True, method="L-BFGS-B", options={"maxcor": 10})
    assert found.converged
    assert int(found.steps) < 2 * want.nit + 5
    np.testing.assert_allclose(found.params, want.x, atol=2e-3)
    np.testing.assert_allclose(found.value, want.fun, atol=1e-6)


def test_minimize_evaluates_the_function_for_nothing_but_the_line_search():
    f, runs = counted(rosenbrock)
    searched = []
    seen = optim.chain(optim.lbfgs())  # the search may stand in a chain in a chain
    found = optim.minimize(f, jnp.zeros(3), seen, tol=1e-3, max_steps=40)
    jax.effects_barrier()
    total = len(runs)
    x, state = jnp.zeros(3), seen.init(jnp.zeros(3))
    value_and_grad = jax.value_and_grad(rosenbrock)
    step = jax.jit(lambda x, s: seen.update(value_and_grad(x)[1], s, x, value=value_and_grad(x)[0],
                                            grad=value_and_grad(x)[1], value_fn=rosenbrock))  # fmt: skip
    for _ in range(int(found.steps)):
        u, state = step(x, state)
        x = x + u
        searched.append(int(optim.tree.get(state, "num_linesearch_steps")))
    assert found.converged
    assert total == 1 + sum(searched)
    # What stands behind a search moves the parameters elsewhere: its value must not be taken.
    moved = optim.chain(optim.lbfgs(), optim.scale(0.5))
    g, runs = counted(rosenbrock)
    short = optim.minimize(g, jnp.zeros(3), moved, max_steps=1)
    np.testing.assert_allclose(short.value, rosenbrock(short.params), rtol=1e-6)
    # An aux is computed once, at the end.
    both = optim.minimize(lambda x: (logistic(x), 2 * x), jnp.zeros(4), optim.lbfgs(), has_aux=True, max_steps=3)
    np.testing.assert_allclose(both.aux, 2 * both.params)
    np.testing.assert_allclose(both.value, logistic(both.params), rtol=1e-6)


def test_complex_parameters_take_the_steps_of_their_real_and_imaginary_parts():
    centre = jnp.array([1 + 2j, 0.5 - 3j])

    def f(z):
        return jnp.sum(jnp.abs(z - centre) ** 2 * jnp.array([1.0, 5.0])) + 0.1 * jnp.sum(jnp.abs(z) ** 4)

    def real(p):
        return f(p[0] + 1j * p[1])

    got = optim.minimize(f, jnp.zeros(2, jnp.complex64), optim.lbfgs(), tol=1e-4, max_steps=12)
    want = optim.minimize(real, jnp.zeros((2, 2)), optim.lbfgs(), tol=1e-4, max_steps=12)
    assert got.converged
    assert got.steps == want.steps
    np.testing.assert_allclose(got.params, want.params[0] + 1j * want.params[1], atol=1e-4)


def test_lbfgs_runs_in_scan_and_for_a_batch():
    def train(x):
        tx = optim.lbfgs(linesearch=optim.scale_by_zoom_linesearch(8))

        def step(carry, _):
            x, state = carry
            value, grad = optim.value_and_grad_from_state(logistic)(x, state=state)
            u, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=logistic)
            return (x + u, state), value

        return jax.lax.scan(step, (x, tx.init(x)), None, length=4)

    starts = jnp.stack([jnp.zeros(4), jnp.ones(4)])
    (xs, states), values = jax.jit(jax.vmap(train))(starts)
    assert jnp.all(jnp.diff(values, axis=1) < 0)
    alone = jax.jit(train)
    for i in range(2):
        (x, state), _ = alone(starts[i])
        np.testing.assert_allclose(xs[i], x, rtol=1e-4, atol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-3), state, jax.tree.map(lambda s: s[i], states))  # fmt: skip  # noqa: B023, E501


def test_a_pair_without_positive_curvature_is_left_out():
    """The step stays a direction of descent where the loss is concave."""
    tx = optim.scale_by_lbfgs(memory_size=3)
    x = jnp.array([1.0, 2.0])
    state = tx.init(x)
    for g in ([1.0, 1.0], [2.0, 2.0], [2.0, 2.0], [3.0, 2.0]):  # the gradient grows downhill
        u, state = tx.update(jnp.array(g), state, x)
        assert jnp.vdot(u, jnp.array(g)) > 0
        x = x - 0.1 * u
    np.testing.assert_array_equal(state.weights_memory, 0.0)


def test_a_backtracking_search_shortens_until_the_loss_falls_and_survives_a_loss_that_is_not_finite():
    f = lambda x: jnp.where(x > 0.5, jnp.nan, (x - 0.3) ** 2)
    tx = optim.scale_by_backtracking_linesearch(4, store_grad=True)
    x, state = jnp.array(0.0), tx.init(jnp.array(0.0))
    u, state = tx.update(jnp.array(1.0), state, x, value=f(x), grad=jax.grad(f)(x), value_fn=f)
    np.testing.assert_allclose([u, state.learning_rate], 0.8**4, rtol=1e-6)
    assert state.info.num_linesearch_steps == 5
    # Everything ahead is NaN: the parameters stay, and the state holds what is true there.
    u, state = tx.update(jnp.array(50.0), state, x, value=f(x), grad=jax.grad(f)(x), value_fn=f)
    assert u == 0.0
    np.testing.assert_allclose([state.value, state.grad], [f(x), jax.grad(f)(x)])
    u, state = tx.update(jnp.array(0.3), state, x, value=f(x), grad=jax.grad(f)(x), value_fn=f)
    np.testing.assert_allclose(u, 0.3)
    x = jnp.array([1.0, 2.0], jnp.bfloat16)
    assert tx.init(x).value.dtype == jnp.float32


def test_a_search_passes_known_arguments_to_the_function():
    tx = optim.chain(optim.sgd(1.0), optim.scale_by_backtracking_linesearch(10, store_grad=True))
    f = lambda x, batch: jnp.sum((x - batch) ** 2)
    x, batch = jnp.array([1.0]), jnp.array([3.0])
    value, grad = optim.value_and_grad_from_state(f)(x, batch, state=tx.init(x))
    u, _ = tx.update(grad, tx.init(x), x, value=value, grad=grad, value_fn=f, batch=batch, unknown=3)
    assert f(x + u, batch) < value


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_named():
    x = jnp.ones(2)
    for tx in (optim.scale_by_zoom_linesearch(3), optim.scale_by_backtracking_linesearch(3)):
        with pytest.raises(TypeError, match="got no value, value_fn"):
            tx.update(x, tx.init(x), x, grad=x)
    with pytest.raises(ValueError, match="initial_guess_strategy must be one of 'keep', 'one', got 'two'"):
        optim.scale_by_zoom_linesearch(3, initial_guess_strategy="two")
    with pytest.raises(ValueError, match="memory_size must be a whole number and >= 1, got 0"):
        optim.scale_by_lbfgs(0)
    with pytest.raises(ValueError, match="scale_by_lbfgs: this transformation needs the parameters"):
        optim.lbfgs().update(x, optim.lbfgs().init(x))
    with pytest.raises(ValueError, match="store_grad=True"):
        optim.value_and_grad_from_state(jnp.sum)(x, state=optim.scale_by_backtracking_linesearch(3).init(x))
    with pytest.raises(ValueError, match="structure that `init` saw"):
        optim.scale_by_lbfgs().update((x,), optim.scale_by_lbfgs().init(x), (x,))
