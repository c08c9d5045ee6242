"""Latents, position encodings and log scales that start from computed arrays, cross-attended."""

import haiku as hk
import jax
import jax.numpy as jnp


def perceive(x):
    position = jnp.stack([jnp.sin(jnp.arange(4.0)), jnp.cos(jnp.arange(4.0))], axis=-1)
    init = hk.initializers.Constant(jnp.tile(position, (1, 2)) * x.std())
    latents = hk.get_parameter("latents", [4, 4], x.dtype, init=init)
    scale = hk.get_parameter("log_scale", [], init=hk.initializers.Constant(jnp.log(0.5)))
    seen = hk.get_state("seen", [3], init=hk.initializers.Constant(jnp.zeros(3) + 1))
    hk.set_state("seen", seen + x.mean())
    q = jnp.broadcast_to(latents, (x.shape[0], 4, 4))
    w_init = hk.initializers.VarianceScaling(1.0)
    for i in range(2):
        attend = hk.MultiHeadAttention(2, 2, w_init=w_init, model_size=4, name=f"attend_{i}")
        q = q + jnp.exp(scale) * attend(hk.LayerNorm(-1, True, True)(q), x, x)
        q = q + hk.nets.MLP([6, 4], activation=jax.nn.gelu)(q)
    w = hk.Linear(2, w_init=hk.initializers.Constant(jnp.eye(4)[:, :2]), b_init=jnp.ones)
    return w(q.mean(axis=1))


def main():
    x = jax.random.normal(jax.random.key(3), (2, 3, 4))
    f = hk.transform_with_state(perceive)
    params, state = f.init(jax.random.key(0), x)
    assert not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(params))
    traced = jax.jit(f.init)(jax.random.key(0), jnp.ones((2, 3, 4)))  # init may be traced as a whole
    return params, state, traced, jax.jit(f.apply)(params, state, None, x)
