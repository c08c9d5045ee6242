"""Traces are counted, and what changed between two of them is said."""

import functools

import jax
import jax.numpy as jnp
import pytest

from renga import testing


@pytest.fixture(autouse=True)
def fresh_counter():
    testing.clear_trace_counter()
    yield
    testing.clear_trace_counter()


def test_one_trace_too_many_says_what_changed():
    @jax.jit
    @testing.assert_max_traces(n=2)
    def step(state, lr=1.0):
        return jax.tree.map(lambda x: lr * x, state)

    step({"w": jnp.ones(2)})
    step({"w": jnp.ones(3)})
    step({"w": jnp.zeros(3)})
    with pytest.raises(
        AssertionError, match=r"(?s)step is traced 3 times, n = 2.*state\['w'\]: dtype float32 -> int32"
    ):
        step({"w": jnp.ones(3, int)})
    testing.clear_trace_counter()
    step({"w": jnp.ones(5)})


def test_vmap_and_grad_count_and_plain_calls_do_not():
    double = lambda: testing.assert_max_traces(lambda x: 2 * x, n=1)
    fn = double()
    fn(1.0), fn(2.0)
    jax.vmap(fn)(jnp.ones(2))
    with pytest.raises(AssertionError):
        jax.vmap(fn)(jnp.ones(2))
    testing.clear_trace_counter()
    jax.jit(jax.grad(double()))(1.0)
    with pytest.raises(AssertionError, match="traced 2 times"):
        jax.jit(double())(1.0)  # another closure of the same definition


def test_static_arguments_methods_and_partials():
    class Net:
        @functools.partial(jax.jit, static_argnums=(0, 2))
        @functools.partial(testing.assert_max_traces, n=1)
        def apply(self, x, n):
            return n * x

    net = Net()
    net.apply(1.0, 2)
    net.apply(2.0, 2)
    with pytest.raises(AssertionError, match="n: static value 2 -> 3"):
        net.apply(1.0, 3)
    part = functools.partial(lambda n, x: n * x, 3)
    assert jax.jit(testing.assert_max_traces(part, n=1))(2.0) == 6.0


def test_a_transformed_function_and_a_bad_number_are_refused():
    for transformed in (jax.jit(jnp.sin), jax.vmap(lambda x: x), jax.grad(lambda x: x)):
        with pytest.raises(ValueError, match="and got one that is transformed"):
            testing.assert_max_traces(transformed, n=1)
    for n in (-1, "a", None):
        with pytest.raises(AssertionError, match="n must be a number of traces"):
            testing.assert_max_traces(lambda x: x, n=n)


def test_assert_traces_of_a_block_and_of_a_function():
    jitted = jax.jit(testing.traced(lambda x: x + 1))
    with testing.assert_traces(1):
        jitted(1.0), jitted(2.0)
    with testing.assert_traces(0):
        jitted(3.0)
    with (
        pytest.raises(AssertionError, match=r"(?s)traced 1 times in this block, n = 0.*weak type: weak .* -> not weak"),
        testing.assert_traces(0),
    ):
        jitted(jnp.float32(1))
    with pytest.raises(AssertionError, match="nothing is traced in this block, n = 1"), testing.assert_traces(1):
        jitted(1.0)

    exact = jax.jit(testing.assert_traces(1)(lambda x: 3 * x))
    exact(1.0)
    with pytest.raises(AssertionError, match=r"x: shape \(\) -> \(2,\)"):
        exact(jnp.ones(2))


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ((jnp.ones(2), 1), (jnp.ones(3), 1), "x: shape (2,) -> (3,)"),
        ((jnp.ones(2), 1), (jnp.ones(2, int), 1), "x: dtype float32 -> int32"),
        ((1.0, 1), (jnp.float32(1), 1), "x: weak type: weak (a Python number) -> not weak (dtype float32)"),
        ((1.0, 1), (1.0, 2), "n: static value 1 -> 2"),
        (({"a": 1.0}, 1), ({"b": 1.0}, 1), "x: structure PyTreeDef({'a': *}) -> PyTreeDef({'b': *})"),
        ((1.0, 1), (2.0, 1), "no argument changed"),
        ({"x": 1.0, "n": 1}, {"x": True, "n": 1}, "x: dtype float32 -> bool"),
    ],
)
def test_explain_retrace_names_the_argument_and_the_change(before, after, line):
    fn = jax.jit(lambda x, n: x, static_argnames="n")
    assert line in testing.explain_retrace(fn, before, after, static_argnames="n")
