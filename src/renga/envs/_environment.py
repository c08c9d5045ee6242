"""What an environment is: a value with `reset`, `step` and `observe`, all pure, one environment a call."""

import abc
import functools
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from renga.envs._sketch import Picture
from renga.envs._specs import Box, Discrete

S = TypeVar("S")


class Step(NamedTuple):
    """What one step of an environment gives.

    An episode that ended has no future: its last value is 0. One that was cut by a time limit has one that nobody will
    see, and its value still counts: γ v(s_t). Both may be true at once; then the episode has ended.

    Attributes:
      observation: of the state reached, s_t, and never of the next episode's first.
      reward: r_t.
      terminated: whether the episode has ended.
      truncated: whether it was cut.
      legal_actions: which actions may be taken in the state reached; None if all may be, or the environment is to be
        asked. `AutoReset` and `Batch` tell it where not all may be.
      to_play: which player moves next in the state reached; None if there is one player, or the environment is to be
        asked. `AutoReset` and `Batch` tell it where there are more.

    Example:
      >>> step = Step(jnp.zeros(2), reward=jnp.float32(1.0), terminated=jnp.bool_(False), truncated=jnp.bool_(True))
      >>> bool(step.last)
      True
    """

    observation: PyTree
    reward: Float[Array, "*B"]
    terminated: Bool[Array, "*B"]
    truncated: Bool[Array, "*B"]
    legal_actions: Bool[Array, "*B A"] | None = None
    to_play: Int[Array, "*B"] | None = None

    @property
    def last(self) -> Bool[Array, "*B"]:
        """Whether nothing follows in this episode: it ended, or was cut."""
        return self.terminated | self.truncated


class Symmetries(NamedTuple):
    """Ways to turn a world around that change nothing about it, as permutations; the first leaves all in its place.

    Attributes:
      observation: which number of a flat observation comes where, [S, size].
      action: which action each becomes, [S, A].

    Example:
      >>> turns = Game2048().symmetries  # 8 ways to turn and mirror a board of 4 · 4 · 18 numbers
      >>> turns.observation.shape, turns.action[1].tolist()  # a quarter turn: left becomes down, up becomes left, …
      ((8, 288), [3, 0, 1, 2])
    """

    observation: np.ndarray
    action: np.ndarray


