"""`contrib`, wrappers and trees of states against Optax."""
# ruff: noqa: E501

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import optim

optax = pytest.importorskip("optax")
pytest.importorskip("optax.contrib")

pytestmark = pytest.mark.usefixtures("rank_promotion")


def start():
    return {"w": jnp.asarray(np.linspace(-1.0, 1.5, 6).reshape(2, 3)), "b": jnp.asarray(np.linspace(0.2, 0.7, 3))}


def gradient(p, t):
    return jax.tree.map(lambda x: 0.5 * x + 0.3 * jnp.sin(3 * x + t), p)


def nested(p, i):
    return gradient(p, 0.0)


def diagonal(o):
    """A Hessian's diagonal that changes from step to step, for Sophia."""
    estimate = lambda u, s, p=None, **_: (jax.tree.map(lambda g: 1.0 + g**2, u), s)
    return o.GradientTransformationExtraArgs(lambda p: (), estimate)


CASES = {
    "acprop": lambda o: o.contrib.acprop(0.03, eps=1e-3, weight_decay=0.1),
    "ademamix": lambda o: o.contrib.ademamix(0.03, b3=0.99, weight_decay=0.1, mask={"w": True, "b": False}),
    "ademamix schedules": lambda o: o.contrib.ademamix(0.03, b3=o.linear_schedule(0.9, 0.99, 30), alpha=o.linear_schedule(0.0, 5.0, 30), eps_root=1e-6),
    "simplified_ademamix": lambda o: o.contrib.simplified_ademamix(0.003, b1=0.9, alpha=o.linear_schedule(0.0, 2.0, 30), weight_decay=0.1),
    "adopt": lambda o: o.contrib.adopt(0.1),
    "adopt nesterov": lambda o: o.contrib.adopt(0.1, b2=0.99, nesterov=True, use_clipping=False),
    "adopt clipped": lambda o: o.contrib.adopt(0.1, clip_value_fn=lambda n: 0.1 + 0.01 * n),
    "cocob": lambda o: o.contrib.cocob(alpha=10.0),
    "cocob schedule": lambda o: o.contrib.cocob(o.linear_schedule(1.0, 0.5, 30), alpha=5.0, eps=0.1, weight_decay=0.1),
    "dadapt_adamw": lambda o: o.contrib.dadapt_adamw(estim_lr0=1e-2, weight_decay=0.1),
    "dadapt_adamw schedule": lambda o: o.contrib.dadapt_adamw(o.linear_schedule(0.1, 1.0, 30), betas=(0.8, 0.9), eps=1e-3),
    "dog": lambda o: o.contrib.dog(init_step=("heuristic", 1e-2), eps=1e-3),
    "dog distance": lambda o: o.contrib.dog(0.5, init_step=("distance", 1e-2), weight_decay=0.1),
    "dog learning_rate": lambda o: o.contrib.dog(init_step=("learning_rate", 1e-2)),
    "dowg": lambda o: o.contrib.dowg(eps=1e-2),
    "dowg first": lambda o: o.contrib.dowg(0.5, init_estim_sq_dist=0.1, weight_decay=0.1),
    "galore": lambda o: o.contrib.galore(0.03, rank=1, update_proj_gap=1000, scale=0.5, weight_decay=0.1),
    "galore renewed": lambda o: o.contrib.galore(0.03, rank=2, update_proj_gap=3, base_optimizer=o.identity(), weight_dimension_numbers={"w": o.contrib.GaLoreDimensionNumbers(1, 0), "b": None}),
    "hutchinson": lambda o: o.chain(o.contrib.hutchinson_estimator_diag_hessian(jax.random.PRNGKey(3)), o.scale(-0.01)),
    "sophia": lambda o: o.contrib.sophia(0.03, gamma=0.5, hessian_diagonal_fn=diagonal(o)),
    "sophia hutchinson": lambda o: o.contrib.sophia(0.03, gamma=0.5, eps=0.1, clip_threshold=None, update_interval=3),
    "madgrad": lambda o: o.contrib.madgrad(0.03, weight_decay=0.1),
    "madgrad schedule": lambda o: o.contrib.madgrad(o.linear_schedule(0.1, 0.01, 50), momentum=0.5, eps=1e-2),
    "mechanize": lambda o: o.contrib.mechanize(o.adam(0.1), s_init=1e-2),
    "mechanize sgd": lambda o: o.contrib.mechanize(o.sgd(0.1), weight_decay=0.1, eps=1e-3, s_init=0.1, num_betas=3),
    "momo": lambda o: o.contrib.momo(0.1, weight_decay=0.1),
    "momo adapted": lambda o: o.contrib.momo(o.linear_schedule(1.0, 0.1, 50), lower_bound=-0.5, adapt_lower_bound=True),
    "momo_adam": lambda o: o.contrib.momo_adam(0.1, weight_decay=0.1),
    "momo_adam adapted": lambda o: o.contrib.momo_adam(o.linear_schedule(1.0, 0.1, 50), eps=1e-2, lower_bound=-0.5, adapt_lower_bound=True, weight_decay=0.1),
    "muon": lambda o: o.contrib.muon(0.03),
    "muon adaptive": lambda o: o.contrib.muon(0.03, adaptive=True, nesterov=False, weight_decay=0.1, adam_learning_rate=0.1),
    "muon schatten": lambda o: o.contrib.muon(0.03, preconditioning="schatten", consistent_rms=0.2),
    "muon spectral": lambda o: o.contrib.muon(0.03, preconditioning="spectral"),
    "muon aol": lambda o: o.contrib.muon(0.03, preconditioning="aol"),
    "muon dimensions": lambda o: o.contrib.muon(0.03, muon_weight_dimension_numbers={"w": o.contrib.MuonDimensionNumbers(1, 0), "b": None}),
    "prodigy": lambda o: o.contrib.prodigy(1.0),
    "prodigy warmup": lambda o: o.contrib.prodigy(o.linear_schedule(0.1, 1.0, 50), safeguard_warmup=True, weight_decay=0.1, estim_lr0=1e-3),
    "schedule_free": lambda o: o.contrib.schedule_free(o.sgd(0.03), 0.03, b1=0.8),
    "schedule_free_sgd": lambda o: o.contrib.schedule_free_sgd(0.1, warmup_steps=10, weight_decay=0.1),
    "schedule_free_adamw": lambda o: o.contrib.schedule_free_adamw(0.03, warmup_steps=10, weight_decay=0.1),
    "reduce_on_plateau": lambda o: o.chain(o.sgd(0.1), o.contrib.reduce_on_plateau(0.5, patience=3, rtol=0.01, cooldown=2, accumulation_size=2)),
    "sam": lambda o: o.contrib.sam(o.adam(0.03), o.chain(o.contrib.normalize(), o.sgd(0.05)), sync_period=3),
    "sam opaque": lambda o: o.contrib.sam(o.adam(0.03), o.chain(o.contrib.normalize(), o.sgd(0.05)), opaque_mode=True),
    "MultiSteps": lambda o: o.MultiSteps(o.adam(0.1), 3),
    "MultiSteps sum": lambda o: o.MultiSteps(o.adam(0.1), lambda step: 1 + step % 2, use_grad_mean=False),
    "apply_if_finite": lambda o: o.apply_if_finite(o.adam(0.1), 3),
    "conditionally_mask": lambda o: o.conditionally_mask(o.adam(0.1), lambda step: step % 3 == 0),
    "conditionally_transform": lambda o: o.chain(o.conditionally_transform(o.trace(0.9), lambda step: step % 3 == 0), o.scale(-0.1)),
    "flatten": lambda o: o.flatten(o.adamw(0.1)),
    "freeze": lambda o: o.chain(o.adam(0.1), o.freeze({"w": True, "b": False})),
    "selective_transform": lambda o: o.selective_transform(o.adam(0.1), freeze_mask={"w": True, "b": False}),
    "masked": lambda o: o.masked(o.adam(-0.1), {"w": True, "b": False}),
    "partition": lambda o: o.partition({1: o.adam(0.1), 2: o.sgd(0.01)}, {"w": 1, "b": 2}),
    "multi_transform": lambda o: o.multi_transform({"x": o.adamw(0.1), "y": o.sgd(0.01)}, lambda p: {"w": "x", "b": "y"}),
    "inject_hyperparams": lambda o: o.inject_hyperparams(o.adamw)(learning_rate=o.linear_schedule(0.1, 0.01, 50), weight_decay=0.1),
    "named_chain": lambda o: o.named_chain(("a", o.clip(0.5)), ("b", o.adam(0.1))),
    "monitor": lambda o: o.chain(o.monitor({"norm": o.global_norm, "ema": o.measure_with_ema(o.global_norm, 0.9)}), o.snapshot("s", o.global_norm), o.sgd(0.1)),
}  # fmt: skip


