"""Numbers at the ends: 16 bits, squares that overflow, decays near 1, integers, hyperparameters out of range."""
# ruff: noqa: E501, PT018

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import optim

HALF = jnp.float16
LARGE = jnp.array([200.0, 200.0], HALF)


def test_norms_and_clips_do_not_overflow():
    huge, tiny = jnp.array([1e30, -1e30]), jnp.array([1e-30, 1e-30])
    root2 = np.sqrt(np.float32(2))
    norm, slope = jax.jit(optim.global_norm), jax.jit(jax.grad(optim.global_norm))
    np.testing.assert_allclose(norm(LARGE), 282.84, rtol=1e-3)
    np.testing.assert_allclose(norm({"a": huge}), 1e30 * root2, rtol=1e-6)
    np.testing.assert_allclose(norm(tiny), 1e-30 * root2, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(optim.safe_norm)(huge, 0.0), 1e30 * root2, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(optim.safe_root_mean_squares)(huge, 0.0), 1e30, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(optim.tree.norm)(LARGE), 282.84, rtol=1e-3)
    np.testing.assert_array_equal(norm(np.float32([np.inf, 1.0])), np.inf)
    assert np.isnan(norm(np.float32([np.nan, 1e30])))
    np.testing.assert_allclose(slope(huge), np.asarray(huge) / 1e30 / root2, rtol=1e-6)
    np.testing.assert_array_equal(slope(np.zeros(2, np.float32)), 0)
    unit = jnp.ones(2)
    for tx, size in (
        (optim.clip_by_global_norm(1.0), 1 / root2),
        (optim.clip_by_block_rms(1.0), 1.0),
        (optim.adaptive_grad_clip(0.1), 0.1),
    ):
        for g in (LARGE, huge):
            u = jax.jit(lambda g, p, tx=tx: tx.update(g, tx.init(g), p)[0])(g, np.ones(2, g.dtype))
            np.testing.assert_allclose(np.abs(u, dtype=np.float32), size, rtol=1e-3)
    sums, clipped = jax.jit(optim.per_example_global_norm_clip)({"a": np.stack([huge, unit])}, 1.0)
    np.testing.assert_allclose(sums["a"], np.array([2, 0]) / root2, atol=1e-6)
    assert clipped == 2


def test_a_bound_of_zero_lets_zero_pass():
    updates, _ = optim.clip_by_global_norm(0.0).update(jnp.zeros(2), optim.EmptyState())
    np.testing.assert_array_equal(updates, 0)


SQUARES = ("adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adan", "amsgrad", "novograd", "radam", "rmsprop", "sm3", "yogi")  # fmt: skip


@pytest.mark.parametrize("name", SQUARES)
def test_second_moments_of_16_bits_are_float32(name):
    tx = getattr(optim, name)(0.1)
    updates, state = jax.jit(lambda p: tx.update(2 * p, tx.init(p), p))(LARGE)
    assert np.isfinite(updates).all() and updates.dtype == HALF
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))
    narrow = jax.tree.leaves(jax.eval_shape(tx.init, jnp.ones(2, jnp.bfloat16)))
    moments = [x for x in narrow if x.shape == (2,)]
    assert name in ("novograd",) or any(x.dtype == jnp.float32 for x in moments)


@pytest.mark.parametrize("name", ["adam", "adamax", "yogi", "adafactor"])
def test_second_moments_of_bfloat16_decay(name):
    tx = {"adafactor": lambda: optim.scale_by_factored_rms(decay_rate_fn=lambda *_: 0.999)}.get(
        name, getattr(optim, f"scale_by_{name}", None)
    )()
    one, zero = jnp.ones(2, jnp.bfloat16), jnp.zeros(2, jnp.bfloat16)
    _, state = tx.update(one, tx.init(one), one)
    first = state.v if name == "adafactor" else state.nu
    for _ in range(3):
        _, state = tx.update(zero if name != "yogi" else 0.01 * one, state, one)
    after = state.v if name == "adafactor" else state.nu
    np.testing.assert_array_less(after, first)


