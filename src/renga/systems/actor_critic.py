"""Actor-critic: A2C, PPO, V-trace or V-MPO, with or without a memory, for discrete or continuous actions.

One file, top to bottom in the order data flows: Config, State, policies, network, acting, targets, loss, step. One step
lets every environment go on for `rollout_length` steps and then learns from what they did.

Differs from Mnih et al. 2016 (A2C, https://arxiv.org/abs/1602.01783), Schulman et al. 2017 (PPO,
https://arxiv.org/abs/1707.06347), Espeholt et al. 2018 (V-trace, https://arxiv.org/abs/1802.01561) and Song et al. 2019
(V-MPO, https://arxiv.org/abs/1909.12238):
  * all four share the network, the advantage's λ, Adam, the entropy bonus, and the clipping of gradients by their
    global norm, of which those of V-MPO's temperature and multipliers are no part;
  * V-MPO has no target network: its trust region is around the policy that collected the rollout, the top half of the
    advantages is taken in each minibatch, and temperature and multipliers are the softplus of parameters;
  * the value's loss of PPO is clipped only with `value_clip`, ε: ½ max[(v − z)², (v_μ + clip(v − v_μ, ±ε) − z)²],
    where z is the target and v_μ the value when the rollout was collected;
  * rewards are divided by the size of returns so far: a critic whose weights move by 10⁻³ a step takes thousands of
    steps to tell values of 100, and the policy follows its errors meanwhile;
  * an episode that is cut keeps its bootstrap: γ v of its last state is added to its last reward;
  * a minibatch has as many steps of each environment where that divides, drawn anew in each epoch;
  * environments step inside the compiled update, so V-trace corrects only for what epochs and minibatches change.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs, nn, optim, rl
from renga.loop import check_config, device_mean, mean_gradient, over_devices, shard_batch
from renga.systems import _memory, _policies
from renga.systems._agent import Player, TrainedAgent, functions_of
from renga.systems._memory import Memory
from renga.systems._normalise import Moments, RewardScale, seen_by, with_moments
from renga.systems._policies import Duals, policy_of
from renga.systems._reinforcement import check_world, episode_metrics, features

__all__ = ["PRESETS", "STEPS", "Agent", "Config", "Rollout", "State", "evaluate", "export", "load", "make"]

STEPS = 400


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train actor_critic --help` is made from these comments."""

    env: str = "cartpole"  # a name of `renga list --envs`, or MODULE:NAME
    algorithm: Literal["a2c", "ppo", "vtrace", "vmpo"] = "ppo"
    policy: Literal["gaussian", "tanh", "beta"] = "gaussian"  # continuous: a clipped or squashed Gaussian, or beta
    memory: Memory = "none"  # what the agent remembers of earlier observations
    num_envs: int = 16  # environments stepped in parallel
    rollout_length: int = 64  # steps of each environment in an update
    epochs: int = 4  # how often an update goes through its rollout; 1 for A2C
    minibatches: int = 4  # parts that a rollout is cut into, a gradient step each; of environments if V-trace or memory
    units: tuple[int, ...] = (64, 64)  # of the network's layers
    image: Literal["conv", "flat"] = "conv"  # what an image goes through first: convolutions, or nothing
    shared: bool = False  # policy and value have layers in common; with a memory they always do
    memory_units: int = 64
    activation: Literal["tanh", "relu"] = "tanh"
    learning_rate: float = 1e-3
    decay_steps: int = STEPS  # updates over which the learning rate falls to zero along a line; 0 keeps it
    max_gradient_norm: float = 0.5
    discount: float = 0.99  # γ
    trace_decay: float = 0.95  # λ of the advantages
    clip: float = 0.2  # ε of PPO's ratios
    epsilon: float = 0.1  # ε_η of V-MPO, bound of the KL divergence of the reweighted samples, in nats
    epsilon_mean: float = 0.01  # ε_α of V-MPO, bound of the KL divergence of means per update, per action dimension
    epsilon_scale: float = 1e-4  # the same of standard deviations; of the second parameter of a beta distribution
    epsilon_choice: float = 0.01  # ε_α of V-MPO over discrete actions, bound of the KL divergence per update
    temperature: float = 1.0  # initial η of V-MPO
    multiplier: float = 5.0  # initial α of V-MPO, of each bound
    dual_learning_rate: float = 1e-2  # of V-MPO's temperature and multipliers
    value_clip: float = 0.0  # how far PPO's value moves in an update before its loss is clipped; 0: not clipped
    value_cost: float = 0.5  # weight of the value's loss
    entropy_cost: float = 0.01  # weight of the policy's entropy
    normalise_advantages: bool = True  # to mean 0 and deviation 1, in each minibatch
    normalise_observations: bool = False  # to mean 0 and deviation 1, of all that were seen before the update
    normalise_rewards: bool = True  # so that discounted returns have a mean square of 1, of all that came before


