"""For every loss: with respect to which arguments its gradient is zero, and with respect to which it is not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import rl

_rng = np.random.RandomState(3)
N = lambda *shape: jnp.asarray(_rng.normal(size=shape), jnp.float32)
U = lambda *shape: jnp.asarray(_rng.uniform(0.2, 0.9, size=shape), jnp.float32)
P = lambda *shape: jax.nn.softmax(N(*shape))
A, B = jnp.array([0, 1, 2, 1]), jnp.array([1, 2, 0, 0])
Z = jnp.linspace(-2.0, 2.0, 5)
ONE = {"r_t": N(), "discount_t": U()}
MANY = {"r_t": N(4), "discount_t": U(4)}
Q = {"q_tm1": N(3), "a_tm1": A[1], **ONE}
QS = {"q_tm1": N(4, 3), "a_tm1": A, **MANY}
KL = [(N(4) ** 2, rl.LagrangePenalty(0.5, 0.1))]

# name: (arguments, those with a gradient while targets are stopped, those that get one besides when they are not).
# All other floating arguments have none either way.
TABLE = {
    "td_learning": ({"v_tm1": N(), **ONE, "v_t": N()}, "v_tm1", "r_t discount_t v_t"),
    "sarsa": ({**Q, "q_t": N(3), "a_t": A[2]}, "q_tm1", "r_t discount_t q_t"),
    "expected_sarsa": ({**Q, "q_t": N(3), "probs_a_t": P(3)}, "q_tm1", "r_t discount_t q_t probs_a_t"),
    "q_learning": ({**Q, "q_t": N(3)}, "q_tm1", "r_t discount_t q_t"),
    "double_q_learning": ({**Q, "q_t_value": N(3), "q_t_selector": N(3)}, "q_tm1", "r_t discount_t q_t_value"),
    "persistent_q_learning": (
        {**Q, "q_t": N(3), "action_gap_scale": U()},
        "q_tm1",
        "r_t discount_t q_t action_gap_scale",
    ),
    "qv_learning": ({**Q, "v_t": N()}, "q_tm1", "r_t discount_t v_t"),
    "qv_max": ({"v_tm1": N(), **ONE, "q_t": N(3)}, "v_tm1", "r_t discount_t q_t"),
    "td_lambda": ({"v_tm1": N(4), **MANY, "v_t": N(4), "lambda_": U(4)}, "v_tm1", "r_t discount_t v_t lambda_"),
    "sarsa_lambda": ({**QS, "q_t": N(4, 3), "a_t": B, "lambda_": U(4)}, "q_tm1", "r_t discount_t q_t lambda_"),
    "q_lambda": ({**QS, "q_t": N(4, 3), "lambda_": U(4)}, "q_tm1", "r_t discount_t q_t lambda_"),
    "retrace": (
        {**QS, "q_t": N(4, 3), "a_t": B, "pi_t": P(4, 3), "mu_t": U(4), "lambda_": U()},
        "q_tm1",
        "r_t discount_t q_t pi_t mu_t lambda_",
    ),
    "retrace_continuous": (
        {"q_tm1": N(4), "q_t": N(3), "v_t": N(4), **MANY, "log_rhos": -U(3), "lambda_": U()},
        "q_tm1",
        "q_t v_t r_t discount_t log_rhos lambda_",
    ),
    "vtrace": (
        {"v_tm1": N(4), "v_t": N(4), **MANY, "rho_tm1": U(4), "lambda_": U()},
        "v_tm1",
        "v_t r_t discount_t rho_tm1 lambda_",
    ),
    "leaky_vtrace": (
        {"v_tm1": N(4), "v_t": N(4), **MANY, "rho_tm1": 2 * U(4), "alpha_": U(), "lambda_": U()},
        "v_tm1",
        "v_t r_t discount_t rho_tm1 alpha_ lambda_",
    ),
    "transformed_n_step_q_learning": (
        {"q_tm1": N(4, 3), "a_tm1": A, "target_q_t": N(4, 3), "a_t": B, **MANY, "n": 2},
        "q_tm1",
        "target_q_t r_t discount_t",
    ),
    "transformed_q_lambda": (
        {**QS, "q_t": N(4, 3), "lambda_": U(4)},
        "q_tm1",
        "r_t discount_t q_t lambda_",
    ),
    "transformed_retrace": (
        {**QS, "q_t": N(4, 3), "a_t": B, "pi_t": P(4, 3), "mu_t": U(4), "lambda_": U()},
        "q_tm1",
        "r_t discount_t q_t pi_t mu_t lambda_",
    ),
    "categorical_td_learning": (
        {"v_atoms_tm1": Z, "v_logits_tm1": N(5), **ONE, "v_atoms_t": 0.7 * Z, "v_logits_t": N(5)},
        "v_logits_tm1",
        "v_atoms_tm1 r_t discount_t v_atoms_t v_logits_t",
    ),
    "categorical_q_learning": (
        {"q_atoms_tm1": Z, "q_logits_tm1": N(3, 5), "a_tm1": A[1], **ONE, "q_atoms_t": 0.7 * Z, "q_logits_t": N(3, 5)},
        "q_logits_tm1",
        "q_atoms_tm1 r_t discount_t q_atoms_t q_logits_t",
    ),
    "categorical_double_q_learning": (
        {
            "q_atoms_tm1": Z,
            "q_logits_tm1": N(3, 5),
            "a_tm1": A[1],
            **ONE,
            "q_atoms_t": 0.7 * Z,
            "q_logits_t": N(3, 5),
            "q_t_selector": N(3),
        },
        "q_logits_tm1",
        "q_atoms_tm1 r_t discount_t q_atoms_t q_logits_t",
    ),
    # The targets are the caller's to stop: the two below do.
    "quantile_regression_loss": (
        {"dist_src": N(5), "tau_src": U(5), "dist_target": N(4)},
        "dist_src tau_src dist_target",
        "",
    ),
    "quantile_q_learning": (
        {
            "dist_q_tm1": N(5, 3),
            "tau_q_tm1": U(5),
            "a_tm1": A[1],
            **ONE,
            "dist_q_t_selector": N(4, 3),
            "dist_q_t": N(4, 3),
        },
        "dist_q_tm1 tau_q_tm1",
        "r_t discount_t dist_q_t",
    ),
    "quantile_expected_sarsa": (
        {"dist_q_tm1": N(5, 3), "tau_q_tm1": U(5), "a_tm1": A[1], **ONE, "dist_q_t": N(4, 3), "probs_a_t": P(3)},
        "dist_q_tm1 tau_q_tm1",
        "r_t discount_t dist_q_t probs_a_t",
    ),
    "policy_gradient_loss": ({"logits_t": N(4, 3), "a_t": A, "adv_t": N(4), "w_t": U(4)}, "logits_t w_t", "adv_t"),
    "entropy_loss": ({"logits_t": N(4, 3), "w_t": U(4)}, "logits_t w_t", ""),
    "clipped_surrogate_pg_loss": (
        {"prob_ratios_t": U(4) + 0.5, "adv_t": N(4), "epsilon": 0.2},
        "prob_ratios_t",
        "adv_t",
    ),
    # Without the stop, the action of the target and the prediction cancel.
    "dpg_loss": ({"a_t": N(3), "dqda_t": N(3)}, "a_t", "dqda_t -a_t"),
    # Without the stop, the mean advantage under the policy is zero for any policy.
    "qpg_loss": ({"logits_t": N(4, 3), "q_t": N(4, 3)}, "logits_t", "-logits_t"),
    "rm_loss": ({"logits_t": N(4, 3), "q_t": N(4, 3)}, "logits_t", ""),
    "rpg_loss": ({"logits_t": N(4, 3), "q_t": N(4, 3)}, "logits_t", "q_t"),
    "pixel_control_loss": (
        {
            "observations": N(3, 4, 4, 1),
            "actions": A[:2],
            "action_values": N(3, 2, 2, 3),
            "discount_factor": U(),
            "cell_size": 2,
        },
        "action_values",
        "",
    ),
    "mpo_loss": (
        {
            "sample_log_probs": N(3, 4),
            "sample_q_values": N(3, 4),
            "temperature_constraint": rl.LagrangePenalty(0.7, 0.1),
            "kl_constraints": KL,
        },
        "sample_log_probs sample_q_values",
        "",
    ),
    "vmpo_loss": (
        {
            "sample_log_probs": N(4),
            "advantages": N(4),
            "temperature_constraint": rl.LagrangePenalty(0.7, 0.1),
            "kl_constraints": KL,
            "importance_weights": U(4),
        },
        "sample_log_probs advantages",
        "importance_weights",
    ),
    "l2_loss": ({"predictions": N(3), "targets": N(3)}, "predictions targets", ""),
    "log_loss": ({"predictions": U(3), "targets": U(3)}, "predictions targets", ""),
    "likelihood": ({"predictions": U(3), "targets": U(3)}, "predictions targets", ""),
    "huber_loss": ({"x": N(3)}, "x", ""),
    "expectile_loss": ({"predictions": N(3), "targets": N(3), "expectile": U()}, "predictions targets expectile", ""),
    "categorical_cross_entropy": ({"labels": P(3), "logits": N(3)}, "labels logits", ""),
}
USE_STOP_GRADIENT = (
    "policy_gradient_loss clipped_surrogate_pg_loss dpg_loss qpg_loss rm_loss rpg_loss mpo_loss vmpo_loss"
)
WITHOUT_FLAG = (
    "entropy_loss pixel_control_loss l2_loss log_loss likelihood huber_loss expectile_loss categorical_cross_entropy"
)


def with_gradient(function, arguments, flags):
    """For each setting of the flag, the names of the floating arguments whose gradient is not zero."""
    moving = {name: x for name, x in arguments.items() if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)}
    still = {name: x for name, x in arguments.items() if name not in moving}

    def loss(moving, flag):
        first = jax.tree.leaves(function(**moving, **still, **flag))[0]
        return jnp.vdot(jnp.cos(1.0 + jnp.arange(first.size)), jnp.ravel(first))

    both = lambda moving: [jax.grad(loss)(moving, flag) for flag in flags]
    gradients = jax.jit(both, compiler_options={"xla_backend_optimization_level": 0})(moving)
    return [{name for name, g in some.items() if np.any(np.abs(g) > 1e-6)} for some in jax.device_get(gradients)]


def assert_held(name, function):
    arguments, always, unstopped = TABLE[name]
    always = set(always.split())
    gone = {x[1:] for x in unstopped.split() if x[0] == "-"}
    besides = {x for x in unstopped.split() if x[0] != "-"}
    if name in WITHOUT_FLAG.split():
        assert with_gradient(function, arguments, [{}]) == [always]
        return
    flag = "use_stop_gradient" if name in USE_STOP_GRADIENT.split() else "stop_target_gradients"
    stopped, not_stopped = with_gradient(function, arguments, [{}, {flag: False}])
    assert stopped == always  # to stop is the default
    assert not_stopped == (always | besides) - gone


@pytest.mark.parametrize("name", TABLE)
def test_gradients_stop_where_the_table_says(name):
    assert_held(name, getattr(rl, name))


def test_every_public_loss_is_in_the_table():
    endings = ("_loss", "_learning", "sarsa", "_lambda", "retrace", "retrace_continuous", "qv_max", "vtrace")
    elsewhere = {
        # Functions of trees or of several results, held to rlax's gradients by the parity tests.
        *("compute_parametric_kl_penalty_and_dual_loss", "sampled_policy_distillation_loss"),
        *("mpo_compute_weights_and_temperature_loss", "vmpo_compute_weights_and_temperature_loss"),
    }
    assert {name for name in rl.__all__ if name.endswith(endings)} - elsewhere - set(TABLE) == set()


def test_the_table_would_notice_a_missing_stop_and_a_stop_too_many():
    leaks = functools.partial(rl.q_learning, stop_target_gradients=False)
    with pytest.raises(AssertionError):
        assert_held("q_learning", lambda stop_target_gradients=True, **arguments: leaks(**arguments))
    with pytest.raises(AssertionError):
        assert_held("q_learning", lambda q_tm1, **rest: rl.q_learning(q_tm1=jax.lax.stop_gradient(q_tm1), **rest))
