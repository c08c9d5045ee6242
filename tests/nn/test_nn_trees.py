"""Initial parameters and states, against those that Haiku makes of the same key."""

import functools

import jax
import numpy as np
import pytest
from nn_catalogue import EXAMPLES, STORED, describe_tree, fingerprint, stored

from renga import nn

pytestmark = pytest.mark.usefixtures("rank_promotion")

# Haiku sorts the names of what goes through a JAX transformation; here they stay in the order of creation.
SORTED = {"cond", "switch", "layer_stack", "layer_stack/per_layer"}
TOGETHER = 10  # examples in one program, of which compiling is nearly all the time


def test_every_example_is_stored():
    assert stored(STORED).keys() == EXAMPLES.keys()


@pytest.fixture(scope="module")
def trees():
    """Of an example, the rows that describe its parameters and state, and their values; made with its neighbours."""
    names = list(EXAMPLES)

    @functools.cache
    def of_neighbours(first):
        described = {}

        @jax.jit
        def init(key, args):
            """The values in the order in which they were made, which a result of `jit` that is a dict does not keep."""
            values = {}
            for name in args:
                made = nn.transform_with_state(EXAMPLES[name].build(nn)).init(key, *args[name])
                described[name] = [describe_tree(tree) for tree in made]
                each = (tree.values() for tree in made)
                values[name] = [
                    [x for leaves in tree for v in leaves.values() for x in jax.tree.leaves(v)] for tree in each
                ]
            return values

        args = {name: EXAMPLES[name].args() for name in names[first : first + TOGETHER]}
        return described, jax.device_get(init(jax.random.key(3), args))

    def of(name):
        described, values = of_neighbours(names.index(name) // TOGETHER * TOGETHER)
        return described[name], values[name]

    return of


@pytest.mark.parametrize("name", EXAMPLES)
def test_init_makes_the_stored_tree(name, trees):
    described, made = trees(name)
    assert len(described) == 2
    for values, described_rows, rows in zip(made, described, stored(STORED)[name], strict=True):
        found = [[*row, fingerprint(x)] for row, x in zip(described_rows, values, strict=True)]
        if name in SORTED:
            found, rows = sorted(found), sorted(rows)
        assert [row[:4] for row in found] == [row[:4] for row in rows]
        for ours, theirs in zip(found, rows, strict=True):
            np.testing.assert_allclose(ours[4], theirs[4], rtol=1e-4, atol=1e-4, err_msg=str(theirs))
