"""What leaks, lies or does not fit is refused in words that name it; what would work is not."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

pytestmark = pytest.mark.usefixtures("unchecked")  # the errors are Renga's own

KEY = jax.random.key
X = jnp.ones((2, 4))


def run(f, *args, key=True):
    """One program: what `f` closes over keeps its values, and a refusal compiles nothing."""
    f = nn.transform_with_state(f)

    @jax.jit
    def call(keys, *args):
        params, state = f.init(keys[0], *args)
        return f.apply(params, state, keys[1] if key else None, *args)[0]

    return call((KEY(0), KEY(1)), *args)


# --- lifted functions --------------------------------------------------------------------------------


def test_a_transparent_lift_of_an_outer_module_is_refused():
    def closing(lift):
        def f(x):
            linear = nn.Linear(2)
            inner = nn.transform(lambda x: linear(x))
            return inner.apply(lift(inner.init)(nn.maybe_next_rng_key(), x), None, x)

        return f

    with pytest.raises(ValueError, match="transparent_lift: .* module 'linear', which was made outside"):
        run(closing(nn.transparent_lift), X)
    assert run(closing(nn.lift), X).shape == (2, 2)

    def own(x):
        inner = nn.transform(lambda x: nn.nets.MLP([3, 2])(x))
        return inner.apply(nn.transparent_lift(inner.init)(nn.maybe_next_rng_key(), x), None, x)

    assert run(own, X).shape == (2, 2)


def test_a_lift_of_the_wrong_kind_of_function_is_refused():
    stateful = nn.transform_with_state(lambda x: nn.Linear(2)(x))
    plain = nn.transform(lambda x: nn.Linear(2)(x))
    for lift in (nn.lift, nn.transparent_lift):
        with pytest.raises(nn.NonEmptyStateError, match="use nn.(transparent_)?lift_with_state"):
            run(lambda x, lift=lift: lift(stateful.init)(nn.next_rng_key(), x), X)
        with pytest.raises(TypeError, match="must return parameters"):
            run(lambda x, lift=lift: lift(lambda: {"w": 1})(), X)
    with pytest.raises(TypeError, match=r"lift_with_state: .*pair \(params, state\)"):
        run(lambda x: nn.lift_with_state(plain.init)[0](nn.next_rng_key(), x), X)
    with pytest.raises(TypeError, match="init_fn must be a function"):
        run(lambda x: nn.lift(3), X)


def test_an_updater_of_another_call_is_refused():
    inner = nn.transform_with_state(lambda x: nn.ExponentialMovingAverage(0.5)(x))

    def f(x):
        init, updater = nn.lift_with_state(inner.init)
        _, state = init(None, x)
        nn.transform_with_state(lambda: updater.update(state)).init(None)

    with pytest.raises(ValueError, match="the updater must be used in the call of init or apply that made it"):
        run(f, X)


# --- loops and branches ------------------------------------------------------------------------------

LOOPS = {
    "unequal branches": (lambda x: nn.cond(True, lambda x: x, lambda x: x[0], x), r"false_fun returns float32\[4\]"),
    "branches of two structures": (
        lambda x: nn.cond(True, lambda x: x, lambda x: (x, x), x),
        "true_fun returns PyTree",
    ),
    "a vector of predicates": (lambda x: nn.cond(x[0] > 0, lambda x: x, lambda x: x, x), "pred must be a scalar"),
    "no function": (lambda x: nn.cond(True, lambda x: x, 2, x), "false_fun must be a function"),
    "switch": (lambda x: nn.switch(1, [lambda a, b: a, lambda a, b: b], 1, 2.0), r"branch 1 returns float32\[\]"),
    "a float index": (lambda x: nn.switch(0.7, [lambda x: x], x), "index must be one integer"),
    "one branch": (lambda x: nn.switch(0, lambda x: x, x), "branches must be a sequence of functions"),
    "lengths": (lambda x: nn.scan(lambda c, x: (c, x), 0, (x, x[0])), r"shapes \(2, 4\), \(4,\)"),
    "a length": (lambda x: nn.scan(lambda c, x: (c, x), 0, x, length=5), "and length 5"),
    "no pair": (lambda x: nn.scan(lambda c, x: c, 0.0, x), "f must return a pair"),
    "a carry that grows": (
        lambda x: nn.scan(lambda c, x: (jnp.stack([c, c]) if c.ndim < 2 else c[None], x), x[0], jnp.ones((3, 1))),
        "scan: the carry must keep",
    ),
    "a condition of two": (
        lambda x: nn.while_loop(lambda v: v < 3, lambda v: v + 1, jnp.zeros(2)),
        "must return one bool",
    ),
    "a value that changes": (lambda x: nn.while_loop(lambda v: v.sum() < 3, lambda v: v[0], x), "the value must keep"),
    "a value that changes in a loop": (
        lambda x: nn.fori_loop(jnp.int32(0), 3, lambda i, v: jnp.stack([v, v]) if v.ndim == 2 else v[0, 0], x),
        "the value must keep",
    ),
    "axes": (lambda x: nn.vmap(lambda a, b: a, in_axes=(0,), split_rng=False)(x, x), "one entry for each argument"),
    "sizes": (lambda x: nn.vmap(lambda a, b: a, split_rng=False)(x, x[:1]), r"one size.*from args\[0\].*of args\[1\]"),
    "axis": (lambda x: nn.vmap(lambda a: a, in_axes=5, split_rng=False)(x), r"args\[0\] must have the axis 5"),
    "axis_size": (lambda x: nn.vmap(lambda a: a, axis_size=9, split_rng=True)(x), "got 9 from axis_size"),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_and_branches_that_do_not_fit_say_so(name):
    f, words = LOOPS[name]
    with pytest.raises((TypeError, ValueError), match=words):
        nn.transform(f).apply({}, None, X)
    if "carry" not in name and "value" not in name and "condition" not in name:  # init runs one step of a loop
        with pytest.raises((TypeError, ValueError), match=words):
            nn.transform(f).init(None, X)


def test_integer_operands_and_weak_types_work():
    assert nn.transform(lambda: nn.switch(1, [lambda a, b: a, lambda a, b: b], 1, 2)).apply({}, None) == 2
    assert nn.transform(lambda: nn.cond(True, lambda a: a, lambda a: 1.0, jnp.float32(2))).apply({}, None) == 2


# --- policies ----------------------------------------------------------------------------------------


def test_a_policy_of_the_class_at_work_is_refused():
    half = nn.mixed_precision.Policy(compute_dtype=jnp.bfloat16)

    class M(nn.Module):
        def __call__(self, other):
            with nn.mixed_precision.push_policy(other or M, half):
                return nn.Linear(2)(X)

    with pytest.raises(ValueError, match="push_policy: a method of a M cannot push"):
        run(lambda: M()(None))
    assert run(lambda: M()(nn.Linear)).dtype == jnp.float32


# --- attention and embeddings ------------------------------------------------------------------------


def attend(*shapes, mask=None, dtype=jnp.float32):
    def f(*xs):
        return nn.MultiHeadAttention(2, 3, 1.0)(*xs, mask)

    return run(f, *(np.ones(shape, dtype) for shape in shapes))


Q = (2, 3, 4)
ATTENTION = {
    "batches": ((Q, (3, 3, 4), (3, 3, 4)), None, r"broadcast to those of query, \(2,\), got \(3,\)"),
    "lengths": ((Q, (2, 5, 4), (2, 4, 4)), None, "same number of sources, got 5 and 4"),
    "one value for all keys": ((Q, (2, 5, 4), (2, 1, 4)), None, "same number of sources, got 5 and 1"),
    "vectors": (((4,), (4,), (4,)), None, r"query must have shape \[..., time, size\], got \(4,\)"),
    "a mask too long": ((Q, Q, Q), jnp.ones((2, 1, 3, 4)), r"mask must have the shape .*got \(2, 1, 3, 4\)"),
    "a mask of another rank": ((Q, Q, Q), jnp.ones((3, 3)), "mask must have 4 axes"),
    "an additive mask": ((Q, Q, Q), jnp.full((1, 1, 3, 3), -1e9), "mask must hold booleans.*got -1e[+]09"),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_that_does_not_fit_says_what(name):
    shapes, mask, words = ATTENTION[name]
    with pytest.raises(ValueError, match=words):
        attend(*shapes, mask=mask)


@pytest.mark.parametrize("sizes", [{"num_heads": 0, "key_size": 2}, {"num_heads": 2, "key_size": 0}])
def test_attention_without_heads_is_refused(sizes):
    with pytest.raises(ValueError, match="must be >= 1, got 0"):
        run(lambda: nn.MultiHeadAttention(**sizes, w_init_scale=1.0) and None)


def test_attention_broadcasts_keys_and_takes_masks_of_any_dtype():
    whole = attend(Q, Q, Q)
    np.testing.assert_allclose(attend(Q, (1, 3, 4), (1, 3, 4)), whole, rtol=1e-6)
    np.testing.assert_allclose(attend(Q, (3, 4), (3, 4)), whole, rtol=1e-6)
    lower = np.tril(np.ones((1, 1, 3, 3)))
    for dtype in (bool, np.int32, np.float32):
        np.testing.assert_allclose(attend(Q, Q, Q, mask=lower.astype(dtype)), whole, rtol=1e-6)


def test_a_row_without_sources_attends_to_all_in_float16_too():
    mask = jnp.zeros((1, 1, 3, 3))
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        masked, whole = (attend(Q, Q, Q, mask=m, dtype=dtype) for m in (mask, None))
        np.testing.assert_allclose(np.float32(masked), np.float32(whole), rtol=1e-2)


def cached(x):
    return nn.GroupedQueryAttention(2, 1, 4, cache_size=3)(x)


def test_positions_past_the_cache_are_refused_or_nan():
    f = nn.transform_with_state(cached)
    x = jnp.ones((1, 2, 4))
    apply = jax.jit(f.apply)
    params, state = jax.jit(f.init)(KEY(0), x)
    first, state = apply(params, state, None, x)
    with pytest.raises(ValueError, match="2 positions do not fit into the cache, which holds 2 of cache_size 3"):
        f.apply(params, state, None, x)
    out, state = apply(params, state, None, x)
    assert np.isfinite(first).all()
    assert np.isfinite(out[:, 0]).all()
    assert np.isnan(out[:, 1]).all()
    with pytest.raises(ValueError, match="state 'key' must be floats of shape"):
        f.apply(
            params,
            state | {"grouped_query_attention": state["grouped_query_attention"] | {"length": 0}},
            None,
            jnp.ones((2, 2, 4)),
        )
    with pytest.raises(ValueError, match="mask must have shape"):
        run(lambda: nn.GroupedQueryAttention(2, 1, 4)(x, jnp.ones((2, 2))))
    with pytest.raises(ValueError, match="mask must hold booleans"):
        run(lambda: nn.GroupedQueryAttention(2, 1, 4)(x, np.full((1, 1, 2, 2), -np.inf)))  # known, under jit too


def test_a_traced_mask_of_floats_that_was_meant_to_be_added_gives_nan():
    x = jnp.ones((1, 3, 4))
    layers = (
        lambda m: nn.MultiHeadAttention(2, 3, 1.0)(x, x, x, m),
        lambda m: nn.GroupedQueryAttention(2, 1, 4)(x, m),
    )
    mask = np.ones((1, 1, 3, 3), np.float32)
    mask[0, 0, 1, 2] = 0.0
    for layer in layers:
        f = nn.transform(layer)
        params = jax.jit(f.init)(jax.random.key(0), mask)
        apply = jax.jit(lambda m, f=f, params=params: f.apply(params, None, m))
        np.testing.assert_allclose(apply(mask), apply(mask == 1), rtol=1e-6)
        assert np.isnan(apply((mask - 1) * 1e9)).any(axis=(0, 2)).tolist() == [False, True, False]


def test_ids_out_of_range_are_as_documented():
    ids, matrix = jnp.array([0, 3, -1, 9, -9]), jnp.arange(4.0).reshape(4, 1)
    look = lambda style: run(lambda: nn.Embed(embedding_matrix=matrix, lookup_style=style)(ids)).ravel().tolist()
    assert look("ARRAY_INDEX") == [0, 3, 3, 3, 0]
    assert look("ONE_HOT") == [0, 3, 0, 0, 0]
    for sizes in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match="must be >= 1, got 0"):
            run(lambda sizes=sizes: nn.Embed(*sizes)(ids))
    with pytest.raises(ValueError, match="embedding_matrix must have shape"):
        run(lambda: nn.Embed(embedding_matrix=jnp.ones(3))(ids))


def test_lengths_beyond_the_sequence_are_refused():
    rnn = lambda lengths: run(lambda: nn.BidirectionalRNN(nn.GRU(2), nn.GRU(2))(jnp.ones((3, 2, 2)), lengths)[0])
    for lengths in ([4, 1], [-1, 2]):
        with pytest.raises(ValueError, match=r"lengths must be in \[0, 3\]"):
            rnn(jnp.array(lengths))
    assert not np.any(rnn(jnp.array([0, 3]))[:, 0])


def test_states_and_parameters_may_change_shape_and_dtype_as_in_haiku():
    grow = nn.transform_with_state(lambda: nn.set_state("m", jnp.append(nn.get_state("m", [1], init=jnp.zeros), 1.0)))
    _, state = grow.init(None)
    assert grow.apply({}, state, None)[1]["~"]["m"].shape == (2,)
    twice = lambda: [nn.get_parameter("w", [2], dtype, init=jnp.ones) for dtype in (jnp.float32, jnp.bfloat16)]
    assert [w.dtype for w in run(twice)] == [jnp.float32, jnp.float32]


# --- tables ------------------------------------------------------------------------------------------


def test_tables_take_any_transformed_function_and_option():
    f = lambda x: (
        nn.dropout(nn.next_rng_key(), 0.5, nn.nets.MLP([3, 2])(x)) if nn.running_init() else nn.nets.MLP([3, 2])(x)
    )
    for g in (
        f,
        nn.transform(f),
        nn.without_apply_rng(nn.transform(f)),
        nn.without_apply_rng(nn.transform_with_state(f)),
    ):
        assert len(nn.experimental.eval_summary(g)(X)) == 3
        assert nn.experimental.tabulate(g, columns=("module",), filters=("has_params",))(X).count("mlp/~/linear") == 2
    assert nn.experimental.tabulate(f, columns=())(X) == ""
    pytest.importorskip("tabulate")
    table = nn.experimental.tabulate(f, columns=("module", "params_size"), tabulate_kwargs={"tablefmt": "github"})(X)
    assert table.splitlines()[0].split("|")[1].strip() == "Module"
    with pytest.raises(TypeError, match="nothing"):
        nn.experimental.tabulate(f, tabulate_kwargs={"nothing": 1})(X)


NO_FUNCTIONS = {
    "BatchApply: f": lambda x, bad: nn.BatchApply(bad)(x),
    "BidirectionalRNN: core_fwd": lambda x, bad: nn.BidirectionalRNN(bad, nn.GRU(2)),
    "DeepRNN: layers[0]": lambda x, bad: nn.DeepRNN([bad])(x, ()),
    "Deferred: factory": lambda x, bad: nn.Deferred(bad)(x),
    "MLP: activation": lambda x, bad: nn.nets.MLP([2, 2], activation=bad)(x),
    "ResetCore: core": lambda x, bad: nn.ResetCore(bad),
    "Sequential: layers[1]": lambda x, bad: nn.Sequential([jnp.tanh, bad])(x),
    "cond: true_fun": lambda x, bad: nn.cond(True, bad, jnp.tanh, x),
    "custom_creator: creator": lambda x, bad: nn.custom_creator(bad),
    "custom_getter: getter": lambda x, bad: nn.custom_getter(bad),
    "custom_setter: setter": lambda x, bad: nn.custom_setter(bad),
    "dynamic_unroll: core": lambda x, bad: nn.dynamic_unroll(bad, x, ()),
    "eval_shape: fun": lambda x, bad: nn.eval_shape(bad, x),
    "expand_apply: f": lambda x, bad: nn.expand_apply(bad)(x),
    "fori_loop: body_fun": lambda x, bad: nn.fori_loop(0, 1, bad, x),
    "get_parameter 'linear/w': init": lambda x, bad: nn.Linear(2, w_init=bad)(x),
    "grad: fun": lambda x, bad: nn.grad(bad)(x),
    "intercept_methods: interceptor": lambda x, bad: nn.intercept_methods(bad),
    "layer_stack: f": lambda x, bad: nn.layer_stack(2)(bad)(x),
    "map: f": lambda x, bad: nn.map(bad, x),
    "remat: fun": lambda x, bad: nn.remat(bad)(x),
    "scan: f": lambda x, bad: nn.scan(bad, x, x),
    "static_unroll: core": lambda x, bad: nn.static_unroll(bad, x, ()),
    "to_module: f": lambda x, bad: nn.to_module(bad)("a")(x),
    "value_and_grad: fun": lambda x, bad: nn.value_and_grad(bad)(x),
    "vmap: fun": lambda x, bad: nn.vmap(bad, split_rng=False)(x),
    "while_loop: cond_fun": lambda x, bad: nn.while_loop(bad, jnp.tanh, x),
}


@pytest.mark.parametrize("where", NO_FUNCTIONS)
def test_what_is_no_function_and_no_core_is_refused_where_it_is_given(where):
    f = nn.transform_with_state(lambda x: NO_FUNCTIONS[where](x, 3.0))
    with pytest.raises(TypeError, match=f"{re.escape(where)} must be (a function|an RNNCore, with .*), got"):
        f.init(jax.random.key(0), jnp.ones((2, 3)))
