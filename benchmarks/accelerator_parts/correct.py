"""Is what runs on the device right? Values and gradients against float64 on the host, transformations, whole trees.

The functions are those of tests/conformance/cases. Errors are largest |a − b| / (1 + |b|) over all numbers. Products in
float32 are computed at the highest precision, so that TensorFloat-32 is not used; a row of its own states what the
default precision of the device is.
"""

import dataclasses
import functools
import importlib
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from renga import search
from renga.systems import lpg
from renga.testing import check_transforms

from .timing import rows

TESTS = pathlib.Path(__file__).resolve().parents[2] / "tests" / "conformance"
# What no comparison of dtypes can show.
LEFT_OUT = {
    "rl.clipped_surrogate_pg_loss": "its ratio lies on the edge of the clip, which rounding decides",
    "optim.add_noise": "its draws differ by dtype",
    "optim.chain": "it clips at an edge, as above",
    "optim.clip": "it clips at an edge, as above",
    "rl.fix_step_type_on_interruptions": "whole numbers",
}
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}


def is_float(x):
    return jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating)


def candidates(most):
    """Returns cases that are functions of numbers alone, by name: at most so many a library, libraries in turn."""
    sys.path.insert(0, str(TESTS))
    found = []
    for library in ("rl", "optim", "dist", "nn"):
        table, names = importlib.import_module(f"cases.{library}").CASES, []
        for name, case in table.items():
            if len(names) == most:
                break
            if not case.differentiable or f"{library}.{name}" in LEFT_OUT:
                continue
            args = case.args() if callable(case.args) else case.args
            leaves = jax.tree.leaves(args)
            # Draws from a key differ by dtype.
            if any(map(is_float, leaves)) and not any(
                jnp.issubdtype(jnp.asarray(x).dtype, jax.dtypes.prng_key) for x in leaves
            ):
                names.append((f"{library}.{name}", dataclasses.replace(case, args=args)))
        found.append(names)
    longest = max(map(len, found))
    return [names[i] for i in range(longest) for names in found if i < len(names)]


def value_and_gradient(case, dtype):
    """Returns a function of the case's arguments: all its results, and the gradient of the sum of the float ones."""

    def total(floats, rest):
        args = jax.tree.map(lambda x, y: y if x is None else x, floats, rest, is_leaf=lambda x: x is None)
        out = jax.tree.leaves(case.fn(*args))
        return sum(jnp.sum(x.astype(jnp.promote_types(x.dtype, jnp.float32))) for x in out if is_float(x)), out

    # By way of NumPy, so that nothing stays on the device when the host computes.
    cast = lambda x: jnp.asarray(np.asarray(x), dtype) if is_float(x) else None
    floats = jax.tree.map(cast, case.args)
    rest = jax.tree.map(lambda x: None if is_float(x) else jnp.asarray(np.asarray(x)), case.args)
    grad, out = jax.jit(jax.grad(total, has_aux=True))(floats, rest)
    return [np.asarray(x.astype(jnp.float64) if dtype == jnp.float64 else x) for x in (*out, *jax.tree.leaves(grad))]


def error(ours, exact):
    worst = 0.0
    for a, b in zip(ours, exact, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            away = np.where(same, 0.0, np.abs(a - b) / (1 + np.abs(b)))
        worst = max(worst, float(np.max(away, initial=0.0)))
    return worst


def compared(case):
    """Returns the cells of a function: its errors in float32 and bfloat16 on the device."""
    host = jax.devices("cpu")[0]
    with jax.default_device(host), jax.enable_x64(True):
        exact = value_and_gradient(case, jnp.float64)
    found = {}
    with jax.default_matmul_precision("highest"):
        for dtype in ("float32", "bfloat16"):
            try:
                away = error(value_and_gradient(case, jnp.dtype(dtype)), exact)
            except (TypeError, ValueError) as refused:
                found[dtype] = f"refused: {str(refused)[:80]}"
                continue
            found[f"{dtype} error"] = float(f"{away:.1e}")
            found[f"{dtype} agrees"] = away <= TOLERANCE[dtype]
    return found


def by_hand(case):
    """Compares jit, vmap and scan with the plain call, which one device is enough for."""
    plain = jax.tree.leaves(case.fn(*case.args))
    args = jax.tree.map(jnp.asarray, case.args)
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), args)
    over = {
        "jit": jax.jit(case.fn)(*args),
        "vmap": jax.tree.map(lambda x: x[1], jax.jit(jax.vmap(case.fn))(*twice)),
        "scan": jax.tree.map(lambda x: x[1], jax.lax.map(lambda x: case.fn(*x), twice)),
    }
    return {f"{name} error": float(f"{error(jax.tree.leaves(out), plain):.1e}") for name, out in over.items()}