PRESETS: dict[str, tuple[Config, int]] = {
    "a2c": (
        Config(algorithm="a2c", rollout_length=16, epochs=1, minibatches=1, learning_rate=3e-3, decay_steps=1600),
        1600,
    ),
    "pendulum": (
        Config(
            env="pendulum", rollout_length=128, epochs=10, minibatches=32, decay_steps=73, discount=0.95,
            entropy_cost=0.0, normalise_observations=True, normalise_rewards=True,
        ),
        73,
    ),
    # The settings that purejaxrl publishes (Lu et al. 2022).
    "minatar": (
        Config(
            env="gymnax/Breakout-MinAtar", num_envs=64, rollout_length=128, minibatches=8, image="flat",
            activation="relu", learning_rate=5e-3, decay_steps=1220, value_clip=0.2, normalise_rewards=False,
        ),
        1220,
    ),
    # The same with a convolution that policy and value share and a lower rate, for a quarter of the steps.
    "minatar_conv": (
        Config(
            env="gymnax/Asterix-MinAtar", num_envs=64, rollout_length=128, minibatches=8, shared=True,
            activation="relu", learning_rate=1e-3, decay_steps=305, value_clip=0.2, normalise_rewards=False,
        ),
        305,
    ),
    # Near those of Schulman et al. 2017 for Atari; 16 environments, 4 epochs, a lower cost of values, ε constant.
    "atari": (
        Config(
            env="gymnasium/ALE/Pong-v5", num_envs=16, rollout_length=128, minibatches=8, units=(512,), shared=True,
            activation="relu", learning_rate=2.5e-4, decay_steps=488, clip=0.1, normalise_rewards=False,
        ),
        488,
    ),
    "lunar_lander": (
        Config(
            env="gymnasium/LunarLander-v3", rollout_length=256, minibatches=32, decay_steps=244, discount=0.999,
            trace_decay=0.98,
        ),
        244,
    ),
}  # fmt: skip


class Rollout(NamedTuple):
    """What the environments went through, `[T, B, ...]`, in RLax's names."""

    s_tm1: Array
    first_tm1: Array  # whether s_tm1 is the first of its episode: what was remembered is forgotten
    a_tm1: Array
    log_mu_a: Array  # log-probability of a_tm1 when it was chosen
    r_t: Array  # where the episode was cut, γ v(s_t) is added
    discount_t: Array  # 0 where s_t ends an episode or was cut off from what follows
    adv_t: Array
    target_tm1: Array  # for the value of s_tm1
    legal_tm1: Array | None = None  # which actions were legal in s_tm1; None if all were
    out_tm1: Array | None = None  # outputs of the policy in s_tm1, for V-MPO
    v_tm1: Array | None = None  # value of s_tm1 when it was acted in, for the clipped loss


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    split = ("env", "first", "memory")  # the batch, of which each device has a part

    key: PRNGKeyArray
    step: Array
    params: PyTree
    opt: PyTree
    env: envs.Running
    first: Array
    memory: PyTree
    observations: Moments | None = None  # of what was seen, if observations are normalised
    rewards: RewardScale | None = None  # of what came in, if rewards are
    duals: Duals | tuple[()] = ()  # temperature and multipliers of V-MPO


