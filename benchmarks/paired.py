"""Is one compiled program faster than another? What the benchmarks use to tell a difference from noise."""

import random
import re
import statistics
import time

import jax


def compile_with(function, *args):
    """Compiles a function, and returns the program and a call of it on the arguments that waits for the result."""
    program = jax.jit(function).lower(*args).compile()
    return program, lambda: jax.block_until_ready(program(*args))


def instructions(program):
    """Returns a compiled program's instructions, sorted, without names and places in source.

    Two programs with equal instructions do the same work, if perhaps with their arguments in another order.
    """
    text = re.sub(r", (metadata|frontend_attributes|origin)=\{[^{}]*\}", "", program.as_text())
    text = text[min(text.find(start) for start in ("\n%", "\nENTRY") if start in text) :]
    return sorted(re.sub(r"%?[\w\-]+(\.[\w\-]+)+|%[\w\-]+", "%", line) for line in text.splitlines())


def cost(program, what):
    """Returns the compiler's estimate of `flops` or `bytes accessed`."""
    analysis = program.cost_analysis()
    return (analysis or {}).get(what, 0.0)


def compare(ours, theirs, rounds, at_least=1e-3, most_calls=200):
    """Times two calls in pairs, in random order, each repeated to take `at_least` seconds.

    Returns seconds a call of ours and of theirs (medians), and theirs / ours: the median of the pairs' ratios with the
    bounds of a 95 % interval for it (order statistics; no distribution assumed). Above 1, ours is faster.
    """
    once = []
    for call in (ours, theirs):
        call()
        start = time.perf_counter()
        call()
        once.append(time.perf_counter() - start)
    calls = max(1, min(most_calls, round(at_least / min(once))))

    def seconds(call):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls

    order, a, b = random.Random(0), [], []
    for _ in range(rounds):
        pair = [(ours, a), (theirs, b)]
        order.shuffle(pair)
        for call, kept in pair:
            kept.append(seconds(call))
    ratios = sorted(y / x for x, y in zip(a, b, strict=True))
    away = round(0.98 * rounds**0.5)  # 1.96 · √n / 2 places from the middle
    low, high = max(0, (rounds - 1) // 2 - away), min(rounds - 1, rounds // 2 + away)
    return {
        "us": [round(1e6 * statistics.median(x), 1) for x in (a, b)],
        "ratio": round(statistics.median(ratios), 3),
        "ratio_95%": [round(ratios[low], 3), round(ratios[high], 3)],
    }
