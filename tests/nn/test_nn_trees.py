"""Initial parameters and states, against those that Haiku makes of the same key."""

import jax
import numpy as np
import pytest
from nn_catalogue import EXAMPLES, STORED, describe_tree, fingerprint, stored

from renga import nn

pytestmark = pytest.mark.usefixtures("rank_promotion")

# The averages of batch norm start at 0 and 1 here, those of Haiku at the first batch's.
AVERAGES = ("mean_ema", "var_ema")
# Haiku sorts the names of what goes through a JAX transformation; here they stay in the order of creation.
SORTED = {"cond", "switch", "layer_stack", "layer_stack/per_layer"}


def test_every_example_is_stored():
    assert stored(STORED).keys() == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_init_makes_the_stored_tree(name):
    example = EXAMPLES[name]
    made = nn.transform_with_state(example.build(nn)).init(jax.random.key(3), *example.args())
    for tree, rows in zip(made, stored(STORED)[name], strict=True):
        if name in SORTED:
            tree = {bundle: dict(sorted(values.items())) for bundle, values in tree.items()}
        assert describe_tree(tree) == [row[:4] for row in rows]
        values = [x for leaves in tree.values() for value in leaves.values() for x in jax.tree.leaves(value)]
        for x, row in zip(values, rows, strict=True):
            if not (row[0].endswith(AVERAGES) and row[1] == "average"):
                np.testing.assert_allclose(fingerprint(x), row[4], rtol=1e-4, atol=1e-4, err_msg=str(row))
