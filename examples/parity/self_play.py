"""A residual tower with batch norms plays with the averages that `init` left, then learns from its games."""

import haiku as hk
import jax
import jax.numpy as jnp
import mctx


def net(boards, is_training):
    x = hk.Conv2D(4, 3)(boards)
    for _ in range(2):
        h = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(x, is_training))
        x = x + hk.Conv2D(4, 3)(h)
    x = hk.Flatten()(jax.nn.relu(hk.BatchNorm(True, True, 0.9)(x, is_training)))
    return hk.Linear(9)(x), jnp.tanh(hk.Linear(1)(x))[:, 0]


def main():
    f = hk.without_apply_rng(hk.transform_with_state(net))
    boards = jax.random.normal(jax.random.key(2), (4, 3, 3, 2))
    params, state = jax.jit(lambda key: f.init(key, boards, is_training=True))(jax.random.key(0))

    def recurrent_fn(params, key, action, boards):
        boards = jnp.roll(boards, action[0], axis=1)
        (logits, value), _ = f.apply(*params, boards, is_training=False)
        zeros = jnp.zeros(len(boards))
        return mctx.RecurrentFnOutput(reward=zeros, discount=zeros - 1, prior_logits=logits, value=value), boards

    @jax.jit
    def play(params, state):
        (logits, value), _ = f.apply(params, state, boards, is_training=False)
        root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=boards)
        out = mctx.gumbel_muzero_policy((params, state), jax.random.key(3), root, recurrent_fn, num_simulations=6)
        return out.action, out.action_weights

    def loss(params, state, weights):
        (logits, value), state = f.apply(params, state, boards, is_training=True)
        return jnp.mean(value**2) - jnp.mean((weights * jax.nn.log_softmax(logits)).sum(-1)), state

    action, weights = play(params, state)
    gradient, learned = jax.jit(jax.grad(loss, has_aux=True))(params, state, weights)
    return params, state, action, weights, gradient, learned, play(params, learned)
