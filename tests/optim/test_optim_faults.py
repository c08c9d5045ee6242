"""Shapes and masks that do not fit: refused, or counted row by row; never broadcast silently."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import optim

MASK, LOGITS = np.array([True, False, True]), 2 * np.eye(3, dtype=np.float32)


def test_a_mask_of_rows_leaves_out_rows():
    right = [0.2395, 0, 0.2395]
    dense = optim.softmax_cross_entropy(LOGITS, np.eye(3, dtype=np.float32), where=MASK)
    np.testing.assert_allclose(dense, right, atol=1e-4)
    sparse = optim.softmax_cross_entropy_with_integer_labels(LOGITS, jnp.arange(3), where=MASK)
    np.testing.assert_allclose(sparse, right, atol=1e-4)
    four = optim.softmax_cross_entropy(jnp.zeros((3, 4)), jnp.full((3, 4), 0.25), where=MASK)
    np.testing.assert_allclose(four, [np.log(4), 0, np.log(4)], rtol=1e-6)


@pytest.mark.parametrize(
    "loss", [optim.squared_error, optim.l2_loss, optim.huber_loss, optim.log_cosh, optim.sigmoid_binary_cross_entropy]
)
def test_a_column_and_a_row_are_no_pairs(loss, rank_promotion):
    with pytest.raises(ValueError, match=r"must .*got"):
        loss(jnp.ones((3, 1)), jnp.ones(3))


OPTIMISERS = {
    "sgd": lambda: optim.sgd(0.1),
    "momentum": lambda: optim.sgd(0.1, momentum=0.9),
    "adam": lambda: optim.adam(0.1),
    "adamw": lambda: optim.adamw(0.1),
    "adafactor": lambda: optim.adafactor(0.1),
    "adagrad": lambda: optim.adagrad(0.1),
    "adadelta": lambda: optim.adadelta(0.1),
    "lamb": lambda: optim.lamb(0.1),
    "lion": lambda: optim.lion(0.1),
    "rmsprop": lambda: optim.rmsprop(0.1),
    "yogi": lambda: optim.yogi(0.1),
    "radam": lambda: optim.radam(0.1),
    "novograd": lambda: optim.novograd(0.1),
    "sm3": lambda: optim.sm3(0.1),
    "clipped": lambda: optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.1)),
    "muon": lambda: optim.contrib.muon(0.1),
    "prodigy": lambda: optim.contrib.prodigy(0.1),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_gradients_of_another_shape_or_tree_are_refused(name, rank_promotion):
    tx, params = OPTIMISERS[name](), {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    state = tx.init(params)
    step = lambda grads: jax.eval_shape(tx.update, grads, state, params)
    step(params)
    for wrong in (
        {"w": jnp.ones(2), "b": jnp.ones(2)},
        {"w": jnp.ones((3, 2, 2)), "b": jnp.ones((3, 2))},
        {"w": jnp.ones((2, 2))},
    ):
        with pytest.raises(ValueError, match=r"must have the (shapes|structure)|needs weight_dimension_numbers"):
            step(wrong)


def test_an_error_of_shapes_names_the_path():
    tx = optim.adam(0.1)
    with pytest.raises(ValueError, match=r"scale_by_adam: the updates .*: at w expected \(2, 2\), got \(2,\)"):
        tx.update({"w": jnp.ones(2)}, tx.init({"w": jnp.ones((2, 2))}))
    with pytest.raises(ValueError, match=r"apply_updates: .*expected \(3, 2\), got \(2,\)"):
        optim.apply_updates(jnp.ones(2), jnp.ones((3, 2)))


def test_gradients_of_each_example_may_be_clipped():
    tx, params = optim.clip(1.0), {"w": jnp.ones(2)}
    updates, _ = tx.update({"w": jnp.full((4, 2), 3.0)}, tx.init(params), params)
    np.testing.assert_array_equal(updates["w"], np.ones((4, 2)))


def test_what_no_hyperparameter_can_mean_is_refused():
    for make, name in (
        (lambda: optim.exponential_decay(1.0, 10, -0.5), "decay_rate"),
        (lambda: optim.contrib.cocob(alpha=-1.0), "alpha"),
        (lambda: optim.perturbations.make_perturbed_fun(jnp.sin, 2, sigma=-1.0), "sigma"),
        (lambda: optim.tree.bias_correction(jnp.ones(2), 0.9, 0), "count"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be"):
            make()


def test_projections_take_integers_and_normals_of_zero():
    x = jnp.array([1, 2, 3])
    np.testing.assert_allclose(optim.projections.projection_l2_ball(x), np.array([1, 2, 3]) / np.sqrt(14), rtol=1e-6)
    y, nowhere = jnp.array([1.0, -2.0]), jnp.zeros(2)
    np.testing.assert_array_equal(optim.projections.projection_halfspace(y, nowhere, 1.0), y)
    np.testing.assert_array_equal(optim.projections.projection_vector(y, nowhere), nowhere)
    assert np.isnan(optim.projections.projection_halfspace(y, nowhere, -1.0)).all()  # it is empty
    assert np.isfinite(jax.grad(lambda y: optim.projections.projection_halfspace(y, nowhere, 1.0).sum())(y)).all()


def test_scalars_fit_every_loss_and_no_lists_cost_nothing():
    x = jnp.array([0.5, 3.0])
    for loss in (optim.squared_error, optim.huber_loss, optim.log_cosh):
        np.testing.assert_allclose(loss(x, jnp.array(1.0)), loss(x, jnp.ones(2)), rtol=1e-6)
    assert optim.losses.ranking_softmax_loss(jnp.zeros((0, 3)), jnp.zeros((0, 3))) == 0


WRAPPERS = {
    "chain: member 0": lambda bad: optim.chain(bad),
    "named_chain: 'a'": lambda bad: optim.named_chain(("a", bad)),
    "partition: transforms['a']": lambda bad: optim.partition({"a": bad}, "a"),
    "masked: inner": lambda bad: optim.masked(bad, True),
    "MultiSteps: opt": lambda bad: optim.MultiSteps(bad, 2),
    "apply_if_finite: inner": lambda bad: optim.apply_if_finite(bad, 2),
    "lookahead: fast_optimizer": lambda bad: optim.lookahead(bad, 2, 0.5),
    "conditionally_mask: inner": lambda bad: optim.conditionally_mask(bad, lambda step: True),
    "conditionally_transform: inner": lambda bad: optim.conditionally_transform(bad, lambda step: True),
    "flatten: inner": lambda bad: optim.flatten(bad),
    "grouped: inner": lambda bad: optim.grouped(bad),
    "state_dtype: inner": lambda bad: optim.state_dtype(bad, jnp.bfloat16),
    "minimize: optimizer": lambda bad: optim.minimize(jnp.sum, jnp.ones(2), bad),
    "inject_hyperparams: what": lambda bad: optim.inject_hyperparams(lambda: bad)().init(jnp.ones(2)),
    "one_pass: inner": lambda bad: optim.contrib.one_pass(bad),
    "sam: adv_optimizer": lambda bad: optim.contrib.sam(optim.sgd(0.1), bad),
    "schedule_free: base_optimizer": lambda bad: optim.contrib.schedule_free(bad, 0.1),
    "mechanize: base_optimizer": lambda bad: optim.contrib.mechanize(bad),
    "scale_by_galore: base_optimizer": lambda bad: optim.contrib.scale_by_galore(base_optimizer=bad),
    "split_real_and_imaginary: inner": lambda bad: optim.contrib.split_real_and_imaginary(bad),
    "sophia: hessian_diagonal_fn": lambda bad: optim.contrib.sophia(0.1, hessian_diagonal_fn=bad),
    "process: aggregator": lambda bad: optim.experimental.aggregating.process(optim.identity(), bad, optim.sgd(0.1)),
    "with_extra_args_support: tx": lambda bad: optim.with_extra_args_support(bad),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("where", WRAPPERS)
def test_what_is_no_optimiser_is_refused_where_it_is_given(where):
    for bad, came in ((3.0, "got 3.0 of type float"), (optim.adam, "of type function; call it")):
        with pytest.raises(TypeError, match=f"{re.escape(where)}.* must be an optimiser, .*{came}"):
            WRAPPERS[where](bad)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_number_and_no_function_is_refused():
    for rate in ("fast", optim.adam(1.0)):
        with pytest.raises(TypeError, match="sgd: learning_rate must be a number or a schedule"):
            optim.sgd(rate)
    with pytest.raises(TypeError, match="scale_by_adam: b1 must be a number, got '0.9'"):
        optim.adam(0.1, b1="0.9")
    with pytest.raises(TypeError, match=r"join_schedules: schedules\[0\] must be a function, got 1.0"):
        optim.join_schedules([1.0, 2.0], [3])
    with pytest.raises(TypeError, match="monitor: norm must be a function, got 3.0"):
        optim.monitor({"norm": 3.0})
    with pytest.raises(TypeError, match="inject_hyperparams: inner_factory must be a function, got 3.0"):
        optim.inject_hyperparams(3.0)
    with pytest.raises(ValueError, match="chain: state must have one part a member, expected 1, got None"):
        optim.chain(optim.identity()).update(jnp.ones(2), None)
