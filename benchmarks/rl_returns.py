"""How fast are the returns compared with rlax? Same process, interleaved, same numbers.

    python benchmarks/rl_returns.py [--rounds 30] [--only lambda_returns] [--crossover] [--import-time]

Every estimator at several lengths T and batches B (`vmap` over B trajectories); microseconds a call, the least of the
rounds and their median, and the ratio of the leasts (above 1, renga is faster): other work on the machine only ever
adds time. `--crossover` times renga's sequential against its parallel form; `--import-time` what importing
`renga.rl` and rlax adds to importing jax. Results are kept in benchmarks/results/rl_returns_<platform>.json.
"""

import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from renga import rl

RESULTS = pathlib.Path(__file__).parent / "results"
SIZES = [
    (8, 1),
    (128, 1),
    (1024, 1),
    (16_384, 1),
    (8, 64),
    (128, 64),
    (1024, 64),
    (16_384, 64),
    (128, 1024),
    (1024, 1024),
    (16_384, 1024),
]


def trajectory(T, B):
    """Random sequences under the paper's names, batch first."""
    rng = np.random.RandomState(0)
    shape = (T,) if B == 1 else (B, T)
    draw = lambda *extra: jnp.asarray(rng.normal(size=(*shape, *extra)), jnp.float32)
    a = lambda: jnp.asarray(rng.randint(3, size=shape))
    return {
        "r": draw(),
        "g": jnp.asarray((rng.uniform(size=shape) > 0.05) * 0.99, jnp.float32),
        "v": draw(),
        "w": draw(),
        "rho": jnp.exp(draw()),
        "values": jnp.concatenate([draw(), draw()[..., :1]], axis=-1),
        "q": draw(3),
        "p": draw(3),
        "a": a(),
        "b": a(),
        "pi": jax.nn.softmax(draw(3)),
        "mu": jax.nn.sigmoid(draw()),
    }


ESTIMATORS = {
    "discounted_returns": (("r", "g", "v"), lambda L, *x: L.discounted_returns(*x)),
    "lambda_returns": (("r", "g", "v"), lambda L, *x: L.lambda_returns(*x, 0.95)),
    "n_step_bootstrapped_returns": (("r", "g", "v"), lambda L, *x: L.n_step_bootstrapped_returns(*x, 5)),
    "truncated_generalized_advantage_estimation": (
        ("r", "g", "values"),
        lambda L, r, g, v: L.truncated_generalized_advantage_estimation(r, g, 0.95, v),
    ),
    "td_lambda": (("w", "r", "g", "v"), lambda L, *x: L.td_lambda(*x, 0.95)),
    "q_lambda": (("q", "a", "r", "g", "p"), lambda L, *x: L.q_lambda(*x, 0.95)),
    "vtrace": (("w", "v", "r", "g", "rho"), lambda L, *x: L.vtrace(*x)),
    "vtrace_td_error_and_advantage": (
        ("w", "v", "r", "g", "rho"),
        lambda L, *x: L.vtrace_td_error_and_advantage(*x)[:2],
    ),
    "retrace": (("q", "p", "a", "b", "r", "g", "pi", "mu"), lambda L, *x: L.retrace(*x, 0.95)),
}


def compiled(function, B, args):
    function = jax.jit(function if B == 1 else jax.vmap(function))
    return lambda: jax.block_until_ready(function(*args))


def interleaved(runs, rounds):
    """(least, median) in microseconds of each of several calls, in turns."""
    times = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1e6 * (time.perf_counter() - start))
    return {name: (round(min(t), 1), round(statistics.median(t), 1)) for name, t in times.items()}


def against_rlax(only, rounds, sizes):
    import rlax

    for name, (keys, call) in ESTIMATORS.items():
        if only and name not in only:
            continue
        for T, B in sizes:
            args = [trajectory(T, B)[key] for key in keys]
            runs = {
                library.__name__: compiled(lambda *x, L=library, call=call: call(L, *x), B, args)
                for library in (rlax, rl)
            }
            for ours, theirs in zip(*(jax.tree.leaves(run()) for run in reversed(runs.values())), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
            times = interleaved(runs, max(5, rounds // (1 + T * B // 100_000)))
            ratio = times["rlax"][0] / times["renga.rl"][0]
            yield {
                "what": name,
                "T": T,
                "B": B,
                "rlax_us": times["rlax"],
                "renga_us": times["renga.rl"],
                "ratio": round(ratio, 2),
            }


def crossover(rounds, sizes):
    for T, B in sizes:
        args = [trajectory(T, B)[key] for key in "rgv"]
        runs = {
            method: compiled(lambda r, g, v, m=method: rl.lambda_returns(r, g, v, 0.95, method=m), B, args)
            for method in ("sequential", "parallel")
        }
        times = interleaved(runs, max(5, rounds // (1 + T * B // 100_000)))
        ratio = times["sequential"][0] / times["parallel"][0]
        yield {
            "what": "crossover",
            "T": T,
            "B": B,
            **{f"{k}_us": t for k, t in times.items()},
            "ratio": round(ratio, 2),
        }


def import_times(rounds):
    program = "import time, jax; s = time.perf_counter(); import {}; print(time.perf_counter() - s)"
    runs = {name: [] for name in ("rlax", "renga.rl")}
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
    parser.add_argument("--sizes", type=int, nargs="*", default=range(len(SIZES)))
    parser.add_argument("--crossover", action="store_true")
    parser.add_argument("--import-time", action="store_true")
    args = parser.parse_args()
    sizes = [SIZES[i] for i in args.sizes]
    if args.crossover:
        rows = crossover(args.rounds, sizes)
    elif args.import_time:
        rows = import_times(min(args.rounds, 7))
    else:
        rows = against_rlax(args.only, args.rounds, sizes)
    path = RESULTS / f"rl_returns_{jax.default_backend()}.json"
    key = lambda row: f"{row['what']} T={row.get('T')} B={row.get('B')}"
    kept = {key(row): row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    for row in rows:
        kept[key(row)] = row
        print(*(f"{k} {v}" for k, v in row.items()), sep="  ", flush=True)
        document = {
            "command": "python benchmarks/rl_returns.py [--crossover | --import-time]",
            "device": f"{jax.devices()[0].device_kind}, {platform.machine()}, {jax.local_device_count()} device(s)",
            "versions": {"jax": jax.__version__, "python": platform.python_version()},
            "times": "[least, median] microseconds",
            "rows": list(kept.values()),
        }
        path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
