"""What an environment is: a value with `reset`, `step` and `observe`, all pure, one environment a call."""

import abc
import functools
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from renga._core.ranges import check_range, known
from renga._core.values import static, value
from renga._core.varying import vary_like
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


def _with_key(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method; where it fails, and its key is none, the error says so."""

    @functools.wraps(method)
    def with_key(self: Any, *args: Any, **kwargs: Any) -> Any:
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

    return with_key


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
            setattr(cls, name, _with_key(vars(cls)[name]))

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


def check_action(env: Environment, action: Any, *batch: int) -> None:
    """Checks that an action has the shape and the kind of the environment's and, if it is known, is one that it has.

    Args:
      env: the environment.
      action: one action, or one for each of a batch.
      batch: the size of the batch.

    Raises:
      ValueError: naming the environment, the actions that it has and the one that came.
    """
    spec, function, shape = env.action_spec, f"{type(env).__name__}.step", (*batch, *env.action_spec.shape)
    if jnp.shape(action) != shape:
        raise ValueError(f"{function}: action must have shape {shape}, got {jnp.shape(action)}")
    dtype = jax.dtypes.result_type(action)
    if not _is_real(dtype) or (isinstance(spec, Discrete) and jnp.issubdtype(dtype, jnp.floating)):
        kind = "an integer" if isinstance(spec, Discrete) else "a number"
        raise ValueError(f"{function}: action must be {kind}, got {dtype}")
    if isinstance(spec, Discrete):
        check_range(function, low=0, high=spec.num - 1, action=action)
        return
    x = known(action)
    if x is None:
        return
    # As the environment reads them: a bound that is no float32 is the nearest.
    x, low, high = (np.asarray(y, spec.dtype) for y in (x, spec.low, spec.high))
    if not np.all((x >= low) & (x <= high)):
        raise ValueError(f"{function}: action must be in [{spec.low}, {spec.high}], got {x.tolist()}")


def _is_real(dtype: Any) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating))


def checked_observation(env: Environment, method: str, observation: Any) -> Any:
    """The observation, which must have the shape of the environment's spec, and be of its kind.

    Raises:
      ValueError: naming the environment, its method, what the spec says and what came.
    """
    spec = env.observation_spec
    shape, dtype = getattr(observation, "shape", None), getattr(observation, "dtype", None)
    if dtype is None and isinstance(observation, bool | int | float):
        shape, dtype = (), jnp.asarray(observation).dtype
    kind = next((k for k in (jnp.floating, jnp.integer) if jnp.issubdtype(spec.dtype, k)), jnp.bool_)
    if dtype is None or shape != spec.shape or not jnp.issubdtype(dtype, kind):
        came = type(observation).__name__ if dtype is None else f"{dtype} of shape {shape}"
        raise ValueError(
            f"{type(env).__name__}.{method}: observation must be an array of {np.dtype(spec.dtype).name} of shape "
            f"{spec.shape}, as observation_spec says, got {came}"
        )
    return observation


def checked_step(env: Environment, step: Step) -> Step:
    """What a step of an environment gave; its reward is a float, and the rest is what it must be.

    Raises:
      ValueError: naming the environment, the field, what it must be and what came.
    """
    function = f"{type(env).__name__}.step"
    for field in ("reward", "terminated", "truncated"):
        x = getattr(step, field)
        shape, dtype = jnp.shape(x), jax.dtypes.result_type(x)
        if shape or not (_is_real(dtype) if field == "reward" else jnp.issubdtype(dtype, jnp.bool_)):
            wanted = "a number" if field == "reward" else "a bool"
            raise ValueError(f"{function}: {field} must be {wanted} of shape (), got {dtype} of shape {shape}")
    checked_observation(env, "step", step.observation)
    reward = jnp.asarray(step.reward)
    if not jnp.issubdtype(reward.dtype, jnp.floating):
        reward = as_float(reward)
    return step._replace(reward=reward, terminated=jnp.asarray(step.terminated), truncated=jnp.asarray(step.truncated))


class Running(NamedTuple):
    """An environment's state, and what its episodes have come to.

    Attributes:
      state: the state of the episode at hand.
      episode_return: sum of its rewards so far.
      episode_length: its steps so far.
      last_return: sum of the rewards of the last finished episode; 0 before there was one.
      last_length: its steps.
      num_episodes: how many episodes have finished.

    Example:
      >>> env = AutoReset(chain_level(length=1, right=1))  # an episode of one step
      >>> state, step = jax.jit(env.step)(jax.random.key(0), env.reset(jax.random.key(1)), 1)
      >>> int(state.num_episodes), float(state.last_return), float(state.episode_return)
      (1, 1.0, 0.0)
    """

    state: PyTree
    episode_return: Float[Array, "*B"]
    episode_length: Int[Array, "*B"]
    last_return: Float[Array, "*B"]
    last_length: Int[Array, "*B"]
    num_episodes: Int[Array, "*B"]


def _start(state: PyTree, *shape: int) -> Running:
    """No episode has come to anything yet."""
    real, whole = jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.int32)
    return Running(state, *vary_like((real, whole, real, whole, whole), state))


def _count(running: Running, following: PyTree, step: Step) -> Running:
    """Goes on counting; `following` is the state that is gone on from, of the next episode where one is over."""
    last = step.last
    total, length = running.episode_return + step.reward, running.episode_length + 1
    return Running(
        state=following,
        episode_return=jnp.where(last, 0.0, total),
        episode_length=jnp.where(last, 0, length),
        last_return=jnp.where(last, total, running.last_return),
        last_length=jnp.where(last, length, running.last_length),
        num_episodes=running.num_episodes + last,
    )


@value
class AutoReset(Environment[Running]):
    """An environment whose next episode begins by itself, and that keeps count.

    `step` returns the observation that the episode ended with; `observe` of the new state is the next one's first.

    Example:
      >>> from renga import envs
      >>> env = AutoReset(envs.Catch(rows=3))
      >>> state, env_step = env.reset(jax.random.key(0)), jax.jit(env.step)
      >>> for i in range(2):  # the ball falls two rows
      ...     state, step = env_step(jax.random.key(i), state, 1)
      >>> bool(step.terminated), int(state.num_episodes), int(state.last_length), int(state.episode_length)
      (True, 1, 2, 0)
    """

    env: Environment

    @property
    def observation_spec(self) -> Discrete | Box:
        """That of the environment."""
        return self.env.observation_spec

    @property
    def action_spec(self) -> Discrete | Box:
        """That of the environment."""
        return self.env.action_spec

    def reset(self, key: PRNGKeyArray) -> Running:
        """Begins the first episode."""
        if isinstance(self.env, HostEnvironment):
            return _alone(_start(self.env.begin(key, 1), 1))
        return _start(self.env.reset(key))

    def step(self, key: PRNGKeyArray, state: Running, action: Any) -> tuple[Running, Step]:
        """Takes an action, and begins the next episode where this one is over."""
        if isinstance(self.env, HostEnvironment):
            check_action(self, action)
            several = jax.tree.map(lambda x: x[None], (state, jnp.asarray(action)))
            return _alone(Batch(self.env, 1).step(key, *several))
        key_step, key_reset = jax.random.split(key)
        inner, step = self.env.step(key_step, state.state, action)
        step = checked_step(self.env, step)
        if self.env.has_illegal_actions and step.legal_actions is None:
            step = step._replace(legal_actions=self.env.legal_actions(inner))
        if self.env.num_players > 1 and step.to_play is None:
            step = step._replace(to_play=self.env.to_play(inner))
        fresh = self.env.reset(key_reset)
        following = jax.tree.map(lambda new, old: jnp.where(step.last, new, old), fresh, inner)
        return _count(state, following, step), step

    def observe(self, state: Running) -> Any:
        """What the agent sees."""
        return checked_observation(self.env, "observe", self.env.observe(state.state))

    def legal_actions(self, state: Running) -> Bool[Array, " A"]:
        """Which actions may be taken."""
        return self.env.legal_actions(state.state)

    def to_play(self, state: Running) -> Int[Array, ""]:
        """Which player moves next."""
        return self.env.to_play(state.state)

    @property
    def has_illegal_actions(self) -> bool:
        """That of the environment."""
        return self.env.has_illegal_actions

    @property
    def num_players(self) -> int:
        """That of the environment."""
        return self.env.num_players


def _alone(tree: Any) -> Any:
    """The only one of a batch."""
    return jax.tree.map(lambda x: x[0], tree)


@value
class Batch:
    """Several copies of an environment that step together and reset by themselves.

    Every array has a leading axis `[num_envs]`. A world that runs on the host, as `Gymnasium` does, steps all of them
    in one call; all others step under `jax.vmap`.

    Example:
      >>> from renga import envs
      >>> env = Batch(envs.Catch(), num_envs=4)
      >>> state = env.reset(jax.random.key(0))
      >>> env.observe(state).shape
      (4, 10, 5)
      >>> state, step = jax.jit(env.step)(jax.random.key(1), state, jnp.ones(4, jnp.int32))
      >>> step.reward.shape
      (4,)
    """

    env: Environment
    num_envs: int = static()

    @property
    def observation_spec(self) -> Discrete | Box:
        """That of one environment."""
        return self.env.observation_spec

    @property
    def action_spec(self) -> Discrete | Box:
        """That of one environment."""
        return self.env.action_spec

    @_with_key
    def reset(self, key: PRNGKeyArray) -> Running:
        """Begins an episode in each."""
        if isinstance(self.env, HostEnvironment):
            return _start(self.env.begin(key, self.num_envs), self.num_envs)
        return jax.vmap(AutoReset(self.env).reset)(jax.random.split(key, self.num_envs))

    @_with_key
    def step(self, key: PRNGKeyArray, state: Running, action: Any) -> tuple[Running, Step]:
        """Takes an action in each."""
        check_action(self.env, action, self.num_envs)
        if isinstance(self.env, HostEnvironment):
            following, step = self.env.go_on(state.state, action)
            return _count(state, following, step), step
        return jax.vmap(AutoReset(self.env).step)(jax.random.split(key, self.num_envs), state, action)

    def observe(self, state: Running) -> Any:
        """What each agent sees."""
        return jax.vmap(AutoReset(self.env).observe)(state)

    def legal_actions(self, state: Running) -> Bool[Array, "B A"]:
        """Which actions may be taken in each."""
        return jax.vmap(AutoReset(self.env).legal_actions)(state)

    def to_play(self, state: Running) -> Int[Array, " B"]:
        """Which player moves next in each."""
        return jax.vmap(AutoReset(self.env).to_play)(state)
