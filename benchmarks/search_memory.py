"""How much memory does a compiled search take compared with mctx? XLA's own analysis; no run.

    python benchmarks/search_memory.py

Output and temporary buffers in bytes. The results are kept in benchmarks/results/search_memory.json.
"""

import jax
import mctx
from search_speed import POLICIES, SIZES, make_model, save

from renga import search


def analysis(library, policy, batch, simulations, num_actions):
    root, step = make_model(library, batch, num_actions)
    fn = jax.jit(lambda key, root: getattr(library, policy)((), key, root, step, simulations))
    memory = fn.lower(jax.random.key(0), root).compile().memory_analysis()
    return memory.output_size_in_bytes + memory.temp_size_in_bytes


def main():
    rows = []
    for policy in ("muzero", "gumbel"):
        for size in SIZES:
            theirs, ours = (analysis(library, POLICIES[policy][0], *size) for library in (mctx, search))
            rows.append({"policy": policy, "size": str(size), "mctx": theirs, "renga": ours, "ratio": ours / theirs})
            print(f"{policy:8} {size!s:>16}  mctx {theirs:11}  renga {ours:11}  ratio {ours / theirs:.3f}", flush=True)
    save("search_memory", rows, "python benchmarks/search_memory.py")


if __name__ == "__main__":
    main()
