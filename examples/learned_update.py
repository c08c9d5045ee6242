# %% [markdown]
# # A learned update rule
#
# A small network takes the gradient of each parameter and its running mean, and outputs the update of the
# parameter. It is trained on many short training runs at once, by the gradient through all of their steps.
# {doc}`/lpg` does the same for reinforcement learning agents.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from renga import nn, optim

META_STEPS = 400  # quick: 2
STEPS, TASKS, SIZE = 30, 32, 10

# %% [markdown]
# A task is a quadratic function with random axes, whose curvatures differ by a factor of 100.


# %%
def new_task(key):
    key_axes, key_steep, key_start = jax.random.split(key, 3)
    axes, _ = jnp.linalg.qr(jax.random.normal(key_axes, (SIZE, SIZE)))
    steepness = 10 ** jax.random.uniform(key_steep, (SIZE,), minval=-1.0, maxval=1.0)
    return (axes, steepness), jax.random.normal(key_start, (SIZE,))


def loss(w, task):
    axes, steepness = task
    return 0.5 * jnp.sum(steepness * (axes @ w) ** 2)


# %% [markdown]
# The rule is a gradient transformation with `init` and `update`. Its inputs are the sign and magnitude of the
# gradient and of its mean.


# %%
def features(x):
    return jnp.stack([jnp.tanh(x), jnp.sign(x) * jnp.log1p(jnp.abs(x) * 100) / 5])


def model(inputs):
    out = nn.Linear(2, w_init=nn.initializers.RandomNormal(0.01))(nn.nets.MLP([32, 32], activate_final=True)(inputs))
    return out[..., 0] * jnp.exp(3 * out[..., 1] - 3)


network = nn.without_apply_rng(nn.transform(model))


def learned(eta):
    def init(params):
        return jnp.zeros_like(params), jnp.zeros_like(params)

    def update(g, state, params=None):
        slow, fast = (decay * mean + (1 - decay) * g for decay, mean in zip((0.9, 0.5), state, strict=True))
        inputs = jnp.concatenate([features(g), features(fast), features(slow)]).T
        return network.apply(eta, inputs), (slow, fast)

    return optim.GradientTransformation(init, update)


def train(tx, key):
    task, w = new_task(key)

    def step(carry, _):
        w, state = carry
        updates, state = tx.update(jax.grad(loss)(w, task), state, w)
        w = optim.apply_updates(w, updates)
        return (w, state), loss(w, task)

    return jax.lax.scan(step, (w, tx.init(w)), None, length=STEPS)[1]


# %% [markdown]
# The meta-loss is the mean logarithm of the loss over a training run, so that steep and flat tasks have the
# same weight.


# %%
def meta_loss(eta, keys):
    curves = jax.vmap(lambda key: train(learned(eta), key))(keys)
    return jnp.log(curves + 1e-6).mean()


meta = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(optim.cosine_decay_schedule(3e-3, META_STEPS)))


def meta_step(carry, key):
    eta, state = carry
    value, gradient = jax.value_and_grad(meta_loss)(eta, jax.random.split(key, TASKS))
    updates, state = meta.update(gradient, state)
    return (optim.apply_updates(eta, updates), state), value


eta = network.init(jax.random.key(0), jnp.zeros((SIZE, 6)))
keys = jax.random.split(jax.random.key(1), META_STEPS)
(eta, _), values = jax.jit(lambda carry, keys: jax.lax.scan(meta_step, carry, keys))((eta, meta.init(eta)), keys)

# %% [markdown]
# The rule is evaluated on new tasks, together with SGD with momentum and Adam, whose learning rates are the
# best of twelve on other tasks:

# %%
tuning, fresh = (jax.random.split(jax.random.key(seed), 256) for seed in (2, 3))
curves = lambda make, keys: jax.vmap(lambda key: train(make, key))(keys)
score = lambda tx: jnp.log(curves(tx, tuning) + 1e-6).mean()
rates = jnp.logspace(-3, 0.3, 12)
found = {"learned": jax.jit(lambda: curves(learned(eta), fresh))()}
for name, make in (("momentum", lambda rate: optim.sgd(rate, momentum=0.9)), ("Adam", optim.adam)):
    scores = jax.jit(jax.vmap(lambda rate, make=make: score(make(rate))))(rates)
    best = rates[jnp.nanargmin(scores)]
    found[f"{name}, {best:.2g}"] = jax.jit(lambda rate, make=make: curves(make(rate), fresh))(best)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
axes[0].plot(values, lw=0.8)
axes[0].set(xlabel="meta-step", ylabel="meta-loss")
for name, curve in found.items():
    axes[1].semilogy(jnp.median(curve, axis=0), label=name)
axes[1].set(xlabel="step of training", ylabel="median loss of 256 fresh tasks")
axes[1].legend()
figure.savefig("learned_update.png", dpi=120)

# %% [markdown]
# ![The meta-loss, and the loss of new tasks with each rule](learned_update.png)
