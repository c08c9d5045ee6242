"""The best that can be done in a level, exactly: dynamic programming over all its states."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from renga._core.checks import check_shapes
from renga._core.varying import vary_like
from renga.envs._chain import Chain
from renga.envs._grid import Grid, Targets

Level = Grid | Chain


def optimal_values(
    level: Level, discount: Float[ArrayLike, ""] | float = 1.0, *, time_limit: bool = True, tolerance: float = 1e-3
) -> Float[Array, " S"]:
    """Computes the value of every state under the best policy, by value iteration.

    From v₀ = 0, with d = 1 where the episode ends and 0 elsewhere:

        vₖ₊₁(s) = maxₐ E[r + γ (1 − d) vₖ(s′)]

    With the time limit it is v at the first step of an episode, k = `max_steps`, nothing being worth anything after the
    cut: an upper bound of what any policy gets, and reached by one that knows the time. Without, it is the v* of an
    agent whose time-outs keep their bootstrap, and stays within `tolerance` of it:

        ‖v* − vₖ‖ ≤ γ/(1 − γ) ‖vₖ − vₖ₋₁‖

    Objects come back independently, so that the expectation over all 2ᴺ outcomes is N mixtures of two, one after the
    other, and no matrix of transitions is ever made.

    Args:
      level: a grid with fixed objects, or a chain without distractors.
      discount: γ in [0, 1]; below 1 without the time limit.
      time_limit: whether an episode is over after `max_steps`.
      tolerance: largest error without the time limit, in units of reward. Float32 gives about six digits.

    Returns:
      v*, one number a state: `values[observation]`. Numbers that are no state, such as cells in walls, have values
      without meaning.

    Raises:
      ValueError: if the states of the level have no numbers, or discount is not below 1 without the time limit.

    Example:
      >>> from renga import envs
      >>> walls, objects = jnp.zeros((1, 3), bool), jnp.array([[1.0, 1.0, 0.0]])
      >>> level = envs.grid_level(walls, objects, cells=jnp.array([2]), max_steps=9)
      >>> jax.jit(optimal_values)(level, discount=0.5)[jnp.array([1, 3])]  # in cells 0 and 1, with the object there
      Array([0.5, 1. ], dtype=float32)

    References:
      Bellman, "Dynamic Programming", 1957; the bound: Puterman, "Markov Decision Processes", 1994, section 6.3.
    """
    _require_numbers("optimal_values", level)
    gamma = jnp.asarray(discount, jnp.float32)
    if not time_limit and not isinstance(gamma, jax.core.Tracer) and not gamma < 1:
        raise ValueError(f"optimal_values: discount must be below 1 where time_limit is False, got {discount}")
    if isinstance(level, Chain):
        return _chain_values(level, gamma)
    targets = level._targets()
    gamma = gamma.astype(jnp.promote_types(gamma.dtype, level.rewards.dtype))
    zeros = vary_like(jnp.zeros(_num_states(level), gamma.dtype), (level, gamma))

    def sweep(values):
        return jnp.max(_look_ahead(level, targets, values, gamma), axis=1).reshape(-1)

    if time_limit:
        return jax.lax.fori_loop(0, level.max_steps, lambda _, values: sweep(values), zeros)

    def go_on(carry):
        sweeps, change, _ = carry
        return (change * gamma > tolerance * (1 - gamma)) & (sweeps < enough)

    def step(carry):
        sweeps, _, values = carry
        after = sweep(values)
        return sweeps + 1, jnp.max(jnp.abs(after - values)), after

    # The error shrinks by γ a sweep from at most Σ|r|/(1 − γ): so many are enough even where rounding hides the change.
    largest = jnp.maximum(jnp.sum(jnp.abs(level.rewards)), tolerance) / (1 - gamma)
    enough = jnp.ceil(jnp.log(tolerance / largest) / jnp.log(gamma))
    return jax.lax.while_loop(go_on, step, (jnp.zeros_like(gamma), jnp.full_like(gamma, jnp.inf), zeros))[2]


def action_values(
    level: Level, values: Float[ArrayLike, " S"], discount: Float[ArrayLike, ""] | float = 1.0
) -> Float[Array, "S A"]:
    """Looks one step ahead: q(s, a) = E[r + γ (1 − d) v(s′)].

    Args:
      level: a grid with fixed objects, or a chain without distractors.
      values: v, one number a state.
      discount: γ.

    Returns:
      q; its largest entries are the best actions where v is v*.

    Raises:
      ValueError: if the states of the level have no numbers, or there is not one value for each.

    Example:
      >>> from renga import envs
      >>> walls, objects = jnp.zeros((1, 3), bool), jnp.array([[1.0, 1.0, 0.0]])
      >>> level = envs.grid_level(walls, objects, cells=jnp.array([2]), actions=5)
      >>> values = jax.jit(lambda level: optimal_values(level, 0.5, time_limit=False))(level)
      >>> jax.jit(action_values)(level, values, 0.5)[1]  # in cell 0: stay, up, right, down, left
      Array([0.25, 0.25, 0.5 , 0.25, 0.25], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., chapter 4.
    """
    _require_numbers("action_values", level)
    values = jnp.asarray(values)
    check_shapes("action_values", values=(values, str(_num_states(level))))
    if isinstance(level, Chain):
        return _chain_action_values(level, values, jnp.asarray(discount, jnp.float32))
    q = _look_ahead(level, level._targets(), values, jnp.asarray(discount, jnp.float32))
    return jnp.moveaxis(q, 1, 2).reshape(-1, level.actions)


def optimal_return(
    level: Level, discount: Float[ArrayLike, ""] | float = 1.0, *, time_limit: bool = True, tolerance: float = 1e-3
) -> Float[Array, ""]:
    """Computes the expected return of the best policy from where episodes begin.

    Args:
      level: a grid with fixed objects, or a chain.
      discount: γ; 1, by default, for the plain sum of rewards.
      time_limit: whether an episode is over after `max_steps`.
      tolerance: as of `optimal_values`.

    Returns:
      E[v*(s₀)].

    Raises:
      ValueError: as `optimal_values`; a chain may have distractors.

    Example:
      >>> from renga import envs
      >>> keys = jax.random.split(jax.random.key(0), 4)
      >>> levels = jax.jit(jax.vmap(lambda key: envs.grid_world("sparse", key, actions=5)))(keys)
      >>> jax.jit(jax.vmap(optimal_return))(levels).round(2)  # the one reward is always in reach
      Array([1., 1., 1., 1.], dtype=float32)

    References:
      As of `optimal_values`.
    """
    if isinstance(level, Chain):
        return jnp.asarray(discount, jnp.float32) ** (level.length - 1)
    values = optimal_values(level, discount, time_limit=time_limit, tolerance=tolerance)
    num_objects = len(level.kinds)
    start = jnp.sum(jnp.where(level.exists, 2 ** jnp.arange(num_objects), 0))
    at_start = values.reshape(-1, 2**num_objects)[level.free_cells, start]
    free = jnp.arange(at_start.size) < level.num_free
    return jnp.sum(jnp.where(free, at_start, 0.0)) / level.num_free


def _require_numbers(function: str, level: Level) -> None:
    if isinstance(level, Grid) and level.placement == "random":
        raise ValueError(f"{function}: level must have fixed objects, got a grid whose objects are drawn each episode")
    if isinstance(level, Chain) and level.num_distractors:
        raise ValueError(f"{function}: level must have no distractors, got {level.num_distractors}")


def _num_states(level: Level) -> int:
    """As many as a level has whose observation is a number, whatever it is here."""
    return 2 * (level.longest + 1) if isinstance(level, Chain) else math.prod(level.shape) * 2 ** len(level.kinds)


def _look_ahead(
    level: Grid, targets: Targets, values: Float[Array, " S"], gamma: Float[Array, ""]
) -> Float[Array, "P A M"]:
    """Gives q for each cell P, action A and set M of present objects."""
    values = values.reshape(-1, 2 ** len(level.kinds))
    here = jnp.arange(values.shape[0])
    if level.actions != 18:  # what an action brings depends on the cell it leads to alone
        return _outcome(level, values, here, gamma)[targets.moved]
    nothing = jnp.full_like(here, -1)
    moves = _outcome(level, values, nothing, gamma)[targets.moved[:, :9]]
    collects = jax.vmap(lambda reached: _outcome(level, values, reached, gamma), in_axes=1, out_axes=1)(
        targets.reached[:, 9:]
    )
    return jnp.concatenate([moves, collects], axis=1)


def _outcome(level: Grid, values: Float[Array, "P M"], reached: Array, gamma: Float[Array, ""]) -> Float[Array, "P M"]:
    """E[r + γ (1 − d) v(s′)] of being in each cell P after a step that collected in the cell reached."""
    num_cells, num_sets = values.shape
    reward, going_on = jnp.zeros_like(values), jnp.ones_like(values)
    for i in range(len(level.kinds)):
        collected = (reached == level.cells[i])[:, None, None]  # if it is there
        respawn = jnp.where(level.exists[i], level.respawns[i], 0.0)

        # Split the sets by whether the object is among them: it was gone before the step, or it was there.
        split = values.reshape(num_cells, -1, 2, 2**i)
        gone, there = split[:, :, 0], split[:, :, 1]
        after_gone = (1.0 - respawn) * gone + respawn * there
        after_there = jnp.where(collected, gone, there)
        values = jnp.stack([after_gone, after_there], axis=2).reshape(num_cells, num_sets)

        is_there = ((jnp.arange(num_sets) >> i) & 1 == 1)[None]
        takes = collected[:, :, 0] & is_there
        reward = reward + jnp.where(takes, level.rewards[i], 0.0)
        going_on = going_on * jnp.where(takes, 1.0 - level.terminations[i], 1.0)
    return reward + gamma * going_on * values


def _chain_values(level: Chain, gamma: Float[Array, ""]) -> Float[Array, " S"]:
    """Nothing is decided after the first action: ±γ to the steps that are left."""
    time, first = jnp.divmod(jnp.arange(_num_states(level)), 2)
    left = level.length - 1 - time
    sign = jnp.where((first == level.right) | (time == 0), 1.0, -1.0)
    return jnp.where(left >= 0, sign * gamma ** jnp.maximum(left, 0), 0.0)


def _chain_action_values(level: Chain, values: Float[Array, " S"], gamma: Float[Array, ""]) -> Float[Array, "S A"]:
    time, first = jnp.divmod(jnp.arange(_num_states(level)), 2)
    first = jnp.where(time[:, None] == 0, jnp.arange(2)[None], first[:, None])
    ends = (time + 1 >= level.length)[:, None]
    after = values[jnp.minimum(2 * (time[:, None] + 1) + first, values.size - 1)]
    return jnp.where(ends, jnp.where(first == level.right, 1.0, -1.0), gamma * after)
