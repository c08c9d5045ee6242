"""How fast is `renga.dist` compared with distrax? One process, in pairs, same numbers.

    python benchmarks/dist_speed.py                # compiled: log_prob, sample and divergence of the ten most used
    python benchmarks/dist_speed.py --eager        # the same without `jit`, constructor included
    python benchmarks/dist_speed.py --import-time

A row holds microseconds a call (ours, theirs; medians), theirs / ours in time with a 95 % interval (above 1, renga is
faster; see `paired.py`), and whether both compiled to the same instructions, in which case the ratio shows the noise.
Results are kept in benchmarks/results/dist_speed_<platform>.json.
"""

import argparse
import functools
import logging
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from paired import compare, compile_with, instructions
from record import made, read, write

from renga import dist

RESULTS = pathlib.Path(__file__).parent / "results"
BATCH, SIZE = 1024, 16


def arrays():
    rng = np.random.RandomState(0)
    z = jnp.asarray(rng.normal(size=(BATCH, SIZE)), jnp.float32)
    s = jnp.asarray(rng.uniform(0.5, 2.0, size=(BATCH, SIZE)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(BATCH, SIZE)), jnp.float32)
    k = jnp.asarray(rng.randint(SIZE, size=BATCH))
    return z, s, x, k


Z, S, X, K = arrays()
ONE_HOT = jax.nn.one_hot(K, SIZE, dtype=int)
TABLE = {
    "Categorical": (lambda d, z, s: d.Categorical(logits=z), K),
    "Normal": (lambda d, z, s: d.Normal(z, s), X),
    "MultivariateNormalDiag": (lambda d, z, s: d.MultivariateNormalDiag(z, s), X),
    "Independent": (lambda d, z, s: d.Independent(d.Normal(z, s), 1), X),
    "EpsilonGreedy": (lambda d, z, s: d.EpsilonGreedy(z, 0.1), K),
    "Softmax": (lambda d, z, s: d.Softmax(z, 2.0), K),
    "Transformed": (lambda d, z, s: d.Transformed(d.MultivariateNormalDiag(z, s), d.Block(TANH[d], 1)), jnp.tanh(X)),
    "OneHotCategorical": (lambda d, z, s: d.OneHotCategorical(logits=z), ONE_HOT),
    "Bernoulli": (lambda d, z, s: d.Bernoulli(logits=z), (X > 0).astype(int)),
    "Beta": (lambda d, z, s: d.Beta(s, s + 1), jax.nn.sigmoid(X)),
}  # fmt: skip
TANH = {}  # one bijector a library, so that a divergence knows that it is the same


def calls(library, make, value):
    """What is timed, as functions of arrays."""
    return {
        "log_prob": lambda z, s: make(library, z, s).log_prob(value),
        "sample": lambda z, s: make(library, z, s).sample(seed=jax.random.key(0)),
        "kl_divergence": lambda z, s: make(library, z, s).kl_divergence(make(library, z + 0.1, s + 0.1)),
        # As a loop of an agent without `jit` runs it.
        "construct, sample, log_prob": lambda z, s: (lambda p: (p.sample(seed=jax.random.key(0)), p.log_prob(value)))(
            make(library, z, s)
        ),
        "gradient of a sample": lambda z, s: jax.grad(
            lambda z, s: make(library, z, s).sample(seed=jax.random.key(0)).astype(float).sum(), (0, 1)
        )(z, s),
    }


def against_distrax(only, rounds, eager):
    logging.disable(logging.WARNING)
    import distrax

    TANH.update({library: library.Tanh() for library in (dist, distrax)})
    for name, (make, value) in TABLE.items():
        if only and name not in only:
            continue
        ours, theirs = (calls(library, make, value) for library in (dist, distrax))
        for what, function in ours.items():
            row = {"what": f"{name}.{what}{' eager' if eager else ''}"}
            try:
                if eager:
                    pair = [lambda f=f: jax.block_until_ready(f(Z, S)) for f in (function, theirs[what])]
                    yield row | compare(*pair, rounds)
                    continue
                (program, call), (other, other_call) = (compile_with(f, Z, S) for f in (function, theirs[what]))
                close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)
                if (name, what) != ("Beta", "gradient of a sample"):  # distrax's is not the derivative
                    jax.tree.map(close, call(), other_call())
                same = instructions(program) == instructions(other)
                yield row | compare(call, other_call, rounds) | {"same_instructions": same}
            except Exception as error:  # reported, not hidden: a row without a time
                yield row | {"not_compared": f"{type(error).__name__}: {error}"[:200]}


def import_times(rounds):
    program = "import time, jax, jax.numpy; s = time.perf_counter(); import {}; print(time.perf_counter() - s)"
    runs = {name: [] for name in ("distrax", "renga.dist")}
    for _ in range(rounds):
        for name, times in runs.items():
            out = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", program.format(name)], capture_output=True, check=True
            )
            times.append(float(out.stdout))
    yield {"what": "import", **{f"{name}_s": round(min(times), 3) for name, times in runs.items()}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--import-time", action="store_true")
    args = parser.parse_args()
    made()
    rows = (
        import_times(min(args.rounds, 7)) if args.import_time else against_distrax(args.only, args.rounds, args.eager)
    )
    name = f"dist_speed_{jax.default_backend()}"
    kept = {row["what"]: row for row in read(name).get("rows", [])}
    for row in rows:
        kept[row["what"]] = row | made()
        print(*(f"{k} {v}" for k, v in row.items()), sep="  ", flush=True)
        us = "[ours, theirs], medians of microseconds a call; ratio: theirs / ours, median of pairs"
        write(name, "dist_speed.py [--eager | --import-time]", us=us, rows=list(kept.values()))


if __name__ == "__main__":
    main()
