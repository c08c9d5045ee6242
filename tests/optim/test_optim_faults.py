"""Shapes and masks that do not fit: refused, or counted row by row; never broadcast silently."""

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
