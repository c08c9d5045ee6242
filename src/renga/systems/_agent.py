"""The trained agent: shared by all systems whose result acts."""

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs
from renga._core.ranges import known
from renga.loop import SettingError, measures_of
from renga.systems._files import described, read, write
from renga.systems._inputs import batch_of, check_key, checked_memory

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
) -> envs.Episodes:
    """Plays episodes with the best action, or with what the policy draws.

    One of more than `MOST_STEPS` steps counts as it stands.
    """

    def act(key: PRNGKeyArray, s: Array, memory: PyTree, legal: Array | None = None) -> tuple[Array, PyTree]:
        return player.act(params, None if greedy else key, s, legal, memory)

    return envs.play_episodes(
        env,
        act,
        key,
        num_episodes,
        memory=player.memory(num_episodes),
        max_steps=MOST_STEPS,
        legal_actions=env.has_illegal_actions,
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
    cut = int(sum(jnp.sum(~x.finished) for x in played))
    if cut:
        warnings.warn(
            f"evaluate: {cut} of {len(kinds) * episodes} episodes of {config.env} did not end within {MOST_STEPS:,} "
            "steps; they count with what they had come to by then",
            RuntimeWarning,
            stacklevel=3,
        )
    return tuple(x.returns for x in played)


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
        memory = fresh if memory is None else checked_memory(memory, fresh)
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
