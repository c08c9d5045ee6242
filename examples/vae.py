# %% [markdown]
# # A variational autoencoder
#
# An encoder maps each image to a Gaussian q(z | x), and a decoder maps each z to 64 Bernoulli variables p(x |
# z). Both distributions are pytrees that hold a whole batch, and the code of the bound reads like its
# formula:
#
# $$\log p(x) \ge E_q[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x) \parallel p(z))$$
#
# The method is Kingma & Welling, "Auto-Encoding Variational Bayes", 2014.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from renga import dist, nn, optim

STEPS = 5000  # quick: 3
LATENT, WIDTH = 2, 128

pictures = jnp.asarray(load_digits().data / 16.0, jnp.float32)  # 1,797 digits of 8 × 8 pixels in [0, 1]
labels = load_digits().target
train, test = pictures[:1500], pictures[1500:]


# %%
def encode(x):
    loc, log_scale = jnp.split(nn.nets.MLP([WIDTH, 2 * LATENT], activation=jax.nn.gelu, name="encoder")(x), 2, axis=-1)
    return dist.MultivariateNormalDiag(loc, jnp.exp(log_scale))


def decode(z):
    logits = nn.nets.MLP([WIDTH, WIDTH, 64], activation=jax.nn.gelu, name="decoder")(z)
    return dist.Independent(dist.Bernoulli(logits=logits), 1)


prior = dist.MultivariateNormalDiag(jnp.zeros(LATENT), jnp.ones(LATENT))


def bound(x):
    q = encode(x)
    z = q.sample(seed=nn.next_rng_key())
    return (decode(z).log_prob(x) - q.kl_divergence(prior)).mean()


model = nn.transform(bound)
encoder, decoder = (nn.without_apply_rng(nn.transform(f)) for f in (encode, decode))

# %% [markdown]
# The divergence is exact. The expectation is estimated from one reparametrised sample z = μ + σε.

# %%
optimiser = optim.adam(2e-3)


def step(carry, key):
    params, state = carry
    key_x, key_z = jax.random.split(key)
    x = jax.random.choice(key_x, train, (128,))
    loss, grads = jax.value_and_grad(lambda params: -model.apply(params, key_z, x))(params)
    updates, state = optimiser.update(grads, state)
    return (optim.apply_updates(params, updates), state), -loss


params = jax.jit(model.init)(jax.random.key(0), train[:1])
keys = jax.random.split(jax.random.key(1), STEPS)
(params, _), bounds = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))(
    (params, optimiser.init(params)), keys
)
print(f"held out: {model.apply(params, jax.random.key(2), test):.2f} nats a picture; 64 fair coins give −44")

# %% [markdown]
# The decoder generates images for a grid of quantiles of the prior. `decode` uses the parameters of the whole
# model, because its modules have the same names.

# %%
u = jnp.linspace(0.04, 0.96, 12)
z = jax.scipy.special.ndtri(jnp.stack(jnp.meshgrid(u, u), -1))
drawn = decoder.apply(params, z).mean()
codes = np.asarray(encoder.apply(params, pictures).mean())
figure, axes = plt.subplots(1, 3, figsize=(9, 3.1), layout="constrained")
axes[0].imshow(np.asarray(drawn).reshape(12, 12, 8, 8).transpose(0, 2, 1, 3).reshape(96, 96), cmap="gray_r")
axes[0].axis("off")
axes[0].set_title("drawn along the latent plane", fontsize=10)
for digit in range(10):
    axes[1].scatter(*codes[labels == digit].T, s=2, color=f"C{digit}", label=digit)
axes[1].legend(markerscale=4, fontsize=6, ncols=2, loc="upper right")
axes[1].set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), xticks=(), yticks=())
axes[1].set_title("where digits are in it", fontsize=10)
axes[2].plot(np.convolve(bounds, np.ones(50) / 50, "valid"), lw=0.8)
axes[2].set(xlabel="step", ylabel="bound, nats a picture")
figure.savefig("vae.png", dpi=100)

# %% [markdown]
# ![Images on the latent plane, the codes of all digits, and the bound](vae.png)
