"""Arguments for the public functions of `renga.rl` and rlax alike, as NumPy arrays in float64.

`name` or `name/variant` -> arguments. A dict at the end holds keyword arguments that stay static. If the first entry
is a function, it makes the function to call out of the library.
"""

import types

import numpy as np

_rng = np.random.RandomState(0)
F = np.float64
N = lambda *shape: np.asarray(_rng.normal(size=shape), F)
U = lambda *shape: np.asarray(_rng.uniform(0.05, 0.95, size=shape), F)
I = lambda high, *shape: np.asarray(_rng.randint(high, size=shape), np.int32)
D = lambda *shape: np.asarray((_rng.uniform(size=shape) > 0.3) * 0.9, F)  # discounts with terminations
R = lambda T: (N(T), D(T))  # rewards and discounts
RHO = lambda *shape: np.exp(N(*shape))


def P(*shape):
    """Probabilities."""
    x = np.exp(N(*shape))
    return x / x.sum(-1, keepdims=True)


KEY = np.array([0, 7], np.uint32)
C = lambda x: np.asarray(x, F)

ONE_STEP = {
    "td_learning": (N(), N(), D(), N()),
    "sarsa": (N(3), I(3), N(), D(), N(3), I(3)),
    "expected_sarsa": (N(3), I(3), N(), D(), N(3), P(3)),
    "q_learning": (N(3), I(3), N(), D(), N(3)),
    "q_learning/ties": (N(3), I(3), N(), C(0.9), np.ones(3)),
    "q_learning/one_action": (N(1), I(1), N(), C(0.9), N(1)),
    "double_q_learning": (N(3), I(3), N(), D(), N(3), N(3)),
    "persistent_q_learning": (N(3), I(3), N(), C(0.9), N(3), C(0.3)),
    "qv_learning": (N(3), I(3), N(), D(), N()),
    "qv_max": (N(), N(), D(), N(3)),
}
PLAIN = {
    "batched_index": (N(4, 3), I(3, 4)),
    "batched_index/keepdims": (N(4, 3), I(3, 4), {"keepdims": True}),
    "batched_index/out_of_range": (N(3, 3), np.array([-1, 2, 7])),
    "one_hot": (np.array([0, 2, 5, -1]), {"num_classes": 3}),
    "lhs_broadcast": (N(4), N(4, 3)),
    "l2_loss": (N(3), N(3)),
    "l2_loss/no_targets": (N(3),),
    "huber_loss": (C([0.3, -2.0, 1.0, -1.0, 0.0]), {"delta": 1.0}),
    "likelihood": (U(3), U(3)),
    "log_loss": (U(3), U(3)),
    "expectile_loss": (N(5), N(5), {"expectile": 0.3}),
    "clip_gradient": (5 * N(4), C(-0.5), C(0.7)),
    "conditional_update": (N(3), N(3), np.array(True)),
    "periodic_update": (N(3), N(3), np.array(5), np.array(3)),
    "AllSum": (lambda L: lambda x: (L.AllSum()(x), L.AllSum()(x, axis=0), L.AllSum()(x, axis=())), N(2, 3)),
}
MULTISTEP = {
    "discounted_returns": (*R(7), N(7)),
    "discounted_returns/scalar": (*R(7), N()),
    "lambda_returns": (*R(7), N(7), C(0.8)),
    "lambda_returns/default": (*R(7), N(7)),
    "lambda_returns/sequence": (*R(7), N(7), U(7)),
    "lambda_returns/one_step": (*R(1), N(1), U(1)),
    "n_step_bootstrapped_returns": (*R(7), N(7), {"n": 3}),
    "n_step_bootstrapped_returns/lambda": (*R(7), N(7), {"n": 4, "lambda_t": 0.7}),
    "n_step_bootstrapped_returns/one": (*R(7), N(7), {"n": 1}),
    "n_step_bootstrapped_returns/long": (*R(7), N(7), {"n": 12}),
    "truncated_generalized_advantage_estimation": (*R(7), C(0.8), N(8)),
    "truncated_generalized_advantage_estimation/sequence": (*R(7), U(7), N(8)),
    "truncated_generalized_advantage_estimation/one_step": (*R(1), U(1), N(2)),
    "td_lambda": (N(7), *R(7), N(7), C(0.8)),
    "td_lambda/one_step": (N(1), *R(1), N(1), C(0.8)),
    "sarsa_lambda": (N(7, 3), I(3, 7), *R(7), N(7, 3), I(3, 7), U(7)),
    "q_lambda": (N(7, 3), I(3, 7), *R(7), N(7, 3), C(0.8)),
    "q_lambda/sequence": (N(7, 3), I(3, 7), *R(7), N(7, 3), U(7)),
    "general_off_policy_returns_from_q_and_v": (N(6), N(7), *R(7), U(6)),
    "general_off_policy_returns_from_q_and_v/one_step": (N(0), N(1), *R(1), U(0)),
    "general_off_policy_returns_from_action_values": (N(7, 3), I(3, 7), *R(7), U(7), P(7, 3)),
    "retrace": (N(7, 3), N(7, 3), I(3, 7), I(3, 7), *R(7), P(7, 3), U(7), C(0.9)),
    "retrace/one_step": (N(1, 3), N(1, 3), I(3, 1), I(3, 1), *R(1), P(1, 3), U(1), C(0.9)),
    "retrace_continuous": (N(7), N(6), N(7), *R(7), N(6), C(0.9)),
    "vtrace": (N(7), N(7), *R(7), RHO(7)),
    "vtrace/lambda": (N(7), N(7), *R(7), RHO(7), U(7), {"clip_rho_threshold": 1.4}),
    "vtrace/mask": (N(7), N(7), *R(7), RHO(7), {"sample_mask": np.array([1, 0, 1, 1, 0, 1, 0], bool)}),
    "vtrace/one_step": (N(1), N(1), *R(1), RHO(1)),
    "leaky_vtrace": (N(7), N(7), *R(7), RHO(7), {"alpha_": 0.3, "lambda_": 0.7}),
    "vtrace_td_error_and_advantage": (N(7), N(7), *R(7), RHO(7)),
    "vtrace_td_error_and_advantage/lambda": (N(7), N(7), *R(7), RHO(7), U(7), {"clip_pg_rho_threshold": 1.4}),
    "vtrace_td_error_and_advantage/mask": (
        *(N(7), N(7), *R(7), RHO(7)),
        {"sample_mask": np.array([1, 0, 1, 1, 0, 1, 0], bool), "lambda_": 0.8},
    ),
    "vtrace_td_error_and_advantage/one_step": (N(1), N(1), *R(1), RHO(1)),
    "leaky_vtrace_td_error_and_advantage": (N(7), N(7), *R(7), RHO(7), {"alpha": 0.3, "lambda_": 0.7}),
}
_pair = lambda L: L.SIGNED_LOGP1_PAIR


