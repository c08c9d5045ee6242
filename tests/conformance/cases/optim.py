"""Conformance of `renga.optim`: each transformation's update and each function, on tiny arrays."""
# ruff: noqa: E501

import jax
import jax.numpy as jnp

from renga import optim as o

from . import Case

c, s, t = o.contrib, o.schedules, o.tree


def vectors():
    """A gradient and parameters."""
    return jnp.array([0.3, -0.5]), jnp.array([1.0, 0.7])


def matrices():
    return jnp.array([[0.3, -0.5], [0.2, 0.9]]), jnp.array([[1.0, 0.7], [-0.4, 0.6]])


def update(tx, args=vectors, extra=False, **kwargs):
    """Two updates: the second one from a state that is not zero."""

    def fn(g, p):
        values = {"value": jnp.sum(g**2)} if extra else {}
        _, state = tx.update(g, tx.init(p), p, **values)
        return tx.update(g + 0.1, state, p, **values)[0]

    return Case(fn, args, **kwargs)


def pair(fn, *args, **kwargs):
    return Case(fn, args or vectors, **kwargs)


def count(schedule):
    # A function of an integer, without a gradient.
    return Case(lambda n: jnp.asarray(schedule(n), jnp.float32), lambda: (jnp.array(3),), differentiable=False)


def labels():
    return jnp.array([[0.3, -0.5], [0.1, 0.9]]), jnp.array([[0.2, 0.8], [1.0, 0.0]])


def by_class(fn):
    return Case(lambda x: fn(x, jnp.array([0, 1])), lambda: (jnp.array([[0.3, -0.5], [0.1, 0.9]]),))


def examples():
    return (jnp.array([[0.3, -0.5], [2.0, 1.0]]),)


def labels_matrix():
    return (jnp.array([[3.0, 1.0, 2.0], [2.0, 1.0, 5.0]]),)


def loss(p, x, y):
    return jnp.sum(jnp.sin(p) * x + y)


def search(tx):
    """A step whose length a line search finds; its loop has no reverse mode."""

    def fn(g, p):
        f = lambda x: jnp.sum((x - g) ** 2)
        args = {"value": f(p), "grad": jax.grad(f)(p), "value_fn": f}
        return tx.update(-args["grad"], tx.init(p), p, **args)[0]

    return Case(fn, vectors, differentiable=False)


