"""Nearest neighbours in a memory of embeddings, and the rewards for being far from them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from renga._core.checks import check_shapes
from renga._core.floats import floating
from renga._core.ranges import check_integer
from renga._core.values import Record


class KNNQueryResult(Record):
    """The k nearest points of each query, nearest first.

    Fields:
      neighbors: the points, floats [Q, k, D].
      neighbor_indices: their places in the data [Q, k].
      neighbor_neg_distances: their distances, negated [Q, k].
    """

    neighbors: Any
    neighbor_indices: Any
    neighbor_neg_distances: Any


def _sqeuclidian(x: Float[Array, " D"], y: Float[Array, " D"]) -> Float[Array, ""]:
    return jnp.sum((x - y) ** 2)


def knn_query(
    data: Float[ArrayLike, "N D"],
    query_points: Float[ArrayLike, "Q D"],
    num_neighbors: int,
    metric: Callable[[Array, Array], Array] = _sqeuclidian,
) -> KNNQueryResult:
    r"""Finds the nearest points by looking at all.

    Args:
      data: N points.
      query_points: Q points whose neighbours are wanted.
      num_neighbors: k; no more than N are given.
      metric: the distance of two points; the squared Euclidean one unless told.

    Returns:
      Neighbours, their indices and negated distances, nearest first.

    Raises:
      ValueError: if the points differ in dimension.

    Example:
      >>> result = knn_query(jnp.array([[0.0], [1.0], [5.0]]), jnp.array([[4.0]]), 2)
      >>> result.neighbor_indices, result.neighbor_neg_distances
      (Array([[2, 1]], dtype=int32), Array([[-1., -9.]], dtype=float32))
    """
    check_shapes("knn_query", data=(data, "N D"), query_points=(query_points, "Q D"))
    check_integer("knn_query", low=1, num_neighbors=num_neighbors)
    data, query_points = jnp.asarray(data), jnp.asarray(query_points)
    distances = jax.vmap(jax.vmap(metric, (None, 0)), (0, None))(query_points, data)
    negated, indices = jax.lax.top_k(-distances, min(num_neighbors, data.shape[0]))
    return KNNQueryResult(data[indices], indices, negated)


class IntrinsicRewardState(Record):
    """What the episodic memory holds.

    Fields:
      memory: embeddings [M, D], a ring; a row that is not in use lies at infinity.
      next_memory_index: where the next one goes, modulo M.
      distance_sum: the sum of all neighbours' negated distances so far.
      distance_count: how many there were.
    """

    memory: Any
    next_memory_index: Any
    distance_sum: Any
    distance_count: Any


def _empty(size: int, dim: int, num_neighbors: int, dtype: Any) -> IntrinsicRewardState:
    """Starts a memory at the origin, k times, so that there are always k neighbours."""
    memory = jnp.full((size, dim), jnp.inf, dtype).at[:num_neighbors].set(0.0)
    return IntrinsicRewardState(memory, jnp.int32(0), jnp.zeros((), dtype), jnp.int32(0))


def _remember(state: IntrinsicRewardState, embeddings: Array) -> tuple[Array, Array]:
    size = state.memory.shape[0]
    kept = embeddings[-size:]
    start = jnp.asarray(state.next_memory_index) % size + (embeddings.shape[0] - kept.shape[0])
    places = (start + jnp.arange(kept.shape[0])) % size
    return state.memory.at[places].set(kept), (start + kept.shape[0]).astype(jnp.int32)


def episodic_memory_intrinsic_rewards(
    embeddings: Float[ArrayLike, "T D"],
    num_neighbors: int,
    reward_scale: Float[ArrayLike, ""],
    intrinsic_reward_state: Any = None,
    constant: Float[ArrayLike, ""] = 1e-3,
    epsilon: Float[ArrayLike, ""] = 1e-4,
    cluster_distance: Float[ArrayLike, ""] = 8e-3,
    max_similarity: Float[ArrayLike, ""] = 8.0,
    max_memory_size: int = 30_000,
) -> tuple[Float[Array, " T"], IntrinsicRewardState]:
    r"""Rewards embeddings for being far from those of the episode so far.

        dᵢ = max(0, ‖x − xᵢ‖² / (d̄ − c) − c_d),   xᵢ the k nearest in the memory, d̄ the mean such distance so far
        s = √(Σᵢ ε / (dᵢ + ε)) + c
        r = β / s if s ≤ s_max, else 0

    The embeddings of one call are looked up first and stored after.

    Args:
      embeddings: one x for each of T steps.
      num_neighbors: k.
      reward_scale: β.
      intrinsic_reward_state: the memory that the last call gave; None at the start of an episode.
      constant: c.
      epsilon: ε.
      cluster_distance: c_d; what is nearer counts as the same.
      max_similarity: s_max.
      max_memory_size: how many embeddings the memory holds; the oldest is overwritten.

    Returns:
      The rewards, constants to `grad`, and the memory for the next call.

    Raises:
      ValueError: if the memory holds fewer than k embeddings, or of another dimension.

    Example:
      >>> rewards, memory = episodic_memory_intrinsic_rewards(jnp.array([[0.0], [9.0]]), 1, 1.0, max_memory_size=8)
      >>> bool(rewards[1] > rewards[0])  # it starts at the origin
      True

    References:
      Badia et al., "Never give up: learning directed exploration strategies", 2020, section 2.
    """
    name = "episodic_memory_intrinsic_rewards"
    check_shapes(name, embeddings=(embeddings, "T D"))
    check_integer(name, low=1, max_memory_size=max_memory_size)
    check_integer(name, low=1, high=max_memory_size, num_neighbors=num_neighbors)
    embeddings = jax.lax.stop_gradient(floating(embeddings))
    state = intrinsic_reward_state
    if state is None:
        state = _empty(max_memory_size, embeddings.shape[1], num_neighbors, embeddings.dtype)
    negated = knn_query(state.memory, embeddings, num_neighbors).neighbor_neg_distances

    distance_sum = state.distance_sum + jnp.sum(negated)
    distance_count = (state.distance_count + jnp.asarray(negated.size)).astype(jnp.int32)
    # Distances are negated, so that the constant makes the mean distance smaller, as in RLax.
    scale = distance_sum / distance_count + constant
    relative = jnp.where(scale != 0, negated / jnp.where(scale != 0, scale, 1.0), 0.0)
    far = jnp.maximum(relative - cluster_distance, 0.0)
    similarity = jnp.sqrt(jnp.sum(epsilon / (far + epsilon), axis=-1)) + constant
    rewards = jnp.where(similarity > max_similarity, 0.0, reward_scale / similarity)

    memory, next_memory_index = _remember(state, embeddings)
    return rewards, IntrinsicRewardState(memory, next_memory_index, distance_sum, distance_count)