def test_corrections_keep_their_digits_for_decays_near_one():
    tx = optim.scale_by_adam(b2=1 - 1e-7)
    np.testing.assert_allclose(tx.update(jnp.float32(1.0), tx.init(jnp.zeros([])))[0], 1, rtol=1e-6)
    np.testing.assert_allclose(optim.bias_correction(jnp.array(1e-7), 1 - 1e-7, 1), 1, rtol=1e-6)
    for decay in (0.0, jnp.float32(0.0), jnp.float32(0.5)):
        np.testing.assert_allclose(optim.bias_correction(jnp.ones([]), decay, 1), 1 / (1 - decay), rtol=1e-6)
    tx = optim.scale_by_radam(b2=0.9999)
    state, steps = tx.init(jnp.zeros([])), []
    update = jax.jit(tx.update)
    for _ in range(6):
        u, state = update(np.float32(1.0), state)
        steps.append(float(u))
    np.testing.assert_allclose(steps, [1, 1, 1, 1, 1, 0.00816501], rtol=1e-5)
    # The rectifier in float64, from its definition.
    count, beta = np.arange(1, 5000, 7.0), 0.999
    limit = 2 / (1 - beta) - 1
    length = limit - 2 * count * beta**count / (1 - beta**count)
    ratio = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
    want = np.where(length >= 5, np.sqrt(np.where(length >= 5, ratio, 0)), 0)
    got = jax.jit(optim.scale_by_radam(b2=beta)._rectifier)(np.asarray(count, np.float32))
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-7)


def test_integers_are_stepped_as_floats():
    g = jnp.array([3, 4])
    for tx, want in (
        (optim.clip_by_global_norm(1.0), [0.6, 0.8]),
        (optim.clip(3.5), [3, 3.5]),
        (optim.adam(0.1), [-0.1, -0.1]),
        (optim.ema(0.5, debias=False), [1.5, 2]),
        (optim.lion(0.1, weight_decay=0.0), [-0.1, -0.1]),
        (optim.rmsprop(1.0, decay=0.0), [-1, -1]),
    ):
        first, (updates, state) = jax.jit(lambda g, tx=tx: (tx.init(g), tx.update(g, tx.init(g), g)))(g)
        np.testing.assert_allclose(updates, want, rtol=1e-5)
        assert jax.tree.structure(state) == jax.tree.structure(first)
        assert [x.dtype for x in jax.tree.leaves(state)] == [x.dtype for x in jax.tree.leaves(first)]
    np.testing.assert_allclose(optim.incremental_update(g, jnp.array([0, 0]), 0.5), [1.5, 2])


def test_rprop_steps_at_once():
    tx = optim.rprop(0.1)
    state, steps = tx.init(jnp.zeros([])), []
    for g in (1.0, 1.0, 1.0, -1.0, 1.0):
        u, state = tx.update(jnp.float32(g), state)
        steps.append(-float(u))
    np.testing.assert_allclose(steps, [0.1, 0.12, 0.144, 0, 0.072], rtol=1e-5)


def test_a_plateau_is_one_below_zero_too():
    tx = optim.contrib.reduce_on_plateau(factor=0.5, patience=2)
    state, scales = tx.init(None), []
    for value in (-1.0, -1.0, -1.0, -2.0, -2.0001, -2.0):
        u, state = tx.update(jnp.float32(1.0), state, value=value)
        scales.append(float(u))
    assert scales == [1, 1, 0.5, 0.5, 0.5, 0.25]


def test_a_ranking_of_nothing_costs_nothing():
    none = jnp.zeros((2, 3), bool)
    of_none = jax.value_and_grad(lambda x: optim.losses.ranking_softmax_loss(x, x, where=none))
    weighed = lambda x: optim.losses.ranking_softmax_loss(x, x, weights=jnp.array([[1.0], [0.0]]))
    (value, slope), per_list = jax.jit(lambda x: (of_none(x), weighed(x)))(np.ones((2, 3), np.float32))
    assert value == 0 and not np.any(slope)
    np.testing.assert_allclose(per_list, 3 * np.log(3) / 2, rtol=1e-6)


