"""Every module through Haiku and through `renga.nn`: f32 with gradients, f64 under vmap, bf16."""

import functools
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
from nn_catalogue import EXAMPLES, STORED, describe_tree, stored  # noqa: E402

assert importlib.util.find_spec("nn_catalogue")

pytestmark = pytest.mark.usefixtures("rank_promotion")

KEY = jax.random.key  # called late: no array is made at import
# Every module also in the other precisions; its variants have a slash in their name.
MODULES = [n for n in EXAMPLES if "/" not in n] + ["dynamic_unroll/states"]
IN_BF16 = [n for n in MODULES if n != "ResetCore"]  # which starts again in float32, in Haiku too: scan refuses that


def paths(tree):
    """Names of the leaves (the classes of named tuples are each library's own)."""
    return [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(tree)]


def check_close(ours, theirs, atol, rtol=1e-5):
    assert paths(ours) == paths(theirs)
    for name, a, b in zip(paths(ours), jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        dtypes = {jnp.result_type(b)}
        if name.endswith(("['average']", "['hidden']")):
            dtypes.add(jnp.result_type(jnp.result_type(b), jnp.float32))  # ours are in float32 at least
        assert jnp.result_type(a) in dtypes, name
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, atol=atol, rtol=rtol, err_msg=name)


@functools.cache
def first(name):
    """Parameters, arguments and a state as our `init` makes them, but drawn: it is compared with Haiku's elsewhere."""
    example, rng = EXAMPLES[name], np.random.default_rng(3)

    def drawn(path, x):
        """Weights of the size of initial ones, scales around 1, and small offsets."""
        noise = rng.normal(size=x.shape)
        if (name := path[-1].key) in ("scale", "offset", "b"):
            return (0.01 * noise + (name == "scale")).astype(x.dtype)
        return (noise / np.sqrt(max(np.prod(x.shape[:-1]), 1))).astype(x.dtype)

    def happened(x):
        """Counters, averages, sizes of clusters: a state that was updated."""
        return np.ones(x.shape, x.dtype) if x.dtype == np.int32 else rng.uniform(0.5, 1.5, x.shape).astype(x.dtype)

    with jax.enable_x64(False):
        args = example.args()
        init = nn.transform_with_state(example.build(nn)).init
        params, state = jax.eval_shape(init, jax.eval_shape(lambda: KEY(3)), *args)
    return jax.tree.map_with_path(drawn, params), jax.tree.map(np.asarray, args), jax.tree.map(happened, state)


def start(name, dtype):
    """The same in another precision."""
    return jax.tree.map(lambda x: x.astype(dtype) if x.dtype == np.float32 else x, first(name))


def value_and_gradients(lib, example):
    """Value, gradient with respect to parameters and inputs, and new state."""
    f = lib.transform_with_state(example.build(lib))

    def loss(params, args, state):
        out, new_state = f.apply(params, state, KEY(3), *args)
        total = sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(out))
        return total, (out, new_state)

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)


def forward(lib, example):
    f = lib.transform_with_state(example.build(lib))
    return lambda params, args, state: f.apply(params, state, KEY(3), *args)


def both(program, example, *start):
    """One program of both libraries: half the time to compile."""
    run = jax.jit(lambda *a: tuple(program(lib, example)(*a) for lib in (nn, hk)))
    return run(*start)


@pytest.mark.parametrize("name", EXAMPLES)
def test_same_values_same_gradients_same_state(name):
    example = EXAMPLES[name]
    ours, theirs = both(value_and_gradients, example, *start(name, np.float32))
    check_close(ours, theirs, atol=example.atol, rtol=1e-4)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.usefixtures("x64")
def test_same_values_in_f64_under_vmap(name):
    example = EXAMPLES[name]
    params, args, state = start(name, np.float64)
    args = jax.tree.map(lambda x: np.stack([x, x[::-1]]), args)
    program = lambda lib, example: jax.vmap(forward(lib, example), (None, 0, None))
    ours, theirs = both(program, example, params, args, state)
    check_close(ours, theirs, atol=1e-6 if example.atol < 1e-3 else 1e-5, rtol=1e-6)


@pytest.mark.parametrize("name", IN_BF16)
def test_same_values_in_bf16(name):
    example = EXAMPLES[name]
    ours, theirs = both(forward, example, *start(name, jnp.bfloat16))
    scale = max((float(np.abs(np.asarray(x, np.float64)).max()) for x in jax.tree.leaves(theirs)), default=1.0)
    check_close(ours, theirs, atol=0.05 * max(scale, 1.0), rtol=0.05)  # bf16 has eight bits


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_stored_tree_is_that_of_haiku(name):
    example = EXAMPLES[name]
    key = jax.eval_shape(lambda: KEY(0))
    out = []

    def init(key, *args):
        out.append(hk.transform_with_state(example.build(hk)).init(key, *args))
        return out[-1]

    jax.eval_shape(init, key, *example.args())
    assert [describe_tree(tree) for tree in out[-1]] == [[row[:4] for row in rows] for rows in stored(STORED)[name]]
