"""Trains a tiny LPG as one of two processes: python lpg_process.py DIRECTORY DEVICES COORDINATOR ID."""

import sys

import jax
import lpg_small
import numpy as np

from renga import loop
from renga.systems import lpg

if __name__ == "__main__":
    directory, devices, coordinator, number = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", int(devices))
    loop.join_processes(coordinator, 2, int(number))
    result = loop.run(lpg.make, lpg_small.SPLIT, steps=2, directory=directory, system="lpg", show=False)
    assert len(jax.devices()) == 2 * int(devices)
    if jax.process_index() == 0:
        np.save(f"{directory}/eta.npy", lpg_small.flat(result.state.eta))
