"""The trained agent, as an object and as a file: shared by all systems whose result acts."""

import dataclasses
import functools
import importlib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from renga import envs, nn
from renga._core.ranges import check_range, known
from renga.loop import RunDirectory, RunError, SettingError, config_of, measures_of, restore

SomeAgent = TypeVar("SomeAgent", bound="TrainedAgent")


class Player(NamedTuple):
    """How a system's policy acts.

    Attributes:
      act: `act(params, key, s, legal, memory) -> (a, memory)` for a batch; without a key the best action, with one an
        action drawn from the policy. `legal` is None where all actions are.
      memory: `memory(num) -> what is remembered when an episode begins`; () for a policy that remembers nothing.
    """

    act: Callable[[PyTree, PRNGKeyArray | None, Array, Array | None, PyTree], tuple[Array, PyTree]]
    memory: Callable[[int], PyTree] = lambda num: ()


MOST_STEPS = 10_000  # of an episode in an evaluation


def play(
    env: envs.Environment, player: Player, params: PyTree, key: PRNGKeyArray, num_episodes: int, greedy: bool = True
) -> tuple[Float[Array, " N"], Bool[Array, " N"]]:
    """Plays episodes with the best action, or with what the policy draws.

    Returns:
      What each came to, and whether it came to its end: one of more than `MOST_STEPS` steps counts as it stands.
    """

    def act(key: PRNGKeyArray, s: Array, memory: PyTree, legal: Array | None = None) -> tuple[Array, PyTree]:
        return player.act(params, None if greedy else key, s, legal, memory)

    return envs.episode_returns(
        env,
        act,
        key,
        num_episodes,
        memory=player.memory(num_episodes),
        max_steps=MOST_STEPS,
        legal_actions=env.has_illegal_actions,
        finished=True,
    )


