"""Small models and trees: the examples of `renga.search` use them."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from renga._core.values import Record
from renga.search._tree import Tree
from renga.search._types import (
    PolicyOutput,
    RecurrentFn,
    RecurrentFnOutput,
    RootFnOutput,
    SampledRecurrentFnOutput,
    SampledRootFnOutput,
)

__all__ = ["example_bandit", "example_policy_output", "example_sampled_model", "example_tree"]


def example_bandit(rewards: list[float]) -> tuple[RootFnOutput, RecurrentFn]:
    """One state in which each action ends the episode with a reward of its own: the root and the model."""
    table = jnp.asarray(rewards)
    logits, zero = jnp.zeros((1, len(rewards))), jnp.zeros(1)

    def step(params: PyTree, rng_key: Array, action: Array, state: PyTree) -> tuple[Record, PyTree]:
        del params, rng_key
        return RecurrentFnOutput(reward=table[action], discount=zero, prior_logits=logits, value=zero), state

    return RootFnOutput(prior_logits=logits, value=zero, embedding=zero), step


@functools.cache
def example_policy_output() -> PolicyOutput:
    """Eight simulations, without noise, of a bandit with rewards 0 and 1."""
    from renga.search._policies import muzero_policy

    root, step = example_bandit([0.0, 1.0])
    search = lambda key: muzero_policy((), key, root, step, 8, dirichlet_fraction=0.0)
    return jax.jit(search)(jax.random.key(0))


def example_tree(visits: list[int], rewards: list[float], value: float = 0.0, extra_data: PyTree = None) -> Tree:
    """One tree, without batch axis, with a root and the given visits and rewards of its actions."""
    edges = lambda x: jnp.asarray(x)[None]
    zeros = jnp.zeros((1, len(visits)))
    return Tree(
        node_visits=jnp.array([1 + sum(visits)]),
        raw_values=jnp.array([value]),
        node_values=jnp.array([value]),
        parents=jnp.array([-1]),
        action_from_parent=jnp.array([-1]),
        children_index=jnp.full((1, len(visits)), -1),
        children_prior_logits=zeros,
        children_visits=edges(visits),
        children_rewards=edges(rewards),
        children_discounts=zeros,
        children_values=zeros,
        embeddings=None,
        root_invalid_actions=zeros[0],
        extra_data=extra_data,
    )


def example_sampled_model() -> tuple[SampledRootFnOutput, RecurrentFn]:
    """One state with real-valued actions x, eight samples, and the reward -(x - 0.5)²."""
    actions, uniform = jnp.linspace(-1.0, 1.0, 8)[None], jnp.full((1, 8), -jnp.log(2.0))
    sampled = {"actions": actions, "prior_log_probs": uniform, "proposal_log_probs": uniform}

    def step(params: PyTree, rng_key: Array, action: Array, state: PyTree) -> tuple[Record, PyTree]:
        del params, rng_key
        zero = jnp.zeros_like(action)
        return SampledRecurrentFnOutput(reward=-((action - 0.5) ** 2), discount=zero, value=zero, **sampled), state

    return SampledRootFnOutput(value=jnp.zeros(1), embedding=jnp.zeros(1), **sampled), step
