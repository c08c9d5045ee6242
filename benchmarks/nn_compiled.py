"""Is the compiled program as small and as fast as that of a function written by hand?

python benchmarks/nn_compiled.py
"""

import json
import statistics
import time

import jax
import jax.numpy as jnp
from record import write

from renga import nn

LAYERS = 4


def model(x):
    for _ in range(LAYERS):
        h = nn.LayerNorm(-1, True, True)(x)
        x = x + nn.MultiHeadAttention(4, 16, 1.0)(h, h, h)
        x = x + nn.nets.MLP([256, 64])(nn.LayerNorm(-1, True, True)(x))
    return x


def by_hand(params, x):
    """The same network on the same parameters, without modules."""

    def norm(x, p):
        center = jnp.mean(x, -1, keepdims=True)
        variance = jnp.mean(jnp.square(x - center), -1, keepdims=True)
        return (x - center) * (p["scale"] * jax.lax.rsqrt(variance + 1e-5)) + p["offset"]

    def affine(x, p):
        return x @ p["w"] + p["b"]

    def numbered(name, n):
        return params[f"{name}_{n}" if n else name]

    for i in range(LAYERS):
        attention = f"multi_head_attention_{i}" if i else "multi_head_attention"
        h = norm(x, numbered("layer_norm", 2 * i))
        q, k, v = (
            affine(h, params[f"{attention}/{p}"]).reshape(*h.shape[:-1], 4, 16) for p in ("query", "key", "value")
        )
        weights = jax.nn.softmax(jnp.einsum("bthd,bThd->bhtT", q, k) / 4.0)
        heads = jnp.einsum("bhtT,bThd->bthd", weights, v).reshape(h.shape[:-1] + (64,))
        x = x + affine(heads, params[f"{attention}/linear"])
        mlp = f"mlp_{i}" if i else "mlp"
        h = norm(x, numbered("layer_norm", 2 * i + 1))
        x = x + affine(jax.nn.relu(affine(h, params[f"{mlp}/~/linear_0"])), params[f"{mlp}/~/linear_1"])
    return x


def loss(f):
    return jax.jit(jax.value_and_grad(lambda params, x: jnp.sum(f(params, x) ** 2)))


def seconds(step, params, x) -> float:
    start = time.perf_counter()
    for _ in range(10):
        out = step(params, x)
    jax.block_until_ready(out)
    return (time.perf_counter() - start) / 10


def main() -> None:
    f = nn.without_apply_rng(nn.transform(model))
    x = jax.random.normal(jax.random.key(1), [16, 64, 64])
    params = f.init(jax.random.key(0), x)
    programs = {"renga": loss(f.apply), "by_hand": loss(by_hand)}
    compiled = {name: step.lower(params, x).compile() for name, step in programs.items()}
    costs = {name: program.cost_analysis() for name, program in compiled.items()}
    for step in compiled.values():
        seconds(step, params, x)
    laps = [{name: seconds(step, params, x) for name, step in compiled.items()} for _ in range(15)]
    times = {name: statistics.median(lap[name] for lap in laps) for name in compiled}
    out = {
        "question": "value and gradient of a 4-layer transformer: FLOPs, bytes, median seconds a step",
        "flops": {name: cost["flops"] for name, cost in costs.items()},
        "bytes": {name: cost["bytes accessed"] for name, cost in costs.items()},
        "seconds": times,
        "ratio": times["renga"] / times["by_hand"],
        "same_value": bool(jnp.allclose(compiled["renga"](params, x)[0], compiled["by_hand"](params, x)[0], rtol=1e-4)),
    }
    print(json.dumps(out, indent=1))
    write("nn_compiled", "nn_compiled.py", **out)


if __name__ == "__main__":
    main()
