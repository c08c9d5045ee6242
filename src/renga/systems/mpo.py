"""MPO, maximum a posteriori policy optimisation: weighted maximum likelihood of sampled actions in a trust region.

One file, top to bottom in the order data flows: Config, policies, losses, learning. How acting, keeping and learning
take turns is `_off_policy.py`.

A critic estimates the values of actions that are sampled from the target policy. The E-step weights the samples by a
softmax of these values; the M-step fits the policy to the weighted samples, with bounds on its KL divergence from the
target policy. The temperature of the softmax and the Lagrange multipliers of the bounds are learned beside it.

Differs from Abdolmaleki et al. 2018 (https://arxiv.org/abs/1806.06920, https://arxiv.org/abs/1812.02256):
  * the critic learns from n-step returns without correction, and not by Retrace;
  * the covariance of the policy is diagonal; its mean is squashed into the box of actions by tanh, and actions are
    clipped to the box;
  * temperature and multipliers are the softplus of parameters, by which they stay positive;
  * policy and critic are copied to their target networks together, every `target_period` gradient steps;
  * environments are batched and step inside the compiled update.

Over continuous actions the policy is Gaussian, with two bounds per dimension: one for the mean and one for the standard
deviation, so that the latter does not shrink too soon. Over discrete actions it is categorical, with one bound. Where a
time limit truncates an episode, the return is bootstrapped from the last state.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs, nn, optim, rl
from renga.loop import check_config
from renga.systems import _off_policy, _policies
from renga.systems._agent import Player, TrainedAgent, functions_of
from renga.systems._continuous import Critics, action_box, actor, choice_actor, choice_critics, critics, td_loss
from renga.systems._off_policy import State
from renga.systems._policies import Duals, constraints, duals, multiplier
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
    """Hyperparameters; `renga train mpo --help` is made from these comments."""

    env: str = "pendulum"  # a name of `renga list --envs`, or MODULE:NAME; with continuous or discrete actions
    num_envs: int = 1  # environments stepped in parallel
    updates: int = 1  # gradient steps after each step of the environments; for each transition, updates / num_envs
    replay_size: int = 100_000  # capacity of the replay buffer, in transitions
    warmup: int = 1_000  # transitions with uniformly random actions before learning starts
    batch_size: int = 256  # transitions per gradient step
    units: tuple[int, ...] = (64, 64)  # widths of the hidden layers of each network
    learning_rate: float = 1e-3  # of the critic
    actor_learning_rate: float = 1e-3
    dual_learning_rate: float = 1e-2  # of the temperature and the multipliers
    discount: float = 0.99  # γ
    n_step: int = 1  # rewards in an n-step return
    num_samples: int = 16  # actions sampled in each state
    target_period: int = 100  # gradient steps between two copies of policy and critic into their target networks
    epsilon: float = 0.1  # ε, bound of the KL divergence of the reweighted samples of the E-step, in nats
    epsilon_mean: float = 0.01  # bound of the KL divergence of means, per action dimension
    epsilon_scale: float = 1e-4  # bound of the KL divergence of standard deviations, per action dimension
    epsilon_choice: float = 0.01  # bound of the KL divergence of policies over discrete actions
    temperature: float = 10.0  # initial η
    multiplier: float = 10.0  # initial α of each bound; that of standard deviations is a hundred times as large
    scale: float = 0.5  # initial standard deviation, for actions scaled to [−1, 1]
    dataset: str = ""  # a file of transitions for offline learning: .npz or .safetensors


PRESETS: dict[str, tuple[Config, int]] = {
    "cartpole": (Config(env="cartpole", num_envs=8, n_step=10, target_period=50), 10_000),
}


class Params(NamedTuple):
    """Parameters of the networks, temperature and multipliers, and target networks."""

    actor: PyTree
    critic: PyTree
    duals: Duals
    target_actor: PyTree
    target_critic: PyTree


def _check(config: Config) -> None:
    require = check_config("mpo", config)
    check_replay(require, config)
    require.numbers("num_samples", "target_period", low=1)
    require.numbers("actor_learning_rate", "dual_learning_rate", "temperature", "multiplier", "scale", above=0)
    require.numbers("epsilon", "epsilon_mean", "epsilon_scale", "epsilon_choice", above=0)


# ---------------------------------------------------------------- policies and losses


class Networks:
    """A policy, a critic, and the losses of their parameters. Batches are `[B, ...]`, with a key for each.

    Samples of a Gaussian policy may lie outside of the box; `policy.action` makes an action of them.
    """

    bounds: dict[str, float]  # of the divergences, by name

    def __init__(self, config: Config, policy: Any, actor: nn.Transformed, critic: Critics):
        self.config, self.policy, self.actor, self.critic = config, policy, actor, critic

    def duals(self) -> Duals:
        """The initial temperature and multipliers."""
        raise NotImplementedError

    def out(self, actor: PyTree, s: Array, legal: Array | None) -> Array:
        """The parameters of the policy's distribution in each state."""
        raise NotImplementedError

    def q(self, critic: PyTree, s: Array, a: Array) -> Float[Array, "N B"]:
        """Q(s, a) of N actions in each state, `[N, B, ...]`."""
        raise NotImplementedError

    def explore(self, key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        """Draws uniformly random actions."""
        raise NotImplementedError

    def act(self, actor: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None) -> Array:
        """Samples actions; without a key, the modes of the policy."""
        out = self.out(actor, s, legal)
        return self.policy.action(self.policy.best(out) if key is None else self.policy.sample(key, out))

    def valued(self, params: Params, keys: Array, s: Array, legal: Array | None) -> tuple[Array, Array, Array]:
        """The target policy in each state, N samples of it, and their values by the target critic."""
        out = self.out(params.target_actor, s, legal)
        several = jnp.broadcast_to(out, (self.config.num_samples, *out.shape))
        drawn = jax.vmap(self.policy.sample, (0, 1), 1)(keys, several)
        return out, drawn, self.q(params.target_critic, s, self.policy.action(drawn))

    def critic_loss(self, critic: PyTree, batch: tuple[Array, Transition], params: Params) -> tuple[Array, dict]:
        """½ (r + γ Σⱼ Q̄(s′, aⱼ) / N − Q(s, a))², aⱼ ~ π̄(· | s′)."""
        keys, steps = batch
        _, _, q_t = self.valued(params, keys, steps.s_t, steps.legal_t)
        return td_loss(self.q(critic, steps.s_tm1, steps.a_tm1[None]), steps, jnp.mean(q_t, axis=0)), {}

    def policy_loss(
        self, learned: tuple[PyTree, Duals], batch: tuple[Array, Transition], params: Params
    ) -> tuple[Array, dict[str, Array]]:
        """−Σⱼ wⱼ log π(aⱼ | s) + α KL(π̄ ‖ π), aⱼ ~ π̄(· | s), w = softmax(Q̄(s, aⱼ) / η), and the losses of η and α."""
        (actor, duals), (keys, steps) = learned, batch
        old, drawn, q = self.valued(params, keys, steps.s_tm1, steps.legal_tm1)
        new = self.out(actor, steps.s_tm1, steps.legal_tm1)
        # log π with the new mean and the old deviation, and the reverse, as in the second paper: the two are decoupled.
        log_probs = sum(
            self.policy.log_prob(jnp.broadcast_to(out, (len(q), *out.shape)), drawn)
            for out in self.policy.apart(old, new)
        )
        divergences = self.policy.divergences(old, new)
        loss, parts = rl.mpo_loss(
            log_probs,
            q,
            rl.LagrangePenalty(duals.temperature, self.config.epsilon),
            constraints(duals, divergences, tuple(self.bounds.values())),
            projection_operator=multiplier,
        )
        apart = {f"divergence/{name}": jnp.mean(kl) for name, kl in zip(self.bounds, divergences, strict=True)}
        return jnp.mean(loss), {"policy_loss": jnp.mean(parts.policy_loss), **apart}


class Numbers(Networks):
    """Continuous actions: a Gaussian policy over the box scaled to [−1, 1], and a critic Q(s, a)."""

    def __init__(self, config: Config, env: envs.Environment):
        self.box, spec = action_box("mpo", config, env), env.observation_spec
        self.bounds = {"mean": config.epsilon_mean, "scale": config.epsilon_scale}
        policy, q = _policies.Numbers("gaussian", self.box), critics(spec, self.box, config.units, 1)
        super().__init__(config, policy, actor(spec, self.box, config.units, 2), q)

    def duals(self) -> Duals:
        """The initial temperature and multipliers."""
        return duals(self.policy, self.config.temperature, (self.config.multiplier, 100.0 * self.config.multiplier))

    def out(self, actor: PyTree, s: Array, legal: Array | None) -> Float[Array, "B *shape 2"]:
        """Mean and log standard deviation of each dimension."""
        mean, spread = jnp.moveaxis(self.actor.apply(actor, s), -1, 0)
        scale = self.config.scale * jax.nn.softplus(spread) / jnp.log(2.0) + 1e-3
        return jnp.stack([jnp.tanh(mean), jnp.log(scale)], axis=-1)

    def q(self, critic: PyTree, s: Array, a: Array) -> Float[Array, "N B"]:
        """Q(s, a)."""
        return jax.vmap(lambda a: self.critic(critic, s, a)[0])(a)

    def explore(self, key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        """Draws uniformly random actions."""
        return self.box.sample(key, len(s))


class Choices(Networks):
    """Discrete actions: a categorical policy, and a critic that gives the values of all actions."""

    def __init__(self, config: Config, env: envs.Environment):
        policy, spec = _policies.Choices(env), env.observation_spec
        self.bounds = {"choice": config.epsilon_choice}
        q = choice_critics(spec, policy.num, config.units, 1)
        super().__init__(config, policy, choice_actor(spec, policy.num, config.units), q)

    def duals(self) -> Duals:
        """The initial temperature and multiplier."""
        return duals(self.policy, self.config.temperature, (self.config.multiplier,))

    def out(self, actor: PyTree, s: Array, legal: Array | None) -> Float[Array, "B A"]:
        """Logits; −∞ where an action is not legal."""
        return legal_only(self.actor.apply(actor, s), legal)

    def q(self, critic: PyTree, s: Array, a: Array) -> Float[Array, "N B"]:
        """Q(s, a)."""
        return jnp.take_along_axis(self.critic(critic, s)[0], a.T, axis=1).T

    def explore(self, key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        """Draws uniformly random legal actions."""
        return any_action(key, len(s), self.policy.num, legal)


def networks(config: Config, env: envs.Environment) -> Networks:
    """Makes the networks for an environment, by its kind of actions."""
    return (Choices if isinstance(env.action_spec, envs.Discrete) else Numbers)(config, env)


# ---------------------------------------------------------------- learning


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    check_world("mpo", config, env.env)
    agent = networks(config, env.env)
    optimise_critic = optim.adam(config.learning_rate)
    optimise_policy = optim.partition(
        {"actor": optim.adam(config.actor_learning_rate), "duals": optim.adam(config.dual_learning_rate)},
        ("actor", "duals"),
    )

    def init(key: PRNGKeyArray, s: Array, a: Array) -> tuple[Params, PyTree]:
        key_actor, key_critic = jax.random.split(key)
        actor, duals = agent.actor.init(key_actor, s), agent.duals()
        critic = agent.critic.init(key_critic, *((s, a) if isinstance(agent, Numbers) else (s,)))
        opt = optimise_critic.init(critic), optimise_policy.init((actor, duals))
        return Params(actor, critic, duals, actor, critic), opt

    def act(params: Params, key: PRNGKeyArray, s: Array, legal: Array | None) -> Array:
        return agent.act(params.actor, key, s, legal)

    def learn(carry: tuple[Params, PyTree], count: Array, key: PRNGKeyArray, batch: Transition):
        """Takes a gradient step of the critic and one of policy and duals, and copies to the targets when due."""
        params, (critic_opt, policy_opt) = carry
        keys_critic, keys_policy = jax.random.split(key, (2, config.batch_size))
        (critic_loss, _), grads = batch_gradient(agent.critic_loss)(params.critic, (keys_critic, batch), params)
        updates, critic_opt = optimise_critic.update(grads, critic_opt, params.critic)
        critic = optim.apply_updates(params.critic, updates)

        learned = params.actor, params.duals
        (_, metrics), grads = batch_gradient(agent.policy_loss)(learned, (keys_policy, batch), params)
        updates, policy_opt = optimise_policy.update(grads, policy_opt, learned)
        actor, duals = optim.apply_updates(learned, updates)

        targets = params.target_actor, params.target_critic
        targets = optim.periodic_update((actor, critic), targets, count, config.target_period)
        metrics |= {"critic_loss": critic_loss, "temperature": multiplier(duals.temperature)}
        return (Params(actor, critic, duals, *targets), (critic_opt, policy_opt)), metrics

    return _off_policy.make(config, env, _off_policy.Learner(init, act, agent.explore, learn, config.target_period))


# ---------------------------------------------------------------- what was learned


class Agent(TrainedAgent):
    """A trained agent: see `load`."""

    @staticmethod
    def learned(config: Config, state: State) -> PyTree:
        """The parameters of the policy."""
        return state.params.actor

    @staticmethod
    def player(config: Config, env: envs.Environment) -> Player:
        """The mean, or the most likely choice; with a key, an action drawn from the policy."""
        agent = networks(config, env)
        return Player(lambda actor, key, s, legal, memory: (agent.act(actor, key, s, legal), memory))


load, export, evaluate = functions_of(Agent)