def _check(config: Config) -> None:
    require = check_config("actor_critic", config)
    require.numbers("num_envs", "rollout_length", "epochs", "minibatches", "memory_units", low=1)
    require.numbers("learning_rate", "max_gradient_norm", "clip", above=0)
    require.numbers("discount", "trace_decay", low=0, high=1)
    require.numbers("decay_steps", "value_clip", "value_cost", "entropy_cost", low=0)
    require(not config.value_clip or config.algorithm == "ppo", "value_clip", f"0 with algorithm = {config.algorithm}")
    require.numbers("units", low=1)
    require(bool(config.units), "units", "one number or more")
    require.numbers("epsilon", "epsilon_mean", "epsilon_scale", "epsilon_choice", above=0)
    require.numbers("temperature", "multiplier", "dual_learning_rate", above=0)
    require(config.memory in _memory.NAMES, "memory", "none, lstm, gru or rnn")
    require(config.image in ("conv", "flat"), "image", "conv or flat")
    require(config.activation in ("tanh", "relu"), "activation", "tanh or relu")
    most = (2**31 - 1) // config.num_envs
    require(config.rollout_length <= most, "rollout_length", f"at most {most} with num_envs = {config.num_envs}")
    count, what = (
        (config.num_envs, "num_envs")
        if _in_sequences(config)
        else (config.num_envs * config.rollout_length, "num_envs · rollout_length")
    )
    require(count % config.minibatches == 0, "minibatches", f"a divisor of {what} = {count}")


def _in_sequences(config: Config) -> bool:
    """Whether learning needs steps in their order, so that minibatches are of environments and not of single steps."""
    return config.memory != "none" or config.algorithm == "vtrace"


def _num_groups(config: Config) -> int:
    """How many groups of environments there are, each as small as can be while its share of minibatches are equal."""
    units = 1 if _in_sequences(config) else config.rollout_length  # of an environment
    return config.num_envs * math.gcd(units, config.minibatches) // config.minibatches


# ---------------------------------------------------------------- network


def _features(spec: envs.Box | envs.Discrete, config: Config, s: Array) -> Array:
    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[config.activation]
    w_init = nn.initializers.Orthogonal(np.sqrt(2.0))
    return features(spec, config.units, s, convolve=config.image == "conv", w_init=w_init, activation=activation)


def _network(config: Config, env: envs.Environment) -> nn.Transformed:
    """Returns `init(key, s, first, memory)` and `apply(params, s, first, memory)`.

    It takes observations `[T, B, ...]` and returns the policy's outputs `[T, B, ...]`, values `[T, B]` and what is
    remembered after the last of them.
    """
    policy, spec = policy_of("actor_critic", config, env), env.observation_spec

    def heads(x_policy: Array, x_value: Array) -> tuple[Array, Array]:
        v = nn.Linear(1, w_init=nn.initializers.Orthogonal(1.0), name="value")
        return policy.head(x_policy), v(x_value)[..., 0]

    def unroll(s: Array, first: Array, memory: PyTree) -> tuple[Array, Array, PyTree]:
        T, B = first.shape
        flat = s.reshape(T * B, *s.shape[2:])
        if config.memory == "none":
            with nn.name_scope("torso" if config.shared else "actor"):
                x_policy = x_value = _features(spec, config, flat)
            if not config.shared:
                with nn.name_scope("critic"):
                    x_value = _features(spec, config, flat)
            out, v = heads(x_policy, x_value)
            return out.reshape(T, B, *out.shape[1:]), v.reshape(T, B), memory
        x = _features(spec, config, flat).reshape(T, B, -1)
        x, memory = nn.dynamic_unroll(_memory.core(config.memory, config.memory_units), (x, first), memory)
        return *heads(x, x), memory

    return nn.without_apply_rng(nn.transform(unroll))


