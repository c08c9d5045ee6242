"""How much memory does a compiled search take compared with mctx? XLA's own analysis; no run.

    python benchmarks/search_memory.py [--policy muzero gumbel] [--sizes 0 1 2 3 4 5]

Output and temporary buffers in bytes. The results are kept in benchmarks/results/search_memory.json, those of
other policies and sizes as they were.
"""

import argparse

import jax
import mctx
from record import made, read, write
from search_speed import POLICIES, SIZES, make_model

from renga import search


def analysis(library, policy, batch, simulations, num_actions):
    root, step = make_model(library, batch, num_actions)
    fn = jax.jit(lambda key, root: getattr(library, policy)((), key, root, step, simulations))
    memory = fn.lower(jax.random.key(0), root).compile().memory_analysis()
    return memory.output_size_in_bytes + memory.temp_size_in_bytes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--policy", nargs="*", choices=("muzero", "gumbel"), default=("muzero", "gumbel"))
    parser.add_argument("--sizes", type=int, nargs="*", default=range(len(SIZES)))
    args = parser.parse_args()
    rows = {(row["policy"], row["size"]): row for row in read("search_memory").get("rows", [])}
    for policy in args.policy:
        for size in (SIZES[i] for i in args.sizes):
            theirs, ours = (analysis(library, POLICIES[policy][0], *size) for library in (mctx, search))
            row = {"mctx": theirs, "renga": ours, "ratio": ours / theirs, **made()}
            rows[policy, str(size)] = {"policy": policy, "size": str(size), **row}
            print(f"{policy:8} {size!s:>16}  mctx {theirs:11}  renga {ours:11}  ratio {ours / theirs:.3f}", flush=True)
            order = [(name, str(s)) for name in ("muzero", "gumbel") for s in SIZES]
            write("search_memory", "search_memory.py", rows=[rows[k] for k in order if k in rows])


if __name__ == "__main__":
    main()
