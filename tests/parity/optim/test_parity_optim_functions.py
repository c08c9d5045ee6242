"""Losses, schedules, projections and helpers against Optax, values and gradients."""
# ruff: noqa: E501

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import optim

optax = pytest.importorskip("optax")

pytestmark = [
    pytest.mark.usefixtures("rank_promotion"),
    pytest.mark.filterwarnings("ignore:The function:DeprecationWarning"),
]

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


X, Y = normal(4, 5), normal(4, 5)
P, Q = jax.nn.softmax(X), jax.nn.softmax(2 * Y)
ONE_HOT = jnp.eye(5)[jnp.array([0, 3, 1, 1])]
BITS = jnp.asarray(RNG.integers(0, 2, (4, 5)), jnp.float32)
CLASSES = jnp.array([0, 3, 1, 1])
WHERE = jnp.array([[True, True, True, True, False]] * 3 + [[True] * 5])
Z = normal(6, 4)
IMAGE, MASK = normal(2, 3, 3, 4), jax.nn.one_hot(jnp.asarray(RNG.integers(0, 4, (2, 3, 3))), 4)
FRAMES, FRAME_PAD = normal(3, 7, 5), jnp.array([[0.0] * 7, [0.0] * 6 + [1.0], [0.0] * 5 + [1.0, 1.0]])
LABELS = jnp.array([[1, 2, 2], [3, 3, 4], [4, 1, 1]])
LABEL_PAD = jnp.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
TREE = {"a": normal(3), "b": normal(2, 2)}
NORMAL = {"a": normal(3), "b": normal(2, 2)}

