"""Soft actor-critic: continuous actions from replay, with as much randomness as is asked for.

One file, top to bottom in the order data flows: Config, State, networks, losses, acting, learning, step.

Differs from Haarnoja et al. 2018 (https://arxiv.org/abs/1812.05905):
  * environments are batched and step inside the compiled update: `updates` gradient steps after each step of them all;
  * entropies are those of actions scaled to the box [−1, 1], so that the units of an action count for nothing;
  * small networks, and learning rates to match.

An episode that is cut by a time limit keeps its bootstrap, from the state that it was cut in.
"""

import dataclasses
import functools
import os
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import dist, envs, nn, optim
from renga.data import UniformReplay
from renga.loop import check_config, shard_batch
from renga.systems._agent import Player, TrainedAgent, judged, read
from renga.systems._continuous import ActionBox, Critics, action_box, actor, critics
from renga.systems._reinforcement import (
    Recent,
    Transition,
    batches,
    blank,
    check_replay,
    episode_metrics,
    go_on,
    need_one_player,
    warm_up,
)

__all__ = ["STEPS", "Agent", "Config", "Networks", "Params", "State", "evaluate", "export", "load", "make", "networks"]

STEPS = 20_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train sac --help` is made from these comments."""

    env: str = "pendulum"  # a world with continuous actions
    num_envs: int = 1  # environments stepped in parallel
    updates: int = 1  # gradient steps after each step of the environments; for each transition, updates / num_envs
    replay_size: int = 100_000  # transitions kept
    warmup: int = 1_000  # transitions of even actions in replay before learning starts
    batch_size: int = 256  # transitions a gradient step
    units: tuple[int, ...] = (64, 64)  # of the layers of each network
    learning_rate: float = 1e-3  # of the critics
    actor_learning_rate: float = 1e-3
    temperature_learning_rate: float = 1e-3  # 0 keeps the temperature
    discount: float = 0.99  # γ
    n_step: int = 1  # rewards in a return before it is bootstrapped
    num_critics: int = 2  # networks of which the least counts
    target_rate: float = 0.005  # τ: how far a target goes towards its critic in an update
    temperature: float = 1.0  # α in the beginning: what a nat of entropy is worth in rewards
    target_entropy: float = -1.0  # that the temperature is set to reach, in nats for each number of an action
    min_log_scale: float = -5.0  # of the policy's Gaussian before tanh
    max_log_scale: float = 2.0


class Params(NamedTuple):
    """What is learned."""

    actor: PyTree
    critics: PyTree
    targets: PyTree
    log_temperature: Array


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    split = types.MappingProxyType({"env": 0, "recent": 1})  # axes of the batch, of which each device has a part

    key: PRNGKeyArray
    step: Array
    params: Params
    opt: tuple[PyTree, PyTree, PyTree]  # of critics, actor and temperature
    env: envs.Running
    recent: Recent
    replay: PyTree


def _check(config: Config) -> None:
    require = check_config("sac", config)
    check_replay(require, config)
    require.numbers("num_critics", low=1)
    require.numbers("actor_learning_rate", "temperature", "target_rate", above=0)
    require.numbers("temperature_learning_rate", low=0)
    require(config.min_log_scale < config.max_log_scale, "min_log_scale", f"less than {config.max_log_scale}")


# ---------------------------------------------------------------- networks and losses


class Networks(NamedTuple):
    """The networks, and the losses of their parameters. Batches are `[B, ...]`."""

    actor: nn.Transformed
    critics: Critics
    box: ActionBox
    config: Config

    def policy(self, actor: PyTree, s: Array) -> dist.Independent:
        """π(a | s), a density over the box of actions: a Gaussian squashed by tanh."""
        low, high = self.config.min_log_scale, self.config.max_log_scale
        loc, spread = jnp.moveaxis(self.actor.apply(actor, s), -1, 0)
        scale = jnp.exp(low + 0.5 * (high - low) * (1.0 + jnp.tanh(spread)))
        squashed = dist.TanhNormal(loc, scale, self.box.low, self.box.high)
        return dist.Independent(squashed, self.box.low.ndim)

    def draw(self, actor: PyTree, key: PRNGKeyArray, s: Array) -> tuple[Array, Float[Array, " B"]]:
        """Draws actions; returns also their log-density in units of the box, where it is [−1, 1]."""
        a, log_pi = self.policy(actor, s).sample_and_log_prob(seed=key)
        return a, log_pi + np.float32(np.log(self.box.half).sum())

    def critic_loss(self, critics: PyTree, params: Params, key: PRNGKeyArray, batch: Transition) -> Array:
        """Σᵢ ½ (r + γ [minⱼ Q̄ⱼ(s′, a′) − α log π(a′ | s′)] − Qᵢ(s, a))², with a′ ~ π(· | s′)."""
        a_t, log_pi_t = self.draw(params.actor, key, batch.s_t)
        v_t = jnp.min(self.critics(params.targets, batch.s_t, a_t), axis=0)
        v_t = v_t - jnp.exp(params.log_temperature) * log_pi_t
        return self.critics.td_loss(critics, batch, v_t)

    def actor_loss(self, actor: PyTree, params: Params, key: PRNGKeyArray, s: Array) -> tuple[Array, Float[Array, ""]]:
        """α log π(a | s) − minᵢ Qᵢ(s, a), with a ~ π(· | s); returns also the entropy −log π."""
        a, log_pi = self.draw(actor, key, s)
        q = jnp.min(self.critics(params.critics, s, a), axis=0)
        return jnp.mean(jnp.exp(params.log_temperature) * log_pi - q), -jnp.mean(log_pi)

    def temperature_loss(self, log_temperature: Array, entropy: Float[Array, ""]) -> Array:
        """log α (H − H̄): the temperature falls where there is more entropy H than is asked for."""
        return log_temperature * jax.lax.stop_gradient(entropy - self.config.target_entropy * self.box.size)


def networks(config: Config, env: envs.Environment) -> Networks:
    """Makes the networks for an environment."""
    box, spec, units = action_box("sac", config, env), env.observation_spec, config.units
    return Networks(actor(spec, box, units, 2), critics(spec, box, units, config.num_critics), box, config)


# ---------------------------------------------------------------- acting and learning


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    need_one_player("sac", config, env.env)
    agent = networks(config, env.env)
    replay = UniformReplay(config.replay_size)
    take = functools.partial(go_on, env, replay, config.discount)  # a step in every environment, and keeps it
    optimisers = tuple(
        optim.adam(rate)
        for rate in (config.learning_rate, config.actor_learning_rate, config.temperature_learning_rate)
    )

    def interact(key: PRNGKeyArray, state: State) -> State:
        """Acts as the policy does."""
        key_act, key_env = jax.random.split(key)
        s = env.observe(state.env)
        return take(key_env, state, s, agent.draw(state.params.actor, key_act, s)[0])

    def explore(state: State, key: PRNGKeyArray) -> State:
        """Acts evenly."""
        key_act, key_env = jax.random.split(key)
        return take(key_env, state, env.observe(state.env), agent.box.sample(key_act, config.num_envs))

    def init(key: PRNGKeyArray) -> State:
        key, key_actor, key_critics, key_env, key_warmup = jax.random.split(key, 5)
        env_state = env.reset(key_env)
        s = env.observe(env_state)
        recent, empty = blank(env, key_env, env_state, replay, config.n_step, config.discount)
        q = agent.critics.init(key_critics, s, recent.a_tm1[0])
        params = Params(agent.actor.init(key_actor, s), q, q, jnp.log(jnp.float32(config.temperature)))
        parts = (params.critics, params.actor, params.log_temperature)
        opt = tuple(optimiser.init(part) for optimiser, part in zip(optimisers, parts, strict=True))
        state = State(key, jnp.int32(0), params, opt, env_state, recent, empty)
        return warm_up(explore, state, key_warmup, config.n_step, -(-config.warmup // config.num_envs))

    def learn(carry: tuple[Params, PyTree], part: tuple[PRNGKeyArray, Transition]):
        """Takes a gradient step of the critics, the actor and the temperature, in this order."""
        (params, opts), (key, batch) = carry, part
        key_critic, key_actor = jax.random.split(key)
        critic_loss, grads = jax.value_and_grad(agent.critic_loss)(params.critics, params, key_critic, batch)
        updates, critic_opt = optimisers[0].update(grads, opts[0], params.critics)
        params = params._replace(critics=optim.apply_updates(params.critics, updates))

        (actor_loss, entropy), grads = jax.value_and_grad(agent.actor_loss, has_aux=True)(
            params.actor, params, key_actor, batch.s_tm1
        )
        updates, actor_opt = optimisers[1].update(grads, opts[1], params.actor)
        params = params._replace(actor=optim.apply_updates(params.actor, updates))

        grads = jax.grad(agent.temperature_loss)(params.log_temperature, entropy)
        updates, temperature_opt = optimisers[2].update(grads, opts[2], params.log_temperature)
        params = params._replace(
            log_temperature=optim.apply_updates(params.log_temperature, updates),
            targets=optim.incremental_update(params.critics, params.targets, config.target_rate),
        )
        metrics = {"critic_loss": critic_loss, "actor_loss": actor_loss, "entropy": entropy}
        return (params, (critic_opt, actor_opt, temperature_opt)), metrics

    def step(state: State) -> tuple[State, dict[str, Any]]:
        key, key_interact, key_sample, key_learn = jax.random.split(state.key, 4)
        state = interact(key_interact, state._replace(key=key))
        U = config.updates
        drawn = batches(replay, state.replay, key_sample, U, config.batch_size)
        one = lambda carry, part: learn(carry, (part[0], shard_batch(part[1])))
        (params, opt), metrics = jax.lax.scan(one, (state.params, state.opt), (jax.random.split(key_learn, U), drawn))
        metrics = {**episode_metrics(state.env), **jax.tree.map(jnp.mean, metrics)}
        metrics["temperature"] = jnp.exp(params.log_temperature)
        return state._replace(step=state.step + 1, params=params, opt=opt), metrics

    return init, step


# ---------------------------------------------------------------- what was learned


def _player(config: Config, env: envs.Environment) -> Player:
    agent = networks(config, env)

    def act(
        params: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None, memory: PyTree
    ) -> tuple[Array, PyTree]:
        if key is not None:
            return agent.draw(params, key, s)[0], memory
        return agent.policy(params, s).distribution.median(), memory

    return Player(act)


class Agent(TrainedAgent):
    """A trained agent: see `load`."""

    def _make_player(self) -> Player:
        return _player(self.config, self.env)


def load(path: str | os.PathLike[str]) -> Agent:
    """Reads an agent from the directory of a run, or from a file that `renga export` or `Agent.save` wrote.

    Raises:
      RunError: if there is none.

    Example:
      >>> import tempfile
      >>> config = Config(env="pendulum", units=(4,))
      >>> params = networks(config, envs.make("pendulum")).actor.init(jax.random.key(0), jnp.zeros((1, 3)))
      >>> file = tempfile.mkdtemp() + "/agent.safetensors"
      >>> Agent(config, params).save(file)
      >>> torque = load(file).act(jnp.zeros(3))
      >>> torque.shape, bool(abs(torque[0]) <= 2)
      ((1,), True)
    """
    return Agent(*read(path, __name__, _learned))


def _learned(config: Config, state: State) -> PyTree:
    return state.params.actor


def export(config: Config, state: State, path: str) -> None:
    """Writes the agent to a safetensors file, which `load` reads."""
    Agent(config, _learned(config, state)).save(path)


def evaluate(config: Config, state: State) -> dict[str, float]:
    """Plays 100 episodes with the policy's median action."""
    return judged(_player, config, _learned(config, state))
