"""Trains a tiny LPG in a process of its own: python lpg_process.py DIRECTORY DEVICES [COORDINATOR ID]."""

import sys

import jax
import lpg_small
import numpy as np

from renga import loop
from renga.systems import lpg

if __name__ == "__main__":
    directory, devices, *rest = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", int(devices))
    if rest:
        loop.join_processes(rest[0], 2, int(rest[1]))
    result = loop.run(lpg.make, lpg_small.SPLIT, steps=2, directory=directory, system="lpg", show=False)
    assert len(jax.devices()) == int(devices) * (2 if rest else 1)
    if jax.process_index() == 0:
        np.save(f"{directory}/eta.npy", lpg_small.flat(result.state.eta))