def returns_of(
    make_player: Callable[[Any, envs.Environment], Player],
    config: Any,
    params: PyTree,
    kinds: tuple[bool, ...] = (True,),
    episodes: int = 100,
    seed: int | None = None,
) -> tuple[Float[Array, " N"], ...]:
    """Plays episodes for each kind: with the best action where it is true, else with what the policy draws.

    Raises:
      RunError: if there are no episodes, or the seed has more than 32 bits.
    """
    for name, value, low, high in (("episodes", episodes, 1, 1_000_000), ("seed", seed or 0, 0, 2**32 - 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
            raise SettingError(f"evaluate: {name} must be an integer in [{low}, {high}], got {value!r}")
    try:
        playing = _playing(make_player, config, kinds, episodes)
    except TypeError:  # a config with a list in it is no key
        playing = _playing.__wrapped__(make_player, config, kinds, episodes)
    played = playing(params, jax.random.key(20_201_207 if seed is None else seed))
    cut = int(sum(jnp.sum(~finished) for _, finished in played))
    if cut:
        warnings.warn(
            f"evaluate: {cut} of {len(kinds) * episodes} episodes of {config.env} did not end within {MOST_STEPS:,} "
            "steps; they count with what they had come to by then",
            RuntimeWarning,
            stacklevel=3,
        )
    return tuple(returns for returns, _ in played)


def summary(name: str, returns: Float[Array, " N"]) -> dict[str, float]:
    """Mean, least and interquartile mean of returns.

    Example:
      >>> summary("return", jnp.arange(4.0))["return, least of 4"]
      0.0
    """
    middle = {title: x for title, x in measures_of({name: np.asarray(returns).tolist()}).items() if "(IQM" in title}
    return {name: float(returns.mean()), f"{name}, least of {len(returns)}": float(returns.min()), **middle}


@functools.lru_cache(maxsize=4)
def _playing(
    make_player: Callable[[Any, envs.Environment], Player], config: Any, kinds: tuple[bool, ...], episodes: int
) -> Any:
    """The compiled program of `returns_of`: one for all members of a population."""
    env = envs.make(config.env)
    player = make_player(config, env)
    return jax.jit(lambda params, key: tuple(play(env, player, params, key, episodes, greedy) for greedy in kinds))


class TrainedAgent:
    """A trained agent. What a system's `Agent` says is how it acts, and which part of a state that takes.

    Args:
      config: the settings that it was trained with.
      params: what it learned.

    Example:
      >>> from renga import envs
      >>> from renga.systems import pqn
      >>> config = pqn.Config(env="catch", units=(4,))
      >>> params = pqn.network(config, envs.make("catch")).init(jax.random.key(0), jnp.zeros((1, 10, 5)))
      >>> agent = pqn.Agent(config, params)
      >>> agent
      Agent(system='pqn', env='catch', parameters=227)
      >>> agent.act(jnp.zeros((10, 5))) in (0, 1, 2)
      True
      >>> agent.act(jnp.zeros((7, 10, 5)), key=jax.random.key(1)).shape
      (7,)
    """

    has_policy: ClassVar[bool] = False  # whether what it draws with a key is what it has learned, and evaluated too

    @staticmethod
    def player(config: Any, env: envs.Environment) -> Player:
        """How it acts."""
        raise NotImplementedError

    @staticmethod
    def learned(config: Any, state: Any) -> PyTree:
        """What acting takes of the state of a run."""
        raise NotImplementedError

    @classmethod
    def load(cls: type[SomeAgent], path: str | os.PathLike[str]) -> SomeAgent:
        """Reads an agent from the directory of a run, or from a file that `renga export` or `Agent.save` wrote.

        Raises:
          RunError: if there is none.

        Example:
          >>> import tempfile
          >>> from renga import envs
          >>> from renga.systems import pqn
          >>> config, file = pqn.Config(env="catch", units=(4,)), tempfile.mkdtemp() + "/agent.safetensors"
          >>> params = pqn.network(config, envs.make("catch")).init(jax.random.key(0), jnp.zeros((1, 10, 5)))
          >>> pqn.Agent(config, params).save(file)
          >>> pqn.load(file).act(jnp.zeros((10, 5))) in (0, 1, 2)
          True
        """
        return cls(*read(path, cls.__module__, cls.learned))

    def __init__(self, config: Any, params: PyTree):
        self.config = config
        self.params = params
        self.env: envs.Environment = envs.make(config.env)
        self._player = self.player(config, self.env)
        self._act = jax.jit(self._player.act)

    def __repr__(self) -> str:
        return described(type(self).__module__, self.config, self.params, type(self).__name__)

    def act(
        self, observation: Any, legal: Any = None, memory: PyTree = None, *, key: PRNGKeyArray | None = None
    ) -> Any:
        """Chooses an action.

        Args:
          observation: of one state, or of a batch of them.
          legal: which actions are, [A] or [B, A]; None for all.
          memory: what the last call returned, for an agent that remembers; None when episodes begin.
          key: None for the best action; with a key it is drawn, as in training.

        Returns:
          The action: an int, or an array, [B, ...] for a batch. An agent that remembers returns (action, memory).

        Raises:
          ValueError: if a shape does not fit, or no action is legal.
          TypeError: if key is none.
        """
        check_key("Agent.act", key)
        single, s, legal = batch_of("Agent.act", self.env, observation, legal)
        fresh = self._player.memory(len(s))
        remembers = bool(jax.tree.leaves(fresh))
        memory = fresh if memory is None else _checked(memory, fresh)
        a, memory = self._act(self.params, key, s, legal, memory)
        spec = self.env.action_spec
        a = (a[0] if single else a).astype(spec.dtype)
        if single and isinstance(spec, envs.Discrete) and known(a) is not None:
            a = int(a)
        return (a, memory) if remembers else a

    def evaluate(self, *, episodes: int = 100, seed: int | None = None) -> dict[str, float]:
        """Plays episodes with the best action, and with `actor_critic` as many with actions drawn from the policy.

        Args:
          episodes: how many are played.
          seed: of the key that decides the episodes; by default one that training does not use.

        Returns:
          Measures of the returns by name, as `evaluate` of the system.

        Raises:
          RunError: if there are no episodes, or the seed has more than 32 bits.
        """
        return _evaluated(type(self), self.config, self.params, episodes, seed)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes settings and parameters to a safetensors file, which `load` reads."""
        write(path, type(self).__module__, self.config, self.params)


def functions_of(
    agent: type[SomeAgent],
) -> tuple[Callable[..., SomeAgent], Callable[..., None], Callable[..., dict[str, float]]]:
    """Makes `load`, `export` and `evaluate` of the system whose agent this is."""

    def export(config: Any, state: Any, path: str | os.PathLike[str]) -> None:
        """Writes the agent of a run's state to a safetensors file, which `load` reads."""
        agent(config, agent.learned(config, state)).save(path)

    def evaluate(config: Any, state: Any, *, episodes: int = 100, seed: int | None = None) -> dict[str, float]:
        """Plays episodes with the best action, and with `actor_critic` as many with actions drawn from the policy.

        The interquartile mean (IQM) is that of the middle half of the episodes, with its 95 % bootstrap interval
        (Agarwal et al. 2021).

        Args:
          config: the settings that it was trained with.
          state: what the run has come to.
          episodes: how many are played.
          seed: of the key that decides the episodes; by default one that training does not use.

        Returns:
          Measures of the returns by name.

        Raises:
          RunError: if there are no episodes, or the seed has more than 32 bits.
        """
        return _evaluated(agent, config, agent.learned(config, state), episodes, seed)

    return agent.load, export, evaluate


def _evaluated(
    agent: type[TrainedAgent], config: Any, params: PyTree, episodes: int, seed: int | None
) -> dict[str, float]:
    kinds = (True, False) if agent.has_policy else (True,)
    greedy, *drawn = returns_of(agent.player, config, params, kinds, episodes, seed)
    return {**summary("greedy return", greedy), **({"return of the policy": float(drawn[0].mean())} if drawn else {})}


def check_key(function: str, key: Any) -> None:
    """Refuses what is neither None nor one key, typed or of `jax.random.PRNGKey`."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if key is None or (typed and shape == ()) or (dtype == jnp.uint32 and len(shape or ()) == 1):
        return
    got = type(key).__name__ if dtype is None else f"{dtype} of shape {shape}"
    raise TypeError(f"{function}: key must be None, or one key such as jax.random.key(0), got {got}")


def _checked(memory: PyTree, fresh: PyTree) -> PyTree:
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    if not jax.tree.leaves(fresh) and jax.tree.leaves(memory):
        raise ValueError(f"Agent.act: memory must be None for an agent that remembers nothing, got {shapes(memory)}")
    if jax.tree.structure(memory) != jax.tree.structure(fresh) or shapes(memory) != shapes(fresh):
        raise ValueError(
            f"Agent.act: memory must be what the last call with {len(jax.tree.leaves(fresh)[0])} observations "
            f"returned, of shapes {shapes(fresh)}, got {shapes(memory)}"
        )
    return memory


def batch_of(
    function: str, env: envs.Environment, observation: Any, legal: Any = None
) -> tuple[bool, Array, Bool[Array, "B A"] | None]:
    """Whether one observation came, and a batch of them with what is legal in each.

    Raises:
      ValueError: if a shape does not fit, an observation is none of the environment's, or no action is legal.
    """
    spec = env.observation_spec
    observation = _numbers(function, "observation", observation)
    single = observation.shape == spec.shape
    if not single and observation.shape[1:] != spec.shape:
        raise ValueError(
            f"{function}: observation must have shape {spec.shape}, or that with a batch axis, got {observation.shape}"
        )
    if not single and not len(observation):
        raise ValueError(f"{function}: observation must be one or more, got an empty batch {observation.shape}")
    if not isinstance(spec, envs.Discrete) and jnp.issubdtype(spec.dtype, jnp.floating):
        check_range(function, finite=False, observation=observation)
    else:
        if jnp.issubdtype(observation.dtype, jnp.floating):
            raise ValueError(f"{function}: observation must be of integers, as {spec} says, got {observation.dtype}")
        limits = (0, spec.num - 1) if isinstance(spec, envs.Discrete) else _limits(spec.dtype)
        check_range(function, low=limits[0], high=limits[1], observation=observation)
    observation = observation.astype(spec.dtype)
    s = observation[None] if single else observation
    if legal is None:
        return single, s, None
    if not isinstance(env.action_spec, envs.Discrete):
        raise ValueError(f"{function}: legal must be None where actions are continuous")
    legal = _numbers(function, "legal", legal)
    legal = legal[None] if legal.ndim == 1 else legal
    shape = (len(s), envs.num_actions(env))
    if legal.shape != shape:
        raise ValueError(f"{function}: legal must have shape {shape}, one flag for each action, got {legal.shape}")
    flags = known(legal)
    if flags is not None and not np.isin(flags, (0, 1)).all():
        raise ValueError(f"{function}: legal must have flags, 0 or 1 for each action, got {flags.tolist()}")
    if flags is not None and not flags.any(-1).all():
        raise ValueError(f"{function}: legal must allow an action in every state, got none in some")
    return single, s, legal.astype(bool)


def _numbers(function: str, name: str, x: Any) -> Array:
    """An argument as an array of real numbers.

    Raises:
      TypeError: if it is none.
    """
    try:
        array = jnp.asarray(x)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{function}: {name} must be an array of numbers, got {type(x).__name__}") from error
    if array.dtype == bool or jnp.issubdtype(array.dtype, jnp.integer) or jnp.issubdtype(array.dtype, jnp.floating):
        return array
    raise TypeError(f"{function}: {name} must be an array of numbers, got {array.dtype}")


def _limits(dtype: Any) -> tuple[int, int]:
    """The least and the largest number of a type."""
    return (0, 1) if jnp.issubdtype(dtype, jnp.bool_) else (int(jnp.iinfo(dtype).min), int(jnp.iinfo(dtype).max))


def described(system: str, config: Any, params: PyTree, name: str) -> str:
    """How a trained object is printed: its system, what it was trained on, and how many numbers it learned.

    Example:
      >>> from renga.systems import pqn
      >>> described("renga.systems.pqn", pqn.Config(env="catch"), {"w": jnp.zeros((2, 3))}, "Agent")
      "Agent(system='pqn', env='catch', parameters=6)"
    """
    place = next((field for field in ("env", "data", "task", "worlds") if hasattr(config, field)), None)
    trained_on = f", {place}={getattr(config, place)!r}" if place else ""
    count = sum(int(np.size(x)) for x in jax.tree.leaves(params))
    return f"{name}(system={_short(system)!r}{trained_on}, parameters={count:,})"


# ---------------------------------------------------------------- files


def write(path: str | os.PathLike[str], system: str, config: Any, params: PyTree) -> None:
    """Writes the settings and parameters of an agent of a system to a safetensors file.

    Raises:
      RunError: if it cannot be written.
    """
    write_tree(path, {"system": _short(system), **dataclasses.asdict(config)}, "config", {"params": params})


def write_tree(path: str | os.PathLike[str], said: dict[str, Any], name: str, tree: dict[str, Any]) -> None:
    """Writes a tree and what is said of it, as JSON under a name, to a safetensors file.

    Raises:
      RunError: if it cannot be written.
    """
    text = np.frombuffer(json.dumps(said).encode(), np.uint8)
    try:
        nn.save(path, {name: jnp.asarray(text), **tree})
    except OSError as error:
        raise RunError(f"save: cannot write {path}: {error.strerror}" if error.strerror else str(error)) from error


def read(
    path: str | os.PathLike[str],
    system: str,
    learned: Callable[[Any, Any], PyTree],
    shapes: Callable[[Any], PyTree] | None = None,
) -> tuple[Any, PyTree]:
    """Reads settings and parameters from the directory of a run, or from a file that `write` wrote.

    Args:
      path: the directory or the file.
      system: the name of the system's module.
      learned: `learned(config, state)` returns the parameters of a run's state.
      shapes: `shapes(config)` returns shapes like those of the parameters; by default from the system's `init`.

    Raises:
      RunError: if there is none, it is damaged, or it is one of another system.
    """
    path, module = Path(path), importlib.import_module(system)
    if path.is_dir():
        config, _, state = restore(RunDirectory(path), module)
        return config, learned(config, state)
    return unpacked(path, system, contents(path), shapes or functools.partial(_shapes, module, learned))


def contents(path: Path, function: str = "load") -> dict[str, Any]:
    """All that a file of an agent holds.

    Raises:
      RunError: if it cannot be read.
    """
    if not path.is_file():
        raise RunError(f"{function}: {path} must be the directory of a run, or a file that `renga export` wrote")
    try:
        return nn.load(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{function}: {path} cannot be read: {str(error).removeprefix('load: ')}") from error


def said_in(path: Path, text: Any, function: str = "load") -> dict[str, Any]:
    """What `write_tree` was to say.

    Raises:
      RunError: if it is no such text.
    """
    try:
        said = json.loads(np.asarray(text, np.uint8).tobytes())
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError(f"{function}: {path} is damaged: its config is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise RunError(f"{function}: {path} is damaged: its config must be an object, got {type(said).__name__}")
    return said


def unpacked(
    path: Path, system: str, found: dict[str, Any], shapes: Callable[[Any], PyTree], function: str = "load"
) -> tuple[Any, PyTree]:
    """Settings and parameters in what a file holds.

    Raises:
      RunError: if these are not of the system, or do not fit each other.
    """
    if set(found) != {"config", "params"}:
        holds = ", ".join(sorted(found)) or "nothing"
        raise RunError(f"{function}: {path} must hold 'config' and 'params', it holds {holds}")
    saved = said_in(path, found["config"], function)
    name = saved.pop("system", _short(system))  # files of MuZero's first agents do not say
    if name != _short(system):
        raise RunError(f"{function}: {path} must be of the system {_short(system)}, got one of {name}")
    try:
        config = config_of(importlib.import_module(system), saved)
        expected = shapes(config)
    except (RunError, ValueError) as error:
        raise RunError(f"{function}: the config in {path} cannot be: {error}") from error
    check_shapes(path, expected, found["params"], function)
    return config, found["params"]


def check_shapes(path: Path, expected: PyTree, found: PyTree, function: str = "load") -> None:
    """Refuses parameters that have not the names and shapes that are expected.

    Raises:
      RunError: listing what differs.
    """
    wanted, given = (
        {
            jax.tree_util.keystr(at, simple=True, separator="/"): jnp.shape(x)
            for at, x in jax.tree.leaves_with_path(tree)
        }
        for tree in (expected, found)
    )
    problems = [f"{name} is missing" for name in wanted if name not in given]
    problems += [f"{name} is none of them" for name in given if name not in wanted]
    problems += [
        f"{name} must have the shape {list(shape)}, got {list(given[name])}"
        for name, shape in wanted.items()
        if given.get(name, shape) != shape
    ]
    if problems:
        listed = "\n  ".join(problems[:20])
        raise RunError(f"{function}: the parameters in {path} do not fit its config:\n  {listed}")


def _shapes(module: ModuleType, learned: Callable[[Any, Any], PyTree], config: Any) -> PyTree:
    """Shapes like those of the parameters of a system, from its `init`."""
    init, _ = module.make(config)
    return jax.eval_shape(lambda key: learned(config, init(key)), jax.random.key(0))


def _short(module: str) -> str:
    """The name of a system, from that of its module or of one inside of it."""
    return module.removeprefix("renga.systems.").partition(".")[0]
