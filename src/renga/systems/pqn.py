"""PQN: Q-learning without a replay buffer and without a target network, from rollouts of many environments.

One file, top to bottom in the order data flows: Config, State, network, acting, targets, learning, step. One step takes
`rollout_length` steps in every environment and then learns from them, in several epochs of minibatches. Layer
norm keeps the values from diverging, in place of a target network; the targets are Q(λ) returns.

Differs from Gallici et al. 2024 (https://arxiv.org/abs/2407.04811):
  * an episode that a time limit truncates is bootstrapped from its last state;
  * rewards are divided by the scale of earlier returns, where the paper sets a scale for some environments;
  * minibatches consist of single steps, shuffled in each epoch.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs, nn, optim, rl
from renga.loop import check_config, shard_batch
from renga.systems._agent import Player, TrainedAgent, functions_of
from renga.systems._images import convolved
from renga.systems._normalise import Moments, RewardScale, seen_by, with_moments
from renga.systems._reinforcement import (
    as_floats,
    batch_gradient,
    check_world,
    episode_metrics,
    flat,
    legal_now,
    legal_only,
    need_discrete,
)

__all__ = ["PRESETS", "STEPS", "Agent", "Config", "Rollout", "State", "evaluate", "export", "load", "make", "network"]

STEPS = 488


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train pqn --help` is made from these comments."""

    env: str = "cartpole"  # a name of `renga list --envs`, or MODULE:NAME
    num_envs: int = 32  # environments stepped in parallel
    rollout_length: int = 32  # steps of each environment in an update
    epochs: int = 4  # passes over a rollout in an update
    minibatches: int = 8  # minibatches per epoch, a gradient step each
    units: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    image: Literal["conv", "flat"] = "conv"  # for images, convolutions before the layers, or none
    learning_rate: float = 1e-3
    decay_steps: int = STEPS  # updates over which the learning rate decays linearly to zero; 0: constant
    max_gradient_norm: float = 10.0
    discount: float = 0.99  # γ
    trace_decay: float = 0.95  # λ of the returns
    epsilon: float = 0.2  # final ε of the ε-greedy behaviour policy
    epsilon_steps: int = 98  # updates over which ε decays from 1
    normalise_observations: bool = False  # by mean and standard deviation of all earlier observations
    normalise_rewards: bool = True  # divide by the root mean square of all earlier discounted returns


PRESETS: dict[str, tuple[Config, int]] = {
    "acrobot": (Config(env="acrobot", epsilon=0.02, normalise_observations=True), STEPS),
    "minatar": (
        Config(
            env="gymnax/Breakout-MinAtar", num_envs=128, minibatches=32, epochs=2, units=(128,), learning_rate=5e-4,
            trace_decay=0.65, decay_steps=2441, epsilon=0.05, epsilon_steps=244, normalise_rewards=False,
        ),
        2441,
    ),
}  # fmt: skip


class Rollout(NamedTuple):
    """What the environments went through, `[T, B, ...]`, in RLax's names."""

    s_tm1: Array
    a_tm1: Array
    target_tm1: Array  # for the value of a_tm1 in s_tm1


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    split = ("env",)  # the batch, of which each device has a part

    key: PRNGKeyArray
    step: Array
    params: PyTree
    opt: PyTree
    env: envs.Running
    observations: Moments | None = None  # of what was seen, if observations are normalised
    rewards: RewardScale | None = None  # of what came in, if rewards are normalised


def _check(config: Config) -> None:
    require = check_config("pqn", config)
    require.numbers("num_envs", "rollout_length", "epochs", "minibatches", "units", low=1)
    require.numbers("learning_rate", "max_gradient_norm", above=0)
    require.numbers("discount", "trace_decay", "epsilon", low=0, high=1)
    require.numbers("decay_steps", "epsilon_steps", low=0)
    require(bool(config.units), "units", "one number or more")
    require(config.image in ("conv", "flat"), "image", "conv or flat")
    most = (2**31 - 1) // config.num_envs
    require(config.rollout_length <= most, "rollout_length", f"at most {most} with num_envs = {config.num_envs}")
    count = config.num_envs * config.rollout_length
    divides = count % config.minibatches == 0
    require(divides, "minibatches", f"a divisor of num_envs · rollout_length = {count}")


