"""How much of a run's time is Python, at one millisecond a step?

The same steps run once as `renga.loop.run` does them (chunks, metrics to JSON lines and TensorBoard, checkpoints) and
once as a single call of the compiled program; the difference is what the loop costs. Thirty metrics are written.

    python benchmarks/loop_overhead.py
"""

import dataclasses
import json
import statistics
import tempfile
import time

import jax
import jax.numpy as jnp
from record import write

from renga import loop

STEPS, LAPS, SIZE = 16_000, 3, 176


@dataclasses.dataclass(frozen=True)
class Empty:
    """A config without fields."""


def make(num_products):
    """A system whose step multiplies matrices `num_products` times."""

    def init(key):
        return jax.random.normal(key, (SIZE, SIZE))

    def step(state):
        for _ in range(num_products):
            state = jnp.tanh(state @ state * 0.05)
        return state, {f"metric_{i}": state[0, i] for i in range(30)}

    return init, step


def calibrated():
    """Finds how many products take about a millisecond."""
    init, step = make(1)
    updates = loop.iterate(step, init(jax.random.key(0)), steps=2000, window=1000, marks=[1000], seconds=1e9)
    next(updates)  # compiles
    began = time.perf_counter()
    next(updates)
    return max(1, round(1e-3 / ((time.perf_counter() - began) / 1000)))


def main():
    """Times both, interleaved, and writes the medians."""
    num_products = calibrated()
    init, step = make(num_products)
    window = STEPS // 500
    plain, whole = [], []
    for _ in range(LAPS):
        # Both laps compile first, in a window of their own that is not timed.
        updates = loop.iterate(
            step, jax.jit(init)(jax.random.key(0)), steps=STEPS, window=STEPS // 2, marks=[STEPS // 2]
        )
        next(updates)
        began = time.perf_counter()
        next(updates)
        plain.append((time.perf_counter() - began) / (STEPS // 2))
        with tempfile.TemporaryDirectory() as directory:
            stamps = []
            loop.run(
                lambda _: make(num_products),
                Empty(),
                steps=STEPS,
                directory=f"{directory}/run",
                window=window,
                checkpoint_seconds=30.0,
                show=False,
                pictures=lambda state, stamps=stamps: stamps.append(time.perf_counter()) or {},
                num_pictures=2,  # start, middle, end
            )
            whole.append((stamps[2] - stamps[1]) / (STEPS - STEPS // 2))
    plain_ms, whole_ms = (1e3 * statistics.median(t) for t in (plain, whole))
    result = {
        "milliseconds_a_step": {"one compiled call": round(plain_ms, 4), "renga.loop.run": round(whole_ms, 4)},
        "share_of_python": round(1 - plain_ms / whole_ms, 4),
    }
    print(json.dumps(result, indent=2))
    write("loop_overhead", "loop_overhead.py", **result)


if __name__ == "__main__":
    main()
