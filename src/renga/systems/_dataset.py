"""Experience in files: transitions to learn from without acting, and how an agent makes such a file.

A file is an `.npz` of NumPy or a `.safetensors`, with arrays whose first axis is time, episode after episode, under the
names of Gymnasium and Minari (those of D4RL in brackets):

    observations, actions, rewards, terminations (terminals), truncations (timeouts), next_observations

`next_observations` may be missing: then they are those of the next row, and the last step of an episode that was
truncated, whose next observation is nowhere in the file, is left out.
"""

import io
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from renga import envs, nn
from renga.loop import RunError, SettingError
from renga.systems._agent import TrainedAgent
from renga.systems._reinforcement import Transition

OTHER_NAMES = {"terminals": "terminations", "timeouts": "truncations"}
NEEDED = ("observations", "actions", "rewards", "terminations")


def read(path: str, env: envs.Environment, discount: float, n: int) -> Transition:
    """Reads the transitions of n steps of a file, arrays `[N, ...]`.

    Raises:
      RunError: if the file cannot be read, or is not of this environment.
    """
    found = _checked(path, env, {OTHER_NAMES.get(name, name): x for name, x in _arrays(path).items()})
    s, a, r = (found[name] for name in NEEDED[:3])
    terminated = found["terminations"].astype(bool)
    truncated = found["truncations"].astype(bool) & ~terminated
    truncated[-1] |= not terminated[-1]  # what comes then is not in the file
    if "next_observations" in found:
        s_t = found["next_observations"]
    else:
        s_t = np.concatenate([s[1:], s[-1:]])
        unknown = truncated
        truncated = np.append(unknown[1:], False) & ~terminated & ~unknown  # the step before is the last one then
        s, a, r, s_t, terminated, truncated = (x[~unknown] for x in (s, a, r, s_t, terminated, truncated))
    if not len(s):
        raise RunError(f"dataset: {path} must have a step whose next observation is known, it has none")
    return _n_step(s, a, r, s_t, terminated, truncated, discount, n)


def _n_step(
    s: np.ndarray, a: np.ndarray, r: np.ndarray, s_t: np.ndarray, terminated: np.ndarray, truncated: np.ndarray,
    discount: float, n: int,
) -> Transition:  # fmt: skip
    """Adds up n rewards from each step on, or as many as its episode has left."""
    num = np.arange(len(r))
    total, power = np.zeros(len(r), np.float64), np.ones(len(r), np.float64)
    last, going_on = num.copy(), np.ones(len(r), bool)
    for i in range(n):
        at = np.minimum(num + i, len(r) - 1)
        total += np.where(going_on, power * r[at], 0.0)
        power *= np.where(going_on, discount * ~terminated[at], 1.0)
        last = np.where(going_on, at, last)
        going_on &= ~(terminated[at] | truncated[at])
    columns = s, a, total.astype(np.float32), power.astype(np.float32), s_t[last]
    return Transition(*(jnp.asarray(x) for x in columns))


def _arrays(path: str) -> dict[str, Any]:
    """All arrays of a file."""
    try:
        if path.endswith(".safetensors"):
            return nn.load(path)
        if path.endswith(".npz"):
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RunError(f"dataset: {path} cannot be read: {error}") from error
    raise SettingError(f"dataset must be a file .npz or .safetensors, got {path!r}")


