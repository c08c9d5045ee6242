"""The same module with the same key and inputs, through Haiku and through `renga.nn`."""

import importlib.util
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

hk = pytest.importorskip("haiku")

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "nn"))
from nn_catalogue import EXAMPLES  # noqa: E402

assert importlib.util.find_spec("nn_catalogue")

pytestmark = pytest.mark.usefixtures("rank_promotion")


def spec(tree):
    """Names in order, shapes and dtypes."""
    return [
        (b, n, [(jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(v)])
        for b, values in tree.items()
        for n, v in values.items()
    ]


def paths(tree):
    """Names of the leaves (the classes of named tuples are each library's own)."""
    return [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(tree)]


def check_close(ours, theirs, atol, rtol=1e-5):
    assert paths(ours) == paths(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert jnp.result_type(a) == jnp.result_type(b)
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), atol=atol, rtol=rtol)


def without_averages(tree):
    """All but the averages of batch norm, which we start at 0 and 1, and Haiku at the first batch."""
    params, state = tree
    kept = {}
    for bundle, values in state.items():
        batch_norm = bundle.endswith(("mean_ema", "var_ema"))
        kept[bundle] = {n: v for n, v in values.items() if not (batch_norm and n == "average")}
    return params, kept


def program(lib, example, key):
    """Value, gradient with respect to parameters and inputs, and new state."""
    f = lib.transform_with_state(example.build(lib))

    def loss(params, args, state):
        out, new_state = f.apply(params, state, key, *args)
        total = sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(out))
        return total, (out, new_state)

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)


@pytest.mark.parametrize("name", EXAMPLES)
def test_same_tree_same_values_same_gradients_same_state(name):
    example, key, args = EXAMPLES[name], jax.random.key(3), EXAMPLES[name].args()
    theirs = jax.jit(hk.transform_with_state(example.build(hk)).init)(key, *args)
    ours = nn.transform_with_state(example.build(nn)).init(key, *args)
    assert spec(ours[0]) == spec(dict_like(theirs[0], ours[0]))
    assert spec(ours[1]) == spec(dict_like(theirs[1], ours[1]))
    check_close(without_averages(ours), without_averages(theirs), atol=1e-6)
    params, state = theirs
    state = jax.tree.map(lambda x: x + 1 if x.dtype == jnp.int32 else x * 1.1 + 0.1, state)

    @jax.jit  # both at once: half the time to compile
    def both(params, args, state):
        return tuple(program(lib, example, key)(params, args, state) for lib in (nn, hk))

    result, expected = both(params, args, state)
    check_close(result, expected, atol=example.atol, rtol=1e-4)


def dict_like(tree, order):
    """The same entries in the order of another tree (jit sorts them)."""
    assert tree.keys() == order.keys()
    return {b: {n: tree[b][n] for n in order[b]} for b in order}
