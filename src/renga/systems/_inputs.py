"""What a trained agent is given: observations, flags of legal actions, memories and keys, checked before it acts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree

from renga import envs
from renga._core.ranges import check_range, known


def check_key(function: str, key: Any) -> None:
    """Refuses what is neither None nor one key, typed or of `jax.random.PRNGKey`."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if key is None or (typed and shape == ()) or (dtype == jnp.uint32 and len(shape or ()) == 1):
        return
    got = type(key).__name__ if dtype is None else f"{dtype} of shape {shape}"
    raise TypeError(f"{function}: key must be None, or one key such as jax.random.key(0), got {got}")


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


def checked_memory(memory: PyTree, fresh: PyTree) -> PyTree:
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    if not jax.tree.leaves(fresh) and jax.tree.leaves(memory):
        raise ValueError(f"Agent.act: memory must be None for an agent that remembers nothing, got {shapes(memory)}")
    if jax.tree.structure(memory) != jax.tree.structure(fresh) or shapes(memory) != shapes(fresh):
        raise ValueError(
            f"Agent.act: memory must be what the last call with {len(jax.tree.leaves(fresh)[0])} observations "
            f"returned, of shapes {shapes(fresh)}, got {shapes(memory)}"
        )
    return memory


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
