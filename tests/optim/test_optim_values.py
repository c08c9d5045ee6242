"""Optimisers are values: pytrees that are compared, batched, differentiated, printed and exchanged."""
# ruff: noqa: E501

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import optim

X0 = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.3, -0.7])}


def loss(x):
    return sum(jnp.sum((leaf - 0.5) ** 2) for leaf in jax.tree.leaves(x))


def train(tx, x, steps=5):
    state = tx.init(x)
    for _ in range(steps):
        u, state = tx.update(jax.grad(loss)(x), state, x, value=loss(x), obj_fn=loss)
        x = optim.apply_updates(x, u)
    return x


# Every optimiser, with a learning rate at which it makes progress in 200 steps, and whether its update
# depends smoothly on the gradient.
OPTIMISERS = {
    "acprop": lambda lr: optim.contrib.acprop(0.2 * lr),
    "adabelief": lambda lr: optim.adabelief(lr),
    "adadelta": lambda lr: optim.adadelta(300 * lr),
    "adafactor": lambda lr: optim.adafactor(lr, min_dim_size_to_factor=2),
    "ademamix": lambda lr: optim.contrib.ademamix(lr, b3=0.99, alpha=1.0),
    "adopt": lambda lr: optim.contrib.adopt(lr),
    "adagrad": lambda lr: optim.adagrad(5 * lr),
    "adam": lambda lr: optim.adam(lr),
    "adamax": lambda lr: optim.adamax(lr),
    "adamaxw": lambda lr: optim.adamaxw(lr, weight_decay=0.01),
    "adamw": lambda lr: optim.adamw(lr, weight_decay=0.01),
    "adan": lambda lr: optim.adan(lr),
    "amsgrad": lambda lr: optim.amsgrad(lr),
    "cocob": lambda lr: optim.contrib.cocob(20 * lr, alpha=10.0),
    "dadapt_adamw": lambda lr: optim.contrib.dadapt_adamw(20 * lr, estim_lr0=1e-3),
    "dog": lambda lr: optim.contrib.dog(20 * lr, init_step=("distance", 0.1)),
    "dowg": lambda lr: optim.contrib.dowg(20 * lr, init_estim_sq_dist=0.1),
    "galore": lambda lr: optim.contrib.galore(lr, rank=2),
    "fromage": lambda lr: optim.fromage(0.3 * lr),
    "lamb": lambda lr: optim.lamb(0.5 * lr),
    "lars": lambda lr: optim.lars(lr, trust_coefficient=0.2),
    "lion": lambda lr: optim.lion(0.3 * lr),
    "madgrad": lambda lr: optim.contrib.madgrad(lr),
    "mechanize": lambda lr: optim.contrib.mechanize(optim.sgd(lr), s_init=0.1),
    "momo": lambda lr: optim.contrib.momo(20 * lr),
    "momo_adam": lambda lr: optim.contrib.momo_adam(lr),
    "muon": lambda lr: optim.contrib.muon(0.5 * lr),
    "nadam": lambda lr: optim.nadam(lr),
    "nadamw": lambda lr: optim.nadamw(lr),
    "noisy_sgd": lambda lr: optim.noisy_sgd(lr, key=0),
    "novograd": lambda lr: optim.novograd(lr),
    "optimistic_adam": lambda lr: optim.optimistic_adam(lr),
    "optimistic_adam_v2": lambda lr: optim.optimistic_adam_v2(lr),
    "optimistic_gradient_descent": lambda lr: optim.optimistic_gradient_descent(lr),
    "polyak_sgd": lambda lr: optim.polyak_sgd(lr),
    "prodigy": lambda lr: optim.contrib.prodigy(20 * lr),
    "radam": lambda lr: optim.radam(lr),
    "rmsprop": lambda lr: optim.rmsprop(0.3 * lr, momentum=0.5),
    "rmsprop_centered": lambda lr: optim.rmsprop(0.3 * lr, centered=True, eps=1e-4),
    "rprop": lambda lr: optim.rprop(lr),
    "schedule_free_adamw": lambda lr: optim.contrib.schedule_free_adamw(2 * lr),
    "schedule_free_sgd": lambda lr: optim.contrib.schedule_free_sgd(2 * lr),
    "sgd": lambda lr: optim.sgd(lr),
    "sgd_momentum": lambda lr: optim.sgd(0.3 * lr, momentum=0.9, nesterov=True),
    "sign_sgd": lambda lr: optim.sign_sgd(0.3 * lr),
    "signum": lambda lr: optim.signum(0.3 * lr),
    "simplified_ademamix": lambda lr: optim.contrib.simplified_ademamix(0.02 * lr),
    "sophia": lambda lr: optim.contrib.sophia(lr, gamma=0.5),
    "sm3": lambda lr: optim.sm3(5 * lr),
    "yogi": lambda lr: optim.yogi(lr),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_converges_and_its_second_step_does_not_retrace(name):
    tx = OPTIMISERS[name](jnp.asarray(0.05) if name == "x" else 0.05)
    traces = []

    @jax.jit
    def step(x, state):
        traces.append(1)
        u, state = tx.update(jax.grad(loss)(x), state, x, value=loss(x), obj_fn=loss)
        return optim.apply_updates(x, u), state

    x, state = X0, tx.init(X0)
    for _ in range(200):
        x, state = step(x, state)
    assert len(traces) == 1
    assert loss(x) < 0.25 * loss(X0)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_batch_of_optimisers_trains_a_population(name):
    rates = jnp.array([0.01, 0.03])
    population = jax.vmap(OPTIMISERS[name])(rates)
    one = jax.jit(lambda tx: train(tx, X0["w"], 2))
    together = jax.jit(jax.vmap(lambda tx: train(tx, X0["w"], 2)))(population)
    want = jnp.stack([one(OPTIMISERS[name](rate)) for rate in rates])
    np.testing.assert_allclose(together, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_meta_gradients_are_finite_at_zero_gradient_and_zero_state(name):
    """To first and second order, in the hyperparameters and in the gradient."""
    x = jnp.array([[0.0, 1.0], [0.0, -2.0]])
    mask = jnp.array([[0.0, 1.0], [0.0, 1.0]])  # two elements never see a gradient

    def after(rate, shift):
        tx = OPTIMISERS[name](rate)
        g = mask * (x - 0.5) * shift
        u, _ = tx.update(g, tx.init(x), x, value=jnp.sum(g**2), obj_fn=loss)
        return jnp.sum((x + u) ** 2)

    def gradient(rate, shift):
        first = jax.grad(after, argnums=(0, 1))(rate, shift)
        return first, first

    both = jax.jit(jax.jacfwd(gradient, argnums=(0, 1), has_aux=True))
    for shift in (1.0, 0.0):
        assert np.isfinite(jax.tree.leaves(both(0.1, shift))).all()


SMOOTH = ["adabelief", "adagrad", "adam", "adamw", "adan", "amsgrad", "lamb", "lars", "novograd", "radam", "rmsprop", "sgd_momentum", "yogi"]  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_meta_gradients_agree_with_finite_differences(name, x64):
    def after(rate):
        return loss(train(OPTIMISERS[name](rate), jnp.float64(X0["w"]), 2))

    after = jax.jit(after)
    rate, h = 0.05, 1e-6
    want = (after(rate + h) - after(rate - h)) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.grad(after))(rate), want, rtol=1e-5)


