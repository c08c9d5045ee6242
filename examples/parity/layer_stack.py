"""Layers stacked by hand: parameters of all from one vectorised creator, keys of each by `with_rng`."""

import haiku as hk
import jax
import jax.numpy as jnp

COUNT = 3


def stacked(next_creator, shape, dtype, init, context):
    def one(k):
        with hk.with_rng(k):
            return init(shape, dtype)

    return jax.vmap(one)(jax.random.split(hk.next_rng_key(), COUNT))


def block(x):
    h = hk.LayerNorm(-1, True, True)(x)
    return x + hk.Linear(x.shape[-1], w_init=hk.initializers.TruncatedNormal(0.1 / jnp.sqrt(3.0)))(h)


def trunk(x):
    if hk.running_init():
        with hk.custom_creator(stacked), hk.custom_getter(lambda f, value, context: f(value[0])):
            block(x)
    params = {name: values for name, values in hk.get_params().items() if "layer_norm" in name or "linear" in name}
    apply = hk.transform(block).apply
    keys = jax.random.split(hk.next_rng_key(), COUNT)

    def step(x, layer):
        own, k = layer
        with hk.with_rng(k):
            noise = jax.random.uniform(hk.next_rng_key(), x.shape)
        return apply(own, None, x) + 0.1 * noise, None

    return jax.lax.scan(step, x, (params, keys))[0]


def main():
    x = jnp.arange(8.0).reshape(2, 4)
    f = hk.transform(trunk)
    params = f.init(jax.random.key(0), x)
    return params, f.apply(params, jax.random.key(1), x)
