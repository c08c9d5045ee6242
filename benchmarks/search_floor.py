"""How far is a simulation from what has to be computed and moved?

    python benchmarks/search_floor.py [--rounds 9]

For a few sizes, with the model of `search_speed.py`, in microseconds a simulation (medians of interleaved calls):

- the search, and mctx's;
- the model alone: the same number of its steps, one after the other;
- the scores alone: those of all nodes on a simulation's paths, which change with it and have to be made anew, as one
  stream of arithmetic without a tree (tiles of 64 nodes, or one row after the other where there are few trees).

And counted: nodes on the paths of a simulation, operations of the scores and of the model (XLA's count, a logarithm or
an exponential as one), bytes that are read and written on the paths, and how many programs XLA starts a simulation
(instructions in the loop over simulations; those in a loop within it as often as a path has nodes).
"""

import argparse
import re
import statistics
import time

import jax
import jax.numpy as jnp
import mctx
from record import made, write
from search_speed import compiled, make_model

from renga import search
from renga.search._tree import Node

SIZES = [
    ("gumbel", 1, 64, 9), ("gumbel", 16, 64, 9), ("gumbel", 64, 64, 9), ("gumbel", 256, 128, 9),
    ("gumbel", 32, 64, 362), ("muzero", 16, 64, 9), ("muzero", 64, 128, 9), ("muzero", 32, 64, 362),
]  # fmt: skip
RULES = {"gumbel": search.GumbelInterior(), "muzero": search.Puct()}
WIDTH = 64
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
EDGE_FIELDS, NODE_FIELDS = 6, 4  # numbers read of each action, and read and written of each node


def best(rule, tree, known):
    """The action that a rule takes at each node of a tile."""
    return jnp.argmax(rule.node_scores(Node(tree, None, None, known=dict(known))), axis=0)


def fields(tree, width):
    """The rows of some nodes of a searched tree, as the columns of a tile; of one node as they are."""
    flat = lambda x: x.reshape(-1, *x.shape[2:])
    columns = lambda x: flat(x)[:width].T.reshape(-1, width) if width > 1 else flat(x)[0]
    names = ("children_prior_logits", "children_visits", "children_rewards", "children_discounts", "children_values")
    known = {name: columns(getattr(tree, name)) for name in names}
    return known | {name: columns(getattr(tree, name)) for name in ("node_visits", "raw_values", "node_values")}


def scores_alone(rule, tree, tiles, width):
    """Makes the scores of so many tiles, each after a visit of what the last one chose."""

    def body(known, _):
        action = best(rule, tree, known)
        seen = (jnp.arange(known["children_visits"].shape[0]).reshape(-1, *[1] * (width > 1)) == action).astype(
            jnp.int32
        )
        return known | {"children_visits": known["children_visits"] + seen}, None

    run = jax.jit(lambda known: jax.lax.scan(body, known, length=tiles)[0]["children_visits"])
    known = fields(tree, width)
    run = run.lower(known).compile()
    return lambda: jax.block_until_ready(run(known))


def model_alone(batch, simulations, num_actions):
    """Takes the model's steps, one after the other."""
    root, step = make_model(search, batch, num_actions)

    def body(state, action):
        output, state = step((), None, action, state)
        return state, (output.reward, output.value, output.prior_logits)

    actions = jax.random.randint(jax.random.key(0), (simulations, batch), 0, num_actions)
    run = jax.jit(lambda state: jax.lax.scan(body, state, actions)).lower(root.embedding).compile()
    one = jax.jit(body).lower(root.embedding, actions[0]).compile()
    return lambda: jax.block_until_ready(run(root.embedding)), operations(one)


def operations(program):
    """Operations of a compiled program, transcendental functions among them."""
    cost = program.cost_analysis()
    return int(cost.get("flops", 0) + cost.get("transcendentals", 0))


def started(library, policy, batch, simulations, num_actions, path):
    """How many programs XLA starts for one simulation."""
    root, step = make_model(library, batch, num_actions)
    name = {"gumbel": "gumbel_muzero_policy", "muzero": "muzero_policy"}[policy]
    run = jax.jit(lambda key, root: getattr(library, name)((), key, root, step, simulations))
    text = run.lower(jax.random.key(1), root).compile().as_text()
    bodies, current = {}, ""
    for line in text.splitlines():
        head = re.match(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$", line)
        if head:
            current = "ENTRY" if line.startswith("ENTRY") else head[1]
            bodies[current] = []
        elif call := re.match(r"\s*(?:ROOT )?%?[\w.\-]+ = .+? ([\w\-]+)\(", line):
            inner = re.search(r"body=%?([\w.\-]+)", line)
            rounds = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
            bodies[current].append((call[1], inner and inner[1], int(rounds[1]) if rounds else path))

    def count(body):
        direct = sum(kind not in FREE for kind, *_ in bodies[body])
        return direct + sum(rounds * count(inner) for _, inner, rounds in bodies[body] if inner)

    loops = [(inner, rounds) for _, inner, rounds in bodies["ENTRY"] if inner]
    over_simulations = [inner for inner, rounds in loops if rounds == simulations] or [inner for inner, _ in loops]
    return max(map(count, over_simulations))


def measure(policy, batch, simulations, num_actions, rounds):
    """One row."""
    ours, theirs = (compiled(m, policy, batch, simulations, num_actions) for m in (search, mctx))
    tree = ours().search_tree
    nodes = float((tree.node_visits.sum() - batch) / simulations)  # without the leaves, whose choice can wait
    nodes -= batch * (1 - 1 / simulations)
    in_tiles = batch >= 8 and num_actions < WIDTH
    width = WIDTH if in_tiles else 1
    tiles = max(1, round(nodes * simulations / width))
    model, of_model = model_alone(batch, simulations, num_actions)
    scores = scores_alone(RULES[policy], tree, tiles, width)
    one = jax.jit(lambda known: best(RULES[policy], tree, known)).lower(fields(tree, width)).compile()
    runs = {"search": ours, "mctx": theirs, "model": model, "scores": scores}
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            start = time.perf_counter()
            run()
            times[name].append(1e6 * (time.perf_counter() - start) / simulations)
    found = {name: round(statistics.median(t), 2) for name, t in times.items()}
    return {
        "policy": policy, "batch": batch, "simulations": simulations, "actions": num_actions,
        "us_a_simulation": found,
        "nodes": round(nodes, 1),
        "operations": {"scores": round(nodes * operations(one) / width), "model": of_model},
        "bytes": round(4 * (nodes * (EDGE_FIELDS * num_actions + 2 * NODE_FIELDS) + batch * num_actions)),
        "started": {
            "search": round(started(search, policy, batch, simulations, num_actions, nodes / batch)),
            "mctx": round(started(mctx, policy, batch, simulations, num_actions, nodes / batch)),
        },
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dry", action="store_true", help="print only, write no record")
    options = parser.parse_args()
    if not options.dry:
        made()  # refuses at once, and not at the end
    rows = []
    for size in SIZES:
        rows.append(measure(*size, options.rounds))
        print(rows[-1], flush=True)
    if not options.dry:
        write("search_floor", "search_floor.py", rounds=options.rounds, rows=rows)


if __name__ == "__main__":
    main()