def test_adam_at_zero_gradient_has_the_slope_of_its_finite_difference(x64):
    """u(g) = g / (|g| + ε) rises by 1 / ε; the square root alone would give NaN."""
    tx = optim.scale_by_adam(eps=1e-3)
    u = lambda g: tx.update(g, tx.init(jnp.zeros([])))[0]
    h = 1e-9
    np.testing.assert_allclose(jax.grad(u)(0.0), (u(h) - u(-h)) / (2 * h), rtol=1e-4)


def test_gradients_reach_every_hyperparameter():
    tx = optim.chain(
        optim.clip_by_global_norm(1.0), optim.adamw(optim.cosine_decay_schedule(0.1, 10), weight_decay=0.1)
    )
    meta = jax.jit(jax.grad(lambda tx: loss(train(tx, X0, 2))))(tx)
    found = [jax.tree_util.keystr(p) for p, g in jax.tree_util.tree_leaves_with_path(meta) if g != 0]
    assert any("b1" in p for p in found)
    assert any("b2" in p for p in found)
    assert any("weight_decay" in p for p in found)
    assert any("init_value" in p for p in found)
    assert isinstance(meta, optim.chain)


def test_equal_optimisers_compare_and_hash_equal_and_do_not_retrace():
    make = lambda: optim.adamw(optim.cosine_decay_schedule(0.1, 10), mask={"w": True, "b": False})
    assert make() == make()
    assert hash(make()) == hash(make())
    assert make() != optim.adamw(0.1)
    assert optim.adam(0.1) != optim.adam(0.1, nesterov=True)
    assert optim.adam(jnp.array(0.1)) == optim.adam(jnp.array(0.1))
    traces = []

    @jax.jit
    def dynamic(tx, x):
        traces.append(1)
        return tx.init(x)

    static = jax.jit(lambda tx, x: (traces.append(1), tx.init(x))[1], static_argnums=0)
    static(make(), X0)
    static(make(), X0)
    assert len(traces) == 1
    dynamic(optim.adam(0.1), X0)
    dynamic(optim.adam(0.2), X0)
    assert len(traces) == 2


