"""Returns over time: the two forms of Renga against RLax, or against a plain loop where RLax is not installed."""

import functools

import jax
import jax.numpy as jnp
import paired

from renga import rl

from .timing import against, optional, rows


def loop(r_t, discount_t, v_t, lambda_):
    """λ-returns as a plain loop back in time."""

    def step(g, inputs):
        r, discount, v = inputs
        g = r + discount * ((1 - lambda_) * v + lambda_ * g)
        return g, g

    return jax.lax.scan(step, v_t[-1], (r_t, discount_t, v_t), reverse=True)[1]


def loop_gae(r_t, discount_t, lambda_, values):
    """Generalised advantages as a plain loop back in time."""

    def step(a, inputs):
        delta, discount = inputs
        a = delta + discount * lambda_ * a
        return a, a

    deltas = r_t + discount_t * values[1:] - values[:-1]
    return jax.lax.scan(step, jnp.zeros((), r_t.dtype), (deltas, discount_t), reverse=True)[1]


def loop_vtrace(v_tm1, v_t, r_t, discount_t, rho_tm1):
    """V-trace errors as a plain loop back in time."""

    def step(e, inputs):
        delta, discount, c = inputs
        e = delta + discount * c * e
        return e, e

    c = jnp.minimum(1.0, rho_tm1)
    deltas = c * (r_t + discount_t * v_t - v_tm1)
    return jax.lax.scan(step, jnp.zeros((), r_t.dtype), (deltas, discount_t, c), reverse=True)[1]


def functions():
    """Returns, for each name, ours, the baseline and its name, all of (rewards, discounts, values [T+1], ratios)."""
    rlax = optional("rlax")
    theirs = "rlax" if rlax else "lax.scan"
    returns = (lambda r, g, v: rlax.lambda_returns(r, g, v, 0.95)) if rlax else (lambda r, g, v: loop(r, g, v, 0.95))
    vtrace = rlax.vtrace if rlax else loop_vtrace
    gae = rlax.truncated_generalized_advantage_estimation if rlax else loop_gae
    return theirs, {
        "lambda_returns": (
            lambda method, r, g, v, rho: rl.lambda_returns(r, g, v[1:], 0.95, method=method),
            lambda r, g, v, rho: returns(r, g, v[1:]),
        ),
        "vtrace": (
            lambda method, r, g, v, rho: rl.vtrace(v[:-1], v[1:], r, g, rho, method=method),
            lambda r, g, v, rho: vtrace(v[:-1], v[1:], r, g, rho),
        ),
        "gae": (
            lambda method, r, g, v, rho: rl.truncated_generalized_advantage_estimation(r, g, 0.95, v, method=method),
            lambda r, g, v, rho: gae(r, g, 0.95, v),
        ),
    }


def run(tiny, done):
    batch, lengths, rounds = (2, (8,), 3) if tiny else (256, (128, 512, 2048, 16384), 21)
    theirs, table = functions()

    def cells(name, method, length):
        keys = jax.random.split(jax.random.key(0), 4)
        args = (
            jax.random.normal(keys[0], (batch, length)),
            0.99 * jax.random.bernoulli(keys[1], 0.99, (batch, length)).astype(jnp.float32),
            jax.random.normal(keys[2], (batch, length + 1)),
            jnp.exp(0.3 * jax.random.normal(keys[3], (batch, length))),
        )
        ours, plain = table[name]
        a = paired.compile_with(jax.vmap(functools.partial(ours, method)), *args)[1]
        b = paired.compile_with(jax.vmap(plain), *args)[1]
        difference = float(jnp.max(jnp.abs(a() - b())))
        return {**against(a, b, theirs, rounds, most=3.0), "largest difference": f"{difference:.1e}", "batch": batch}

    cases = [
        (f"{name} T={length} {method}", functools.partial(cells, name, method, length))
        for length in lengths
        for name in table
        for method in ("parallel", "sequential")
    ]
    yield from rows(cases, done)