def _with_pair(name):
    """The functions whose pair comes first."""
    return lambda L: lambda *args, **flag: getattr(L, name)(_pair(L), *args, **flag)


def _with_keyword(name):
    return lambda L: lambda *args, **flag: getattr(L, name)(*args, tx_pair=_pair(L), **flag)


TRANSFORMED = {
    name: (_with_pair(name), *MULTISTEP[name.removeprefix("transformed_")])
    for name in ("transformed_lambda_returns", "transformed_general_off_policy_returns_from_action_values")
} | {
    "transformed_n_step_returns": (_with_pair("transformed_n_step_returns"), *R(7), N(7), {"n": 3}),
    "transformed_n_step_q_learning": (
        *(_with_keyword("transformed_n_step_q_learning"), N(7, 3), I(3, 7), N(7, 3), I(3, 7), *R(7)),
        {"n": 2},
    ),
    "transformed_q_lambda": (_with_keyword("transformed_q_lambda"), *MULTISTEP["q_lambda"]),
    "transformed_retrace": (_with_keyword("transformed_retrace"), *MULTISTEP["retrace"]),
    "transformed_q_lambda/identity": MULTISTEP["q_lambda"],
}
Z = np.linspace(-2.0, 2.0, 5)
DISTRIBUTIONAL = {
    "categorical_importance_sampling_ratios": (N(4, 3), N(4, 3), I(3, 4)),
    "categorical_cross_entropy": (P(4, 3), N(4, 3)),
    "categorical_kl_divergence": (N(4, 3), N(4, 3)),
    "categorical_kl_divergence/temperature": (N(4, 3), N(4, 3), {"temperature": 2.0}),
    "categorical_l2_project": (np.linspace(-2.6, 3.0, 6), P(6), Z),
    "categorical_td_learning": (Z, N(5), N(), C(0.83), np.linspace(-1.7, 3.0, 6), N(6)),
    "categorical_q_learning": (Z, N(3, 5), I(3), C(0.11), C(0.83), np.linspace(-1.7, 2.0, 6), N(3, 6)),
    "categorical_q_learning/terminal": (Z, N(3, 5), I(3), C(0.11), C(0.0), Z, N(3, 5)),
    "categorical_double_q_learning": (Z, N(3, 5), I(3), N(), C(0.83), np.linspace(-1.7, 2.0, 6), N(3, 6), N(3)),
    "quantile_regression_loss": (N(5), U(5), N(7)),
    "quantile_regression_loss/huber": (N(5), U(5), N(7), {"huber_param": 0.7}),
    "quantile_q_learning": (N(5, 3), U(5), I(3), N(), C(0.9), N(4, 3), N(7, 3), {"huber_param": 0.7}),
    "quantile_expected_sarsa": (N(5, 3), U(5), I(3), N(), C(0.9), N(7, 3), P(3)),
}
POLICY = {
    "policy_gradient_loss": (N(4, 3), I(3, 4), N(4), U(4)),
    "entropy_loss": (N(4, 3), U(4)),
    "clipped_surrogate_pg_loss": (RHO(5), N(5), {"epsilon": 0.2}),
    "dpg_loss": (N(3), N(3)),
    "dpg_loss/clipped": (N(3), 5 * N(3), {"dqda_clipping": 1.0}),
    "dpg_loss/not_clipped": (N(3), 0.1 * N(3), {"dqda_clipping": 1.0}),
    "qpg_loss": (N(4, 3), N(4, 3)),
    "rm_loss": (N(4, 3), N(4, 3)),
    "rpg_loss": (N(4, 3), N(4, 3)),
}
X = N(6)
TRANSFORMS = {
    "identity": (X,),
    "sigmoid": (X,),
    "logit": (U(6),),
    "signed_logp1": (X,),
    "signed_expm1": (X,),
    "signed_hyperbolic": (100 * X,),
    "power": (X, {"p": 0.7}),
}
BOX = types.SimpleNamespace(minimum=np.float32(-1.5), maximum=np.float32(2.0))


