"""Parts of agents: a policy's numbers, layers for observations, n-step experience, which several systems share."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from renga import envs, nn
from renga._core.varying import vary_like
from renga.data import PrioritisedReplay, UniformReplay
from renga.loop import Requirements, device_mean, over_devices
from renga.systems._images import convolved

S = TypeVar("S", bound=Any)  # the state of a system, with `env`, `recent` and `replay`


def log_prob(logits: Float[Array, "*B A"], a: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """Log π(a), with π = softmax(logits)."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), a[..., None], axis=-1)[..., 0]


def entropy(logits: Float[Array, "*B A"]) -> Float[Array, "*B"]:
    """−Σₐ π(a) log π(a), with π = softmax(logits)."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def legal_only(q: Float[Array, "B A"], legal: Bool[Array, "B A"] | None) -> Float[Array, "B A"]:
    """Values or logits of actions, with −∞ for those that are not legal."""
    return q if legal is None else jnp.where(legal, q, -jnp.inf)


def any_action(key: PRNGKeyArray, num: int, num_actions: int, legal: Bool[Array, "B A"] | None) -> Int[Array, " B"]:
    """Draws evenly from what is legal."""
    return jax.random.categorical(key, legal_only(jnp.zeros((num, num_actions)), legal))


def features(
    spec: envs.Box | envs.Discrete,
    units: tuple[int, ...],
    s: Array,
    *,
    convolve: bool = True,
    w_init: nn.initializers.Initializer | None = None,
    activation: Callable[[Array], Array] = jax.nn.relu,
) -> Array:
    """A table for a number, convolutions for an image, a plain network for the rest: [N, ...] to [N, units[-1]]."""
    x, sizes = encoded(spec, units[0], s, convolve=convolve), units[isinstance(spec, envs.Discrete) :]
    return nn.nets.MLP(sizes, w_init=w_init, activation=activation, activate_final=True)(x) if sizes else x


def encoded(spec: envs.Discrete | envs.Box, size: int, s: Array, *, convolve: bool = True) -> Float[Array, "N D"]:
    """What comes before the first layer: a row of a table for a number, what convolutions make of an image."""
    if isinstance(spec, envs.Discrete):
        return flat(nn.Embed(spec.num, size)(s))
    x = as_floats(spec, s)
    return convolved(x) if convolve and len(spec.shape) == 3 else flat(x)


def flat(x: Float[Array, "N ..."]) -> Float[Array, "N D"]:
    """Each of a batch as one row: of a number, a row of one."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def as_floats(spec: envs.Box, s: Array) -> Float[Array, "..."]:
    """Observations in 32 bits or more, as networks take them: integers of up to 16, such as pixels, from 0 to 1."""
    if jnp.issubdtype(s.dtype, jnp.floating):
        return s.astype(jnp.promote_types(s.dtype, jnp.float32))
    low, levels = np.asarray(spec.low), np.asarray(spec.high) - np.asarray(spec.low)
    few = levels < 1 << 16
    first, size = (
        np.where(few, x, other).astype(np.float32) for x, other in ((low, 0.0), (np.maximum(levels, 1), 1.0))
    )
    return (s.astype(jnp.float32) - first) / size


def check_world(system: str, config: Any, env: envs.Environment, num_players: int = 1) -> None:
    """Refuses a world that no agent of this system can learn in.

    Where players take turns, the best for one is the worst for the other: most systems are for one player.

    Raises:
      RunError: if there are more players, an action is an array of integers, or there is nothing to see.
    """
    require, seen, done = Requirements(system, config), env.observation_spec, env.action_spec
    players, note = ("one player", "; muzero plays it") if num_players == 1 else (f"up to {num_players} players", "")
    note = f" for {env.num_players}, whose rewards are those of the player who moves{note}"
    require(env.num_players <= num_players, "env", f"an environment for {players}", note)
    is_one = done.shape == () or np.issubdtype(done.dtype, np.floating)
    note = f" with {done}: let a wrapper number its combinations"
    require(is_one, "env", "an environment whose actions are one choice or real numbers", note)
    note = f" with {seen}: where there is nothing to see, let it be envs.Box((1,), 0, 0)"
    require(0 not in seen.shape, "env", "an environment whose observations have numbers", note)


