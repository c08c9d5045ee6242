"""One pass over memory for the whole step, where the compiler can write several results at once."""
# ruff: noqa: N801

import os
from typing import Any

import jax

from renga.optim._transformation import GradientTransformationExtraArgs, adapt
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import value

_OPTION = "xla_cpu_use_multi_output_fusion=true"


def _pays() -> bool:
    """Whether XLA was told to fuse operations with several results on CPU, heeds it, and this is one."""
    heeded = jax.__version_info__ < (0, 11)
    return heeded and _OPTION in os.environ.get("XLA_FLAGS", "") and jax.default_backend() == "cpu"


@value
class one_pass(GradientTransformationExtraArgs):
    """Lets a step on CPU read every array once and write it once.

    XLA's CPU compiler makes a pass over memory for each result of a step: Adam's two moments, and the parameters, for
    which it reads both again. With `XLA_FLAGS=--xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true` it
    makes one pass for all results that do not wait for each other. This computes the updates a second time from the old
    state, so that they do not wait for the new one; where memory is the limit, arithmetic costs nothing.

    For transformations that treat every element alike: a sum over all of them, as of clipping by the global norm, would
    be taken twice, and belongs before this in a chain. The whole step, `apply_updates` included, must be under one
    `jax.jit`, its parameters and state donated. It changes nothing without the flag, with JAX 0.11 or later, whose
    compiler no longer heeds it, and on accelerators, whose compilers do so anyway. The results are always the same.

    Args:
      inner: the transformation.

    Example:
      >>> from renga.optim import adamw, chain, clip_by_global_norm
      >>> tx = chain(clip_by_global_norm(1.0), one_pass(adamw(0.1)))
      >>> updates, state = tx.update(jnp.ones(2), tx.init(jnp.zeros(2)), jnp.zeros(2))
      >>> updates.round(3)
      Array([-0.1, -0.1], dtype=float32)
    """

    inner: Any

    def __post_init__(self):
        adapt(self, "inner")

    def init(self, params: Params) -> OptState:
        """The state of the inner transformation."""
        return self.inner.init(params)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Updates from the old state, beside the new one."""
        new_updates, new_state = self.inner.update(updates, state, params, **extra_args)
        if _pays():
            # The barrier keeps the compiler from sharing what both need.
            again = jax.lax.optimization_barrier((updates, state, params))
            new_updates, _ = self.inner.update(*again, **extra_args)
        return new_updates, new_state
