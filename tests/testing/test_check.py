"""`check` raises one message everywhere, and costs nothing where it is off."""

import jax
import jax.numpy as jnp
import pytest

from renga import testing

MESSAGE = r"x of layer 'a' must be positive \(x = -1.0, layer = 'a'\)"


def checks(x):
    testing.check(x > 0, "x of layer {layer} must be positive", x=x, layer="a")
    return 2 * x


X = jnp.array([1.0, -1.0])
PLACES = {
    "plain": (checks, -1.0),
    "jit": (jax.jit(checks), -1.0),
    "vmap": (jax.vmap(checks), X),
    "jit of vmap": (jax.jit(jax.vmap(checks)), X),
    "scan": (jax.jit(lambda x: jax.lax.scan(lambda c, y: (c, checks(y)), None, x)[1]), X),
    "grad": (jax.grad(checks), -1.0),
    "jit of grad": (jax.jit(jax.grad(checks)), -1.0),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_message_is_the_same_everywhere(place):
    fn, x = PLACES[place]
    with pytest.raises((testing.CheckError, jax.errors.JaxRuntimeError), match=MESSAGE):
        jax.block_until_ready(fn(jnp.asarray(x)))
    with pytest.raises(testing.CheckError, match=rf"\A{MESSAGE}\Z"):
        testing.checked(fn)(jnp.asarray(x))
    jax.block_until_ready(fn(jnp.abs(jnp.asarray(x))))


def test_inside_of_chexify_it_is_an_assertion_error():
    with pytest.raises(AssertionError, match=rf"\A{MESSAGE}\Z"):
        testing.chexify(jax.jit(checks), async_check=False)(jnp.float32(-1))


def test_switched_off_the_program_is_that_without_it():
    def deferred(x):
        testing.check(lambda: x > 0, "x must be positive", x=x)
        return 2 * x

    plain = lambda x: 2 * x
    compiled = lambda fn: jax.jit(fn).lower(1.0).compile().as_text().split("ENTRY")[1].split("metadata")[0]
    assert str(jax.make_jaxpr(deferred)(1.0)) != str(jax.make_jaxpr(plain)(1.0))
    testing.disable_asserts()
    try:
        assert str(jax.make_jaxpr(lambda x: deferred(x))(1.0)) == str(jax.make_jaxpr(plain)(1.0))
        assert "callback" not in str(jax.make_jaxpr(lambda x: checks(x))(1.0))
        assert compiled(lambda x: checks(x)).split()[1:] == compiled(plain).split()[1:]
        checks(-1.0)
    finally:
        testing.enable_asserts()
    with pytest.raises(testing.CheckError):
        deferred(-1.0)


def test_messages_with_braces_and_formats():
    with pytest.raises(testing.CheckError, match=r"\{a\} 0.50 \(y = 0.5\)"):
        testing.check(False, "{{a}} {y:.2f}", y=0.5)
    fn = lambda x: testing.check(x < 0, "100% {y:.1f} {q}", y=x, tree={"a": x}, n=3)
    with pytest.raises(testing.CheckError, match=r"100% 1.0 {q} \(y = 1.0, tree = {'a': 1.0}, n = 3\)"):
        testing.checked(jax.jit(fn))(1.0)
    with pytest.raises(AssertionError, match=r"100% 1.0 {q} \(y = 1.0, tree = {'a': float32\[\]}, n = 3\)"):
        testing.chexify(jax.jit(lambda x: fn(x)), async_check=False)(1.0)
    with pytest.raises(testing.CheckError, match=r"set {1, 2} is empty\Z"):
        testing.check(False, "set {1, 2} is empty")


def test_other_errors_of_the_runtime_pass_through_checked():
    def fail(_):
        raise ValueError("elsewhere")

    with pytest.raises(jax.errors.JaxRuntimeError, match="elsewhere"):
        testing.checked(jax.jit(lambda x: jax.debug.callback(fail, x)))(1.0)
