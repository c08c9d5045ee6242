"""Trains a tiny LPG in a process of its own: python lpg_process.py DIRECTORY DEVICES [COORDINATOR ID]."""

import dataclasses
import sys

import jax
import lpg_small
import numpy as np

from renga import loop
from renga.systems import lpg

CONFIG = dataclasses.replace(
    lpg_small.CONFIG, worlds=("grid/small_sparse",), num_agents=8, num_envs=2, micro_batch=0, meta_learning_rate=1e-3
)

if __name__ == "__main__":
    directory, devices, *rest = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", int(devices))
    if rest:
        loop.join_processes(rest[0], 2, int(rest[1]))
    result = loop.run(lpg.make, CONFIG, steps=2, directory=directory, system="lpg", show=False)
    assert len(jax.devices()) == int(devices) * (2 if rest else 1)
    if jax.process_index() == 0:
        flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(jax.device_get(result.state.eta))])
        np.save(f"{directory}/eta.npy", flat)
