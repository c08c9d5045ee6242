"""Sizes and inputs at the edge: large constants, kept trees without a root, noise over few actions, bad options."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import search
from renga.search._root import noisy_logits

B, A = 4, 5


def step(params, rng_key, action, state):
    """In state x, action x mod A is illegal."""
    illegal = jnp.arange(A)[None] == (state % A)[:, None]
    zeros = jnp.zeros(state.shape)
    return search.RecurrentFnOutput(
        reward=action / 10, discount=zeros + 0.9, prior_logits=zeros[:, None] + 0.1 * jnp.arange(A)[None],
        value=zeros, invalid_actions=illegal,
    ), 3 * state + 1 + action  # fmt: skip


ROOT = search.RootFnOutput(
    prior_logits=np.zeros((B, A), np.float32),
    value=np.zeros(B, np.float32),
    embedding=np.arange(B, dtype=np.int32),
    invalid_actions=np.broadcast_to(np.arange(A) == 0, (B, A)),
)
POLICIES = {"muzero": search.muzero_policy, "gumbel": search.gumbel_muzero_policy}


def no_loop(lower, upper, body, state):
    return state


@functools.cache
def searched_once(policy):
    run = lambda key: POLICIES[policy]((), key, ROOT, step, 6, capacity=14).search_tree
    return jax.jit(run)(jax.random.key(0))


@pytest.mark.parametrize("simulations", [1, 2])
def test_a_model_of_large_constants_does_not_end_the_process(simulations):
    batch, logits = 4000, np.random.RandomState(0).normal(size=(4000, 4)).astype(np.float32)
    model = lambda params, key, action, state: (
        search.RecurrentFnOutput(reward=logits[:, 0], discount=logits[:, 1], prior_logits=logits, value=logits[:, 2]),
        state,
    )
    root = search.RootFnOutput(prior_logits=logits, value=logits[:, 3], embedding=np.zeros(batch, np.float32))
    run = lambda key: search.gumbel_muzero_policy((), key, root, model, simulations).search_tree.node_visits[:, 0]
    visits = jax.jit(run)(jax.random.key(0))
    np.testing.assert_array_equal(visits, simulations + 1)


@pytest.mark.parametrize("policy", POLICIES)
def test_kept_trees_without_a_root_start_anew_each_by_itself_and_stay_legal(policy):
    def run(key, root, tree):
        return POLICIES[policy]((), key, root, step, 4, tree=tree)

    first = searched_once(policy)
    searched = np.argmax(first.children_visits[:, 0], axis=-1)
    # The first two play an action that was not searched: the illegal one, and one that does not exist.
    kept = jax.jit(search.reroot)(first, np.array([0, A, *searched[2:]]))
    before = np.asarray(kept.node_visits)[:, 0]
    np.testing.assert_array_equal(before[:2], 0)
    with pytest.raises(ValueError, match=r"root must be given.* the trees \[0, 1\] have no root"):
        run(jax.random.key(1), None, kept)

    going = jax.jit(run)
    keys = jax.random.split(jax.random.key(1), 4)
    mapped = jax.jit(jax.vmap(going, (0, None, None)))
    more = jax.device_get(mapped(keys, ROOT.replace(value=np.full(B, 7.0, np.float32)), kept))
    trees = more.search_tree
    np.testing.assert_array_equal(trees.node_visits[:, :, 0], np.broadcast_to(np.maximum(before, 1) + 4, (4, B)))
    np.testing.assert_array_equal(trees.raw_values[0, :2, 0], 7.0)
    np.testing.assert_array_equal(trees.embeddings[0, :2, 0], ROOT.embedding[:2])
    illegal = trees.children_invalid[:, :, 0]
    np.testing.assert_array_equal(illegal.sum(-1), 1)
    assert not np.any(illegal & (trees.children_visits[:, :, 0] > 0))
    assert not np.any(np.take_along_axis(illegal, more.action[..., None], axis=-1))
    np.testing.assert_array_equal(np.where(illegal, more.action_weights, 0), 0)
    assert all(bool(ok.all()) for ok in jax.jit(jax.vmap(search.invariants))(trees).values())
    if policy == "gumbel":  # under jit nothing is known of them; without a root they stay as they are
        same = going(keys[0], None, kept).search_tree
        np.testing.assert_array_equal(same.node_visits[:, 0], np.where(before > 0, before + 4, 0))


def test_an_action_forbidden_after_it_was_searched_is_not_taken():
    tree = searched_once("muzero")
    forbidden = np.asarray(tree.children_visits)[:, 0] > 0
    allowed = ~forbidden & (np.arange(A) > 0)[None]

    def run(root, tree):
        return search.muzero_policy((), jax.random.key(0), root, step, 0, forbidden, tree=tree, loop_fn=no_loop)

    # Outside of jit it is known that every tree has a root.
    for output in (jax.jit(run)(ROOT, tree), run(None, tree)):
        np.testing.assert_allclose(output.action_weights, allowed / allowed.sum(-1, keepdims=True), rtol=1e-6)


def test_dirichlet_noise_is_drawn_over_the_legal_actions():
    """With n legal actions the spread of a share of Dirichlet(α) is √((n - 1) / (n² (n α + 1)))."""
    batch, num_actions, alpha = 4000, 20, 0.3
    legal = np.arange(num_actions) < 2
    root = search.RootFnOutput(
        prior_logits=np.zeros((batch, num_actions), np.float32),
        value=np.zeros(batch, np.float32),
        embedding=np.zeros(batch, np.float32),
    )
    noisy = jax.jit(
        lambda key, illegal: search.muzero_policy(
            (), key, root, step, 0, illegal, dirichlet_fraction=1.0, dirichlet_alpha=alpha, loop_fn=no_loop
        ).search_tree.children_prior_logits[:, 0]
    )
    shares = np.exp(noisy(jax.random.key(0), np.broadcast_to(~legal, (batch, num_actions))))
    shares /= shares.sum(axis=-1, keepdims=True)
    np.testing.assert_array_equal(shares[:, 2:], 0)
    np.testing.assert_allclose(np.std(shares[:, 0]), np.sqrt(1 / (4 * (2 * alpha + 1))), rtol=0.02)
    np.testing.assert_allclose(np.mean(shares[:, 0]), 0.5, atol=0.02)


def test_without_noise_a_prior_has_the_dtype_that_it_has_with_noise():
    key, illegal = jax.random.key(0), jnp.array([[False, True, False]])
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        logits = jnp.array([[0.3, -1.7, 2.1]], dtype)
        for mask in (None, illegal):
            plain, mixed = (
                jax.eval_shape(lambda x, zero=zero, mask=mask: noisy_logits(key, x, zero, 0.3, mask), logits)
                for zero in (0, np.float32(0))
            )
            assert plain.dtype == mixed.dtype == jnp.float32
        np.testing.assert_allclose(
            noisy_logits(key, logits, 0.0, 0.3, None),
            jnp.log(jax.nn.softmax(logits).astype(jnp.float32)),  # as mctx: the log is taken of the mixture
            rtol=1e-6,
        )


def test_integers_as_values_and_logits_are_floats_in_the_tree():
    root = ROOT.replace(value=np.arange(B), prior_logits=np.zeros((B, A), int))
    run = lambda key: search.gumbel_muzero_policy((), key, root, step, 1).search_tree
    tree = jax.jit(run)(jax.random.key(0))
    assert tree.node_values.dtype == tree.children_prior_logits.dtype == jnp.float32
    reward = np.asarray(tree.children_rewards)[:, 0].max(-1)
    np.testing.assert_allclose(jax.jit(lambda tree: tree.summary().value)(tree), (np.arange(B) + reward) / 2, rtol=1e-6)


def test_options_out_of_range_are_refused(unchecked):
    muzero = functools.partial(search.muzero_policy, (), jax.random.key(0), ROOT, step)
    gumbel = functools.partial(search.gumbel_muzero_policy, (), jax.random.key(0), ROOT, step)
    for option, bad in [
        ("dirichlet_fraction", 2.0), ("dirichlet_fraction", np.nan), ("dirichlet_alpha", 0.0), ("temperature", -1.0),
        ("pb_c_base", 0.0), ("budgets", np.full(B, -1)), ("virtual_loss", np.inf), ("capacity", 0),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=option):
            muzero(2, **{option: bad})
    for option, bad in [("budgets", np.full(B, 2.5)), ("capacity", 2.5), ("num_parallel", 1.0), ("max_depth", 1.5)]:
        with pytest.raises(TypeError, match=f"{option} must be an integer"):
            muzero(2, **{option: bad})
    with pytest.raises(TypeError, match=r"num_simulations must be an integer, got 2.5"):
        muzero(2.5)
    for bad in (0, -1):
        with pytest.raises(ValueError, match=f"max_num_considered_actions must be >= 1, got {bad}"):
            gumbel(2, max_num_considered_actions=bad)
    with pytest.raises(ValueError, match="gumbel_scale"):
        gumbel(2, gumbel_scale=-1.0)
    tree = searched_once("muzero")
    with pytest.raises(ValueError, match=r"reroot: action must be in \[0, 5\), got 5"):
        search.reroot(tree, np.full(B, A))
