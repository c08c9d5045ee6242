"""How long is an optimiser's step, to trace and to run, against Optax in the same process?

Run: python benchmarks/optim_step.py [--quick] [--name optim_step]
     XLA_FLAGS=--xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true python benchmarks/optim_step.py \
         --name optim_step_multi_output   (one pass over memory for both moments, on CPU)

Ratios are ours / theirs, medians of interleaved runs (steps with a 95 % interval, see `paired.py`); below 1 is faster.
Steps donate parameters and state, as in training. The floor of bytes reads each parameter, gradient and moment once
and writes each parameter and moment once; the floor of seconds is that at the bandwidth of a compiled y ← x + 2y on the
same leaves, timed in pairs with the steps. With the flag, rows in `optim.contrib.one_pass` follow.
"Cold" traces come after `jax.clear_caches()`, warm ones find what is cached of inner functions.
"""

import argparse
import os
import statistics
import time

import jax
import jax.numpy as jnp
import optax
from paired import compare, instructions
from record import write

from renga import optim


def tree_of(leaves, size, seed=0):
    keys = jax.random.split(jax.random.key(seed), leaves)
    return {f"l{i}": jax.random.normal(k, (size,)) for i, k in enumerate(keys)}


def stepper(library, tx):
    def step(params, grads, state):
        updates, state = tx.update(grads, state, params)
        return library.apply_updates(params, updates), state

    return step


def traced(step, args, cold=False):
    if cold:
        jax.clear_caches()
    start = time.perf_counter()
    jax.jit(lambda *a: step(*a)).trace(*args)
    return time.perf_counter() - start


def median_ratio(ours, theirs, repeats):
    a, b = [], []
    for _ in range(repeats):
        a.append(ours())
        b.append(theirs())
    return statistics.median(a), statistics.median(b)


def stepping(compiled, params, grads, state):
    """Returns a function that takes one more step at each call."""
    params, state = jax.block_until_ready(jax.tree.map(jnp.copy, (params, state)))

    def step():
        nonlocal params, state
        params, state = jax.block_until_ready(compiled(params, grads, state))

    return step


def mover(params):
    """Returns a function that does y ← x + 2y in place, for every leaf: two reads and a write."""
    compiled = jax.jit(lambda x, y: jax.tree.map(lambda x, y: x + 2 * y, x, y), donate_argnums=1)
    y = jax.tree.map(jnp.zeros_like, params)

    def move():
        nonlocal y
        y = jax.block_until_ready(compiled(params, y))

    return move


def cost(compiled):
    found = compiled.cost_analysis()
    return found.get("flops"), found.get("bytes accessed")


