"""How long does tracing `apply` take, against Haiku, in one process, interleaved?

python benchmarks/nn_trace.py
"""

import statistics
import time

import haiku as hk
import jax
import jax.numpy as jnp
from record import write

from renga import nn


def transformer(lib):
    def f(x):
        mask = jnp.tril(jnp.ones([1, 1, x.shape[1], x.shape[1]]))
        for _ in range(12):
            h = lib.LayerNorm(-1, True, True)(x)
            x = x + lib.MultiHeadAttention(4, 16, 1.0)(h, h, h, mask)
            h = lib.LayerNorm(-1, True, True)(x)
            x = x + lib.nets.MLP([256, 64], activation=jax.nn.gelu)(h)
        return x

    return f


MODELS = {
    "mlp": (lambda lib: lambda x: lib.nets.MLP([300, 100, 10])(x), (32, 784), 20),
    "transformer12": (transformer, (2, 16, 64), 7),
    "resnet50": (lambda lib: lambda x: lib.nets.ResNet50(1000)(x, True), (1, 64, 64, 3), 5),
}


def lap(f, args) -> float:
    jax.clear_caches()
    start = time.perf_counter()
    jax.jit(lambda *a: f.apply(*a)).trace(*args)
    return time.perf_counter() - start


def main() -> None:
    results = {}
    for name, (build, shape, laps) in MODELS.items():
        ours, theirs = (lib.transform_with_state(build(lib)) for lib in (nn, hk))
        key = jax.eval_shape(lambda: jax.random.key(0))
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        args = (*jax.eval_shape(ours.init, key, x), None, x)
        lap(ours, args), lap(theirs, args)
        pairs = [(lap(ours, args), lap(theirs, args)) for _ in range(laps)]
        a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
        results[name] = {"renga": a, "haiku": b, "ratio": a / b, "laps": laps}
        print(name, results[name])
    question = "seconds to trace apply, median, caches cleared between laps"
    write("nn_trace", "nn_trace.py", question=question, models=results)


if __name__ == "__main__":
    main()