# name, function of (library, first argument), first argument
LOSSES = [
    ("binary_dice_loss", lambda o, x: o.losses.binary_dice_loss(x, BITS), X),
    ("convex_kl", lambda o, x: o.convex_kl_divergence(x, Q, where=WHERE), X),
    ("cosine_distance", lambda o, x: o.cosine_distance(x, Y, epsilon=0.1, where=WHERE), X),
    ("cosine_similarity", lambda o, x: o.cosine_similarity(x, Y, axis=0), X),
    ("cosine_similarity large epsilon", lambda o, x: o.cosine_similarity(x, Y, epsilon=2.0), X),
    ("ctc_loss", lambda o, x: o.ctc_loss(x, FRAME_PAD, LABELS, LABEL_PAD), FRAMES),
    ("ctc_loss blank", lambda o, x: o.ctc_loss(x, FRAME_PAD, LABELS, LABEL_PAD, blank_id=0), FRAMES),
    ("ctc forward", lambda o, x: [jnp.maximum(a, -50.0) for a in o.ctc_loss_with_forward_probs(x, FRAME_PAD, LABELS, LABEL_PAD)], FRAMES),
    ("dice_loss", lambda o, x: o.losses.dice_loss(x, MASK), IMAGE),
    ("dice_loss none", lambda o, x: o.losses.dice_loss(x, MASK, reduction="none", alpha=0.3, beta=0.6, ignore_background=True), IMAGE),
    ("dice_loss weights", lambda o, x: o.losses.dice_loss(x, MASK, reduction="sum", class_weights=jnp.array([0.1, 0.2, 0.3, 0.4])), IMAGE),
    ("dice_loss axis", lambda o, x: o.losses.dice_loss(x, MASK, reduction="none", axis=(0, 1, 2)), IMAGE),
    ("generalized_kl", lambda o, x: o.generalized_kl_divergence(x, Q), X),
    ("hinge", lambda o, x: o.hinge_loss(x, 2 * BITS - 1), X),
    ("huber", lambda o, x: o.huber_loss(x, Y, delta=0.7), X),
    ("kl", lambda o, x: o.kl_divergence(x, BITS * Q, axis=0), X),
    ("kl where", lambda o, x: o.kl_divergence(x, Q, where=WHERE), X),
    ("kl targets", lambda o, x: o.kl_divergence(X, x), P),
    ("kl log targets", lambda o, x: o.losses.kl_divergence_with_log_targets(x, Y, where=WHERE), X),
    ("l2", lambda o, x: o.l2_loss(x, Y), X),
    ("l2 alone", lambda o, x: o.l2_loss(x), X),
    ("log_cosh", lambda o, x: o.log_cosh(x, Y), X),
    ("fenchel young", lambda o, x: o.losses.make_fenchel_young_loss(jax.nn.logsumexp)(x, ONE_HOT), X),
    ("generalized dice", lambda o, x: o.losses.multiclass_generalized_dice_loss(x, MASK), IMAGE),
    ("generalized dice foreground", lambda o, x: o.losses.multiclass_generalized_dice_loss(x, MASK, ignore_background=True), IMAGE),
    ("multiclass hinge", lambda o, x: o.losses.multiclass_hinge_loss(x, CLASSES), X),
    ("multiclass perceptron", lambda o, x: o.losses.multiclass_perceptron_loss(x, CLASSES), X),
    ("multiclass sparsemax", lambda o, x: o.losses.multiclass_sparsemax_loss(x, CLASSES), X),
    ("ntxent", lambda o, x: o.ntxent(x, jnp.array([0, 0, 1, 1, 2, 2]), 0.5), Z),
    ("ntxent more partners", lambda o, x: o.ntxent(x, jnp.array([0, 0, 0, 1, 1, 2])), Z),
    ("perceptron", lambda o, x: o.losses.perceptron_loss(x, 2 * BITS - 1), X),
    ("poly", lambda o, x: o.losses.poly_loss_cross_entropy(x, ONE_HOT, epsilon=-0.5), X),
    ("poly where", lambda o, x: o.losses.poly_loss_cross_entropy(x, Q, where=WHERE), X),
    ("ranking", lambda o, x: o.losses.ranking_softmax_loss(x, Q), X),
    ("ranking where", lambda o, x: o.losses.ranking_softmax_loss(x, Q, where=WHERE, weights=BITS + 1), X),
    ("ranking unreduced", lambda o, x: o.losses.ranking_softmax_loss(x, Q, reduce_fn=None), X),
    ("safe softmax", lambda o, x: o.safe_softmax_cross_entropy(x, ONE_HOT), X),
    ("sigmoid", lambda o, x: o.sigmoid_binary_cross_entropy(x, Q), 5 * X),
    ("focal", lambda o, x: o.sigmoid_focal_loss(x, BITS), X),
    ("focal alpha", lambda o, x: o.sigmoid_focal_loss(x, BITS, alpha=0.3, gamma=1.5), X),
    ("smooth_labels", lambda o, x: o.smooth_labels(x, 0.3), P),
    ("smooth_labels where", lambda o, x: o.smooth_labels(x, 0.3, where=WHERE), P),
    ("softmax", lambda o, x: o.softmax_cross_entropy(x, Q), X),
    ("softmax axis where", lambda o, x: o.softmax_cross_entropy(x, Q, -1, WHERE), X),
    ("softmax two axes", lambda o, x: o.softmax_cross_entropy(x, Q, axis=(0, 1)), X),
    ("integer labels", lambda o, x: o.softmax_cross_entropy_with_integer_labels(x, CLASSES), X),
    ("integer labels where", lambda o, x: o.softmax_cross_entropy_with_integer_labels(x, CLASSES, where=WHERE), X),
    ("integer labels axis", lambda o, x: o.softmax_cross_entropy_with_integer_labels(x, jnp.array([0, 3, 1, 1, 2]), axis=0), X),
    ("integer labels axes", lambda o, x: o.softmax_cross_entropy_with_integer_labels(x, jnp.array([0, 11]), axis=(1, 2, 3)), IMAGE),
    ("sparsemax", lambda o, x: o.losses.sparsemax_loss(x, BITS), X),
    ("squared_error", lambda o, x: o.squared_error(x, Y), X),
    ("triplet", lambda o, x: o.losses.triplet_margin_loss(x, Y, P), X),
    ("triplet degree", lambda o, x: o.losses.triplet_margin_loss(x, Y, P, axis=0, norm_degree=4, margin=0.5), X),
]  # fmt: skip
PROJECTIONS = [
    ("box", lambda o, x: o.projections.projection_box(x, -0.3, 0.4), TREE["a"]),
    ("box trees", lambda o, x: o.projections.projection_box(x, jax.tree.map(lambda y: y - 1, NORMAL), NORMAL), TREE),
    ("halfspace", lambda o, x: o.projections.projection_halfspace(x, NORMAL, -1.5), TREE),
    ("hypercube", lambda o, x: o.projections.projection_hypercube(x, 0.5), TREE["a"]),
    ("hyperplane", lambda o, x: o.projections.projection_hyperplane(x, NORMAL, 0.5), TREE),
    ("l1 ball", lambda o, x: o.projections.projection_l1_ball(x, 1.5), TREE),
    ("l1 ball inside", lambda o, x: o.projections.projection_l1_ball(x, 100.0), TREE),
    ("l1 sphere", lambda o, x: o.projections.projection_l1_sphere(x, 1.5), TREE),
    ("l2 ball", lambda o, x: o.projections.projection_l2_ball(x, 0.5), TREE),
    ("l2 ball inside", lambda o, x: o.projections.projection_l2_ball(x, 50.0), TREE),
    ("l2 sphere", lambda o, x: o.projections.projection_l2_sphere(x, 0.5), TREE),
    ("linf ball", lambda o, x: o.projections.projection_linf_ball(x, 0.5), TREE),
    ("non negative", lambda o, x: o.projections.projection_non_negative(x), TREE),
    ("simplex", lambda o, x: o.projections.projection_simplex(x, 0.7), TREE),
    ("vector", lambda o, x: o.projections.projection_vector(x, NORMAL), TREE),
]  # fmt: skip
HELPERS = [
    ("global_norm", lambda o, x: o.global_norm(x), TREE),
    ("tree norm 1", lambda o, x: o.tree.norm(x, ord=1), TREE),
    ("tree norm inf", lambda o, x: o.tree.norm(x, ord=jnp.inf, squared=True), TREE),
    ("tree sums", lambda o, x: [o.tree.sum(x), o.tree.max(x), o.tree.min(x), o.tree.vdot(x, NORMAL)], TREE),
    ("tree arithmetic", lambda o, x: o.tree.div(o.tree.add(x, NORMAL, NORMAL), o.tree.mul(x, o.tree.sub(x, NORMAL))), TREE),
    ("tree clip", lambda o, x: o.tree.clip(o.tree.add_scale(x, 2.0, NORMAL), -1.0, 1.0), TREE),
    ("tree where", lambda o, x: o.tree.where(jnp.array(False), x, o.tree.scale(3.0, x)), TREE),
    ("moments", lambda o, x: [o.update_moment(x, NORMAL, 0.9, 2), o.update_moment_per_elem_norm(x, NORMAL, 0.9, 3), o.update_infinity_moment(x, NORMAL, 0.9, 1e-8), o.bias_correction(x, 0.9, 3)], TREE),
    ("incremental_update", lambda o, x: o.incremental_update(x, NORMAL, 0.3), TREE),
    ("periodic_update", lambda o, x: [o.periodic_update(x, NORMAL, jnp.array(t), 2) for t in (2, 3)], TREE),
    ("per example clip", lambda o, x: o.per_example_global_norm_clip([x, 3 * x], 1.5)[0], X),
    ("per layer clip", lambda o, x: o.per_example_layer_norm_clip([x, 3 * x[:, :2]], 1.5)[0], X),
    ("per layer clip by size", lambda o, x: o.per_example_layer_norm_clip([x, 3 * x[:, :2]], 1.5, uniform=False)[0], X),
    ("safe_norm", lambda o, x: [o.safe_norm(x, 1.0), o.safe_norm(x, 1.5, axis=1), o.safe_norm(x, 0.1, ord=1, axis=0, keepdims=True)], X),
    ("safe rms", lambda o, x: [o.safe_root_mean_squares(x, 0.1), o.safe_root_mean_squares(x, 10.0)], X),
    ("scale_gradient", lambda o, x: o.scale_gradient(x, 0.3), TREE),
    ("hvp", lambda o, x: o.second_order.hvp(lambda p, a, b: jnp.sum(jnp.sin(p["a"]) * a) + jnp.sum(p["b"] ** 3) * b, jnp.arange(7.0), x, 2.0, 3.0), TREE),
    ("hessian_diag", lambda o, x: o.second_order.hessian_diag(lambda p, a, b: jnp.sum(jnp.sin(p["a"]) * a) + jnp.sum(p["b"] ** 3) * b, x, 2.0, 3.0), TREE),
    ("fisher_diag", lambda o, x: o.second_order.fisher_diag(lambda p, a, b: jnp.sum(jnp.sin(p["a"]) * a) + jnp.sum(p["b"] ** 3) * b, x, 2.0, 3.0), TREE),
    ("nnls", lambda o, x: o.nnls(x.T, jnp.arange(5.0), 2000), X),
    ("power_iteration", lambda o, x: o.power_iteration(x.T @ x, v0=jnp.ones(5), num_iters=40, error_tolerance=0.0), X),
    ("inverse root", lambda o, x: o.matrix_inverse_pth_root(x @ x.T + jnp.eye(4), 4)[0], X),
    ("multi_normal", lambda o, x: [o.multi_normal(x[0], x[1]).log_prob(x), o.multi_normal(x[0], x[1]).sample((2,), jax.random.key(0))], X),
    ("unitwise_norm", lambda o, x: [o.transforms.unitwise_norm(a) for a in (x, x[0], x[None], x[None, None], x[None, None, None])], X),
]  # fmt: skip
NO_GRADIENT = {"nnls", "power_iteration", "inverse root", "hessian_diag"}  # loops without a reverse mode


