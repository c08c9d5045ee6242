"""Stochastic MuZero: codes of chance that are learned."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs
from renga.systems import muzero


class CoinState(NamedTuple):
    side: Any  # what fell last: 0 nothing, 1 heads, 2 tails
    clock: Any


class Coin(envs.Environment):
    """A coin falls after each action, tails three times in four. Action 0 bets on tails; action 1 does not bet."""

    observation_spec = envs.Box((3,), 0.0, 1.0)
    action_spec = envs.Discrete(2)

    def reset(self, key):
        return CoinState(jnp.int32(0), jnp.int32(0))

    def step(self, key, state, action):
        side = 1 + jax.random.bernoulli(key, 0.75).astype(jnp.int32)
        after = CoinState(side, state.clock + 1)
        reward = ((action == 0) & (side == 2)).astype(jnp.float32)
        return after, envs.Step(self.observe(after), reward, after.clock == 8, jnp.bool_(False))

    def observe(self, state):
        return jax.nn.one_hot(state.side, 3)


CONFIG = muzero.Config(
    env=f"{__name__}:Coin",
    model="learned",
    chance=True,
    codes=6,
    num_envs=16,
    moves=4,
    simulations=2,
    considered=2,
    random_opening=100,
    warmup=512,
    replay_size=8_000,
    updates=8,
    batch_size=64,
    unroll=1,
    td_steps=8,
    min_value=0.0,
    max_value=8.0,
    value_bins=17,
    units=32,
    blocks=1,
    learning_rate=3e-3,
    decay_steps=60,
)


@pytest.fixture(scope="module")
def trained():
    init, step = muzero.make(CONFIG)
    train = jax.jit(lambda state: jax.lax.scan(lambda state, _: step(state), state, length=CONFIG.decay_steps))
    state, metrics = train(jax.jit(init)(jax.random.key(0)))
    assert all(np.isfinite(x).all() for x in metrics.values())
    return state.params, metrics


def test_codes_tell_what_chance_does_and_how_often(trained):
    params, metrics = trained
    networks = muzero.networks(CONFIG)
    seen = jnp.eye(3)
    heads, tails = np.asarray(jnp.argmax(networks.encode(params, seen), -1))[1:]
    assert heads != tails
    h = networks.represent(params, seen)
    for action in (0, 1):
        after = networks.decide(params, h, jnp.full(3, action))
        out = networks.judge_afterstate(params, after)
        probs = np.asarray(jax.nn.softmax(out.chance_logits))
        np.testing.assert_allclose(probs[1:, tails], 0.75, atol=0.1)
        np.testing.assert_allclose(probs[1:, heads], 0.25, atol=0.1)
        for side, code in ((1, heads), (2, tails)):
            reward = networks.dynamics(params, after, jax.nn.one_hot(jnp.full(3, code), CONFIG.codes)).reward
            won = float(action == 0 and side == 2)
            np.testing.assert_allclose(reward[1:], won, atol=0.15)
    # A model without chance could tell the mean of the rewards only: their cross-entropy is then 0.56 in half of cases.
    assert metrics["reward_loss"][-1] < 0.2 < 0.28 < metrics["reward_loss"][0]


def test_a_search_bets_and_its_value_is_a_mean_over_chance(trained, tmp_path):
    params, _ = trained
    muzero.Agent(CONFIG, params).save(tmp_path / "agent.safetensors")
    agent = muzero.load(tmp_path / "agent.safetensors")
    thought, tree = agent.search(jnp.eye(3)[1:], simulations=16)
    np.testing.assert_array_equal(thought.action, [0, 0])
    # What is in play before the search is 7.5 at the beginning of a game and 0 at its end; a bet is worth 0.75.
    summary = tree.summary()
    gain = np.asarray(summary.qvalues)[:, 0] - np.asarray(summary.qvalues)[:, 1]
    np.testing.assert_allclose(gain, 0.75, atol=0.3)


def test_the_code_is_what_is_seen_and_past_the_end_what_is_foreseen():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
    e = jnp.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    code, losses = muzero._chance(logits, e, jnp.array([1.0, 0.0]))
    np.testing.assert_array_equal(code, [[0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(losses["chance_loss"][0], np.log(4), rtol=1e-6)
    np.testing.assert_allclose(losses["commitment_loss"][0], 0.04 + 0.25 + 0.09, rtol=1e-6)
    entropy = -(0.2 * np.log(0.2) + 0.5 * np.log(0.5) + 0.3 * np.log(0.3))
    np.testing.assert_allclose(losses["usage_loss"], -entropy, rtol=1e-6)
    # Gradients pass the code as if it were e, and reach nothing where nothing was seen.
    weights = jnp.array([[1.0, 2.0, 4.0]] * 2)
    passed = jax.grad(lambda e: jnp.sum(weights * muzero._chance(logits, e, jnp.array([1.0, 0.0]))[0]))(e)
    np.testing.assert_array_equal(passed, [[1, 2, 4], [0, 0, 0]])
    nobody = muzero._chance(logits, e, jnp.zeros(2))[1]
    assert all(np.isfinite(x).all() for x in nobody.values())


def test_codes_fit_beside_the_states_of_a_board():
    config = dataclasses.replace(CONFIG, env="tic_tac_toe", tower="conv", units=4, discount=1.0, min_value=-1.0)
    networks = muzero.networks(config)
    seen = jnp.zeros((2, 3, 3, 2))
    params = jax.eval_shape(networks.init, jax.random.key(0), seen)

    def unrolled(params, seen):
        after = networks.decide(params, networks.represent(params, seen), jnp.zeros(2, jnp.int32))
        return after, networks.dynamics(params, after, jax.nn.softmax(networks.encode(params, seen))).state

    after, state = jax.eval_shape(unrolled, params, seen)
    assert after.shape == state.shape == (2, 3, 3, 4)
