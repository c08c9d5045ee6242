"""What do the options of a search cost? Each against the plain search, at the same number of simulations.

    python benchmarks/search_options.py

MuZero's policy for 64 trees, 128 simulations, 9 actions; interleaved medians in milliseconds. The results are kept in
benchmarks/results/search_options.json.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from search_speed import make_model, own_qtransform, save

from renga import search

SIZE = (64, 128, 9)


def own_rule(rng_key, tree, node_index, depth=0):
    return search.muzero_action_selection(rng_key, tree, node_index, depth)


def searches():
    """Each option as a function of a key."""
    batch, simulations, num_actions = SIZE
    root, step = make_model(search, batch, num_actions)
    policy = lambda key, root=root, step=step, **options: (
        search.muzero_policy((), key, root, step, simulations, **options).search_tree.node_values
    )
    before = search.muzero_policy((), jax.random.key(0), root, step, 32).search_tree
    kept = search.reroot(before, jnp.argmax(before.children_visits[:, 0], -1), capacity=32 + simulations)
    mask = jnp.zeros((batch, num_actions), bool).at[:, 0].set(True)

    def masked(params, rng_key, action, state):
        output, state = step(params, rng_key, action, state)
        return output.replace(invalid_actions=mask, terminal=jnp.zeros(batch, bool)), state

    def own(key):
        return search.search(
            (), key, root=root, recurrent_fn=step, num_simulations=simulations,
            root_action_selection_fn=own_rule, interior_action_selection_fn=own_rule,
        ).node_values  # fmt: skip

    return {
        "plain": policy,
        "masks and terminal nodes": lambda key: policy(key, root.replace(invalid_actions=mask), masked),
        "budgets, on average half": lambda key: policy(key, budgets=jnp.linspace(0, simulations, batch).astype(int)),
        "a kept tree": lambda key: policy(key, None, tree=kept),
        "waves of 8": lambda key: policy(key, num_parallel=8),
        "the depth limited to 8": lambda key: policy(key, max_depth=8),
        "a Q-transform of one's own": lambda key: policy(key, qtransform=own_qtransform),
        "a selection of one's own": own,
        "differentiable": lambda key: policy(key, differentiable=True),
    }


def main():
    key = jax.random.key(1)
    runs = {name: jax.jit(fn).lower(key).compile() for name, fn in searches().items()}
    times = {name: [] for name in runs}
    for _ in range(7):
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run(key))
            times[name].append(1e3 * (time.perf_counter() - start))
    plain = float(np.median(times["plain"]))
    rows = [
        {"option": name, "ms": float(np.median(t)), "ratio": float(np.median(t)) / plain} for name, t in times.items()
    ]
    for row in rows:
        print(f"{row['option']:30} {row['ms']:9.2f} ms  {row['ratio']:5.1f} x plain", flush=True)
    save("search_options", rows, "python benchmarks/search_options.py")


if __name__ == "__main__":
    main()
