"""Flax modules in transformed functions and transformed functions in Flax modules, as in Haiku."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

hk = pytest.importorskip("haiku")
linen = pytest.importorskip("flax.linen")
theirs = pytest.importorskip("haiku.experimental.flax")
ours = nn.experimental.flax

X = jnp.arange(8.0).reshape(2, 4) / 8


def key(seed=0):
    return jax.random.key(seed)


def close(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


class Stateful(linen.Module):
    @linen.compact
    def __call__(self, x, train=True):
        return linen.BatchNorm(use_running_average=not train)(linen.Dense(3)(x))


LIFTED = {
    "once": lambda lift: lift(linen.Dense(3), name="dense")(X),
    "twice": lambda lift: (lambda m: (m(X), m(X)))(lift(linen.Dense(3), name="dense")),
    "two of one name": lambda lift: (lift(linen.Dense(3), name="d")(X), lift(linen.Dense(2), name="d")(X)),
    "state": lambda lift: lift(Stateful(), name="net")(X),
    "state, in evaluation": lambda lift: lift(Stateful(), name="net")(X, train=False),
    "state at the root": lambda lift: lift(linen.BatchNorm(use_running_average=False), name="b")(X),
}


@pytest.mark.parametrize("name", LIFTED)
def test_lifted_modules_agree(name):
    found = []
    for lib, lift in ((hk, theirs.lift), (nn, ours.lift)):
        draw = lambda lib=lib, lift=lift: (LIFTED[name](lift), jax.random.uniform(lib.next_rng_key()))
        f = lib.transform_with_state(draw)
        params, state = f.init(key())
        found.append((params, state, f.apply(params, state, key(1))))
    close(*found)


def model(lib):
    def f(x, is_training=True):
        return lib.BatchNorm(True, True, 0.9)(lib.nets.MLP([3, 2])(x), is_training)

    return lib.transform_with_state(f)


def test_wrapped_functions_agree():
    found = []
    for lib, module in ((hk, theirs.Module), (nn, ours.Module)):
        m = module(model(lib))
        variables = m.init(key(), X)
        trained = m.apply(variables, X, mutable=["state"])
        found.append((variables, trained, m.apply(variables, X, is_training=False)))
    close(*found)


def test_wrapped_functions_draw_from_the_stream_apply():
    outs = []
    for lib, module in ((hk, theirs.Module), (nn, ours.Module)):
        f = lib.with_empty_state(
            lib.transform(lambda x, lib=lib: lib.dropout(lib.next_rng_key(), 0.5, lib.Linear(3)(x)))
        )

        class Net(linen.Module):
            f: object
            module: object

            @linen.compact
            def __call__(self, x):
                return linen.Dense(2)(self.module(self.f, name="inner")(x))

        net = Net(f, module)
        variables = net.init({"params": key(), "apply": key(1)}, X)
        outs.append((variables, net.apply(variables, X, rngs={"apply": key(2)})))
        with pytest.raises(Exception, match=r"(?i)key"):
            net.apply(variables, X)
    close(*outs)


def test_a_function_without_state_or_key_works_in_a_parent():
    for f in (nn.transform(lambda x: nn.Linear(3)(x)), nn.without_apply_rng(nn.transform(lambda x: nn.Linear(3)(x)))):

        class Net(linen.Module):
            @linen.compact
            def __call__(self, x, f=f):
                return ours.Module(f)(x)

        variables = Net().init(key(), X)
        assert jax.tree.map(jnp.shape, variables) == {"params": {"Module_0": {"linear": {"b": (3,), "w": (4, 3)}}}}
        assert Net().apply(variables, X).shape == (2, 3)


def test_state_that_changes_needs_a_mutable_collection():
    m = ours.Module(model(nn))
    with pytest.raises(Exception, match='collection "state" is immutable'):
        m.apply(m.init(key(), X), X)


def test_trees_are_flattened_alike():
    for tree in ({"a": {"b": {"w": 1}, "c": 2}, "d": 3}, {"a": {"~": {"b": {"w": 1}}}, "~": {"q": 3}}, {"a": {}}):
        assert ours.flatten_flax_to_haiku(tree) == theirs.flatten_flax_to_haiku(tree)


def test_what_cannot_be_wrapped_is_refused():
    with pytest.raises(TypeError, match=r"lift: mod must be a flax.linen.Module, got int"):
        nn.transform(lambda: ours.lift(3, name="a")).init(key())
    with pytest.raises(ValueError, match="inside of a transformed function"):
        ours.lift(linen.Dense(3), name="a")
    with pytest.raises(TypeError, match="transformed must be what nn.transform"):
        ours.Module(lambda x: x).init(key(), X)


@pytest.mark.parametrize("name", ["Module", "flatten_flax_to_haiku", "lift"])
def test_names_are_there(name):
    assert name in dir(ours)
    assert hasattr(ours, name)
    assert not hasattr(ours, "nothing")