# ---------------------------------------------------------------- learning


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    check_world("actor_critic", config, env.env)
    numbers = isinstance(env.observation_spec, envs.Box) or not config.normalise_observations
    check_config("actor_critic", config)(numbers, "normalise_observations", "False where an observation is a place")
    policy, network, groups = policy_of("actor_critic", config, env.env), _network(config, env.env), _num_groups(config)
    unroll, initial_memory = network.apply, _memory.initial(config.memory, config.memory_units)
    num_updates = config.decay_steps * config.epochs * config.minibatches
    rate = config.learning_rate
    schedule = optim.linear_schedule(rate, 0.0, num_updates) if num_updates else rate
    clipped = optim.chain(optim.clip_by_global_norm(config.max_gradient_norm), optim.adam(schedule, eps=1e-5))
    parts = {"network": clipped, "duals": optim.adam(config.dual_learning_rate)}
    optimiser = optim.partition(parts, ("network", "duals"))
    choices = isinstance(env.action_spec, envs.Discrete)
    bounds = (config.epsilon_choice,) if choices else (config.epsilon_mean, config.epsilon_scale)

    def see(observations: Moments | None, s: Array) -> Array:
        return s if observations is None else observations.normalise(s)

    def act(params: PyTree, key: PRNGKeyArray, s: Array, first: Array, memory: PyTree, legal: Array | None):
        """One step of the policy in every environment."""
        out, v, memory = unroll(params, s[None], first[None], memory)
        out = _masked(out[0], legal)
        a = policy.sample(key, out)
        return a, policy.log_prob(out, a), v[0], memory, out if config.algorithm == "vmpo" else None

    def interact(state: State, key: PRNGKeyArray):
        """Goes on for one step; returns also what `Rollout` is made of."""
        key_act, key_env = jax.random.split(key)
        s = env.observe(state.env)
        legal = env.legal_actions(state.env) if env.env.has_illegal_actions else None
        a, log_mu_a, v, memory, out = act(
            state.params, key_act, see(state.observations, s), state.first, state.memory, legal
        )
        env_state, step = env.step(key_env, state.env, policy.action(a))
        ends = step.truncated & ~step.terminated, step.observation, memory, jnp.zeros_like(v)
        _, beyond = over_devices(value_beyond)((state.params, state.observations), ends)
        after = state._replace(env=env_state, first=step.last, memory=memory)
        return after, (s, state.first, a, log_mu_a, v, step.reward, beyond, step.last, legal, out)

    def value_beyond(shared: PyTree, ends: PyTree, axis_name: str | None) -> tuple[tuple[()], Float[Array, " B"]]:
        """γ v of the states that episodes were cut in; 0 for others. Most steps cut none, and are done with at once."""
        (params, observations), (cut, s, memory, nothing) = shared, ends

        def value() -> Float[Array, " B"]:
            v = unroll(params, see(observations, s)[None], jnp.zeros_like(cut)[None], memory)[1][0]
            return jnp.where(cut, config.discount * v, 0.0)

        return (), jax.lax.cond(jnp.any(cut), value, lambda: nothing)

    def roll_out(state: State, key: PRNGKeyArray) -> tuple[State, Rollout, Float[Array, " B"]]:
        """Goes on for T steps; returns also the value of the state after them."""
        env_state, first, memory = shard_batch((state.env, state.first, state.memory))
        state = state._replace(env=env_state, first=first, memory=memory)
        state, (s, first, a, log_mu_a, v, r_t, beyond, last, legal, out) = jax.lax.scan(
            interact, state, jax.random.split(key, config.rollout_length)
        )
        if state.rewards is not None:
            r_t, rewards = state.rewards.scaled_all(r_t, last, config.discount)
            state = state._replace(rewards=rewards)
        r_t = r_t + beyond
        s_last = see(state.observations, env.observe(state.env))
        v_last = unroll(state.params, s_last[None], state.first[None], state.memory)[1][0]
        discount_t = config.discount * (1.0 - last)
        values = jnp.concatenate([v, v_last[None]])
        adv_t = jax.vmap(rl.truncated_generalized_advantage_estimation, in_axes=(1, 1, None, 1), out_axes=1)(
            r_t, discount_t, config.trace_decay, values
        )
        v_tm1 = v if config.value_clip else None
        return state, Rollout(s, first, a, log_mu_a, r_t, discount_t, adv_t, adv_t + v, legal, out, v_tm1), v_last

    def loss_fn(
        learned: tuple[PyTree, PyTree], batch: Rollout, memory: PyTree, v_last: PyTree, axis_name: str | None
    ) -> tuple[Array, dict[str, Array]]:
        """The mean over environments of each one's loss. `batch` is `[T, B, ...]`, or a device's part of it."""
        params, duals = learned
        out, v, _ = unroll(params, batch.s_tm1, batch.first_tm1, memory)
        out = _masked(out, batch.legal_tm1)
        log_pi_a = policy.log_prob(out, batch.a_tm1)
        ratios = jnp.exp(log_pi_a - batch.log_mu_a)
        adv = batch.adv_t
        if config.algorithm == "vtrace":
            v_t = jnp.concatenate([v[1:], v_last[None]])
            traced = jax.vmap(rl.vtrace_td_error_and_advantage, in_axes=(1, 1, 1, 1, 1, None), out_axes=1)(
                v, jax.lax.stop_gradient(v_t), batch.r_t, batch.discount_t, ratios, config.trace_decay
            )
            td, adv = traced.errors, traced.pg_advantage
            if config.normalise_advantages:
                adv = _normalised(adv, axis_name)
        else:
            td = batch.target_tm1 - v
        if config.algorithm == "ppo":
            surrogate = jax.vmap(rl.clipped_surrogate_pg_loss, in_axes=(1, 1, None))
            policy_loss = jnp.mean(surrogate(ratios, adv, config.clip))
        elif config.algorithm == "vmpo" and batch.out_tm1 is not None:
            temperature = rl.LagrangePenalty(duals.temperature, config.epsilon)
            apart = _policies.constraints(duals, policy.divergences(batch.out_tm1, out), bounds)
            losses, _ = rl.vmpo_loss(log_pi_a, adv, temperature, apart, _policies.multiplier, axis_name=axis_name)
            policy_loss = jnp.mean(losses)
        else:
            policy_loss = policy.gradient_loss(out, batch.a_tm1, adv)
        value_losses = rl.l2_loss(td)
        if batch.v_tm1 is not None:
            near = batch.v_tm1 + jnp.clip(v - batch.v_tm1, -config.value_clip, config.value_clip)
            value_losses = jnp.maximum(value_losses, rl.l2_loss(batch.target_tm1 - near))
        value_loss = jnp.mean(value_losses)
        entropy = policy.entropy(out)
        loss = policy_loss + config.value_cost * value_loss - config.entropy_cost * entropy
        return loss, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}

    def learn(state: State, key: PRNGKeyArray, rollout: Rollout, memory: PyTree, v_last: Array):
        """Takes one gradient step a minibatch, in each epoch."""
        sequences = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), rollout)  # [B, T, ...]
        if _in_sequences(config):
            units = sequences, memory, v_last
        else:
            units = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), sequences), (), ()
        # Each minibatch takes as much of every group of environments, so that a device draws from what it has.
        units = jax.tree.map(lambda x: x.reshape(groups, -1, *x.shape[1:]), units)  # [G, N, ...]
        keys = jax.random.split(key, (groups, config.epochs))
        shared = (state.params, state.duals), state.opt
        ((params, duals), opt, metrics), _ = over_devices(descend)(shared, (keys, units))
        return state._replace(params=params, duals=duals, opt=opt), metrics

    def descend(shared: PyTree, part: PyTree, axis_name: str | None) -> tuple[PyTree, tuple[()]]:
        """Learns from the groups of a device, together with the other devices."""
        keys, units = part
        count = units[0].r_t.shape[1]
        draw = lambda key: jax.random.permutation(key, count).reshape(config.minibatches, -1)
        orders = jax.vmap(jax.vmap(draw), out_axes=2)(keys)  # [epochs, m, G, N / m]

        def cut(order: Array, x: Array) -> Array:
            """Takes units `[G, N, ...]` in an order `[..., G, n]`: `[..., G n, ...]`."""
            x = x[jnp.arange(len(keys))[:, None], order]
            return x.reshape(*order.shape[:-2], -1, *x.shape[order.ndim :])

        def gradient_step(carry: PyTree, part: PyTree) -> tuple[PyTree, dict[str, Array]]:
            learned, opt = carry
            batch, memory, v_last = part
            # Sequences [B, T, ...] become [T, B, ...]; each single step [B, ...] stands for itself [B, 1, ...].
            batch = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1) if _in_sequences(config) else x[:, None], batch)
            loss = lambda learned, *part: loss_fn(learned, *part, axis_name=axis_name)
            (_, metrics), grads = mean_gradient(loss, axis_name)(learned, batch, memory, v_last)
            updates, opt = optimiser.update(grads, opt, learned)
            metrics["gradient_norm"] = optim.global_norm(grads[0])
            return (optim.apply_updates(learned, updates), opt), metrics

        def epoch(carry: PyTree, drawn: PyTree) -> tuple[PyTree, dict[str, Array]]:
            order, adv_t = drawn
            batch, memory, v_last = jax.tree.map(lambda x: cut(order, x), units)
            return jax.lax.scan(gradient_step, carry, (batch._replace(adv_t=adv_t), memory, v_last))

        adv_t = cut(orders, units[0].adv_t)
        if config.normalise_advantages and config.algorithm != "vtrace":
            adv_t = _normalised(adv_t, axis_name, axis=tuple(range(2, adv_t.ndim)))
        carry, metrics = jax.lax.scan(epoch, shared, (orders, adv_t))
        return (*carry, jax.tree.map(jnp.mean, metrics)), ()

    def init(key: PRNGKeyArray) -> State:
        key, key_params, key_env = jax.random.split(key, 3)
        env_state = env.reset(key_env)
        memory = initial_memory(config.num_envs)
        first = jnp.ones(config.num_envs, bool)
        params = network.init(key_params, env.observe(env_state)[None], first[None], memory)
        observations = Moments.of(env.observe(env_state).shape[1:]) if config.normalise_observations else None
        rewards = RewardScale.of(config.num_envs) if config.normalise_rewards else None
        alphas = (config.multiplier,) * len(bounds)
        trust = _policies.duals(policy, config.temperature, alphas) if config.algorithm == "vmpo" else ()
        opt = optimiser.init((params, trust))
        return State(key, jnp.int32(0), params, opt, env_state, first, memory, observations, rewards, trust)

    def step(state: State) -> tuple[State, dict[str, Any]]:
        key, key_rollout, key_learn = jax.random.split(state.key, 3)
        memory = state.memory
        state, rollout, v_last = roll_out(state._replace(key=key), key_rollout)
        seen = rollout.s_tm1
        # What is learned from is what was acted on: statistics move on afterwards.
        state, metrics = learn(state, key_learn, rollout._replace(s_tm1=see(state.observations, seen)), memory, v_last)
        if state.observations is not None:
            state = state._replace(observations=state.observations.update(seen.reshape(-1, *seen.shape[2:])))
        return state._replace(step=state.step + 1), {**episode_metrics(state.env, config.rollout_length), **metrics}

    return init, step