def value_and_gradient(name, fn, library, x):
    """To be compiled: both libraries in one program."""

    def scalar(x):
        out = fn(library, x)
        return sum(jnp.sum(jnp.cos(jnp.arange(a.size).reshape(a.shape)) * a) for a in jax.tree.leaves(out)), out

    if name in NO_GRADIENT:
        return scalar(x)[1]
    (_, value), gradient = jax.value_and_grad(scalar, has_aux=True)(x)
    return value, gradient


TABLE = LOSSES + PROJECTIONS + HELPERS


@pytest.mark.parametrize(("name", "fn", "x"), TABLE, ids=[row[0] for row in TABLE])
def test_values_and_gradients_are_those_of_optax(name, fn, x):
    both = jax.jit(lambda x: [value_and_gradient(name, fn, library, x) for library in (optim, optax)])
    ours, theirs = (jax.tree.leaves(found) for found in both(x))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=5e-6)


SCHEDULES = {
    "constant": lambda o: o.constant_schedule(0.3),
    "polynomial": lambda o: o.polynomial_schedule(1.0, 0.1, 3, 20, 5),
    "polynomial still": lambda o: o.polynomial_schedule(1.0, 0.1, 3, 0),
    "linear": lambda o: o.linear_schedule(1.0, 0.1, 20, 5),
    "exponential": lambda o: o.exponential_decay(1.0, 7, 0.5, 3, end_value=0.2),
    "exponential stairs": lambda o: o.exponential_decay(1.0, 7, 1.5, 3, staircase=True, end_value=5.0),
    "exponential zero": lambda o: o.exponential_decay(1.0, 7, 0.0),
    "cosine": lambda o: o.cosine_decay_schedule(2.0, 20, 0.1, 1.5),
    "piecewise": lambda o: o.piecewise_constant_schedule(1.0, {10: 0.5, 5: 0.1}),
    "interpolate": lambda o: o.piecewise_interpolate_schedule("linear", 1.0, {10: 0.5, 5: 0.1}),
    "interpolate cosine": lambda o: o.piecewise_interpolate_schedule("cosine", 1.0, {10: 0.5, 25: 3.0}),
    "linear onecycle": lambda o: o.linear_onecycle_schedule(30, 2.0),
    "cosine onecycle": lambda o: o.cosine_onecycle_schedule(30, 2.0, 0.2, 10.0, 100.0),
    "join": lambda o: o.join_schedules([o.constant_schedule(1.0), o.linear_schedule(0.0, 1.0, 5), lambda t: t * 2.0], [7, 15]),
    "warmup constant": lambda o: o.warmup_constant_schedule(0.1, 1.0, 10),
    "warmup cosine": lambda o: o.warmup_cosine_decay_schedule(0.1, 1.0, 10, 30, 0.2, 1.5),
    "warmup cosine no peak": lambda o: o.warmup_cosine_decay_schedule(0.1, 0.0, 10, 30),
    "warmup exponential": lambda o: o.warmup_exponential_decay_schedule(0.1, 1.0, 10, 5, 0.7, 3, True, 0.2),
    "sgdr": lambda o: o.sgdr_schedule([{"init_value": 0.1, "peak_value": p, "warmup_steps": 3, "decay_steps": 10} for p in (1.0, 0.5)]),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_optax(name):
    values = lambda library, counts: jax.vmap(lambda t: jnp.asarray(SCHEDULES[name](library)(t)))(counts)
    ours, theirs = jax.jit(lambda counts: [values(library, counts) for library in (optim, optax)])(np.arange(40))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
