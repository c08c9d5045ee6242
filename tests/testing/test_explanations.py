"""Where a NaN comes from, whether gradients, laws and memory are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import testing
from renga.testing import check_gradients, check_transforms, explain_nan


def head(x):
    with jax.named_scope("mlp"), jax.named_scope("head"):
        return jnp.log(x)


def test_the_operation_the_layer_and_the_line_are_named():
    report = explain_nan(jax.jit(lambda p: head(p["x"]).sum()), {"x": jnp.array([1.0, -1.0])})
    assert (report.number, report.operation, report.direction, report.layer) == ("NaN", "log", "forward", "mlp/head")
    assert "test_explanations.py" in report.source
    assert report.source.endswith("return jnp.log(x)")
    assert str(report).startswith("NaN made by log in the forward pass, layer mlp/head, at ")
    assert "from float32[2] in [-1.0, 1.0]" in str(report)


def test_the_turn_of_a_loop_is_counted():
    scan = lambda x: jax.lax.scan(lambda c, _: (head(c - 1), c), x, None, length=9)[0]
    for fn in (scan, jax.grad(scan), lambda x: jax.lax.fori_loop(0, 9, lambda i, c: head(c - 1), x)):
        report = explain_nan(fn, 20.0)
        assert (report.operation, report.iterations, report.layer) == ("log", (2,), "mlp/head")
    nested = explain_nan(lambda x: jax.lax.fori_loop(0, 2, lambda i, c: scan(c) + 100.0, x), 20.0)
    assert nested.iterations == (0, 2)


def test_forward_and_backward_are_told_apart():
    masked = lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0).sum()
    x = jnp.array([1.0, 0.0])
    for report in (explain_nan(jax.grad(masked), x), explain_nan(masked, x)):
        assert (report.number, report.operation, report.direction) == ("NaN", "mul", "backward")
        assert (report.cause.number, report.cause.operation, report.cause.direction) == ("infinity", "div", "backward")
    assert explain_nan(masked, x, backward=False) is None
    assert explain_nan(jax.grad(lambda x: jnp.log(x).sum()), -x).direction == "backward"  # 1/x alone is infinite
    assert explain_nan(jax.grad(lambda x: jnp.sin(jnp.log(x)).sum()), -x).direction == "forward"


def test_branches_arguments_constants_and_python_code():
    assert explain_nan(lambda x: jax.lax.cond(x < 0, jnp.log, lambda x: x, x), -1.0).operation == "log"
    assert "args[1]['a']" in str(explain_nan(lambda x, y: x + y["a"], 1.0, {"a": jnp.nan}))
    nan = jnp.array([1.0, jnp.nan])
    assert "a constant that the function closes over" in str(explain_nan(lambda x: x + nan, jnp.ones(2)))
    assert explain_nan(lambda name, fn, x: fn(x), "name", jnp.log, -1.0).operation == "log"


def test_arguments_that_the_function_donates_stay():
    x = jnp.array(-1.0)
    assert explain_nan(jax.jit(lambda x: jnp.log(x), donate_argnums=0), x).operation == "log"
    assert not x.is_deleted()


def test_the_program_may_have_branches_and_python_code():
    assert explain_nan(lambda x: jnp.log(x) if x < 0 else x, -1.0).operation == "log"
    assert explain_nan(lambda x: jnp.exp(x) - jnp.exp(x), 1000.0).cause.operation == "exp"
    assert explain_nan(jnp.sin, 1.0) is None
    assert explain_nan(lambda i: i + 1, 1) is None


@jax.custom_jvp
def cube(x):
    return x**3


cube.defjvp(lambda x, v: (cube(*x), 2 * x[0] ** 2 * v[0]))


@jax.custom_vjp
def square(x):
    return x**2


square.defvjp(lambda x: (x**2, x), lambda x, g: (3 * x * g,))
X = jnp.array([1.0, 2.0, 0.5])


def test_a_wrong_custom_rule_is_caught():
    with pytest.raises(AssertionError, match="custom_jvp rule of cube gives the derivative .*, differences"):
        check_transforms(cube, X)
    with pytest.raises(AssertionError, match="custom_jvp rule of cube"):
        check_transforms(lambda x: jax.lax.scan(lambda c, y: (c, jax.jit(cube)(y)), 0.0, x)[1], X)
    with pytest.raises(AssertionError, match="custom_jvp rule of cube"):  # a value decides whether it is called
        check_transforms(lambda x: jax.lax.cond(x[0] > 0, cube, lambda x: x, x), X)
    with pytest.raises(AssertionError, match="custom_vjp rule of square"):
        check_transforms(square, X)
    check_transforms(square, X, custom_rules=False)


def test_what_a_rule_closes_over_is_a_constant():
    factor = np.arange(1.0, 4.0, dtype=np.float32)
    scaled = jax.custom_jvp(lambda x: jnp.asarray(factor) * x)
    scaled.defjvp(lambda x, v: (scaled(*x), jnp.asarray(factor) * v[0]))
    check_transforms(scaled, X)


def test_a_rule_that_is_wrong_at_zero_alone_is_caught():
    @jax.custom_jvp
    def fn(x):
        return x**3 + x

    fn.defjvp(lambda x, v: (fn(*x), (3 * x[0] ** 2 + (x[0] != 0)) * v[0]))
    with pytest.raises(AssertionError, match="custom_jvp rule of fn"):
        check_transforms(fn, jnp.zeros(2))


def test_right_rules_and_kinks_pass():
    check_transforms(lambda x: jax.nn.relu(x) + jax.nn.softplus(x), jnp.array([-1.0, 0.0, 2.0]))


def test_a_function_that_returns_python_numbers_passes():
    check_transforms(lambda x: {"a": 1.5, "n": 2, "x": x}, X)


def test_gradients_are_held_against_float64():
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(2)}
    check_gradients(lambda p, x, n: jnp.tanh(p["w"] @ x + n * p["b"]), params, X, 2)
    check_gradients(lambda x: jnp.sin(x.astype(jnp.float32)), X)
    with pytest.raises(
        AssertionError, match=r"args\[0\] at index \(1,\): forward mode gives .*, differences .*, off by"
    ):
        check_gradients(cube, X)
    with pytest.raises(AssertionError, match="reverse mode gives 6, differences 4, off by 2"):
        check_gradients(lambda p: square(p["a"]), {"a": 2.0})
    with pytest.raises(AssertionError, match=r"args\[0\]\['b'\]"):
        check_gradients(lambda p: p["a"] * jax.lax.stop_gradient(p["b"]), {"a": 1.0, "b": 2.0})
    with pytest.raises(ValueError, match="no argument is a float"):
        check_gradients(lambda n: n, 1)
    assert jnp.ones(1).dtype == jnp.float32


def test_numerical_grads_of_rules_in_both_modes():
    testing.assert_numerical_grads(jnp.sin, (X,), order=2)
    for wrong in (cube, square):
        with pytest.raises(AssertionError, match="assert_numerical_grads"):
            testing.assert_numerical_grads(wrong, (X,), order=1)


def test_samples_of_another_law_fail():
    probs = np.array([0.2, 0.5, 0.3, 0.0])
    draw = lambda p: lambda key: jax.random.categorical(key, jnp.log(jnp.asarray(p)), shape=(2000,))
    testing.assert_discrete_law(draw(probs), probs)
    with pytest.raises(AssertionError, match="outcome 2: expected 400, got"):
        testing.assert_discrete_law(draw(probs), [0.3, 0.5, 0.2, 0.0])
    with pytest.raises(AssertionError, match="outcome 3 has probability 0, and came 1 times"):
        testing.assert_discrete_law([0, 1, 3], probs)
    with pytest.raises(AssertionError, match=r"must be in \[0, 4\), got 4"):
        testing.assert_discrete_law([4], probs)
    with pytest.raises(ValueError, match="sum to 1"):
        testing.assert_discrete_law([0], [0.5])
    normal = lambda key: jax.random.normal(key, (500,))
    testing.assert_continuous_law(normal, jax.scipy.stats.norm.cdf)
    with pytest.raises(AssertionError, match="D = 0.*p = .*at x ="):
        testing.assert_continuous_law(normal, lambda x: jax.scipy.stats.norm.cdf(x, scale=2.0))
    with pytest.raises(ValueError, match="samples must not be empty"):
        testing.assert_continuous_law([], jax.scipy.stats.norm.cdf)


def test_arrays_that_stay_behind_are_found():
    testing.assert_no_leaks(jax.jit(lambda x: x * 2), jnp.ones(10))
    kept = []
    with pytest.raises(AssertionError, match="each call leaves 1 arrays, 40 bytes"):
        testing.assert_no_leaks(lambda x: kept.append(x + 1), jnp.ones(10))
