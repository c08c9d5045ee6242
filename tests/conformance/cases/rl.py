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
BOX = types.SimpleNamespace(minimum=-2.0, maximum=2.0)
BINS = {"min_value": -1.0, "max_value": 1.0, "num_bins": 3}

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
}
EXEMPT: dict[str, str] = {
    "ContinuousDistribution": "a tuple of functions",
    "DiscreteDistribution": "a tuple of functions",
    "TxPair": "a pair of functions",
    "VTraceOutput": "a tuple of results",
}
