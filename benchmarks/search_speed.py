"""How fast is a search compared with mctx? Same process, interleaved, identical results.

    python benchmarks/search_speed.py [--policy muzero|gumbel] [--rounds 5] [--sizes 0 1 2 3 4 5]

Medians in milliseconds of calls that are compiled already. "own" is MuZero with a Q-transform of the
user's, which the library cannot prepare. Results are kept in benchmarks/results/search_speed_<policy>.json; each
row has the commit it was measured at and when.
"""

import argparse
import functools
import pathlib
import time

import jax
import jax.numpy as jnp
import mctx
import numpy as np
from record import made, read, write

from renga import search

SIZES = [(1, 64, 9), (64, 128, 9), (256, 128, 9), (32, 64, 362), (32, 256, 362), (8, 800, 362)]
RESULTS = pathlib.Path(__file__).parent / "results"


def make_model(library, batch, num_actions, width=16):
    """A tiny network, so that the search itself is what is measured."""
    rng = np.random.RandomState(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    by_action, transition = draw(num_actions, width), draw(width, width) / 4
    to_logits, to_value = draw(width, num_actions), 0.3 * draw(width)

    def step(params, rng_key, action, state):
        state = jnp.tanh(state @ transition + by_action[action])
        return library.RecurrentFnOutput(
            reward=state[:, 0],
            discount=jnp.full(action.shape, 0.97),
            prior_logits=state @ to_logits,
            value=state @ to_value,
        ), state

    state = draw(batch, width)
    root = library.RootFnOutput(prior_logits=state @ to_logits, value=state @ to_value, embedding=state)
    return root, step


def compiled(library, policy, batch, simulations, num_actions):
    """A call of a policy without arguments."""
    root, step = make_model(library, batch, num_actions)
    name, options = POLICIES[policy]
    policy = functools.partial(getattr(library, name), **options)
    fn = jax.jit(lambda key, root: policy((), key, root, step, simulations))
    fn = fn.lower(jax.random.key(1), root).compile()
    return lambda: jax.block_until_ready(fn(jax.random.key(1), root))


def own_qtransform(tree, node):
    return jnp.tanh(tree.qvalues(node))


POLICIES = {
    "muzero": ("muzero_policy", {}),
    "gumbel": ("gumbel_muzero_policy", {}),
    "own": ("muzero_policy", {"qtransform": own_qtransform}),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--policy", choices=list(POLICIES), default="muzero")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=range(len(SIZES)))
    args = parser.parse_args()
    file = f"search_speed_{args.policy}"
    rows = {row["size"]: row for row in read(file).get("rows", [])}
    for size in (SIZES[i] for i in args.sizes):
        runs = {m.__name__: compiled(m, args.policy, *size) for m in (mctx, search)}
        times, outputs = {name: [] for name in runs}, {}
        for _ in range(args.rounds):
            for name, run in runs.items():
                start = time.perf_counter()
                outputs[name] = run()
                times[name].append(1e3 * (time.perf_counter() - start))
        names = ("node_visits", "children_visits", "children_index", "action_from_parent")
        one, other = (output.search_tree for output in outputs.values())
        same = all(bool(jnp.all(one[n] == other[n])) for n in names)
        theirs, ours = (float(np.median(t)) for t in times.values())
        row = {
            "size": str(size), "mctx_ms": theirs, "renga_ms": ours, "ratio": theirs / ours,
            "rounds": args.rounds, "identical": same, **made(),
        }  # fmt: skip
        rows[str(size)] = row
        print(
            f"{size!s:>16}  mctx {theirs:9.2f}  renga {ours:8.2f}  ratio {theirs / ours:5.1f}  identical {same}",
            flush=True,
        )
        in_order = [rows[str(s)] for s in SIZES if str(s) in rows]
        write(file, f"search_speed.py --policy {args.policy}", rows=in_order)


if __name__ == "__main__":
    main()
