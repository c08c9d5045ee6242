"""What a model gives to a search, and what a policy returns."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int, PyTree

from renga._core.values import Record
from renga.search._tree import Tree

# The embedding of a node: any tree.
RecurrentState = Any
# A function of parameters, key, actions [B] and embeddings; see `RecurrentFnOutput`.
RecurrentFn = Callable[..., tuple[Any, RecurrentState]]
# (rng_key, tree, node_index) -> action, without the batch axis.
RootActionSelectionFn = Callable[..., Any]
# (rng_key, tree, node_index, depth) -> action, without the batch axis.
InteriorActionSelectionFn = Callable[..., Any]
# (lower, upper, body_fn, init) -> result, as `jax.lax.fori_loop`.
LoopFn = Callable[..., Any]
# A key, typed or old.
KeyLike = Array | ArrayLike


class RootFnOutput(Record, kw_only=True):
    """What is known about the state to search from.

    Attributes:
      prior_logits: logits of the policy prior, [B, A].
      value: value v(s⁰), [B].
      embedding: a tree of arrays [B, ...], handed to the model as it is.
      invalid_actions: True for actions that must not be taken, [B, A]; beyond the policy's own argument of that name.
      terminal: True where the game is over already, [B].
      to_play: number of the player who moves at the root, [B].

    Example:
      >>> RootFnOutput(prior_logits=jnp.zeros((1, 2)), value=jnp.zeros(1), embedding=jnp.zeros((1, 3))).value
      Array([0.], dtype=float32)
    """

    prior_logits: ArrayLike
    value: ArrayLike
    embedding: PyTree
    invalid_actions: ArrayLike | None = None
    terminal: ArrayLike | None = None
    to_play: ArrayLike | None = None


class RecurrentFnOutput(Record, kw_only=True):
    """What the model says about one step from each state of a batch.

    A two-player game without `to_play` is told by a negative discount: the value of the next state is the other
    player's. With `to_play` the discount is non-negative, and the search turns its sign wherever the player changes.

    Attributes:
      reward: reward of the action, from the view of the player who took it, [B].
      discount: discount between the reward and the next state's value, [B]; 0 ends the episode.
      prior_logits: logits of the policy prior in the next state, [B, A].
      value: value of the next state, from the view of the player to move in it, [B].
      invalid_actions: True for actions that are not legal in the next state, [B, A].
      terminal: True where the next state ends the game: it is never searched further, and its value is 0, [B].
      to_play: number of the player who moves in the next state, [B].

    Example:
      >>> one = jnp.ones(1)
      >>> list(RecurrentFnOutput(reward=one, discount=one, prior_logits=jnp.zeros((1, 2)), value=one))
      ['reward', 'discount', 'prior_logits', 'value']
    """

    reward: ArrayLike
    discount: ArrayLike
    prior_logits: ArrayLike
    value: ArrayLike
    invalid_actions: ArrayLike | None = None
    terminal: ArrayLike | None = None
    to_play: ArrayLike | None = None


class DecisionRecurrentFnOutput(Record, kw_only=True):
    """What the model says about the afterstate that a decision leads to.

    Attributes:
      chance_logits: logits of the chance outcomes, [B, C].
      afterstate_value: value of the afterstate, [B].

    Example:
      >>> DecisionRecurrentFnOutput(chance_logits=jnp.zeros((1, 2)), afterstate_value=jnp.zeros(1)).afterstate_value
      Array([0.], dtype=float32)
    """

    chance_logits: ArrayLike
    afterstate_value: ArrayLike


class ChanceRecurrentFnOutput(Record, kw_only=True):
    """What the model says about the state that a chance outcome leads to.

    Attributes:
      action_logits: logits of the policy prior, [B, A].
      value: value of the state, [B].
      reward: reward between the decision before and this state, [B].
      discount: discount of this state's value, [B].

    Example:
      >>> one = jnp.ones(1)
      >>> step = ChanceRecurrentFnOutput(action_logits=jnp.zeros((1, 2)), value=one, reward=one, discount=one)
      >>> step.replace(reward=2 * one).reward
      Array([2.], dtype=float32)
    """

    action_logits: ArrayLike
    value: ArrayLike
    reward: ArrayLike
    discount: ArrayLike


class PolicyOutput(Record, kw_only=True):
    """What a policy returns.

    Attributes:
      action: the action proposed for each element of the batch, [B].
      action_weights: the target for the policy: non-negative, sums to 1, [B, A].
      search_tree: the whole search `Tree`.

    Example:
      >>> PolicyOutput(action=jnp.array([1]), action_weights=jnp.array([[0.0, 1.0]]), search_tree=None).action
      Array([1], dtype=int32)
    """

    action: Array
    action_weights: Array
    search_tree: Tree | Any


class SampledRootFnOutput(Record, kw_only=True):
    """What is known about the state to search from, with K sampled actions.

    Attributes:
      value: value of the state, [B].
      embedding: a tree of arrays [B, ...], handed to the model as it is.
      actions: the sampled actions, a tree of arrays [B, K, ...].
      prior_log_probs: log π(aₖ) under the policy, [B, K]; a constant may be missing.
      proposal_log_probs: log β(aₖ) under the distribution they were sampled from, [B, K].

    Example:
      >>> from renga.search.examples import example_sampled_model
      >>> root, _ = example_sampled_model()
      >>> root.actions.shape
      (1, 8)
    """

    value: ArrayLike
    embedding: PyTree
    actions: PyTree
    prior_log_probs: ArrayLike
    proposal_log_probs: ArrayLike


class SampledRecurrentFnOutput(Record, kw_only=True):
    """What the model says about one step, with K actions sampled in the next state.

    Attributes:
      reward: reward of the action, [B].
      discount: discount of the next state's value, [B].
      value: value of the next state, [B].
      actions: actions sampled in the next state, a tree of arrays [B, K, ...].
      prior_log_probs: log π(aₖ), [B, K].
      proposal_log_probs: log β(aₖ), [B, K].

    Example:
      >>> from renga.search.examples import example_sampled_model
      >>> root, step = example_sampled_model()
      >>> output, _ = step((), jax.random.key(0), root.actions[:, 0], root.embedding)
      >>> output.actions.shape
      (1, 8)
    """

    reward: ArrayLike
    discount: ArrayLike
    value: ArrayLike
    actions: PyTree
    prior_log_probs: ArrayLike
    proposal_log_probs: ArrayLike


class SampledPolicyOutput(Record, kw_only=True):
    """What `sampled_muzero_policy` returns.

    Attributes:
      action: the action proposed for each element of the batch, a tree of arrays [B, ...].
      action_index: its number among the sampled ones, [B].
      actions: the sampled actions at the root, a tree of arrays [B, K, ...].
      action_weights: the target for their probabilities, [B, K].
      search_tree: the `Tree`; its actions are numbers 0 to K - 1, and an embedding is a pair of
        the model's own and the node's actions.

    Example:
      >>> from renga.search.examples import example_sampled_model
      >>> root, step = example_sampled_model()
      >>> from renga.search import sampled_muzero_policy
      >>> sampled_muzero_policy((), jax.random.key(0), root, step, 32).action_weights.shape
      (1, 8)
    """

    action: PyTree
    action_index: ArrayLike
    actions: PyTree
    action_weights: ArrayLike
    search_tree: Tree


class Setting(NamedTuple):
    """What all simulations of a search have in common."""

    params: PyTree
    recurrent_fn: RecurrentFn
    max_depth: int | Int[ArrayLike, ""] | None  # the longest path; None for no limit
    budgets: Int[Array, " B"] | None  # how many simulations each tree takes part in; None for all

    def active(self, sim: ArrayLike) -> Array | None:
        """Which trees take part in a simulation; None if all do."""
        return None if self.budgets is None else jnp.asarray(sim) < self.budgets

    def depth(self, tree: Tree) -> int | Int[ArrayLike, ""]:
        """The longest path in a tree."""
        return tree.node_visits.shape[1] if self.max_depth is None else self.max_depth


class State(NamedTuple):
    """What the loop over simulations carries."""

    rng_key: Array  # of the simulations to come
    tree: Tree
    choices: PyTree  # what each node will select, [B, N]; None on the plain path
    used: Int[Array, " B"] | None  # number of nodes; None if each simulation has a slot of its own

    def free(self, sim: ArrayLike) -> Int[Array, " B"]:
        """The first free slot of each tree."""
        return jnp.full(self.tree.node_visits.shape[0], sim + 1, jnp.int32) if self.used is None else self.used


Step = Callable[[ArrayLike, State], State]
