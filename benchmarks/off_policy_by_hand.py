"""D4PG and MPO written by hand in plain JAX, on gymnax's Pendulum: peers to compare with.

No public package in JAX that can be installed today has the two. They have the form that such programs have (purejaxrl,
rejax): one function that steps, keeps, draws and learns; networks, replay and losses written out; Adam of Optax. An
episode that the time limit cuts keeps its bootstrap, as ours do.
`agents_speed.py` imports it.
"""

from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax

BOUND = 2.0  # of Pendulum's torque


class State(NamedTuple):
    """All that training needs to go on."""

    key: Any
    params: Any
    targets: Any
    opt: Any
    count: Any  # gradient steps
    replay: Any
    at: Any  # transitions that were kept
    env_state: Any
    obs: Any
    total: Any  # reward of the episode so far
    last_return: Any  # of the last episode that ended


def layers(key, *sizes):
    """Parameters of a network with ReLU between its layers."""
    keys = jax.random.split(key, len(sizes))
    init = jax.nn.initializers.lecun_normal()
    return [{"w": init(k, (n, m)), "b": jnp.zeros(m)} for k, n, m in zip(keys, sizes, sizes[1:], strict=False)]


def mlp(params, x):
    """Applies it."""
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def make(c, init_params, act, learn):
    """Returns `init(key) -> State` and `update(State) -> State`, a step of one environment and a gradient step."""
    env, env_params = gymnax.make("Pendulum-v1")

    def step(state, key, action):
        """Steps, keeps the transition, and begins the next episode where one is over. Only the time limit ends them."""
        key_step, key_reset = jax.random.split(key)
        next_obs, env_state, reward, _, _ = env.step_env(key_step, state.env_state, action, env_params)
        over = env.is_truncated(env_state, env_params)
        begun = env.reset_env(key_reset, env_params)
        row = (state.obs, action, reward, c.discount, next_obs)
        replay = jax.tree.map(lambda kept, x: kept.at[state.at % c.replay_size].set(x), state.replay, row)
        obs, env_state = jax.tree.map(lambda new, old: jnp.where(over, new, old), begun, (next_obs, env_state))
        total = state.total + reward
        return state._replace(
            replay=replay,
            at=state.at + 1,
            env_state=env_state,
            obs=obs,
            total=jnp.where(over, 0.0, total),
            last_return=jnp.where(over, total, state.last_return),
        )

    def update(state):
        key, key_act, key_env, key_draw, key_learn = jax.random.split(state.key, 5)
        state = step(state._replace(key=key), key_env, act(state.params, key_act, state.obs))
        rows = jax.random.randint(key_draw, (c.batch_size,), 0, jnp.minimum(state.at, c.replay_size))
        batch = jax.tree.map(lambda x: x[rows], state.replay)
        params, targets, opt = learn(state.params, state.targets, state.opt, state.count + 1, key_learn, batch)
        return state._replace(params=params, targets=targets, opt=opt, count=state.count + 1)

    def init(key):
        key, key_params, key_env = jax.random.split(key, 3)
        obs, env_state = env.reset(key_env, env_params)
        # Numbers that gymnax keeps as Python's become arrays of the type that they have after a step.
        shapes = jax.eval_shape(env.step, key_env, env_state, jnp.zeros(1), env_params)
        env_state = jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), env_state, shapes[1])
        params, targets, opt = init_params(key_params)
        zeros = lambda *shape: jnp.zeros((c.replay_size, *shape))
        replay = zeros(3), zeros(1), zeros(), zeros(), zeros(3)
        state = State(
            key, params, targets, opt, jnp.int32(0), replay, jnp.int32(0), env_state, obs, jnp.zeros(()), jnp.zeros(())
        )

        def explore(state, key):
            key_act, key_env = jax.random.split(key)
            return step(state, key_env, jax.random.uniform(key_act, (1,), minval=-BOUND, maxval=BOUND)), None

        return jax.lax.scan(explore, state, jax.random.split(key, c.warmup))[0]

    return init, update


def d4pg(c):
    """For a `renga.systems.d4pg.Config`."""
    atoms = jnp.linspace(c.min_value, c.max_value, c.num_atoms)
    width = atoms[1] - atoms[0]
    actor_opt, critic_opt = optax.adam(c.actor_learning_rate), optax.adam(c.learning_rate)

    def policy(actor, obs):
        return BOUND * jnp.tanh(mlp(actor, obs))

    def logits(critic, obs, action):
        return mlp(critic, jnp.concatenate([obs, action / BOUND], axis=-1))

    def act(params, key, obs):
        noise = BOUND * c.exploration * jax.random.normal(key, (1,))
        return jnp.clip(policy(params["actor"], obs) + noise, -BOUND, BOUND)

    def init_params(key):
        key_actor, key_critic = jax.random.split(key)
        params = {"actor": layers(key_actor, 3, *c.units, 1), "critic": layers(key_critic, 4, *c.units, c.num_atoms)}
        return params, params, (actor_opt.init(params["actor"]), critic_opt.init(params["critic"]))

    def learn(params, targets, opt, count, key, batch):
        obs, action, reward, discount, next_obs = batch
        p = jax.nn.softmax(logits(targets["critic"], next_obs, policy(targets["actor"], next_obs)))
        z = jnp.clip(reward[:, None] + discount[:, None] * atoms, c.min_value, c.max_value)
        overlap = jnp.clip(1.0 - jnp.abs(z[:, None, :] - atoms[None, :, None]) / width, 0.0, 1.0)
        target = jnp.einsum("bij,bj->bi", overlap, p)

        def critic_loss(critic):
            return -(target * jax.nn.log_softmax(logits(critic, obs, action))).sum(-1).mean()

        def actor_loss(actor):
            return -(jax.nn.softmax(logits(critic, obs, policy(actor, obs))) @ atoms).mean()

        grads = jax.grad(critic_loss)(params["critic"])
        updates, critic_state = critic_opt.update(grads, opt[1])
        critic = optax.apply_updates(params["critic"], updates)
        grads = jax.grad(actor_loss)(params["actor"])
        updates, actor_state = actor_opt.update(grads, opt[0])
        params = {"actor": optax.apply_updates(params["actor"], updates), "critic": critic}
        targets = optax.incremental_update(params, targets, c.target_rate)
        return params, targets, (actor_state, critic_state)

    return make(c, init_params, act, learn)


