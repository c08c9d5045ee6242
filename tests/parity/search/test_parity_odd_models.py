"""Models that are unusual in one way or another, through mctx too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import search as ours

mctx = pytest.importorskip("mctx")

pytestmark = pytest.mark.usefixtures("rank_promotion")


def mixed(state):
    """An embedding of many dtypes, with a None."""
    return {
        "half": (state.astype(jnp.bfloat16),),
        "int": (1e3 * state).astype(jnp.int32),
        "bool": state > 0,
        "no": None,
    }


def whole(state):
    return (1e3 * state).astype(jnp.int32)


def as_is(state):
    return state


def read(embedding):
    if isinstance(embedding, dict):
        return embedding["half"][0].astype(jnp.float32) + 0.1 * embedding["bool"] + 1e-3 * embedding["int"]
    return embedding.astype(jnp.float32) / (1e3 if embedding.dtype == jnp.int32 else 1)


CASES = {
    "half-precision numbers, embeddings of many dtypes": {"batch": 12, "write": mixed, "dtype": jnp.bfloat16},
    "one action, one state, an old key": {"batch": 1, "actions": 1, "key": jax.random.PRNGKey(3)},
    "one legal action, one level, integer states": {
        "batch": 4,
        "write": whole,
        "invalid_actions": np.array([[1, 0, 1]] * 4, bool),
        "dirichlet_fraction": 0.0,  # mctx draws noise for illegal actions too
        "max_depth": 1,
    },
    "huge logits, players in turn": {"batch": 9, "scale": 1e30, "discount": -1.0},
    "constant values, Gumbel": {"policy": "gumbel_muzero_policy", "batch": 9, "constant": 0.3, "discount": 1.0},
    "a hundred actions, Gumbel": {"policy": "gumbel_muzero_policy", "batch": 2, "actions": 100, "discount": 0.0},
}


def run(
    library, key, policy="muzero_policy", batch=3, actions=3, write=as_is, dtype=jnp.float32, scale=1.0,
    discount=0.9, constant=None, **options,
):  # fmt: skip
    rng = np.random.RandomState(5)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    transition, to_logits = draw(actions, 4, 4), scale * draw(4, actions)

    def heads(state):
        value = state[:, 3] if constant is None else jnp.full(batch, constant)
        return (state @ to_logits).astype(dtype), value.astype(dtype)

    def step(params, rng_key, action, embedding):
        state = jnp.tanh(jnp.einsum("bij,bj->bi", transition[action], read(embedding)))
        logits, value = heads(state)
        reward = state[:, 0] if constant is None else jnp.zeros(batch)
        return library.RecurrentFnOutput(
            reward=reward.astype(dtype), discount=jnp.full(batch, discount, dtype), prior_logits=logits, value=value
        ), write(state)

    state = draw(batch, 4)
    logits, value = heads(state)
    root = library.RootFnOutput(prior_logits=logits, value=value, embedding=write(state))
    return getattr(library, policy)((), key, root, step, 12, **options)


@pytest.mark.parametrize("case", CASES)
def test_odd_models_give_the_trees_of_mctx(case):
    options = {"key": jax.random.key(7)} | CASES[case]
    key = options.pop("key")
    both = [jax.jit(lambda key, lib=lib: run(lib, key, **options)) for lib in (ours, mctx)]
    mine, theirs = jax.device_get([program(key) for program in both])
    np.testing.assert_array_equal(mine.action, theirs.action)
    for name in theirs.search_tree:
        if name in ("embeddings", "extra_data"):
            continue
        a, b = mine.search_tree[name], theirs.search_tree[name]
        assert a.dtype == b.dtype, name
        if a.dtype == np.int32:
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            tolerance = 2e-2 if a.dtype == jnp.bfloat16 else 1e-5
            a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)
