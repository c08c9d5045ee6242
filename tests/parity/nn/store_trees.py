"""Writes what Haiku makes of every example: names, shapes, dtypes and a fingerprint of each initial value.

python tests/parity/nn/store_trees.py
"""

import json
import pathlib
import sys
import warnings
from importlib.metadata import version

import jax

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "nn"))
from nn_catalogue import EXAMPLES, STORED, describe_tree, fingerprint


def main() -> None:
    warnings.simplefilter("ignore")
    import haiku as hk

    trees = {}
    for name, example in EXAMPLES.items():
        init, order = hk.transform_with_state(example.build(hk)).init, []

        def run(key, *args, init=init, order=order):
            order.append(init(key, *args))
            return order[-1]

        made = jax.jit(run)(jax.random.key(3), *example.args())
        # jit sorts dictionaries: the order is that of the trace.
        made = [
            {b: {n: tree[b][n] for n in values} for b, values in o.items()}
            for tree, o in zip(made, order[-1], strict=True)
        ]
        trees[name] = [
            [[*row, fingerprint(x)] for row, x in zip(describe_tree(tree), leaves(tree), strict=True)] for tree in made
        ]
        print(name)
    versions = {package: version(package) for package in ("dm-haiku", "jax")}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in trees.items())
    STORED.write_text(f'{{"versions": {json.dumps(versions)},\n"trees": {{\n{lines}\n}}}}\n')


def leaves(tree):
    return [x for values in tree.values() for value in values.values() for x in jax.tree.leaves(value)]


if __name__ == "__main__":
    main()
