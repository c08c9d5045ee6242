"""How long does a stack of 64 layers take to compile, against one layer?

python benchmarks/nn_stack.py
"""

import json
import statistics
import time

import jax
import jax.numpy as jnp
from record import write

from renga import nn


def block(x):
    h = nn.LayerNorm(-1, True, True)(x)
    h = nn.MultiHeadAttention(4, 16, 1.0)(h, h, h)
    x = x + h
    return x + nn.nets.MLP([256, 64])(nn.LayerNorm(-1, True, True)(x))


def compile_seconds(f, x) -> float:
    jax.clear_caches()
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(f.init, key, x)
    start = time.perf_counter()
    jax.jit(lambda p, x: f.apply(p, None, x)).lower(params, x).compile()
    return time.perf_counter() - start


def main() -> None:
    x = jax.ShapeDtypeStruct([4, 16, 64], jnp.float32)
    one = nn.transform(block)
    stack = nn.transform(lambda x: nn.layer_stack(64)(block)(x))
    compile_seconds(one, x)
    pairs = [(compile_seconds(stack, x), compile_seconds(one, x)) for _ in range(5)]
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    out = {
        "question": "seconds to trace, lower and compile apply, median of 5",
        "stack_of_64": a,
        "one_layer": b,
        "ratio": a / b,
    }
    print(json.dumps(out, indent=1))
    write("nn_stack", "nn_stack.py", **out)


if __name__ == "__main__":
    main()
