"""The cores of a processor as devices, among which members are split."""

import contextlib
import os

import jax


def use_cores(num_devices: int | None = None) -> None:
    """Lets JAX see a CPU's cores as devices: a member needs no word of the others, so each core does its own.

    Nothing changes where JAX runs already, where a number was set, or on a GPU.

    Args:
      num_devices: how many; all by default.
    """
    asked = getattr(jax.config, "jax_num_cpu_devices", -1)
    if asked > 0 or "xla_force_host_platform" in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):  # it runs already
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        jax.config.update("jax_num_cpu_devices", num_devices or cores)