OPTIMISERS = {
    "adabelief": o.adabelief(0.1), "adadelta": o.adadelta(0.1), "adafactor": o.adafactor(0.1),
    "adagrad": o.adagrad(0.1), "adam": o.adam(0.1), "adamax": o.adamax(0.1), "adamaxw": o.adamaxw(0.1),
    "adamw": o.adamw(0.1), "adan": o.adan(0.1), "amsgrad": o.amsgrad(0.1), "fromage": o.fromage(0.1),
    "lamb": o.lamb(0.1), "lars": o.lars(0.1), "lion": o.lion(0.1), "nadam": o.nadam(0.1), "nadamw": o.nadamw(0.1),
    "novograd": o.novograd(0.1), "optimistic_adam": o.optimistic_adam(0.1),
    "optimistic_adam_v2": o.optimistic_adam_v2(0.1),
    "optimistic_gradient_descent": o.optimistic_gradient_descent(0.1), "radam": o.radam(0.1),
    "rmsprop": o.rmsprop(0.1), "rprop": o.rprop(0.1), "sgd": o.sgd(0.1, 0.9), "sign_sgd": o.sign_sgd(0.1),
    "signum": o.signum(0.1), "sm3": o.sm3(0.1), "yogi": o.yogi(0.1),
    "contrib.acprop": c.acprop(0.1), "contrib.ademamix": c.ademamix(0.1), "contrib.adopt": c.adopt(0.1),
    "contrib.cocob": c.cocob(), "contrib.dadapt_adamw": c.dadapt_adamw(0.1, estim_lr0=0.1), "contrib.dog": c.dog(init_step=("distance", 0.1)),
    "contrib.dowg": c.dowg(init_estim_sq_dist=0.1), "contrib.madgrad": c.madgrad(0.1),
    "contrib.mechanize": c.mechanize(o.sgd(0.1), s_init=0.1), "contrib.simplified_ademamix": c.simplified_ademamix(0.1),
    "contrib.split_real_and_imaginary": c.split_real_and_imaginary(o.sgd(0.1, 0.9)),
    "contrib.scale_by_acprop": c.scale_by_acprop(), "contrib.scale_by_ademamix": c.scale_by_ademamix(),
    "contrib.scale_by_adopt": c.scale_by_adopt(), "contrib.scale_by_cocob": c.scale_by_cocob(),
    "contrib.scale_by_madgrad": c.scale_by_madgrad(0.1), "contrib.scale_by_simplified_ademamix": c.scale_by_simplified_ademamix(),
    "contrib.prodigy": c.prodigy(0.1), "contrib.schedule_free_adamw": c.schedule_free_adamw(0.1),
    "contrib.schedule_free_sgd": c.schedule_free_sgd(0.1),
    "contrib.schedule_free": c.schedule_free(o.sgd(0.1), 0.1),
    "contrib.sam": c.sam(o.sgd(0.1), o.sgd(0.05)),
    "contrib.normalize": c.normalize(), "contrib.one_pass": c.one_pass(o.adam(0.1)),
}  # fmt: skip
TRANSFORMATIONS = {
    "MultiSteps": o.MultiSteps(o.sgd(0.1), 2), "adaptive_grad_clip": o.adaptive_grad_clip(0.1),
    "add_decayed_weights": o.add_decayed_weights(0.1), "apply_every": o.apply_every(2),
    "apply_if_finite": o.apply_if_finite(o.sgd(0.1), 2), "centralize": o.centralize(),
    "chain": o.chain(o.clip(0.4), o.sgd(0.1)), "clip": o.clip(0.4), "clip_by_block_rms": o.clip_by_block_rms(0.1),
    "clip_by_global_norm": o.clip_by_global_norm(0.1),
    "conditionally_mask": o.conditionally_mask(o.sgd(0.1), lambda n: n > 0),
    "conditionally_transform": o.conditionally_transform(o.sgd(0.1), lambda n: n > 0),
    "ema": o.ema(0.9), "flatten": o.flatten(o.sgd(0.1)), "freeze": o.freeze(True), "grouped": o.grouped(o.sgd(0.1)),
    "identity": o.identity(), "keep_params_nonnegative": o.keep_params_nonnegative(),
    "masked": o.masked(o.sgd(0.1), True), "monitor": o.monitor({"norm": o.global_norm}),
    "multi_transform": o.multi_transform({"a": o.sgd(0.1)}, "a"), "named_chain": o.named_chain(("a", o.sgd(0.1))),
    "measure_with_ema": o.monitor({"norm": o.measure_with_ema(o.global_norm, 0.9)}),
    "normalize_by_update_norm": o.normalize_by_update_norm(), "observe": o.observe(),
    "observe_members": o.observe_members(o.sgd(0.1, 0.9)), "partition": o.partition({"**": o.sgd(0.1)}),
    "scale": o.scale(0.1), "scale_by_adadelta": o.scale_by_adadelta(), "scale_by_adam": o.scale_by_adam(),
    "scale_by_adamax": o.scale_by_adamax(), "scale_by_adan": o.scale_by_adan(),
    "scale_by_amsgrad": o.scale_by_amsgrad(), "scale_by_belief": o.scale_by_belief(),
    "scale_by_distance_over_gradients": o.scale_by_distance_over_gradients(0.1),
    "scale_by_factored_rms": o.scale_by_factored_rms(), "scale_by_learning_rate": o.scale_by_learning_rate(0.1),
    "scale_by_lion": o.scale_by_lion(mode="smooth"), "scale_by_novograd": o.scale_by_novograd(),
    "scale_by_optimistic_gradient": o.scale_by_optimistic_gradient(),
    "scale_by_param_block_norm": o.scale_by_param_block_norm(),
    "scale_by_param_block_rms": o.scale_by_param_block_rms(), "scale_by_radam": o.scale_by_radam(),
    "scale_by_rms": o.scale_by_rms(), "scale_by_rprop": o.scale_by_rprop(0.1), "scale_by_rss": o.scale_by_rss(),
    "scale_by_schedule": o.scale_by_schedule(lambda n: 1.0 / (n + 1)), "scale_by_sign": o.scale_by_sign(),
    "scale_by_sm3": o.scale_by_sm3(), "scale_by_stddev": o.scale_by_stddev(eps=0.1),
    "scale_by_trust_ratio": o.scale_by_trust_ratio(), "scale_by_yogi": o.scale_by_yogi(),
    "selective_transform": o.selective_transform(o.sgd(0.1), freeze_mask=False), "set_to_zero": o.set_to_zero(),
    "snapshot": o.chain(o.snapshot("norm", o.global_norm), o.scale(0.1)),
    "state_dtype": o.state_dtype(o.sgd(0.1, 0.9), jnp.float32), "stateless": o.stateless(lambda u, p: u * p),
    "stateless_with_tree_map": o.stateless_with_tree_map(lambda u, p: u * p), "trace": o.trace(0.9),
    "with_extra_args_support": o.with_extra_args_support(o.sgd(0.1)), "zero_nans": o.zero_nans(),
    "inject_hyperparams": o.inject_hyperparams(o.sgd)(0.1),
    "inject_stateful_hyperparams": o.inject_stateful_hyperparams(o.sgd)(lambda n: 0.1 / (n + 1)),
    "GradientTransformation": o.GradientTransformation(lambda p: (), lambda u, s, p=None, **_: (2 * u, s)),
    "GradientTransformationExtraArgs": o.GradientTransformationExtraArgs(
        lambda p: (), lambda u, s, p=None, **_: (2 * u, s)
    ),
}  # fmt: skip
SCHEDULES = {
    "constant_schedule": o.constant_schedule(0.1), "cosine_decay_schedule": o.cosine_decay_schedule(1.0, 9),
    "cosine_onecycle_schedule": o.cosine_onecycle_schedule(9, 1.0),
    "exponential_decay": o.exponential_decay(1.0, 9, 0.5),
    "join_schedules": o.join_schedules([o.constant_schedule(1.0), o.linear_schedule(0.0, 1.0, 5)], [2]),
    "linear_onecycle_schedule": o.linear_onecycle_schedule(9, 1.0), "linear_schedule": o.linear_schedule(1.0, 0.0, 9),
    "piecewise_constant_schedule": o.piecewise_constant_schedule(1.0, {2: 0.5}),
    "piecewise_interpolate_schedule": o.piecewise_interpolate_schedule("cosine", 1.0, {2: 0.5, 5: 0.1}),
    "polynomial_schedule": o.polynomial_schedule(1.0, 0.0, 2, 9),
    "sgdr_schedule": o.sgdr_schedule([{"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 1, "decay_steps": 5}]),
    "warmup_constant_schedule": o.warmup_constant_schedule(0.0, 1.0, 5),
    "warmup_cosine_decay_schedule": o.warmup_cosine_decay_schedule(0.0, 1.0, 2, 9),
    "warmup_exponential_decay_schedule": o.warmup_exponential_decay_schedule(0.0, 1.0, 2, 5, 0.5),
    "WrappedSchedule": lambda n: o.WrappedSchedule(o.constant_schedule(1.0))(o.WrappedSchedule(lambda m: m).init()) + n,
}  # fmt: skip
PAIRS = {
    "apply_updates": o.apply_updates,
    "bias_correction": lambda x, y: o.bias_correction(x, 0.9, 3) * y,
    "convex_kl_divergence": o.convex_kl_divergence,
    "cosine_distance": o.cosine_distance,
    "cosine_similarity": o.cosine_similarity,
    "generalized_kl_divergence": o.generalized_kl_divergence,
    "global_norm": lambda x, y: o.global_norm((x, y)),
    "hinge_loss": o.hinge_loss,
    "huber_loss": lambda x, y: o.huber_loss(3 * x, y),
    "incremental_update": lambda x, y: o.incremental_update(x, y, 0.3),
    "kl_divergence": o.kl_divergence,
    "l2_loss": o.l2_loss,
    "log_cosh": o.log_cosh,
    "losses.binary_dice_loss": lambda x, y: o.losses.binary_dice_loss(x[None], y[None]),
    "losses.dice_loss": lambda x, y: o.losses.dice_loss(x[None, None], y[None, None]),
    "losses.kl_divergence_with_log_targets": o.losses.kl_divergence_with_log_targets,
    "losses.make_fenchel_young_loss": o.losses.make_fenchel_young_loss(jax.nn.logsumexp),
    "losses.multiclass_generalized_dice_loss": lambda x, y: o.losses.multiclass_generalized_dice_loss(
        x[None, None], y[None, None]
    ),
    "losses.perceptron_loss": o.losses.perceptron_loss,
    "losses.poly_loss_cross_entropy": o.losses.poly_loss_cross_entropy,
    "losses.ranking_softmax_loss": o.losses.ranking_softmax_loss,
    "losses.sparsemax_loss": lambda x, y: o.losses.sparsemax_loss(x, jnp.array([1, 0])) * y,
    "losses.triplet_margin_loss": lambda x, y: o.losses.triplet_margin_loss(x, y, y[::-1]),
    "minimize": lambda x, y: o.minimize(lambda z: jnp.sum((z - y) ** 2), x, o.sgd(0.1), max_steps=3).params,
    "multi_normal": lambda x, y: o.multi_normal(x, y).log_prob(y),
    "periodic_update": lambda x, y: o.periodic_update(x, y, jnp.array(4), 2),
    "projections.projection_box": lambda x, y: o.projections.projection_box(x, -y, y / 2),
    "projections.projection_halfspace": lambda x, y: o.projections.projection_halfspace(x, y, -1.0),
    "projections.projection_hypercube": lambda x, y: o.projections.projection_hypercube(x + y, 0.5),
    "projections.projection_hyperplane": lambda x, y: o.projections.projection_hyperplane(x, y, 0.5),
    "projections.projection_l1_ball": lambda x, y: o.projections.projection_l1_ball(x + y, 0.5),
    "projections.projection_l1_sphere": lambda x, y: o.projections.projection_l1_sphere(x + y, 0.5),
    "projections.projection_l2_ball": lambda x, y: o.projections.projection_l2_ball(x + y, 0.5),
    "projections.projection_l2_sphere": lambda x, y: o.projections.projection_l2_sphere(x + y, 0.5),
    "projections.projection_linf_ball": lambda x, y: o.projections.projection_linf_ball(x + y, 0.5),
    "projections.projection_non_negative": lambda x, y: o.projections.projection_non_negative(x * y),
    "projections.projection_simplex": lambda x, y: o.projections.projection_simplex(x + y),
    "projections.projection_vector": o.projections.projection_vector,
    "read": lambda x, y: o.read(o.trace(0.9).update(x, o.trace(0.9).init(y))[1], "trace"),
    "safe_norm": lambda x, y: o.safe_norm(x * y, 0.1),
    "safe_root_mean_squares": lambda x, y: o.safe_root_mean_squares(x * y, 0.1),
    "safe_softmax_cross_entropy": o.safe_softmax_cross_entropy,
    "second_order.fisher_diag": lambda x, y: o.second_order.fisher_diag(loss, x, y, 0.0),
    "second_order.hvp": lambda x, y: o.second_order.hvp(loss, y, x, 1.0, 0.0),
    "sigmoid_binary_cross_entropy": o.sigmoid_binary_cross_entropy,
    "sigmoid_focal_loss": o.sigmoid_focal_loss,
    "smooth_labels": lambda x, y: o.smooth_labels(x, 0.2) * y,
    "softmax_cross_entropy": o.softmax_cross_entropy,
    "squared_error": o.squared_error,
    "transforms.unitwise_clip": lambda x, y: o.transforms.unitwise_clip(y, 0.5 * y, x),
    "transforms.unitwise_norm": lambda x, y: o.transforms.unitwise_norm(x * y),
    "tree.add": t.add, "tree.sub": t.sub, "tree.mul": t.mul, "tree.div": t.div, "tree.vdot": t.vdot,
    "tree.add_scale": lambda x, y: t.add_scale(x, 2.0, y),
    "tree.batch_shape": lambda x, y: t.batch_shape(x * y, (2,)),
    "tree.cast": lambda x, y: t.cast(x * y, jnp.float32),
    "tree.cast_like": t.cast_like,
    "tree.clip": lambda x, y: t.clip(x * y, -0.3, 0.3),
    "tree.conj": lambda x, y: t.conj(x * y),
    "tree.full_like": lambda x, y: t.full_like(x, 2.0) * y,
    "tree.get": lambda x, y: t.get({"a": x * y}, "a"),
    "tree.get_all_with_path": lambda x, y: t.get_all_with_path({"a": x * y}, "a")[0][1],
    "tree.max": lambda x, y: t.max(x * y), "tree.min": lambda x, y: t.min(x * y),
    "tree.norm": lambda x, y: t.norm(x * y), "tree.ones_like": lambda x, y: t.ones_like(x) * y,
    "tree.real": lambda x, y: t.real(x * y), "tree.scale": lambda x, y: t.scale(2.0, x * y),
    "tree.set": lambda x, y: t.set({"a": x}, a=x * y)["a"],
    "tree.sum": lambda x, y: t.sum(x * y), "tree.where": lambda x, y: t.where(x > 0, x, y),
    "tree.zeros_like": lambda x, y: t.zeros_like(x) + y,
    "tree_utils.tree_l1_norm": lambda x, y: o.tree_utils.tree_l1_norm(x * y),
    "tree_utils.tree_linf_norm": lambda x, y: o.tree_utils.tree_linf_norm(x * y),
    "tree_map_params": lambda x, y: o.tree_map_params(o.trace(0.9), lambda z: z * y, o.TraceState(x)).trace,
    "update_infinity_moment": lambda x, y: o.update_infinity_moment(x, y, 0.9, 0.1),
    "update_moment": lambda x, y: o.update_moment(x, y, 0.9, 2),
    "update_moment_per_elem_norm": lambda x, y: o.update_moment_per_elem_norm(x, y, 0.9, 2),
    "contrib.schedule_free_eval_params": lambda x, y: c.schedule_free_eval_params(c.schedule_free_sgd(0.1).init(x), y),
    "init_empty_state": lambda x, y: (o.init_empty_state(x), y * 1.0)[1],
}  # fmt: skip
FRAMES = ((0.1, 0.7), (0.9, -0.3), (0.2, 0.4))

a = o.experimental.aggregating


def aggregate(tx):
    """Two batches of two examples each, for a parameter of two elements."""

    def fn(g):
        p = g[0]
        _, state = tx.update(g, tx.init(p), p)
        return tx.update(g + 0.1, state, p)[0]

    return Case(fn, examples)


def tracked(g, p):
    tx = a.track_per_element_mean_and_variance_with_ema()
    return tx.update(g, tx.init(p), p, sum_sq_diff_grads=g**2, sample_size=3)


AGGREGATING = {
    "Aggregator": aggregate(a.process(o.identity(), a.Aggregator(lambda p: (), lambda u, s, p=None: (u.sum(0), s)), o.sgd(0.1))),
    "accumulate_avg_updates": update(a.accumulate_avg_updates(2)),
    "add_mean_variance_to_opt": aggregate(a.add_mean_variance_to_opt(o.sgd(0.1), accumulation_steps=2)),
    "average_incrementally_updates": aggregate(a.average_incrementally_updates(0, 2)),
    "average_per_element_updates": aggregate(a.average_per_element_updates()),
    "get_per_element_mean_and_sum_sq_diff_grads": Case(
        lambda g: a.get_per_element_mean_and_sum_sq_diff_grads().update(g, o.EmptyState())[0][1]["sum_sq_diff_grads"], examples
    ),
    "get_unbiased_mean_and_variance_ema": pair(lambda g, p: a.get_unbiased_mean_and_variance_ema(tracked(g, p)[1])),
    "process": aggregate(a.process(o.clip(0.4), a.average_incrementally_updates(0, 2), o.sgd(0.1))),
    "track_per_element_mean_and_variance_with_ema": pair(lambda g, p: tracked(g, p)[0] * p),
}  # fmt: skip

CASES = (
    {f"experimental.aggregating.{name}": case for name, case in AGGREGATING.items()}
    | {name: update(tx) for name, tx in (OPTIMISERS | TRANSFORMATIONS).items()}
    | {name: count(schedule) for name, schedule in SCHEDULES.items()}
    | {name: pair(fn) for name, fn in PAIRS.items()}
    | {
        "contrib.muon": update(c.muon(0.1), matrices, rtol=1e-3),
        "contrib.scale_by_muon": update(c.scale_by_muon(), matrices, rtol=1e-3),
        "contrib.galore": update(c.galore(0.1, rank=1, base_optimizer=o.identity()), matrices, rtol=1e-3, differentiable=False),
        "contrib.scale_by_galore": update(c.scale_by_galore(rank=1, base_optimizer=o.identity()), matrices, rtol=1e-3, differentiable=False),
        "contrib.hutchinson_estimator_diag_hessian": pair(
            lambda g, p: c.hutchinson_estimator_diag_hessian().update(
                g, c.hutchinson_estimator_diag_hessian().init(p), p, obj_fn=lambda x: jnp.sum(x**3 * g)
            )[0]
        ),
        "contrib.sophia": pair(
            lambda g, p: c.sophia(0.1, gamma=9.0).update(g, c.sophia(0.1).init(p), p, obj_fn=lambda x: jnp.sum(x**3))[0]
        ),
        "contrib.momo": update(c.momo(), extra=True),
        "contrib.momo_adam": update(c.momo_adam(0.1), extra=True),
        "contrib.reduce_on_plateau": update(c.reduce_on_plateau(), extra=True),
        "polyak_sgd": update(o.polyak_sgd(), extra=True),
        "scale_by_polyak": update(o.scale_by_polyak(), extra=True),
        "noisy_sgd": update(o.noisy_sgd(0.1, key=0)),
        "add_noise": update(o.add_noise(0.1, 0.5, seed=0)),
        "contrib.dpsgd": Case(lambda g: c.dpsgd(0.1, 1.0, 0.1, 0).update(g, c.dpsgd(0.1, 1.0, 0.1, 0).init(g))[0], examples),
        "contrib.differentially_private_aggregate": Case(
            lambda g: c.differentially_private_aggregate(1.0, 0.0, seed=0).update(
                g, c.DifferentiallyPrivateAggregateState(jax.random.key(0))
            )[0],
            examples,
        ),
        "lookahead": pair(
            lambda g, p: o.lookahead(o.sgd(0.1), 1, 0.5).update(
                g, o.lookahead(o.sgd(0.1), 1, 0.5).init(p), o.LookaheadParams(p, p)
            )[0].slow
        ),
        "ctc_loss": Case(lambda x: o.ctc_loss(x, jnp.zeros((1, 3)), jnp.array([[1]]), jnp.zeros((1, 1))), lambda: (jnp.array([FRAMES]),)),
        "ctc_loss_with_forward_probs": Case(
            lambda x: o.ctc_loss_with_forward_probs(x, jnp.zeros((1, 3)), jnp.array([[1]]), jnp.zeros((1, 1)))[0],
            lambda: (jnp.array([FRAMES]),),
        ),
        "losses.multiclass_hinge_loss": by_class(o.losses.multiclass_hinge_loss),
        "losses.multiclass_perceptron_loss": by_class(o.losses.multiclass_perceptron_loss),
        "losses.multiclass_sparsemax_loss": by_class(o.losses.multiclass_sparsemax_loss),
        "softmax_cross_entropy_with_integer_labels": by_class(o.softmax_cross_entropy_with_integer_labels),
        "ntxent": Case(lambda x: o.ntxent(x, jnp.array([0, 0]), 1.0), lambda: (jnp.array([[0.3, -0.5], [0.1, 0.9]]),)),
        "per_example_global_norm_clip": Case(lambda g: o.per_example_global_norm_clip(g, 1.0)[0], examples),
        "per_example_layer_norm_clip": Case(lambda g: o.per_example_layer_norm_clip(g, 1.0)[0], examples),
        "lbfgs": Case(lambda g, p: -search(o.chain(o.scale(-1.0), o.lbfgs())).fn(g, p), vectors, differentiable=False),
        "scale_by_lbfgs": update(o.scale_by_lbfgs()),
        "scale_by_backtracking_linesearch": search(o.scale_by_backtracking_linesearch(5)),
        "scale_by_zoom_linesearch": search(o.scale_by_zoom_linesearch(5)),
        "value_and_grad_from_state": pair(
            lambda x, y: o.value_and_grad_from_state(lambda z: jnp.sum(z**2 * y))(x, state=o.scale_by_zoom_linesearch(5).init(x))[1]
        ),
        "assignment.base_hungarian_algorithm": Case(o.assignment.base_hungarian_algorithm, labels_matrix, differentiable=False),
        "assignment.hungarian_algorithm": Case(o.assignment.hungarian_algorithm, labels_matrix, differentiable=False),
        "microbatching.microbatch": pair(o.microbatching.microbatch(lambda x, y: jnp.sin(x) @ y, (0, 1), 1)),
        "microbatching.micro_vmap": pair(o.microbatching.micro_vmap(lambda x, y: jnp.sin(x) * y, microbatch_size=1)),
        "microbatching.micro_grad": pair(lambda x, y: o.microbatching.micro_grad(lambda p, b: jnp.sum(jnp.sin(p) * b), microbatch_size=1)(x, y)[0]),
        "microbatching.reshape_batch_axis": pair(lambda x, y: o.microbatching.reshape_batch_axis(x * y, 1)),
        "microbatching.Accumulator": pair(o.microbatching.microbatch(lambda x, y: x * y, (0, 1), 1, o.microbatching.Accumulator(
            lambda like: jnp.zeros(like.shape, like.dtype), lambda s, x, i: s + x * (i + 1), lambda s: s, lambda x: x))),
        "perturbations.make_perturbed_fun": pair(
            lambda x, y: o.perturbations.make_perturbed_fun(lambda z: z**2 * 3, 4, 0.5)(jax.random.key(0), x * y), rtol=1e-3
        ),
        "perturbations.Gumbel": pair(lambda x, y: o.perturbations.Gumbel().log_prob(x) + o.perturbations.Gumbel().sample(jax.random.key(0), (2,)) * y),
        "perturbations.Normal": pair(lambda x, y: o.perturbations.Normal().log_prob(x) + o.perturbations.Normal().sample(jax.random.key(0), (2,)) * y),
        # While loops have no reverse mode, and the Hessian's diagonal is a map over its elements.
        "matrix_inverse_pth_root": Case(lambda g, p: o.matrix_inverse_pth_root(g @ g.T, 2)[0], matrices, differentiable=False, rtol=1e-3),
        "minimize": Case(PAIRS["minimize"], vectors, differentiable=False),
        "nnls": Case(lambda A, p: o.nnls(A, p[0], 5), matrices),
        "power_iteration": Case(lambda g, p: o.power_iteration(g @ g.T)[0], matrices, differentiable=False),
        "second_order.hessian_diag": pair(lambda x, y: o.second_order.hessian_diag(loss, x, y, 0.0)),
        "stochastic_round": pair(
            lambda x, y: o.stochastic_round(jax.random.key(0), x * y, jnp.bfloat16).astype(jnp.float32), rtol=2e-2
        ),
        "scale_gradient": pair(lambda x, y: o.scale_gradient(x, 0.3) * y),
        # Counters, flags and shapes have no gradient.
        "safe_increment": Case(o.safe_increment, lambda: (jnp.array(3),), differentiable=False),
        "safe_int32_increment": Case(o.safe_int32_increment, lambda: (jnp.array(3),), differentiable=False),
        "skip_large_updates": pair(lambda x, y: o.skip_large_updates((x, y), jnp.array(0), None, 1.0)[0], differentiable=False),
        "skip_not_finite": pair(lambda x, y: o.skip_not_finite((x, y), jnp.array(0), None)[0], differentiable=False),
        "tree.allclose": pair(t.allclose, differentiable=False),
        "tree.random_like": Case(lambda x: t.random_like(jax.random.key(0), x), lambda: (jnp.ones(2),), differentiable=False),
        "tree.split_key_like": Case(
            lambda x: jax.random.key_data(t.split_key_like(jax.random.key(0), {"a": x})["a"]),
            lambda: (jnp.ones(2),),
            differentiable=False,
        ),
        "tree.unwrap_random_key_data": pair(lambda x, y: t.unwrap_random_key_data({"a": x * y})),
    }
)  # fmt: skip
CASES |= {name: CASES[f"contrib.{name}"] for name in ("differentially_private_aggregate", "dpsgd")}
CASES = {name: CASES[name] for name in sorted(CASES)}

TYPES = "a type, a state or a protocol: nothing to compute"
EXEMPT = (
    {name: TYPES for name in o.__all__ if name.endswith("State") and name not in CASES}
    | dict.fromkeys(("ApplyEvery", "BacktrackingLinesearchInfo", "LookaheadParams", "MaskOrFn", "MaskedNode", "MinimizeResult", "OptState", "Params", "Schedule", "ShouldSkipUpdateFunction", "TransformInitFn", "TransformUpdateExtraArgsFn", "TransformUpdateFn", "Updates", "ZoomLinesearchInfo", "schedules.StatefulSchedule", "transforms.ConditionFn", "tree.NamedTupleKey"), TYPES)
    | {f"contrib.{name}": TYPES for name in c.__all__ if name.endswith("State")}
    | {f"experimental.aggregating.{name}": TYPES for name in a.__all__ if name.endswith(("State", "AggregatorUpdateFn"))}
    | {"experimental.aggregating.get_batch_size_from_per_elt_updates": "returns a Python int", "microbatching.AccumulationType": TYPES}
    | {"contrib.GaLoreDimensionNumbers": TYPES, "contrib.MuonDimensionNumbers": TYPES}
    | {"tree.dtype": "returns a dtype", "tree.size": "returns a Python int"}
)  # fmt: skip

# Not right at the ends of the range of floats, or in 16 bits, with the reason.
_SQUARES = "its state holds squares of gradients, or sums of them, which are beyond float32 then"
_LOSS = "the loss of the case is a square, which is beyond float32 then"
_PRODUCTS = "products of entries of the matrix are beyond float32 then"
_SUMS = "products of predictions and targets are beyond float32 then"
FLOAT_RANGE = {
    "adabelief": _SQUARES,
    "adadelta": _SQUARES,
    "adafactor": _SQUARES,
    "adagrad": _SQUARES,
    "adam": _SQUARES,
    "adamw": _SQUARES,
    "adan": _SQUARES,
    "amsgrad": _SQUARES,
    "contrib.acprop": _SQUARES,
    "contrib.ademamix": _SQUARES,
    "contrib.adopt": _SQUARES,
    "contrib.cocob": _SQUARES,
    "contrib.dadapt_adamw": _SQUARES,
    "contrib.dog": _SQUARES,
    "contrib.dowg": _SQUARES,
    "contrib.madgrad": _SQUARES,
    "contrib.mechanize": _SQUARES,
    "contrib.momo": _SQUARES,
    "contrib.momo_adam": _SQUARES,
    "contrib.muon": _SQUARES,
    "contrib.one_pass": _SQUARES,
    "contrib.prodigy": _SQUARES,
    "contrib.scale_by_acprop": _SQUARES,
    "contrib.scale_by_ademamix": _SQUARES,
    "contrib.scale_by_adopt": _SQUARES,
    "contrib.scale_by_cocob": _SQUARES,
    "contrib.scale_by_madgrad": _SQUARES,
    "contrib.scale_by_muon": _SQUARES,
    "contrib.scale_by_simplified_ademamix": _SQUARES,
    "contrib.schedule_free_adamw": _SQUARES,
    "contrib.simplified_ademamix": _SQUARES,
    "lamb": _SQUARES,
    "lbfgs": _LOSS,
    "losses.dice_loss": _SUMS,
    "losses.multiclass_generalized_dice_loss": _SUMS,
    "matrix_inverse_pth_root": _PRODUCTS,
    "minimize": _LOSS,
    "nadam": _SQUARES,
    "nadamw": _SQUARES,
    "nnls": _PRODUCTS,
    "novograd": _SQUARES,
    "optimistic_adam": _SQUARES,
    "optimistic_adam_v2": _SQUARES,
    "polyak_sgd": _SQUARES,
    "power_iteration": _PRODUCTS,
    "rmsprop": _SQUARES,
    "scale_by_adadelta": _SQUARES,
    "scale_by_adam": _SQUARES,
    "scale_by_adan": _SQUARES,
    "scale_by_amsgrad": _SQUARES,
    "scale_by_backtracking_linesearch": _LOSS,
    "scale_by_belief": _SQUARES,
    "scale_by_factored_rms": _SQUARES,
    "scale_by_novograd": _SQUARES,
    "scale_by_polyak": _SQUARES,
    "scale_by_rms": _SQUARES,
    "scale_by_rss": _SQUARES,
    "scale_by_sm3": _SQUARES,
    "scale_by_stddev": _SQUARES,
    "scale_by_yogi": _SQUARES,
    "scale_by_zoom_linesearch": _LOSS,
    "sm3": _SQUARES,
    "yogi": _SQUARES,
}
# Right where the compiler turns √g² into |g|, which not every release does.
BY_COMPILER = {"contrib.adopt", "contrib.scale_by_adopt"}