def test_an_optimiser_of_arrays_cannot_be_hashed_and_says_why():
    with pytest.raises(TypeError, match=r"transforms\[1\].learning_rate is the array"):
        hash(optim.adam(jnp.array(0.1)))


def test_hyperparameters_are_replaced_without_touching_the_state():
    tx = optim.adam(0.1)
    state = tx.init(X0)
    slower = optim.tree.set(tx, learning_rate=0.01)
    assert slower == optim.adam(0.01)

    def step(carry, _):
        x, state = carry
        u, state = slower.update(jax.grad(loss)(x), state, x)
        return (optim.apply_updates(x, u), state), None

    (x, _), _ = jax.lax.scan(step, (X0, state), None, length=1)
    np.testing.assert_allclose(jnp.abs(x["b"] - X0["b"]), 0.01, rtol=1e-3)
    assert dataclasses.replace(optim.scale(1.0), step_size=2.0) == optim.scale(2.0)


def test_an_optimiser_cannot_be_changed_in_place():
    with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
        optim.scale(1.0).step_size = 2.0


def test_printing_shows_the_chain_with_its_values():
    text = repr(optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(optim.linear_schedule(0.1, 0.0, 10))))
    assert "clip_by_global_norm(max_norm=1.0)" in text
    assert "scale_by_adam(b1=0.9, b2=0.999" in text
    assert "init_value=0.1" in text
    assert "learning_rate=f32[4]" in repr(jax.vmap(optim.sgd)(jnp.ones(4)))


def test_a_printed_optimiser_is_code_that_makes_it():
    tx = optim.chain(optim.clip(1.0), optim.adamw(0.1, b2=0.99, nesterov=True), optim.trace(0.5, nesterov=True))
    assert eval(repr(tx), vars(optim)) == tx


def test_a_transformation_unpacks_into_its_pair():
    init, update = optim.sgd(0.5)
    u, _ = update({"w": jnp.array(1.0)}, init({"w": jnp.array(0.0)}))
    assert u["w"] == -0.5
    assert isinstance(optim.sgd(0.5), optim.GradientTransformation)


def test_user_transformations_work_in_chains_with_and_without_extra_arguments():
    plain = optim.GradientTransformation(lambda p: (), lambda u, s, p=None: (2 * u, s))

    def update(u, s, p=None, *, value, **extra):
        return u * value, s

    extra = optim.GradientTransformationExtraArgs(lambda p: (), update)
    tx = optim.chain(plain, extra)
    assert tx.update(1.0, tx.init(0.0), value=3.0)[0] == 6.0
    # and in jit as an argument, since functions are structure and no leaves
    assert jax.jit(lambda tx, g: tx.update(g, ((), ()), value=3.0)[0])(tx, 1.0) == 6.0


def test_a_wrong_member_or_state_is_named():
    with pytest.raises(TypeError, match="init and update"):
        optim.chain(optim.sgd(0.1), 3)
    with pytest.raises(ValueError, match="one part a member, expected 2, got 1"):
        optim.sgd(0.1).update(X0, ((),))
    with pytest.raises(ValueError, match="only in the updates: c"):
        optim.adam(0.1).update({"w": X0["w"], "c": X0["b"]}, optim.adam(0.1).init(X0))
    with pytest.raises(ValueError, match="needs the parameters"):
        optim.adamw(0.1).update(X0, optim.adamw(0.1).init(X0))


def test_the_public_names_are_sorted_and_exist():
    from renga.optim import contrib, losses, projections, schedules, second_order, transforms, tree, tree_utils

    more = (
        optim.assignment,
        optim.experimental,
        optim.experimental.aggregating,
        optim.microbatching,
        optim.perturbations,
    )
    for module in (optim, contrib, losses, projections, schedules, second_order, transforms, tree, tree_utils, *more):
        assert list(module.__all__) == sorted(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)


def test_a_complex_vector_for_real_parameters_is_refused():
    with pytest.raises(TypeError, match="hvp: v must be real where params are, got complex64"):
        optim.second_order.hvp(lambda p, x, y: (p**2).sum(), jnp.ones(2, jnp.complex64), jnp.ones(2), None, None)
