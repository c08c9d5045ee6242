"""Functions that outlive a call, and read parameters inside a JAX transformation: never those of another call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn
from renga.nn import _fresh

X = np.ones((2, 3), np.float32)
KEY = jax.random.key  # called late: no array is made at import


def read(x):
    return x @ nn.get_parameter("w", [3, 3], init=jnp.ones)


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Each test starts as a new process does: nothing was read inside of a trace."""
    monkeypatch.setattr(_fresh, "_readers", {})


def outliving(transform, function):
    """A use of a JAX transformation on one function object that outlives the call."""
    return lambda x: transform(function, x)


# Every function of JAX that keeps traces. Made anew for each test.
OUTLIVING = {
    "jit": lambda read: jax.jit(read),
    "checkpoint": lambda read: jax.checkpoint(read),
    "scan": lambda read: outliving(lambda f, x: jax.lax.scan(f, x, jnp.arange(1))[0], lambda c, _: (read(c), c)),
    "map": lambda read: outliving(jax.lax.map, lambda row: read(row)),
    "fori_loop": lambda read: outliving(lambda f, x: jax.lax.fori_loop(0, 1, f, x), lambda i, x: read(x)),
    "while_loop": lambda read: outliving(
        lambda f, x: jax.lax.while_loop(not_yet, f, (0, x))[1], lambda c: (c[0] + 1, read(c[1]))
    ),
    "cond": lambda read: lambda x: jax.lax.cond(True, read, read, x),
    "switch": lambda read: lambda x: jax.lax.switch(1, [read, read], x),
    "vmap of jit": lambda read: jax.vmap(jax.jit(read)),
}


def not_yet(carry):
    return carry[0] < 1


@pytest.mark.parametrize("name", OUTLIVING)
def test_a_function_that_outlives_a_call_reads_the_parameters_of_each(name):
    def fresh_read(x):
        return read(x)

    outliving = OUTLIVING[name](fresh_read)
    f, g = (
        nn.without_apply_rng(nn.transform(lambda x: read(x) if nn.running_init() else outliving(x))) for _ in range(2)
    )
    params = f.init(KEY(0), X)
    scaled = [jax.tree.map(lambda w, k=k: k * w, params) for k in (1.0, 2.0, 3.0)]
    for k, p in enumerate(scaled, 1):
        np.testing.assert_allclose(f.apply(p, X), 3.0 * k)
        np.testing.assert_allclose(g.apply(p, X), 3.0 * k)  # another function that shares it
        np.testing.assert_allclose(jax.jit(lambda p: f.apply(p, X))(p), 3.0 * k)  # and no leaked tracers
    if name == "while_loop":
        return  # which has no gradient
    gradient = jax.grad(lambda p: f.apply(p, X).sum())(params)
    np.testing.assert_allclose(gradient["~"]["w"], 2.0)


def test_the_same_parameters_do_not_trace_again():
    traces = []

    @jax.jit
    def outliving(x):
        traces.append(1)
        return read(x)

    f = nn.without_apply_rng(nn.transform(lambda x: read(x) if nn.running_init() else outliving(x)))
    params = f.init(KEY(0), X)
    for _ in range(4):
        f.apply(params, X)
    assert len(traces) <= 2  # once before it was seen that the function reads


def test_a_closure_over_a_module_may_be_kept():
    kept = {}

    def f(x):
        linear = nn.Linear(3)
        return linear(x) if nn.running_init() else kept.setdefault("linear", jax.jit(lambda x: linear(x)))(x)

    f = nn.without_apply_rng(nn.transform(f))
    params = f.init(KEY(0), X)
    one, two = (f.apply(jax.tree.map(lambda w, k=k: k * w, params), X) for k in (1.0, 2.0))
    np.testing.assert_allclose(2 * one, two, rtol=1e-5)


def test_states_and_keys_are_those_of_the_call():
    def draw(x):
        return x + nn.get_state("s", [1, 3], init=jnp.zeros) + jax.random.uniform(nn.next_rng_key(), [1, 3])

    kept = jax.jit(draw)
    f = nn.transform_with_state(lambda x: draw(x) if nn.running_init() else kept(x))
    params, state = f.init(KEY(0), X)
    first, second = (f.apply(params, state, KEY(k), X)[0] for k in (1, 2))
    shifted, _ = f.apply(params, jax.tree.map(lambda s: s + 1.0, state), KEY(1), X)
    assert np.all(first != second)
    np.testing.assert_allclose(shifted, first + 1.0, rtol=1e-6)


def test_what_was_seen_of_one_function_does_not_slow_another():
    calls, kept = [], jax.jit(lambda x: read(x))

    @jax.jit
    def shared(x):
        calls.append(1)
        return x + 1.0

    f = nn.without_apply_rng(nn.transform(lambda x: read(x) if nn.running_init() else kept(x)))
    g = nn.without_apply_rng(nn.transform(lambda x: nn.Linear(3)(shared(x))))
    params = f.init(KEY(0), X)
    for k in (1.0, 2.0, 3.0):
        np.testing.assert_allclose(f.apply(jax.tree.map(lambda w, k=k: k * w, params), X), 3.0 * k)
    params = g.init(KEY(0), X)
    g.apply(params, X)
    calls.clear()
    for k in (2.0, 3.0):
        g.apply(jax.tree.map(lambda w, k=k: k * w, params), X)
    assert not calls


def test_a_key_that_no_trace_drew_from_does_not_tell_calls_apart():
    calls = []

    @jax.jit
    def shared(x):
        calls.append(1)
        return x + 1.0

    def inside(x):  # of parameters with the names of those below
        linear = nn.Linear(3)
        return linear(x) if nn.running_init() else jax.jit(lambda x: linear(x))(x)

    f = nn.transform(inside)
    f.apply(f.init(KEY(0), X), None, X)
    g = nn.transform(lambda x, k: nn.Linear(3)(shared(x)) * k)
    params = g.init(KEY(0), X, 0)
    g.apply(params, KEY(0), X, 1)
    calls.clear()
    for k in (2, 3):
        g.apply(params, KEY(k), X, k)
    assert not calls


def test_functions_of_one_call_are_not_run_again():
    runs = []

    def f(x):
        linear = nn.Linear(3)
        if nn.running_init():
            return linear(x)
        runs.append(1)
        return jax.jit(linear)(x) + jax.lax.map(lambda y: linear(y), x) + jax.vmap(linear)(x)

    f = nn.transform(f)
    params = f.init(KEY(0), X)
    one, two = (f.apply(jax.tree.map(lambda w, k=k: k * w, params), None, X) for k in (1.0, 2.0))
    np.testing.assert_allclose(2 * one, two, rtol=1e-5)
    assert len(runs) == 2


def test_branches_are_told_apart_by_their_arguments():
    kept = jax.jit(lambda x: read(x))
    f = nn.without_apply_rng(
        nn.transform(lambda x, inside: kept(x) if inside and not nn.running_init() else read(x), apply_rng=True)
    )
    params = f.init(KEY(0), X, False)
    scaled = [jax.tree.map(lambda w, k=k: k * w, params) for k in (1.0, 2.0, 3.0)]
    for inside in (True, False, True):
        for k, p in enumerate(scaled, 1):
            np.testing.assert_allclose(f.apply(p, X, inside), 3.0 * k)
