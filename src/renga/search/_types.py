"""What a model gives to a search, and what a policy returns."""

from collections.abc import Callable
from typing import Any

from renga._core.values import Record
from renga.search._tree import Tree

# A function of parameters, key, actions [B] and embeddings; see `RecurrentFnOutput`.
RecurrentState = Any
RecurrentFn = Callable[..., tuple[Any, RecurrentState]]
# (rng_key, tree, node_index) -> action, without the batch axis.
RootActionSelectionFn = Callable[..., Any]
# (rng_key, tree, node_index, depth) -> action, without the batch axis.
InteriorActionSelectionFn = Callable[..., Any]
# (lower, upper, body_fn, init) -> result, as `jax.lax.fori_loop`.
LoopFn = Callable[..., Any]


class RootFnOutput(Record, kw_only=True):
    """What is known about the state to search from.

    Attributes:
      prior_logits: logits of the policy prior, [B, A].
      value: value v(s⁰), [B].
      embedding: a tree of arrays [B, ...], handed to the model as it is.
      invalid_actions: True for actions that must not be taken, [B, A]; beyond the policy's own
        argument of that name.
      terminal: True where the game is over already, [B].
      to_play: number of the player who moves at the root, [B].

    Example:
      >>> root = RootFnOutput(
      ...     prior_logits=jnp.zeros((1, 2)), value=jnp.zeros(1), embedding=jnp.zeros((1, 3))
      ... )
      >>> root.value
      Array([0.], dtype=float32)
    """

    prior_logits: Any
    value: Any
    embedding: Any
    invalid_actions: Any = None
    terminal: Any = None
    to_play: Any = None


class RecurrentFnOutput(Record, kw_only=True):
    """What the model says about one step from each state of a batch.

    A two-player game without `to_play` is told by a negative discount: the value of the next
    state is the other player's. With `to_play` the discount is non-negative, and the search
    turns its sign wherever the player changes.

    Attributes:
      reward: reward of the action, from the view of the player who took it, [B].
      discount: discount between the reward and the next state's value, [B]; 0 ends the episode.
      prior_logits: logits of the policy prior in the next state, [B, A].
      value: value of the next state, from the view of the player to move in it, [B].
      invalid_actions: True for actions that are not legal in the next state, [B, A].
      terminal: True where the next state ends the game: it is never searched further, and its
        value is 0, [B].
      to_play: number of the player who moves in the next state, [B].

    Example:
      >>> step = RecurrentFnOutput(
      ...     reward=jnp.ones(1), discount=jnp.ones(1),
      ...     prior_logits=jnp.zeros((1, 2)), value=jnp.zeros(1),
      ... )
      >>> list(step)
      ['reward', 'discount', 'prior_logits', 'value']
    """

    reward: Any
    discount: Any
    prior_logits: Any
    value: Any
    invalid_actions: Any = None
    terminal: Any = None
    to_play: Any = None


class DecisionRecurrentFnOutput(Record, kw_only=True):
    """What the model says about the afterstate that a decision leads to.

    Attributes:
      chance_logits: logits of the chance outcomes, [B, C].
      afterstate_value: value of the afterstate, [B].

    Example:
      >>> step = DecisionRecurrentFnOutput(
      ...     chance_logits=jnp.zeros((1, 2)), afterstate_value=jnp.zeros(1)
      ... )
      >>> step.afterstate_value.shape
      (1,)
    """

    chance_logits: Any
    afterstate_value: Any


class ChanceRecurrentFnOutput(Record, kw_only=True):
    """What the model says about the state that a chance outcome leads to.

    Attributes:
      action_logits: logits of the policy prior, [B, A].
      value: value of the state, [B].
      reward: reward between the decision before and this state, [B].
      discount: discount of this state's value, [B].

    Example:
      >>> step = ChanceRecurrentFnOutput(
      ...     action_logits=jnp.zeros((1, 2)), value=jnp.zeros(1),
      ...     reward=jnp.ones(1), discount=jnp.ones(1),
      ... )
      >>> step.replace(reward=jnp.zeros(1)).reward
      Array([0.], dtype=float32)
    """

    action_logits: Any
    value: Any
    reward: Any
    discount: Any


class PolicyOutput(Record, kw_only=True):
    """What a policy returns.

    Attributes:
      action: the action proposed for each element of the batch, [B].
      action_weights: the target for the policy: non-negative, sums to 1, [B, A].
      search_tree: the whole search `Tree`.

    Example:
      >>> output = PolicyOutput(
      ...     action=jnp.array([1]), action_weights=jnp.array([[0.0, 1.0]]), search_tree=None
      ... )
      >>> output.action
      Array([1], dtype=int32)
    """

    action: Any
    action_weights: Any
    search_tree: Tree | Any
