"""A learned rule in a file, to be used in anybody's program."""

import dataclasses
import json
import os

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from renga import nn
from renga.loop import RunError
from renga.systems.lpg._rules import LPG


def save_rule(path: str | os.PathLike[str], rule: LPG, eta: PyTree) -> None:
    """Writes a rule and its meta-parameters to a safetensors file.

    Example:
      >>> import jax, tempfile
      >>> rule = LPG(units=8, prediction_size=3)
      >>> path = tempfile.mkdtemp() + "/rule.safetensors"
      >>> save_rule(path, rule, jax.jit(rule.init)(jax.random.key(0)))
      >>> load_rule(path)[0] == rule
      True
    """
    described = json.dumps(dataclasses.asdict(rule)).encode()
    nn.save(path, {"rule": jnp.asarray(np.frombuffer(described, np.uint8)), "eta": eta})


def load_rule(path: str | os.PathLike[str]) -> tuple[LPG, PyTree]:
    """Reads a rule that `renga export RUN FILE` has written.

    Args:
      path: of the file.

    Returns:
      The rule, a function `rule(eta, inputs) -> targets`, and its meta-parameters η.

    Raises:
      RunError: if the file holds something else.

    Example: see `save_rule`.
    """
    found = nn.load(path)
    if set(found) != {"rule", "eta"}:
        raise RunError(f"load_rule: {path} must hold 'rule' and 'eta', it holds {', '.join(sorted(found))}")
    return LPG(**json.loads(np.asarray(found["rule"]).tobytes())), found["eta"]
