"""The quick kernels against the plain phases, step by step on random trees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import search
from renga.search._expand import new_node, next_slot
from renga.search._quick import _backup, _descend, _write, quick_rules
from renga.search._selections import rules_of
from renga.search._start import init_tree

B, A, N = 10, 5, 16
MUZERO = (functools.partial(search.muzero_action_selection, depth=0), search.muzero_action_selection)
GUMBEL = (
    functools.partial(search.gumbel_muzero_root_action_selection, num_simulations=N, max_num_considered_actions=3),
    search.gumbel_muzero_interior_action_selection,
)


def random_step(rng, explicit):
    """What a model may say; rounded, so that there are ties."""
    draw = lambda *shape: np.round(rng.normal(size=shape), 1).astype(np.float32)
    step = search.RecurrentFnOutput(reward=draw(B), discount=draw(B), prior_logits=np.round(draw(B, A)), value=draw(B))
    if explicit:
        step = step.replace(invalid_actions=rng.uniform(size=(B, A)) < 0.4, terminal=rng.uniform(size=B) < 0.2)
    return step


@pytest.mark.parametrize(("selections", "explicit"), [(MUZERO, False), (MUZERO, True), (GUMBEL, False)])
def test_kernels_and_plain_phases_agree_on_random_trees(selections, explicit):
    rng = np.random.RandomState(3)
    noise = search.GumbelMuZeroExtraData(root_gumbel=jnp.asarray(rng.normal(size=(B, A)), jnp.float32))
    root = search.RootFnOutput(prior_logits=jnp.zeros((B, A)), value=jnp.ones(B), embedding=jnp.zeros(B))
    invalid = jnp.asarray(rng.uniform(size=(B, A)) < 0.3).at[:, 2].set(False)
    tree = init_tree(root, N, invalid, noise, (explicit, explicit, False)).replace(embeddings=None)
    rules = quick_rules(rules_of(*selections, jax.random.key(0)), tree)
    none = []
    max_depth = jnp.full(B, 3) if explicit else None

    descend = [jax.jit(functools.partial(f, rules)) for f in (_descend._by_tree, _descend._together)]
    plain = lambda tree, choices, leaves, none: (search.backward(_write(tree, leaves), leaves.index), choices)
    back_up = [jax.jit(functools.partial(_backup._by_tree, rules, not explicit)), jax.jit(plain)]
    choices, used = _descend.first_choices(rules, tree), jnp.ones(B, jnp.int32)
    for i in range(N + 1):
        words = jax.random.key_data(jax.random.split(jax.random.key(i), B))
        active = jnp.asarray(rng.uniform(size=B) < 0.8) if explicit else None
        paths = [f(words, tree, choices, none, max_depth, active) for f in descend]
        taking_part = np.ones(B, bool) if active is None else np.asarray(active)
        for mine, plain in zip(*paths, strict=True):
            np.testing.assert_array_equal(mine[taking_part], plain[taking_part])
        parent, action, child = paths[0] if explicit else (*paths[0], jnp.full(B, -1))
        index, used = next_slot(child, used, active, N)
        if not explicit and i == N - 1:
            break  # without budgets there is room for every simulation
        new = new_node(random_step(rng, explicit), tree, parent)
        leaves = _backup.Leaves(parent, action, index, new)
        (tree, choices), (plain, _) = (f(tree, choices, leaves, none) for f in back_up)
        for name in tree:
            jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), tree[name], plain[name])
    assert (tree.node_visits[:, 0] > 8).all()
    assert (search.statistics(tree).max_depth > 1).any()


def test_a_public_phase_goes_on_from_any_tree():
    """The three phases of the talk, by hand."""
    rng = np.random.RandomState(5)
    root = search.RootFnOutput(prior_logits=jnp.zeros((B, A)), value=jnp.ones(B), embedding=jnp.zeros(B))
    tree = init_tree(root, N, None, None)
    step = random_step(rng, False)
    model = lambda params, rng_key, action, state: (step, state + 1.0)

    @jax.jit
    def simulation(key, tree, index):
        parent, action = search.simulate(key, tree, search.muzero_action_selection, N)
        tree = search.expand((), key, tree, model, parent, action, index)
        return search.backward(tree, index)

    for i in range(1, 6):
        tree = simulation(jax.random.key(i), tree, jnp.full(B, i))
    search.check_invariants(tree)
    np.testing.assert_array_equal(tree.node_visits[:, 0], 6)
    depth = jnp.where(tree.node_visits > 0, tree.embeddings, 0)
    np.testing.assert_array_equal(jnp.max(depth, axis=1), search.statistics(tree).max_depth)


def test_a_batch_that_jit_distributes_over_devices_gives_the_same_trees():
    def model(params, rng_key, action, state):
        state = jnp.sin(1.7 * state + action[:, None])
        zeros = jnp.zeros((state.shape[0], A))
        return search.RecurrentFnOutput(
            reward=state[:, 0], discount=0.9 + 0 * state[:, 0], prior_logits=zeros + state[:, 1:], value=state[:, 1]
        ), state

    state = jnp.asarray(np.random.RandomState(0).normal(size=(B, 2)), jnp.float32)
    root = search.RootFnOutput(prior_logits=jnp.zeros((B, A)), value=state[:, 0], embedding=state)
    policy = jax.jit(lambda root: search.gumbel_muzero_policy((), jax.random.key(0), root, model, 8).search_tree)
    here = policy(root)
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    along = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    there = policy(jax.device_put(root, along))
    assert len(there.node_visits.sharding.device_set) == 2
    np.testing.assert_array_equal(here.children_index, there.children_index)
    np.testing.assert_allclose(here.node_values, there.node_values, rtol=1e-5)
