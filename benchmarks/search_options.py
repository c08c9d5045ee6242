"""What do the options of a search cost? Each against the plain search, at the same number of simulations.

    python benchmarks/search_options.py

MuZero's policy for 64 trees, 128 simulations, 9 actions; interleaved medians in milliseconds. The results are kept in
benchmarks/results/search_options.json.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from record import write
from search_speed import make_model, own_qtransform

from renga import search

SIZE = (64, 128, 9)


def own_function(rng_key, tree, node_index, depth=0):
    """A function that computes something, so that the library cannot know what it depends on."""
    return search.muzero_action_selection(rng_key, tree, node_index, depth) + 0


class OwnRule(search.Selection):
    """PUCT as a user would write it, for one node."""

    pb_c_init: float = 1.25
    pb_c_base: float = 19652.0
    noisy = True

    def node_scores(self, node):
        visits, value = node.children_visits, node.node_values
        family = jnp.where(visits > 0, node.qvalues, value)
        low, high = jnp.minimum(value, jnp.min(family)), jnp.maximum(value, jnp.max(family))
        x = (jnp.where(visits > 0, node.qvalues, low) - low) / jnp.maximum(high - low, 1e-8)
        pb_c = self.pb_c_init + jnp.log((node.node_visits + self.pb_c_base + 1) / self.pb_c_base)
        prior = jax.nn.softmax(node.children_prior_logits)
        return x + jnp.sqrt(node.node_visits) * pb_c * prior / (visits + 1)


class OwnQTransform(search.QTransform):
    """`own_qtransform`, for one node."""

    def transform(self, node):
        return jnp.tanh(node.qvalues)


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

    def own(rule, key):
        return search.search(
            (), key, root=root, recurrent_fn=step, num_simulations=simulations,
            root_action_selection_fn=rule, interior_action_selection_fn=rule,
        ).node_values  # fmt: skip

    return {
        "plain": policy,
        "masks and terminal nodes": lambda key: policy(key, root.replace(invalid_actions=mask), masked),
        "budgets, on average half": lambda key: policy(key, budgets=jnp.linspace(0, simulations, batch).astype(int)),
        "a kept tree": lambda key: policy(key, None, tree=kept),
        "waves of 8": lambda key: policy(key, num_parallel=8),
        "the depth limited to 8": lambda key: policy(key, max_depth=8),
        "a Q-transform of one's own": lambda key: policy(key, qtransform=own_qtransform),
        "a Q-transform of one's own, of one node": lambda key: policy(key, qtransform=OwnQTransform()),
        "a selection of one's own": lambda key: own(own_function, key),
        "a selection of one's own, of one node": lambda key: own(OwnRule(), key),
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
    write("search_options", "search_options.py", rows=rows)


if __name__ == "__main__":
    main()
