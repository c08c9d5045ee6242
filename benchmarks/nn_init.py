"""How long does `init` take, against Haiku's eager `init`, in one process?

python benchmarks/nn_init.py [resnet50|mlp] [abstract]
"""

import json
import statistics
import sys
import time

import haiku as hk
import jax
import jax.numpy as jnp
from record import write

from renga import nn

MODELS = {
    "mlp": (lambda lib: lambda x: lib.nets.MLP([300, 100, 10])(x), (32, 784)),
    "resnet50": (lambda lib: lambda x: lib.nets.ResNet50(1000)(x, True), (1, 224, 224, 3)),
}


def seconds(init, *args):
    start = time.perf_counter()
    out = jax.block_until_ready(init(*args))
    return time.perf_counter() - start, out


def main(name: str, how: str = "init") -> None:
    build, shape = MODELS[name]
    x, key = jnp.ones(shape), jax.random.key(0)
    jax.block_until_ready(jax.random.split(key))  # the backend has started
    ours = nn.transform_with_state(build(nn))
    ours = nn.abstract_init(ours) if how == "abstract" else ours.init
    theirs = hk.transform_with_state(build(hk)).init
    # First calls, as in a fresh program: compilation is part of the time.
    first, mine = seconds(ours, key, x)
    upstream, other = seconds(theirs, key, x)
    # Later calls, by turns.
    laps = [(seconds(ours, key, x)[0], seconds(theirs, key, x)[0]) for _ in range(9)]
    again, upstream_again = (statistics.median(lap) for lap in zip(*laps, strict=True))
    same = jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), mine[0], other[0]))
    result = {
        "question": "seconds of init: first call, and median of the next nine",
        "model": name,
        "renga": "nn.abstract_init(f)" if how == "abstract" else "f.init",
        "renga_first": first,
        "haiku_first": upstream,
        "ratio_first": first / upstream,
        "renga_later": again,
        "haiku_later": upstream_again,
        "ratio_later": again / upstream_again,
        "same_bits": same,
    }
    print(json.dumps(result, indent=1))
    record = f"nn_{how}_{name}".replace("abstract", "abstract_init")
    write(record, f"nn_init.py {name} {how}".removesuffix(" init"), **result)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["resnet50"]))
