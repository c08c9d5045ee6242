"""A population: many members of one system as one compiled program, each as if it ran alone.

A member is the system with a seed of its own, or with other numbers in its config. `init` and `step` are mapped over
the members, and on several devices the members are what is split: a step needs no word between them. On a CPU, which
is one device, they are split over its cores: XLA leaves cores idle in a program of many small products, so the program
is one of a part of the members, and a thread a part runs it.

A member that turns non-finite is frozen: it keeps the state from before the step that did it, and the others go on. No
step asks for that: the compiled chunk says at which step a member failed, and the chunk is done again up to there, by
the same program. What the program computes for a frozen member afterwards is thrown away at the end of each chunk.
"""

import concurrent.futures
import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, PyTree

from renga.loop._chunk import chunk_of, flatten_metrics, metric_names
from renga.loop._debug import find_non_finite
from renga.loop._devices import memory_of, require_memory, size_of
from renga.loop._errors import RunError, SettingError
from renga.loop._exploit import Evolution
from renga.loop._iterate import Plan, Step, Update, follow
from renga.loop._parts import is_key, joined, parts_of, threads_of
from renga.loop._progress import say
from renga.loop._subject import Init, Make

AXIS = "members"
WATCHED = 1 << 18  # numbers of the largest array in a member's state that is searched for NaN after each step
STATE = "its state"
MOST_MEMBERS = 1 << 20
_LOG = logging.getLogger("renga")


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


