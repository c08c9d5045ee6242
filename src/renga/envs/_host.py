"""Worlds of Gymnasium that run on the host: they are kept here by number, and stepped by callbacks."""

import atexit
import contextlib
import secrets
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

# More are not kept: the one that was not used for longest is closed.
MOST = 64

LOST = (
    "a state of a Gymnasium world does not hold the world itself, which cannot be saved: where a state is stepped that "
    "is not its world's latest (after a resume, or a second time), its episodes are cut there, with no reward, and new "
    "ones begin"
)


class Played(NamedTuple):
    """What one call gives, each `[num_envs, ...]`; few arrays, since each takes time on its way.

    Attributes:
      facts: the world's calls so far, the bits of the reward as a float, and the sum of 1 where an episode has ended, 2
        where it was cut, and 4 where the world was another one, that was not there any more.
      seen: the observations to go on from.
      final: the observations that the step led to; others than `seen` where an episode is over.
    """

    facts: Any
    seen: Any
    final: Any


def _facts(clock: int, reward: Any, ends: Any) -> np.ndarray:
    bits = np.asarray(reward, np.float32).view(np.int32)
    return np.stack([np.full(bits.shape, clock, np.int32), bits, np.asarray(ends, np.int32)], axis=1)


class Form(NamedTuple):
    """How arrays of Gymnasium's become ours.

    Attributes:
      shape: of one observation.
      dtype: of observations.
      start: the first of its discrete actions; None if actions are arrays.
      action_dtype: of its actions.
      first_observation: the first of its discrete observations.
      frames_first: whether its pictures are `[frames, H, W]`, which become `[H, W, frames]`.
    """

    shape: tuple[int, ...]
    dtype: Any
    start: int | None
    action_dtype: Any
    first_observation: int
    frames_first: bool

    def observations(self, x: Any) -> np.ndarray:
        """A batch of them."""
        x = np.moveaxis(np.asarray(x), 1, -1) if self.frames_first else np.asarray(x)
        x = x - self.first_observation if self.first_observation else x
        dtype = np.dtype(self.dtype)
        if dtype.kind in "iu" and x.dtype != dtype and x.size:
            low, high = int(x.min()), int(x.max())
            if low < np.iinfo(dtype).min or high > np.iinfo(dtype).max:
                raise ValueError(f"Gymnasium: observations must fit in {dtype.name}, got some in [{low}, {high}]")
        return x.astype(dtype)

    def actions(self, x: Any) -> np.ndarray:
        """A batch of them, as Gymnasium has them."""
        x = np.asarray(x)
        if self.start is not None:
            return x.astype(np.int64) + self.start
        if np.isnan(x).any():
            raise ValueError("Gymnasium.step: action must not be NaN")
        return x.astype(self.action_dtype)


class _World:
    """A vector environment, and how often it was called."""

    def __init__(self, vector: Any, num_envs: int, seed: int):
        self.vector, self.num_envs, self.clock = vector, num_envs, 0
        seeds = np.random.SeedSequence(seed).generate_state(num_envs) >> 1  # 31 bits, as some of them want
        own = not hasattr(vector, "env_fns") and not hasattr(vector, "envs")
        self.seen = vector.reset(seed=seeds.astype(np.int32) if own else seeds.tolist())[0]
        self.lock = threading.Lock()


class Worlds:
    """The worlds that this process has."""

    def __init__(self) -> None:
        self._worlds: OrderedDict[int, _World] = OrderedDict()
        self._lock = threading.Lock()
        self._warned = False

    def __len__(self) -> int:
        return len(self._worlds)

    def _keep(self, number: int, world: _World) -> None:
        with self._lock:
            self._worlds[number] = world
            left = [self._worlds.popitem(last=False)[1] for _ in range(len(self._worlds) - MOST)]
        for old in left:
            _close(old)

    def find(self, number: int, clock: int) -> _World | None:
        """The world of a number, if it was called so often."""
        with self._lock:
            world = self._worlds.get(number)
            if world is not None:
                self._worlds.move_to_end(number)
        return world if world is not None and world.clock == clock else None

    def begin(self, make: Callable[[int], Any], form: Form, num_envs: int, seed: Any) -> tuple[np.ndarray, np.ndarray]:
        """Makes a world; returns its number for each environment, and the first observations."""
        if jax.process_count() > 1:
            raise ValueError(
                "Gymnasium: a world on the host belongs to one process: run it with one, or in each on its own, got "
                f"{jax.process_count()} that share one program"
            )
        number = secrets.randbits(31)
        world = _World(make(num_envs), num_envs, int(seed))
        self._keep(number, world)
        return np.full(num_envs, number, np.int32), form.observations(world.seen)

    def step(self, make: Callable[[int], Any], form: Form, which: Any, action: Any) -> Played:
        """Steps a world, which begins new episodes by itself; `which` has number and clock for each environment."""
        which = np.asarray(which)
        number, clock, num_envs = int(which[0, 0]), int(which[0, 1]), len(which)
        world = self.find(number, clock)
        if world is None:
            if not self._warned:
                self._warned = True
                warnings.warn(f"Gymnasium: {LOST}", RuntimeWarning, stacklevel=2)
            old = self._worlds.get(number)
            if old is not None:
                _close(old)
            world = _World(make(num_envs), num_envs, number ^ (clock + 1))
            world.clock = clock + 1
            self._keep(number, world)
            seen = form.observations(world.seen)
            return Played(_facts(world.clock, np.zeros(num_envs), np.full(num_envs, 2 + 4)), seen, seen)
        with world.lock:
            seen, reward, terminated, truncated, info = world.vector.step(form.actions(action))
            world.clock += 1
        ends = np.asarray(terminated, np.int32) + 2 * np.asarray(truncated, np.int32)
        seen = form.observations(seen)
        over, final = np.flatnonzero(ends), seen
        if over.size:
            final = seen.copy()
            final[over] = form.observations(np.stack([info["final_obs"][i] for i in over]))
        return Played(_facts(world.clock, reward, ends), seen, final)

    def end(self, number: Any) -> None:
        """Closes a world."""
        with self._lock:
            world = self._worlds.pop(int(np.asarray(number).flat[0]), None)
        if world is not None:
            _close(world)

    def end_all(self) -> None:
        """Closes all worlds."""
        for number in list(self._worlds):
            self.end(number)

    def draw(self, number: int, clock: int) -> Any:
        """What a world of one environment shows in its latest state; None if it is not there."""
        world = self.find(number, clock)
        if world is None:
            return None
        if world.num_envs != 1:
            raise ValueError(f"Gymnasium.draw: only worlds of one environment have pictures, got {world.num_envs}")
        pictures = world.vector.render()
        return None if pictures is None else np.asarray(pictures[0])


def _close(world: _World) -> None:
    with world.lock, contextlib.suppress(Exception):  # one that cannot be closed is let go
        world.vector.close()


WORLDS = Worlds()
atexit.register(WORLDS.end_all)