def _all_of(family, *methods, spec=()):
    """Calls several functions of a family of distributions with `(sample, *parameters)`."""
    takes_sample = {"logprob", "prob"}

    def make(library):
        def call(sample, *parameters):
            functions = {method: getattr(family(library), method) for method in methods}
            return [
                function(
                    *([sample] if method in takes_sample else []),
                    *parameters,
                    *(spec if method in takes_sample else ()),
                )
                for method, function in functions.items()
            ]

        return call

    return make


DISCRETE = ("probs", "logprob", "entropy")
CONTINUOUS = ("prob", "logprob", "entropy", "kl_to_standard_normal")
LOGITS = np.concatenate([[[1.0, 1.0, 0.5]], N(3, 3)])
POLICIES = {
    "softmax": (_all_of(lambda L: L.softmax(0.7), *DISCRETE), I(3, 4), LOGITS),
    "softmax/kl": (lambda L: L.softmax(0.7).kl, N(4, 3), N(4, 3)),
    "clipped_entropy_softmax": (_all_of(lambda L: L.clipped_entropy_softmax(0.7, 0.8), *DISCRETE), I(3, 4), LOGITS),
    "epsilon_greedy": (_all_of(lambda L: L.epsilon_greedy(0.3), *DISCRETE), I(3, 4), LOGITS),
    "greedy": (_all_of(lambda L: L.greedy(), "probs", "entropy"), I(3, 4), LOGITS),
    "gaussian_diagonal": (_all_of(lambda L: L.gaussian_diagonal(), *CONTINUOUS), N(4, 3), N(4, 3), RHO(4, 3)),
    "gaussian_diagonal/bound": (_all_of(lambda L: L.gaussian_diagonal(0.3), *CONTINUOUS), N(4, 3), N(4, 3)),
    "squashed_gaussian": (
        *(_all_of(lambda L: L.squashed_gaussian(-1.0, 0.5), *CONTINUOUS, spec=(BOX,)), 1.2 * np.tanh(N(4, 3)), N(4, 3)),
        N(4, 3),
    ),
    "squashed_gaussian/kl": (lambda L: L.squashed_gaussian(-1.0, 0.5).kl, N(4, 3), N(4, 3), N(4, 3), N(4, 3)),
    "multivariate_normal_kl_divergence": (N(4, 3), RHO(4, 3), N(4, 3), RHO(4, 3)),
}
E5 = 2 * N(5, 2)
EXPLORATION = {
    "embed_oar": (N(4, 2), np.array([0, 2, -1, 1]), 2 * N(4), {"num_actions": 3}),
    "knn_query": (N(6, 2), N(3, 2), {"num_neighbors": 4}),
    "knn_query/more_than_there_are": (N(2, 2), N(3, 2), {"num_neighbors": 4}),
    "pixel_control_rewards": (N(3, 4, 6, 2), {"cell_size": 2}),
    "pixel_control_loss": (N(3, 4, 6, 2), I(3, 2), N(3, 2, 3, 3), C(0.9), {"cell_size": 2}),
    **{
        f"feature_control_rewards/{kind}": (N(3, 4), {"cumulant_type": kind, "discount": 0.9})
        for kind in ("absolute_change", "increase", "decrease", "feature", "potential")
    },
}
_kls = lambda L, k0, a0, k1, a1: [(k0, L.LagrangePenalty(a0, 0.1)), (k1, L.LagrangePenalty(a1, 0.05, True))]
_keep = lambda x: np.abs(x) if isinstance(x, np.ndarray) else abs(x)
KLS = (N(2, 3) ** 2, C(0.5), N(2, 3, 4) ** 2, U(4))
KEEP = np.array([[1.0, 1, 0], [1, 0, 1]])
MPO = {
    "compute_parametric_kl_penalty_and_dual_loss": (
        lambda L: lambda *kls, **flag: L.compute_parametric_kl_penalty_and_dual_loss(_kls(L, *kls), _keep, **flag),
        *KLS,
    ),
    "mpo_compute_weights_and_temperature_loss": (
        lambda L: lambda q, eta: L.mpo_compute_weights_and_temperature_loss(q, L.LagrangePenalty(eta, 0.2), _keep)[:2],
        *(N(4, 2, 3), C(0.7)),
    ),
    "mpo_loss": (
        lambda L: (
            lambda p, q, eta, *kls, **flag: L.mpo_loss(
                *(p, q, L.LagrangePenalty(eta, 0.2), _kls(L, *kls)),
                policy_loss_weight=1.5,
                temperature_loss_weight=0.7,
                kl_loss_weight=0.3,
                alpha_loss_weight=0.4,
                sample_axis=1,
                **flag,
            )[0]
        ),
        *(N(2, 4, 3), N(2, 4, 3), C(0.7), *KLS),
    ),
    "vmpo_compute_weights_and_temperature_loss": (
        lambda L: (
            lambda a, m, rho, eta, **flag: L.vmpo_compute_weights_and_temperature_loss(
                a, m, rho, L.LagrangePenalty(eta, 0.2), _keep, 0.5, **flag
            )
        ),
        *(N(2, 3), KEEP, RHO(2, 3), C(0.7)),
    ),
    "vmpo_loss": (
        lambda L: (
            lambda p, a, m, rho, eta, *kls, **flag: L.vmpo_loss(
                *(p, a, L.LagrangePenalty(eta, 0.2), _kls(L, *kls)),
                restarting_weights=m,
                importance_weights=rho,
                policy_loss_weight=1.5,
                temperature_loss_weight=0.7,
                **flag,
            )[0]
        ),
        *(N(2, 3), N(2, 3), KEEP, RHO(2, 3), C(0.7), *KLS),
    ),
    "vmpo_loss/defaults": (
        lambda L: lambda p, a, eta, *kls: L.vmpo_loss(p, a, L.LagrangePenalty(eta, 0.2), _kls(L, *kls))[0],
        *(N(2, 3), N(2, 3), C(0.7), *KLS),
    ),
}
_moments = (C([0.0, 1.0, 2.0]), C([1.0, 2.0, 3.0]), C([1.0, 5.0, 13.0]))
_art = lambda L: lambda *x: L.art(L.PopArtState(*x[:3]), *x[3:], 0.1, 0.01, 10.0)