def _normalised(
    adv: Float[Array, "..."], axis_name: str | None, axis: tuple[int, ...] | None = None
) -> Float[Array, "..."]:
    """Advantages with mean 0 and deviation 1 along the given axes (None: all), over all devices."""
    apart = adv - device_mean(jnp.mean(adv, axis, keepdims=True), axis_name)
    return apart / (jnp.sqrt(device_mean(jnp.mean(apart**2, axis, keepdims=True), axis_name)) + 1e-8)


def _masked(out: Float[Array, "..."], legal: Array | None) -> Float[Array, "..."]:
    """Takes illegal actions out of a policy."""
    return out if legal is None else jnp.where(legal, out, -jnp.inf)


# ---------------------------------------------------------------- what was learned


class Agent(TrainedAgent):
    """A trained agent: see `load`."""

    has_policy = True

    @staticmethod
    def learned(config: Config, state: State) -> PyTree:
        """The network's parameters, with the moments of observations if these are normalised."""
        return with_moments(state.params, state.observations)

    @staticmethod
    def player(config: Config, env: envs.Environment) -> Player:
        """The most likely action of the policy; with a key, one drawn from it."""
        policy, unroll = policy_of("actor_critic", config, env), _network(config, env).apply

        def act(
            learned: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None, memory: PyTree
        ) -> tuple[Array, PyTree]:
            params, s = seen_by(learned, s, config.normalise_observations)
            out, _, memory = unroll(params, s[None], jnp.zeros((1, len(s)), bool), memory)
            out = _masked(out[0], legal)
            return policy.action(policy.best(out) if key is None else policy.sample(key, out)), memory

        return Player(act, _memory.initial(config.memory, config.memory_units))


load, export, evaluate = functions_of(Agent)
