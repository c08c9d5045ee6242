"""Data parallelism: one mesh over all devices of all processes, the batch split, and with it what belongs to it.

What a state says is its batch (`split`) stays where it is used, a part on each device, also between steps; the rest
stands on each device whole, or large arrays of it in parts, too.
"""

import contextlib
import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from renga._core.varying import vary_like
from renga.loop._directory import versions
from renga.loop._errors import RunError, SettingError
from renga.loop._peers import join
from renga.loop._progress import say

AXIS = "data"
LARGE = 1 << 20  # bytes from which on an array is split where parameters are to be


def join_processes(coordinator: str, num_processes: int, process_id: int, timeout: float = 300.0) -> None:
    """Makes the devices of several processes one machine.

    Args:
      coordinator: `host:port` of process 0.
      num_processes: how many processes there are.
      process_id: which one this is.
      timeout: how many seconds to wait for the others.

    Raises:
      RunError: if the numbers do not fit, the address is none, or the others do not come in time.

    Example:
      >>> join_processes("10.0.0.1:1234", num_processes=2, process_id=2)  # the two are 0 and 1
      Traceback (most recent call last):
        ...
      renga.loop._errors.SettingError: --process-id must be in [0, 1], got 2
    """
    if num_processes < 1:
        raise SettingError(f"--num-processes must be at least 1, got {num_processes}")
    if not 0 <= process_id < num_processes:
        raise SettingError(f"--process-id must be in [0, {num_processes - 1}], got {process_id}")
    if not 0 < timeout < 1e6:
        raise SettingError(f"join_processes: timeout must be positive, got {timeout}")
    facts = {f"version of {name}": version for name, version in versions().items()}
    join(coordinator, num_processes, process_id, timeout, facts)


def make_mesh(num_devices: int | None = None) -> Mesh:
    """Returns a mesh with one axis over `num_devices` devices (default: all of them)."""
    devices = jax.devices()
    if num_devices is not None and not 1 <= num_devices <= len(devices):
        raise SettingError(f"--devices must be in [1, {len(devices)}], got {num_devices}")
    taken = devices[:num_devices]
    idle = set(range(jax.process_count())) - {d.process_index for d in taken}
    if idle:
        raise RunError(f"--devices {num_devices} leaves process {min(idle)} without one: take all {len(devices)}")
    if jax.process_count() > 1 and devices[0].platform == "cpu":
        _be_patient()
    return Mesh(np.array(taken), (AXIS,))


def _be_patient() -> None:
    """Asks Linux to let a thread of this process that is woken wait until the one that runs lets go of its core.

    Between CPUs, messages are Gloo's. The thread that receives them is woken while another one sends. Where it takes
    the core from it, it then waits in a loop for the lock that the other holds, for as long as Linux lets it: a tick of
    its clock for each message.
    """
    if hasattr(os, "SCHED_BATCH") and os.path.isdir("/proc/self/task"):
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):  # it may have ended, or have a policy that may not be changed
                if os.sched_getscheduler(int(thread)) == os.SCHED_OTHER:
                    os.sched_setscheduler(int(thread), os.SCHED_BATCH, os.sched_param(0))


def require_memory(state: PyTree, show: bool = False, copies: float = 1.0) -> None:
    """Refuses a state that no device of this machine can hold, before anything is allocated.

    Args:
      state: the shapes of its arrays.
      show: whether to say how large a state of more than 64 MiB is.
      copies: how often a device holds it, or which part of it.

    Raises:
      RunError: if it is larger than a device's memory, naming its largest arrays, or has an array without elements,
        which no checkpoint can hold.
    """
    sizes = sorted(_sizes(state), key=lambda entry: -entry[0])
    for _, name, x in sizes:
        if not math.prod(x.shape):
            raise RunError(
                f"{name} of the state is {x.dtype}{list(x.shape)}: no checkpoint holds an array without elements"
            )
    total, memory = size_of(state) * copies, memory_of()
    listed = ", ".join(f"{name} {x.dtype}{list(x.shape)} {size / 2**30:,.2f}" for size, name, x in sizes[:3])
    taken = f"the state takes {total / 2**30:,.2f} GiB"
    if memory and total > memory:
        raise RunError(f"{taken}, and a device has {memory / 2**30:,.2f} GiB; largest: {listed}")
    if show and total > 1 << 26:
        say(f"{taken} of {memory / 2**30:,.2f} GiB; largest: {listed}")


def _sizes(state: PyTree) -> list[tuple[int, str, Any]]:
    """Bytes, name and shape of each array."""
    return [
        (math.prod(x.shape) * x.dtype.itemsize, jax.tree_util.keystr(path, simple=True, separator="/"), x)
        for path, x in jax.tree.leaves_with_path(state)
    ]


def size_of(state: PyTree) -> int:
    """Bytes of a state."""
    return sum(size for size, _, _ in _sizes(state))


