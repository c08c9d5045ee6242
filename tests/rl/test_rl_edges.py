"""Edges that every formula shares: factors of 0, actions out of range, options out of range, shapes, 16 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import rl
from renga._core.cutting import times

NAN, INF = np.nan, np.inf
A3, T3 = jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 1.0, 1.0])
Z = jnp.array([0.0, 1.0, 2.0])
TAU = jnp.array([0.25, 0.5, 0.75])

# (x, γ) -> a number that must not depend on x where γ = 0.
BOOTSTRAPS = {
    "td_learning": lambda x, g: rl.td_learning(1.0, 2.0, g, x, False),
    "sarsa": lambda x, g: rl.sarsa(A3, 0, 2.0, g, x + A3, 1, False),
    "expected_sarsa": lambda x, g: rl.expected_sarsa(A3, 0, 2.0, g, x + A3, A3 / 6, False),
    "q_learning": lambda x, g: rl.q_learning(A3, 0, 2.0, g, x + A3, False),
    "double_q_learning": lambda x, g: rl.double_q_learning(A3, 0, 2.0, g, x + A3, A3, False),
    "persistent_q_learning": lambda x, g: rl.persistent_q_learning(A3, 0, 2.0, g, x + A3, 0.5, False),
    "qv_learning": lambda x, g: rl.qv_learning(A3, 0, 2.0, g, x, False),
    "qv_max": lambda x, g: rl.qv_max(1.0, 2.0, g, x + A3, False),
    "categorical_td_learning": lambda x, g: rl.categorical_td_learning(Z, A3, 0.5, g, Z, x + A3, False),
    "categorical_td_learning, atoms": lambda x, g: rl.categorical_td_learning(Z, A3, 0.5, g, x + Z, A3, False),
    "categorical_q_learning": lambda x, g: rl.categorical_q_learning(
        Z, jnp.stack([A3, Z]), 0, 0.5, g, Z, x + jnp.stack([A3, Z]), False
    ),
    "categorical_double_q_learning": lambda x, g: rl.categorical_double_q_learning(
        Z, jnp.stack([A3, Z]), 0, 0.5, g, Z, x + jnp.stack([A3, Z]), Z[:2], False
    ),
    "quantile_q_learning": lambda x, g: rl.quantile_q_learning(
        jnp.stack([A3, Z], 1), TAU, 0, 0.5, g, jnp.stack([A3, Z], 1), x + jnp.stack([A3, Z], 1), 1.0, False
    ),
    "quantile_expected_sarsa": lambda x, g: rl.quantile_expected_sarsa(
        jnp.stack([A3, Z], 1), TAU, 0, 0.5, g, x + jnp.stack([A3, Z], 1), jnp.array([0.5, 0.5]), 1.0, False
    ),
}  # fmt: skip

# (x, w) -> a number that must not depend on x where w = 0: the second of three rows, entries or probabilities.
SECOND = jnp.array([0.0, 1.0, 0.0])
ROWS = jnp.array([[1.0, 2.0], [3.0, 1.0], [0.0, 1.0]])
ACTIONS = jnp.array([0, 1, 0])


def weights(w):
    return jnp.array([1.0, 0.0, 1.0]) + w * SECOND


def second(x, rows=T3):
    """Rows of which the second is poisoned; without 0 · NaN in the others."""
    return jnp.where(jax.lax.expand_dims(SECOND > 0, range(1, rows.ndim)), x + rows, rows)


def policy(w):
    return weights(w) / 3


PENALTY = rl.LagrangePenalty(1.0, 0.5)
WEIGHTED = {
    "policy_gradient_loss": lambda x, w: rl.policy_gradient_loss(second(x, ROWS), ACTIONS, T3, weights(w)),
    "policy_gradient_loss, advantages": lambda x, w: rl.policy_gradient_loss(
        ROWS, ACTIONS, second(x), weights(w), False
    ),
    "entropy_loss": lambda x, w: rl.entropy_loss(second(x, ROWS), weights(w)),
    "expected_sarsa": lambda x, w: rl.expected_sarsa(A3, 0, 2.0, 0.5, second(x), policy(w), False),
    "quantile_expected_sarsa": lambda x, w: rl.quantile_expected_sarsa(
        jnp.ones((2, 3)), TAU[:2], 0, 0.5, 0.9, second(x, jnp.ones((3, 2))).T, policy(w), 1.0, False
    ),
    "mpo_loss": lambda x, w: rl.mpo_loss(
        second(x), 1e4 * (weights(w) - 1), PENALTY, [], use_stop_gradient=False
    )[0],
    "vmpo_loss": lambda x, w: jnp.sum(rl.vmpo_loss(
        second(x), second(x), PENALTY, [], restarting_weights=weights(w), importance_weights=second(x)
    )[0]),
    "vtrace": lambda x, w: rl.vtrace(
        second(x), second(x), second(x), T3 / 2, T3, sample_mask=weights(w) != 0, stop_target_gradients=False
    ).sum(),
    "vtrace, ratios": lambda x, w: rl.vtrace(T3, second(x), T3, T3 / 2, weights(w), stop_target_gradients=False).sum(),
    "lambda_returns": lambda x, w: rl.lambda_returns(T3, weights(w), second(x), 0.5).sum(),
    "lambda_returns, 1 − λ": lambda x, w: rl.lambda_returns(T3, T3, second(x), 1 - w * SECOND).sum(),
    "n_step_bootstrapped_returns": lambda x, w: rl.n_step_bootstrapped_returns(T3, weights(w), second(x), 2, 0.5).sum(),
    "general_off_policy_returns_from_q_and_v": lambda x, w: rl.general_off_policy_returns_from_q_and_v(
        second(x)[:2], second(x), T3, weights(w), weights(w)[:2]
    ).sum(),
    "general_off_policy_returns_from_action_values": lambda x, w: rl.general_off_policy_returns_from_action_values(
        second(x, ROWS), ACTIONS, T3, weights(w), T3 / 2, jnp.full((3, 2), 0.5)
    ).sum(),
    "sampled_policy_distillation_loss": lambda x, w: rl.sampled_policy_distillation_loss(
        type("P", (), {"log_prob": lambda self, a: second(x)})(), rl.PolicyTarget(ACTIONS, weights(w))
    ),
}  # fmt: skip


def gae(x, g, method):
    values = jnp.array([1.0, 2.0, 0.0, 1.0]) + x * jnp.array([0.0, 0.0, 1.0, 0.0])
    values = jnp.where(jnp.arange(4) == 2, values, jnp.array([1.0, 2.0, 0.0, 1.0]))
    discounts = T3 * 0.5 + (g - 0.5) * SECOND
    return rl.truncated_generalized_advantage_estimation(T3, discounts, 0.5, values, method=method)[:2].sum()


for method in ("sequential", "parallel"):
    BOOTSTRAPS[f"gae, {method}"] = lambda x, g, method=method: gae(x, g, method)


@pytest.mark.parametrize("case", [*BOOTSTRAPS, *WEIGHTED])
def test_a_factor_of_0_cuts_off_whatever_it_multiplies(case):
    function = {**BOOTSTRAPS, **WEIGHTED}[case]
    both = jax.jit(jax.value_and_grad(function, (0, 1)))
    value, (by_x, _) = both(1.0, 0.0)
    assert np.isfinite(value)
    assert by_x == 0
    for bad in (INF, NAN):
        cut, (by_x, by_factor) = both(bad, 0.0)
        np.testing.assert_allclose(cut, value, rtol=1e-5)
        assert by_x == 0, bad
        assert np.isfinite(by_factor), bad


def test_a_probability_of_0_has_no_part_in_entropies_and_divergences():
    logits, half = jnp.array([[0.0, 0.0, -INF]]), jnp.array([0.5, 0.5, 0.0])
    illegal = jnp.array([[0.0, 0.0], [0.0, -INF]])
    losses = lambda x, illegal: (
        -rl.entropy_loss(x, jnp.ones(1)),
        rl.categorical_cross_entropy(half, x[0]),
        rl.categorical_td_learning(Z, x[0], 0.5, 0.0, Z, x[0]),
        2 * rl.policy_gradient_loss(illegal, jnp.array([0, 1]), jnp.ones(2), jnp.array([1.0, 0.0])),
    )
    functions = (
        lambda x: rl.entropy_loss(x, jnp.ones(1)),
        lambda x: rl.categorical_cross_entropy(half, x[0]),
        lambda x: rl.softmax(0.5).entropy(x).sum(),
        lambda x: rl.softmax(0.5).kl(x, x + 1).sum(),
        lambda x: rl.qpg_loss(x, x),
        lambda x: rl.rm_loss(x, x),
    )
    warm = lambda t: rl.categorical_kl_divergence(logits, jnp.array([[1.0, 0.0, 0.0]]), t).sum()

    @jax.jit
    def all_of(x, illegal, t):
        return losses(x, illegal), [jax.value_and_grad(f)(x) for f in functions], jax.grad(warm)(t)

    found, of_logits, of_temperature = all_of(logits, illegal, 2.0)
    np.testing.assert_allclose(found, np.log(2), rtol=1e-6)
    for value, gradient in of_logits:
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))
    assert np.isfinite(of_temperature)


BY_ACTION = {
    "q_learning": lambda a: rl.q_learning(A3, a, 1.0, 1.0, A3),
    "sarsa": lambda a: rl.sarsa(A3, 0, 1.0, 1.0, A3, a),
    "expected_sarsa": lambda a: rl.expected_sarsa(A3, a, 1.0, 1.0, A3, A3 / 6),
    "double_q_learning": lambda a: rl.double_q_learning(A3, a, 1.0, 1.0, A3, A3),
    "persistent_q_learning": lambda a: rl.persistent_q_learning(A3, a, 1.0, 1.0, A3, 0.5),
    "qv_learning": lambda a: rl.qv_learning(A3, a, 1.0, 1.0, 1.0),
    "categorical_q_learning": lambda a: rl.categorical_q_learning(
        Z, jnp.ones((3, 3)), a, 1.0, 1.0, Z, jnp.ones((3, 3))
    ),
    "categorical_double_q_learning": lambda a: rl.categorical_double_q_learning(
        Z, jnp.ones((3, 3)), a, 1.0, 1.0, Z, jnp.ones((3, 3)), A3
    ),
    "quantile_q_learning": lambda a: rl.quantile_q_learning(
        jnp.ones((3, 3)), TAU, a, 1.0, 1.0, jnp.ones((3, 3)), jnp.ones((3, 3))
    ),
    "quantile_expected_sarsa": lambda a: rl.quantile_expected_sarsa(
        jnp.ones((3, 3)), TAU, a, 1.0, 1.0, jnp.ones((3, 3)), A3 / 6
    ),
    "sarsa_lambda": lambda a: rl.sarsa_lambda(
        jnp.ones((1, 3)), a[None], T3[:1], T3[:1], jnp.ones((1, 3)), jnp.array([0]), 1.0
    ),
    "q_lambda": lambda a: rl.q_lambda(jnp.ones((1, 3)), a[None], T3[:1], T3[:1], jnp.ones((1, 3)), 1.0),
    "retrace": lambda a: rl.retrace(
        jnp.ones((1, 3)), jnp.ones((1, 3)), a[None], jnp.array([0]), T3[:1], T3[:1], jnp.ones((1, 3)), T3[:1], 1.0
    ),
    "transformed_n_step_q_learning": lambda a: rl.transformed_n_step_q_learning(
        jnp.ones((1, 3)), a[None], jnp.ones((1, 3)), jnp.array([0]), T3[:1], T3[:1], 1
    ),
    "transformed_q_lambda": lambda a: rl.transformed_q_lambda(
        jnp.ones((1, 3)), a[None], T3[:1], T3[:1], jnp.ones((1, 3)), 1.0
    ),
    "policy_gradient_loss": lambda a: rl.policy_gradient_loss(jnp.ones((1, 3)), a[None], T3[:1], T3[:1]),
    "categorical_importance_sampling_ratios": lambda a: rl.categorical_importance_sampling_ratios(A3, A3, a),
    "softmax.logprob": lambda a: rl.softmax().logprob(a, A3),
    "greedy.logprob": lambda a: rl.greedy().logprob(a, A3),
    "epsilon_greedy.logprob": lambda a: rl.epsilon_greedy(0.5).logprob(a, A3),
    "normalize": lambda a: rl.normalize(rl.PopArtState(A3, A3, A3), 1.0, a),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_ACTION)
def test_an_action_out_of_range_is_refused_or_gives_nan(case):
    for a in (3, -1):
        with pytest.raises(ValueError, match=r"must be in \[0, 3\)"):
            BY_ACTION[case](jnp.array(a))
    last = jnp.array(2)  # known when it is traced
    known, traced = jax.jit(lambda a: (BY_ACTION[case](last), jax.vmap(BY_ACTION[case])(a)))(jnp.array([2, 3, -1]))
    assert np.isfinite(known).all()
    assert np.isfinite(traced[0]).all()
    assert np.isnan(traced[1:]).all()


def test_truncations_of_another_length_are_refused(unchecked):
    for call in (
        lambda t: rl.lambda_returns(T3, T3, T3, truncation_t=t),
        lambda t: rl.discounted_returns(T3, T3, T3, truncation_t=t),
        lambda t: rl.n_step_bootstrapped_returns(T3, T3, T3, 2, truncation_t=t),
        lambda t: rl.td_lambda(T3, T3, T3, T3, 1.0, truncation_t=t),
        lambda t: rl.truncated_generalized_advantage_estimation(
            T3, T3, 1.0, jnp.ones(4), truncation_t=t, bootstrap_t=T3
        ),
        lambda t: rl.general_off_policy_returns_from_q_and_v(T3[:2], T3, T3, T3, T3[:2], truncation_t=t),
        lambda t: rl.vtrace(T3, T3, T3, T3, T3, truncation_t=t),
    ):
        for length in (1, 2, 4):
            with pytest.raises(ValueError, match=r"truncation_t must have shape"):
                call(jnp.zeros(length, bool))


def test_no_steps_and_no_actions_are_told(unchecked):
    none, rows = jnp.zeros(0), jnp.zeros((0, 2))
    for call in (
        lambda: rl.policy_gradient_loss(rows, jnp.zeros(0, int), none, none),
        lambda: rl.entropy_loss(rows, none),
        lambda: rl.clipped_surrogate_pg_loss(none, none, 0.2),
        lambda: rl.qpg_loss(rows, rows),
        lambda: rl.general_off_policy_returns_from_q_and_v(none, none, none, none, none),
        lambda: rl.n_step_bootstrapped_returns(none, none, none, 2),
        lambda: rl.q_learning(none, 0, 1.0, 1.0, none),
    ):
        with pytest.raises(ValueError, match="must have at least one (step|action)"):
            call()


def test_options_out_of_range_are_refused(unchecked):
    key = jax.random.key(0)
    for call, word in (
        (lambda: rl.softmax(0.0), "temperature"), (lambda: rl.softmax(-1.0), "temperature"),
        (lambda: rl.epsilon_greedy(1.5), "epsilon"), (lambda: rl.epsilon_greedy().probs(A3, NAN), "epsilon"),
        (lambda: rl.clipped_entropy_softmax(1.0, 2.0), "entropy_clip"),
        (lambda: rl.gaussian_diagonal(-1.0).sample(key, A3), "sigma"),
        (lambda: rl.squashed_gaussian(1.0, 0.0), "sigma_max"),
        (lambda: rl.categorical_kl_divergence(A3, A3, 0.0), "temperature"),
        (lambda: rl.categorical_l2_project(Z, A3 / 6, Z[::-1]), "z_q"),
        (lambda: rl.categorical_td_learning(Z[::-1], A3, 0.0, 1.0, Z, A3), "ascend"),
        (lambda: rl.quantile_regression_loss(A3, A3, A3), "tau_src"),
        (lambda: rl.huber_loss(A3, -1.0), "delta"), (lambda: rl.expectile_loss(A3, A3, 2.0), "expectile"),
        (lambda: rl.clipped_surrogate_pg_loss(A3, A3, -0.1), "epsilon"),
        (lambda: rl.dpg_loss(A3, A3, -1.0), "clipping"),
        (lambda: rl.add_gaussian_noise(key, A3, -1.0), "stddev"),
        (lambda: rl.add_dirichlet_noise(key, A3, 0.0, 0.5), "alpha"),
        (lambda: rl.add_dirichlet_noise(key, A3, 0.3, 2.0), "fraction"),
        (lambda: rl.create_ema(1.0), "decay"), (lambda: rl.popart(1, 2.0, 0.1, 1.0), "step_size"),
        (lambda: rl.popart(1, 0.1, 1.0, 0.1), "scale_ub"), (lambda: rl.periodic_update(A3, A3, 1, 0), "update_period"),
        (lambda: rl.transform_to_2hot(0.0, 1.0, -1.0, 3), "min_value"),
        (lambda: rl.transform_to_2hot(0.0, -INF, 1.0, 3), "min_value"),
        (lambda: rl.knn_query(ROWS, ROWS, 0), "num_neighbors"), (lambda: rl.power(A3, 0.0), "p must"),
        (lambda: rl.vtrace(T3, T3, T3, T3, T3, 1.0, -1.0), "clip_rho"),
        (lambda: rl.leaky_vtrace(T3, T3, T3, T3, T3, 2.0), "alpha"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            call()
    with pytest.raises(TypeError, match="n must be an integer"):
        rl.n_step_bootstrapped_returns(T3, T3, T3, 2.0)


def test_shapes_do_not_broadcast_silently(unchecked):
    column = jnp.ones((3, 1))
    for call in (
        lambda: rl.l2_loss(column, T3), lambda: rl.l2_loss(column, column.T), lambda: rl.log_loss(column / 2, T3),
        lambda: rl.likelihood(column / 2, T3), lambda: rl.expectile_loss(column, T3, 0.5),
        lambda: rl.categorical_cross_entropy(jnp.ones((3, 1, 2)), jnp.ones((3, 2))),
        lambda: rl.categorical_kl_divergence(jnp.ones((3, 1, 2)), jnp.ones((3, 2))),
        lambda: rl.multivariate_normal_kl_divergence(column, 1.0, T3, 1.0),
        lambda: rl.gaussian_diagonal(1.0).logprob(column, T3),
        lambda: rl.mpo_loss(jnp.ones((2, 3)), jnp.ones((2, 3)), PENALTY, [(column, PENALTY)]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="shape"):
            call()
    np.testing.assert_array_equal(rl.l2_loss(T3, 3.0), 2.0)


def test_epsilon_greedy_explores_legal_actions_only():
    q, legal = jnp.array([[9.0, 1.0, 0.0], [-INF, -INF, 5.0]]), jnp.array([[False, True, True], [True, True, False]])
    expected = [[0.0, 0.85, 0.15], [0.5, 0.5, 0.0]]

    @jax.jit
    def all_of(key, q, legal):
        probs = rl.epsilon_greedy(0.3).probs(q, mask=legal), rl.epsilon_greedy(0.3, mask=legal).probs(q)
        return probs, rl.epsilon_greedy(1.0).sample(key, jnp.zeros((64, 3)), mask=legal[0])

    probs, actions = all_of(jax.random.key(0), q, legal)
    for found in probs:
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert set(np.unique(actions)) == {1, 2}
    with pytest.raises(ValueError, match="mask must have the last axes"):
        rl.epsilon_greedy(0.3).probs(q, mask=jnp.array([True, False]))


def test_what_is_no_distribution_gives_minus_one():
    probs = jnp.array([[0.0, 0.0], [NAN, 1.0], [-0.1, 1.1], [INF, 0.0], [0.0, 0.2]])
    np.testing.assert_array_equal(rl.categorical_sample(jax.random.key(0), probs), [-1, -1, -1, -1, 1])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_projections_on_atoms_are_exact_in_16_bits(dtype):
    code = rl.TwoHot(jnp.linspace(-300.0, 300.0, 601))
    squashed = rl.unbiased_transform_pair(-30.0, 30.0, 601, rl.SIGNED_HYPERBOLIC_PAIR)
    atoms, probs = np.linspace(-300.0, 300.0, 601, dtype=np.float32), np.zeros(601, np.float32)
    probs[[7, 550]] = 0.5

    @jax.jit
    def all_of(x, atoms, probs):
        two_hot = rl.transform_to_2hot(x, -300.0, 300.0, 601), code.encode(x), squashed.apply(x)
        back = rl.transform_from_2hot(two_hot[0], -300.0, 300.0, 601), code.decode(two_hot[1])
        return two_hot, back, rl.categorical_l2_project(atoms.astype(dtype), probs.astype(dtype), atoms)

    x = np.asarray([250.0, -13.5, 0.25], dtype)
    two_hot, back, moved = jax.device_get(all_of(x, atoms, probs))
    for p in two_hot:
        assert p.dtype == dtype
        np.testing.assert_allclose(p.astype(np.float32).sum(-1), 1.0, atol=4e-3)
    for y in back:
        np.testing.assert_allclose(y.astype(np.float32), x.astype(np.float32), rtol=1e-2)
    np.testing.assert_allclose(moved.sum(), 1.0, atol=1e-3)


def test_divergences_of_gaussians_hold_at_the_ends_of_float32():
    kl = rl.multivariate_normal_kl_divergence
    one = lambda x: jnp.array([x], jnp.float32)
    np.testing.assert_allclose(kl(one(0.0), one(1e-23), one(0.0), one(1e-23)), 0.0)
    np.testing.assert_allclose(kl(one(0.0), one(1e-22), one(0.0), one(1.0)), 50.157, rtol=1e-4)
    np.testing.assert_allclose(kl(one(2e30), one(1e30), one(0.0), one(1e30)), 2.0, rtol=1e-6)
    np.testing.assert_allclose(rl.gaussian_diagonal(1e-22).kl_to_standard_normal(jnp.zeros(1)), 50.157, rtol=1e-4)


def test_one_statistic_serves_several_outputs():
    init, update = rl.popart(1, 0.5, 0.01, 10.0)
    params = {"w": np.ones((2, 3), np.float32), "b": np.arange(3, dtype=np.float32)}
    before = np.array([2.0, 3.0]) @ params["w"] + params["b"]

    @jax.jit
    def updated(params):
        params, state = update(params, init(), jnp.array([2.0, 4.0]), jnp.array([0, 2]))
        outputs = jnp.array([2.0, 3.0]) @ params["w"] + params["b"]
        return rl.unnormalize_linear(state, jnp.stack([outputs] * 3), jnp.arange(3)).unnormalized, state

    after, state = updated(params)
    np.testing.assert_allclose(after, before, rtol=1e-5)
    np.testing.assert_allclose(state.shift, [3.0])  # both targets count


def test_the_scale_is_the_largest_where_squares_of_targets_leave_the_range():
    old = rl.PopArtState(*(jnp.full(1, x, jnp.float32) for x in (-1e30, 1.0, 1.0)))
    state = rl.art(old, jnp.array([1e30]), jnp.array([0]), 0.25, 0.01, 10.0)
    np.testing.assert_allclose((state.shift, state.scale), [[-5e29], [10.0]], rtol=1e-6)
    again = rl.art(state, jnp.array([1.0]), jnp.array([0]), 0.25, 0.01, 10.0)
    np.testing.assert_allclose((again.shift, again.scale), [[-3.75e29], [10.0]], rtol=1e-6)


def test_mpo_weights_are_those_of_a_softmax_at_any_temperature():
    q = np.array([[3.0, 1.0], [3.0, 2.0], [1.0, 2.0]], np.float32)
    of = lambda q, eta: rl.mpo_compute_weights_and_temperature_loss(q, rl.LagrangePenalty(eta, 0.1), jnp.abs)
    of = jax.jit(of)
    for eta in (1e-9, 1e-3, 1.0, 1e9):
        loss, weights, _ = of(q, eta)
        wide = np.asarray(q, np.float64) / np.float32(eta)
        wide -= wide.max(0)
        np.testing.assert_allclose(weights, np.exp(wide) / np.exp(wide).sum(0), rtol=1e-5, atol=1e-30)
        right = q.max(0) + eta * (0.1 + np.log(np.exp(wide).mean(0)))
        np.testing.assert_allclose(loss, right, rtol=1e-5)


def test_the_norm_that_clips_dqda_neither_overflows_nor_vanishes():
    loss = lambda a, size: rl.dpg_loss(a, size * jnp.array([3.0, 4.0]), size).sum()
    gradient = jax.jit(jax.grad(loss))
    for size in (1e-30, 1.0, 1e30):
        np.testing.assert_allclose(gradient(np.zeros(2, np.float32), size), [-0.6 * size, -0.8 * size], rtol=1e-6)
    half = np.array([300.0, 400.0], np.float16)
    loss = jax.jit(rl.dpg_loss)(np.zeros(2, np.float16), half, 5.0)
    assert loss.dtype == jnp.float16
    np.testing.assert_allclose(loss, [4.5, 8.0], rtol=1e-2)


NO_RECORDS = {
    "transformed_lambda_returns: tx_pair must be a TxPair": lambda x: rl.transformed_lambda_returns(
        x, x, x, tx_pair=3.0
    ),
    "transformed_n_step_returns: tx_pair must be a TxPair": lambda x: rl.transformed_n_step_returns(
        x, x, x, 1, tx_pair=3.0
    ),
    r"compose_tx: tx_list\[1\] must be a TxPair": lambda x: rl.compose_tx(rl.IDENTITY_PAIR, 3.0),
    "temperature_constraint must be a LagrangePenalty": lambda x: rl.vmpo_loss(x, x, 3.0, []),
    "mpo_compute_weights_and_temperature_loss: temperature_constraint must be a LagrangePenalty": lambda x: rl.mpo_loss(
        x, x, 3.0, []
    ),
    "the penalty of kl_constraints must be a LagrangePenalty": lambda x: rl.mpo_loss(
        x, x, rl.LagrangePenalty(1.0, 1.0), [(x, 3.0)]
    ),
}


@pytest.mark.parametrize("text", NO_RECORDS)
def test_what_lacks_the_fields_of_a_record_is_refused(text, unchecked):
    with pytest.raises(TypeError, match=f"{text}, with .*, got 3.0 of type float"):
        NO_RECORDS[text](jnp.ones(2))


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, jax.vmap])
def test_a_product_that_is_cut_off_is_the_product(transform):
    product = transform(times)(jnp.array([0.0, 2.0, 0.0, -3.0]), jnp.array([5.0, 7.0, INF, 0.0]))
    np.testing.assert_array_equal(product, [0.0, 14.0, 0.0, 0.0])


def test_a_product_that_is_cut_off_has_the_gradients_of_the_product():
    factor, x = (np.array(v, np.float32) for v in ([0.0, 2.0, 0.0, -3.0], [5.0, 7.0, INF, 0.0]))
    row, rows = (np.array(v, np.float32) for v in ([[0.0, 1.0]], [[NAN, 1.0], [2.0, 3.0]]))

    @jax.jit
    def all_of(factor, x, row, rows):
        first = jax.vmap(jax.grad(times, (0, 1)))(factor, x)
        second = jax.vmap(jax.grad(lambda f, x: times(f, x) ** 2, 0))(factor, x)
        square = jax.vmap(jax.jacfwd(jax.grad(lambda f: times(f, f))))(factor)
        return first, second, square, jax.grad(lambda f: times(f, rows).sum())(row)

    (by_factor, by_x), second, square, of_row = all_of(factor, x, row, rows)
    np.testing.assert_array_equal(by_factor, [5.0, 7.0, 0.0, 0.0])  # finite: kept, also where the factor is 0
    np.testing.assert_array_equal(by_x, factor)
    np.testing.assert_array_equal(square, [2.0] * 4)
    np.testing.assert_array_equal(second, 2 * factor * np.where(x == INF, 0, x) ** 2)
    np.testing.assert_array_equal(of_row, [[2.0, 4.0]])  # axes are broadcast
