"""Stretches of steps in replay, for networks with a memory: what is kept, and what is learned from it.

Each step is kept with what was remembered before it. A stretch is `burn_in` steps that bring this up to date with
today's parameters, then `trace_length` that are learned, and one whose values the last of them are bootstrapped from.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs
from renga.data import PrioritisedSequenceReplay
from renga.systems._q_losses import errors
from renga.systems._reinforcement import Outputs, Recent, legal_now, n_step

S = TypeVar("S", bound=Any)  # the state of a system, with `env`, `replay`, `memory` and `first`


class Moment(NamedTuple):
    """One step, as it is kept."""

    s_tm1: Array
    first_tm1: Array  # whether s_tm1 is the first of its episode: what was remembered is forgotten
    a_tm1: Array
    step: envs.Step  # its observation is that before a new episode begins
    memory_tm1: PyTree  # what was remembered before s_tm1 was seen
    legal_tm1: Array | None = None


def length(config: Any) -> int:
    """Steps of a stretch."""
    return config.burn_in + config.trace_length + 1


def blank(
    env: envs.Batch, key: PRNGKeyArray, env_state: envs.Running, replay: PrioritisedSequenceReplay, memory: PyTree
) -> Any:
    """An empty replay."""

    def first_moment(env_state: envs.Running) -> Moment:
        a = jnp.zeros(env.num_envs, env.action_spec.dtype)
        step = env.step(key, env_state, a)[1]
        ones = jnp.ones(env.num_envs, bool)
        return Moment(env.observe(env_state), ones, a, step, memory, legal_now(env, env_state))

    moment = jax.eval_shape(first_moment, env_state)
    return replay.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), moment), env.num_envs)


def go_on(
    env: envs.Batch,
    replay: PrioritisedSequenceReplay,
    key: PRNGKeyArray,
    state: S,
    s_tm1: Array,
    a_tm1: Array,
    memory: PyTree,
) -> S:
    """Takes a step in every environment and keeps it; `memory` is what is remembered after s_tm1."""
    a_tm1 = a_tm1.astype(env.action_spec.dtype)
    env_state, step = env.step(key, state.env, a_tm1)
    moment = Moment(s_tm1, state.first, a_tm1, step, state.memory, legal_now(env, state.env))
    kept = replay.add(state.replay, jax.tree.map(lambda x: x[None], moment), step.last[None])
    return state._replace(env=env_state, replay=kept, memory=memory, first=step.last)


def warm_up(explore: Callable[[S, PRNGKeyArray], S], state: S, key: PRNGKeyArray, num_steps: int) -> S:
    """Explores for `num_steps` steps."""
    go_on = lambda state, key: (explore(state, key), None)
    return jax.lax.scan(go_on, state, jax.random.split(key, num_steps))[0]


def losses(
    agent: Any, online: PyTree, target: PyTree, items: Moment, key: PRNGKeyArray
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Returns the mean loss of each stretch, and its priority η maxₜ |δₜ| + (1 − η) meanₜ |δₜ|.

    Args:
      agent: networks of DQN.
      online: parameters that are learned.
      target: parameters of targets.
      items: stretches `[B, L, ...]`.
      key: for noise, and for the levels of implicit quantiles.

    References:
      Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement Learning", 2019, section 2.3.
    """
    config = agent.config
    steps = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), items)  # [L, B, ...]
    begin = jax.tree.map(lambda x: x[0], steps.memory_tm1)
    before, rest = (jax.tree.map(lambda x, cut=cut: x[cut], steps) for cut in _parts(config.burn_in))
    T, B = config.trace_length, rest.first_tm1.shape[1]
    learned = jax.tree.map(lambda x: x[:T], rest)
    # A terminated step is followed by nothing, one that was cut by the state that it was cut in.
    cut = learned.step.truncated & ~learned.step.terminated

    def of(params: PyTree, key: PRNGKeyArray, num_levels: int) -> tuple[Array, Array, Array | None]:
        """Outputs of the T states of a trace, and of the T that follow them; and their levels."""
        memory = begin
        if config.burn_in:
            memory = agent.unroll(params, before.s_tm1, before.first_tm1, begin, None, None)[1]
            memory = jax.lax.stop_gradient(jax.tree.map(lambda x: x[-1], memory))
        noise, levels = agent.noise(key), agent.levels(key, (T + 1, B, num_levels))
        out, memories = agent.unroll(params, rest.s_tm1, rest.first_tm1, memory, noise, levels)

        def ends() -> Array:
            flat = lambda x: x[:T].reshape(1, T * B, *x.shape[2:])
            after = jax.tree.map(lambda x: flat(x)[0], memories)
            levels_after = None if levels is None else flat(levels[1:])
            first = jnp.zeros((1, T * B), bool)
            ended = agent.unroll(params, flat(learned.step.observation), first, after, noise, levels_after)[0]
            return jnp.where(cut[..., None, None], ended.reshape(out[1:].shape), out[1:])

        # Few stretches have a cut, so this is rarely run.
        return out[:T], jax.lax.cond(jnp.any(cut), ends, lambda: out[1:]), levels

    key_online, key_target = jax.random.split(key)
    out_tm1, select, levels = of(online, key_online, config.num_levels)
    bar_tm1, bar_t, _ = of(target, key_target, config.num_target_levels)
    select = jax.lax.stop_gradient(select) if config.double else bar_t

    def windows(x: Array) -> Array:
        """The n steps from each of the T: `[T, B, ...]` to `[n, T·B, ...]`, with zeros behind the last."""
        n, pad = config.n_step, [(0, config.n_step - 1)] + [(0, 0)] * (x.ndim - 1)
        padded = jnp.pad(x, pad)
        return jnp.stack([padded[i : i + T] for i in range(n)]).reshape(n, T * B, *x.shape[2:])

    # Returns go as far as the stretch does: its end is a cut. What they are bootstrapped from are outputs of networks.
    outputs = jnp.concatenate([select, bar_t], axis=-1)
    step = learned.step._replace(observation=outputs, truncated=learned.step.truncated.at[-1].set(True))
    recent = Recent(learned.first_tm1, learned.a_tm1, step, learned.legal_tm1)
    batch = n_step(jax.tree.map(windows, recent), config.discount)
    flat = lambda x: x[:T].reshape(T * B, *x.shape[2:])
    select, bar_t = jnp.split(batch.s_t, [select.shape[-1]], axis=-1)
    before_tm1 = flat(bar_tm1) if config.munchausen else None
    said = Outputs(flat(out_tm1), bar_t, select, None if levels is None else flat(levels), before_tm1)
    loss, error = (x.reshape(T, B) for x in errors(config, agent.atoms, said, batch))
    return jnp.mean(loss, axis=0), config.peak * jnp.max(error, axis=0) + (1.0 - config.peak) * jnp.mean(error, axis=0)


def _parts(burn_in: int) -> tuple[slice, slice]:
    return slice(0, burn_in), slice(burn_in, None)