def memory_of() -> int:
    """Bytes of a device's memory, or 0 if nobody says."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit", 0)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 0


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def shard_batch(batch: PyTree, axis: int = 0) -> PyTree:
    """Splits an axis of every array over the devices of the run.

    Called by a system inside `step` on whatever it computes a mean over; the compiler then splits the work that
    depends on it, and sums what has to be summed. Outside a run it does nothing.

    Args:
      batch: a tree of arrays `[B, ...]`.
      axis: which axis is B; 0 by default.

    Raises:
      RunError: if the number of devices does not divide B.

    Example:
      >>> shard_batch(np.zeros((8, 3))).shape
      (8, 3)
    """
    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.axis_names or mesh.shape[AXIS] == 1:
        return batch
    num_devices = mesh.shape[AXIS]

    def split(x):
        _require_divisible(x.shape[axis], num_devices)
        return jax.lax.with_sharding_constraint(x, PartitionSpec(*[None] * axis, AXIS))

    return jax.tree.map(split, batch)


def over_devices(f: Callable[..., tuple[PyTree, PyTree]]) -> Callable[..., tuple[PyTree, PyTree]]:
    """Lets each device of the run do its part of a batch.

    Where `shard_batch` leaves it to the compiler to find what can be split, here each device runs `f` on its own part.

    Args:
      f: `f(shared, batch, axis_name) -> (reduced, split)`: of what every device holds whole, and of its
        part of arrays `[B, ...]`. What is reduced must be the same on every device: a mean over `axis_name`, which is
        None outside a run and with one device (`device_mean`). What is split has a leading axis too, and stays where
        it is.

    Returns:
      A function of `(shared, batch)`.

    Raises:
      RunError: if the number of devices does not divide B.

    Example:
      >>> def mean(w, x, axis_name):
      ...     return device_mean((w * x).mean(), axis_name), x + 1
      >>> over_devices(mean)(2.0, np.arange(4.0))[0]
      np.float64(3.0)
    """

    def mapped(shared: PyTree, batch: PyTree) -> tuple[PyTree, PyTree]:
        mesh = jax.sharding.get_abstract_mesh()
        if AXIS not in mesh.axis_names or mesh.shape[AXIS] == 1:
            return f(shared, batch, None)
        whole, parts = PartitionSpec(), PartitionSpec(AXIS)
        for x in jax.tree.leaves(batch):
            _require_divisible(x.shape[0], mesh.shape[AXIS])
        per_device = jax.shard_map(
            lambda shared, batch: f(shared, batch, AXIS), in_specs=(whole, parts), out_specs=(whole, parts)
        )
        return per_device(shared, batch)

    return mapped


def gather_batch(batch: PyTree) -> PyTree:
    """Puts what `shard_batch` has split on every device, whole. Outside a run it does nothing.

    Called inside `step` where each device needs all of a batch, as to draw from it in another order.

    Args:
      batch: a tree of arrays.

    Example:
      >>> gather_batch(np.zeros((8, 3))).shape
      (8, 3)
    """
    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.axis_names or mesh.shape[AXIS] == 1:
        return batch
    return jax.lax.with_sharding_constraint(batch, PartitionSpec())


def device_mean(tree: PyTree, axis_name: str | None) -> PyTree:
    """Takes the mean over the devices of everything in a tree, with one message for all that is small.

    A message costs the time it takes to be waited for, however short it is: small arrays are sent as one.

    Args:
      tree: arrays, or numbers of each device.
      axis_name: the axis that `over_devices` gives; with None the tree is returned as it is.

    Example:
      >>> device_mean({"w": 1.0}, None)
      {'w': 1.0}
    """
    if axis_name is None:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    leaves = [jnp.asarray(x) for x in leaves]
    together: dict[Any, list[int]] = {}
    for i, x in enumerate(leaves):
        together.setdefault(x.dtype if x.size * x.dtype.itemsize < LARGE else i, []).append(i)
    for which in together.values():
        flat = jnp.concatenate([leaves[i].ravel() for i in which]) if len(which) > 1 else leaves[which[0]]
        mean = jax.lax.pmean(flat, axis_name)
        parts = jnp.split(mean, np.cumsum([leaves[i].size for i in which])[:-1]) if len(which) > 1 else [mean]
        for i, part in zip(which, parts, strict=True):
            leaves[i] = part.reshape(leaves[i].shape)
    return jax.tree.unflatten(structure, leaves)


def mean_gradient(loss_fn: Callable[..., tuple[Any, PyTree]], axis_name: str | None) -> Callable[..., tuple[Any, Any]]:
    """`jax.value_and_grad(loss_fn, has_aux=True)`, of the mean over the devices.

    Args:
      loss_fn: `loss_fn(params, *args) -> (loss, metrics)`, means over a device's part of a batch.
      axis_name: the axis that `over_devices` gives, or None.

    Returns:
      A function of the same arguments that returns `((loss, metrics), gradient)`.

    Example:
      >>> loss = lambda w, x: ((w * x).mean(), {})
      >>> mean_gradient(loss, None)(2.0, np.arange(4.0))[1]
      Array(1.5, dtype=float32, weak_type=True)
    """

    def mapped(params: PyTree, *args: Any) -> tuple[Any, PyTree]:
        # Each device differentiates by its own copy, so that the mean below is the only one.
        own = params if axis_name is None else vary_like(params, *args)
        return device_mean(jax.value_and_grad(loss_fn, has_aux=True)(own, *args), axis_name)

    return mapped


def _require_divisible(size: int, num_devices: int) -> None:
    if size % num_devices:
        raise SettingError(
            f"a batch of {size} does not divide by {num_devices} devices: "
            f"choose a multiple of {num_devices}, or fewer devices with --devices"
        )


def agree(*numbers: int) -> tuple[int, ...]:
    """Returns the largest of each number over all processes, so that all take the same decisions."""
    if jax.process_count() == 1:
        return numbers
    from jax.experimental import multihost_utils

    everyone = multihost_utils.process_allgather(np.array(numbers, np.int32))
    return tuple(int(x) for x in np.max(everyone, axis=0))
