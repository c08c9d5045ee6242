"""How fast is `renga.rl` compared with rlax? One process, in pairs, same numbers.

    python benchmarks/rl_returns.py                 # the estimators, at several lengths and batches
    python benchmarks/rl_returns.py --functions     # every function of the parity table, 4,096 at a time
    python benchmarks/rl_returns.py --crossover     # sequential against parallel form
    python benchmarks/rl_returns.py --import-time

Estimators run at lengths T and batches B (`vmap` over B trajectories). A row holds microseconds a call (ours, theirs;
medians), theirs / ours in time with a 95 % interval (above 1, renga is faster; see `paired.py`), ours / theirs in the
compiler's FLOPs and bytes, and whether both compiled to the same instructions, in which case the ratio shows the noise.
Results are kept in benchmarks/results/rl_returns_<platform>.json and rl_functions_<platform>.json.
"""

import argparse
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from paired import compare, compile_with, cost, instructions
from record import made, read, write

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


def row_of(ours, theirs, args, rounds):
    """Compares two functions on the same arguments, after checking that they return the same."""
    (our_program, our_call), (their_program, their_call) = (compile_with(f, *args) for f in (ours, theirs))
    for x, y in zip(jax.tree.leaves(our_call()), jax.tree.leaves(their_call()), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3)
    costs = {}
    for name in ("flops", "bytes accessed"):
        mine, other = cost(our_program, name), cost(their_program, name)
        costs[f"{name} ratio"] = round(mine / other, 3) if other else None
    same = instructions(our_program) == instructions(their_program)
    return {**compare(our_call, their_call, rounds), **costs, "same_instructions": same}


def against_rlax(only, rounds, sizes):
    import rlax

    for name, (keys, call) in ESTIMATORS.items():
        if only and name not in only:
            continue
        for T, B in sizes:
            args = [trajectory(T, B)[key] for key in keys]
            sides = [lambda *x, L=library, call=call: call(L, *x) for library in (rl, rlax)]
            if B > 1:
                sides = [jax.vmap(side) for side in sides]
            yield {"what": name, "T": T, "B": B, **row_of(*sides, args, max(7, rounds // (1 + T * B // 400_000)))}


def functions_against_rlax(only, rounds, batch=4096):
    """Every case of the parity table, with its arguments repeated along a new axis."""
    import rlax

    sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests" / "parity" / "rl"))
    from rl_parity_table import TABLE

    for name, entry in TABLE.items():
        if only and name not in only:
            continue
        args = list(entry)
        make = args.pop(0) if callable(args[0]) else None
        static = args.pop() if isinstance(args[-1], dict) else {}
        args = [jnp.asarray(x, jnp.float32 if np.issubdtype(x.dtype, np.floating) else None) for x in args]
        args = [jnp.broadcast_to(x, (batch, *x.shape)).copy() for x in args]

        def side(library, name=name, make=make, static=static):
            function = make(library) if make else getattr(library, name.split("/")[0])
            return jax.vmap(lambda *xs: jax.tree.leaves(function(*xs, **static)))

        try:
            yield {"what": name, "B": batch, **row_of(side(rl), side(rlax), args, rounds)}
        except Exception as error:  # reported, not hidden: a row without a time
            yield {"what": name, "B": batch, "not_compared": f"{type(error).__name__}: {error}"[:200]}


def crossover(rounds, sizes):
    for T, B in sizes:
        args = [trajectory(T, B)[key] for key in "rgv"]
        calls = []
        for method in ("parallel", "sequential"):
            function = lambda r, g, v, m=method: rl.lambda_returns(r, g, v, 0.95, method=m)
            calls.append(compile_with(function if B == 1 else jax.vmap(function), *args)[1])
        row = compare(*calls, max(7, rounds // (1 + T * B // 400_000)))
        yield {"what": "crossover: sequential / parallel", "T": T, "B": B, **row}


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
    parser.add_argument("--functions", action="store_true")
    parser.add_argument("--crossover", action="store_true")
    parser.add_argument("--import-time", action="store_true")
    args = parser.parse_args()
    sizes = [SIZES[i] for i in args.sizes]
    if args.crossover:
        rows = crossover(args.rounds, sizes)
    elif args.import_time:
        rows = import_times(min(args.rounds, 7))
    elif args.functions:
        rows = functions_against_rlax(args.only, args.rounds)
    else:
        rows = against_rlax(args.only, args.rounds, sizes)
    stem = "rl_functions" if args.functions else "rl_returns"
    name = f"{stem}_{jax.default_backend()}"
    key = lambda row: f"{row['what']} T={row.get('T')} B={row.get('B')}"
    kept = {key(row): row for row in read(name).get("rows", [])}
    for row in rows:
        kept[key(row)] = row | made()
        print(*(f"{k} {v}" for k, v in row.items()), sep="  ", flush=True)
        us = "[ours, theirs], medians of microseconds a call; ratio: theirs / ours, median of pairs"
        write(name, "rl_returns.py [--functions | --crossover | --import-time]", us=us, rows=list(kept.values()))


if __name__ == "__main__":
    main()
