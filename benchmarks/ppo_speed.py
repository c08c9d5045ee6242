"""Is PPO as fast as the same PPO written by hand, in the style of purejaxrl?

Two programs train on CartPole with equal settings and networks, interleaved in one process; each lap is one call of a
compiled program that does several updates, and the median number of environment steps a second is compared:

  * renga:   `renga.systems.actor_critic` on `renga.envs`' CartPole, one `fori_loop` over its step;
  * by hand: plain `jax.numpy` on gymnax's CartPole with its own automatic reset: a scan over rollouts, a scan for the
    advantages, scans over epochs and shuffled minibatches, Adam and clipping written out.

    python benchmarks/ppo_speed.py
"""

import json
import statistics
import time
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import numpy as np

from renga import loop
from renga.systems import actor_critic

CONFIG = actor_critic.Config(decay_steps=0)
UPDATES = 10  # a lap
LAPS = 15


def renga_program():
    """Returns a compiled lap, and the state it starts from."""
    init, step = actor_critic.make(CONFIG)
    lap = jax.jit(lambda state: jax.lax.fori_loop(0, UPDATES, lambda _, s: step(s)[0], state))
    return lap, jax.jit(init)(jax.random.key(0))


def by_hand_program():
    """Returns a compiled lap, and the state it starts from."""
    c = CONFIG
    env, env_params = gymnax.make("CartPole-v1")
    reset = jax.vmap(env.reset, in_axes=(0, None))
    env_step = jax.vmap(env.step, in_axes=(0, 0, 0, None))
    orthogonal = jax.nn.initializers.orthogonal

    def dense(key, n, m, scale):
        return {"w": orthogonal(scale)(key, (n, m)), "b": jnp.zeros(m)}

    def make_params(key):
        keys = iter(jax.random.split(key, 6))
        body = lambda: [dense(next(keys), 4, 64, np.sqrt(2)), dense(next(keys), 64, 64, np.sqrt(2))]
        return {"actor": [*body(), dense(next(keys), 64, 2, 0.01)], "critic": [*body(), dense(next(keys), 64, 1, 1.0)]}

    def mlp(layers, x):
        for layer in layers[:-1]:
            x = jnp.tanh(x @ layer["w"] + layer["b"])
        return x @ layers[-1]["w"] + layers[-1]["b"]

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
        carry = (params, env_state, next_obs, jnp.where(done, 0.0, total), last_return)
        return carry, (obs, action, log_prob(logits, action), value, reward, done)

    def loss_fn(params, batch):
        obs, action, old_log_prob, advantage, target = batch
        logits, value = network(params, obs)
        ratio = jnp.exp(log_prob(logits, action) - old_log_prob)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - c.clip, 1 + c.clip)
        policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
        value_loss = 0.5 * ((target - value) ** 2).mean()
        log_p = jax.nn.log_softmax(logits)
        entropy = -(jnp.exp(log_p) * log_p).sum(-1).mean()
        return policy_loss + c.value_cost * value_loss - c.entropy_cost * entropy

    def adam(params, grads, m, v, count):
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))
        grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, c.max_gradient_norm / norm), grads)
        count = count + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, grads)
        a, b = 1 - 0.9**count, 1 - 0.999**count
        params = jax.tree.map(lambda p, m, v: p - c.learning_rate * (m / a) / (jnp.sqrt(v / b) + 1e-5), params, m, v)
        return params, m, v, count

    def update(_, state):
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
        batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (s, a, logp, advantage, advantage + value))

        def minibatch(carry, batch):
            params, m, v, count = carry
            grads = jax.grad(loss_fn)(params, batch)
            return adam(params, grads, m, v, count), None

        def epoch(carry, key):
            order = jax.random.permutation(key, c.num_envs * c.rollout_length)
            parts = jax.tree.map(lambda x: x[order].reshape(c.minibatches, -1, *x.shape[1:]), batch)
            return jax.lax.scan(minibatch, carry, parts)

        learned, _ = jax.lax.scan(epoch, (params, m, v, count), jax.random.split(key_learn, c.epochs))
        return key, *learned, env_state, obs, total, last_return

    def init(key):
        key, key_params, key_env = jax.random.split(key, 3)
        params = make_params(key_params)
        obs, env_state = reset(jax.random.split(key_env, c.num_envs), env_params)
        # Numbers that gymnax keeps as Python's become arrays of the type that they have after a step.
        shapes = jax.eval_shape(
            env_step, jax.random.split(key_env, c.num_envs), env_state, jnp.zeros(c.num_envs, int), env_params
        )
        env_state = jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), env_state, shapes[1])
        zeros = jax.tree.map(jnp.zeros_like, params)
        counters = jnp.zeros(c.num_envs)
        return key, params, zeros, zeros, jnp.float32(0), env_state, obs, counters, counters

    return jax.jit(lambda state: jax.lax.fori_loop(0, UPDATES, update, state)), jax.jit(init)(jax.random.key(0))


def main():
    """Interleaves laps and writes the medians."""
    programs = {"renga": renga_program(), "by hand": by_hand_program()}
    states = {name: jax.block_until_ready(lap(state)) for name, (lap, state) in programs.items()}
    seconds = {name: [] for name in programs}
    for _ in range(LAPS):
        for name, (lap, _) in programs.items():
            began = time.perf_counter()
            states[name] = jax.block_until_ready(lap(states[name]))
            seconds[name].append(time.perf_counter() - began)
    steps = UPDATES * CONFIG.num_envs * CONFIG.rollout_length
    rates = {name: steps / statistics.median(times) for name, times in seconds.items()}
    # Both must have learned: a fast program that does nothing is not a peer.
    returns = {"renga": float(states["renga"].env.last_return.mean()), "by hand": float(states["by hand"][-1].mean())}
    result = {
        "question": "environment steps a second of PPO on CartPole, with equal settings",
        "steps_per_second": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(rates["renga"] / rates["by hand"], 3),
        "last_returns_after_all_laps": returns,
        "environment": loop.environment(),
    }
    path = Path(__file__).parent / "results" / "ppo_speed.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "environment"}, indent=2))


if __name__ == "__main__":
    main()
