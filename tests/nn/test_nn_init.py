"""`init` runs the function once, as it stands; `abstract_init` finds the same without the forward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

X = np.arange(6, dtype=np.float32).reshape(2, 3)
KEY = jax.random.key  # called late: no array is made at import


def test_init_runs_the_function_once_and_its_values_are_values():
    seen = []

    def f(x):
        y = nn.Linear(3)(x)
        seen.append(y)
        total = sum(float(v) for v in np.nditer(np.asarray(y)))
        if not isinstance(y * 1, jax.Array) or isinstance(y, jax.core.Tracer) or np.isnan(total):
            return nn.Linear(5)(y)  # another model than in apply
        return y

    params = nn.transform(f).init(KEY(0), X)
    assert len(seen) == 1
    assert list(params) == ["linear"]
    np.testing.assert_allclose(seen[0], nn.transform(f).apply(params, None, X), rtol=1e-6)


def test_an_error_of_the_function_comes_from_its_only_run():
    ran = []

    def f(x):
        ran.append(1)
        return x.no_such_method()

    with pytest.raises(AttributeError):
        nn.transform(f).init(KEY(0), X)
    assert len(ran) == 1


def small(x):
    return 1 / jnp.sqrt(x.shape[-1])


# Initialisers that are computed with JAX inside of the function, in every kind of place that takes one.
COMPUTED = {
    "Linear w": lambda x: nn.Linear(3, w_init=nn.initializers.Constant(2 * jnp.eye(3)))(x),
    "Linear b": lambda x: nn.Linear(3, b_init=nn.initializers.Constant(jnp.arange(3.0)))(x),
    "TruncatedNormal": lambda x: nn.Linear(3, w_init=nn.initializers.TruncatedNormal(small(x)))(x),
    "RandomNormal": lambda x: nn.Linear(3, w_init=nn.initializers.RandomNormal(small(x), small(x)))(x),
    "RandomUniform": lambda x: nn.Linear(3, w_init=nn.initializers.RandomUniform(-small(x), small(x)))(x),
    "get_parameter": lambda x: x + nn.get_parameter("log_std", [2, 3], init=nn.initializers.Constant(jnp.log(0.5))),
    "get_state": lambda x: x + nn.get_state("s", [2, 3], init=nn.initializers.Constant(jnp.zeros((2, 3)) + 1)),
    "a function": lambda x: x + nn.get_parameter("w", [2, 3], init=lambda shape, dtype: jnp.cos(x)),
    "Embed": lambda x: nn.Embed(4, 3, w_init=nn.initializers.RandomNormal(small(x)))(jnp.arange(2)),
    "LayerNorm": lambda x: nn.LayerNorm(-1, True, True, scale_init=nn.initializers.Constant(small(x)))(x),
    "layer_stack": lambda x: nn.layer_stack(2)(
        lambda y: nn.Linear(3, w_init=nn.initializers.Constant(2 * jnp.eye(3)))(y)
    )(x, reverse=True),
    "scan": lambda x: nn.scan(
        lambda c, y: (nn.Linear(3, w_init=nn.initializers.TruncatedNormal(small(y)))(c), None), x, x
    )[0],
    "lift": lambda x: nn.lift(
        nn.transform(lambda y: nn.Linear(3, w_init=nn.initializers.Constant(2 * jnp.eye(3)))(y)).init, name="inner"
    )(nn.maybe_next_rng_key(), x)["linear"]["w"],
}


@pytest.mark.parametrize("name", COMPUTED)
def test_initialisers_may_be_computed_inside_of_the_function(name):
    f = nn.transform_with_state(COMPUTED[name])
    made = f.init(KEY(0), X)
    for other in (nn.abstract_init(f)(KEY(0), X), jax.jit(f.init)(KEY(0), X)):
        assert jax.tree.structure(other) == jax.tree.structure(made)
        for a, b in zip(jax.tree.leaves(made), jax.tree.leaves(other), strict=True):
            assert not isinstance(b, jax.core.Tracer)
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    f.apply(*made, KEY(1), X)


def test_abstract_init_does_not_execute_the_function():
    ran = []

    def f(x):
        y = nn.Linear(4)(x)
        jax.debug.callback(lambda: ran.append(1))
        return y

    f = nn.transform(f)
    params = nn.abstract_init(f)(KEY(0), X)
    jax.effects_barrier()
    assert not ran
    jax.tree.map(np.testing.assert_array_equal, params, f.init(KEY(0), X))
    jax.effects_barrier()
    assert ran


def test_abstract_init_is_the_same_as_init_traced_or_jitted():
    def f(x):
        v = nn.get_parameter("v", [3], init=nn.initializers.RandomNormal())
        nn.get_parameter("norm", [], init=lambda *_: jnp.linalg.norm(v))
        nn.set_state("mean", jnp.mean(x))
        return nn.nets.MLP([5, 2])(x)

    f = nn.transform_with_state(f)
    init = nn.abstract_init(f)
    lazy = init(KEY(0), X)
    others = [f.init(KEY(0), X), jax.jit(init)(KEY(0), X), init(jax.random.PRNGKey(0), X)]
    with jax.disable_jit():
        others.append(init(KEY(0), X))
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), lazy, other)


def test_abstract_init_runs_init_where_the_function_looks_at_a_value():
    seen = []

    def f(x):
        y = nn.Linear(4)(x)
        seen.append(float(y.sum()))
        return y

    params = nn.abstract_init(nn.transform(f))(KEY(0), X)
    assert params["linear"]["w"].shape == (3, 4)
    assert len(seen) == 1


def test_abstract_init_starts_the_averages_of_batch_norm_without_a_batch():
    f = nn.transform_with_state(lambda x: nn.BatchNorm(True, True, 0.9)(x, True))
    _, state = nn.abstract_init(f)(KEY(0), X)
    np.testing.assert_array_equal(state["batch_norm/~/mean_ema"]["average"], np.zeros((1, 3)))
    np.testing.assert_array_equal(state["batch_norm/~/var_ema"]["average"], np.ones((1, 3)))


def test_abstract_init_says_what_it_takes():
    with pytest.raises(ValueError, match=r"abstract_init: f must be the result of nn\.transform"):
        nn.abstract_init(lambda x: x)


# --- inside of JAX's transformations ----------------------------------------------------------------

# What keeps nothing of the values it is given: a constant in it stays one.
HARMLESS = {
    "vmap": lambda f, x: jax.vmap(f)(x),
    "vmap of vmap": lambda f, x: jax.vmap(jax.vmap(f))(x[None]),
    "grad": lambda f, x: jax.grad(lambda x: f(x).sum())(x),
    "jvp": lambda f, x: jax.jvp(f, (x,), (x,)),
    "vjp": lambda f, x: jax.vjp(f, x)[0],
    "linearize": lambda f, x: jax.linearize(f, x)[0],
    "hessian": lambda f, x: jax.hessian(lambda x: f(x).sum())(x),
}
STAGING = {"jit": lambda f, x: jax.jit(f)(x), "checkpoint": lambda f, x: jax.checkpoint(f)(x)}
LOOPS = {
    "scan": lambda f, x: jax.lax.scan(lambda c, y: (c, f(y)), 0.0, x),
    "vmap in scan": lambda f, x: jax.lax.scan(lambda c, y: (c, jax.vmap(f)(x)), 0.0, x),
    "fori_loop": lambda f, x: jax.lax.fori_loop(0, 3, lambda i, y: f(y), x),
}


def layer(x):
    return nn.Linear(3)(x)


def noise(x):
    return x + jax.random.uniform(nn.next_rng_key())


def with_key(x):
    with nn.with_rng(jax.random.key(1)):
        return noise(x)


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("name", HARMLESS)
def test_parameters_can_be_made_and_keys_drawn_where_nothing_leaks(name, jitted):
    jit = jax.jit if jitted else lambda f: f
    f = nn.transform_with_state(lambda x: (HARMLESS[name](layer, x), HARMLESS[name](with_key, x), nn.next_rng_key()))
    params, state = jit(f.init)(KEY(0), X)
    plain = nn.transform(layer).init(KEY(0), X)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, plain)
    jit(f.apply)(params, state, KEY(1), X)


@pytest.mark.parametrize("name", HARMLESS | STAGING)
def test_a_key_drawn_inside_is_the_next_of_the_call(name):
    keys = []

    def draw(x):
        keys.append(nn.next_rng_key())
        return x

    def f(x):
        (HARMLESS | STAGING)[name](draw, x)
        return nn.next_rng_key()

    last = nn.transform(f).apply({}, KEY(0), X)
    sequence = nn.PRNGSequence(KEY(0))
    expected = [next(sequence) for _ in range(len(keys) + 1)]
    for key, right in zip([*keys, last], expected, strict=True):
        assert jax.random.key_data(key).tolist() == jax.random.key_data(right).tolist()


@pytest.mark.parametrize("name", LOOPS)
def test_a_key_for_all_steps_of_a_loop_is_refused(name):
    with pytest.raises(nn.JaxUsageError, match="every step would get the same"):
        nn.transform(lambda x: LOOPS[name](noise, x)).apply({}, KEY(0), X)
    nn.transform(lambda x: LOOPS[name](with_key, x)).apply({}, KEY(0), X)  # a sequence of the step's own


@pytest.mark.parametrize("name", STAGING | LOOPS | {"vmap": HARMLESS["vmap"], "grad": HARMLESS["grad"]})
def test_a_state_is_refused_that_belongs_to_the_inner_trace(name):
    def keep(value):
        return lambda y: (nn.set_state("last", value(y)), y)[1]

    transform = (STAGING | LOOPS | HARMLESS)[name]
    with pytest.raises(nn.JaxUsageError, match="would be a tracer that leaks"):
        nn.transform_with_state(lambda x: transform(keep(lambda y: y.sum()), x)).apply({}, {}, None, X)
    _, state = nn.transform_with_state(lambda x: transform(keep(lambda y: 3.0), x)).apply({}, {}, None, X)
    assert state == {"~": {"last": 3.0}}