def mpo(c):
    """For a `renga.systems.mpo.Config`."""
    policy_opt, critic_opt = optax.adam(c.actor_learning_rate), optax.adam(c.learning_rate)
    dual_opt = optax.adam(c.dual_learning_rate)

    def gaussian(actor, obs):
        mean, spread = jnp.split(mlp(actor, obs), 2, axis=-1)
        return jnp.tanh(mean), c.scale * jax.nn.softplus(spread) / np.log(2.0) + 1e-3

    def log_prob(mean, scale, x):
        return (-0.5 * ((x - mean) / scale) ** 2 - jnp.log(scale) - 0.5 * np.log(2.0 * np.pi)).sum(-1)

    def q(critic, obs, x):
        return mlp(critic, jnp.concatenate([obs, jnp.clip(x, -1.0, 1.0)], axis=-1))[..., 0]

    def positive(x):
        return jax.nn.softplus(x) + 1e-8

    def act(params, key, obs):
        mean, scale = gaussian(params["actor"], obs)
        return BOUND * jnp.clip(mean + scale * jax.random.normal(key, (1,)), -1.0, 1.0)

    def init_params(key):
        key_actor, key_critic = jax.random.split(key)
        raw = lambda x: jnp.log(jnp.expm1(jnp.float32(x))) if x < 50 else jnp.float32(x)
        alpha = jnp.full(1, raw(c.multiplier)), jnp.full(1, raw(100.0 * c.multiplier))
        duals = {"eta": raw(c.temperature), "mean": alpha[0], "scale": alpha[1]}
        params = {"actor": layers(key_actor, 3, *c.units, 2), "critic": layers(key_critic, 4, *c.units, 1)}
        opt = policy_opt.init(params["actor"]), critic_opt.init(params["critic"]), dual_opt.init(duals)
        return params | {"duals": duals}, params, opt

    def sampled(targets, key, obs):
        mean, scale = gaussian(targets["actor"], obs)
        x = mean + scale * jax.random.normal(key, (c.num_samples, *mean.shape))
        return mean, scale, x, q(targets["critic"], jnp.broadcast_to(obs, (c.num_samples, *obs.shape)), x)

    def learn(params, targets, opt, count, key, batch):
        obs, action, reward, discount, next_obs = batch
        key_critic, key_policy = jax.random.split(key)
        *_, next_q = sampled(targets, key_critic, next_obs)
        target = reward + discount * next_q.mean(0)

        def critic_loss(critic):
            return 0.5 * ((q(critic, obs, action / BOUND) - target) ** 2).mean()

        old_mean, old_scale, x, values = sampled(targets, key_policy, obs)

        def policy_loss(actor, duals):
            mean, scale = gaussian(actor, obs)
            eta = positive(duals["eta"])
            weights = jax.lax.stop_gradient(jax.nn.softmax(values / eta, axis=0))
            fit = -(weights * (log_prob(mean, old_scale, x) + log_prob(old_mean, scale, x))).sum(0).mean()
            free = jax.nn.logsumexp(values / eta, axis=0) - np.log(c.num_samples)
            loss = fit + eta * (c.epsilon + free.mean())
            kl_mean = (0.5 * ((mean - old_mean) / old_scale) ** 2).mean(0)
            kl_scale = (jnp.log(scale / old_scale) + 0.5 * (old_scale / scale) ** 2 - 0.5).mean(0)
            for name, kl, bound in (("mean", kl_mean, c.epsilon_mean), ("scale", kl_scale, c.epsilon_scale)):
                alpha = positive(duals[name])
                fixed = jax.lax.stop_gradient
                loss += (fixed(alpha) * kl + alpha * (bound - fixed(kl))).sum()
            return loss

        grads = jax.grad(critic_loss)(params["critic"])
        updates, critic_state = critic_opt.update(grads, opt[1])
        critic = optax.apply_updates(params["critic"], updates)
        grads, dual_grads = jax.grad(policy_loss, (0, 1))(params["actor"], params["duals"])
        updates, policy_state = policy_opt.update(grads, opt[0])
        dual_updates, dual_state = dual_opt.update(dual_grads, opt[2])
        actor = optax.apply_updates(params["actor"], updates)
        duals = optax.apply_updates(params["duals"], dual_updates)
        copy = count % c.target_period == 0
        targets = jax.tree.map(lambda new, old: jnp.where(copy, new, old), {"actor": actor, "critic": critic}, targets)
        return {"actor": actor, "critic": critic, "duals": duals}, targets, (policy_state, critic_state, dual_state)

    return make(c, init_params, act, learn)