def _checked(path: str, env: envs.Environment, found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Refuses arrays that are not those of an environment, and gives them its types."""
    if env.has_illegal_actions:
        raise RunError(
            "dataset: env must be an environment where all actions are legal always, as a file does not tell which are"
        )
    if missing := [name for name in NEEDED if name not in found]:
        raise RunError(f"dataset: {path} must have {', '.join(NEEDED)}, it has no {', '.join(missing)}")
    found = {name: np.asarray(x) for name, x in found.items() if name in (*NEEDED, "truncations", "next_observations")}
    found.setdefault("truncations", np.zeros(len(found["rewards"]), bool))
    observations, actions = env.observation_spec, env.action_spec
    forms = {
        "observations": (observations.shape, observations.dtype),
        "next_observations": (observations.shape, observations.dtype),
        "actions": (actions.shape, actions.dtype),
        "rewards": ((), np.float32),
        "terminations": ((), np.bool_),
        "truncations": ((), np.bool_),
    }
    num = len(found["rewards"])
    for name, x in found.items():
        shape, dtype = forms[name]
        if x.shape != (num, *shape):
            raise RunError(f"dataset: {name} in {path} must have the shape {[num, *shape]}, got {list(x.shape)}")
        with np.errstate(over="ignore", invalid="ignore"):
            as_kept = x.astype(dtype)
        if not all(np.isfinite(y).all() for y in (x, as_kept) if np.issubdtype(y.dtype, np.floating)):
            raise RunError(f"dataset: {name} in {path} must be finite, as {np.dtype(dtype).name}")
        if not np.issubdtype(dtype, np.floating) and (as_kept != x).any():
            raise RunError(f"dataset: {name} in {path} must be of the type {np.dtype(dtype).name}, got {x.dtype}")
        found[name] = as_kept
        # Observations may lie outside of a box: some environments leave their own.
        if name == "actions" or (name.endswith("observations") and isinstance(observations, envs.Discrete)):
            spec = actions if name == "actions" else observations
            found[name] = _within(f"dataset: {name} in {path}", spec, as_kept)
    return found


def _within(what: str, spec: envs.Discrete | envs.Box, x: np.ndarray) -> np.ndarray:
    """Numbers of a space, which may be outside of it by what rounding does.

    Raises:
      RunError: if some are further outside.
    """
    bounds = (0, spec.num - 1) if isinstance(spec, envs.Discrete) else (spec.low, spec.high)
    low, high = (np.asarray(bound, np.float64) for bound in bounds)
    rounding = lambda bound: 1e-5 * (1.0 + np.abs(bound))
    if (x < low - rounding(low)).any() or (x > high + rounding(high)).any():
        raise RunError(f"{what} must be in [{low}, {high}], got some in [{x.min()}, {x.max()}]")
    return np.clip(x, low, high).astype(x.dtype)


# ---------------------------------------------------------------- making one


def collect(agent: TrainedAgent, key: PRNGKeyArray, num_steps: int, greedy: bool = False) -> dict[str, np.ndarray]:
    """Acts for so many steps with what the policy draws, or with its best actions; returns the arrays of a file.

    Example:
      >>> from renga.systems import td3
      >>> config = td3.Config(units=(4,), warmup=8, batch_size=4, replay_size=16)
      >>> state = jax.jit(td3.make(config)[0])(jax.random.key(0))
      >>> found = collect(td3.Agent(config, td3.Agent.learned(config, state)), jax.random.key(1), 40)
      >>> found["observations"].shape, int(found["truncations"].sum())
      ((40, 3), 1)
    """
    env, player = envs.Batch(agent.env, 1), agent.player(agent.config, agent.env)
    fresh = player.memory(1)

    def step(carry: tuple[envs.Running, Any], key: PRNGKeyArray) -> tuple[tuple[envs.Running, Any], dict[str, Array]]:
        running, memory = carry
        key_act, key_env = jax.random.split(key)
        s, legal = env.observe(running), env.legal_actions(running) if agent.env.has_illegal_actions else None
        a, memory = player.act(agent.params, None if greedy else key_act, s, legal, memory)
        a = a.astype(env.action_spec.dtype)
        running, after = env.step(key_env, running, a)
        memory = jax.tree.map(lambda first, now: jnp.where(after.last[0], first, now), fresh, memory)
        row = {
            "observations": s,
            "actions": a,
            "rewards": after.reward,
            "terminations": after.terminated,
            "truncations": after.truncated,
            "next_observations": after.observation,
        }
        return (running, memory), jax.tree.map(lambda x: x[0], row)

    key_reset, key_steps = jax.random.split(key)
    run = jax.jit(lambda keys: jax.lax.scan(step, (env.reset(key_reset), fresh), keys)[1])
    found = jax.tree.map(np.array, run(jax.random.split(key_steps, num_steps)))
    found["truncations"][-1] |= not found["terminations"][-1]
    return found


def as_file(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of an `.npz`."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyrefly: ignore[bad-argument-type]
    return buffer.getvalue()
