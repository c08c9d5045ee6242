"""Assertions on devices and on where arrays live."""

from typing import Any

import jax
import numpy as np

from renga.testing._assertion import assertion
from renga.testing._shapes import describe
from renga.testing._trees import leaves_of

_KINDS = ("cpu", "gpu", "tpu")


def _count(devtype: str, backend: str | None) -> int:
    """Returns how many devices of a kind there are."""
    if backend is not None:
        return sum(d.platform == devtype for d in jax.devices(backend))
    try:
        return len(jax.devices(devtype))
    except RuntimeError:
        return 0


@assertion
def assert_devices_available(n: Any, devtype: Any, backend: str | None = None, not_less_than: bool = False) -> None:
    """Checks how many devices there are.

    Args:
      n: the number of devices.
      devtype: "cpu", "gpu" or "tpu".
      backend: the backend whose devices count; None takes all.
      not_less_than: whether more are allowed.

    Raises:
      AssertionError: if there is another number of devices.
      ValueError: if there is no such kind of device.

    Example:
      >>> assert_devices_available(1, "cpu", not_less_than=True)
    """
    if not isinstance(devtype, str) or devtype.lower() not in _KINDS:
        raise ValueError(f"assert_devices_available: devtype must be one of {_KINDS}, got {devtype!r}")
    got = _count(devtype, backend)
    if not (got >= n if not_less_than else got == n):
        least = "at least " if not_less_than else ""
        raise AssertionError(f"there must be {least}{n} devices of kind {devtype!r}, got {got}")


@assertion
def assert_gpu_available(backend: str | None = None) -> None:
    """Checks that there is a GPU.

    Example:
      >>> assert_gpu_available()  # doctest: +SKIP
    """
    if not _count("gpu", backend):
        raise AssertionError(f"there must be a GPU, got {[d.platform for d in jax.devices(backend)]}")


@assertion
def assert_tpu_available(backend: str | None = None) -> None:
    """Checks that there is a TPU.

    Example:
      >>> assert_tpu_available()  # doctest: +SKIP
    """
    if not _count("tpu", backend):
        raise AssertionError(f"there must be a TPU, got {[d.platform for d in jax.devices(backend)]}")


def _devices(x: jax.Array) -> list[Any]:
    """Returns the devices of an array, in the order of its shards."""
    return [shard.device for shard in x.global_shards]


def _located(name: str, x: Any) -> list[Any]:
    if isinstance(x, jax.core.Tracer):
        raise AssertionError(f"{name} is traced, and has a device only when the program runs")
    return _devices(x)


@assertion
def assert_tree_is_on_host(tree: Any, *, allow_cpu_device: bool = True, allow_sharded_arrays: bool = False) -> None:
    """Checks that all arrays of a tree are in the memory of the host.

    Args:
      tree: a tree of arrays.
      allow_cpu_device: whether JAX's arrays on a CPU count; if not, only NumPy's do.
      allow_sharded_arrays: whether arrays on several devices are allowed.

    Example:
      >>> assert_tree_is_on_host({"a": np.ones(2)}, allow_cpu_device=False)
    """
    for path, x in leaves_of(tree):
        name = f"tree{path}"
        if isinstance(x, np.ndarray):
            continue
        if not isinstance(x, jax.Array):
            raise AssertionError(f"{name} must be an array, got {describe(x)}")
        devices = _located(name, x)
        if not allow_cpu_device or any(d.platform != "cpu" for d in devices):
            raise AssertionError(f"{name} must be on the host, got an array of JAX on {devices}")
        if len(devices) > 1 and not allow_sharded_arrays:
            raise AssertionError(f"{name} must be in one piece, got one on {len(devices)} devices, {devices}")


@assertion
def assert_tree_is_on_device(tree: Any, *, platform: Any = ("gpu", "tpu"), device: Any = None) -> None:
    """Checks that each array of a tree is on one device, of a platform or a given one.

    Args:
      tree: a tree of arrays of JAX.
      platform: the platform or platforms that are allowed.
      device: the device; if given, `platform` does not count.

    Example:
      >>> assert_tree_is_on_device({"a": jnp.ones(2)}, platform=("cpu", "gpu", "tpu"))
    """
    platforms = [platform] if isinstance(platform, str) else list(platform or ())
    for path, x in leaves_of(tree):
        name = f"tree{path}"
        if not isinstance(x, jax.Array):
            raise AssertionError(f"{name} must be an array of JAX, got {describe(x)}")
        devices = _located(name, x)
        if len(devices) > 1:
            raise AssertionError(f"{name} must be on one device, got {devices}")
        if device is not None and devices != [device]:
            raise AssertionError(f"{name} must be on {device}, got {devices[0]}")
        if device is None and devices[0].platform not in platforms:
            raise AssertionError(f"{name} must be on a platform of {platforms}, got {devices[0]}")


@assertion
def assert_tree_is_sharded(tree: Any, *, devices: Any) -> None:
    """Checks that all arrays of a tree lie on several devices, these and in this order.

    Args:
      tree: a tree of arrays of JAX.
      devices: the devices.

    Example:
      >>> assert_tree_is_sharded({}, devices=jax.devices())
    """
    want = list(devices)
    for path, x in leaves_of(tree):
        name = f"tree{path}"
        if not isinstance(x, jax.Array):
            raise AssertionError(f"{name} must be an array of JAX, got {describe(x)}")
        got = _located(name, x)
        if len(got) < 2 or got != want:
            raise AssertionError(f"{name} must be sharded over {want}, got {got}")
