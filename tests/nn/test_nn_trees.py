"""Initial parameters and states, against those that Haiku makes of the same key."""

import jax
import numpy as np
import pytest
from nn_catalogue import EXAMPLES, STORED, describe_tree, fingerprint, stored

from renga import nn

pytestmark = pytest.mark.usefixtures("rank_promotion")

# Haiku sorts the names of what goes through a JAX transformation; here they stay in the order of creation.
SORTED = {"cond", "switch", "layer_stack", "layer_stack/per_layer"}


def test_every_example_is_stored():
    assert stored(STORED).keys() == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_init_makes_the_stored_tree(name):
    example = EXAMPLES[name]
    made = nn.transform_with_state(example.build(nn)).init(jax.random.key(3), *example.args())
    for tree, rows in zip(made, stored(STORED)[name], strict=True):
        values = [x for leaves in tree.values() for value in leaves.values() for x in jax.tree.leaves(value)]
        found = [[*row, fingerprint(x)] for row, x in zip(describe_tree(tree), values, strict=True)]
        if name in SORTED:
            found, rows = sorted(found), sorted(rows)
        assert [row[:4] for row in found] == [row[:4] for row in rows]
        for ours, theirs in zip(found, rows, strict=True):
            np.testing.assert_allclose(ours[4], theirs[4], rtol=1e-4, atol=1e-4, err_msg=str(theirs))
