"""An actor-critic with V-trace: a recurrent network unrolled over time, RMSProp, a policy of distributions."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import optax
import rlax

T, B, ACTIONS = 5, 3, 4


class Net(hk.RNNCore):
    def __init__(self, name=None):
        super().__init__(name=name)
        self.torso = hk.nets.MLP([8], activate_final=True, name="torso")
        self.core = hk.ResetCore(hk.LSTM(6))

    def initial_state(self, batch_size):
        return self.core.initial_state(batch_size)

    def __call__(self, inputs, state):
        observation, reset = inputs
        out, state = self.core((self.torso(observation), reset), state)
        return (hk.Linear(ACTIONS, name="policy")(out), jnp.squeeze(hk.Linear(1, name="value")(out), -1)), state


def unroll(observations, resets):
    net = Net()
    return hk.dynamic_unroll(net, (observations, resets), net.initial_state(observations.shape[1]))[0]


def main():
    k = jax.random.split(jax.random.key(0), 4)
    observations = jax.random.normal(k[0], (T + 1, B, 7))
    resets = jnp.zeros((T + 1, B), bool).at[2, 1].set(True)
    net = hk.without_apply_rng(hk.transform(unroll))
    params = jax.jit(net.init)(k[1], observations, resets)
    behaviour, _ = jax.jit(net.apply)(params, observations[:-1], resets[:-1])
    actions = distrax.Categorical(logits=behaviour).sample(seed=k[2])
    rewards = jax.random.normal(k[3], (T, B))
    discounts = jnp.where(resets[1:], 0.0, 0.99)

    def loss(params):
        logits, values = net.apply(params, observations, resets)
        policy = distrax.Categorical(logits=logits[:-1])
        rhos = jnp.exp(policy.log_prob(actions) - distrax.Categorical(logits=behaviour).log_prob(actions))
        targets = jax.vmap(rlax.vtrace_td_error_and_advantage, in_axes=1, out_axes=1)(
            values[:-1], values[1:], rewards, discounts, rhos
        )
        mask = jnp.ones((T, B)).at[3].set(0.0)
        pg = jax.vmap(rlax.policy_gradient_loss, in_axes=1)(logits[:-1], actions, targets.pg_advantage, mask)
        return pg.mean() + jnp.square(targets.errors).mean() - 0.01 * policy.entropy().mean()

    tx = optax.chain(optax.clip_by_global_norm(0.5), optax.rmsprop(5e-3, decay=0.99, eps=1e-7))

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    state, values = tx.init(params), []
    for _ in range(3):
        params, state, value = step(params, state)
        values.append(value)
    return actions, values, params
