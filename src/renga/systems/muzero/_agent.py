"""The agent: acts, tells what it thinks, is kept in a file."""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from renga import envs
from renga._core.ranges import known
from renga.search import Tree
from renga.systems._files import described, read, write
from renga.systems._inputs import batch_of, check_key
from renga.systems.muzero import _networks
from renga.systems.muzero._config import Config
from renga.systems.muzero._opponents import Player
from renga.systems.muzero._planning import Plan, planner


class Thought(NamedTuple):
    """What an agent thinks of a position, or of a batch of them.

    Attributes:
      action: what it would do.
      policy: how good each action seems, as probabilities, [A].
      value: what the position is worth to the player to move.
      visits: how often each action was searched, [A].
      prior: what the network alone would do, as probabilities, [A].
      candidates: what the A actions are where they are continuous, [A, *shape]; else None.
    """

    action: Array
    policy: Array
    value: Array
    visits: Array
    prior: Array
    candidates: Array | None = None


class _Programs(NamedTuple):
    """What agents of the same settings compute, compiled once: their parameters are arguments."""

    env: envs.Environment
    num_actions: int
    state: Callable[[], PyTree]  # shapes and dtypes of a state
    facts: Callable[..., Any]  # of states: what is observed, and which actions are legal
    think: Callable[..., Thought]
    search: Callable[..., tuple[Thought, Tree | None]]


@functools.lru_cache(maxsize=16)
def _programs(config: Config) -> _Programs:
    env = envs.make(config.env)
    networks = _networks.make(config, env)
    sampled, plans = networks.sampled, planner(config, env, networks)

    def facts(state: PyTree) -> tuple[Any, Array]:
        legal = env.legal_actions(state) if sampled is None else jnp.ones(sampled.num, bool)
        return env.observe(state), legal

    def search(
        params: PyTree, key: PRNGKeyArray, state: PyTree, observation: Array, legal: Array, simulations: int | None
    ) -> tuple[Thought, Tree | None]:
        key_root, key = jax.random.split(key)
        root = plans.root(params, key_root, None if simulations == 0 else state, observation, legal)
        prior = jax.nn.softmax(jnp.where(legal, root.prior_logits, -jnp.inf))
        candidates = None if sampled is None else sampled.action(root.embedding[1])
        if simulations == 0:
            none = jnp.zeros(legal.shape)
            if sampled is None:
                action = jnp.argmax(prior, -1).astype(jnp.int32)
            else:
                h = networks.represent(params, observation)
                action = sampled.action(sampled.best(networks.predict(params, h).logits))
            return Thought(action, prior, jnp.asarray(root.value), none, prior, candidates), None
        plan: Plan = plans.plan(params, key, root, legal, noise=0.0, simulations=simulations)
        visits = plan.tree.summary().visit_counts
        action = plan.action.astype(jnp.int32)
        if candidates is not None:
            action = jax.vmap(lambda x, i: x[i])(candidates, action)
        thought = Thought(action, plan.policy, plan.value, visits, prior, candidates)
        return thought, plan.tree.replace(embeddings=None, extra_data=None)

    @functools.cache
    def state() -> PyTree:
        return jax.eval_shape(env.reset, jax.random.key(0))

    def think(*arguments: Any) -> Thought:
        return search(*arguments)[0]

    compiled = functools.partial(jax.jit, static_argnums=5)
    facts = jax.jit(jax.vmap(facts))
    return _Programs(env, networks.num_actions, state, facts, compiled(think), compiled(search))


