"""Sequential halving: which of the considered actions comes next."""

import math
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Int


def considered_visits(
    num_considered: ArrayLike, num_simulations: ArrayLike, simulation: ArrayLike, *, max_num_considered: int
) -> Int[Array, "*n"]:
    r"""Visits that an action must have to be simulated next.

    With m candidates and n simulations there are k = ⌈log₂ m⌉ phases. A phase visits each of its c candidates
    max(1, ⌊n / (k c)⌋) times in turn, then the better half goes on; two candidates stay till the end.

    Example:
      >>> [int(considered_visits(4, 8, t, max_num_considered=4)) for t in range(8)]
      [0, 0, 0, 0, 1, 1, 2, 2]

    References:
      Karnin et al., "Almost optimal exploration in multi-armed bandits", 2013.
      Danihelka et al., "Policy improvement by planning with Gumbel", 2022, algorithm 1.
    """
    given = (num_considered, num_simulations, simulation)
    m, n, t = jnp.broadcast_arrays(*(jnp.asarray(x, jnp.int32) for x in given))
    max_phases = math.ceil(math.log2(max(max_num_considered, 2)))
    phases = sum((m > 2**k).astype(jnp.int32) for k in range(max_phases))
    candidates, start, level = jnp.maximum(m, 1), jnp.zeros_like(t), jnp.zeros_like(t)
    visits: Any = t
    for _ in range(max_phases + 1):
        rounds = jnp.maximum(1, lax.div(n, jnp.maximum(phases * candidates, 1)))
        visits = jnp.where(t >= start, level + lax.div(t - start, candidates), visits)
        start, level = start + rounds * candidates, level + rounds
        candidates = jnp.maximum(2, candidates >> 1)
    return jnp.where(m <= 1, t, visits)