def need_discrete(system: str, config: Any, env: envs.Environment) -> None:
    """A value for each action takes actions that can be counted."""
    spec = env.action_spec
    note = f" with {spec}; continuous actions are for actor_critic, d4pg, mpo, muzero, sac, td3"
    Requirements(system, config)(isinstance(spec, envs.Discrete), "env", "an environment with discrete actions", note)


def batch_gradient(loss_fn: Callable[..., tuple[Array, PyTree]], each: bool = False) -> Callable[..., Any]:
    """`jax.value_and_grad(loss_fn, has_aux=True)`, of the mean over a batch of which each device has a part.

    What is random in a loss is drawn with a key for each example, so that it does not depend on the devices.

    Args:
      loss_fn: `loss_fn(params, batch, *shared) -> (loss, metrics)`, means over the part `[B, ...]` that it is given.
      each: whether `metrics` is not a mean, but of each example, `[B, ...]`.

    Returns:
      A function of the same arguments that returns `((loss, metrics), gradient)`.
    """

    def part(shared: PyTree, batch: PyTree, axis_name: str | None) -> tuple[PyTree, PyTree]:
        params, rest = shared
        # Each device differentiates by its own copy, so that the mean below is the only one.
        own = params if axis_name is None else vary_like(params, batch)
        (loss, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(own, batch, *rest)
        means, apart = ((loss, (), grads), metrics) if each else ((loss, metrics, grads), ())
        return device_mean(means, axis_name), apart

    def gradient(params: PyTree, batch: PyTree, *shared: PyTree) -> tuple[tuple[Array, PyTree], PyTree]:
        (loss, metrics, grads), apart = over_devices(part)((params, shared), batch)
        return (loss, apart if each else metrics), grads

    return gradient


# ---------------------------------------------------------------- experience, n steps at a time


class Transition(NamedTuple):
    """What n steps came to, in RLax's names; leading axes are added by the caller."""

    s_tm1: Array
    a_tm1: Array
    r_t: Array  # discounted sum of the n rewards, or of as many as the episode had left
    discount_t: Array  # product of the n discounts: 0 where s_t is terminal; a time-out keeps its bootstrap
    s_t: Array  # the state that the sum ends with, never of the next episode
    legal_t: Array | None = None  # which actions are legal in s_t; None if all are
    legal_tm1: Array | None = None  # which were in s_tm1


class Outputs(NamedTuple):
    """What networks of action values say of transitions: values, logits of atoms or quantiles of each action."""

    tm1: Float[Array, "B A K"]  # the online network of s_tm1
    t: Float[Array, "B A L"]  # the target network of s_t
    select: Float[Array, "B A M"]  # what chooses the next action
    levels: Float[Array, "B K"] | None = None  # of the quantiles `tm1`; None for even ones
    before: Float[Array, "B A N"] | None = None  # the target network of s_tm1, where its policy counts


class Recent(NamedTuple):
    """The last n steps of each environment, `[n, num_envs, ...]`, not yet a transition."""

    s_tm1: Array
    a_tm1: Array
    step: envs.Step
    legal_tm1: Array | None = None


def n_step(recent: Recent, discount: float) -> Transition:
    """Adds up the rewards since the oldest step, up to the end of its episode.

    R = r₁ + γ r₂ + … + γⁿ⁻¹ rₙ, discounted by γⁿ from s_n on; after m < n steps if the episode was over by then.
    """
    step = recent.step
    r_t, discount_t, s_t = step.reward[0], discount * (1.0 - step.terminated[0]), step.observation[0]
    legal_t = None if step.legal_actions is None else step.legal_actions[0]
    going_on = ~step.last[0]
    for i in range(1, step.reward.shape[0]):
        r_t = r_t + jnp.where(going_on, discount_t * step.reward[i], 0.0)
        s_t = jnp.where(going_on.reshape(-1, *[1] * (s_t.ndim - 1)), step.observation[i], s_t)
        if legal_t is not None and step.legal_actions is not None:
            legal_t = jnp.where(going_on[:, None], step.legal_actions[i], legal_t)
        discount_t = jnp.where(going_on, discount_t * discount * (1.0 - step.terminated[i]), discount_t)
        going_on &= ~step.last[i]
    legal_tm1 = None if recent.legal_tm1 is None else recent.legal_tm1[0]
    return Transition(recent.s_tm1[0], recent.a_tm1[0], r_t, discount_t, s_t, legal_t, legal_tm1)


Replay = UniformReplay | PrioritisedReplay


def blank(
    env: envs.Batch, key: PRNGKeyArray, env_state: envs.Running, replay: Replay, n: int, discount: float
) -> tuple[Recent, Any]:
    """Nothing experienced yet: n empty steps of each environment, and an empty replay."""
    spec = env.action_spec
    a = jnp.zeros((env.num_envs, *spec.shape), spec.dtype)
    step = jax.eval_shape(lambda e: env.step(key, e, a)[1], env_state)
    newest = Recent(env.observe(env_state), a, step, legal_now(env, env_state))
    recent = jax.tree.map(lambda x: jnp.zeros((n, *x.shape), x.dtype), newest)
    items = jax.eval_shape(lambda recent: n_step(recent, discount), recent)
    return recent, replay.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), items))