# ---------------------------------------------------------------- network


def network(config: Config, env: envs.Environment) -> nn.Transformed:
    """Makes the network for an environment: observations `[B, ...]` to values `[B, A]`."""
    num_actions, spec = envs.num_actions(env), env.observation_spec

    def norm(x: Array) -> Array:
        return jax.nn.relu(nn.LayerNorm(-1, create_scale=True, create_offset=True)(x))

    def values(s: Array) -> Float[Array, "B A"]:
        if isinstance(spec, envs.Discrete):
            x = flat(nn.Embed(spec.num, config.units[0])(s))
        elif config.image == "conv" and len(spec.shape) == 3:
            x = convolved(as_floats(spec, s), norm)
        else:
            x = flat(as_floats(spec, s))
        for size in config.units:
            x = norm(nn.Linear(size)(x))
        return nn.Linear(num_actions, name="values")(x)

    return nn.without_apply_rng(nn.transform(values))


# ---------------------------------------------------------------- acting and learning


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    check_world("pqn", config, env.env)
    need_discrete("pqn", config, env.env)
    numbers = isinstance(env.observation_spec, envs.Box) or not config.normalise_observations
    check_config("pqn", config)(numbers, "normalise_observations", "False where an observation is a place")
    net = network(config, env.env)
    num_updates = config.decay_steps * config.epochs * config.minibatches
    rate = config.learning_rate
    schedule = optim.linear_schedule(rate, 0.0, num_updates) if num_updates else rate
    optimiser = optim.chain(optim.clip_by_global_norm(config.max_gradient_norm), optim.radam(schedule))

    def epsilon(step: Array) -> Array:
        fraction = step / max(config.epsilon_steps, 1)
        return jnp.maximum(config.epsilon, 1.0 - fraction * (1.0 - config.epsilon))

    def interact(state: State, key: PRNGKeyArray):
        """Goes on for one step; returns also what targets are made of."""
        key_act, key_env = jax.random.split(key)
        s, legal = env.observe(state.env), legal_now(env, state.env)
        q = net.apply(state.params, see(state, s))
        a = rl.epsilon_greedy(epsilon(state.step)).sample(key_act, q, mask=legal).astype(jnp.int32)
        env_state, step = env.step(key_env, state.env, a.astype(env.action_spec.dtype))
        cut = step.truncated & ~step.terminated
        best_of_end = lambda: best(state, step.observation, step.legal_actions)
        # Most steps cut no episode, so this is rarely run.
        v_end = jax.lax.cond(jnp.any(cut), best_of_end, lambda: jnp.zeros_like(step.reward))
        r, rewards = step.reward, state.rewards
        if rewards is not None:
            r, rewards = rewards.scaled(r, step.last, config.discount)
        r = r + jnp.where(cut, config.discount * v_end, 0.0)
        v = jnp.max(legal_only(q, legal), axis=-1)
        return state._replace(env=env_state, rewards=rewards), (s, a, r, v, step.last)

    def see(state: State, s: Array) -> Array:
        return s if state.observations is None else state.observations.normalise(s)

    def best(state: State, s: Array, legal: Array | None) -> Float[Array, " B"]:
        return jnp.max(legal_only(net.apply(state.params, see(state, s)), legal), axis=-1)

    def roll_out(state: State, key: PRNGKeyArray) -> tuple[State, Rollout]:
        """Goes on for T steps, and works out the targets G = r + γ [(1 − λ) max q + λ G′]."""
        state = state._replace(env=shard_batch(state.env))
        state, (s, a, r, v, last) = jax.lax.scan(interact, state, jax.random.split(key, config.rollout_length))
        v_last = best(state, env.observe(state.env), legal_now(env, state.env))
        v_t = jnp.concatenate([v[1:], v_last[None]])
        returns = jax.vmap(rl.lambda_returns, in_axes=(1, 1, 1, None), out_axes=1)
        return state, Rollout(s, a, returns(r, config.discount * (1.0 - last), v_t, config.trace_decay))

    def loss_fn(params: PyTree, batch: Rollout) -> tuple[Array, dict[str, Array]]:
        q = jnp.take_along_axis(net.apply(params, batch.s_tm1), batch.a_tm1[:, None], axis=-1)[:, 0]
        return jnp.mean(rl.l2_loss(batch.target_tm1 - q)), {"q": jnp.mean(q)}

    def learn(state: State, key: PRNGKeyArray, rollout: Rollout) -> tuple[State, dict[str, Array]]:
        """Takes one gradient step a minibatch, in each epoch."""

        def update(carry, batch: Rollout):
            params, opt = carry
            (loss, metrics), grads = batch_gradient(loss_fn)(params, batch)
            updates, opt = optimiser.update(grads, opt, params)
            metrics |= {"loss": loss, "gradient_norm": optim.global_norm(grads)}
            return (optim.apply_updates(params, updates), opt), metrics

        def epoch(carry, key: PRNGKeyArray):
            order, m = jax.random.permutation(key, rollout.target_tm1.size), config.minibatches
            cut = lambda x: x.reshape(-1, *x.shape[2:])[order].reshape(m, -1, *x.shape[2:])
            return jax.lax.scan(update, carry, jax.tree.map(cut, rollout))

        carry, metrics = jax.lax.scan(epoch, (state.params, state.opt), jax.random.split(key, config.epochs))
        return state._replace(params=carry[0], opt=carry[1]), jax.tree.map(jnp.mean, metrics)

    def init(key: PRNGKeyArray) -> State:
        key, key_params, key_env = jax.random.split(key, 3)
        env_state = env.reset(key_env)
        params = net.init(key_params, env.observe(env_state))
        observations = Moments.of(env.observe(env_state).shape[1:]) if config.normalise_observations else None
        rewards = RewardScale.of(config.num_envs) if config.normalise_rewards else None
        return State(key, jnp.int32(0), params, optimiser.init(params), env_state, observations, rewards)

    def step(state: State) -> tuple[State, dict[str, Any]]:
        key, key_rollout, key_learn = jax.random.split(state.key, 3)
        state, rollout = roll_out(state._replace(key=key), key_rollout)
        seen = rollout.s_tm1
        # What is learned from is what was acted on: statistics move on afterwards.
        state, metrics = learn(state, key_learn, rollout._replace(s_tm1=see(state, seen)))
        if state.observations is not None:
            state = state._replace(observations=state.observations.update(seen.reshape(-1, *seen.shape[2:])))
        metrics = {**episode_metrics(state.env, config.rollout_length), **metrics, "epsilon": epsilon(state.step)}
        return state._replace(step=state.step + 1), metrics

    return init, step


# ---------------------------------------------------------------- what was learned


class Agent(TrainedAgent):
    """A trained agent: see `load`."""

    @staticmethod
    def learned(config: Config, state: State) -> PyTree:
        """The network's parameters, with the moments of observations if these are normalised."""
        return with_moments(state.params, state.observations)

    @staticmethod
    def player(config: Config, env: envs.Environment) -> Player:
        """The best action; with a key, ε-greedily."""
        net = network(config, env)

        def act(
            learned: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None, memory: PyTree
        ) -> tuple[Array, PyTree]:
            q = net.apply(*seen_by(learned, s, config.normalise_observations))
            if key is not None:
                return rl.epsilon_greedy(config.epsilon).sample(key, q, mask=legal).astype(jnp.int32), memory
            return jnp.argmax(legal_only(q, legal), axis=-1).astype(jnp.int32), memory

        return Player(act)


load, export, evaluate = functions_of(Agent)
