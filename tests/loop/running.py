"""Ways to run the toy."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from renga import loop

from . import toy


def run(directory, steps=12, **kwargs):
    """Runs the toy in this process."""
    kwargs = {"config": toy.Config(), "num_devices": 1, "show": False, **kwargs}
    make = kwargs.pop("make", toy.make)
    return loop.run(make, kwargs.pop("config"), steps=steps, directory=directory, system="toy", **kwargs)


def start(directory, steps, *args):
    """Starts the toy in a process of its own."""
    command = [sys.executable, str(Path(toy.__file__)), str(directory), str(steps), *map(str, args)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, seconds=90.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def raw(state):
    return [np.asarray(x) for x in jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))]


def assert_same_bits(a, b):
    for x, y in zip(raw(a), raw(b), strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes()


def contents(directory):
    """All files below a directory, with their bytes."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}
