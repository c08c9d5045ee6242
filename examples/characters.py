# %% [markdown]
# # A transformer language model
#
# Two causal layers predict the next character of *The Zen of Python*, which comes with Python. The text is
# short, so the network memorises it. The picture shows how well it predicts each character.

# %%
import codecs
import contextlib
import io

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from renga import nn, optim

STEPS = 500  # quick: 2
LENGTH, WIDTH, LAYERS, HEADS = 48, 64, 2, 4

with contextlib.redirect_stdout(io.StringIO()):
    import this
text = codecs.decode(this.s, "rot13")
alphabet = sorted(set(text))
ids = jnp.array([alphabet.index(letter) for letter in text])

# %% [markdown]
# A block has attention and a multilayer perceptron, each with a normalisation layer before it and a residual
# connection. `layer_stack` gives each of the equal layers its own parameters and compiles them like one
# layer.


# %%
def block(h):
    norm = lambda: nn.LayerNorm(axis=-1, create_scale=True, create_offset=True)
    h = h + nn.GroupedQueryAttention(HEADS, HEADS, key_size=WIDTH // HEADS)(norm()(h))
    return h + nn.nets.MLP([4 * WIDTH, WIDTH], activation=jax.nn.gelu)(norm()(h))


def model(tokens):
    h = nn.Embed(len(alphabet), WIDTH)(tokens)
    h = nn.layer_stack(LAYERS)(block)(h)
    return nn.Linear(len(alphabet))(nn.LayerNorm(-1, True, True)(h))


network = nn.without_apply_rng(nn.transform(model))


def losses_of(params, tokens):
    logits = network.apply(params, tokens[:, :-1])
    return optim.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])


optimiser = optim.chain(
    optim.clip_by_global_norm(1.0), optim.adamw(optim.warmup_cosine_decay_schedule(0.0, 3e-3, STEPS // 10, STEPS))
)


def step(carry, key):
    params, state = carry
    starts = jax.random.randint(key, (32, 1), 0, len(ids) - LENGTH)
    tokens = ids[starts + jnp.arange(LENGTH + 1)]
    loss, grads = jax.value_and_grad(lambda params: losses_of(params, tokens).mean())(params)
    updates, state = optimiser.update(grads, state, params)
    return (optim.apply_updates(params, updates), state), loss


# %%
params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, LENGTH), int))
keys = jax.random.split(jax.random.key(1), STEPS)
(params, _), losses = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))(
    (params, optimiser.init(params)), keys
)
print(f"nats a character: {losses[0]:.2f} at first, {losses[-20:].mean():.2f} at the end")

# %% [markdown]
# The model continues a prompt, always with the most likely character:

# %%
prompt = text[text.index("Beautiful") :][:LENGTH]


@jax.jit
def next_letter(window):
    return network.apply(params, window[None])[0, -1].argmax()


window = np.array([alphabet.index(letter) for letter in prompt])
written = prompt
for _ in range(120):
    letter = int(next_letter(window))
    written += alphabet[letter]
    window = np.append(window[1:], letter)
print(written)

# %%
shown = 220
tokens = np.pad(ids[: shown + 1], (LENGTH, 0))
windows = np.stack([tokens[i : i + LENGTH + 1] for i in range(1, shown + 1)])
logits = jax.jit(network.apply)(params, windows[:, :-1])[:, -1]
surprise = np.asarray(optim.softmax_cross_entropy_with_integer_labels(logits, windows[:, -1]))
columns = 44
figure, axis = plt.subplots(figsize=(9, 2.2), layout="constrained")
image = axis.imshow(surprise.reshape(-1, columns), cmap="YlOrRd", vmin=0, vmax=4, aspect="auto")
for place, letter in enumerate(text[1 : shown + 1]):
    row, column = divmod(place, columns)
    axis.text(column, row, letter.replace("\n", "¶"), ha="center", va="center", fontsize=9, family="monospace")
axis.axis("off")
figure.colorbar(image, label="nats")
figure.savefig("characters.png", dpi=120)

# %% [markdown]
# ![The beginning of the text, with less likely characters in a darker red](characters.png)
#
# The model gives dark characters a low probability. Most of them are at the beginning, where there is little
# context.
