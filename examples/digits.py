# %% [markdown]
# # Classifying digits with a multilayer perceptron
#
# A minimal complete program: a network of `renga.nn`, an optimiser of `renga.optim`, and the 1,797 images of
# digits (8 × 8 pixels) of scikit-learn. A third of them is held out.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from renga import nn, optim

STEPS = 600  # quick: 5
BATCH = 128

pixels, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(labels))
pixels, labels = jnp.asarray(pixels[order] / 16.0, jnp.float32), jnp.asarray(labels[order])
train, test = slice(0, 1200), slice(1200, None)

# %% [markdown]
# A function with modules becomes two pure functions, `init` and `apply`. Dropout uses the key of `apply`.


# %%
def model(x, is_training):
    keep = 0.25 if is_training else 0.0
    x = jax.nn.relu(nn.Linear(128)(x))
    x = nn.dropout(nn.next_rng_key(), keep, x)
    return nn.Linear(10)(x)


network = nn.transform(model)
print(nn.summary(network, pixels[:1], False))


# %%
def loss_fn(params, key, x, y):
    logits = network.apply(params, key, x, True)
    return optim.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def accuracy(params, part):
    logits = network.apply(params, jax.random.key(0), pixels[part], False)
    return (logits.argmax(1) == labels[part]).mean()


optimiser = optim.adamw(optim.cosine_decay_schedule(3e-3, STEPS), weight_decay=1e-2)


def step(carry, key):
    params, state = carry
    key_batch, key_drop = jax.random.split(key)
    rows = jax.random.choice(key_batch, 1200, (BATCH,))
    loss, grads = jax.value_and_grad(loss_fn)(params, key_drop, pixels[rows], labels[rows])
    updates, state = optimiser.update(grads, state, params)
    return (optim.apply_updates(params, updates), state), loss


# %% [markdown]
# The whole training is one compiled program: a `scan` over the keys of its steps.

# %%
params = network.init(jax.random.key(0), pixels[:1], False)
keys = jax.random.split(jax.random.key(1), STEPS)
(params, _), losses = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))(
    (params, optimiser.init(params)), keys
)
print(f"right: {accuracy(params, train):.3f} of the digits it learned from, {accuracy(params, test):.3f} of the others")

# %% [markdown]
# The held-out digits with the least confident predictions:

# %%
p = jax.nn.softmax(network.apply(params, jax.random.key(0), pixels[test], False))
unsure = np.argsort(np.asarray(p.max(1)))[:18]
figure = plt.figure(figsize=(9, 3.2), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1, 1.6))
axis = left.subplots()
axis.semilogy(losses, lw=0.7)
axis.set(xlabel="step", ylabel="loss of a batch")
for axis, row in zip(right.subplots(3, 6).ravel(), unsure, strict=True):
    axis.imshow(pixels[test][row].reshape(8, 8), cmap="gray_r")
    said, truth = int(p[row].argmax()), int(labels[test][row])
    axis.set_title(f"{said}", color="tab:green" if said == truth else "tab:red", fontsize=9)
    axis.axis("off")
figure.savefig("digits.png", dpi=120)

# %% [markdown]
# ![Training loss, and 18 digits with their predictions](digits.png)
#
# Correct predictions are green, wrong ones red.
