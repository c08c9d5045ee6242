"""Episodes: played whole, to see how good a policy is."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from renga._core.varying import vary_like
from renga.envs._checks import checked_step
from renga.envs._environment import Environment, HostEnvironment

Act = Callable[..., tuple[Array, PyTree]]


class Episodes(NamedTuple):
    """What episodes came to.

    Attributes:
      returns: the undiscounted return of each.
      lengths: its steps.
      finished: whether it came to its end, or was cut by the environment, within the steps that were played.
    """

    returns: Float[Array, " N"]
    lengths: Int[Array, " N"]
    finished: Bool[Array, " N"]


def episode_returns(
    env: Environment,
    act: Act,
    key: PRNGKeyArray,
    num_episodes: int,
    *,
    memory: PyTree = (),
    max_steps: int = 10_000,
    legal_actions: bool = False,
) -> Float[Array, " N"]:
    """The undiscounted returns of `play_episodes`, whose arguments it takes.

    Example:
      >>> from renga import envs
      >>> stay = lambda key, board, memory: (jnp.ones(len(board), jnp.int32), memory)
      >>> sorted(set(episode_returns(envs.Catch(), stay, jax.random.key(0), 64).tolist()))
      [-1.0, 1.0]
    """
    options = {"memory": memory, "max_steps": max_steps, "legal_actions": legal_actions}
    return play_episodes(env, act, key, num_episodes, **options).returns


def play_episodes(
    env: Environment,
    act: Act,
    key: PRNGKeyArray,
    num_episodes: int,
    *,
    memory: PyTree = (),
    max_steps: int = 10_000,
    legal_actions: bool = False,
) -> Episodes:
    """Plays episodes side by side, each from its beginning to its end.

    No episode is left out for being long, as it would be if the first N to finish were taken.

    Args:
      env: the environment.
      act: the policy: `act(key, observation, memory) -> (action, memory)` for a batch of observations.
      key: a key.
      num_episodes: N.
      memory: what the policy remembers at the beginning, arrays `[N, ...]`; nothing by default.
      max_steps: steps after which an episode counts as it stands.
      legal_actions: whether the policy is told which actions are legal, `act(key, observation, memory, legal)`.

    Example:
      >>> from renga import envs
      >>> def follow(key, board, memory):  # go where the ball is
      ...     ball, paddle = jnp.argmax(jnp.max(board[:, :-1], axis=1), axis=1), jnp.argmax(board[:, -1], axis=1)
      ...     return 1 + jnp.sign(ball - paddle), memory
      >>> played = play_episodes(envs.Catch(), follow, jax.random.key(0), 2)
      >>> played.returns.tolist(), played.lengths.tolist(), played.finished.tolist()
      ([1.0, 1.0], [9, 9], [True, True])
    """
    key_reset, key = jax.random.split(key)
    on_host = isinstance(env, HostEnvironment)
    if on_host:
        state = env.begin(key_reset, num_episodes)
        go_on = lambda key, state, action: env.go_on(state, action)
    else:
        state = jax.vmap(env.reset)(jax.random.split(key_reset, num_episodes))

        def one(*args):
            state, outcome = env.step(*args)
            return state, checked_step(env, outcome)

        go_on = lambda key, *args: jax.vmap(one)(jax.random.split(key, num_episodes), *args)
    playing, none = jnp.ones(num_episodes, bool), jnp.zeros(num_episodes)

    def unfinished(carry):
        time, _, playing, *_ = carry
        return jnp.any(playing) & (time < max_steps)

    def step(carry):
        time, key, playing, returns, lengths, state, memory = carry
        key, key_act, key_env = jax.random.split(key, 3)
        legal = (jax.vmap(env.legal_actions)(state),) if legal_actions else ()
        action, memory = act(key_act, jax.vmap(env.observe)(state), memory, *legal)
        state, outcome = go_on(key_env, state, action)
        returns = returns + jnp.where(playing, outcome.reward, 0.0)
        return time + 1, key, playing & ~outcome.last, returns, lengths + playing, state, memory

    carry = vary_like((jnp.int32(0), key, playing, none, none.astype(jnp.int32), state, memory), key)
    _, _, playing, returns, lengths, state, _ = jax.lax.while_loop(unfinished, step, carry)
    if on_host:
        env.end(state)
    return Episodes(returns, lengths, ~playing)
