"""Who is in a population, on which devices, and what its metrics come to.

A member is the system with a seed of its own, or with other numbers in its config. `_population.py` trains them.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from renga.loop._devices import memory_of, require_memory, size_of
from renga.loop._errors import RunError, SettingError
from renga.loop._exploit import Evolution
from renga.loop._iterate import Update
from renga.loop._subject import Make

AXIS = "members"
MOST_MEMBERS = 1 << 20


class Members(NamedTuple):
    """Who is in a population.

    Attributes:
      seeds: what each member's key is made from.
      values: by field of the config, the number that it is for each member, where members differ.
      first: number of the first of them, if they are a part of others; for messages only.
      evolution: how they copy each other while they train, if they do; `values` are those that they begin with.

    Example:
      >>> import dataclasses
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      ...     units: int = 8
      >>> members = Members(seeds=(0, 0), values={"rate": (0.1, 0.2)})  # one seed, two rates
      >>> members.config(Config(), 1)
      Config(rate=0.2, units=8)
    """

    seeds: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]] = {}
    first: int = 0
    evolution: Evolution | None = None

    def config(self, config: Any, member: int) -> Any:
        """Returns the config of one member."""
        return dataclasses.replace(config, **{name: numbers[member] for name, numbers in self.values.items()})

    def now(self, notes: Mapping[str, Any]) -> "Members":
        """Returns the members with the numbers that they have come to, as a checkpoint notes them."""
        noted = notes.get("evolution", {}).get("values", {})
        return self._replace(values={**self.values, **{name: tuple(numbers) for name, numbers in noted.items()}})

    def part(self, start: int, stop: int) -> "Members":
        """Returns the members from one number up to another."""
        values = {name: numbers[start:stop] for name, numbers in self.values.items()}
        return Members(self.seeds[start:stop], values, self.first + start)


def to_json(members: Members) -> dict[str, Any]:
    """What config.json keeps of a population."""
    values = {name: list(numbers) for name, numbers in members.values.items()}
    evolution = {"evolution": members.evolution._asdict()} if members.evolution else {}
    return {"seeds": list(members.seeds), **({"values": values} if values else {}), **evolution}


def members_of(loop: dict[str, Any]) -> Members | None:
    """Reads back what `to_json` gave; None for a run that is no population."""
    if "seeds" not in loop:
        return None
    evolution = Evolution(**loop["evolution"]) if "evolution" in loop else None
    values = {name: tuple(v) for name, v in loop.get("values", {}).items()}
    return Members(tuple(loop["seeds"]), values, evolution=evolution)


def check_members(members: Members) -> None:
    """Refuses members that are none.

    Raises:
      RunError: if there are none, seeds need more than 32 bits, or a field has not a finite number for each.
    """
    if not members.seeds or not all(-(2**31) <= seed < 2**32 for seed in members.seeds):
        wrong = next((seed for seed in members.seeds if not -(2**31) <= seed < 2**32), "none")
        raise SettingError(f"members: seeds must be numbers of 32 bits, one or more, got {wrong}")
    for name, numbers in members.values.items():
        if len(numbers) != len(members.seeds) or not all(map(math.isfinite, numbers)):
            got = next((x for x in numbers if not math.isfinite(x)), len(numbers))
            raise SettingError(f"members: {name} must be {len(members.seeds)} finite numbers, got {got}")
    if members.evolution:
        members.evolution.check(len(members.seeds))


class Frozen(NamedTuple):
    """A member that does not go on.

    Attributes:
      step: how many steps its state has behind it.
      because: what the next step made non-finite: names of metrics, or `its state`.

    Example:
      >>> import dataclasses, tempfile
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      >>> def make(config):
      ...     return lambda key: np.float32(1.0), lambda w: (w - config.rate, {"loss": jnp.log(w)})
      >>> members = Members(seeds=(0, 0), values={"rate": (0.0, 1.0)})
      >>> with tempfile.TemporaryDirectory() as directory:  # the second member's second step takes log 0
      ...     run(make, Config(), steps=3, directory=directory, members=members, show=False).frozen
      {1: Frozen(step=1, because=('loss',))}
    """

    step: int
    because: tuple[str, ...]


def refuse_processes() -> None:
    """Refuses a population of several processes."""
    if jax.process_count() > 1:
        raise RunError(
            "a population is of one process, as its members need no word between them: "
            "start one a machine, each with its own --seed and --directory"
        )


def refuse_groups(members: Members, most: int) -> None:
    """Refuses to train members one after the other that copy each other."""
    if members.evolution:
        raise RunError(
            f"--search pbt trains all members at once, as they copy each other: at most {most} fit in memory or are "
            f"asked for by --at-once, got {len(members.seeds)}"
        )


def members_mesh(num_devices: int | None, num_members: int) -> Mesh:
    """Returns a mesh whose one axis the members are split over.

    Devices of a CPU share its cores and its memory: a second one adds nothing, and where XLA runs a large program on
    each of them, the threads of one can wait for ever for cores that those of the other hold. So a CPU is one device
    unless another number is asked for, which is safe for small programs, as in tests.

    Args:
      num_devices: how many devices; by default as many as the members divide by, and one of a CPU.
      num_members: how many members.

    Raises:
      RunError: if there are several processes, or not as many devices, or the members do not divide by them.
    """
    refuse_processes()
    devices = jax.devices()
    if num_devices is None:
        most = 1 if devices[0].platform == "cpu" else min(len(devices), num_members)
        num_devices = next(d for d in range(most, 0, -1) if num_members % d == 0)
    if not 1 <= num_devices <= len(devices):
        raise SettingError(f"--devices must be in [1, {len(devices)}], got {num_devices}")
    if num_members % num_devices:
        raise SettingError(
            f"{num_members} members do not divide by {num_devices} devices: choose a multiple of {num_devices}, "
            "or other devices with --devices"
        )
    return Mesh(np.array(devices[:num_devices]), (AXIS,))


def most_at_once(make: Make, config: Any, num_members: int, num_devices: int | None) -> int:
    """How many members fit in memory, each with a copy: what a chunk starts from is kept until its end.

    Raises:
      RunError: if not even one does.
    """
    one = jax.eval_shape(make(config)[0], jax.random.key(0))
    require_memory(one, copies=2.0)
    memory = memory_of()
    if not memory or not size_of(one):
        return num_members
    if jax.local_devices()[0].platform != "cpu":  # CPU devices share one memory
        memory *= num_devices or len(jax.local_devices())
    return max(1, min(num_members, math.floor(memory / (2 * size_of(one)))))


# Metrics of a population.

Q1, Q3, LIVING = "q1", "q3", "members/living"


def check_names(names: Sequence[str]) -> None:
    """Refuses metrics whose names are those of quartiles."""
    for name in names:
        taken = [f"{name}/{Q1}", f"{name}/{Q3}", LIVING]
        both = sorted(set(taken) & set(names))
        if both:
            raise RunError(f"step: metric {both[0]!r} has the name that a population needs: call it something else")


def summary(each: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The median of each metric over the members that live, its quartiles, and how many these are.

    Example:
      >>> summary({"loss": np.array([1.0, 2.0, np.nan, 3.0])})
      {'loss': 2.0, 'loss/q1': 1.5, 'loss/q3': 2.5, 'members/living': 3.0}
    """
    found: dict[str, float] = {}
    living = np.ones(1, bool)
    for name, numbers in each.items():
        living = ~np.isnan(numbers)
        q1, q2, q3 = (
            np.quantile(numbers[living].astype(np.float64), [0.25, 0.5, 0.75]) if living.any() else [np.nan] * 3
        )
        found |= {name: float(q2), f"{name}/{Q1}": float(q1), f"{name}/{Q3}": float(q3)}
    return found | {LIVING: float(living.sum())}


def summary_of(update: Update) -> Update:
    """An update of a population as one of its medians; windows without a living member are left out."""
    rows = [(step, summary(each)) for step, each in update.rows]
    rows = [(step, found) for step, found in rows if found[LIVING]]
    window = update.window._replace(sums=summary(update.window.sums))
    return update._replace(rows=rows, window=window)
