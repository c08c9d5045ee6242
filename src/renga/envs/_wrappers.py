"""Wrappers: environments that change a little about the one inside."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from renga._core.ranges import check_integer, check_range, known
from renga._core.values import static, value
from renga._core.varying import vary_like
from renga.envs._batch import AutoReset
from renga.envs._checks import check_action
from renga.envs._environment import Environment, HostEnvironment, Step, Symmetries, as_float
from renga.envs._sketch import Picture
from renga.envs._specs import Box, Discrete, Number


class Wrapped(NamedTuple):
    """The state of an environment in a wrapper, and what the wrapper remembers.

    Attributes:
      state: that of the environment inside.
      memory: steps taken, frames seen or the last action.

    Example:
      >>> env = TimeLimit(Catch(), max_steps=5)
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(1)), 2)  # to the right
      >>> int(state.state.paddle), int(state.memory)  # of Catch, and the steps taken
      (3, 1)
    """

    state: Any
    memory: Any


@value
class _Wrapper(Environment[Any]):
    """Hands everything on to the environment inside."""

    env: Environment

    def __post_init__(self) -> None:
        """Checks what is wrapped."""
        name, inner = type(self).__name__, type(self.env).__name__
        if isinstance(self.env, HostEnvironment):
            raise TypeError(
                f"{name}: env must be in JAX, got {inner}, which runs on the host: wrap it there, in a function "
                "that makes it (MODULE:NAME)"
            )
        if isinstance(self.env, AutoReset):
            raise TypeError(f"{name}: env must not begin episodes by itself: put AutoReset around {name}, got {inner}")

    def _inner(self, state: Any) -> Any:
        return state.state if isinstance(state, Wrapped) else state

    @property
    def observation_spec(self) -> Discrete | Box:
        """That of the environment."""
        return self.env.observation_spec

    @property
    def action_spec(self) -> Discrete | Box:
        """That of the environment."""
        return self.env.action_spec

    def reset(self, key: PRNGKeyArray) -> Any:
        """Begins an episode."""
        return self.env.reset(key)

    def observe(self, state: Any) -> Any:
        """What the agent sees."""
        return self.env.observe(self._inner(state))

    def legal_actions(self, state: Any) -> Bool[Array, " A"]:
        """Which actions may be taken."""
        return self.env.legal_actions(self._inner(state))

    def to_play(self, state: Any) -> Int[Array, ""]:
        """Which player moves next."""
        return self.env.to_play(self._inner(state))

    @property
    def has_illegal_actions(self) -> bool:
        """That of the environment."""
        return self.env.has_illegal_actions

    @property
    def num_players(self) -> int:
        """That of the environment."""
        return self.env.num_players

    @property
    def symmetries(self) -> Symmetries | None:
        """Those of the environment."""
        return self.env.symmetries

    def draw(self, state: Any, **options: Any) -> Picture:
        """Draws it as the environment does."""
        return self.env.draw(self._inner(state), **options)

    def _need_free_actions(self) -> None:
        """An action that is taken again may not be legal, and may be another player's."""
        if self.has_illegal_actions or self.num_players > 1:
            raise TypeError(
                f"{type(self).__name__}: env must have one player whose actions are always legal, got "
                f"{type(self.env).__name__}"
            )


@value
class TimeLimit(_Wrapper):
    """Cuts episodes after a number of steps: `truncated`, not `terminated`.

    Args:
      env: the environment.
      max_steps: after how many steps; a leaf.

    Raises:
      ValueError: if that is not at least 1.

    Example:
      >>> from renga import envs
      >>> env = TimeLimit(envs.Catch(), max_steps=1)
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(1)), 1)
      >>> bool(step.terminated), bool(step.truncated)
      (False, True)
    """

    max_steps: int | Int[Array, ""]

    def __post_init__(self) -> None:
        """Checks what is wrapped."""
        super().__post_init__()
        check_integer("TimeLimit", low=1, max_steps=self.max_steps)

    def reset(self, key: PRNGKeyArray) -> Wrapped:
        """Begins an episode."""
        return vary_like(Wrapped(self.env.reset(key), jnp.int32(0)), self, key)

    def step(self, key: PRNGKeyArray, state: Wrapped, action: Any) -> tuple[Wrapped, Step]:
        """Takes an action."""
        inner, step = self.env.step(key, state.state, action)
        time = state.memory + 1
        return Wrapped(inner, time), step._replace(truncated=step.truncated | (time >= self.max_steps))


