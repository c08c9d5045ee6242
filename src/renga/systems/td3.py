"""Twin delayed deterministic policy gradient: continuous actions from replay, by a policy without chance; or DDPG.

One file, top to bottom in the order data flows: Config, State, networks, losses, acting, learning, step.

Differs from Fujimoto et al. 2018 (https://arxiv.org/abs/1802.09477):
  * environments are batched and step inside the compiled update: `updates` gradient steps after each step of them all;
  * small networks, and learning rates to match.

DDPG (Lillicrap et al. 2016) is `--preset ddpg`: one critic, no delay, no noise in targets. An episode that is cut by a
time limit keeps its bootstrap, from the state that it was cut in.
"""

import dataclasses
import functools
import os
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs, nn, optim
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

STEPS = 20_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train td3 --help` is made from these comments."""

    env: str = "pendulum"  # a world with continuous actions
    num_envs: int = 1  # environments stepped in parallel
    updates: int = 1  # gradient steps after each step of the environments; for each transition, updates / num_envs
    replay_size: int = 100_000  # transitions kept
    warmup: int = 1_000  # transitions of even actions in replay before learning starts
    batch_size: int = 256  # transitions a gradient step
    units: tuple[int, ...] = (64, 64)  # of the layers of each network
    learning_rate: float = 1e-3  # of the critics
    actor_learning_rate: float = 1e-3
    discount: float = 0.99  # γ
    n_step: int = 1  # rewards in a return before it is bootstrapped
    num_critics: int = 2  # networks of which the least counts
    target_rate: float = 0.005  # τ: how far targets go towards what is learned when they move
    delay: int = 2  # gradient steps of the critics before one of the actor, with which targets move
    exploration: float = 0.1  # deviation of the noise of actions, where the box of actions is [−1, 1]
    smoothing: float = 0.2  # deviation of the noise of target actions, in the same units
    smoothing_clip: float = 0.5  # the most that this noise can be


PRESETS: dict[str, tuple[Config, int]] = {
    "ddpg": (Config(num_critics=1, delay=1, smoothing=0.0), STEPS),
}


class Params(NamedTuple):
    """What is learned, and what follows it."""

    actor: PyTree
    critics: PyTree
    target_actor: PyTree
    targets: PyTree


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    split = types.MappingProxyType({"env": 0, "recent": 1})  # axes of the batch, of which each device has a part

    key: PRNGKeyArray
    step: Array
    params: Params
    opt: tuple[PyTree, PyTree]  # of critics and actor
    env: envs.Running
    recent: Recent
    replay: PyTree


def _check(config: Config) -> None:
    require = check_config("td3", config)
    check_replay(require, config)
    require.numbers("num_critics", "delay", low=1)
    require.numbers("actor_learning_rate", "target_rate", above=0)
    require.numbers("exploration", "smoothing", "smoothing_clip", low=0)


# ---------------------------------------------------------------- networks and losses


class Networks(NamedTuple):
    """The networks, and the losses of their parameters. Batches are `[B, ...]`."""

    actor: nn.Transformed
    critics: Critics
    box: ActionBox
    config: Config

    def policy(self, actor: PyTree, s: Array) -> Float[Array, "B ..."]:
        """μ(s), an action."""
        return self.box.from_unit(jnp.tanh(self.actor.apply(actor, s)[..., 0]))

    def noisy(
        self, key: PRNGKeyArray, a: Float[Array, "B ..."], deviation: float, most: float = jnp.inf
    ) -> Float[Array, "B ..."]:
        """Returns a + half · clip(σ ε, −c, c) in the box of actions, with ε ~ N(0, 1)."""
        noise = jnp.clip(deviation * jax.random.normal(key, a.shape, a.dtype), -most, most)
        return self.box.moved(a, noise)

    def critic_loss(self, critics: PyTree, params: Params, key: PRNGKeyArray, batch: Transition) -> Array:
        """Σᵢ ½ (r + γ minⱼ Q̄ⱼ(s′, a′) − Qᵢ(s, a))², with a′ = μ̄(s′) and some noise."""
        a_t = self.policy(params.target_actor, batch.s_t)
        a_t = self.noisy(key, a_t, self.config.smoothing, self.config.smoothing_clip)
        v_t = jnp.min(self.critics(params.targets, batch.s_t, a_t), axis=0)
        return self.critics.td_loss(critics, batch, v_t)

    def actor_loss(self, actor: PyTree, params: Params, s: Array) -> Array:
        """−Q₁(s, μ(s))."""
        return -jnp.mean(self.critics(params.critics, s, self.policy(actor, s))[0])


def networks(config: Config, env: envs.Environment) -> Networks:
    """Makes the networks for an environment."""
    box, spec, units = action_box("td3", config, env), env.observation_spec, config.units
    return Networks(actor(spec, box, units, 1), critics(spec, box, units, config.num_critics), box, config)


# ---------------------------------------------------------------- acting and learning


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    need_one_player("td3", config, env.env)
    agent = networks(config, env.env)
    replay = UniformReplay(config.replay_size)
    take = functools.partial(go_on, env, replay, config.discount)  # a step in every environment, and keeps it
    optimise_critics, optimise_actor = optim.adam(config.learning_rate), optim.adam(config.actor_learning_rate)

    def interact(key: PRNGKeyArray, state: State) -> State:
        """Acts as the policy does, with noise."""
        key_act, key_env = jax.random.split(key)
        s = env.observe(state.env)
        a = agent.noisy(key_act, agent.policy(state.params.actor, s), config.exploration)
        return take(key_env, state, s, a)

    def explore(state: State, key: PRNGKeyArray) -> State:
        """Acts evenly."""
        key_act, key_env = jax.random.split(key)
        return take(key_env, state, env.observe(state.env), agent.box.sample(key_act, config.num_envs))

    def init(key: PRNGKeyArray) -> State:
        key, key_actor, key_critics, key_env, key_warmup = jax.random.split(key, 5)
        env_state = env.reset(key_env)
        s = env.observe(env_state)
        recent, empty = blank(env, key_env, env_state, replay, config.n_step, config.discount)
        actor, q = agent.actor.init(key_actor, s), agent.critics.init(key_critics, s, recent.a_tm1[0])
        opt = (optimise_critics.init(q), optimise_actor.init(actor))
        state = State(key, jnp.int32(0), Params(actor, q, actor, q), opt, env_state, recent, empty)
        return warm_up(explore, state, key_warmup, config.n_step, -(-config.warmup // config.num_envs))

    def learn_actor(params: Params, opt: PyTree, s: Array) -> tuple[Params, PyTree, Array]:
        """Takes a gradient step of the actor, and moves the targets."""
        loss, grads = jax.value_and_grad(agent.actor_loss)(params.actor, params, s)
        updates, opt = optimise_actor.update(grads, opt, params.actor)
        actor = optim.apply_updates(params.actor, updates)
        new, old = (actor, params.critics), (params.target_actor, params.targets)
        target_actor, targets = optim.incremental_update(new, old, config.target_rate)
        return Params(actor, params.critics, target_actor, targets), opt, loss

    def learn(carry: tuple[Params, PyTree], part: tuple[Array, PRNGKeyArray, Transition]):
        """Takes a gradient step of the critics, and every `delay` steps one of the actor."""
        (params, (critic_opt, actor_opt)), (count, key, batch) = carry, part
        critic_loss, grads = jax.value_and_grad(agent.critic_loss)(params.critics, params, key, batch)
        updates, critic_opt = optimise_critics.update(grads, critic_opt, params.critics)
        params = params._replace(critics=optim.apply_updates(params.critics, updates))
        rest = lambda params, opt, s: (params, opt, agent.actor_loss(params.actor, params, s))
        params, actor_opt, actor_loss = jax.lax.cond(
            count % config.delay == 0, learn_actor, rest, params, actor_opt, batch.s_tm1
        )
        return (params, (critic_opt, actor_opt)), {"critic_loss": critic_loss, "actor_loss": actor_loss}

    def step(state: State) -> tuple[State, dict[str, Any]]:
        key, key_interact, key_sample, key_learn = jax.random.split(state.key, 4)
        state = interact(key_interact, state._replace(key=key))
        U = config.updates
        drawn = batches(replay, state.replay, key_sample, U, config.batch_size)
        counts = (state.step % config.delay) * (U % config.delay) + jnp.arange(1, U + 1)
        one = lambda carry, part: learn(carry, (*part[:2], shard_batch(part[2])))
        parts = (counts, jax.random.split(key_learn, U), drawn)
        (params, opt), metrics = jax.lax.scan(one, (state.params, state.opt), parts)
        metrics = {**episode_metrics(state.env), **jax.tree.map(jnp.mean, metrics)}
        return state._replace(step=state.step + 1, params=params, opt=opt), metrics

    return init, step


# ---------------------------------------------------------------- what was learned


def _player(config: Config, env: envs.Environment) -> Player:
    agent = networks(config, env)

    def act(
        params: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None, memory: PyTree
    ) -> tuple[Array, PyTree]:
        a = agent.policy(params, s)
        return (a if key is None else agent.noisy(key, a, config.exploration)), memory

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
    """Plays 100 episodes without noise."""
    return judged(_player, config, _learned(config, state))


__all__ = [
    "PRESETS",
    "STEPS",
    "Agent",
    "Config",
    "Networks",
    "Params",
    "State",
    "evaluate",
    "export",
    "load",
    "make",
    "networks",
]
