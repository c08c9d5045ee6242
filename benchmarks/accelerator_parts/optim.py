"""A step of Adam and of Muon on many parameters: time, share of the memory bandwidth, against Optax."""

import functools

import jax
import jax.numpy as jnp

from renga import optim

from .timing import against, alone, optional, rows

# Bytes a second, as the makers state them.
BANDWIDTH = {"H200": 4.8e12, "H100": 3.35e12, "A100": 2.0e12, "TPU v4": 1.2e12, "TPU v5p": 2.77e12}


def step(optimizer, apply_updates):
    def update(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return apply_updates(params, updates), state

    return update


def caller(optimizer, apply_updates, params, grads):
    """Compiles one step with donated arguments, as training runs it, and returns a call that makes it."""
    program = jax.jit(step(optimizer, apply_updates), donate_argnums=(0, 1))
    held = [jax.tree.map(jnp.copy, params), jax.jit(optimizer.init)(params)]

    def call():
        held[:] = program(*held, grads)
        jax.block_until_ready(held)

    return call


def run(tiny, done):
    sizes, rounds = ((10**3,), 3) if tiny else ((10**8, 10**9), 11)
    optax = optional("optax")

    def cells(name, size):
        side = 16 if tiny else 4096
        count = max(1, round(size / side**2))
        params = {f"w{i}": jnp.full((side, side), 0.1) for i in range(count)}
        grads = jax.tree.map(lambda x: x * 0.01, params)
        make = {"adam": lambda o: o.adam(1e-3), "muon": lambda o: o.contrib.muon(1e-3)}[name]
        ours = caller(make(optim), optim.apply_updates, params, grads)
        # Two sets of 1e9 parameters with their states fit few devices.
        if optax is not None and size <= 10**8:
            cells = against(ours, caller(make(optax), optax.apply_updates, params, grads), "optax", rounds)
        else:
            cells = alone(ours, rounds)
        held = 3 if name == "adam" else 2  # parameters and moments are read and written, gradients read
        moved = 4 * count * side**2 * (2 * held + 1)
        peak = next((b for kind, b in BANDWIDTH.items() if kind in jax.devices()[0].device_kind), None)
        rate = moved / (cells["us"] * 1e-6)
        share = {} if peak is None else {"share of bandwidth": round(rate / peak, 3)}
        return {**cells, "parameters": count * side**2, "GB/s": round(rate / 1e9, 1), **share}

    cases = [
        (f"{name} {size:.0e}", functools.partial(cells, name, size)) for size in sizes for name in ("adam", "muon")
    ]
    yield from rows(cases, done)
