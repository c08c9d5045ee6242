"""How fast are segment sums and means? Against jraph and SciPy's CSR product, one process, in pairs, same numbers.

    python benchmarks/graph_speed.py [--nodes 100000] [--edges 1000000] [--features 64] [--rounds 15]

A row holds microseconds a call (ours, theirs; medians) and theirs / ours in time with a 95 % interval (above 1, renga
is faster; see `paired.py`). SciPy multiplies a CSR matrix that was built before; ours and jraph's take ids as they are.
"reading" is the sum of all rows into one, `x.sum(0)`: no segment sum can be quicker than it takes to read the data.
Results are kept in benchmarks/results/graph_speed_<platform>.json.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from paired import compare, compile_with
from record import made, write

from renga import graph

RESULTS = pathlib.Path(__file__).parent / "results"


def rows(n, e, features, rounds):
    import jraph
    import scipy.sparse

    rng = np.random.default_rng(0)
    data, drawn = rng.normal(size=(e, features)).astype(np.float32), rng.integers(0, n, e).astype(np.int32)
    x = jnp.asarray(data)
    for order, ids in (("unsorted", drawn), ("sorted", np.sort(drawn))):
        i, in_order = jnp.asarray(ids), order == "sorted"
        count = np.maximum(np.bincount(ids, minlength=n), 1)
        for name in ("segment_sum", "segment_mean"):
            weight = 1 / count[ids] if name == "segment_mean" else np.ones(e)
            matrix = scipy.sparse.csr_array((weight.astype(np.float32), (ids, np.arange(e))), shape=(n, e))

            def run(library, name=name, i=i, in_order=in_order):
                call = lambda *args: getattr(library, name)(*args, n, in_order)
                return compile_with(call, x, i)

            ours = run(graph)[1]
            sides = {"jraph": run(jraph)[1], "scipy": lambda matrix=matrix: matrix @ data}
            if name == "segment_sum":
                sides["reading"] = compile_with(lambda x: x.sum(0), x)[1]
            for peer, theirs in sides.items():
                if peer != "reading":
                    np.testing.assert_allclose(ours(), theirs(), rtol=1e-3, atol=1e-3)
                yield {"what": f"{name} {order} against {peer}", **compare(ours, theirs, rounds)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    made()
    kept = []
    for row in rows(args.nodes, args.edges, args.features, args.rounds):
        kept.append(row)
        print(*(f"{k} {v}" for k, v in row.items()), sep="  ", flush=True)
    sizes = {"nodes": args.nodes, "edges": args.edges, "features": args.features}
    us = "[ours, theirs], medians of microseconds a call; ratio: theirs / ours, median of pairs"
    write(f"graph_speed_{jax.default_backend()}", "graph_speed.py", sizes=sizes, us=us, rows=kept)


if __name__ == "__main__":
    main()
