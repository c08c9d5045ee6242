"""Environments of Gymnasium (Towers et al. 2024), which run on the host, through this package's interface."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jaxtyping import Array, Int, PRNGKeyArray

from renga._core.values import static, value
from renga.envs._checks import check_action
from renga.envs._environment import HostEnvironment, Step
from renga.envs._host import WORLDS, Form, Played
from renga.envs._import import import_package
from renga.envs._sketch import Picture
from renga.envs._specs import Box, Discrete

Vectorization = Literal["sync", "async", "own"]


class GymnasiumState(NamedTuple):
    """Which world on the host a state is of; `[num_envs, ...]` in a batch.

    Attributes:
      world: its number, another one each time.
      clock: how often it was called before.
      observation: what is seen.
    """

    world: Int[Array, "*B"]
    clock: Int[Array, "*B"]
    observation: Any


class _Loaded(NamedTuple):
    observation: Discrete | Box
    action: Discrete | Box
    form: Form


@value
class Gymnasium(HostEnvironment[GymnasiumState]):
    """An environment of Gymnasium: any that is registered, or that a function of yours makes.

    It runs in Python on the host, and is stepped from inside compiled programs by callbacks. `Batch`, `AutoReset` and
    `episode_returns` step all their copies in one call of Gymnasium's vector environment, which begins new episodes by
    itself; `step.observation` is what the episode ended with. `jax.vmap` of its methods is right, and slow.

    A world on the host cannot be saved. A state has its number and how often it was called; a state that is not its
    world's latest, as after a resume or when it is stepped a second time, cuts the episodes at hand in its next step,
    without a reward, and begins new ones: `truncated` is True there. A warning says so once. Chance is the world's own,
    seeded by the key of `reset`; the key of `step` is not used. It belongs to one process. Worlds are closed when 64
    newer ones were used.

    Actions and observations have 32 bits at most. Numbers of actions and observations begin at 0.

    Args:
      name: its id in Gymnasium, such as "LunarLander-v3" or "ALE/Pong-v5"; only a label if there is a `factory`.
      options: keyword arguments for it, as pairs of name and value.
      factory: makes one of your own: `factory(**options)`.
      vectorization: how copies are stepped: "sync", one after the other; "async", each in a process of its own; "own",
        by the vector environment that it comes with. None is "own" for ALE, whose pictures then are `[84, 84, 4]` with
        the frames last, and "sync" for others.

    Raises:
      ImportError: if gymnasium, or a package that the environment needs, is not installed.
      ValueError: if Gymnasium has none of that id, or does not know the options.
      TypeError: if actions or observations are neither `Discrete` nor arrays, or an option cannot be hashed.

    Example:
      >>> from renga import envs
      >>> env = envs.Batch(Gymnasium("CartPole-v1"), num_envs=2)
      >>> state = env.reset(jax.random.key(0))
      >>> state, step = jax.jit(env.step)(jax.random.key(1), state, jnp.ones(2, jnp.int32))
      >>> step.reward, step.observation.shape
      (Array([1., 1.], dtype=float32), (2, 4))
    """

    name: str = static()
    options: tuple[tuple[str, Any], ...] = static(default=())
    factory: Callable[..., Any] | None = static(default=None)
    vectorization: Vectorization | None = static(default=None)

    def __post_init__(self) -> None:
        """Finds the environment."""
        if self.vectorization not in (None, "sync", "async", "own"):
            raise ValueError(f"Gymnasium: vectorization must be sync, async or own, got {self.vectorization!r}")
        try:
            hash(self.options)
        except TypeError as error:
            raise TypeError(f"Gymnasium: options must be hashable, got {dict(self.options)}") from error
        _load(self)

    @property
    def observation_spec(self) -> Discrete | Box:
        """Its observations."""
        return _load(self).observation

    @property
    def action_spec(self) -> Discrete | Box:
        """Its actions."""
        return _load(self).action

    def begin(self, key: PRNGKeyArray, num_envs: int) -> GymnasiumState:
        """Begins an episode in each of several that step together."""
        form = _load(self).form
        like = (
            jax.ShapeDtypeStruct((num_envs,), jnp.int32),
            jax.ShapeDtypeStruct((num_envs, *form.shape), form.dtype),
        )
        start = lambda seed: WORLDS.begin(functools.partial(_vector, self), form, num_envs, seed)
        world, observation = io_callback(start, like, jax.random.bits(key, (), jnp.uint32))
        return GymnasiumState(world, jnp.zeros_like(world), observation)

    def go_on(self, state: GymnasiumState, action: Any) -> tuple[GymnasiumState, Step]:
        """Takes an action in each, and begins the next episode where one is over."""
        spec, form = self.action_spec, _load(self).form
        if isinstance(spec, Discrete):
            action = jnp.clip(jnp.asarray(action, jnp.int32), 0, spec.num - 1)
        else:
            low, high = (jnp.asarray(x, spec.dtype) for x in (spec.low, spec.high))
            action = jnp.asarray(action, spec.dtype)
            bounds = (jnp.broadcast_to(x, action.shape) for x in (low, high))
            action = jnp.clip(action, *bounds)
        num_envs = state.world.shape[0]
        seen = jax.ShapeDtypeStruct((num_envs, *form.shape), form.dtype)
        call = lambda *args: WORLDS.step(functools.partial(_vector, self), form, *args)
        # The clock that a call takes is the one that the call before it gave: they come in their order.
        which = jnp.stack([state.world, state.clock], axis=1)
        facts = jax.ShapeDtypeStruct((num_envs, 3), jnp.int32)
        out: Played = io_callback(call, Played(facts, seen, seen), which, action)
        clock, bits, ends = out.facts.T
        reward = jax.lax.bitcast_convert_type(bits, jnp.float32)
        lost = (ends & 4 > 0).reshape(-1, *[1] * len(form.shape))
        final = jnp.where(lost, state.observation, out.final)
        return GymnasiumState(state.world, clock, out.seen), Step(final, reward, ends & 1 > 0, ends & 2 > 0)

    def end(self, state: GymnasiumState) -> None:
        """Closes the world of a state."""
        io_callback(lambda world, clock: WORLDS.end(world), None, state.world, state.clock)

    def reset(self, key: PRNGKeyArray) -> GymnasiumState:
        """Begins an episode."""
        return jax.tree.map(lambda x: x[0], self.begin(key, 1))

    def step(self, key: PRNGKeyArray, state: GymnasiumState, action: Any) -> tuple[GymnasiumState, Step]:
        """Takes an action."""
        del key
        check_action(self, action)
        several = jax.tree.map(lambda x: x[None], state)
        after, step = jax.tree.map(lambda x: x[0], self.go_on(several, jnp.asarray(action)[None]))
        return after._replace(observation=step.observation), step

    def observe(self, state: GymnasiumState) -> Any:
        """What the agent sees."""
        return state.observation

    def draw(self, state: GymnasiumState) -> Picture:
        """What Gymnasium shows: only of the latest state of one environment, made with `render_mode="rgb_array"`.

        Raises:
          ValueError: if it shows nothing.
        """
        picture = WORLDS.draw(int(np.asarray(state.world).flat[0]), int(np.asarray(state.clock).flat[0]))
        if picture is None:
            raise ValueError(
                'Gymnasium.draw: the world must be made with render_mode="rgb_array", and the state must be its latest'
            )
        return np.asarray(picture, np.uint8)


def _import(name: str) -> Any:
    """Gymnasium, with the environments of the package that a name needs."""
    gymnasium = import_package("gymnasium")
    if name.startswith("ALE/"):
        gymnasium.register_envs(import_package("ale_py", "ale-py"))
    return gymnasium


_SAME_STEP = (
    "The vector environment that it comes with must begin the next episode in the step that ends one "
    '(AutoresetMode.SAME_STEP); vectorization="sync" does for every environment'
)


def _explain(name: str, error: Exception, advice: str = "") -> Exception:
    """An error of Gymnasium's as one line of ours."""
    line = ". ".join(text for text in (" ".join(str(error).split()), advice) if text)
    kind = ImportError if type(error).__name__ == "DependencyNotInstalled" else ValueError
    return kind(f"Gymnasium: cannot make {name!r}: {line}")


