"""SAC, soft actor-critic: learning from replay with a target for the entropy, for continuous or discrete actions.

One file, top to bottom in the order data flows: Config, networks, losses, learning. How acting, keeping and learning
take turns is `_off_policy.py`.

Differs from Haarnoja et al. 2018 (https://arxiv.org/abs/1812.05905):
  * environments are batched and step inside the compiled update: `updates` gradient steps after each step of them all;
  * entropies are those of actions scaled to the box [−1, 1], so that the units of an action count for nothing;
  * small networks, and learning rates to match.

Where actions are discrete it is that of Christodoulou 2019 (https://arxiv.org/abs/1910.07207): critics tell the values
of all choices, and expectations are over all, where else one action is drawn. With `dataset` it learns from a file
without acting, and `conservative` keeps values of actions that are not in it low (CQL(H), Kumar et al. 2020,
https://arxiv.org/abs/2006.04779, eq. 4; `--preset cql`). An episode that is cut by a time limit keeps its bootstrap,
from the state that it was cut in.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import dist, envs, nn, optim
from renga.loop import check_config
from renga.systems import _off_policy
from renga.systems._agent import Player, TrainedAgent, functions_of
from renga.systems._continuous import Critics, action_box, actor, choice_actor, choice_critics, critics, td_loss
from renga.systems._off_policy import State
from renga.systems._reinforcement import (
    Transition,
    any_action,
    batch_gradient,
    check_replay,
    check_world,
    legal_only,
)

__all__ = [
    "PRESETS",
    "STEPS",
    "Agent",
    "Choices",
    "Config",
    "Networks",
    "Numbers",
    "Params",
    "Soft",
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
    """Hyperparameters; `renga train sac --help` is made from these comments."""

    env: str = "pendulum"  # an environment of `renga list --envs`, or MODULE:NAME; with continuous or discrete actions
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
    target_entropy_share: float = 0.3  # the same for discrete actions: its share of what it is if all are even
    min_log_scale: float = -5.0  # of the policy's Gaussian before tanh
    max_log_scale: float = 2.0
    conservative: float = 0.0  # α of CQL: cost of values of actions beyond that of those taken; 0 is plain SAC
    num_samples: int = 10  # for CQL: uniformly random actions, and as many of the policy
    dataset: str = ""  # a file of transitions for offline learning: .npz or .safetensors


PRESETS: dict[str, tuple[Config, int]] = {
    "cartpole": (
        Config(
            env="cartpole", num_envs=8, n_step=10, learning_rate=3e-3, actor_learning_rate=3e-3, temperature=10.0,
            target_entropy_share=0.1,
        ),
        15_000,
    ),
    "cartpole_swing_up": (
        Config(env="cartpole_swing_up", num_envs=4, warmup=5_000, batch_size=128, n_step=3),
        75_000,
    ),
    "reacher": (Config(env="reacher", num_envs=4, batch_size=128, discount=0.95), 20_000),
    "cql": (Config(conservative=1.0), STEPS),
}  # fmt: skip


class Params(NamedTuple):
    """What is learned."""

    actor: PyTree
    critics: PyTree
    targets: PyTree
    log_temperature: Array


def _check(config: Config) -> None:
    require = check_config("sac", config)
    check_replay(require, config)
    require.numbers("num_critics", "num_samples", low=1)
    require.numbers("actor_learning_rate", "temperature", "target_rate", above=0)
    require.numbers("temperature_learning_rate", "conservative", low=0)
    require.numbers("target_entropy_share", "target_rate", low=0, high=1)
    require(config.min_log_scale < config.max_log_scale, "min_log_scale", f"less than {config.max_log_scale}")


# ---------------------------------------------------------------- networks and losses


class Soft(NamedTuple):
    """What states are worth, `[B]`.

    Attributes:
      value: E[minᵢ Qᵢ(s, a) − α log π(a | s)], with a ~ π(· | s).
      entropy: E[−log π(a | s)].
      asked: what this should be.
    """

    value: Float[Array, " B"]
    entropy: Float[Array, " B"]
    asked: Float[Array, " B"]


class Networks:
    """An actor, critics, and the losses of their parameters. Batches are `[B, ...]`, with a key for each."""

    def __init__(self, config: Config, actor: nn.Transformed, critics: Critics):
        self.config, self.actor, self.critics = config, actor, critics

    def soft(
        self, actor: PyTree, critics: PyTree, log_temperature: Array, keys: Array, s: Array, legal: Array | None
    ) -> Soft:
        """What states are worth."""
        raise NotImplementedError

    def q(self, critics: PyTree, s: Array, a: Array) -> Float[Array, "K B"]:
        """Qᵢ(s, a)."""
        raise NotImplementedError

    def soft_maximum(
        self, actor: PyTree, critics: PyTree, keys: Array, s: Array, legal: Array | None
    ) -> Float[Array, "K B"]:
        """Log Σₐ exp Qᵢ(s, a) over all actions."""
        raise NotImplementedError

    def act(self, actor: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None) -> Array:
        """Draws actions; without a key, the best ones."""
        raise NotImplementedError

    def explore(self, key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        """Draws actions evenly."""
        raise NotImplementedError

    def critic_loss(self, critics: PyTree, batch: tuple[Array, Transition], params: Params) -> tuple[Array, dict]:
        """Σᵢ ½ (r + γ V(s′) − Qᵢ(s, a))² + α (log Σₐ′ exp Qᵢ(s, a′) − Qᵢ(s, a)), with V by the target critics."""
        keys, steps = batch
        v_t = self.soft(params.actor, params.targets, params.log_temperature, keys, steps.s_t, steps.legal_t).value
        q = self.q(critics, steps.s_tm1, steps.a_tm1)
        loss = td_loss(q, steps, v_t)
        if not self.config.conservative:
            return loss, {}
        keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
        most = self.soft_maximum(params.actor, critics, keys, steps.s_tm1, steps.legal_tm1)
        return loss + self.config.conservative * jnp.sum(jnp.mean(most - q, axis=1)), {}

    def actor_loss(self, actor: PyTree, batch: tuple[Array, Transition], params: Params) -> tuple[Array, dict]:
        """−V(s)."""
        keys, steps = batch
        soft = self.soft(actor, params.critics, params.log_temperature, keys, steps.s_tm1, steps.legal_tm1)
        return -jnp.mean(soft.value), {"entropy": jnp.mean(soft.entropy), "asked": jnp.mean(soft.asked)}

    def temperature_loss(self, log_temperature: Array, entropy: Array, asked: Array) -> Array:
        """log α (H − H̄): the temperature falls where there is more entropy H than is asked for."""
        return log_temperature * jax.lax.stop_gradient(entropy - asked)


class Numbers(Networks):
    """A policy over a box, and critics of actions in it."""

    def __init__(self, config: Config, env: envs.Environment):
        self.box, spec = action_box("sac", config, env), env.observation_spec
        q = critics(spec, self.box, config.units, config.num_critics)
        super().__init__(config, actor(spec, self.box, config.units, 2), q)

    def law(self, out: Float[Array, "*B 2"]) -> dist.Independent:
        """A density over the box: a Gaussian squashed by tanh."""
        low, high = self.config.min_log_scale, self.config.max_log_scale
        loc, spread = jnp.moveaxis(out, -1, 0)
        scale = jnp.exp(low + 0.5 * (high - low) * (1.0 + jnp.tanh(spread)))
        squashed = dist.TanhNormal(loc, scale, self.box.low, self.box.high)
        return dist.Independent(squashed, self.box.low.ndim)

    def policy(self, actor: PyTree, s: Array) -> dist.Independent:
        """π(a | s)."""
        return self.law(self.actor.apply(actor, s))

    def draw(self, actor: PyTree, keys: Array, s: Array) -> tuple[Array, Float[Array, " B"]]:
        """Draws an action with each key; returns also log-densities in units of the box, where it is [−1, 1]."""
        draw = lambda key, out: self.law(out).sample_and_log_prob(seed=key)
        a, log_pi = jax.vmap(draw)(keys, self.actor.apply(actor, s))
        return a, log_pi + np.float32(np.log(self.box.half).sum())

    def soft(
        self, actor: PyTree, critics: PyTree, log_temperature: Array, keys: Array, s: Array, legal: Array | None
    ) -> Soft:
        """What states are worth, by one action drawn in each."""
        a, log_pi = self.draw(actor, keys, s)
        v = jnp.min(self.critics(critics, s, a), axis=0) - jnp.exp(log_temperature) * log_pi
        return Soft(v, -log_pi, jnp.full_like(v, self.config.target_entropy * self.box.size))

    def q(self, critics: PyTree, s: Array, a: Array) -> Float[Array, "K B"]:
        """Qᵢ(s, a)."""
        return self.critics(critics, s, a)

    def soft_maximum(
        self, actor: PyTree, critics: PyTree, keys: Array, s: Array, legal: Array | None
    ) -> Float[Array, "K B"]:
        """Log ∫ exp Qᵢ(s, a) da over the box [−1, 1], estimated with N uniformly random actions and N of the policy.

        log 1/2N Σⱼ exp(Qᵢ(s, aⱼ) − log p(aⱼ)), with p the density that aⱼ was drawn from (appendix F).
        """
        num, uniform = self.config.num_samples, -self.box.size * np.log(2.0)

        def drawn(key: PRNGKeyArray, s: Array) -> tuple[Array, Array]:
            key_uniform, key_policy = jax.random.split(key)
            repeated = jnp.broadcast_to(s, (num, *s.shape))
            a, log_pi = self.draw(actor, jax.random.split(key_policy, num), repeated)
            log_p = jnp.concatenate([jnp.full_like(log_pi, uniform), log_pi])
            return jnp.concatenate([self.box.sample(key_uniform, num).astype(a.dtype), a]), log_p

        a, log_p = jax.tree.map(jax.lax.stop_gradient, jax.vmap(drawn, out_axes=1)(keys, s))
        q = jnp.moveaxis(jax.vmap(lambda a: self.critics(critics, s, a))(a), 0, -1)
        return jax.nn.logsumexp(q - log_p.T[None], axis=-1) - np.log(2.0 * num)

    def act(self, actor: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None) -> Array:
        """Draws actions; without a key, the medians."""
        policy = self.policy(actor, s)
        return policy.distribution.median() if key is None else policy.sample(seed=key)

    def explore(self, key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        """Draws actions evenly from the box."""
        return self.box.sample(key, len(s))


class Choices(Networks):
    """A policy over choices, and critics of all of them at once."""

    def __init__(self, config: Config, env: envs.Environment):
        self.num, spec = envs.num_actions(env), env.observation_spec
        q = choice_critics(spec, self.num, config.units, config.num_critics)
        super().__init__(config, choice_actor(spec, self.num, config.units), q)

    def log_policy(self, actor: PyTree, s: Array, legal: Array | None) -> Float[Array, "B A"]:
        """Log π(a | s); −∞ where an action is not legal."""
        return jax.nn.log_softmax(legal_only(self.actor.apply(actor, s), legal))

    def soft(
        self, actor: PyTree, critics: PyTree, log_temperature: Array, keys: Array, s: Array, legal: Array | None
    ) -> Soft:
        """What states are worth, by all choices."""
        log_pi = self.log_policy(actor, s, legal)
        can = jnp.isfinite(log_pi)
        pi = jnp.exp(log_pi)
        entropy = -jnp.sum(pi * jnp.where(can, log_pi, 0.0), axis=-1)
        q = jnp.sum(pi * jnp.min(self.critics(critics, s), axis=0), axis=-1)
        most = jnp.log(jnp.sum(can, axis=-1).astype(q.dtype))
        return Soft(q + jnp.exp(log_temperature) * entropy, entropy, self.config.target_entropy_share * most)

    def q(self, critics: PyTree, s: Array, a: Array) -> Float[Array, "K B"]:
        """Qᵢ(s, a)."""
        return jnp.take_along_axis(self.critics(critics, s), a[None, :, None], axis=-1)[..., 0]

    def soft_maximum(
        self, actor: PyTree, critics: PyTree, keys: Array, s: Array, legal: Array | None
    ) -> Float[Array, "K B"]:
        """Log Σₐ exp Qᵢ(s, a) over what is legal."""
        q = self.critics(critics, s)
        return jax.nn.logsumexp(q if legal is None else jnp.where(legal, q, -jnp.inf), axis=-1)

    def act(self, actor: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None) -> Array:
        """Draws actions; without a key, the most likely."""
        log_pi = self.log_policy(actor, s, legal)
        return jnp.argmax(log_pi, axis=-1) if key is None else jax.random.categorical(key, log_pi)

    def explore(self, key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        """Draws evenly from what is legal."""
        return any_action(key, len(s), self.num, legal)


def networks(config: Config, env: envs.Environment) -> Networks:
    """Makes the networks for an environment: what its actions are decides."""
    return (Choices if isinstance(env.action_spec, envs.Discrete) else Numbers)(config, env)


# ---------------------------------------------------------------- learning


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    check_world("sac", config, env.env)
    agent = networks(config, env.env)
    optimise_critics, optimise_actor = optim.adam(config.learning_rate), optim.adam(config.actor_learning_rate)
    optimise_temperature = optim.adam(config.temperature_learning_rate)

    def init(key: PRNGKeyArray, s: Array, a: Array) -> tuple[Params, PyTree]:
        key_actor, key_critics = jax.random.split(key)
        q = agent.critics.init(key_critics, *((s, a) if isinstance(agent, Numbers) else (s,)))
        params = Params(agent.actor.init(key_actor, s), q, q, jnp.log(jnp.float32(config.temperature)))
        temperature = optimise_temperature.init(params.log_temperature)
        return params, (optimise_critics.init(q), optimise_actor.init(params.actor), temperature)

    def act(params: Params, key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        return agent.act(params.actor, key, s, legal)

    def learn(carry: tuple[Params, PyTree], count: Array, key: PRNGKeyArray, batch: Transition):
        """Takes a gradient step of the critics, the actor and the temperature, in this order."""
        params, (critic_opt, actor_opt, temperature_opt) = carry
        keys_critic, keys_actor = jax.random.split(key, (2, config.batch_size))
        (critic_loss, _), grads = batch_gradient(agent.critic_loss)(params.critics, (keys_critic, batch), params)
        updates, critic_opt = optimise_critics.update(grads, critic_opt, params.critics)
        params = params._replace(critics=optim.apply_updates(params.critics, updates))

        (actor_loss, seen), grads = batch_gradient(agent.actor_loss)(params.actor, (keys_actor, batch), params)
        updates, actor_opt = optimise_actor.update(grads, actor_opt, params.actor)
        params = params._replace(actor=optim.apply_updates(params.actor, updates))

        grads = jax.grad(agent.temperature_loss)(params.log_temperature, seen["entropy"], seen["asked"])
        updates, temperature_opt = optimise_temperature.update(grads, temperature_opt, params.log_temperature)
        params = params._replace(
            log_temperature=optim.apply_updates(params.log_temperature, updates),
            targets=optim.incremental_update(params.critics, params.targets, config.target_rate),
        )
        metrics = {"critic_loss": critic_loss, "actor_loss": actor_loss, "entropy": seen["entropy"]}
        metrics["temperature"] = jnp.exp(params.log_temperature)
        return (params, (critic_opt, actor_opt, temperature_opt)), metrics

    return _off_policy.make(config, env, _off_policy.Learner(init, act, agent.explore, learn))


# ---------------------------------------------------------------- what was learned


class Agent(TrainedAgent):
    """A trained agent: see `load`."""

    @staticmethod
    def learned(config: Config, state: State) -> PyTree:
        """The parameters of the actor."""
        return state.params.actor

    @staticmethod
    def player(config: Config, env: envs.Environment) -> Player:
        """The median action, or the most likely; with a key, one drawn from the policy."""
        agent = networks(config, env)
        return Player(lambda actor, key, s, legal, memory: (agent.act(actor, key, s, legal), memory))


load, export, evaluate = functions_of(Agent)
