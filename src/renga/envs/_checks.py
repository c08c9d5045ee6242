"""What is refused: actions, observations and steps that are not what the specs of an environment say."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga._core.ranges import check_range, known
from renga.envs._environment import Environment, Step, as_float
from renga.envs._specs import Discrete


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
    kind = "an integer" if isinstance(spec, Discrete) else "a number"
    came, dtype = _shape_and_dtype(function, "action", kind, action)
    if came != shape:
        raise ValueError(f"{function}: action must have shape {shape}, got {came}")
    if not _is_real(dtype) or (isinstance(spec, Discrete) and jnp.issubdtype(dtype, jnp.floating)):
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
        wanted = "a number" if field == "reward" else "a bool"
        shape, dtype = _shape_and_dtype(function, field, f"{wanted} of shape ()", getattr(step, field))
        if shape or not (_is_real(dtype) if field == "reward" else jnp.issubdtype(dtype, jnp.bool_)):
            raise ValueError(f"{function}: {field} must be {wanted} of shape (), got {dtype} of shape {shape}")
    checked_observation(env, "step", step.observation)
    reward = jnp.asarray(step.reward)
    if not jnp.issubdtype(reward.dtype, jnp.floating):
        reward = as_float(reward)
    return step._replace(reward=reward, terminated=jnp.asarray(step.terminated), truncated=jnp.asarray(step.truncated))


def _shape_and_dtype(function: str, name: str, wanted: str, x: Any) -> tuple[tuple[int, ...], Any]:
    """What an array of it would be; nothing is moved to a device.

    Raises:
      ValueError: if it is none, and no number either.
    """
    with contextlib.suppress(TypeError, ValueError):
        if x is not None:  # JAX would make it NaN
            return jnp.shape(x), jax.dtypes.result_type(x)
    raise ValueError(f"{function}: {name} must be {wanted}, got {type(x).__name__}")


def _is_real(dtype: Any) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating))
