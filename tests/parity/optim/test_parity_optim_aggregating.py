"""Aggregation over examples, parts of batches and noise against Optax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import optim

optax = pytest.importorskip("optax")
pytest.importorskip("optax.experimental")

pytestmark = pytest.mark.usefixtures("rank_promotion")

P0 = {"w": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
G0 = {"w": jnp.array([[1.0, 2.0], [3.0, 0.0], [5.0, 4.0]]), "b": jnp.array([1.0, -1.0, 0.5])}

AGGREGATORS = {
    "average": lambda a, o: a.average_per_element_updates(0),
    "average incrementally": lambda a, o: a.average_incrementally_updates(0, 2),
    "accumulate": lambda a, o: a.accumulate_avg_updates(3),
    "statistics": lambda a, o: a.get_per_element_mean_and_sum_sq_diff_grads(0),
    "statistics of batches": lambda a, o: a.get_per_element_mean_and_sum_sq_diff_grads(0, 3),
    "process": lambda a, o: a.process(o.clip(2.0), a.average_incrementally_updates(0, 2), o.adam(0.1)),
    "optimiser": lambda a, o: a.add_mean_variance_to_opt(o.adam(0.1), 0.8),
    "optimiser of batches": lambda a, o: a.add_mean_variance_to_opt(o.adam(0.1), 0.8, accumulation_steps=2),
}


@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregated_updates_and_states_are_those_of_optax(name):
    outcomes = []
    for library in (optim, optax):
        tx = AGGREGATORS[name](library.experimental.aggregating, library)
        state, seen = jax.jit(tx.init)(P0), []
        update = jax.jit(tx.update)
        for t in range(7):
            g = jax.tree.map(lambda x, t=t: np.sin(np.asarray(x) + np.float32(t)), G0)
            if name == "accumulate":
                g = jax.tree.map(lambda x: x[0], g)
            out, state = update(g, state, P0)
            seen.append(out)
        if "optimiser" in name:
            seen.append(library.experimental.aggregating.get_unbiased_mean_and_variance_ema(state))
        drop = [x for p, x in jax.tree_util.tree_leaves_with_path(state) if "effective" not in jax.tree_util.keystr(p)]
        outcomes.append(jax.tree.leaves((seen, drop)))
    for a, b in zip(*outcomes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_parts_of_batches_are_those_of_optax():
    x = jnp.arange(12.0).reshape(6, 2)
    w = jnp.array([1.0, -2.0])
    f = lambda w, x: jnp.mean((x @ w) ** 2)

    def results(m):
        kinds = [m.AccumulationType[k] for k in ("SUM", "MEAN", "RUNNING_MEAN", "CONCAT")]
        for kind in kinds:
            yield m.microbatch(lambda x: jnp.cumsum(x, axis=0), 0, 2, kind)(x)
            yield m.microbatch(lambda x: x, 0, 2, kind, num_real_microbatches=2)(x)
            yield m.micro_vmap(lambda x: x**2, microbatch_size=3, accumulator=kind)(x)
        yield m.reshape_batch_axis(x, 3)
        grad, aux = m.micro_grad(f, microbatch_size=2, metrics_fn=jnp.sum, transform_fn=jnp.tanh)(w, x)
        yield from (grad, aux.values, aux.metrics)

    both = jax.jit(lambda: [list(results(library.microbatching)) for library in (optim, optax)])
    for a, b in zip(*both(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_perturbed_functions_draw_the_samples_of_optax():
    f = lambda t: {"hot": jax.nn.one_hot(jnp.argmax(t["a"]), 3), "square": t["b"] ** 2}
    t = {"a": jnp.array([1.0, 1.2, 0.8]), "b": jnp.array([2.0])}
    key = jax.random.key(0)
    for noise, baseline in (("Gumbel", True), ("Normal", False)):

        def run(key, t, noise=noise, baseline=baseline):
            for library in (optim.perturbations, optax.perturbations):
                g = library.make_perturbed_fun(f, 5, 0.5, getattr(library, noise)(), baseline)
                yield jax.tree.leaves((g(key, t), jax.jacobian(lambda t, g=g: g(key, t))(t)))

        both = jax.jit(lambda key, t, run=run: list(run(key, t)))
        for a, b in zip(*both(key, t), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_assignments_cost_what_those_of_optax_cost(shape):
    cost = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)
    for name in ("hungarian_algorithm", "base_hungarian_algorithm"):
        total = lambda o, cost, name=name: cost[getattr(o.assignment, name)(cost)].sum()
        ours, theirs = jax.jit(lambda cost, total=total: [total(o, cost) for o in (optim, optax)])(cost)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