MAGNIFIES = ("adopt", "dadapt_adamw")  # rounding


@pytest.mark.parametrize("name", CASES)
def test_a_hundred_steps_are_those_of_optax(name, x64):
    def run(library, p):
        tx = CASES[name](library)

        def step(carry, t):
            p, state = carry
            g = gradient(p, t)
            if name == "apply_if_finite":
                g["b"] = jnp.where(t % 4 == 1, jnp.nan, g["b"])
            args = {"value": sum(jnp.sum(x**2) for x in p.values())} if "plateau" in name or "momo" in name else {}
            args |= (
                {"obj_fn": lambda p: sum(jnp.sum(jnp.cos(3 * x) + x**4) for x in p.values())}
                if "hutchinson" in name
                else {}
            )
            args |= {"grad_fn": nested} if name == "sam opaque" else {}
            u, state = tx.update(g, state, p, **args)
            p = library.apply_updates(p, u)
            return (p, state), p

        carry, times = (p, tx.init(p)), jnp.arange(30.0 if name in MAGNIFIES else 100.0)
        if name == "monitor":  # what it measures is there after the first step only
            (carry, _), times = step(carry, times[0]), times[1:]
        return jax.lax.scan(step, carry, times)[1]

    # Newton–Schulz on singular values near zero, and the spectral norm's random start, magnify rounding.
    atol = 5e-4 if name == "muon spectral" else 1e-4 if "muon" in name else 1e-5
    ours, theirs = jax.jit(lambda p: [run(library, p) for library in (optim, optax)])(start())
    for key in theirs:
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-6, atol=atol)


