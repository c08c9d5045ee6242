"""Models that are pytrees with a `__call__`, as parameters, masks and labels."""

import jax
import jax.numpy as jnp
import optax


@jax.tree_util.register_pytree_node_class
class Layer:
    def __init__(self, w, b):
        self.w, self.b = w, b

    def __call__(self, x):
        return x @ self.w + self.b

    def tree_flatten(self):
        return (self.w, self.b), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def main():
    model = [Layer(jnp.eye(2), jnp.ones(2)), Layer(jnp.ones((2, 1)), jnp.zeros(1))]
    decayed = [Layer(True, False), Layer(True, False)]
    labels = [Layer("slow", "slow"), Layer("fast", "fast")]
    x = jnp.arange(6.0).reshape(3, 2) / 6

    def loss(model):
        return jnp.square(model[1](jnp.tanh(model[0](x)))).mean()

    optimisers = [
        optax.adamw(1e-2, weight_decay=0.1, mask=decayed),
        optax.chain(optax.masked(optax.scale(2.0), decayed), optax.sgd(0.1)),
        optax.chain(optax.add_decayed_weights(0.1, decayed), optax.lion(1e-2)),
        optax.multi_transform({"slow": optax.sgd(1e-3), "fast": optax.adam(1e-1)}, labels),
        optax.multi_transform({"slow": optax.set_to_zero(), "fast": optax.rmsprop(1e-2)}, lambda tree: labels),
        optax.masked(optax.ema(0.9), lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)),
    ]
    found = []
    for tx in optimisers:
        params, state = model, tx.init(model)
        for _ in range(3):
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            params = optax.apply_updates(params, updates)
        found.append([(layer.w, layer.b) for layer in params])
    return found