def legal_now(env: envs.Batch, env_state: envs.Running) -> Bool[Array, "B A"] | None:
    """Which actions are legal; None if all are."""
    return env.legal_actions(env_state) if env.env.has_illegal_actions else None


def go_on(
    env: envs.Batch, replay: Replay, discount: float, key: PRNGKeyArray, state: S, s_tm1: Array, a_tm1: Array
) -> S:
    """Takes a step in every environment, puts it in place of the oldest, and keeps what the last n came to."""
    a_tm1 = a_tm1.astype(env.action_spec.dtype)
    env_state, step = env.step(key, state.env, a_tm1)
    newest = Recent(s_tm1, a_tm1, step, legal_now(env, state.env))
    recent = jax.tree.map(lambda old, new: jnp.concatenate([old[1:], new[None]]), state.recent, newest)
    kept = replay.add(state.replay, n_step(recent, discount))
    return state._replace(env=env_state, recent=recent, replay=kept)


def warm_up(explore: Callable[[S, PRNGKeyArray], S], state: S, key: PRNGKeyArray, n: int, num_steps: int) -> S:
    """Explores for `num_steps` steps, after n whose transitions, of steps that never were, are forgotten."""
    key_fill, key = jax.random.split(key)
    go_on = lambda state, key: (explore(state, key), None)
    filled, _ = jax.lax.scan(go_on, state, jax.random.split(key_fill, n))
    return jax.lax.scan(go_on, filled._replace(replay=state.replay), jax.random.split(key, num_steps))[0]


def episode_metrics(running: envs.Running, num_steps: int = 1) -> dict[str, Array]:
    """What the last episodes came to, as a mean over environments, and how many steps of environments were taken.

    Args:
      running: the environments.
      num_steps: steps of each environment in one of the system.
    """
    return {
        "episode_return": jnp.mean(running.last_return),
        "episode_length": jnp.mean(running.last_length.astype(jnp.float32)),
        "env_steps": jnp.float32(num_steps * running.last_return.size),
    }


def batches(replay: UniformReplay, kept: Any, key: PRNGKeyArray, num: int, batch_size: int) -> Transition:
    """Draws `num` batches from replay, `[num, batch_size, ...]`."""
    items = replay.sample(kept, key, num * batch_size).items
    return jax.tree.map(lambda x: x.reshape(num, batch_size, *x.shape[1:]), items)


def check_replay(require: Requirements, config: Any) -> None:
    """Refuses what no system that learns from replay can do."""
    require.numbers("num_envs", "updates", "replay_size", "batch_size", "n_step", "units", low=1)
    require.numbers("learning_rate", above=0)
    require.numbers("discount", low=0, high=1)
    require(bool(config.units), "units", "one number or more")
    require(config.replay_size <= 2**30, "replay_size", "at most 2³⁰")
    require(config.warmup >= config.num_envs, "warmup", f"at least num_envs = {config.num_envs}")
    require(config.replay_size >= config.warmup, "replay_size", f"at least warmup = {config.warmup}")
