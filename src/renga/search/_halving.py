"""Sequential halving: which of the considered actions comes next."""

import functools
import math

import numpy as np


@functools.lru_cache(maxsize=256)
def considered_visits(max_num_considered: int, num_simulations: int) -> np.ndarray:
    r"""Visits that an action must have to be simulated next, for each number of candidates.

    With m candidates and n simulations there are ⌈log₂ m⌉ phases. A phase visits each of its
    candidates max(1, ⌊n / (⌈log₂ m⌉ · candidates)⌋) times in turn, then the better half goes on;
    two candidates stay till the end.

    Args:
      max_num_considered: the largest m.
      num_simulations: n.

    Returns:
      An array [max_num_considered + 1, n]: row m holds for simulation t the number of visits,
      so that one of the actions with exactly so many is taken.

    Example:
      >>> considered_visits(4, 8)[4]
      array([0, 0, 0, 0, 1, 1, 2, 2], dtype=int32)

    References:
      Karnin et al., "Almost optimal exploration in multi-armed bandits", 2013.
      Danihelka et al., "Policy improvement by planning with Gumbel", 2022, algorithm 1.
    """
    rows = [_sequence(m, num_simulations) for m in range(max_num_considered + 1)]
    table = np.array(rows, dtype=np.int32).reshape(len(rows), num_simulations)
    table.flags.writeable = False
    return table


def _sequence(num_considered: int, num_simulations: int) -> list[int]:
    if num_considered <= 1:
        return list(range(num_simulations))
    phases = math.ceil(math.log2(num_considered))
    sequence: list[int] = []
    candidates, level = num_considered, 0
    while len(sequence) < num_simulations:
        rounds = max(1, num_simulations // (phases * candidates))
        for visits in range(level, level + rounds):
            sequence += [visits] * candidates
        level += rounds
        candidates = max(2, candidates // 2)
    return sequence[:num_simulations]
