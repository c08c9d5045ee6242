"""Learning from replay: act, keep what came of it, and take gradient steps with batches of what was kept.

With a `dataset` in the config nothing acts: batches are drawn from a file. It is read when a step is traced, and is no
part of the state, so that neither a checkpoint nor a population has copies of it.
"""

import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs
from renga.data import UniformReplay
from renga.systems import _dataset
from renga.systems._reinforcement import (
    Recent,
    Transition,
    batches,
    blank,
    episode_metrics,
    go_on,
    legal_now,
    warm_up,
)


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    split = types.MappingProxyType({"env": 0, "recent": 1})  # axes of the batch, of which each device has a part

    key: PRNGKeyArray
    step: Array
    params: PyTree
    opt: PyTree
    env: envs.Running
    recent: Recent
    replay: PyTree


Metrics = dict[str, Float[Array, ""]]


class Learner(NamedTuple):
    """What a system says of itself. Batches are `[B, ...]`.

    Attributes:
      init: `init(key, s, a) -> (params, opt)`.
      act: `act(params, key, s, legal) -> a`, as in training.
      explore: `explore(key, s, legal) -> a`, before learning.
      learn: `learn((params, opt), count, key, batch) -> ((params, opt), metrics)`, a gradient step; `count` is which
        it is, from 1 on, up to multiples of `period`.
      period: of what `learn` does in some steps only.
    """

    init: Callable[[PRNGKeyArray, Array, Array], tuple[PyTree, PyTree]]
    act: Callable[[PyTree, PRNGKeyArray, Array, Array | None], Array]
    explore: Callable[[PRNGKeyArray, Array, Array | None], Array]
    learn: Callable[[tuple[PyTree, PyTree], Array, PRNGKeyArray, Transition], tuple[tuple[PyTree, PyTree], Metrics]]
    period: int = 1


def make(config: Any, env: envs.Batch, learner: Learner):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    if config.dataset:
        return _from_dataset(config, env, learner)
    replay = UniformReplay(config.replay_size)

    def interact(act: Callable[..., Array], key: PRNGKeyArray, state: State) -> State:
        """Takes a step in every environment, and keeps what came of it."""
        key_act, key_env = jax.random.split(key)
        s = env.observe(state.env)
        return go_on(env, replay, config.discount, key_env, state, s, act(key_act, s, legal_now(env, state.env)))

    def init(key: PRNGKeyArray) -> State:
        key, key_params, key_env, key_warmup = jax.random.split(key, 4)
        env_state = env.reset(key_env)
        recent, empty = blank(env, key_env, env_state, replay, config.n_step, config.discount)
        params, opt = learner.init(key_params, env.observe(env_state), recent.a_tm1[0])
        state = State(key, jnp.int32(0), params, opt, env_state, recent, empty)
        explore = lambda state, key: interact(learner.explore, key, state)
        return warm_up(explore, state, key_warmup, config.n_step, -(-config.warmup // config.num_envs))

    def step(state: State) -> tuple[State, dict[str, Any]]:
        key, key_interact, key_sample, key_learn = jax.random.split(state.key, 4)
        act = lambda key, s, legal: learner.act(state.params, key, s, legal)
        after = interact(act, key_interact, state._replace(key=key))
        drawn = batches(replay, after.replay, key_sample, config.updates, config.batch_size)
        after, metrics = _updated(config, learner, after, key_learn, drawn)
        return after, {**episode_metrics(after.env), **metrics}

    return init, step


def _updated(
    config: Any, learner: Learner, state: State, key: PRNGKeyArray, drawn: Transition
) -> tuple[State, dict[str, Array]]:
    """Takes the gradient steps of a step, with a batch for each, `[updates, batch_size, ...]`."""
    U, P = config.updates, learner.period
    counts = (state.step % P) * (U % P) + jnp.arange(1, U + 1)
    one = lambda carry, part: learner.learn(carry, *part)
    parts = (counts, jax.random.split(key, U), drawn)
    (params, opt), metrics = jax.lax.scan(one, (state.params, state.opt), parts)
    return state._replace(step=state.step + 1, params=params, opt=opt), jax.tree.map(jnp.mean, metrics)


def _from_dataset(config: Any, env: envs.Batch, learner: Learner):
    """`make`, for an agent that learns from a file."""

    def init(key: PRNGKeyArray) -> State:
        key, key_params = jax.random.split(key)
        zeros = lambda spec: jnp.zeros((1, *spec.shape), spec.dtype)
        params, opt = learner.init(key_params, zeros(env.env.observation_spec), zeros(env.env.action_spec))
        return State(key, jnp.int32(0), params, opt, env=(), recent=(), replay=())  # pyrefly: ignore[bad-argument-type]

    def step(state: State) -> tuple[State, dict[str, Any]]:
        known = _dataset.read(config.dataset, env.env, config.discount, config.n_step)
        key, key_sample, key_learn = jax.random.split(state.key, 3)
        rows = jax.random.randint(key_sample, (config.updates, config.batch_size), 0, len(known.r_t))
        drawn = jax.tree.map(lambda x: x[rows], known)
        return _updated(config, learner, state._replace(key=key), key_learn, drawn)

    return init, step