def transformed(case):
    """Returns whether the function is the same under every transformation, as `check_transforms` says if it can."""
    with jax.default_matmul_precision("highest"):
        if jax.device_count() < 2:
            found = by_hand(case)
            return {"agrees": max(found.values()) <= TOLERANCE["float32"], **found, "checked": "jit, vmap, scan"}
        try:
            check_transforms(case.fn, *case.args, rtol=max(case.rtol, 1e-3), atol=max(case.atol, 1e-4))
        except AssertionError as difference:
            return {"agrees": False, "difference": str(difference)[:300]}
    return {"agrees": True, "checked": "check_transforms"}


def meta_gradient():
    """Compares the gradient of LPG's objective with differences of fourth order, in float64 on the device."""
    sys.path.insert(0, str(TESTS.parent / "systems" / "lpg"))
    small = importlib.import_module("lpg_small")
    widen = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)
    normal = lambda seed, x: jax.random.normal(jax.random.key(seed), x.shape, x.dtype)
    with jax.enable_x64(True):
        setup = small.setup(policy_entropy=0.1, prediction_entropy=0.1, pi_hat_cost=0.1, y_hat_cost=0.1)

        @jax.jit
        def made():
            agent = widen(small.agent(setup, jax.random.key(5), num_envs=2))
            eta = widen(setup.rule.init(jax.random.key(1)))
            drawn = lambda seed: jax.tree.map(lambda x: normal(seed, x), eta)
            return agent, jax.tree.map(lambda x, noise: x + 0.3 * noise, eta, drawn(2)), drawn(9)

        agent, eta, direction = made()
        eta, direction = jax.device_get((eta, direction))  # sums of small arrays need no program each
        along = lambda t: jax.tree.map(lambda x, d: x + t * d, eta, direction)
        f = jax.jit(jax.value_and_grad(lambda eta: lpg.outer_loss(setup, eta, agent, jax.random.key(7))[0]))
        at, h = lambda t: f(along(t))[0], 1e-4
        expected = float((8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h))
        products = jax.tree.map(lambda g, d: np.sum(np.asarray(g) * d), f(eta)[1], direction)
        got = float(sum(jax.tree.leaves(products)))
    away = abs(got - expected) / abs(expected)
    return {"agrees": away < 1e-5, "relative error": float(f"{away:.1e}")}


def tree_of(device, batch, simulations, num_actions):
    """Returns the visits of a search on a device, with a model of sums alone, which is the same on all devices."""
    rng = np.random.RandomState(0)
    logits = jnp.asarray(np.round(rng.normal(size=(64, num_actions)) * 8) / 8, jnp.float32)
    values = jnp.asarray(np.round(rng.normal(size=(64,)) * 8) / 8, jnp.float32)

    def step(params, rng_key, action, state):
        logits, values = params
        state = (5 * state + action + 1) % 64
        discount = jnp.ones(state.shape)
        reward = values[state] / 4
        return search.RecurrentFnOutput(
            reward=reward, discount=discount, prior_logits=logits[state], value=values[state]
        ), state

    def run(params, key):
        state = jnp.arange(batch) % 64
        root = search.RootFnOutput(prior_logits=params[0][state], value=params[1][state], embedding=state)
        tree = search.gumbel_muzero_policy(params, key, root, step, simulations).search_tree
        return tree.children_visits, tree.children_index

    with jax.default_device(device):
        args = jax.device_put(((logits, values), jax.random.key(3)), device)
        return jax.device_get(jax.jit(run)(*args))


def trees(batch, simulations, num_actions):
    sizes = (batch, simulations, num_actions)
    here, host = (tree_of(device, *sizes) for device in (jax.devices()[0], jax.devices("cpu")[0]))
    same = np.all([np.all(a == b, axis=(1, 2)) for a, b in zip(here, host, strict=True)], axis=0)
    return {"agrees": bool(np.all(same)), "equal trees": f"{int(np.sum(same))} of {batch}"}


def product():
    """Returns how precise a product in float32 is by default."""
    rng = np.random.RandomState(0)
    a, b = rng.normal(size=(2, 256, 256)).astype(np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    away = {p: error([jax.jit(functools.partial(jnp.matmul, precision=p))(a, b)], [exact]) for p in (None, "highest")}
    return {
        "error by default": float(f"{away[None]:.1e}"),
        "error at highest": float(f"{away['highest']:.1e}"),
        "default is full float32": away[None] < 1e-4,
    }


def run(tiny, done):
    cases = candidates(1)[:3] if tiny else candidates(24)[:60]
    batch, simulations, num_actions = (2, 8, 4) if tiny else (64, 64, 9)
    todo = [("precision of products", product)]
    todo += [("trees of the search", functools.partial(trees, batch, simulations, num_actions))]
    todo += [("gradient of LPG", meta_gradient)]
    todo += [(name, functools.partial(compared, case)) for name, case in cases]
    todo += [(f"transformations of {n}", functools.partial(transformed, c)) for n, c in cases[: 1 if tiny else 12]]
    yield from rows(todo, done)