def _one(env: Gymnasium) -> Any:
    """One environment of Gymnasium's."""
    gymnasium = _import(env.name)
    if env.factory is not None:
        made = env.factory(**dict(env.options))
        if not isinstance(made, gymnasium.Env):
            raise TypeError(f"Gymnasium: factory must make a gymnasium.Env, got {type(made).__name__}")
        return made
    try:
        return gymnasium.make(env.name, **dict(env.options))
    except (gymnasium.error.Error, TypeError, ModuleNotFoundError) as error:
        raise _explain(env.name, error) from error


def _how(env: Gymnasium) -> Vectorization:
    if env.vectorization is not None:
        return env.vectorization
    return "own" if env.factory is None and env.name.startswith("ALE/") else "sync"


def _vector(env: Gymnasium, num_envs: int) -> Any:
    """Several of them, which begin new episodes by themselves in the step that ends one."""
    gymnasium = _import(env.name)
    same_step = gymnasium.vector.AutoresetMode.SAME_STEP
    if _how(env) == "own":
        try:
            made = gymnasium.make_vec(
                env.name, num_envs, "vector_entry_point", autoreset_mode=same_step, **dict(env.options)
            )
        except (gymnasium.error.Error, TypeError) as error:
            raise _explain(env.name, error, _SAME_STEP if "autoreset_mode" in str(error) else "") from error
        mode = made.metadata.get("autoreset_mode", same_step)
        if mode != same_step:
            made.close()
            raise ValueError(f"Gymnasium: cannot use {env.name!r}: its autoreset_mode is {mode}. {_SAME_STEP}")
        return made
    one = functools.partial(_one, env)
    if _how(env) == "sync":
        return gymnasium.vector.SyncVectorEnv([one] * num_envs, autoreset_mode=same_step)
    # A process that is forked from one with threads, as JAX's has, may hang.
    return gymnasium.vector.AsyncVectorEnv([one] * num_envs, autoreset_mode=same_step, context="spawn")


