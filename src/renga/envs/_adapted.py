"""What adapters to packages in JAX share: states whose types stay the same, and observations as one array."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from renga._core.values import static, value
from renga._core.varying import vary_like
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step
from renga.envs._specs import Box, Discrete


class AdaptedState(NamedTuple):
    """A state of another package's, and what came with it.

    Attributes:
      inner: the package's own state.
      observation: what is seen in it.
      legal: which actions are legal in it; None where all are.
    """

    inner: PyTree
    observation: Array
    legal: Bool[Array, " A"] | None = None


class Seen(NamedTuple):
    """What a package gives in one step: its state, observation and legal actions, and what the step came to."""

    inner: PyTree
    observation: PyTree
    legal: Any = None
    reward: Any = 0.0
    terminated: Any = False
    truncated: Any = False


class Loaded(NamedTuple):
    """An environment of a package.

    Attributes:
      action: what its actions are.
      reset: `reset(key) -> Seen`, with a key of the old style.
      step: `step(key, inner, action) -> Seen`; it does not begin the next episode.
      first: the shapes of what `reset` gives.
    """

    action: Discrete | Box
    reset: Callable[[Array], Seen]
    step: Callable[[Array, PyTree, Array], Seen]
    first: Seen

    @classmethod
    def of(cls, action: Discrete | Box, reset: Callable[[Array], Seen], step: Any) -> "Loaded":
        """Finds out the shapes."""
        return cls(action, reset, step, jax.eval_shape(reset, jax.random.PRNGKey(0)))


@value
class Adapted(Environment[AdaptedState]):
    """An environment of another package in JAX, by its name there and options, as pairs of name and value."""

    name: str = static()
    options: tuple[tuple[str, Any], ...] = static(default=())

    def __post_init__(self) -> None:
        """Finds the environment."""
        _ = self._loaded

    @property
    @abc.abstractmethod
    def _loaded(self) -> Loaded:
        """The environment."""

    @property
    def observation_spec(self) -> Box:
        """The shape and dtype of its observations, without bounds; flags are given as 0 and 1."""
        shape = jax.eval_shape(as_one, self._loaded.first.observation)
        return Box(shape.shape, -np.inf, np.inf, np.dtype(shape.dtype))

    @property
    def action_spec(self) -> Discrete | Box:
        """Its actions."""
        return self._loaded.action

    @property
    def has_illegal_actions(self) -> bool:
        """Whether it says which actions are legal."""
        return self._loaded.first.legal is not None

    def reset(self, key: PRNGKeyArray) -> AdaptedState:
        """Begins an episode."""
        seen = self._loaded.reset(_old(key))
        return settled(_state(seen), key)

    def step(self, key: PRNGKeyArray, state: AdaptedState, action: Any) -> tuple[AdaptedState, Step]:
        """Takes an action."""
        check_action(self, action)
        spec = self.action_spec
        action = jnp.asarray(action, spec.dtype)
        if isinstance(spec, Discrete):
            action = jnp.clip(action, 0, spec.num - 1)
        else:
            action = jnp.clip(action, jnp.asarray(spec.low, spec.dtype), jnp.asarray(spec.high, spec.dtype))
        seen = self._loaded.step(_old(key), state.inner, action)
        after = as_before(_state(seen), state)
        reward = jnp.asarray(seen.reward, jnp.float32).reshape(())
        ends = (jnp.asarray(end, bool).reshape(()) for end in (seen.terminated, seen.truncated))
        return after, Step(after.observation, reward, *ends)

    def observe(self, state: AdaptedState) -> Array:
        """What the agent sees."""
        return state.observation

    def legal_actions(self, state: AdaptedState) -> Bool[Array, " A"]:
        """Which actions may be taken."""
        return super().legal_actions(state) if state.legal is None else state.legal


def _old(key: PRNGKeyArray) -> Array:
    """A key as the words that it is made of, which these packages keep in their states."""
    return jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key


def _state(seen: Seen) -> AdaptedState:
    legal = None if seen.legal is None else jnp.asarray(seen.legal, bool).reshape(-1)
    return AdaptedState(seen.inner, as_one(seen.observation), legal)


def as_one(observation: PyTree) -> Array:
    """An observation as one array: several are flattened, and come one after the other in float32.

    Example:
      >>> as_one({"a": jnp.array([True, False]), "b": jnp.ones((1, 2))})
      Array([1., 0., 1., 1.], dtype=float32)
    """
    parts = [jnp.asarray(part) for part in jax.tree.leaves(observation)]
    parts = [part.astype(jnp.float32) if part.dtype == bool else part for part in parts]
    if len(parts) == 1:
        return parts[0]
    return jnp.concatenate([part.reshape(-1).astype(jnp.float32) for part in parts])


def settled(state: Any, key: PRNGKeyArray) -> Any:
    """A first state as arrays: Python numbers and weak types would change its type at the first step."""
    return vary_like(jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.asarray(x).dtype), state), key)


def as_before(after: Any, before: Any) -> Any:
    """The next state in the types that the state before it had."""
    return jax.tree.map(lambda new, old: jnp.asarray(new, jnp.asarray(old).dtype), after, before)
