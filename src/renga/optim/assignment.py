"""The linear assignment problem: each row of a matrix gets a column of its own, at the least total cost."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Int

from renga._core.checks import check_shapes
from renga._core.ranges import known
from renga._core.varying import vary_like

__all__ = ["base_hungarian_algorithm", "hungarian_algorithm"]

NONE = -1  # no row, no column


def _costs(name: str, cost_matrix: ArrayLike) -> Array:
    """The costs as finite numbers: what is forbidden (∞, NaN) is dearer than any assignment without it."""
    check_shapes(name, cost_matrix=(cost_matrix, "N M"))
    cost, value = jnp.asarray(cost_matrix), known(cost_matrix)
    if value is not None and np.any(np.isnan(value) | np.isneginf(value)):
        raise ValueError(f"{name}: cost_matrix must not hold NaN or -∞")
    if jnp.issubdtype(cost.dtype, jnp.complexfloating):
        raise TypeError(f"{name}: cost_matrix must be real, got {cost.dtype}")
    if not jnp.issubdtype(cost.dtype, jnp.inexact):
        return cost.astype(jnp.promote_types(cost.dtype, jnp.int32)) if cost.size else cost.astype(jnp.int32)
    cost = cost.astype(jnp.promote_types(cost.dtype, jnp.float32))
    finite = jnp.isfinite(cost)
    low = jnp.min(cost, initial=jnp.inf, where=finite)
    high = jnp.max(cost, initial=-jnp.inf, where=finite)
    some = jnp.any(finite)
    low, high = jnp.where(some, low, 0), jnp.where(some, high, 0)
    forbidden = high + (min(cost.shape) + 1) * (high - low) + 1
    return jnp.where(finite, cost, jnp.where(cost == -jnp.inf, low, forbidden))


def _add_row(cost: Array, row: Array, waits: Array, u: Array, v: Array, row_of: Array) -> tuple[Array, Array, Array]:
    """Gives a row that waits a column, along the shortest augmenting path (Dijkstra's, with the duals u and v)."""
    n, m = cost.shape
    top = jnp.asarray(jnp.inf if jnp.issubdtype(cost.dtype, jnp.inexact) else jnp.iinfo(cost.dtype).max, cost.dtype)

    def grow(s):
        r, column, _, distance, before, seen, u, v = s
        reduced = cost[r] - u[r] - v
        nearer = ~seen & (reduced < distance)
        distance, before = jnp.where(nearer, reduced, distance), jnp.where(nearer, column, before)
        ahead = jnp.where(seen, top, distance)
        nearest = jnp.argmin(ahead).astype(jnp.int32)
        step = ahead[nearest]
        u = u.at[row].add(step).at[jnp.where(seen, row_of, n)].add(step, mode="drop")
        v = jnp.where(seen, v - step, v)
        distance = jnp.where(seen, distance, distance - step)
        owner = row_of[nearest]
        return owner, nearest, owner == NONE, distance, before, seen.at[nearest].set(True), u, v

    none = jnp.int32(NONE)
    far, nothing = jnp.full([m], top), jnp.full([m], NONE, jnp.int32)
    start = vary_like((row, none, ~waits, far, nothing, jnp.zeros([m], bool), u, v), cost)
    _, column, _, _, before, _, u, v = lax.while_loop(lambda s: ~s[2], grow, start)

    def shift(s):
        column, row_of = s
        source = before[column]
        taken = jnp.where(source == NONE, row, row_of[source])
        return source, row_of.at[column].set(taken)

    _, row_of = lax.while_loop(lambda s: s[0] != NONE, shift, (column, row_of))
    return u, v, row_of


def _assign(name: str, cost_matrix: ArrayLike, greedy: bool) -> tuple[Array, Array]:
    cost = _costs(name, cost_matrix)
    tall = cost.shape[0] > cost.shape[1]
    cost = cost.T if tall else cost
    n, m = cost.shape
    if n == 0:
        empty = jnp.zeros([0], jnp.int32)
        return empty, empty
    u, v = jnp.zeros([n], cost.dtype), jnp.zeros([m], cost.dtype)
    row_of = jnp.full([m], NONE, jnp.int32)
    waits = jnp.ones([n], bool)
    if greedy:
        # Rows whose cheapest columns differ have them already: with u the least cost of a row, these pairs are tight.
        u, best = jnp.min(cost, axis=1), jnp.argmin(cost, axis=1)
        rows = jnp.arange(n, dtype=jnp.int32)
        first = jnp.full([m], n, jnp.int32).at[best].min(rows)
        row_of = jnp.where(first < n, first, NONE).astype(jnp.int32)
        waits = first[best] != rows

    def each(i, s):
        row = i.astype(jnp.int32)
        return vary_like(_add_row(cost, row, waits[i], *s), cost)

    _, _, row_of = lax.fori_loop(0, n, each, vary_like((u, v, row_of), cost))
    column_of = (
        jnp.full([n], 0, jnp.int32)
        .at[jnp.where(row_of == NONE, n, row_of)]
        .set(jnp.arange(m, dtype=jnp.int32), mode="drop")
    )
    if not tall:
        return jnp.arange(n, dtype=jnp.int32), column_of
    order = jnp.argsort(column_of)
    return column_of[order], order.astype(jnp.int32)


def base_hungarian_algorithm(cost_matrix: ArrayLike) -> tuple[Int[Array, " K"], Int[Array, " K"]]:
    """The assignment of least total cost, by shortest augmenting paths from an empty assignment.

    Args:
      cost_matrix: costs [N, M] of giving row n the column m; ∞ where that is forbidden.

    Returns:
      (rows, columns), K = min(N, M) indices each, rows ascending.

    Raises:
      ValueError: if the costs are no matrix, or hold NaN or -∞. (Under `jit` NaN counts as forbidden.)

    Example:
      >>> rows, columns = base_hungarian_algorithm(jnp.array([[8.0, 4.0, 7.0], [5.0, 2.0, 3.0], [9.0, 4.0, 8.0]]))
      >>> columns
      Array([0, 2, 1], dtype=int32)

    References:
      Kuhn, "The Hungarian method for the assignment problem", 1955.
      Jonker & Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems", 1987.
    """
    return _assign("base_hungarian_algorithm", cost_matrix, greedy=False)


def hungarian_algorithm(cost_matrix: ArrayLike) -> tuple[Int[Array, " K"], Int[Array, " K"]]:
    """The assignment of least total cost, as `base_hungarian_algorithm`, started where rows want different columns.

    Args:
      cost_matrix: costs [N, M] of giving row n the column m; ∞ where that is forbidden.

    Returns:
      (rows, columns), K = min(N, M) indices each, rows ascending.

    Raises:
      ValueError: if the costs are no matrix, or hold NaN or -∞. (Under `jit` NaN counts as forbidden.)

    Example:
      >>> cost = jnp.array([[8.0, 4.0, 7.0], [5.0, 2.0, 3.0], [9.0, 4.0, 8.0]])
      >>> rows, columns = hungarian_algorithm(cost)
      >>> cost[rows, columns].sum()
      Array(15., dtype=float32)

    References:
      Kuhn, "The Hungarian method for the assignment problem", 1955.
      Jonker & Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems", 1987.
    """
    return _assign("hungarian_algorithm", cost_matrix, greedy=True)
