"""Assignments against SciPy, and functions made smooth by noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from renga import optim
from renga.optim import assignment, perturbations

# In a batch, rows that are matched already must not wait for a column: -I is matched at the start.
SHAPES = [(1, 1), (3, 5), (5, 3), (6, 6)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", assignment.__all__)
def test_an_assignment_costs_as_little_as_that_of_scipy(name, shape):
    rng = np.random.default_rng(0)
    batch = np.stack([rng.normal(size=shape), rng.integers(0, 3, shape), np.zeros(shape), -np.eye(*shape)])
    batch = batch.astype(np.float32)
    rows, columns = jax.jit(jax.vmap(getattr(assignment, name)))(batch)
    for cost, i, j in zip(batch, rows, columns, strict=True):
        want = linear_sum_assignment(cost)
        np.testing.assert_array_equal(i, want[0] if shape[0] <= shape[1] else np.sort(i))
        assert len(set(j.tolist())) == len(j) == min(shape)
        np.testing.assert_allclose(cost[i, j].sum(), cost[want].sum(), rtol=1e-5, atol=1e-6)


def test_whole_numbers_are_added_exactly():
    cost = np.array([[2**30, 2**30 + 1], [2**30 + 1, 2**30 + 1]])
    _, columns = assignment.hungarian_algorithm(jnp.asarray(cost, jnp.int32))
    np.testing.assert_array_equal(columns, [0, 1])
    assert assignment.hungarian_algorithm(jnp.ones((2, 2), bool))[1].tolist() == [0, 1]


def test_forbidden_pairs_are_avoided_and_edges_are_empty():
    inf = jnp.inf
    cost = jnp.array([[0.0, 1.0, inf], [0.0, inf, inf], [inf, 5.0, 9.0]])
    for f in (assignment.hungarian_algorithm, assignment.base_hungarian_algorithm):
        _, columns = f(cost)
        np.testing.assert_array_equal(columns, [1, 0, 2])
        assert f(jnp.zeros((0, 3)))[0].shape == f(jnp.zeros((3, 0)))[1].shape == (0,)
        with pytest.raises(ValueError, match="must not hold NaN"):
            f(jnp.array([[jnp.nan]]))
        with pytest.raises(ValueError, match="must not hold NaN"):  # known, under jit too
            jax.eval_shape(lambda f=f: f(np.full((2, 2), np.nan, np.float32)))


@pytest.mark.usefixtures("unchecked")
def test_costs_that_are_no_matrix_are_refused():
    with pytest.raises(ValueError, match=r"hungarian_algorithm: cost_matrix must have shape \[N, M\]"):
        assignment.hungarian_algorithm(jnp.zeros(3))
    with pytest.raises(ValueError, match="num_samples must be >= 1, got"):
        perturbations.make_perturbed_fun(jnp.sum, num_samples=0)


def test_arg_max_under_gumbel_noise_is_softmax_with_its_derivatives():
    hard = lambda x: jax.nn.one_hot(jnp.argmax(x), 3)
    x, key = jnp.array([0.5, 0.0, -1.0]), jax.random.key(0)
    soft = jax.jit(optim.perturbations.make_perturbed_fun(hard, num_samples=40_000, sigma=1.0))
    np.testing.assert_allclose(soft(key, x), jax.nn.softmax(x), atol=0.01)
    jacobian = jax.jacobian(lambda x: soft(key, x))(x)
    np.testing.assert_allclose(jacobian, jax.jacobian(jax.nn.softmax)(x), atol=0.02)


def test_trees_and_dtypes_go_through_a_perturbed_function():
    f = lambda t: {"square": t["a"] ** 2, "top": jnp.argmax(t["b"])}
    t = {"a": jnp.array([1.0, 2.0], jnp.bfloat16), "b": jnp.array([3.0, 1.0])}
    for noise in (perturbations.Normal(), perturbations.Gumbel()):
        out = perturbations.make_perturbed_fun(f, 4, sigma=1e-3, noise=noise)(jax.random.key(0), t)
        np.testing.assert_allclose(out["square"].astype(jnp.float32), [1.0, 4.0], rtol=0.02)
        assert out["top"] == 0.0
    # A constant has no gradient, whatever the noise: the baseline takes it away.
    g = jax.grad(perturbations.make_perturbed_fun(lambda x: jnp.array(3.0), 5), argnums=1)(jax.random.key(0), t["b"])
    np.testing.assert_array_equal(g, 0.0)
