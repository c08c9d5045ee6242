"""Twin delayed deterministic policy gradient (TD3), and DDPG: continuous actions with a deterministic policy.

One file, top to bottom in the order data flows: Config, networks, losses, learning. `_off_policy.py` has the loop of
acting, storing and learning.

Differs from Fujimoto et al. 2018 (https://arxiv.org/abs/1802.09477):
  * environments are batched and step inside the compiled update: `updates` gradient steps after each step of them all;
  * small networks, and learning rates to match.

DDPG (Lillicrap et al. 2016) is `--preset ddpg`: one critic, no delay, no noise in targets. With `dataset` it learns
from a file without acting; `--preset td3_bc` is TD3+BC (Fujimoto & Gu 2021, https://arxiv.org/abs/2106.06860), and
`--preset bc` behaviour cloning. An episode that a time limit truncates is bootstrapped from its last state.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs, nn, optim
from renga.loop import check_config
from renga.systems import _off_policy
from renga.systems._agent import Player, TrainedAgent, functions_of
from renga.systems._continuous import ActionBox, Critics, action_box, actor, critics, td_loss
from renga.systems._off_policy import State
from renga.systems._reinforcement import Transition, batch_gradient, check_replay, check_world

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

STEPS = 20_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train td3 --help` is made from these comments."""

    env: str = "pendulum"  # a name of `renga list --envs` with continuous actions, or MODULE:NAME
    num_envs: int = 1  # environments stepped in parallel
    updates: int = 1  # gradient steps after each step of the environments; for each transition, updates / num_envs
    replay_size: int = 100_000  # capacity of the replay buffer, in transitions
    warmup: int = 1_000  # transitions with uniformly random actions before learning starts
    batch_size: int = 256  # transitions per gradient step
    units: tuple[int, ...] = (64, 64)  # widths of the hidden layers of each network
    learning_rate: float = 1e-3  # of the critics
    actor_learning_rate: float = 1e-3
    discount: float = 0.99  # γ
    n_step: int = 1  # rewards in an n-step return
    num_critics: int = 2  # number of critics, of which the minimum is used
    target_rate: float = 0.005  # τ of the Polyak averages of the target networks
    delay: int = 2  # gradient steps of the critics per update of the actor and the targets
    exploration: float = 0.1  # standard deviation of the exploration noise, for actions scaled to [−1, 1]
    smoothing: float = 0.2  # standard deviation of the noise of target actions, in the same units
    smoothing_clip: float = 0.5  # bound of the noise of target actions
    cloning: bool = False  # whether the actor also imitates the actions of the replay buffer or the dataset
    q_weight: float = 2.5  # α: weight of Q beside cloning; 0 is behaviour cloning
    dataset: str = ""  # a file of transitions for offline learning: .npz or .safetensors


PRESETS: dict[str, tuple[Config, int]] = {
    "ddpg": (Config(num_critics=1, delay=1, smoothing=0.0), STEPS),
    "td3_bc": (Config(cloning=True), STEPS),
    "bc": (Config(cloning=True, q_weight=0.0), STEPS),
}


class Params(NamedTuple):
    """What is learned, and what follows it."""

    actor: PyTree
    critics: PyTree
    target_actor: PyTree
    targets: PyTree


def _check(config: Config) -> None:
    require = check_config("td3", config)
    check_replay(require, config)
    require.numbers("num_critics", "delay", low=1)
    require.numbers("actor_learning_rate", "target_rate", above=0)
    require.numbers("target_rate", low=0, high=1)
    require.numbers("exploration", "smoothing", "smoothing_clip", "q_weight", low=0)


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

    def critic_loss(self, critics: PyTree, batch: tuple[Array, Transition], params: Params) -> tuple[Array, dict]:
        """Σᵢ ½ (r + γ minⱼ Q̄ⱼ(s′, a′) − Qᵢ(s, a))², with a′ = μ̄(s′) and some noise, by a key for each."""
        (keys, steps), config = batch, self.config
        noisy = lambda key, a: self.box.noisy(key, a, config.smoothing, config.smoothing_clip)
        a_t = jax.vmap(noisy)(keys, self.policy(params.target_actor, steps.s_t))
        v_t = jnp.min(self.critics(params.targets, steps.s_t, a_t), axis=0)
        return td_loss(self.critics(critics, steps.s_tm1, steps.a_tm1), steps, v_t), {}

    def actor_loss(self, actor: PyTree, batch: tuple[Array, Array], params: Params) -> tuple[Array, dict]:
        """−Q₁(s, μ(s)); with cloning −α Q₁(s, μ(s)) / |Q₁(s, μ(s))| + (u(μ(s)) − u(a))², by means.

        With u(a) as the point of [−1, 1] that an action is in its box.
        """
        s, a = batch
        mu = self.policy(actor, s)
        q = self.critics(params.critics, s, mu)[0]
        if not self.config.cloning:
            return -jnp.mean(q), {}
        distance = jnp.mean(jnp.square(self.box.to_unit(mu) - self.box.to_unit(a)))
        size = jax.lax.stop_gradient(jnp.mean(jnp.abs(q)))
        return distance - self.config.q_weight * jnp.mean(q) / jnp.maximum(size, 1e-6), {}


