# %% [markdown]
# # 64 seeds as one program
#
# Training is a pure function of a key. `vmap` over keys trains 64 networks at once, and gives a distribution
# of curves instead of one. For any system, `--seeds 64` does this ({doc}`/scale`).

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from sklearn.datasets import make_moons

from renga import nn, optim

STEPS = 400  # quick: 3
SEEDS = 64  # quick: 3

x, y = (jnp.asarray(part, jnp.float32) for part in make_moons(60, noise=0.25, random_state=0))
held_x, held_y = (jnp.asarray(part, jnp.float32) for part in make_moons(500, noise=0.25, random_state=1))
network = nn.without_apply_rng(nn.transform(lambda x: nn.nets.MLP([16, 16, 1])(x)[..., 0]))
optimiser = optim.adam(0.01)


# %%
def loss_fn(params, x, y):
    return optim.sigmoid_binary_cross_entropy(network.apply(params, x), y).mean()


def train(key):
    def step(carry, _):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, state = optimiser.update(grads, state, params)
        return (optim.apply_updates(params, updates), state), (loss, loss_fn(params, held_x, held_y))

    params = network.init(key, x)
    (params, _), curves = jax.lax.scan(step, (params, optimiser.init(params)), None, length=STEPS)
    return params, curves


params, (losses, held_losses) = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), SEEDS))

# %% [markdown]
# The population is also an ensemble, with the mean of the predicted probabilities.

# %%
probabilities = jax.vmap(lambda params, x: jax.nn.sigmoid(network.apply(params, x)), in_axes=(0, None))
single = ((probabilities(params, held_x) > 0.5) == held_y).mean(1)
together = ((probabilities(params, held_x).mean(0) > 0.5) == held_y).mean()
print(f"right: {single.min():.3f} to {single.max():.3f} each, {together:.3f} together")

# %%
line = jnp.linspace(-2.0, 3.0, 70)
plane = jnp.stack(jnp.meshgrid(line, line - 0.5), -1)
on_plane = probabilities(params, plane)
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
for curves, name in ((losses, "learned from"), (held_losses, "held out")):
    low, middle, high = jnp.quantile(curves, jnp.array([0.05, 0.5, 0.95]), axis=0)
    axes[0].fill_between(jnp.arange(STEPS), low, high, alpha=0.3)
    axes[0].plot(middle, label=name)
axes[0].set(xlabel="step", ylabel="loss, 5 to 95 % of seeds", ylim=(0, 0.8))
axes[0].legend()
for member in on_plane[:20]:
    axes[1].contour(line, line - 0.5, member, [0.5], colors="0.4", linewidths=0.5)
axes[1].set_title("borders of 20 seeds", fontsize=10)
shade = axes[2].contourf(line, line - 0.5, on_plane.std(0), 12, cmap="magma_r")
axes[2].set_title("where seeds disagree", fontsize=10)
figure.colorbar(shade, ax=axes[2], label="deviation")
for axis in axes[1:]:
    axis.scatter(*x.T, c=y, s=12, cmap="coolwarm", edgecolors="white", linewidths=0.4)
    axis.set(xticks=(), yticks=())
figure.savefig("population.png", dpi=120)

# %% [markdown]
# ![Losses of all seeds, their decision boundaries, and where they disagree](population.png)
