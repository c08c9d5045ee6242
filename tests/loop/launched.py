"""A process of a cluster: joins the others and says what it sees. `python launched.py [ask] [DIRECTORY]`.

What it says stands between two marks: Gloo writes lines of its own to stdout, before, after or on the same line.
"""

import sys
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from renga import loop
from renga.loop import _cluster, _peers

jax.config.update("jax_num_cpu_devices", 1)
if "ask" in sys.argv:  # as on Kubernetes and Cloud TPU, where the numbers come from JAX
    _cluster.LAUNCHERS = {"slurm": lambda environment: loop.Launched("k8s")}
_peers.SHOWN_WITHIN = 1.0
try:
    found = loop.join_cluster(timeout=60.0)
    everyone = multihost_utils.process_allgather(np.int32(jax.process_index()))
    for directory in sys.argv[1:]:
        if directory != "ask":
            _peers.all_find(Path(directory))
    said = f"{found.launcher} {found.num_processes} {found.process_id} {everyone.tolist()}"
except loop.RunError as error:
    _peers.fail(knows_why=True)
    said = f"refused: {error}"
print(f"<said>{said}</said>")
