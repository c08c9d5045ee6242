"""The quick form of a search: one tree after the other in two compiled calls a simulation, and the model between.

This package has one door, this file, and `renga.search._search` is what comes in by it. It says nothing of its own
about what a search computes: with the same model, key and options its trees are those of `simulate`, `expand` and
`backward`.

**What it keeps.** A selection that sees one node (`Selection`) depends on the statistics of that node, and these
change only when a path through the node is backed up. What the node will select next is therefore known from then on.
One more array beside the trees, `choices` [B, N], keeps it as one number a node:

    n >= 0   the child that the next selection leads to
    -2 - a   action a, which has no child yet
    -1       not decided

**Descent** (`_descend.py`) follows these numbers, one read a level, with no scores at all. *Not decided* is a node
that nobody has come back to since it was new, and one where noise between equals can make a difference, because the
two best scores lie within `TIE_NOISE`. There the scores are computed on the way down.

**Backing up** (`_backup.py`) writes the leaf, adds its value to the means on the path, and makes the choice at each
node of the path anew. With many trees of few actions the nodes of all paths wait until `WIDTH` of them fill a tile,
whose scores are computed side by side (`_choices.py`).

**Why the trees are the same.** The scores are the same functions of the same statistics: nothing that a choice was
made from has changed when it is followed. The noise is that of the key which this level of this simulation has in
`simulate`: a key depends on the simulation and the level alone, so that nothing need be drawn where it cannot matter,
and where the margin is smaller than the noise can be, nothing is decided beforehand. Sums and means are taken in the
same order. tests/search/test_search_phases.py holds both forms equal, step by step, on random trees.

**Why it is quick.** A simulation consists of very many very small operations, and starting one costs XLA more on a
CPU than the operation. Either phase is marked as a *small call* (`_kernel.py`), which is compiled to one function of
machine code, loops and all; within it every read and write is a slice in place (`_arrays.py`). Where `_forms` says
that kernels do not pay, the same calls are `simulate`, `expand` and `backward` in operations over the batch.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, PyTree

from renga.search._each import read_each, write_each
from renga.search._expand import check_embedding, new_node, next_slot, write_nodes
from renga.search._keys import split_many
from renga.search._quick._backup import Leaves, back_up, backward
from renga.search._quick._choices import NodeRule, Rules, as_rules
from renga.search._quick._descend import descend, first_choices
from renga.search._quick._fits import fits
from renga.search._tree import Tree
from renga.search._types import Setting, State, Step

__all__ = ["backward", "first_choices", "quick_rules", "quick_step"]


def quick_rules(pair: tuple[NodeRule, NodeRule] | None, tree: Tree) -> Rules | None:
    """Two selections in the form that is used here; None if the quick form cannot be taken with them."""
    if pair is None:
        return None
    rules = as_rules(pair, tree.node_visits.shape[0])
    return rules if fits(rules, tree) else None


def quick_step(setting: Setting, rules: Rules, steady: bool) -> Step:
    """A simulation in two kernels; `steady` if every one adds a node to every tree, in the slot of its number."""

    def step(sim: ArrayLike, state: State) -> State:
        rng_key, simulate_key, expand_key = split_many(state.rng_key, 3)
        tree, used = state.tree, state.used
        batch_size, num_nodes = tree.node_visits.shape
        active, limit = setting.active(sim), setting.max_depth
        words = jnp.zeros((batch_size, 2), jnp.uint32)  # not read without noise
        if rules.noisy:
            words = jax.random.key_data(split_many(simulate_key, batch_size))
        limits = None if limit is None else jnp.broadcast_to(jnp.asarray(limit, jnp.int32), (batch_size,))
        bare = tree.replace(embeddings=None)
        parent, action, child = descend(words, bare, state.choices, rules, limits, active)

        embedding = jax.tree.map(lambda x: read_each(x, parent, mode="promise_in_bounds"), tree.embeddings)
        output, embedding = setting.recurrent_fn(setting.params, expand_key, action, embedding)
        new = new_node(output, tree, parent)
        check_embedding(tree, embedding)

        index, free = (state.free(sim),) * 2 if steady else next_slot(child, state.free(sim), active, num_nodes)
        leaves = Leaves(parent, action, index, new)
        tree, choices = back_up(tree, state.choices, leaves, rules, steady, _write)

        def put(array: Array, value: ArrayLike) -> Array:
            value = jnp.asarray(value).astype(array.dtype)
            if steady:  # the same column of every tree
                return lax.dynamic_update_slice_in_dim(array, value[:, None], sim + 1, axis=1)
            return write_each(array, (index,), value, mode="drop", unique_indices=True)

        tree = tree.replace(embeddings=jax.tree.map(put, tree.embeddings, embedding))
        return State(rng_key, tree, choices, None if used is None else free)

    return step


def _write(tree: Tree, leaves: Leaves) -> PyTree:
    return write_nodes(tree, leaves.parent, leaves.action, leaves.index, leaves.new, None)
