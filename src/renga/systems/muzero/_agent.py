"""What was learned, as an object: acts, tells what it thinks, is kept in a file."""

import functools
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from renga import envs
from renga.search import Tree
from renga.systems._agent import batch_of, read, write
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
    """

    action: Array
    policy: Array
    value: Array
    visits: Array
    prior: Array


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
        self.env = envs.make(config.env)
        self._planner = planner(config, self.env, _networks.make(config, self.env))

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
          state: of the environment, for an agent whose model is the environment.
          simulations: how many; None for as many as it was trained with. 0 asks the network alone.
          key: decides between what is equal, and what is random in the model; None for always the same.

        Returns:
          An int, or an array [B].

        Raises:
          ValueError: if a shape does not fit, or a state is missing.
        """
        thought = self.think(observation, legal, state, simulations=simulations, key=key)
        return int(thought.action) if jnp.ndim(thought.action) == 0 else thought.action

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
        single, arguments = self._arguments(observation, legal, state, simulations, key)
        thought = self._think(self.params, *arguments)
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
        single, arguments = self._arguments(observation, legal, state, simulations, key)
        thought, tree = self._search(self.params, *arguments)
        return (jax.tree.map(lambda x: x[0], thought) if single else thought), tree

    def _arguments(
        self, observation: Any, legal: Any, state: PyTree, simulations: int | None, key: PRNGKeyArray | None
    ) -> tuple[bool, tuple[Any, ...]]:
        """Whether one position came, and a batch of them as `_think` takes it."""
        single, observation, legal = batch_of("Agent.act", self.env, observation, legal)
        if self.config.model == "true" and state is None and simulations != 0:
            raise ValueError(
                "Agent.act: state must be given: this agent searches in the environment itself. "
                "With simulations=0 it acts without search"
            )
        if single:
            state = jax.tree.map(lambda x: jnp.asarray(x)[None], state)
        if legal is None:
            legal = jnp.ones((len(observation), envs.num_actions(self.env)), bool)
        key = jax.random.key(0) if key is None else key
        return single, (key, state, observation, legal, simulations)

    def player(self, simulations: int | None = None) -> Player:
        """The agent as a player of matches."""

        def act(key: PRNGKeyArray, states: PyTree) -> Array:
            observation, legal = self._facts(states)
            return self._think(self.params, key, states, observation, legal, simulations).action

        return act

    @functools.cached_property
    def _facts(self):
        return jax.jit(jax.vmap(lambda state: (self.env.observe(state), self.env.legal_actions(state))))

    def _searched(
        self, params: PyTree, key: PRNGKeyArray, state: PyTree, observation: Array, legal: Array, simulations: Any
    ) -> tuple[Thought, Tree | None]:
        root = self._planner.root(params, state, observation, legal)
        prior = jax.nn.softmax(jnp.where(legal, root.prior_logits, -jnp.inf))
        if simulations == 0:
            none = jnp.zeros(legal.shape)
            return Thought(jnp.argmax(prior, -1).astype(jnp.int32), prior, jnp.asarray(root.value), none, prior), None
        plan: Plan = self._planner.plan(params, key, root, legal, noise=0.0, simulations=simulations)
        visits = plan.tree.summary().visit_counts
        thought = Thought(plan.action.astype(jnp.int32), plan.policy, plan.value, visits, prior)
        return thought, plan.tree.replace(embeddings=None, extra_data=None)

    @functools.cached_property
    def _think(self):
        return jax.jit(lambda *arguments: self._searched(*arguments)[0], static_argnums=5)

    @functools.cached_property
    def _search(self):
        return jax.jit(self._searched, static_argnums=5)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes settings and parameters to a safetensors file, which `load` reads."""
        write(path, type(self).__module__, self.config, self.params)


def load(path: str | os.PathLike[str]) -> Agent:
    """Reads an agent from the directory of a run, or from a file that `renga export` or `Agent.save` wrote.

    Raises:
      RunError: if there is none.

    Example:
      >>> import tempfile
      >>> from renga.systems import muzero
      >>> config = muzero.Config(env="catch", model="learned", units=8, blocks=1, simulations=4)
      >>> params = muzero.networks(config).init(jax.random.key(0), jnp.zeros((1, 10, 5)))
      >>> file = tempfile.mkdtemp() + "/agent.safetensors"
      >>> muzero.Agent(config, params).save(file)
      >>> agent = muzero.load(file)
      >>> agent.act(jnp.zeros((10, 5))) in (0, 1, 2)
      True
    """
    from renga.systems import muzero

    return Agent(*read(path, muzero.__name__, muzero.played_by))
