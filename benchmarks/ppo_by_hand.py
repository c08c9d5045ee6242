"""PPO written by hand in plain JAX, on gymnax's environments with gymnax's own automatic reset: a peer to compare with.

It has the form and the settings of purejaxrl (Lu et al. 2022, https://arxiv.org/abs/2210.05639): a scan over the
rollout, a scan for the advantages, scans over epochs and shuffled minibatches, Adam and clipping written out; actor and
critic are two networks of two layers. `ppo_speed.py` and `learning.py` import it.
"""

from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np


class State(NamedTuple):
    """All that training needs to go on."""

    key: Any
    params: Any
    m: Any  # Adam's moments
    v: Any
    count: Any
    env_state: Any
    obs: Any
    total: Any  # reward of the episode so far, of each environment
    last_return: Any  # of the last episode that ended


def make(env_name, config, *, value_clip):
    """Returns `init(key) -> State` and `update(State) -> State` for an `actor_critic.Config`.

    With `value_clip` the critic's loss is clipped around the old value by `config.clip`, as purejaxrl's is.
    """
    c = config
    env, env_params = gymnax.make(env_name)
    reset = jax.vmap(env.reset, in_axes=(0, None))
    env_step = jax.vmap(env.step, in_axes=(0, 0, 0, None))
    num_actions = env.action_space(env_params).n
    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[c.activation]
    orthogonal = jax.nn.initializers.orthogonal
    num_updates = c.decay_steps * c.epochs * c.minibatches

    def dense(key, n, m, scale):
        return {"w": orthogonal(scale)(key, (n, m)), "b": jnp.zeros(m)}

    def make_params(key, num_inputs):
        keys = iter(jax.random.split(key, 6))
        a, b = c.units
        body = lambda: [dense(next(keys), num_inputs, a, np.sqrt(2)), dense(next(keys), a, b, np.sqrt(2))]
        actor = [*body(), dense(next(keys), b, num_actions, 0.01)]
        return {"actor": actor, "critic": [*body(), dense(next(keys), b, 1, 1.0)]}

    def mlp(layers, x):
        for layer in layers[:-1]:
            x = activation(x @ layer["w"] + layer["b"])
        return x @ layers[-1]["w"] + layers[-1]["b"]

    def flat(obs):
        return obs.reshape(obs.shape[0], -1).astype(jnp.float32)

    def network(params, x):
        return mlp(params["actor"], x), mlp(params["critic"], x)[..., 0]

    def log_prob(logits, action):
        return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], axis=-1)[..., 0]

    def env_step_fn(carry, key):
        params, env_state, obs, total, last_return = carry
        key_act, key_env = jax.random.split(key)
        logits, value = network(params, obs)
        action = jax.random.categorical(key_act, logits)
        keys = jax.random.split(key_env, c.num_envs)
        next_obs, env_state, reward, terminated, truncated, _ = env_step(keys, env_state, action, env_params)
        done = terminated | truncated
        total = total + reward
        last_return = jnp.where(done, total, last_return)
        carry = (params, env_state, flat(next_obs), jnp.where(done, 0.0, total), last_return)
        return carry, (obs, action, log_prob(logits, action), value, reward, done)

    def loss_fn(params, batch):
        obs, action, old_log_prob, old_value, advantage, target = batch
        logits, value = network(params, obs)
        ratio = jnp.exp(log_prob(logits, action) - old_log_prob)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - c.clip, 1 + c.clip)
        policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
        error = (target - value) ** 2
        if value_clip:
            near = old_value + jnp.clip(value - old_value, -c.clip, c.clip)
            error = jnp.maximum(error, (target - near) ** 2)
        log_p = jax.nn.log_softmax(logits)
        entropy = -(jnp.exp(log_p) * log_p).sum(-1).mean()
        return policy_loss + c.value_cost * 0.5 * error.mean() - c.entropy_cost * entropy

    def adam(params, grads, m, v, count):
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))
        grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, c.max_gradient_norm / norm), grads)
        rate = c.learning_rate * jnp.maximum(0.0, 1 - count / num_updates) if num_updates else c.learning_rate
        count = count + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, grads)
        a, b = 1 - 0.9**count, 1 - 0.999**count
        params = jax.tree.map(lambda p, m, v: p - rate * (m / a) / (jnp.sqrt(v / b) + 1e-5), params, m, v)
        return params, m, v, count

    def update(state):
        key, params, m, v, count, env_state, obs, total, last_return = state
        key, key_rollout, key_learn = jax.random.split(key, 3)
        carry = (params, env_state, obs, total, last_return)
        carry, (s, a, logp, value, reward, done) = jax.lax.scan(
            env_step_fn, carry, jax.random.split(key_rollout, c.rollout_length)
        )
        _, env_state, obs, total, last_return = carry
        last_value = network(params, obs)[1]

        def gae(carry, x):
            advantage, next_value = carry
            value, reward, done = x
            delta = reward + c.discount * next_value * (1 - done) - value
            advantage = delta + c.discount * c.trace_decay * (1 - done) * advantage
            return (advantage, value), advantage

        _, advantage = jax.lax.scan(gae, (jnp.zeros_like(last_value), last_value), (value, reward, done), reverse=True)
        batch = (s, a, logp, value, advantage, advantage + value)
        batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)

        def minibatch(carry, batch):
            params, m, v, count = carry
            grads = jax.grad(loss_fn)(params, batch)
            return adam(params, grads, m, v, count), None

        def epoch(carry, key):
            order = jax.random.permutation(key, c.num_envs * c.rollout_length)
            parts = jax.tree.map(lambda x: x[order].reshape(c.minibatches, -1, *x.shape[1:]), batch)
            return jax.lax.scan(minibatch, carry, parts)

        learned, _ = jax.lax.scan(epoch, (params, m, v, count), jax.random.split(key_learn, c.epochs))
        return State(key, *learned, env_state, obs, total, last_return)

    def init(key):
        key, key_params, key_env = jax.random.split(key, 3)
        obs, env_state = reset(jax.random.split(key_env, c.num_envs), env_params)
        obs = flat(obs)
        params = make_params(key_params, obs.shape[-1])
        # Numbers that gymnax keeps as Python's become arrays of the type that they have after a step.
        shapes = jax.eval_shape(
            env_step, jax.random.split(key_env, c.num_envs), env_state, jnp.zeros(c.num_envs, int), env_params
        )
        env_state = jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), env_state, shapes[1])
        zeros = jax.tree.map(jnp.zeros_like, params)
        counters = jnp.zeros(c.num_envs)
        return State(key, params, zeros, zeros, jnp.float32(0), env_state, obs, counters, counters)

    return init, update
