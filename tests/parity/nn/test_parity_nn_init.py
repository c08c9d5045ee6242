"""`init` beside Haiku's: values, states and side effects of programs that a tracer would change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

hk = pytest.importorskip("haiku")

X = np.asarray([[1.0, -2.0, 0.5], [3.0, 0.0, 0.25]], np.float32)


def self_play(lib):
    """Batch norm that is used before its first update."""

    def f(x, training):
        y = lib.BatchNorm(True, True, 0.9)(lib.Linear(4)(x), training)
        return lib.BatchNorm(True, False, 0.99, name="late")(jax.nn.relu(y), training)

    return f


PROGRAMS = {
    "batch norm": lambda lib: lambda x: self_play(lib)(x, True),
    "averages": lambda lib: (
        lambda x: lib.ExponentialMovingAverage(0.9)(x) + lib.ExponentialMovingAverage(0.5, False)(x)
    ),
    "spectral norm": lambda lib: (
        lambda x: lib.SpectralNorm()(lib.get_parameter("w", [3, 2], init=lib.initializers.RandomNormal()))
    ),
    "averages of a tree": lambda lib: lambda x: lib.EMAParamsTree(0.9)({"a": {"w": x}})["a"]["w"],
    "vector quantiser": lambda lib: lambda x: lib.nets.VectorQuantizerEMA(3, 5, 0.25, 0.9)(x, True)["quantize"],
    "vmap of a layer": lambda lib: lambda x: jax.vmap(lib.Linear(2))(x),
    "gradient of a layer": lambda lib: lambda x: jax.grad(lambda y: lib.Linear(1)(y).sum())(x),
    "noise in vmap": lambda lib: lambda x: jax.vmap(lambda r: lib.dropout(lib.next_rng_key(), 0.5, r))(x),
    "branch on the type": lambda lib: (
        lambda x: lib.Linear(2 if isinstance(x * jnp.ones(()), jax.core.Tracer) else 3)(x)
    ),
    "noisy layer": lambda lib: (
        lambda x: (
            lib.Linear(2, w_init=lib.initializers.RandomUniform(-1 / jnp.sqrt(3.0), 1 / jnp.sqrt(3.0)))(x)
            + lib.Linear(2, b_init=lib.initializers.Constant(0.5 / jnp.sqrt(3.0)), name="sigma")(x)
            * jax.random.normal(lib.next_rng_key(), [2, 2])
        )
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_init_and_a_call_before_any_update_are_haikus(name, rank_promotion):
    ours, theirs = (lib.transform_with_state(PROGRAMS[name](lib)) for lib in (nn, hk))
    key = jax.random.key(3)
    mine, other = ours.init(key, X), theirs.init(key, X)
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)
    assert jax.tree.structure(mine) == jax.tree.structure(jax.tree.map(lambda x: x, other))
    jax.tree.map(same, mine, other)
    out, state = ours.apply(*mine, key, X)
    their_out, their_state = theirs.apply(*other, key, X)
    jax.tree.map(same, (out, state), (their_out, their_state))


def test_self_play_before_the_first_update_is_haikus(rank_promotion):
    ours, theirs = (lib.transform_with_state(self_play(lib)) for lib in (nn, hk))
    key = jax.random.key(3)
    out, _ = ours.apply(*ours.init(key, X, True), None, X, False)
    np.testing.assert_allclose(out, theirs.apply(*theirs.init(key, X, True), None, X, False)[0], rtol=2e-6, atol=1e-6)