def _popart(library):
    def call(*args):
        _, update = library.popart(3, 0.1, 0.01, 10.0)
        return update({"w": args[0], "b": args[1]}, library.PopArtState(*args[2:5]), args[5], args[6])

    return call


def _ema(library):
    def call(x, y):
        init, update = library.create_ema(0.9)
        moments, state = update({"x": y}, update({"x": x}, init({"x": x}))[1])
        return moments["mean"], moments["variance"], state.mu, state.nu, state.decay_product

    return call


MOMENTS = {
    "normalize": (lambda L: lambda *x: L.normalize(L.PopArtState(*x[:3]), *x[3:]), *_moments, N(2), np.array([0, 2])),
    "unnormalize": (
        lambda L: lambda *x: L.unnormalize(L.PopArtState(*x[:3]), *x[3:]),
        *_moments,
        N(2),
        np.array([0, 2]),
    ),
    "unnormalize_linear": (
        lambda L: lambda *x: L.unnormalize_linear(L.PopArtState(*x[:3]), *x[3:]),
        *(*_moments, N(2, 3), np.array([0, 2])),
    ),
    "art": (_art, *_moments, 3 * N(2, 2), np.array([[0, 0], [1, 0]])),
    "popart": (_popart, N(4, 3), N(3), *_moments, 5 * N(3), np.array([0, 2, 2])),
    "pop": (
        lambda L: lambda w, b, *x: L.pop({"w": w, "b": b}, L.PopArtState(*x[:3]), L.PopArtState(*x[3:])),
        *(N(4, 3), N(3), *_moments, C([0.5, 1.0, 1.5]), C([2.0, 1.0, 3.0]), _moments[2]),
    ),
    "create_ema": (_ema, N(4), N(4)),
}
TABLE = (
    ONE_STEP
    | PLAIN
    | MULTISTEP
    | TRANSFORMED
    | DISTRIBUTIONAL
    | POLICY
    | TRANSFORMS
    | POLICIES
    | EXPLORATION
    | MPO
    | MOMENTS
)