def networks(config: Config, env: envs.Environment) -> Networks:
    """Makes the networks for an environment."""
    box, spec, units = action_box("td3", config, env), env.observation_spec, config.units
    return Networks(actor(spec, box, units, 1), critics(spec, box, units, config.num_critics), box, config)


# ---------------------------------------------------------------- acting and learning


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    check_world("td3", config, env.env)
    agent = networks(config, env.env)
    optimise_critics, optimise_actor = optim.adam(config.learning_rate), optim.adam(config.actor_learning_rate)

    def init(key: PRNGKeyArray, s: Array, a: Array) -> tuple[Params, PyTree]:
        key_actor, key_critics = jax.random.split(key)
        actor, q = agent.actor.init(key_actor, s), agent.critics.init(key_critics, s, a)
        return Params(actor, q, actor, q), (optimise_critics.init(q), optimise_actor.init(actor))

    def act(params: Params, key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        return agent.box.noisy(key, agent.policy(params.actor, s), config.exploration)

    def explore(key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        return agent.box.sample(key, len(s))

    def learn_actor(params: Params, opt: PyTree, batch: tuple[Array, Array]) -> tuple[Params, PyTree, Array]:
        """Takes a gradient step of the actor, and moves the targets."""
        (loss, _), grads = batch_gradient(agent.actor_loss)(params.actor, batch, params)
        updates, opt = optimise_actor.update(grads, opt, params.actor)
        actor = optim.apply_updates(params.actor, updates)
        new, old = (actor, params.critics), (params.target_actor, params.targets)
        target_actor, targets = optim.incremental_update(new, old, config.target_rate)
        return Params(actor, params.critics, target_actor, targets), opt, loss

    def learn(carry: tuple[Params, PyTree], count: Array, key: PRNGKeyArray, batch: Transition):
        """Takes a gradient step of the critics, and every `delay` steps one of the actor."""
        params, (critic_opt, actor_opt) = carry
        keys = jax.random.split(key, config.batch_size)
        (critic_loss, _), grads = batch_gradient(agent.critic_loss)(params.critics, (keys, batch), params)
        updates, critic_opt = optimise_critics.update(grads, critic_opt, params.critics)
        params = params._replace(critics=optim.apply_updates(params.critics, updates))
        rest = lambda params, opt, batch: (params, opt, agent.actor_loss(params.actor, batch, params)[0])
        params, actor_opt, actor_loss = jax.lax.cond(
            count % config.delay == 0, learn_actor, rest, params, actor_opt, (batch.s_tm1, batch.a_tm1)
        )
        return (params, (critic_opt, actor_opt)), {"critic_loss": critic_loss, "actor_loss": actor_loss}

    return _off_policy.make(config, env, _off_policy.Learner(init, act, explore, learn, config.delay))


# ---------------------------------------------------------------- what was learned


class Agent(TrainedAgent):
    """A trained agent: see `load`."""

    @staticmethod
    def learned(config: Config, state: State) -> PyTree:
        """The parameters of the actor."""
        return state.params.actor

    @staticmethod
    def player(config: Config, env: envs.Environment) -> Player:
        """The policy's action; with a key, and noise."""
        agent = networks(config, env)

        def act(
            actor: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None, memory: PyTree
        ) -> tuple[Array, PyTree]:
            a = agent.policy(actor, s)
            return (a if key is None else agent.box.noisy(key, a, config.exploration)), memory

        return Player(act)


load, export, evaluate = functions_of(Agent)