@value
class ClipReward(_Wrapper):
    """Keeps rewards in an interval: r ← min(max(r, low), high).

    Args:
      env: the environment.
      low: the least reward; a leaf.
      high: the largest; a leaf.

    Raises:
      ValueError: if low is above high, or one is NaN.

    Example:
      >>> from renga import envs
      >>> env = ClipReward(envs.Pendulum(), -1.0, 1.0)
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(0)), jnp.array([2.0]))
      >>> float(step.reward)
      -1.0
    """

    low: Number = -1.0
    high: Number = 1.0

    def __post_init__(self) -> None:
        """Checks what is wrapped."""
        super().__post_init__()
        low, high = known(self.low), known(self.high)
        if low is not None and high is not None and not np.all(low <= high):
            raise ValueError(f"ClipReward: low must be at most high, got {self.low} and {self.high}")

    def step(self, key: PRNGKeyArray, state: Any, action: Any) -> tuple[Any, Step]:
        """Takes an action."""
        state, step = self.env.step(key, state, action)
        return state, step._replace(reward=as_float(jnp.clip(step.reward, self.low, self.high)))


@value
class ScaleReward(_Wrapper):
    """Multiplies rewards: r ← scale · r.

    Args:
      env: the environment.
      scale: by what; a leaf.

    Example:
      >>> from renga import envs
      >>> env = ScaleReward(envs.CartPole(), 0.1)
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(1)), 1)
      >>> round(float(step.reward), 6)
      0.1
    """

    scale: Number

    def step(self, key: PRNGKeyArray, state: Any, action: Any) -> tuple[Any, Step]:
        """Takes an action."""
        state, step = self.env.step(key, state, action)
        return state, step._replace(reward=as_float(self.scale * step.reward))


@value
class StickyActions(_Wrapper):
    """Takes the action of the step before again with a probability, whatever the agent wants now.

    The first action of an episode is always its own.

    Args:
      env: the environment.
      probability: of taking the last action again; a leaf.

    Raises:
      ValueError: if it is no probability.
      TypeError: if the environment has illegal actions or several players.

    Example:
      >>> from renga import envs
      >>> env = StickyActions(envs.Catch(), 1.0)
      >>> state = env.reset(jax.random.key(0))
      >>> for action in (2, 0):  # to the right; 0 is not taken
      ...     state, step = env.step(jax.random.key(1), state, action)
      >>> int(state.state.paddle)
      4

    References:
      Machado et al., "Revisiting the Arcade Learning Environment", 2018, section 5.
    """

    probability: Number = 0.25

    def __post_init__(self) -> None:
        """Checks what is wrapped."""
        super().__post_init__()
        check_range("StickyActions", low=0.0, high=1.0, probability=self.probability)
        self._need_free_actions()

    def reset(self, key: PRNGKeyArray) -> Wrapped:
        """Begins an episode."""
        spec = self.action_spec
        nothing = jnp.zeros(spec.shape, spec.dtype), jnp.bool_(False)  # the last action, and whether there was one
        return vary_like(Wrapped(self.env.reset(key), nothing), self, key)

    def step(self, key: PRNGKeyArray, state: Wrapped, action: Any) -> tuple[Wrapped, Step]:
        """Takes an action, or the last one again."""
        check_action(self, action)
        key_sticks, key = jax.random.split(key)
        last, exists = state.memory
        sticks = exists & (jax.random.uniform(key_sticks, (), jnp.float32) < self.probability)
        action = jnp.where(sticks, last, jnp.asarray(action, last.dtype))
        inner, step = self.env.step(key, state.state, action)
        return Wrapped(inner, (action, jnp.ones_like(exists))), step


