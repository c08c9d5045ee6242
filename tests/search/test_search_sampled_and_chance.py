"""Sampled actions, and games in which chance answers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from renga import search

WEIGHTS = jnp.asarray(np.random.RandomState(0).normal(size=(5, 4, 4)), jnp.float32)
STATE = jnp.asarray(np.random.RandomState(1).normal(size=(3, 4)), jnp.float32)


def test_chance_functions_see_valid_indices_only_and_run_only_when_needed():
    seen = {"decision": [], "chance": []}

    def decide(params, rng_key, action, state):
        jax.debug.callback(lambda a: seen["decision"].append(np.array(a)), action)
        return search.DecisionRecurrentFnOutput(
            chance_logits=jnp.zeros((1, 2)), afterstate_value=state[:, 0]
        ), state + action[:, None]

    def chance(params, rng_key, outcome, state):
        jax.debug.callback(lambda a: seen["chance"].append(np.array(a)), outcome)
        return search.ChanceRecurrentFnOutput(
            action_logits=jnp.zeros((1, 3)), value=state[:, 0], reward=state[:, 0] * (1.0 - outcome),
            discount=jnp.full(1, 0.5),
        ), 0 * state  # fmt: skip

    root = search.RootFnOutput(prior_logits=jnp.zeros((1, 3)), value=jnp.zeros(1), embedding=jnp.zeros((1, 1)))
    for gumbel in (False, True):
        seen["decision"].clear(), seen["chance"].clear()
        policy = functools.partial(search.stochastic_muzero_policy, temperature=0.0, gumbel=gumbel)
        call = lambda root, policy=policy: policy((), jax.random.key(0), root, decide, chance, 40)
        output = jax.jit(call)(root)
        jax.effects_barrier()
        assert int(output.action[0]) == 2
        assert len(seen["decision"]) + len(seen["chance"]) == 40
        assert max(map(np.max, seen["decision"])) <= 2
        assert max(map(np.max, seen["chance"])) <= 1
        assert min(map(np.min, seen["chance"])) >= 0
        np.testing.assert_allclose(output.action_weights.sum(), 1, rtol=1e-6)


def next_state(index, state):
    return jnp.tanh(jnp.einsum("bij,bj->bi", WEIGHTS[index], state))


def decide(params, rng_key, action, state):
    state = next_state(action, state)
    return search.DecisionRecurrentFnOutput(chance_logits=state[:, :2], afterstate_value=state[:, 3]), state


def chance(params, rng_key, outcome, state):
    state = next_state(3 + outcome, state)
    return search.ChanceRecurrentFnOutput(
        action_logits=state[:, :3], value=state[:, 3], reward=state[:, 0], discount=jnp.full(len(state), 0.9)
    ), state


def test_gumbel_selection_with_chance_halves_what_each_tree_may_spend_among_legal_actions():
    illegal = jnp.zeros((3, 3), bool).at[0, 1].set(True)
    root = search.RootFnOutput(prior_logits=STATE[:, :3], value=STATE[:, 3], embedding=STATE, invalid_actions=illegal)

    @functools.partial(jax.jit, static_argnums=0)
    def run(simulations, root, budgets=None):
        return search.stochastic_muzero_policy(
            (), jax.random.key(2), root, decide, chance, simulations, gumbel=True, budgets=budgets,
            max_num_considered_actions=3,
        )  # fmt: skip

    uneven, short = run(16, root, jnp.array([16, 5, 0])), run(5, root)
    visits = uneven.search_tree.children_visits[:, 0]
    np.testing.assert_array_equal(jnp.sum(visits, axis=-1), [16, 5, 0])
    assert visits[0, 1] == 0
    assert uneven.action_weights[0, 1] == 0
    np.testing.assert_array_equal(visits[0, ::2], [8, 8])  # the two that are left, in turn
    np.testing.assert_array_equal(visits[1], short.search_tree.children_visits[1, 0])
    np.testing.assert_array_equal(uneven.action[1], short.action[1])
    np.testing.assert_allclose(uneven.action_weights[1], short.action_weights[1], rtol=1e-5)


def test_sampled_actions_are_corrected_for_their_proposal_at_every_node():
    prior, proposal = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    # Each action as often as the proposal gives it: the corrected prior of its samples sums to its prior.
    samples = np.repeat(np.arange(3), [2, 2, 6])

    def actions(key):
        which = jax.vmap(lambda key: jax.random.permutation(key, samples))(jax.random.split(key, 2))
        return {"which": which, "twice": 2.0 * which}

    def said(actions):
        log = lambda p: jnp.log(jnp.asarray(p, jnp.float32))[actions["which"]]
        return {"actions": actions, "prior_log_probs": log(prior) + 3.0, "proposal_log_probs": log(proposal)}

    def model(params, rng_key, action, state):
        embedding = {"depth": state["depth"] + 1, "last": action["twice"]}
        reward = jnp.where(action["which"] == 1, 1.0, 0.0)
        return search.SampledRecurrentFnOutput(
            reward=reward, discount=0.5 + 0 * reward, value=0 * reward, **said(actions(rng_key))
        ), embedding

    root = search.SampledRootFnOutput(
        value=jnp.zeros(2), embedding={"depth": jnp.zeros(2, jnp.int32), "last": jnp.zeros(2)},
        **said(actions(jax.random.key(1))),
    )  # fmt: skip
    policy = functools.partial(search.sampled_muzero_policy, dirichlet_fraction=0.0, temperature=0.0)
    output = jax.jit(lambda root: policy((), jax.random.key(0), root, model, 24))(root)
    tree = output.search_tree
    embedding, candidates = tree.embeddings
    corrected = jax.nn.softmax(tree.children_prior_logits)
    for action in range(3):
        mass = jnp.sum(jnp.where(candidates["which"] == action, corrected, 0), axis=-1)
        np.testing.assert_allclose(mass, prior[action], rtol=1e-5)  # at the root and at all nodes below
    np.testing.assert_array_equal(output.action["which"], 1)
    np.testing.assert_array_equal(output.action["twice"], 2)
    np.testing.assert_array_equal(output.action["which"], root.actions["which"][jnp.arange(2), output.action_index])
    # Nodes hold what their own parent's candidate led to.
    parent, edge = tree.parents[:, 1:], tree.action_from_parent[:, 1:]
    batch = jnp.arange(2)[:, None]
    np.testing.assert_array_equal(embedding["last"][:, 1:], candidates["twice"][batch, parent, edge])
    np.testing.assert_array_equal(embedding["depth"][:, 1:], embedding["depth"][batch, parent] + 1)