def one(leaves, size, repeats, make=lambda lib: lib.adamw(1e-3), wrap=None):
    params, grads = tree_of(leaves, size), tree_of(leaves, size, 1)
    tx = wrap(make(optim)) if wrap else make(optim)
    sides = {"ours": (optim, tx), "optax": (optax, make(optax))}
    steps = {name: stepper(lib, tx) for name, (lib, tx) in sides.items()}
    states = {name: tx.init(params) for name, (_, tx) in sides.items()}
    args = {name: (params, grads, states[name]) for name in sides}
    for name in sides:  # the first trace fills caches, such as those of inner functions
        traced(steps[name], args[name])
    trace = median_ratio(*(lambda n=n: traced(steps[n], args[n]) for n in sides), max(3, repeats // 2))
    cold = median_ratio(*(lambda n=n: traced(steps[n], args[n], cold=True) for n in sides), 5)
    compiled = {n: jax.jit(steps[n], donate_argnums=(0, 2)).lower(*args[n]).compile() for n in sides}
    ours = stepping(compiled["ours"], *args["ours"])
    step = compare(ours, stepping(compiled["optax"], *args["optax"]), 3 * repeats)
    over_floor = None
    if leaves * size >= 1e6:  # y ← x + 2y moves 3 numbers a parameter, the floor 7
        least = compare(ours, mover(params), 3 * repeats)
        over_floor = [round(3 / 7 / r, 3) for r in (least["ratio"], *reversed(least["ratio_95%"]))]
    (flops, moved), (their_flops, their_moved) = cost(compiled["ours"]), cost(compiled["optax"])
    floor = 4 * leaves * size * (4 + 3)  # read p, g, m, v; write p, m, v
    return {
        "leaves": leaves, "parameters": leaves * size, "wrapped_in": wrap and wrap.__name__,
        "trace_ms": [round(1e3 * t, 3) for t in trace], "trace_ratio": round(trace[0] / trace[1], 3),
        "cold_trace_ms": [round(1e3 * t, 3) for t in cold], "cold_trace_ratio": round(cold[0] / cold[1], 3),
        "step_us": step["us"], "step_ratio": round(1 / step["ratio"], 3),
        "step_ratio_95%": [round(1 / r, 3) for r in reversed(step["ratio_95%"])],
        "same_instructions": instructions(compiled["ours"]) == instructions(compiled["optax"]),
        "flops_ratio": round(flops / their_flops, 4), "bytes_ratio": round(moved / their_moved, 4),
        "bytes_over_floor": round(moved / floor, 3),
        "seconds_over_floor": over_floor and over_floor[0], "seconds_over_floor_95%": over_floor and over_floor[1:],
    }  # fmt: skip


def population(members=64, steps=50):
    """A vmap over optimisers against the same runs one after another."""
    key = jax.random.key(0)
    x = jax.random.normal(key, (32, 8))
    y = jnp.sin(x.sum(1))
    params = {"w1": jax.random.normal(key, (8, 16)) / 3, "w2": jax.random.normal(key, (16,)) / 4}
    loss = lambda p: jnp.mean((jnp.tanh(x @ p["w1"]) @ p["w2"] - y) ** 2)

    def train(tx):
        def step(carry, _):
            p, state = carry
            u, state = tx.update(jax.grad(loss)(p), state, p)
            return (optim.apply_updates(p, u), state), None

        return jax.lax.scan(step, (params, tx.init(params)), None, length=steps)[0][0]

    rates = jnp.logspace(-4, -1, members)
    together, alone = jax.jit(jax.vmap(train)), jax.jit(train)
    batch = jax.vmap(optim.adam)(rates)
    singles = [optim.adam(rate) for rate in rates]
    jax.block_until_ready((together(batch), alone(singles[0])))

    def timed(fn):
        start = time.perf_counter()
        jax.block_until_ready(fn())
        return time.perf_counter() - start

    a, b = median_ratio(lambda: timed(lambda: together(batch)), lambda: timed(lambda: [alone(tx) for tx in singles]), 7)

    def update(tx, p, state):
        u, state = tx.update(jax.grad(loss)(p), state, p)
        return optim.apply_updates(p, u), state

    def loop(step, tx, p, state):
        for _ in range(steps):
            p, state = step(tx, p, state)
        return p

    step_one, step_all = jax.jit(update), jax.jit(jax.vmap(update))
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (members, *x.shape)), params)
    states = jax.vmap(lambda tx: tx.init(params))(batch)
    first = singles[0].init(params)
    jax.block_until_ready((loop(step_all, batch, many, states), loop(step_one, singles[0], params, first)))
    c, d = median_ratio(
        lambda: timed(lambda: loop(step_all, batch, many, states)),
        lambda: timed(lambda: [loop(step_one, tx, params, first) for tx in singles]),
        5,
    )
    return {
        "members": members, "steps": steps, "pairs": "[together, one after another]",
        "whole run compiled, seconds": [round(a, 5), round(b, 5)], "whole run compiled, throughput": round(b / a, 2),
        "step compiled, seconds": [round(c, 5), round(d, 5)], "step compiled, throughput": round(d / c, 2),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--name", default="optim_step", help="of the record")
    options = parser.parse_args()
    grid = [(10, 100), (100, 10), (100, 1_000), (1_000, 10), (10, 100_000)]
    if not options.quick:
        grid += [(10, 1_000_000), (10, 10_000_000)]
    rows = []
    for leaves, size in grid:
        rows.append(one(leaves, size, 5 if leaves * size > 1e6 else 11))
        print(rows[-1], flush=True)
    rows.append(one(1_000, 10, 11, wrap=optim.grouped))
    print(rows[-1], flush=True)
    if "multi_output_fusion=true" in os.environ.get("XLA_FLAGS", ""):
        for leaves, size in [(leaves, size) for leaves, size in grid if leaves * size >= 1e6]:
            rows.append(one(leaves, size, 5 if leaves * size > 1e6 else 11, wrap=optim.contrib.one_pass))
            print(rows[-1], flush=True)
    rows.append(population())
    print(rows[-1], flush=True)
    command, flags = "optim_step.py" + (" --quick" if options.quick else ""), os.environ.get("XLA_FLAGS", "")
    write(options.name, command, XLA_FLAGS=flags, optimiser="adamw(1e-3)", pairs="[ours, optax]", rows=rows)


if __name__ == "__main__":
    main()
