"""Waves: several leaves of a tree are collected before the model is asked about all of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, PyTree

from renga._core.varying import vary_like
from renga.search._each import add_each, read_each, write_each
from renga.search._expand import check_embedding, new_node, next_slot, write_nodes
from renga.search._keys import split_many
from renga.search._tree import NO_PARENT, ROOT_INDEX, UNVISITED, Tree
from renga.search._types import Setting, State, Step


def wave_step(
    setting: Setting,
    select: Callable[..., Array],
    num_parallel: int,
    virtual_loss: float,
    simulate_fn: Callable[..., tuple[Array, Array]],
    backward_fn: Callable[..., Tree],
) -> Step:
    r"""`num_parallel` simulations of every tree with one call of the model.

    Leaves are selected one after the other. Each path counts as visited at once, and the Q-value
    of its edges falls as if a return of v(n) - virtual_loss had come:

        q'(n, a) = [N(n, a) q(n, a) + v(n) - virtual_loss] / [N(n, a) + 1]

    When all leaves are known this is undone, the model is evaluated on B · num_parallel edges, and
    the results are backed up in order.

    References:
      Chaslot et al., "Parallel Monte-Carlo tree search", 2008; Liu et al., "Watch the unobserved", 2020.
    """

    def step(sim: ArrayLike, state: State) -> State:
        rng_key, simulate_key, expand_key = split_many(state.rng_key, 3)
        tree = state.tree
        keys = split_many(simulate_key, num_parallel)
        # A tree whose budget ends within the wave takes part in the first of its simulations.
        active = jax.vmap(setting.active)(sim * num_parallel + jnp.arange(num_parallel))

        def choose(key: Array, tree: Tree, *active: Array) -> tuple[Array, Array]:
            return simulate_fn(key, tree, select, setting.depth(tree), *active)

        ahead, parents, actions = _collect(keys, tree, active, virtual_loss, choose)
        leaves = _allot(tree, parents, actions, active)
        tree = _evaluate(setting, expand_key, _undo(ahead, tree, parents, actions, active), parents, actions, leaves)
        tree = lax.scan(lambda tree, leaf: (backward_fn(tree, leaf), None), tree, leaves)[0]
        return State(rng_key, tree, None, state.used)

    return step


def _collect(
    keys: Array, tree: Tree, active: Array | None, virtual_loss: float, choose: Callable[..., tuple[Array, Array]]
) -> tuple[Tree, Array, Array]:
    """Selects one leaf after the other; [K, B] parents and actions."""
    legal = jnp.ones(tree.children_index.shape, bool) if tree.children_invalid is None else ~tree.children_invalid
    legal = legal.at[:, ROOT_INDEX].set(legal[:, ROOT_INDEX] & (tree.root_invalid_actions == 0))

    def collect(state: tuple[Tree, Array], inputs: tuple[Array, Array | None]) -> tuple[PyTree, PyTree]:
        ahead, free = state
        key, active = inputs
        some = () if active is None else (active,)
        parent, action = choose(key, ahead.replace(children_invalid=~free), *some)
        # An edge that is under way is left out, until there is nothing else at its node.
        under_way = read_each(ahead.children_index, parent, action) == UNVISITED
        rest = read_each(free, parent) & ~(under_way[:, None] & (jnp.arange(tree.num_actions)[None] == action[:, None]))
        rest = jnp.where(jnp.any(rest, axis=-1, keepdims=True), rest, read_each(legal, parent))
        ahead = _pretend(ahead, parent, action, virtual_loss, active)
        return (ahead, write_each(free, (parent,), rest)), (parent, action)

    state = vary_like((tree, legal), tree, keys, active)
    (ahead, _), (parents, actions) = lax.scan(collect, state, (keys, active))
    return ahead, parents, actions


def _allot(tree: Tree, parents: Array, actions: Array, active: Array | None) -> Array:
    """A slot for each leaf: two leaves at the same edge share one."""
    num_nodes = tree.node_visits.shape[1]

    def allot(state: tuple[Array, Array], inputs: tuple[Array, Array, Array | None]) -> tuple[PyTree, Array]:
        children_index, free = state
        parent, action, active = inputs
        leaf, free = next_slot(read_each(children_index, parent, action), free, active, num_nodes)
        at_edge = (jnp.where(leaf < num_nodes, parent, num_nodes), action)
        return (write_each(children_index, at_edge, leaf, mode="drop"), free), leaf

    free = jnp.sum(tree.node_visits > 0, axis=1, dtype=jnp.int32)
    return lax.scan(allot, (tree.children_index, free), (parents, actions, active))[1]


def _evaluate(setting: Setting, rng_key: Array, tree: Tree, parents: Array, actions: Array, leaves: Array) -> Tree:
    """Asks the model about all leaves at once, and writes them."""
    parent, action, leaf = parents.T, actions.T, leaves.T  # [B, K]
    embedding = jax.tree.map(lambda x: read_each(x, parent).reshape(-1, *x.shape[2:]), tree.embeddings)
    step, embedding = setting.recurrent_fn(setting.params, rng_key, action.reshape(-1), embedding)
    new = new_node(step, tree, parent)
    check_embedding(tree, embedding)
    return write_nodes(tree, parent, action, leaf, new, embedding)


def _pretend(tree: Tree, parent: Array, action: Array, virtual_loss: float, active: Array | None) -> Tree:
    """Counts a visit, and a loss, on every edge from the root to (parent, action)."""

    def loss(tree: Tree, at_node: PyTree, at_edge: PyTree) -> Array:
        visits, reward = read_each(tree.children_visits, *at_edge), read_each(tree.children_rewards, *at_edge)
        value = read_each(tree.children_discounts, *at_edge) * read_each(tree.children_values, *at_edge)
        loss = read_each(tree.node_values, *at_node) - virtual_loss
        return (visits * (reward + value) + loss) / (visits + 1) - value

    return _climb(tree, parent, action, active, 1, loss)


def _undo(ahead: Tree, tree: Tree, parents: Array, actions: Array, active: Array | None) -> Tree:
    """Takes back what `_pretend` did on all paths; exactly, for counts are integers."""

    def back(now: Tree, edge: tuple[Array, Array, Array | None]) -> tuple[Tree, None]:
        return _climb(now, *edge, -1, lambda now, at_node, at_edge: read_each(tree.children_rewards, *at_edge)), None

    return lax.scan(back, ahead, (parents, actions, active))[0]


def _climb(
    tree: Tree, parent: Array, action: Array, active: Array | None, visits: int, reward_fn: Callable[..., Array]
) -> Tree:
    """Changes visits and rewards on every edge from (parent, action) to the root, where a tree is active."""
    num_nodes = tree.node_visits.shape[1]

    def up(state: tuple[Array, Array, Tree]) -> tuple[Array, Array, Tree]:
        node, action, tree = state
        # Above the root is out of bounds, which is dropped.
        at_node = (jnp.where(node == NO_PARENT, num_nodes, node),)
        at_edge = (*at_node, action)
        reward = reward_fn(tree, at_node, at_edge)
        above = jnp.where(node == NO_PARENT, NO_PARENT, read_each(tree.parents, node))
        return (
            above,
            read_each(tree.action_from_parent, node),
            tree.replace(
                node_visits=add_each(tree.node_visits, at_node, visits, mode="drop"),
                children_visits=add_each(tree.children_visits, at_edge, visits, mode="drop"),
                children_rewards=write_each(tree.children_rewards, at_edge, reward, mode="drop"),
            ),
        )

    parent = parent if active is None else jnp.where(active, parent, NO_PARENT)
    return lax.while_loop(lambda state: jnp.any(state[0] != NO_PARENT), up, (parent, action, tree))[-1]
