"""ResNet-50 and a 12-layer transformer in bfloat16: forwards and backwards, init and compile times, against Flax."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from renga import nn

from .timing import against, alone, optional, rows


def blocks_of(sizes):
    """Yields width, stride and whether the shortcut is projected, for each block of a ResNet."""
    for i, (count, width) in enumerate(zip(sizes["blocks"], sizes["widths"], strict=True)):
        for j in range(count):
            yield width, 2 if j == 0 and i > 0 else 1, j == 0


def resnet(sizes):
    """A ResNet with bottlenecks, as a function of pictures in Renga."""

    def network(x):
        norm = lambda x: nn.BatchNorm(True, True, 0.9)(x, is_training=True)
        conv = lambda x, width, size, stride: nn.Conv2D(width, size, stride, with_bias=False)(x)
        x = nn.max_pool(jax.nn.relu(norm(conv(x, sizes["widths"][0] // 4, 7, 2))), (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        for width, stride, projected in blocks_of(sizes):
            y = jax.nn.relu(norm(conv(x, width // 4, 1, 1)))
            y = jax.nn.relu(norm(conv(y, width // 4, 3, stride)))
            y = norm(conv(y, width, 1, 1))
            x = jax.nn.relu(y + (norm(conv(x, width, 1, stride)) if projected else x))
        return nn.Linear(sizes["classes"])(jnp.mean(x, (1, 2)))

    return network


def transformer(sizes):
    """A causal transformer with norms before its layers, as a function of vectors in Renga."""

    def network(x):
        width, heads = x.shape[-1], sizes["heads"]
        mask = jnp.tril(jnp.ones((1, 1, x.shape[1], x.shape[1]), bool))
        norm = lambda x: nn.LayerNorm(-1, True, True)(x)
        for _ in range(sizes["layers"]):
            h = norm(x)
            attend = nn.MultiHeadAttention(heads, width // heads, w_init=nn.initializers.VarianceScaling(1.0))
            x = x + attend(h, h, h, mask)
            x = x + nn.Linear(width)(jax.nn.gelu(nn.Linear(4 * width)(norm(x))))
        return norm(x)

    return network


def in_flax(linen, name, sizes):
    """The same two networks as Flax modules."""

    class ResNet(linen.Module):
        @linen.compact
        def __call__(self, x):
            norm = lambda x: linen.BatchNorm(use_running_average=False, momentum=0.9, dtype=x.dtype)(x)
            conv = lambda x, width, size, stride: linen.Conv(
                width, (size, size), (stride, stride), use_bias=False, dtype=x.dtype
            )(x)
            x = jax.nn.relu(norm(conv(x, sizes["widths"][0] // 4, 7, 2)))
            x = linen.max_pool(x, (3, 3), (2, 2), "SAME")
            for width, stride, projected in blocks_of(sizes):
                y = jax.nn.relu(norm(conv(x, width // 4, 1, 1)))
                y = jax.nn.relu(norm(conv(y, width // 4, 3, stride)))
                y = norm(conv(y, width, 1, 1))
                x = jax.nn.relu(y + (norm(conv(x, width, 1, stride)) if projected else x))
            return linen.Dense(sizes["classes"], dtype=x.dtype)(jnp.mean(x, (1, 2)))

    class Transformer(linen.Module):
        @linen.compact
        def __call__(self, x):
            width, heads = x.shape[-1], sizes["heads"]
            mask = jnp.tril(jnp.ones((1, 1, x.shape[1], x.shape[1]), bool))
            norm = lambda x: linen.LayerNorm(dtype=x.dtype)(x)
            for _ in range(sizes["layers"]):
                attend = linen.MultiHeadDotProductAttention(heads, dtype=x.dtype)
                x = x + attend(norm(x), mask=mask)
                h = jax.nn.gelu(linen.Dense(4 * width, dtype=x.dtype)(norm(x)))
                x = x + linen.Dense(width, dtype=x.dtype)(h)
            return norm(x)

    return {"ResNet-50": ResNet, "transformer": Transformer}[name]()


def trained(init, apply, x):
    """Compiles init and a gradient, and returns a call of it, how long all that took, and the number of parameters."""
    start = time.perf_counter()
    params, state = jax.block_until_ready(jax.jit(init)(jax.random.key(0), x))
    middle = time.perf_counter()
    params = jax.tree.map(lambda p: p.astype(x.dtype), params)

    def loss(params, state, x):
        return jnp.mean(jnp.square(apply(params, state, x).astype(jnp.float32)))

    begun = time.perf_counter()
    program = jax.jit(jax.grad(loss)).lower(params, state, x).compile()
    times = [round(middle - start, 2), round(time.perf_counter() - begun, 2)]
    count = sum(p.size for p in jax.tree.leaves(params))
    return lambda: jax.block_until_ready(program(params, state, x)), times, count


def run(tiny, done):
    flax = optional("flax.linen")
    rounds = 3 if tiny else 15
    sizes = {"blocks": (3, 4, 6, 3), "widths": (256, 512, 1024, 2048), "classes": 1000, "heads": 12, "layers": 12}
    shapes = {"transformer": (16, 1024, 768), "ResNet-50": (128, 224, 224, 3)}
    if tiny:
        sizes = {"blocks": (1,), "widths": (8,), "classes": 3, "heads": 2, "layers": 1}
        shapes = {"ResNet-50": (2, 8, 8, 3), "transformer": (2, 4, 8)}

    def cells(name):
        x = jnp.asarray(np.random.RandomState(0).normal(size=shapes[name]), jnp.bfloat16)
        network = nn.transform_with_state({"ResNet-50": resnet, "transformer": transformer}[name](sizes))
        network = nn.without_apply_rng(network)
        ours, times, count = trained(network.init, lambda p, s, x: network.apply(p, s, x)[0], x)
        kept = {"init s": times[0], "compile s": times[1], "parameters": count, "batch": shapes[name][0]}
        if flax is None:
            return {**alone(ours, rounds), **kept}
        module = in_flax(flax, name, sizes)

        def init(key, x):
            variables = module.init(key, x)
            return variables["params"], {k: v for k, v in variables.items() if k != "params"}

        def apply(params, state, x):
            return module.apply({"params": params, **state}, x, mutable=list(state))[0]

        theirs, times, count = trained(init, apply, x)
        kept |= {"Flax init s": times[0], "Flax compile s": times[1], "Flax parameters": count}
        return {**against(ours, theirs, "flax", rounds), **kept}

    yield from rows([(name, functools.partial(cells, name)) for name in shapes], done)
