"""One tiny call of every public function of `renga.rl`."""

import functools
import types

import jax
import jax.numpy as jnp

from renga import rl

from . import Case

Q, NEXT = jnp.array([1.0, 2.0, 4.0]), jnp.array([3.0, 1.0, 0.5])
PROBS = jnp.array([0.2, 0.5, 0.3])
A, R, G, V, W = jnp.int32(1), jnp.float32(0.7), jnp.float32(0.9), jnp.float32(1.5), jnp.float32(-0.5)
SIX = jnp.array([0.2, 0.6, 0.9])
R3, G3, V3, W3 = Q - 2, jnp.array([0.9, 0.0, 0.8]), NEXT, jnp.array([0.3, -0.4, 0.1])
Q3, PI3, A3 = jnp.stack([Q, NEXT, PROBS]), jnp.stack([PROBS, PROBS[::-1], PROBS]), jnp.array([0, 2, 1])
RHO = jnp.array([0.5, 1.7, 0.8])
KEY = jax.random.key(0)
TAU = jnp.array([0.2, 0.5, 0.9])
PAIR = rl.SIGNED_LOGP1_PAIR
IMAGES = jnp.stack([jnp.outer(Q, V3), jnp.outer(W3, Q)])[:, :2, :2, None]
MOMENTS = rl.PopArtState(V3, RHO + 1, 20 * jnp.ones(3))
BOX = types.SimpleNamespace(minimum=-2.0, maximum=2.0)
BINS = {"min_value": -1.0, "max_value": 1.0, "num_bins": 3}


class _Softmax:
    """The least that policy targets ask of a distribution."""

    def __init__(self, logits):
        self.logits = logits

    def sample(self, *, seed, sample_shape):
        return jax.random.categorical(seed, self.logits, shape=(*sample_shape, *self.logits.shape[:-1]))

    def log_prob(self, value):
        logits = jnp.broadcast_to(self.logits, (*value.shape, self.logits.shape[-1]))
        return rl.softmax().logprob(value, logits)