def test_lookahead_is_that_of_optax(x64):
    def run(library):
        tx = library.lookahead(library.adam(0.1), 4, 0.3, reset_state=True)
        p = library.LookaheadParams.init_synced(start())
        state = tx.init(p)
        step = jax.jit(lambda p, s, t: tx.update(gradient(p.fast, t), s, p))
        for t in range(30):
            u, state = step(p, state, float(t))
            p = library.apply_updates(p, u)
        return p

    ours, theirs = run(optim), run(optax)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_private_aggregation_is_that_of_optax():
    g = jax.tree.map(lambda x: jnp.stack([x, 0.1 * x, 2 * x]), start())
    for make in (
        lambda o: o.contrib.differentially_private_aggregate(1.0, 0.5, seed=3),
        lambda o: o.contrib.dpsgd(0.1, 1.0, 0.5, 3, momentum=0.9),
    ):
        ours, theirs = make(optim), make(optax)
        both = jax.jit(lambda g, p, pair=(ours, theirs): [tx.update(g, tx.init(p))[0] for tx in pair])
        a, b = both(g, start())
        for key in b:
            np.testing.assert_allclose(a[key], b[key], rtol=1e-5)


def test_ours_work_in_their_chain_and_theirs_in_ours(x64):
    def run(library, tx):
        def step(carry, t):
            p, state = carry
            u, state = tx.update(gradient(p, t), state, p)
            return (library.apply_updates(p, u), state), None

        return jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), jnp.arange(5.0))[0][0])(start())

    want = run(optax, optax.chain(optax.clip(0.2), optax.adamw(0.1)))
    for tx in (
        optax.chain(optim.clip(0.2), optim.adamw(0.1)),
        optim.chain(optax.clip(0.2), optax.adamw(0.1)),
        optax.chain(optim.clip(0.2), optax.adamw(0.1)),
        optax.masked(optim.chain(optim.clip(0.2), optim.adamw(0.1)), {"w": True, "b": True}),
    ):
        got = run(optim, tx)
        for key in want:
            np.testing.assert_allclose(got[key], want[key], rtol=1e-5, atol=1e-6)


STATES = {
    "adam": lambda o: o.adam(0.1),
    "adamw": lambda o: o.adamw(o.constant_schedule(0.1)),
    "lars": lambda o: o.lars(0.1),
    "adafactor": lambda o: o.adafactor(0.1, momentum=0.9),
    "multi": lambda o: o.MultiSteps(o.adam(0.1), 3),
    "inject": lambda o: o.inject_hyperparams(o.adam)(0.1),
    "partition": lambda o: o.partition({"a": o.adam(0.1), "b": o.sgd(0.1)}, {"w": "a", "b": "b"}),
}


def names(state):
    """Paths of the leaves of a state, without what ours adds."""
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(state)]
    return [p for p in paths if "effective_learning_rate" not in p]


@pytest.mark.parametrize("name", STATES)
def test_states_have_the_fields_of_optax(name):
    ours, theirs = STATES[name](optim).init(start()), STATES[name](optax).init(start())
    assert names(ours) == names(theirs)
    for key in ("count", "mu", "learning_rate"):
        try:
            want = optax.tree.get(theirs, key)
        except KeyError:
            with pytest.raises(KeyError):
                optim.tree.get(ours, key)
        else:
            got = optim.tree.get(ours, key)
            for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
                np.testing.assert_allclose(a, b)
