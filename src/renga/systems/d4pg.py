"""D4PG: deterministic policy gradient for continuous actions with a distributional critic.

One file, top to bottom in the order data flows: Config, networks, losses, learning. How acting, keeping and learning
take turns is `_off_policy.py`.

Differs from Barth-Maron et al. 2018 (https://arxiv.org/abs/1804.08617):
  * environments are batched and step inside the compiled update, where the paper has actors in processes of their own;
  * replay is uniform, without priorities;
  * returns are of one step by default, where the paper takes five: they are not corrected for old actions;
  * target networks are Polyak averages, and not copies at a period;
  * the return distribution is categorical, and never a mixture of Gaussians;
  * small networks, and learning rates to match.

The atoms are evenly spaced on [`min_value`, `max_value`], which must contain the discounted returns. The metric
`beyond_support` is the share of the targets' probability outside of it; `advise` warns where that is more than 1 %.
Where a time limit truncates an episode, the return is bootstrapped from the last state.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs, nn, optim, rl
from renga.loop import check_config
from renga.systems import _off_policy
from renga.systems._agent import Player, TrainedAgent, functions_of
from renga.systems._continuous import ActionBox, Critics, action_box, actor, critics
from renga.systems._off_policy import State
from renga.systems._reinforcement import Transition, batch_gradient, check_replay, check_world

__all__ = [
    "STEPS",
    "Agent",
    "Config",
    "Networks",
    "Params",
    "State",
    "advise",
    "evaluate",
    "export",
    "load",
    "make",
    "networks",
]

STEPS = 20_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train d4pg --help` is made from these comments."""

    env: str = "pendulum"  # a name of `renga list --envs` with continuous actions, or MODULE:NAME
    num_envs: int = 1  # environments stepped in parallel
    updates: int = 1  # gradient steps after each step of the environments; for each transition, updates / num_envs
    replay_size: int = 100_000  # capacity of the replay buffer, in transitions
    warmup: int = 1_000  # transitions with uniformly random actions before learning starts
    batch_size: int = 256  # transitions per gradient step
    units: tuple[int, ...] = (64, 64)  # widths of the hidden layers of each network
    learning_rate: float = 1e-3  # of the critic
    actor_learning_rate: float = 1e-3
    discount: float = 0.99  # γ
    n_step: int = 1  # rewards in an n-step return
    num_atoms: int = 51  # atoms of the return distribution
    min_value: float = -1500.0  # lowest atom, at most the least discounted return
    max_value: float = 0.0  # highest atom, at least the largest discounted return
    target_rate: float = 0.005  # τ of the Polyak averages of the target networks
    exploration: float = 0.1  # standard deviation of the exploration noise, for actions scaled to [−1, 1]
    dataset: str = ""  # a file of transitions for offline learning: .npz or .safetensors


class Params(NamedTuple):
    """Parameters of the networks and of the target networks."""

    actor: PyTree
    critic: PyTree
    target_actor: PyTree
    target_critic: PyTree


def _check(config: Config) -> None:
    require = check_config("d4pg", config)
    check_replay(require, config)
    require.numbers("num_atoms", low=2)
    require.numbers("actor_learning_rate", "target_rate", above=0)
    require.numbers("target_rate", low=0, high=1)
    require.numbers("exploration", low=0)
    require(config.min_value < config.max_value, "min_value", f"less than max_value = {config.max_value}")


# ---------------------------------------------------------------- networks and losses


class Networks(NamedTuple):
    """The networks, and the losses of their parameters. Batches are `[B, ...]`."""

    actor: nn.Transformed
    critic: Critics
    atoms: Float[Array, " K"]
    box: ActionBox
    config: Config

    def policy(self, actor: PyTree, s: Array) -> Float[Array, "B ..."]:
        """μ(s), an action."""
        return self.box.from_unit(jnp.tanh(self.actor.apply(actor, s)[..., 0]))

    def logits(self, critic: PyTree, s: Array, a: Array) -> Float[Array, "B K"]:
        """Logits of the atoms of Z(s, a), the distribution of returns."""
        return self.critic(critic, s, a)[0]

    def critic_loss(self, critic: PyTree, steps: Transition, params: Params) -> tuple[Array, dict[str, Array]]:
        """The cross-entropy of Z(s, a) against Φ(r + γ Z̄(s′, μ̄(s′))), with Φ the projection onto the atoms."""
        logits_t = self.logits(params.target_critic, steps.s_t, self.policy(params.target_actor, steps.s_t))
        losses = jax.vmap(rl.categorical_td_learning, in_axes=(None, 0, 0, 0, None, 0))(
            self.atoms, self.logits(critic, steps.s_tm1, steps.a_tm1), steps.r_t, steps.discount_t, self.atoms, logits_t
        )
        z = steps.r_t[:, None] + steps.discount_t[:, None] * self.atoms[None]
        beyond = jnp.where((z < self.atoms[0]) | (z > self.atoms[-1]), jax.nn.softmax(logits_t), 0.0)
        return jnp.mean(losses), {"beyond_support": jnp.mean(jnp.sum(beyond, axis=-1))}

    def actor_loss(self, actor: PyTree, steps: Transition, params: Params) -> tuple[Array, dict[str, Array]]:
        """−E[Z(s, μ(s))]."""
        logits = self.logits(params.critic, steps.s_tm1, self.policy(actor, steps.s_tm1))
        return -jnp.mean(jax.nn.softmax(logits) @ self.atoms), {}


