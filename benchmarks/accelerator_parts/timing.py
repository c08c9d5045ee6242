"""What the parts share: programs timed in pairs, rows that one failure does not lose, what a device can do."""

import functools
import gc
import importlib
import statistics
import time

import jax
import jax.numpy as jnp
import paired


def optional(name):
    """Returns a module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def seconds(call, rounds, most=2.0):
    """Times a call `rounds` times, and returns the median with bounds of a 95 % interval for it."""
    call()
    taken, begun = [], time.perf_counter()
    while len(taken) < 3 or (len(taken) < rounds and time.perf_counter() - begun < most):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    taken.sort()
    n = len(taken)
    away = round(0.98 * n**0.5)
    low, high = max(0, (n - 1) // 2 - away), min(n - 1, n // 2 + away)
    return statistics.median(taken), (taken[low], taken[high]), n


def alone(call, rounds):
    """Returns the cells of a row for one program."""
    median, bounds, n = seconds(call, rounds)
    return {"us": round(1e6 * median, 1), "us_95%": [round(1e6 * x, 1) for x in bounds], "rounds": n}


def against(ours, theirs, baseline, rounds, most=8.0):
    """Returns the cells of a row for two programs; a ratio above 1 says that ours is faster.

    Slow programs are timed in fewer rounds, so that all take about `most` seconds.
    """
    ours(), theirs()
    begun = time.perf_counter()
    ours(), theirs()
    rounds = max(3, min(rounds, round(most / (time.perf_counter() - begun)) - 2))
    found = paired.compare(ours, theirs, rounds, at_least=2e-3, most_calls=50)
    us, baseline_us = found.pop("us")
    return {"us": us, "baseline_us": baseline_us, "baseline": baseline, **found, "rounds": rounds}


def rows(cases, done):
    """Yields a row for each key and function of cells; one that fails has its error in its row.

    Before each, `{"running": key}` is yielded, so that the record knows what a crash came from.
    """
    for key, cells in cases:
        if key in done:
            continue
        yield {"running": key}
        begun = time.perf_counter()
        try:
            row = cells()
        except Exception as error:
            row = {"error": f"{type(error).__name__}: {str(error).strip()[:300]}"}
        if "error" in row:  # what did not fit must not stay in the way of the next row
            jax.clear_caches()
        gc.collect()
        yield {"key": key, **row, "took_s": round(time.perf_counter() - begun, 1)}


@functools.cache
def peaks(tiny):
    """Measures what the device can do: dense products a second by dtype, bytes of memory a second."""
    on_host = jax.devices()[0].platform == "cpu"
    n, count = (64, 2) if tiny else (1024, 2) if on_host else (8192, 8)
    found = {}
    for name, dtype in (("bfloat16", jnp.bfloat16), ("float32", jnp.float32)):
        x = jnp.full((n, n), 1 / n, dtype)
        chain = lambda x, y: jax.lax.fori_loop(0, count, lambda _, z: (z @ x).astype(x.dtype), y)
        median, _, _ = seconds(paired.compile_with(chain, x, x)[1], 5)
        found[f"{name} FLOP/s"] = 2 * n**3 * count / median
    x = jnp.ones(2**12 if tiny else 2**24 if on_host else 2**28, jnp.float32)
    median, _, _ = seconds(paired.compile_with(lambda x: x * 1.5, x)[1], 5)
    found["bytes/s"] = 2 * x.nbytes / median
    return found


def bound(median, flops, moved, peak):
    """Names what bounds a program that took `median` seconds for so many products and sums, and bytes."""
    least = {"products": flops / peak["bfloat16 FLOP/s"], "memory": moved / peak["bytes/s"]}
    most = max(least, key=least.get)
    # Far from both limits, time goes into starting many small operations, and into waiting for them.
    return most if least[most] > median / 3 else "many small operations"