def with_key(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method; where it fails, and its key is none, the error says so."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except (TypeError, ValueError) as error:
            key = args[0] if args else kwargs.get("key")
            shape, dtype = getattr(key, "shape", ()), getattr(key, "dtype", object)
            is_key = jnp.issubdtype(dtype, jax.dtypes.prng_key) or (shape == (2,) and dtype == jnp.uint32)
            if is_key or "PRNG key" not in str(error):  # as JAX calls it
                raise
            who, came = f"{type(self).__name__}.{method.__name__}", f"{dtype} of shape {shape}" if shape else repr(key)
            raise TypeError(f"{who}: key must be a random key such as jax.random.key(0), got {came}") from error

    return call


class Environment(abc.ABC, Generic[S]):
    """An environment: the rules, not the state.

    It is a value: a frozen dataclass and a pytree whose leaves are what a level is made of, so that a batch of levels
    is one environment with a leading axis, and `jax.vmap` steps them all. Its methods are pure and take one environment
    each.

    To write one, give the two specs and the three methods:

      * `reset(key) -> state` begins an episode;
      * `step(key, state, action) -> (state, Step)` goes on; the caller does not step past the end of an episode;
      * `observe(state) -> observation` is what the agent sees in a state.

    `Batch` and `AutoReset` refuse a step that is not what the specs say: an observation of another shape or kind, a
    reward that is no number, `terminated` or `truncated` that is no bool.

    An action out of range, or of another kind, is refused where it is known. Under `jit` some action of the environment
    is taken: a number of an action that is not there is clipped, and so are the elements of a `Box`. NaN there stays
    NaN.

    Games for several players also say how many there are (`num_players`) and whose turn it is (`to_play`); rewards then
    are those of the player who moved. Where not all actions are legal, `legal_actions` says which are.

    A world in which chance answers each action may list what it may do, so that a search can weigh it (`num_outcomes`).
    An action then leads to an afterstate, and chance to the next state; `step` does both:

        step(key, s, a) = resolve(s′, c),   s′ = afterstate(s, a),   c ~ outcomes(s′)

    `observe` takes afterstates as well.

    Example:
      >>> class Count(Environment):  # counts the ones among three actions
      ...     observation_spec, action_spec = Box((2,), 0, 3, np.int32), Discrete(2)
      ...     def reset(self, key):
      ...         return jnp.zeros(2, jnp.int32)  # steps, ones
      ...     def step(self, key, state, action):
      ...         state = state + jnp.array([1, action])
      ...         return state, Step(state, 1.0 * state[1], state[0] == 3, jnp.bool_(False))
      ...     def observe(self, state):
      ...         return state
      >>> env = Count()
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(0)), 1)
      >>> num_actions(env), step.observation, bool(step.last)
      (2, Array([1, 1], dtype=int32), False)
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Lets `reset` and `step` say what is wrong where they fail for want of a random key."""
        super().__init_subclass__(**kwargs)
        for name in {"reset", "step"} & set(vars(cls)):
            setattr(cls, name, with_key(vars(cls)[name]))

    @property
    @abc.abstractmethod
    def observation_spec(self) -> Discrete | Box:
        """What observations are."""

    @property
    @abc.abstractmethod
    def action_spec(self) -> Discrete | Box:
        """What actions are."""

    @abc.abstractmethod
    def reset(self, key: PRNGKeyArray) -> S:
        """Begins an episode."""

    @abc.abstractmethod
    def step(self, key: PRNGKeyArray, state: S, action: Any) -> tuple[S, Step]:
        """Takes an action."""

    @abc.abstractmethod
    def observe(self, state: S) -> Any:
        """What the agent sees."""

    def legal_actions(self, state: S) -> Bool[Array, " A"]:
        """Which actions may be taken: all, if the environment does not say."""
        return jnp.ones(num_actions(self), bool)

    def to_play(self, state: S) -> Int[Array, ""]:
        """Which player moves next: always 0 with one player."""
        return jnp.int32(0)

    @property
    def has_illegal_actions(self) -> bool:
        """Whether some actions may be illegal in some states: whether there is a `legal_actions` of its own."""
        return type(self).legal_actions is not Environment.legal_actions

    @property
    def num_players(self) -> int:
        """How many players there are: one, if the environment does not say."""
        return 1

    @property
    def symmetries(self) -> Symmetries | None:
        """Ways to turn it around; None if the environment does not say."""
        return None

    @property
    def num_outcomes(self) -> int:
        """C, how many outcomes of chance an action may have; 0 if the environment does not list them."""
        return 0

    def afterstate(self, state: S, action: Any) -> tuple[PyTree, Float[Array, ""]]:
        """What an action leads to before chance answers, and the reward that is expected of it.

        Raises:
          NotImplementedError: if the environment does not list the outcomes of chance; also of the next two.
        """
        raise NotImplementedError(f"{type(self).__name__}.afterstate: this environment lists no outcomes of chance")

    def outcomes(self, afterstate: PyTree) -> Float[Array, " C"]:
        """The probability of each outcome of chance."""
        raise NotImplementedError(f"{type(self).__name__}.outcomes: this environment lists no outcomes of chance")

    def resolve(self, afterstate: PyTree, outcome: Any) -> tuple[S, Step]:
        """What an outcome of chance makes of an afterstate; the reward is that of the action and of chance."""
        raise NotImplementedError(f"{type(self).__name__}.resolve: this environment lists no outcomes of chance")

    def draw(self, state: S) -> Picture:
        """Draws one state, for people to look at.

        Raises:
          NotImplementedError: if the environment has no pictures.
        """
        raise NotImplementedError(f"{type(self).__name__}.draw: this environment has no pictures")


class HostEnvironment(Environment[S]):
    """An environment that runs on the host, and not in JAX.

    Several copies step together in one call and begin new episodes by themselves: `Batch`, `AutoReset` and
    `episode_returns` use these calls in place of `jax.vmap`. In their states every array has a leading axis.
    `Gymnasium` is one.

    Example:
      >>> issubclass(Gymnasium, HostEnvironment), issubclass(CartPole, HostEnvironment)
      (True, False)
    """

    @abc.abstractmethod
    def begin(self, key: PRNGKeyArray, num_envs: int) -> S:
        """Begins an episode in each of `num_envs` copies."""

    @abc.abstractmethod
    def go_on(self, state: S, action: Any) -> tuple[S, Step]:
        """Takes an action in each, `[num_envs, ...]`, and begins the next episode where one is over."""

    @abc.abstractmethod
    def end(self, state: S) -> None:
        """Lets go of what the state stands for on the host."""


def num_actions(env: Environment) -> int:
    """Returns how many actions an environment has.

    Raises:
      ValueError: if an action is not one discrete choice.

    Example:
      >>> from renga import envs
      >>> envs.num_actions(envs.Catch())
      3
    """
    spec = env.action_spec
    if not isinstance(spec, Discrete) or spec.shape:
        raise ValueError(f"num_actions: {type(env).__name__} must have discrete actions of shape (), got {spec}")
    return spec.num


def as_float(x: Any) -> Float[Array, "*B"]:
    """The number in float32, of whatever type an environment's constants are."""
    return jnp.asarray(x, jnp.float32)
