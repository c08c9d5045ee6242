"""Optimisers against Optax: a hundred steps give the same parameters, real and complex."""
# ruff: noqa: E501

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import optim

optax = pytest.importorskip("optax")

# In float64: in float32 Optax's 1 - βᵗ has few right digits, which a rough field magnifies.
pytestmark = pytest.mark.usefixtures("rank_promotion", "x64")

LR = 0.03
SCHEDULE = {"init_value": 0.05, "peak_value": 0.1, "warmup_steps": 10, "decay_steps": 90}

# name -> variants: (keyword arguments, works with complex parameters)
OPTIMISERS = {
    "adabelief": [{}, {"nesterov": True}],
    "adadelta": [{"learning_rate": 1.0}, {"learning_rate": 1.0, "weight_decay": 0.01}],
    "adafactor": [{"min_dim_size_to_factor": 2}, {"min_dim_size_to_factor": 2, "momentum": 0.9, "weight_decay_rate": 0.01}, {"factored": False}],
    "adagrad": [{}, {"initial_accumulator_value": 0.0}],
    "adam": [{}, {"nesterov": True, "eps_root": 1e-6}, {"schedule": True}],
    "adamax": [{}],
    "adamaxw": [{"weight_decay": 0.1}],
    "adamw": [{"weight_decay": 0.1}, {"mask": {"w": True, "b": False}, "weight_decay": 0.1}, {"mask": lambda p: jax.tree.map(lambda x: x.ndim > 1, p), "weight_decay": 0.1}],
    "adan": [{"weight_decay": 0.1}],
    "amsgrad": [{}, {"bias_correction_mu": False, "bias_correction_nu": False}],
    "fromage": [{}, {"schedule": True}],
    "lamb": [{"weight_decay": 0.1}],
    "lars": [{"weight_decay": 0.1, "trust_coefficient": 0.1}],
    "lion": [{"weight_decay": 0.1}],
    "nadam": [{}],
    "nadamw": [{"weight_decay": 0.1}],
    "noisy_sgd": [{"key": 3}],
    "novograd": [{"weight_decay": 0.1}],
    "optimistic_adam": [{}, {"optimism": 0.01}],
    "optimistic_adam_v2": [{"beta": 0.5, "schedule": True}],
    "optimistic_gradient_descent": [{}, {"alpha": 0.5, "beta": 0.7}],
    "polyak_sgd": [{"no_lr": True}, {"no_lr": True, "variant": "sps+", "f_min": 0.1}],
    "radam": [{}, {"nesterov": True}],
    "rmsprop": [{}, {"centered": True, "momentum": 0.9, "nesterov": True}, {"bias_correction": True, "eps_in_sqrt": False}, {"centered": True, "bias_correction": True}],
    "sgd": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "schedule": True}],
    "sign_sgd": [{}],
    "signum": [{}],
    "sm3": [{}],
    "yogi": [{}],
}  # fmt: skip
SCALES = {
    "scale_by_distance_over_gradients": [{"reps_rel": 1e-2}],
    "scale_by_sm3": [{"b2": 0.9}],
    "scale_by_lion": [{"mode": "smooth", "smooth_beta": 2.0}, {"mode": "refined"}],
    "scale_by_novograd": [{}],
    "scale_by_trust_ratio": [{"min_norm": 0.5, "eps": 0.1}],
    "scale_by_param_block_norm": [{}],
    "scale_by_param_block_rms": [{"min_scale": 0.5}],
    "scale_by_yogi": [{"initial_accumulator_value": 1e-3}],
    "scale_by_rss": [{}],
    "scale_by_radam": [{"threshold": 20.0}],
    "normalize_by_update_norm": [{"scale_factor": 2.0}],
    "centralize": [{}],
    "ema": [{"decay": 0.9}, {"decay": 0.9, "debias": False}],
    "apply_every": [{"k": 3}],
    "add_noise": [{"eta": 0.1, "gamma": 0.5, "seed": 3}],
    "clip": [{"max_delta": 0.3}],
    "clip_by_block_rms": [{"threshold": 0.3}],
    "clip_by_global_norm": [{"max_norm": 0.5}],
    "adaptive_grad_clip": [{"clipping": 0.05}],
    "keep_params_nonnegative": [{}],
    "zero_nans": [{}],
}
REAL_ONLY = {
    # Upstream has no order for complex numbers here, or fails on them.
    "scale_by_distance_over_gradients", "sm3", "scale_by_sm3",
    "lion", "scale_by_lion", "clip", "keep_params_nonnegative",
}  # fmt: skip


def start(dtype):
    w = np.linspace(-1.0, 1.5, 6).reshape(2, 3)
    b = np.linspace(0.2, 0.7, 3)
    if np.issubdtype(dtype, np.complexfloating):
        w, b = w + 1j * w[::-1], b * (1 + 0.5j)
    return {"w": w.astype(dtype), "b": b.astype(dtype)}


def gradient(p, t):
    """A fixed, rough field, so that errors do not die out."""
    return jax.tree.map(lambda x: 0.5 * x + 0.3 * jnp.sin(3 * x + t), p)


def run(library, make, params, steps=100):
    tx = make(library)

    def step(carry, t):
        p, state = carry
        g = gradient(p, t)
        value = sum(jnp.sum(jnp.abs(x) ** 2) for x in jax.tree.leaves(p))
        u, state = tx.update(g, state, p, value=value)
        p = library.apply_updates(p, u)
        return (p, state), p

    return jax.lax.scan(step, (params, tx.init(params)), jnp.arange(float(steps)))[1]


def maker(name, kwargs):
    kwargs = dict(kwargs)
    schedule, no_lr = kwargs.pop("schedule", False), kwargs.pop("no_lr", False)

    def make(library):
        if name in SCALES:
            tx = getattr(library, name)(**kwargs)
            return library.chain(tx) if name == "keep_params_nonnegative" else library.chain(tx, library.scale(-LR))
        rate = library.warmup_cosine_decay_schedule(**SCHEDULE) if schedule else LR
        args = {} if no_lr else {"learning_rate": rate}
        return library.chain(getattr(library, name)(**(args | kwargs)))

    return make


CASES = [(name, kwargs) for table in (OPTIMISERS, SCALES) for name, variants in table.items() for kwargs in variants]


# Upstream has no complex version of REAL_ONLY, and casts the complex average of adafactor's momentum to a real dtype.
COMPLEX_CASES = [c for c in CASES if c[0] not in REAL_ONLY and not (c[0] == "adafactor" and "momentum" in c[1])]
BOTH = [(c, np.float64) for c in CASES] + [(c, np.complex128) for c in COMPLEX_CASES]


def ids(case):
    return "-".join([case[0], *case[1]]) if isinstance(case, tuple) else case.__name__


@pytest.mark.parametrize(("case", "dtype"), BOTH, ids=ids)
def test_a_hundred_steps_are_those_of_optax(case, dtype):
    name, kwargs = case
    make = maker(name, kwargs)
    # Complex squares under a root make this one chaotic: rounding shows after twenty steps.
    steps = 20 if name == "adadelta" and np.issubdtype(dtype, np.complexfloating) else 100
    both = jax.jit(lambda params: [run(library, make, params, steps) for library in (optax, optim)])
    theirs, ours = both(start(dtype))
    for key in theirs:
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-6, atol=1e-6)