@functools.cache
def _load(env: Gymnasium) -> _Loaded:
    """What its spaces say."""
    frames_first = _how(env) == "own" and env.name.startswith("ALE/")
    if _how(env) == "own":
        made = _vector(env, 1)
        seen, done = made.single_observation_space, made.single_action_space
    else:
        made = _one(env)
        seen, done = made.observation_space, made.action_space
    made.close()
    observation, action = _spec(env, "observations", seen, frames_first), _spec(env, "actions", done, False)
    start = int(done.start) if isinstance(action, Discrete) else None
    first = int(seen.start) if isinstance(observation, Discrete) else 0
    form = Form(observation.shape, np.dtype(observation.dtype), start, done.dtype, first, frames_first)
    return _Loaded(observation, action, form)


def _spec(env: Gymnasium, what: str, space: Any, frames_first: bool) -> Discrete | Box:
    """The spec of a space, in 32 bits."""
    spaces = import_package("gymnasium").spaces
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.MultiBinary):
        return Box(tuple(space.shape), 0, 1, np.dtype(np.int8))
    if not isinstance(space, spaces.Box):
        raise TypeError(
            f"Gymnasium: {what} of {env.name} must be Discrete, Box or MultiBinary, got {space}: a function of "
            "yours can put a wrapper of Gymnasium's around it that makes them so"
        )
    narrow = {"float64": "float32", "int64": "int32", "uint64": "uint32", "bool": "int8"}
    dtype = np.dtype(narrow.get(np.dtype(space.dtype).name, np.dtype(space.dtype).name))
    low, high = (np.moveaxis(x, 0, -1) if frames_first else x for x in (space.low, space.high))
    if dtype.kind in "iu":  # numbers that do not fit are refused when they come
        low, high = (np.clip(x, np.iinfo(dtype).min, np.iinfo(dtype).max) for x in (low, high))
    return Box(low.shape, low, high, dtype)