class Agent:
    """A trained agent.

    Args:
      config: the settings that it was trained with.
      params: of its networks.

    Example: see `load`.
    """

    def __init__(self, config: Config, params: PyTree):
        self.config = config
        self.params = params
        self._programs = _programs(config)
        self.env = self._programs.env

    def __repr__(self) -> str:
        return described("renga.systems.muzero", self.config, self.params, "Agent")

    def act(
        self,
        observation: Any,
        legal: Any = None,
        state: PyTree = None,
        *,
        simulations: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Any:
        """Chooses an action by search, without exploring.

        Args:
          observation: of one position, or of a batch of them.
          legal: which actions are, [A] or [B, A]; None for all.
          state: of the environment, or a batch of them as of the observations, for an agent whose model is the
            environment. It is not used otherwise, nor with simulations=0.
          simulations: how many; None for as many as it was trained with. 0 asks the network alone.
          key: decides between what is equal, and what is random in the model; None for always the same.

        Returns:
          An int, or an array [B]; where actions are continuous an array [*shape], or [B, *shape]. Under `jit` and
          `vmap` always an array.

        Raises:
          ValueError: if a shape does not fit, a state is missing, or simulations are negative.
          TypeError: if the state is none of the environment's, simulations are no int, or key is none.
        """
        single, arguments = self._arguments("Agent.act", observation, legal, state, simulations, key)
        a, spec = self._programs.think(self.params, *arguments).action, self.env.action_spec
        a = (a[0] if single else a).astype(spec.dtype)
        return int(a) if single and isinstance(spec, envs.Discrete) and known(a) is not None else a

    def think(
        self,
        observation: Any,
        legal: Any = None,
        state: PyTree = None,
        *,
        simulations: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Thought:
        """Tells what a search finds. The arguments are those of `act`."""
        single, arguments = self._arguments("Agent.think", observation, legal, state, simulations, key)
        thought = self._programs.think(self.params, *arguments)
        return jax.tree.map(lambda x: x[0], thought) if single else thought

    def search(
        self,
        observation: Any,
        legal: Any = None,
        state: PyTree = None,
        *,
        simulations: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Thought, Tree | None]:
        """Tells what a search finds, and the search itself. The arguments are those of `act`.

        Returns:
          The thought, and the trees that it comes from without the model's states, with a batch axis always; None with
          simulations=0.
        """
        single, arguments = self._arguments("Agent.search", observation, legal, state, simulations, key)
        thought, tree = self._programs.search(self.params, *arguments)
        return (jax.tree.map(lambda x: x[0], thought) if single else thought), tree

    def _arguments(
        self,
        function: str,
        observation: Any,
        legal: Any,
        state: PyTree,
        simulations: int | None,
        key: PRNGKeyArray | None,
    ) -> tuple[bool, tuple[Any, ...]]:
        """Whether one position came, and a batch of them as `_Programs.think` takes it."""
        check_key(function, key)
        simulations = _checked_simulations(function, simulations)
        single, observation, legal = batch_of(function, self.env, observation, legal)
        if self.config.model == "learned" or simulations == 0:
            state = None
        elif state is None:
            raise ValueError(
                f"{function}: state must be given: this agent searches in the environment itself. "
                "With simulations=0 it acts without search"
            )
        else:
            state = self._states(function, state, None if single else len(observation))
        if legal is None:
            legal = jnp.ones((len(observation), self._programs.num_actions), bool)
        key = jax.random.key(0) if key is None else key
        return single, (key, state, observation, legal, simulations)

    def _states(self, function: str, state: PyTree, count: int | None) -> PyTree:
        """A batch of the states that came: one, or a batch of so many.

        Raises:
          TypeError: if they are none of the environment's.
          ValueError: if they are another number of states.
        """
        expected, game = self._programs.state(), self.config.env
        batch = () if count is None else (count,)
        what = f"a state of {game}" if count is None else f"a batch of {count} states of {game}, one an observation"
        must = f"{function}: state must be {what}"
        if jax.tree.structure(state) != jax.tree.structure(expected):
            kind = type(state)
            raise TypeError(f"{must}, as its `reset` and `step` return it, got {kind.__module__}.{kind.__qualname__}")

        def batched(path: Any, want: jax.ShapeDtypeStruct, x: Any) -> Array:
            name = jax.tree_util.keystr(path)
            try:
                x = jnp.asarray(x)
            except TypeError:
                raise TypeError(f"{must}, with an array at state{name}, got {type(x).__name__}") from None
            shape, dtype = (*batch, *want.shape), want.dtype
            if jnp.issubdtype(dtype, jax.dtypes.prng_key):  # one of any kind
                shape, dtype = (*batch, *x.shape[len(batch) :]), x.dtype
            if x.shape != shape:
                raise ValueError(f"{must}, with state{name} of shape {shape}, got {x.shape}")
            if x.dtype != dtype:
                raise TypeError(f"{must}, with state{name} of {dtype}, got {x.dtype}")
            return x[None] if count is None else x

        return jax.tree_util.tree_map_with_path(batched, expected, state)

    def player(self, simulations: int | None = None) -> Player:
        """The agent as a player of matches."""
        simulations = _checked_simulations("Agent.player", simulations)

        def act(key: PRNGKeyArray, states: PyTree) -> Array:
            observation, legal = self._programs.facts(states)
            return self._programs.think(self.params, key, states, observation, legal, simulations).action

        return act

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes settings and parameters to a safetensors file, which `load` reads."""
        write(path, type(self).__module__, self.config, self.params)


def _checked_simulations(function: str, simulations: Any) -> int | None:
    """A number of simulations; None for that of the settings.

    Raises:
      TypeError: if it is no integer.
      ValueError: if it is negative.
    """
    if simulations is None:
        return None
    if isinstance(simulations, bool) or not isinstance(simulations, int | np.integer):
        raise TypeError(f"{function}: simulations must be an int or None, got {simulations!r}")
    if simulations < 0:
        raise ValueError(f"{function}: simulations must be >= 0, got {simulations}")
    return int(simulations)


def load(path: str | os.PathLike[str]) -> Agent:
    """Reads an agent from the directory of a run, or from a file that `renga export` or `Agent.save` wrote.

    Raises:
      RunError: if there is none.

    Example:
      >>> import tempfile
      >>> from renga.systems import muzero
      >>> config = muzero.Config(env="catch", model="learned", units=8, blocks=1, simulations=4)
      >>> params = jax.jit(muzero.networks(config).init)(jax.random.key(0), jnp.zeros((1, 10, 5)))
      >>> file = tempfile.mkdtemp() + "/agent.safetensors"
      >>> muzero.Agent(config, params).save(file)
      >>> agent = muzero.load(file)
      >>> agent.act(jnp.zeros((10, 5))) in (0, 1, 2)
      True
    """
    from renga.systems import muzero

    def shapes(config: Config) -> PyTree:
        """Of the networks alone: tracing the whole `init` takes seconds."""
        seen = envs.make(config.env).observation_spec
        batch = jax.ShapeDtypeStruct((1, *seen.shape), seen.dtype)
        return jax.eval_shape(muzero.networks(config).init, jax.random.key(0), batch)

    return Agent(*read(path, muzero.__name__, muzero.played_by, shapes))