class Population:
    """Members of one system, driven together."""

    def __init__(self, make: Make, config: Any, members: Members, mesh: Mesh, debug_nans: bool) -> None:
        self._make, self._config, self._members, self._mesh = make, config, members, mesh
        self._alone = make(config)
        self._values = numbers_of(members.values)
        self._keys = jnp.stack([jax.random.key(seed) for seed in members.seeds])
        self._debug_nans = debug_nans
        self.frozen: dict[int, Frozen] = {}
        self.names: list[str] = []
        self.sharding = NamedSharding(mesh, PartitionSpec(AXIS))
        self._one = jax.eval_shape(self._alone[0], self._keys[0])
        self.like = jax.eval_shape(self._mapped(self._init), self._keys, self._values)
        self._chunk = jax.jit(self._steps)
        self._parts = parts_of(len(self), threads_of(mesh, self.like))
        self._program: Any = None  # of a part

    def __len__(self) -> int:
        return len(self._members.seeds)

    # What a run asks of what it drives.

    def require_memory(self, show: bool) -> None:
        """Says how large the population is, and refuses one that does not fit."""
        if show:
            one, devices = size_of(self._one), self._mesh.shape[AXIS]
            on = "one device" if devices == 1 else f"{devices} devices"
            say(f"{len(self)} members of {_bytes(one)} on {on}: {_bytes(2 * len(self) * one)} with a copy")
        shares = (
            1 if jax.local_devices()[0].platform == "cpu" else self._mesh.shape[AXIS]
        )  # CPU devices have one memory
        require_memory(self.like, copies=2 / shares)

    def begin(self) -> PyTree:
        """Makes the first states."""
        return jax.jit(self._mapped(self._init), out_shardings=self.sharding)(self._keys, self._values)

    def look_at(self, state: PyTree) -> None:
        """Finds the metrics' names."""
        del state
        self.names = metric_names(self._alone[1], self._one)
        check_names(self.names)

    def updates(self, state: PyTree, **settings: Any) -> Iterator[Update]:
        """Does the steps, for as long as there is a member that goes on."""
        zero = {name: np.zeros(len(self), np.float32) for name in self.names}
        return follow(self._advance, state, zero, **settings)

    def shown(self, state: PyTree) -> PyTree:
        """The state that pictures are made of: the first member's."""
        return row(state, 0)

    def remember(self, notes: dict[str, Any]) -> None:
        """Takes who is frozen from what a checkpoint notes."""
        noted = notes.get("frozen", {})
        self.frozen = {int(member): Frozen(step, tuple(because)) for member, (step, because) in noted.items()}

    def notes(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the states: who is frozen."""
        return {"frozen": dict(self.frozen)} if self.frozen else {}

    def total(self, noted: Any) -> np.ndarray:
        """The sums of a metric, as a checkpoint notes them."""
        total = np.asarray([float(x) for x in noted], np.float32)
        if total.shape != (len(self),):
            raise ValueError("a sum a member")
        return total

    def news(self, update: Update) -> tuple[dict[str, float], str]:
        """What progress shows of medians: steps of environments are those of all members."""
        found = update.rows[-1][1] if update.rows else update.window.means(update.step)
        living = len(self) - len(self.frozen)
        more = {"env_steps": found["env_steps"] * living} if "env_steps" in found else {}
        return {**found, **more}, f"{living} of {len(self)} live"

    def find_non_finite(self, state: PyTree, first: int, last: int) -> RunError:
        """Says that no member's step did it: members that fail are found when they do."""
        del state
        return RunError(f"steps {first} to {last}: the mean of a metric over a window is too large for 32 bits")

    # The program.

    def _of(self, values: dict[str, Array]) -> tuple[Init, Step]:
        return self._make(dataclasses.replace(self._config, **values)) if values else self._alone

    def _init(self, key: Array, values: dict[str, Array]) -> PyTree:
        return self._of(values)[0](key)

    def _mapped(self, f: Any) -> Any:
        """Maps a function over the members; on several devices each maps its own."""
        return self._split(jax.vmap(f))

    def _split(self, mapped: Any) -> Any:
        if self._mesh.shape[AXIS] == 1:
            return mapped
        # A member's loops begin with constants, which are the same on all devices: nothing to check.
        part = PartitionSpec(AXIS)
        return jax.shard_map(mapped, mesh=self._mesh, in_specs=part, out_specs=part, check_vma=False)

    def _steps(
        self,
        state: PyTree,
        values: dict[str, Array],
        living: Bool[Array, " n"],
        carried: dict[str, Array],
        plan: Sequence[Array],
        rows: tuple[Array, Array] | None,
    ) -> tuple[PyTree, dict[str, Array], Int[Array, " n"]]:
        """Does a plan's steps; returns states, sums `[n, CAPACITY]`, and before which step each failed, or −1.

        With `rows = (own, source)` these are some of the members, to be found in the states of all of them: each begins
        from the state of its source, but for the keys, which are its own.
        """
        if rows is not None:
            own, source = rows
            state = jax.tree.map(lambda x: x[own if is_key(x) else source], state)

        def member(
            state: PyTree, values: dict[str, Array], is_living: Array, carried: dict[str, Array], plan: Sequence[Array]
        ):
            watched = _Watched(state, jnp.int32(0), jnp.int32(-1), _has_nan(state))
            after, sums = chunk_of(_watch(self._of(values)[1]))(watched, carried, *plan)
            kept = jax.tree.map(lambda old, new: jnp.where(is_living, new, old), state, after.state)
            return kept, sums, after.failed

        def part(
            state: PyTree, values: dict[str, Array], living: Array, carried: dict[str, Array], plans: Sequence[Array]
        ):
            one_plan = [x[0] for x in plans]  # not mapped over: all members end their loops together
            return jax.vmap(member, in_axes=(0, 0, 0, 0, None))(state, values, living, carried, one_plan)

        plans = [jnp.broadcast_to(x, len(living)) for x in plan]
        return self._split(part)(state, values, living, carried, plans)

    def _do(
        self, state: PyTree, sums: dict[str, Any], plan: Plan, source: np.ndarray | None = None
    ) -> tuple[PyTree, dict[str, np.ndarray], np.ndarray]:
        """Does a plan's steps, each member from the state of its source; by default that is itself."""
        living = np.ones(len(self), bool)
        living[list(self.frozen)] = False
        carried = {name: np.asarray(total, np.float32) for name, total in sums.items()}
        many = len(self._parts) > 1
        origin = np.arange(len(self), dtype=np.int32) if source is None and many else source
        calls = []
        for own in self._parts:
            values = (
                {name: numbers[own[0] : own[-1] + 1] for name, numbers in self._values.items()}
                if many
                else self._values
            )
            rows = None if origin is None else (own, origin[own])
            each = {name: total[own] for name, total in carried.items()}
            calls.append((state, values, living[own], each, tuple(map(np.int32, plan)), rows))
        if many:
            # Compiled by this thread, whose settings of JAX the others do not have.
            self._program = self._program or self._chunk.lower(*calls[0]).compile()
            with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
                parts = list(pool.map(lambda call: jax.block_until_ready(self._program(*call)), calls))
            state, found, failed = joined(parts, self._parts, self.sharding)
        else:
            state, *rest = self._chunk(*calls[0])
            found, failed = jax.device_get(rest)
        found = {name: np.array(total[:, : plan.num_windows].T) for name, total in found.items()}
        for total in found.values():
            total[:, ~living] = np.nan
        return state, found, np.where(living, failed, -1)

    def _source(self, start: int) -> np.ndarray | None:
        """From whose state each member goes on at a step; None if each goes on from its own."""
        del start
        return None

    def _advance(
        self, state: PyTree, sums: dict[str, Any], plan: Plan, start: int
    ) -> tuple[PyTree, dict[str, Any], Plan]:
        """Does a plan's steps, or as many as there are before a member fails."""
        source = self._source(start)
        while len(self.frozen) < len(self):
            after, found, failed = self._do(state, sums, plan, source)
            if np.all(failed < 0):
                return after, found, plan
            first = int(failed[failed >= 0].min())
            plan_before = plan.cut(first)
            if first:
                after, found, _ = self._do(state, sums, plan_before, source)
            self._freeze(after if first else state, np.flatnonzero(failed == first), start + first)
            if first:
                return after, found, plan_before
        return state, {}, plan.cut(0)

    def _freeze(self, state: PyTree, who: np.ndarray, step: int) -> None:
        """Takes members out, whose next step fails."""
        _, seen, _ = self._do(state, {name: np.zeros(len(self)) for name in self.names}, Plan(1, 1, 1, 1))
        for member in map(int, who):
            because = tuple(name for name in self.names if not np.isfinite(seen[name][0, member])) or (STATE,)
            if self._debug_nans:
                values = {name: numbers[member] for name, numbers in self._values.items()}
                error = find_non_finite(self._of(values)[1], row(state, member), step + 1, step + 1)
                raise RunError(f"{self._name(member)}: {error}")
            self.frozen[member] = Frozen(step, because)
            _LOG.warning(
                "%s is frozen after step %d: the next one made %s non-finite; %d of %d go on",
                self._name(member), step, ", ".join(because),
                len(self) - len(self.frozen), len(self),
            )  # fmt: skip

    def _name(self, member: int) -> str:
        return f"member {self._members.first + member} (seed {self._members.seeds[member]})"


class _Watched(NamedTuple):
    """A member's state with what is noticed of it within a chunk."""

    state: PyTree
    step: Array  # of the chunk
    failed: Array  # how many steps of the chunk were done before the one that failed; −1 if none has
    has_nan: list[Array]


def _watch(step: Step) -> Step:
    """Lets a step notice whether it makes a metric non-finite, or a NaN where none was."""

    def watched(before: _Watched) -> tuple[_Watched, Any]:
        state, metrics = step(before.state)
        has_nan = _has_nan(state)
        bad = [~jnp.all(jnp.isfinite(jnp.asarray(x, jnp.float32))) for x in flatten_metrics(metrics).values()]
        bad += [now & ~then for now, then in zip(has_nan, before.has_nan, strict=True)]
        is_bad = jnp.any(jnp.stack(bad)) if bad else jnp.bool_(False)
        failed = jnp.where((before.failed < 0) & is_bad, before.step, before.failed)
        return _Watched(state, before.step + 1, failed, has_nan), metrics

    return watched


def _has_nan(state: PyTree) -> list[Array]:
    """Whether there is a NaN in each array of a state that can have one and is not too large to look."""
    arrays = [jnp.asarray(x) for x in jax.tree.leaves(state)]
    return [jnp.any(jnp.isnan(x)) for x in arrays if jnp.issubdtype(x.dtype, jnp.inexact) and x.size <= WATCHED]


def numbers_of(values: Mapping[str, Sequence[float]]) -> dict[str, Array]:
    """Numbers of fields of the config; weakly typed, as Python's are, so that a network in 16 bits stays one."""
    return {name: jnp.stack([jnp.asarray(float(x)) for x in numbers]) for name, numbers in values.items()}


def _bytes(count: int | float) -> str:
    """Writes a number of bytes.

    Example:
      >>> _bytes(3 << 20)
      '3.0 MiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:,.2f} GiB"


def row(state: PyTree, member: int) -> PyTree:
    """The state of one member."""
    return jax.tree.map(lambda x: x[member], state)


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
