# %% [markdown]
# # The gradients of a GAN
#
# A generative adversarial network on eight Gaussians. Each player's loss is differentiated with respect to
# its own parameters, so that no `stop_gradient` or `detach` is needed. Because a gradient is a value, its
# norm in every layer takes one line of code. {doc}`/gan` is the complete system.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from renga import nn, optim

STEPS = 3000  # quick: 3
BATCH = 256


def real(key):
    """Points on a ring of eight Gaussians."""
    key_mode, key_noise = jax.random.split(key)
    angle = 2 * jnp.pi * jax.random.randint(key_mode, (BATCH,), 0, 8) / 8
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], 1) + 0.05 * jax.random.normal(key_noise, (BATCH, 2))


gen = nn.without_apply_rng(nn.transform(lambda z: nn.nets.MLP([64, 64, 2])(z)))
disc = nn.without_apply_rng(nn.transform(lambda x: nn.nets.MLP([64, 64, 1])(x)[:, 0]))
latents = lambda key: jax.random.normal(key, (BATCH, 8))

# %% [markdown]
# The discriminator's loss is differentiated with respect to its first argument; the generator's parameters
# are another argument. The R1 penalty regularises the gradient of the discriminator at real points, so
# training needs a gradient of a gradient.


# %%
def disc_loss(disc_params, gen_params, x, z):
    score = lambda x: disc.apply(disc_params, x)
    fake = gen.apply(gen_params, z)
    slope = jax.grad(lambda x: score(x).sum())(x)
    penalty = (slope**2).sum(1).mean()
    return jax.nn.softplus(-score(x)).mean() + jax.nn.softplus(score(fake)).mean() + 0.1 * penalty


def gen_loss(gen_params, disc_params, z):
    return jax.nn.softplus(-disc.apply(disc_params, gen.apply(gen_params, z))).mean()


tx = optim.adam(2e-3, b1=0.5)


def step(carry, key):
    (gen_params, gen_opt), (disc_params, disc_opt) = carry
    key_x, key_z, key_w = jax.random.split(key, 3)

    disc_grads = jax.grad(disc_loss)(disc_params, gen_params, real(key_x), latents(key_z))
    updates, disc_opt = tx.update(disc_grads, disc_opt)
    disc_params = optim.apply_updates(disc_params, updates)

    gen_grads = jax.grad(gen_loss)(gen_params, disc_params, latents(key_w))
    updates, gen_opt = tx.update(gen_grads, gen_opt)
    gen_params = optim.apply_updates(gen_params, updates)

    norms = {"generator": gen_grads, "discriminator": disc_grads}
    norms = {player: {layer: optim.global_norm(g) for layer, g in grads.items()} for player, grads in norms.items()}
    return ((gen_params, gen_opt), (disc_params, disc_opt)), norms


# %%
gen_params = gen.init(jax.random.key(0), latents(jax.random.key(0)))
disc_params = disc.init(jax.random.key(1), real(jax.random.key(0)))
carry = (gen_params, tx.init(gen_params)), (disc_params, tx.init(disc_params))
keys = jax.random.split(jax.random.key(2), STEPS)
carry, norms = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))(carry, keys)
(gen_params, _), (disc_params, _) = carry

# %%
draw = jax.random.split(jax.random.key(3), 4)
fake = np.concatenate([gen.apply(gen_params, latents(key)) for key in draw])
line = jnp.linspace(-1.6, 1.6, 80)
plane = jnp.stack(jnp.meshgrid(line, line), -1).reshape(-1, 2)
figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
axes[0].contourf(line, line, disc.apply(disc_params, plane).reshape(80, 80), 16, cmap="RdBu")
axes[0].scatter(*np.concatenate([real(key) for key in draw]).T, s=1, c="black", alpha=0.3)
axes[0].scatter(*fake.T, s=2, c="tab:orange")
axes[0].set_title("samples, and what the\ndiscriminator makes of the plane", fontsize=10)
window = max(1, STEPS // 100)
smooth = lambda x: np.convolve(np.asarray(x), np.ones(window) / window, "valid")
for axis, (player, layers) in zip(axes[1:], norms.items(), strict=True):
    for layer, norm in layers.items():
        axis.semilogy(smooth(norm), lw=1, label=layer.rpartition("/")[2])
    axis.set(xlabel="step")
    axis.set_title(f"norm of the {player}'s gradient", fontsize=10)
    axis.legend(fontsize=8)
figure.savefig("gan_gradients.png", dpi=120)

# %% [markdown]
# ![Samples on the ring, and the gradient norm of each layer of both players](gan_gradients.png)
