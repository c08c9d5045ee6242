# %% [markdown]
# # PPO on CartPole
#
# Proximal policy optimisation, written with the libraries: networks, distributions, RL functions,
# environments and an optimiser. Everything is one compiled program. {doc}`/reinforcement` describes the
# system with all its variants.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from renga import dist, envs, nn, optim, rl

UPDATES = 150  # quick: 2
NUM_ENVS, LENGTH, EPOCHS, MINIBATCHES = 16, 64, 4, 4
DISCOUNT, DECAY = 0.99, 0.95

env = envs.Batch(envs.make("cartpole"), NUM_ENVS)
network = nn.without_apply_rng(
    nn.transform(lambda s: (nn.nets.MLP([64, 64, 2], activation=jnp.tanh)(s), nn.nets.MLP([64, 64, 1])(s)[..., 0]))
)
optimiser = optim.chain(optim.clip_by_global_norm(0.5), optim.adam(optim.linear_schedule(2e-3, 0.0, UPDATES * 16)))

# %% [markdown]
# A rollout: the policy acts in all environments. `observation` is always that of the state reached, so that
# one can bootstrap after truncation.


# %%
def act(carry, key):
    params, env_state = carry
    key_act, key_env = jax.random.split(key)
    s = env.observe(env_state)
    logits, value = network.apply(params, s)
    a, log_mu = dist.Categorical(logits=logits).sample_and_log_prob(seed=key_act)
    env_state, out = env.step(key_env, env_state, a)
    _, value_reached = network.apply(params, out.observation)
    return (params, env_state), (s, a, log_mu, value, out.reward, out.terminated, out.truncated, value_reached)


def advantages(reward, terminated, truncated, value, value_reached):
    """Generalised advantages of one environment: δₜ plus what follows, unless the episode is over."""
    reward = reward / 100  # returns of size 1
    δ = reward + DISCOUNT * (1 - terminated) * value_reached - value
    goes_on = DISCOUNT * DECAY * (1 - (terminated | truncated))
    return rl.discounted_returns(δ, goes_on, jnp.zeros(LENGTH))


# %% [markdown]
# The loss of a minibatch has three terms: the clipped surrogate, the value loss, and the entropy.


# %%
def loss_fn(params, s, a, log_mu, adv, target):
    logits, value = network.apply(params, s)
    policy = dist.Categorical(logits=logits)
    adv = (adv - adv.mean()) / (adv.std() + 1e-8)
    surrogate = rl.clipped_surrogate_pg_loss(jnp.exp(policy.log_prob(a) - log_mu), adv, 0.2)
    return surrogate + 0.5 * optim.l2_loss(value, target).mean() - 0.01 * policy.entropy().mean()


def learn(carry, batch):
    params, state = carry
    updates, state = optimiser.update(jax.grad(loss_fn)(params, *batch), state, params)
    return (optim.apply_updates(params, updates), state), None


def update(carry, key):
    params, state, env_state = carry
    key_act, key_order = jax.random.split(key)
    keys = jax.random.split(key_act, LENGTH)
    (_, env_state), (s, a, log_mu, value, *outcome, reached) = jax.lax.scan(act, (params, env_state), keys)
    adv = jax.vmap(advantages, in_axes=1, out_axes=1)(*outcome, value, reached)
    experience = (s, a, log_mu, adv, adv + value)
    flat = jax.tree.map(lambda x: x.reshape(LENGTH * NUM_ENVS, *x.shape[2:]), experience)
    order = jax.vmap(lambda key: jax.random.permutation(key, LENGTH * NUM_ENVS))(jax.random.split(key_order, EPOCHS))
    batches = jax.tree.map(lambda x: x[order.reshape(EPOCHS * MINIBATCHES, -1)], flat)
    (params, state), _ = jax.lax.scan(learn, (params, state), batches)
    return (params, state, env_state), env_state.last_return.mean()


# %%
def train(key):
    key_env, key_params, key_train = jax.random.split(key, 3)
    env_state = env.reset(key_env)
    params = network.init(key_params, env.observe(env_state))
    carry = (params, optimiser.init(params), env_state)
    return jax.lax.scan(update, carry, jax.random.split(key_train, UPDATES))[1]


returns = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), 4))
print(f"return of the last episodes: {returns[:, -1].mean():.0f} of 500")

# %%
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
steps = jnp.arange(1, UPDATES + 1) * NUM_ENVS * LENGTH
for seed, curve in enumerate(returns):
    axis.plot(steps, curve, lw=1, label=f"seed {seed}")
axis.axhline(500, color="0.7", lw=0.8)
axis.set(xlabel="environment steps", ylabel="return of the last episodes")
axis.legend()
figure.savefig("ppo.png", dpi=120)

# %% [markdown]
# ![The return of four seeds against environment steps](ppo.png)