LONG = 10**10
SCHEDULES = {
    "polynomial": lambda: optim.polynomial_schedule(1.0, 0.0, 2, LONG),
    "exponential": lambda: optim.exponential_decay(1.0, LONG, 0.5),
    "cosine": lambda: optim.cosine_decay_schedule(1.0, LONG),
    "piecewise": lambda: optim.piecewise_constant_schedule(1.0, {LONG: 0.5}),
    "interpolated": lambda: optim.piecewise_interpolate_schedule("linear", 1.0, {LONG: 0.5}),
    "one cycle": lambda: optim.cosine_onecycle_schedule(LONG, 1.0),
    "warm-up": lambda: optim.warmup_cosine_decay_schedule(0.0, 1.0, 10, LONG),
    "joined": lambda: optim.join_schedules([optim.constant_schedule(1.0), optim.constant_schedule(0.5)], [LONG]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_longer_than_32_bits(name):
    schedule = SCHEDULES[name]()
    end = np.asarray(schedule(2 * LONG))
    assert np.isfinite([schedule(5), schedule(jnp.int32(5)), end]).all()
    if name in ("exponential", "piecewise", "joined"):
        assert end == (0.25 if name == "exponential" else 0.5)


o, c = optim, optim.contrib
OUT_OF_RANGE = {
    "b2 must be in [0, 1), got 1.0": lambda: o.adam(0.1, b2=1.0),
    "decay must be in [0, 1), got 1.0": lambda: o.ema(1.0),
    "adam: learning_rate must be a number or a schedule, got None": lambda: o.adam(None),
    "sm3: learning_rate": lambda: o.sm3(None),
    "learning_rate must be a number, got nan": lambda: o.sgd(float("nan")),
    "max_delta must be >= 0": lambda: o.clip(-1.0),
    "max_norm must be >= 0": lambda: o.clip_by_global_norm(-1.0),
    "clipping must be >= 0": lambda: o.adaptive_grad_clip(-1.0),
    "l2_norm_clip must be >= 0": lambda: o.per_example_global_norm_clip([jnp.ones((2, 2))], -1.0),
    "every_k_schedule must be a whole number and >= 1, got 0": lambda: o.MultiSteps(o.sgd(0.1), 0),
    "k must be a whole number and >= 1": lambda: o.apply_every(0),
    "boundaries must ascend, got 5, 3": lambda: o.join_schedules([o.constant_schedule(1.0)] * 3, [5, 3]),
    "decay must be in [0, 1), got 1.5": lambda: o.rmsprop(0.1, decay=1.5),
    "decay must be in [-1, 1], got 2.0": lambda: o.sgd(0.1, momentum=2.0),
    "b1 must be in [0, 1), got -0.1": lambda: o.lion(0.1, b1=-0.1),
    "initial_accumulator_value must be >= 0": lambda: o.adagrad(0.1, -1.0),
    "eta must be >= 0": lambda: o.noisy_sgd(0.1, eta=-1.0, seed=0),
    "betas[1] must be in [0, 1), got 1.0": lambda: c.prodigy(betas=(0.9, 1.0)),
    "beta must be in [0, 1), got 1.0": lambda: c.muon(0.1, beta=1.0),
    "patience must be a whole number and >= 1": lambda: c.reduce_on_plateau(patience=0),
    "step_size must be a number, got nan": lambda: o.scale(float("nan")),
    "update_period must be a whole number and >= 1": lambda: o.periodic_update(0.0, 0.0, 3, 0),
}


@pytest.mark.parametrize("text", OUT_OF_RANGE)
def test_numbers_out_of_range_are_refused(text, unchecked):
    with pytest.raises(ValueError) as error:
        OUT_OF_RANGE[text]()
    assert text in str(error.value)


def test_traced_numbers_are_not_looked_at():
    step = lambda b: optim.adam(0.1, b2=b).update(jnp.ones(2), optim.adam(0.1, b2=b).init(jnp.ones(2)))[0]
    assert jax.eval_shape(step, 1.0).shape == (2,)


def test_linear_algebra_takes_functions_trees_and_several_right_sides():
    A = jnp.diag(jnp.array([1.0, 3.0]))
    multiply = lambda v: {"a": A @ v["a"], "b": 2 * v["b"]}
    value, vector = optim.power_iteration(multiply, v0={"a": jnp.ones(2), "b": jnp.ones(1)})
    np.testing.assert_allclose(value, 3, rtol=1e-5)
    np.testing.assert_allclose(jnp.abs(vector["a"]), [0, 1], atol=1e-3)
    with pytest.raises(ValueError, match="v0 must be given where matrix is a function"):
        optim.power_iteration(multiply)
    b = jnp.array([[1.0, -1.0], [3.0, 6.0]])
    got = optim.nnls(A, b, 200)
    np.testing.assert_allclose(got, [[1, 0], [1, 2]], atol=1e-3)


def test_parameters_without_a_gradient_stay_out():
    new, old = {"a": None, "b": jnp.ones(2)}, {"a": None, "b": jnp.zeros(2)}
    assert optim.incremental_update(new, old, 0.5)["a"] is None
    tx = optim.add_decayed_weights(0.1)
    assert tx.update(new, tx.init(new), old)[0]["a"] is None
    assert optim.update_moment(new, old, 0.9, 2)["a"] is None
    assert optim.tree.add(new, old)["a"] is None
    adam = optim.adam(0.1)
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    updates, state = adam.update(new, adam.init(params), params)
    assert updates["a"] is None and state[0].mu["a"].shape == (3,)


def test_complex_matrices_are_orthogonalised():
    g = jnp.array([[1 + 1j, 0.5], [0.2j, 2 - 1j]])
    tx = optim.contrib.scale_by_muon(ns_steps=10)
    u = jax.jit(lambda g: tx.update(g, tx.init(g), g)[0])(g)
    np.testing.assert_allclose(np.linalg.svd(u)[1], 1, atol=0.35)
