# %% [markdown]
# # Learning a learning-rate schedule
#
# Training is a differentiable function of its hyperparameters. Here 40 learning rates, one for each step, are
# trained by the gradient of the loss at the end of training. An optimiser of `renga.optim` is a pytree whose
# leaves are its hyperparameters, so they can be arguments.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from renga import nn, optim

META_STEPS = 150  # quick: 2
INNER_STEPS = 40

x = jax.random.normal(jax.random.key(0), (256, 4))
y = jnp.sin(2 * x[:, :1]) * x[:, 1:2]
network = nn.without_apply_rng(nn.transform(lambda x: nn.nets.MLP([32, 1], activation=jnp.tanh)(x)))
loss = lambda params: optim.l2_loss(network.apply(params, x), y).mean()

# %% [markdown]
# The inner loop is SGD with momentum and a learning rate for each step. `optim.sgd(rate)` is created inside
# the loop from a traced number.


# %%
def train(log_rates, key):
    params = network.init(key, x)

    def step(carry, log_rate):
        params, state = carry
        updates, state = optim.sgd(jnp.exp(log_rate), momentum=0.9).update(jax.grad(loss)(params), state, params)
        params = optim.apply_updates(params, updates)
        return (params, state), loss(params)

    (_, _), curve = jax.lax.scan(step, (params, optim.sgd(0.0, momentum=0.9).init(params)), log_rates)
    return curve


def meta_loss(log_rates, keys):
    curves = jax.vmap(train, in_axes=(None, 0))(log_rates, keys)
    return curves[:, -1].mean(), curves


# %% [markdown]
# The outer loop is Adam on the logarithms of the rates. Each step uses four networks with new initial
# parameters.

# %%
meta = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.05))


def meta_step(carry, key):
    log_rates, state = carry
    (value, _), gradient = jax.value_and_grad(meta_loss, has_aux=True)(log_rates, jax.random.split(key, 4))
    updates, state = meta.update(gradient, state)
    return (optim.apply_updates(log_rates, updates), state), (value, log_rates)


start = jnp.full(INNER_STEPS, jnp.log(0.01))
keys = jax.random.split(jax.random.key(1), META_STEPS)
(log_rates, _), (values, history) = jax.jit(lambda carry, keys: jax.lax.scan(meta_step, carry, keys))(
    (start, meta.init(start)), keys
)

# %%
fresh = jax.random.split(jax.random.key(2), 32)
before, after = (jax.jit(meta_loss)(rates, fresh)[1] for rates in (start, log_rates))
print(
    f"loss after {INNER_STEPS} steps: {before[:, -1].mean():.3f} before, {after[:, -1].mean():.3f} with learned rates"
)

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
axes[0].plot(values)
axes[0].set(xlabel="meta-step", ylabel="loss at the end of training")
colours = plt.cm.viridis(np.linspace(0, 1, 6))
shown = np.linspace(0, META_STEPS - 1, 6).astype(int)
for row, colour in zip(shown, colours, strict=True):
    axes[1].semilogy(np.exp(history[row]), color=colour, label=f"{row}")
axes[1].set(xlabel="step of training", ylabel="learning rate")
axes[1].legend(title="meta-step", fontsize=7, ncols=2)
for curves, name in ((before, "0.01 throughout"), (after, "learned")):
    axes[2].semilogy(curves.mean(0), label=name)
axes[2].set(xlabel="step of training", ylabel="loss of 32 fresh networks")
axes[2].legend(fontsize=8)
figure.savefig("hypergradient.png", dpi=120)

# %% [markdown]
# ![The meta-loss, the learning rates during meta-training, and training with them](hypergradient.png)