def networks(config: Config, env: envs.Environment) -> Networks:
    """Makes the networks for an environment."""
    box, spec, units = action_box("d4pg", config, env), env.observation_spec, config.units
    atoms = jnp.linspace(config.min_value, config.max_value, config.num_atoms)
    return Networks(actor(spec, box, units, 1), critics(spec, box, units, 1, config.num_atoms), atoms, box, config)


# ---------------------------------------------------------------- acting and learning


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    check_world("d4pg", config, env.env)
    agent = networks(config, env.env)
    optimise_critic, optimise_actor = optim.adam(config.learning_rate), optim.adam(config.actor_learning_rate)

    def init(key: PRNGKeyArray, s: Array, a: Array) -> tuple[Params, PyTree]:
        key_actor, key_critic = jax.random.split(key)
        actor, critic = agent.actor.init(key_actor, s), agent.critic.init(key_critic, s, a)
        return Params(actor, critic, actor, critic), (optimise_critic.init(critic), optimise_actor.init(actor))

    def act(params: Params, key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        return agent.box.noisy(key, agent.policy(params.actor, s), config.exploration)

    def explore(key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        return agent.box.sample(key, len(s))

    def learn(carry: tuple[Params, PyTree], count: Array, key: PRNGKeyArray, batch: Transition):
        """Takes a gradient step of the critic and one of the actor, and moves the targets."""
        params, (critic_opt, actor_opt) = carry
        (critic_loss, metrics), grads = batch_gradient(agent.critic_loss)(params.critic, batch, params)
        updates, critic_opt = optimise_critic.update(grads, critic_opt, params.critic)
        params = params._replace(critic=optim.apply_updates(params.critic, updates))

        (actor_loss, _), grads = batch_gradient(agent.actor_loss)(params.actor, batch, params)
        updates, actor_opt = optimise_actor.update(grads, actor_opt, params.actor)
        params = params._replace(actor=optim.apply_updates(params.actor, updates))

        new, old = (params.actor, params.critic), (params.target_actor, params.target_critic)
        target_actor, target_critic = optim.incremental_update(new, old, config.target_rate)
        params = params._replace(target_actor=target_actor, target_critic=target_critic)
        return (params, (critic_opt, actor_opt)), {"critic_loss": critic_loss, "actor_loss": actor_loss, **metrics}

    return _off_policy.make(config, env, _off_policy.Learner(init, act, explore, learn))


def advise(config: Config, metrics: dict[str, float]) -> dict[str, str]:
    """What about the config cannot go well, seen from the metrics of a window; by kind."""
    share = metrics.get("beyond_support", 0.0)
    if share <= 0.01:
        return {}
    text = (
        f"{share:.0%} of the targets are beyond min_value = {config.min_value:g} and "
        f"max_value = {config.max_value:g}, and count as the nearer of them: give the range of discounted returns"
    )
    return {"support": text}


# ---------------------------------------------------------------- what was learned


class Agent(TrainedAgent):
    """A trained agent: see `load`."""

    @staticmethod
    def learned(config: Config, state: State) -> PyTree:
        """The parameters of the actor."""
        return state.params.actor

    @staticmethod
    def player(config: Config, env: envs.Environment) -> Player:
        """The policy's action; with a key, with exploration noise."""
        agent = networks(config, env)

        def act(
            actor: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None, memory: PyTree
        ) -> tuple[Array, PyTree]:
            a = agent.policy(actor, s)
            return (a if key is None else agent.box.noisy(key, a, config.exploration)), memory

        return Player(act)


load, export, evaluate = functions_of(Agent)