CASES = {
    "batched_index": Case(rl.batched_index, (Q[None], jnp.array([1]))),
    # Integers have no gradient.
    "one_hot": Case(functools.partial(rl.one_hot, num_classes=3), (jnp.array([0, 2]),), differentiable=False),
    "lhs_broadcast": Case(rl.lhs_broadcast, (Q, jnp.ones((3, 2)))),
    "l2_loss": Case(rl.l2_loss, (Q, NEXT)),
    "huber_loss": Case(rl.huber_loss, (Q - 2.2,)),
    "likelihood": Case(rl.likelihood, (PROBS, SIX)),
    "log_loss": Case(rl.log_loss, (PROBS, SIX)),
    "expectile_loss": Case(functools.partial(rl.expectile_loss, expectile=0.3), (Q, NEXT)),
    "td_learning": Case(rl.td_learning, (V, R, G, W)),
    "sarsa": Case(rl.sarsa, (Q, A, R, G, NEXT, A)),
    "expected_sarsa": Case(rl.expected_sarsa, (Q, A, R, G, NEXT, PROBS)),
    "q_learning": Case(rl.q_learning, (Q, A, R, G, NEXT)),
    "double_q_learning": Case(rl.double_q_learning, (Q, A, R, G, NEXT, Q)),
    "persistent_q_learning": Case(rl.persistent_q_learning, (Q, A, R, G, NEXT, jnp.float32(0.3))),
    "qv_learning": Case(rl.qv_learning, (Q, A, R, G, V)),
    "qv_max": Case(rl.qv_max, (V, R, G, Q)),
    "discounted_returns": Case(rl.discounted_returns, (R3, G3, V3)),
    "lambda_returns": Case(rl.lambda_returns, (R3, G3, V3, jnp.float32(0.8))),
    "n_step_bootstrapped_returns": Case(functools.partial(rl.n_step_bootstrapped_returns, n=2), (R3, G3, V3)),
    "truncated_generalized_advantage_estimation": Case(
        functools.partial(rl.truncated_generalized_advantage_estimation, method="parallel"),
        (R3, G3, jnp.float32(0.8), jnp.append(0.5, V3)),
    ),
    "td_lambda": Case(rl.td_lambda, (V3, R3, G3, W3, jnp.float32(0.8))),
    "sarsa_lambda": Case(rl.sarsa_lambda, (Q3, A3, R3, G3, Q3 + 1, A3, jnp.float32(0.8))),
    "q_lambda": Case(rl.q_lambda, (Q3, A3, R3, G3, Q3 + 1, jnp.float32(0.8))),
    "general_off_policy_returns_from_q_and_v": Case(
        rl.general_off_policy_returns_from_q_and_v, (V3[1:], W3, R3, G3, SIX[1:])
    ),
    "general_off_policy_returns_from_action_values": Case(
        rl.general_off_policy_returns_from_action_values, (Q3, A3, R3, G3, SIX, PI3)
    ),
    "retrace": Case(rl.retrace, (Q3, Q3 + 1, A3, A3, R3, G3, PI3, SIX, jnp.float32(0.8))),
    "retrace_continuous": Case(rl.retrace_continuous, (V3, W3[1:], V3, R3, G3, W3[1:], jnp.float32(0.8))),
    "vtrace": Case(rl.vtrace, (V3, W3, R3, G3, RHO)),
    "leaky_vtrace": Case(functools.partial(rl.leaky_vtrace, alpha_=0.3), (V3, W3, R3, G3, RHO)),
    "vtrace_td_error_and_advantage": Case(rl.vtrace_td_error_and_advantage, (V3, W3, R3, G3, RHO)),
    "leaky_vtrace_td_error_and_advantage": Case(
        functools.partial(rl.leaky_vtrace_td_error_and_advantage, alpha=0.3), (V3, W3, R3, G3, RHO)
    ),
    "policy_gradient_loss": Case(rl.policy_gradient_loss, (Q3, A3, V3, SIX)),
    "entropy_loss": Case(rl.entropy_loss, (Q3, SIX)),
    "clipped_surrogate_pg_loss": Case(functools.partial(rl.clipped_surrogate_pg_loss, epsilon=0.2), (RHO, W3)),
    "dpg_loss": Case(functools.partial(rl.dpg_loss, dqda_clipping=1.0), (V3, W3 * 5)),
    "qpg_loss": Case(rl.qpg_loss, (Q3, PI3)),
    "rm_loss": Case(rl.rm_loss, (Q3, PI3)),
    "rpg_loss": Case(rl.rpg_loss, (Q3, PI3)),
    "categorical_importance_sampling_ratios": Case(rl.categorical_importance_sampling_ratios, (Q3, PI3, A3)),
    "categorical_cross_entropy": Case(rl.categorical_cross_entropy, (PI3, Q3)),
    "conditional_update": Case(rl.conditional_update, (Q, NEXT, jnp.array(True))),
    "periodic_update": Case(rl.periodic_update, (Q, NEXT, jnp.array(6), jnp.array(3))),
    "identity": Case(rl.identity, (W3,)),
    "sigmoid": Case(rl.sigmoid, (W3,)),
    "logit": Case(rl.logit, (PROBS,)),
    "signed_logp1": Case(rl.signed_logp1, (W3,)),
    "signed_expm1": Case(rl.signed_expm1, (W3,)),
    "signed_hyperbolic": Case(rl.signed_hyperbolic, (W3,)),
    "signed_parabolic": Case(rl.signed_parabolic, (W3,), rtol=1e-4),
    "power": Case(functools.partial(rl.power, p=2.0), (W3,)),
    "compose_tx": Case(rl.compose_tx(rl.SIGNED_LOGP1_PAIR, rl.SIGNED_HYPERBOLIC_PAIR).apply, (W3,)),
    "transform_to_2hot": Case(functools.partial(rl.transform_to_2hot, **BINS), (W3,)),
    "transform_from_2hot": Case(functools.partial(rl.transform_from_2hot, **BINS), (PI3,)),
    "twohot_pair": Case(rl.twohot_pair(**BINS).apply, (W3,)),
    "muzero_pair": Case(rl.muzero_pair(**BINS, tx=rl.SIGNED_LOGP1_PAIR).apply, (W3,)),
    "categorical_sample": Case(
        lambda p, key: rl.categorical_sample(key, p), (PI3, KEY), differentiable=False
    ),  # indices
    "softmax": Case(
        lambda z, a, key: (rl.softmax(0.7).logprob(a, z), rl.softmax(0.7).entropy(z), rl.softmax().sample(key, z)),
        (Q3, A3, KEY),
    ),
    "clipped_entropy_softmax": Case(lambda z: rl.clipped_entropy_softmax(1.0, 0.9).entropy(z), (Q3,)),
    # Piecewise constant in the preferences.
    "epsilon_greedy": Case(
        lambda q, e, key: (rl.epsilon_greedy().probs(q, e), rl.epsilon_greedy(0.3).sample(key, q)),
        (Q3, SIX, KEY),
        differentiable=False,
    ),
    "greedy": Case(lambda q, key: rl.greedy().sample(key, q), (Q3, KEY), differentiable=False),  # as above
    "gaussian_diagonal": Case(
        lambda a, mu, key: (rl.gaussian_diagonal(0.3).logprob(a, mu), rl.gaussian_diagonal(0.3).sample(key, mu)),
        (V3, W3, KEY),
    ),
    "squashed_gaussian": Case(
        lambda a, mu, s, key: (
            rl.squashed_gaussian().logprob(a, mu, s, BOX),
            rl.squashed_gaussian().sample(key, mu, s, BOX),
        ),
        (W3, SIX, SIX, KEY),
    ),
    "multivariate_normal_kl_divergence": Case(rl.multivariate_normal_kl_divergence, (V3, SIX, W3, RHO)),
    "categorical_kl_divergence": Case(rl.categorical_kl_divergence, (Q3, PI3)),
    "categorical_l2_project": Case(rl.categorical_l2_project, (V3, PROBS, W3.sort())),
    "categorical_td_learning": Case(rl.categorical_td_learning, (Q, V3, R, G, Q, W3)),
    "categorical_q_learning": Case(rl.categorical_q_learning, (Q, Q3, A, R, G, Q, PI3)),
    "categorical_double_q_learning": Case(rl.categorical_double_q_learning, (Q, Q3, A, R, G, Q, PI3, V3)),
    "quantile_regression_loss": Case(rl.quantile_regression_loss, (V3, TAU, W3)),
    "quantile_q_learning": Case(
        functools.partial(rl.quantile_q_learning, huber_param=1.0), (Q3, TAU, A, R, G, PI3, PI3)
    ),
    "quantile_expected_sarsa": Case(rl.quantile_expected_sarsa, (Q3, TAU, A, R, G, PI3, PROBS)),
    "transformed_lambda_returns": Case(
        functools.partial(rl.transformed_lambda_returns, tx_pair=PAIR), (R3, G3, V3, jnp.float32(0.8))
    ),
    "transformed_n_step_returns": Case(
        functools.partial(rl.transformed_n_step_returns, n=2, tx_pair=PAIR), (R3, G3, V3), rtol=1e-4
    ),
    "transformed_general_off_policy_returns_from_action_values": Case(
        lambda *x: rl.transformed_general_off_policy_returns_from_action_values(PAIR, *x), (Q3, A3, R3, G3, SIX, PI3)
    ),
    "transformed_n_step_q_learning": Case(
        functools.partial(rl.transformed_n_step_q_learning, n=2, tx_pair=PAIR), (Q3, A3, Q3, A3, R3, G3)
    ),
    "transformed_q_lambda": Case(
        functools.partial(rl.transformed_q_lambda, tx_pair=PAIR), (Q3, A3, R3, G3, Q3 + 1, jnp.float32(0.8))
    ),
    "transformed_retrace": Case(
        functools.partial(rl.transformed_retrace, tx_pair=PAIR),
        (Q3, Q3 + 1, A3, A3, R3, G3, PI3, SIX, jnp.float32(0.8)),
    ),
    "unbiased_transform_pair": Case(rl.unbiased_transform_pair(**BINS, tx=rl.SIGNED_LOGP1_PAIR).apply, (W3,)),
    "TwoHot": Case(
        lambda bins, logits, x: rl.TwoHot(bins, PAIR).cross_entropy(logits, x, False),
        (W3.sort(), V3, 0.1 * R),
    ),
    "add_dirichlet_noise": Case(
        lambda p, key: rl.add_dirichlet_noise(key, p, 0.3, 0.25),
        (PROBS, KEY),
        differentiable=False,  # of the noise
    ),
    "add_gaussian_noise": Case(lambda a, key: rl.add_gaussian_noise(key, a, 0.3), (V3, KEY)),
    "add_ornstein_uhlenbeck_noise": Case(
        lambda a, n, key: rl.add_ornstein_uhlenbeck_noise(key, a, n, 0.15, 0.2), (V3, W3, KEY)
    ),
    "embed_oar": Case(functools.partial(rl.embed_oar, num_actions=3), (Q3, A3, V3)),
    "knn_query": Case(functools.partial(rl.knn_query, num_neighbors=2), (Q3, PI3)),
    # Rewards are constants.
    "episodic_memory_intrinsic_rewards": Case(
        lambda x: rl.episodic_memory_intrinsic_rewards(x, 2, 1.0, max_memory_size=4)[0], (Q3,), differentiable=False
    ),
    "pixel_control_rewards": Case(functools.partial(rl.pixel_control_rewards, cell_size=2), (IMAGES,)),
    "pixel_control_loss": Case(
        functools.partial(rl.pixel_control_loss, cell_size=2), (IMAGES, A3[:1], IMAGES[:, :1, :1].repeat(3, -1), G)
    ),
    "feature_control_rewards": Case(rl.feature_control_rewards, (Q3,)),
    "fix_step_type_on_interruptions": Case(rl.fix_step_type_on_interruptions, (jnp.array([[0], [1], [0]]),)),
    "sample_start_indices": Case(lambda key: rl.sample_start_indices(key, 2, 2, 4), (KEY,)),
    "extract_subsequences": Case(
        functools.partial(rl.extract_subsequences, subsequence_len=2), (Q3, jnp.array([[0], [1], [1]]))
    ),
    "clip_gradient": Case(lambda x: rl.clip_gradient(5 * x, -1.0, 1.0), (V3,)),
    "tree_select": Case(rl.tree_select, (jnp.array(True), {"x": V3}, {"x": W3})),
    "tree_map_zipped": Case(lambda x, y: rl.tree_map_zipped(jnp.multiply, [{"x": x}, {"x": y}]), (V3, W3)),
    "tree_split_key": Case(lambda key: jax.random.uniform(rl.tree_split_key(key, (1, 2))[1][1]), (KEY,)),
    "tree_split_leaves": Case(rl.tree_split_leaves, ({"x": Q3},)),
    "tree_fn": Case(rl.tree_fn(jnp.multiply), ({"x": V3}, {"x": W3})),
    "transpose_first_axis_to_last": Case(rl.transpose_first_axis_to_last, (Q3,)),
    "transpose_last_axis_to_first": Case(rl.transpose_last_axis_to_first, (Q3,)),
    "replace_masked": Case(rl.replace_masked, (Q3, PI3, SIX > 0.5)),
    "tree_replace_masked": Case(lambda x, m: rl.tree_replace_masked({"x": x}, None, m), (Q3, SIX > 0.5)),
    "AllSum": Case(lambda x: rl.AllSum()(x, axis=0), (Q3,)),
    "create_ema": Case(lambda x: rl.create_ema(0.9)[1](x, rl.create_ema(0.9)[0](x))[0].to_tuple(), (V3,)),
    # The moments are constants.
    "art": Case(lambda x, i: rl.art(MOMENTS, x, i, 0.1, 0.01, 9.0), (V3, A3), differentiable=False),
    "popart": Case(
        lambda w, b, x, i: rl.popart(3, 0.1, 0.01, 9.0)[1]({"w": w, "b": b}, MOMENTS, x, i), (Q3, W3, V3, A3)
    ),
    "pop": Case(lambda w, b: rl.pop({"w": w, "b": b}, MOMENTS, rl.PopArtState(W3, RHO, V3)), (Q3, W3)),
    "normalize": Case(functools.partial(rl.normalize, MOMENTS), (V3, A3)),
    "unnormalize": Case(functools.partial(rl.unnormalize, MOMENTS), (V3, A3)),
    "unnormalize_linear": Case(functools.partial(rl.unnormalize_linear, MOMENTS), (Q3, A3)),
    "compute_parametric_kl_penalty_and_dual_loss": Case(
        lambda kl, alpha: rl.compute_parametric_kl_penalty_and_dual_loss(
            [(kl, rl.LagrangePenalty(alpha, 0.1))], jnp.abs
        ),
        (V3, jnp.float32(0.5)),
    ),
    "mpo_compute_weights_and_temperature_loss": Case(
        lambda q, eta: rl.mpo_compute_weights_and_temperature_loss(q, rl.LagrangePenalty(eta, 0.1), jnp.abs)[:2],
        (Q3, jnp.float32(0.7)),
    ),
    "mpo_loss": Case(
        lambda p, q, eta: rl.mpo_loss(p, q, rl.LagrangePenalty(eta, 0.1), [(p[0], rl.LagrangePenalty(0.5, 0.1))])[0],
        (Q3, PI3, jnp.float32(0.7)),
    ),
    "vmpo_compute_weights_and_temperature_loss": Case(
        lambda a, eta: rl.vmpo_compute_weights_and_temperature_loss(
            a, jnp.ones(3), RHO, rl.LagrangePenalty(eta, 0.1), jnp.abs, 0.7
        ),
        (V3, jnp.float32(0.7)),
    ),
    "vmpo_loss": Case(
        lambda p, a, eta: rl.vmpo_loss(
            p, a, rl.LagrangePenalty(eta, 0.1), [(jnp.abs(p), rl.LagrangePenalty(0.5, 0.1))]
        )[0],
        (W3, V3, jnp.float32(0.7)),
    ),
    "constant_policy_targets": Case(
        lambda z, key: rl.constant_policy_targets(_Softmax(z), key, 2),
        (Q3, KEY),
        differentiable=False,  # samples
    ),
    "zero_policy_targets": Case(
        lambda z, key: rl.zero_policy_targets(_Softmax(z), key, 2).weights,
        (Q3, KEY),
        differentiable=False,  # zeros
    ),
    "sampled_policy_distillation_loss": Case(
        lambda z, a, w: rl.sampled_policy_distillation_loss(_Softmax(z), rl.PolicyTarget(actions=a, weights=w)),
        (Q3, A3, V3),
    ),
}
EXEMPT: dict[str, str] = {
    "ContinuousDistribution": "a tuple of functions",
    "DiscreteDistribution": "a tuple of functions",
    "EmaMoments": "a record of results",
    "EmaState": "a record of results",
    "IntrinsicRewardState": "a record of results",
    "KNNQueryResult": "a record of results",
    "LagrangePenalty": "a tuple of arguments",
    "MpoOutputs": "a tuple of results",
    "PolicyTarget": "a record of results",
    "PopArtOutput": "a tuple of results",
    "PopArtState": "a tuple of results",
    "TxPair": "a pair of functions",
    "VTraceOutput": "a tuple of results",
}

# Errors of JAX that are left.
RAW_ERRORS = {
    "TwoHot": "its bins are a field that no program changes to another rank",
    "tree_fn": "the function that is mapped is the caller's",
    "tree_map_zipped": "the function that is mapped is the caller's",
}

# Not right at the ends of the range of floats, or in 16 bits, with the reason.
FLOAT_RANGE = {
    "qpg_loss": "its value is 0 but for rounding, since advantages have mean 0; only its gradient means something",
    "knn_query": "it returns squared distances, which are beyond float32 then, and chooses by them",
    "episodic_memory_intrinsic_rewards": "its memory holds sums of squared distances, which are beyond float32 then",
}