@value
class ActionRepeat(_Wrapper):
    """Takes each action several times, and adds up the rewards; an episode that is over is not gone on with.

    Args:
      env: the environment.
      num_repeats: how often each action is taken.

    Raises:
      ValueError: if that is not at least 1.
      TypeError: if the environment has illegal actions or several players.

    Example:
      >>> from renga import envs
      >>> env = ActionRepeat(envs.CartPole(max_steps=5), 3)
      >>> state = env.reset(jax.random.key(0))
      >>> for action in (0, 1):
      ...     state, step = env.step(jax.random.key(1), state, action)
      >>> float(step.reward), bool(step.truncated)
      (2.0, True)
    """

    num_repeats: int = static()

    def __post_init__(self) -> None:
        """Checks what is wrapped."""
        super().__post_init__()
        check_integer("ActionRepeat", low=1, num_repeats=self.num_repeats)
        self._need_free_actions()

    def step(self, key: PRNGKeyArray, state: Any, action: Any) -> tuple[Any, Step]:
        """Takes an action several times."""
        check_action(self, action)
        keys = jax.random.split(key, self.num_repeats)
        first = vary_like(self.env.step(keys[0], state, action), state, key)

        def again(before: tuple[Any, Step], key: PRNGKeyArray) -> tuple[tuple[Any, Step], None]:
            state, step = before
            after, following = self.env.step(key, state, action)
            following = following._replace(reward=step.reward + following.reward)
            return jax.tree.map(lambda new, old: jnp.where(step.last, old, new), (after, following), before), None

        return jax.lax.scan(again, first, keys[1:])[0]


@value
class FrameStack(_Wrapper):
    """Shows the last few observations together, the oldest first.

    They are put side by side along the last axis. Numbers and boards without channels, `[H, W]`, get one. An episode
    begins with its first observation several times.

    Args:
      env: the environment.
      num_frames: how many.

    Raises:
      ValueError: if that is not at least 1.
      TypeError: if observations are `Discrete`.

    Example:
      >>> from renga import envs
      >>> FrameStack(envs.Catch(), 4).observation_spec.shape
      (10, 5, 4)
      >>> FrameStack(envs.Breakout(), 4).observation_spec.shape, FrameStack(envs.CartPole(), 4).observation_spec.shape
      ((10, 10, 16), (16,))
    """

    num_frames: int = static()

    def __post_init__(self) -> None:
        """Checks what is wrapped."""
        super().__post_init__()
        check_integer("FrameStack", low=1, num_frames=self.num_frames)
        if not isinstance(self.env.observation_spec, Box):
            raise TypeError(f"FrameStack: env must have observations in a Box, got {self.env.observation_spec}")

    @property
    def observation_spec(self) -> Box:
        """Several of the environment's."""
        spec: Any = self.env.observation_spec
        several = lambda bound: self._join([np.broadcast_to(np.asarray(bound), spec.shape)] * self.num_frames, np)
        low, high = several(spec.low), several(spec.high)
        return Box(low.shape, low, high, spec.dtype)

    @property
    def symmetries(self) -> None:
        """Not known."""
        return None

    def _join(self, frames: Any, numpy: Any) -> Any:
        """Frames to one observation."""
        return numpy.concatenate([x[..., None] if x.ndim in (0, 2) else x for x in frames], axis=-1)

    def reset(self, key: PRNGKeyArray) -> Wrapped:
        """Begins an episode."""
        state = self.env.reset(key)
        return Wrapped(state, jnp.stack([self.env.observe(state)] * self.num_frames))

    def step(self, key: PRNGKeyArray, state: Wrapped, action: Any) -> tuple[Wrapped, Step]:
        """Takes an action."""
        inner, step = self.env.step(key, state.state, action)
        frames = jnp.concatenate([state.memory[1:], step.observation[None]])
        state = Wrapped(inner, frames)
        return state, step._replace(observation=self.observe(state))

    def observe(self, state: Wrapped) -> Any:
        """The last few observations."""
        return self._join(list(state.memory), jnp)
