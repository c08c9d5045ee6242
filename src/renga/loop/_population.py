"""A population: many members of one system as one compiled program, each as if it ran alone.

`init` and `step` are mapped over the members (`_members.py` says who they are), and on several devices the members are
what is split: a step needs no word between them. On a CPU, which is one device, they are split over its cores: XLA
leaves cores idle in a program of many small products, so the program is one of a part of the members, and a thread a
part runs it.

A member that turns non-finite is frozen: it keeps the state from before the step that did it, and the others go on. No
step asks for that: the compiled chunk says at which step a member failed, and the chunk is done again up to there, by
the same program. What the program computes for a frozen member afterwards is thrown away at the end of each chunk.
"""

import concurrent.futures
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, PyTree

from renga.loop._chunk import chunk_of, flatten_metrics, metric_names
from renga.loop._debug import find_non_finite
from renga.loop._devices import require_memory, size_of
from renga.loop._errors import RunError
from renga.loop._iterate import Plan, Step, Update, follow
from renga.loop._members import AXIS, Frozen, Members, check_names
from renga.loop._parts import is_key, joined, parts_of, threads_of
from renga.loop._progress import say
from renga.loop._subject import Init, Make

WATCHED = 1 << 18  # numbers of the largest array in a member's state that is searched for NaN after each step
STATE = "its state"
_LOG = logging.getLogger("renga")


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
