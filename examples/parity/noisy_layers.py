"""A distributional value network with noisy layers: factored noise, drawn anew in each call."""

import haiku as hk
import jax
import jax.numpy as jnp


class Noisy(hk.Module):
    def __init__(self, size, sigma=0.5, name=None):
        super().__init__(name=name)
        self.size, self.sigma = size, sigma

    def squash(self, n):
        e = jax.random.truncated_normal(hk.next_rng_key(), -2, 2, (n,))
        return jnp.sign(e) * jnp.sqrt(jnp.abs(e))

    def __call__(self, x):
        n = x.shape[-1]
        bound = 1 / jnp.sqrt(n)  # an array, not a number
        uniform = hk.initializers.RandomUniform(-bound, bound)
        constant = hk.initializers.Constant(self.sigma * bound)
        rows, columns = self.squash(n), self.squash(self.size)
        w = hk.get_parameter("w_mu", [n, self.size], init=uniform)
        s = hk.get_parameter("w_sigma", [n, self.size], init=constant)
        b = hk.get_parameter("b_mu", [self.size], init=uniform)
        c = hk.get_parameter("b_sigma", [self.size], init=constant)
        return x @ (w + s * jnp.outer(rows, columns)) + b + c * columns


def q_values(x):
    h = jax.nn.relu(Noisy(6)(x))
    value, advantage = Noisy(3, name="value")(h), Noisy(6, name="advantage")(h).reshape(-1, 2, 3)
    logits = value[:, None] + advantage - advantage.mean(axis=1, keepdims=True)
    return (jax.nn.softmax(logits) * jnp.linspace(-1, 1, 3)).sum(-1)


def main():
    x = jnp.arange(8.0).reshape(2, 4)
    net = hk.transform(q_values)
    params = jax.jit(net.init)(jax.random.key(0), x)
    gradient = jax.jit(jax.grad(lambda p: net.apply(p, jax.random.key(1), x).sum()))(params)
    return params, jax.jit(net.apply)(params, jax.random.key(1), x), gradient
