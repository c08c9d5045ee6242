"""Continuous actions: candidates, their prior, and the system over them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs, loop
from renga.systems import muzero
from renga.systems._continuous import ActionBox
from renga.systems.muzero._sampled import Sampled

TINY = muzero.Config(
    env="pendulum",
    model="learned",
    num_envs=2,
    moves=2,
    simulations=4,
    sampled_actions=8,
    random_opening=0,
    warmup=32,
    replay_size=64,
    updates=1,
    batch_size=4,
    unroll=1,
    td_steps=2,
    units=8,
    blocks=1,
    decay_steps=10,
    discount=0.9,
    min_value=-20.0,
    max_value=1.0,
)


def box(size):
    ones = np.ones(size, np.float32)
    return ActionBox(-2 * ones, 2 * ones, 0 * ones, 2 * ones)


@pytest.mark.parametrize("even", [0, 3, 10])
def test_the_prior_over_candidates_makes_up_for_how_they_were_drawn(even):
    sampled = Sampled(box(1), 12, even)
    outputs = jnp.broadcast_to(jnp.array([[0.8, -0.5]]), (4_000, 1, 2))
    a, logits = jax.jit(sampled.candidates)(jax.random.key(0), outputs)
    assert (np.abs(a) < 1).all()
    if even == 0:  # drawn from the policy alone: all count alike
        np.testing.assert_allclose(logits, 0.0, atol=1e-5)
    # Σₖ exp(logits) a / K is the mean of the policy over many states.
    loc, scale = 3 * np.tanh(0.8 / 3), np.exp(-2 + 1.5 * (1 + np.tanh(-0.5)))
    x = np.linspace(-8, 8, 4_001)
    weights = np.exp(-0.5 * x**2)
    squashed = np.tanh(loc + scale * x)
    expected = (weights * squashed).sum() / weights.sum()
    np.testing.assert_allclose(np.mean(np.exp(logits) * a[..., 0]), expected, atol=0.01)
    np.testing.assert_allclose(np.mean(np.exp(logits)), 1.0, atol=0.01)
    if even:
        assert abs(np.mean(a) - expected) > 0.05


def test_densities_are_of_the_box_and_the_best_is_in_their_middle():
    sampled = Sampled(box((1, 2)), 4, 1)
    outputs = jnp.array([[[0.5, 0.1], [-2.0, -0.3]]])
    a = jnp.array([[0.3, -0.7]])
    log_prob = 0.0
    for (loc, spread), x in zip(outputs[0], a[0], strict=True):
        loc, scale = 3 * np.tanh(loc / 3), np.exp(-2 + 1.5 * (1 + np.tanh(spread)))
        u = np.arctanh(x)
        log_prob += -0.5 * ((u - loc) / scale) ** 2 - np.log(scale * np.sqrt(2 * np.pi)) - np.log(1 - x**2)
    np.testing.assert_allclose(sampled.log_prob(outputs, a), [log_prob], rtol=1e-4)
    np.testing.assert_allclose(sampled.best(outputs)[0, 0], np.tanh(3 * np.tanh(0.5 / 3)), rtol=1e-5)
    action = sampled.action(a)
    assert action.shape == (1, 1, 2)
    np.testing.assert_allclose(action, [[[0.6, -1.4]]], rtol=1e-5)


@pytest.fixture(scope="module")
def trained():
    init, step = muzero.make(TINY)
    before = jax.jit(init)(jax.random.key(0))
    after, metrics = jax.jit(step)(before)
    assert all(np.isfinite(x) for x in metrics.values())
    return before, after


def test_replay_holds_candidates_and_that_one_of_them_was_done(trained):
    moves = jax.device_get(trained[0].replay.items)
    rows = trained[0].replay.count
    assert moves.candidates.shape[2:] == (8, 1)
    same = (moves.candidates == moves.action[:, :, None]).all(-1)[:rows]
    assert (same.sum(-1) == 1).all()
    assert np.abs(moves.action[:rows]).max() < 1
    assert len(np.unique(moves.action[:rows])) > 16
    np.testing.assert_allclose(moves.policy[:rows].sum(-1), 1, rtol=1e-5)


def test_what_is_searched_anew_has_candidates_of_its_own(trained):
    config = dataclasses.replace(TINY, reanalyse=0.5)
    state, system = trained[1], muzero.system_of(config)

    @jax.jit
    def drawn(state):
        moves = system.replay.sample(state.replay, jax.random.key(1), config.batch_size).items
        return moves, muzero.reanalysed(config, system, state.params, moves, jax.random.key(2))

    moves, anew = drawn(state)
    fresh = (np.asarray(anew.candidates) != np.asarray(moves.candidates)).any((-1, -2))
    weights = (np.asarray(anew.policy) != np.asarray(moves.policy)).any(-1)
    np.testing.assert_array_equal(fresh, weights)
    assert fresh[:, :2].any(1).sum() == 2
    assert not fresh[:, 2:].any()


def test_the_policy_moves_to_the_candidate_that_search_prefers(trained):
    state, system = trained[1], muzero.system_of(TINY)
    ones = jnp.ones(TINY.batch_size)

    @jax.jit
    def losses(state):
        drawn = system.replay.sample(state.replay, jax.random.key(1), TINY.batch_size)
        make = lambda moves, same, key: muzero.targets(moves, same, 1, 2, 1.0, key)
        want = jax.vmap(make)(drawn.items, drawn.mask, jax.random.split(jax.random.key(0), TINY.batch_size))
        preferred = jnp.zeros_like(want.policy).at[..., 3].set(1.0)
        batch = muzero.Batch(drawn.items.observation[:, :1], want._replace(policy=preferred), ones, ones)
        _, parts = muzero.loss_fn(TINY, system, state.params, batch)
        networks, params = system.networks, state.params
        h = networks.represent(params, batch.observations[:, 0])
        by_hand = 0.0
        for k in range(2):
            if k:
                h = networks.dynamics(params, h, want.actions[:, 0]).state
            density = networks.sampled.log_prob(networks.predict(params, h).logits, want.candidates[:, k, 3])
            by_hand -= jnp.mean(want.policy_weight[:, k] * density)
        return parts, by_hand, want

    parts, by_hand, want = losses(state)
    assert want.actions.shape == (4, 1, 1)
    np.testing.assert_allclose(parts["policy_loss"], by_hand, rtol=1e-4)


def test_an_agent_acts_in_the_box_of_the_environment(trained, tmp_path):
    muzero.Agent(TINY, trained[1].params).save(tmp_path / "agent.safetensors")
    agent = muzero.load(tmp_path / "agent.safetensors")
    s = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    thought = agent.think(s)
    assert thought.action.shape == (5, 1)
    assert thought.candidates.shape == (5, 8, 1)
    assert (np.abs(thought.candidates) > 1).any()
    assert (np.abs(thought.candidates) < 2).all()
    chosen = (thought.candidates == thought.action[:, None]).all(-1)
    assert (np.take_along_axis(thought.visits, np.argmax(chosen, -1)[:, None], -1) > 0).all()
    assert agent.act(s[0]).shape == (1,)
    f = muzero.networks(TINY)
    best = jax.jit(lambda params: f.sampled.best(f.predict(params, f.represent(params, s)).logits))(agent.params)
    middle = agent.env.action_spec.high * np.asarray(best)
    np.testing.assert_allclose(agent.act(s, simulations=0), middle, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="legal must be None"):
        agent.act(s, jnp.ones((5, 8), bool))


class Dial(envs.Environment):
    """Actions are one number."""

    observation_spec, action_spec = envs.Box((2,), -5.0, 5.0), envs.Box((), -1.0, 3.0)

    def reset(self, key):
        return jnp.zeros(2)

    def step(self, key, state, action):
        after = state + jnp.array([1.0, 0.0]) * action
        return after, envs.Step(after, -jnp.square(action - 2.0), after[0] >= 3, jnp.bool_(False))

    def observe(self, state):
        return state


def test_an_action_of_one_number_keeps_its_fraction():
    config = dataclasses.replace(TINY, env=f"{__name__}:Dial", simulations=2)
    agent = muzero.Agent(config, muzero.networks(config).init(jax.random.key(0), jnp.zeros((1, 2))))
    key = jax.random.key(2)
    action = agent.act(jnp.ones(2), key=key)
    assert (action.shape, action.dtype) == ((), jnp.float32)
    assert action == agent.think(jnp.ones(2), key=key).action
    assert abs(action - round(float(action))) > 1e-3


@pytest.mark.parametrize(("field", "value"), [("model", "true"), ("tower", "conv"), ("keep_tree", True)])
def test_what_continuous_actions_do_not_allow_is_refused(field, value):
    with pytest.raises(loop.RunError, match=f"muzero: {field} must be .* where actions are continuous, got {value}"):
        muzero.make(dataclasses.replace(TINY, **{field: value}))
