# %% [markdown]
# # A batch over several devices
#
# Each device has a part of the batch and all parameters, and the gradients are averaged over devices. On a
# CPU, `JAX_NUM_CPU_DEVICES=4 python examples/data_parallel.py` uses four devices. Renga's systems do this
# automatically ({doc}`/scale`).

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np
from jax.sharding import PartitionSpec as P
from sklearn.datasets import load_digits

from renga import nn, optim

STEPS = 150  # quick: 2
BATCH = 96

pixels, labels = load_digits(return_X_y=True)
pixels, labels = (pixels / 16).astype(np.float32), labels.astype(np.int32)
network = nn.without_apply_rng(nn.transform(lambda x: nn.nets.MLP([64, 10])(x)))
optimiser = optim.adam(3e-3)


def loss_fn(params, x, y):
    return optim.softmax_cross_entropy_with_integer_labels(network.apply(params, x), y).mean()


# %% [markdown]
# This is the step on one device. `axis_name` is the axis of the mesh over which gradients are averaged.


# %%
def step(params, state, x, y, axis_name=None):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    if axis_name is not None:
        loss, grads = jax.lax.pmean((loss, grads), axis_name)
    updates, state = optimiser.update(grads, state, params)
    return optim.apply_updates(params, updates), state, loss


# %% [markdown]
# `shard_map` runs it on every device of a mesh: `P("data")` splits an argument along the axis, `P()`
# replicates it. (`check_vma=False`: the gradient is that of each device's own part, until `pmean`.)

# %%
mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
whole, split = P(), P("data")
over_devices = jax.shard_map(
    lambda *args: step(*args, axis_name="data"),
    mesh=mesh,
    in_specs=(whole, whole, split, split),
    out_specs=whole,
    check_vma=False,
)


def train(step):
    params = network.init(jax.random.key(0), pixels[:1])
    state, losses = optimiser.init(params), []
    for rows in np.random.default_rng(0).integers(0, len(labels), (STEPS, BATCH)):
        params, state, loss = step(params, state, pixels[rows], labels[rows])
        losses.append(float(loss))
    return params, np.array(losses)


_, alone = train(jax.jit(step))
params, together = train(jax.jit(over_devices))
print(f"{jax.device_count()} devices; losses differ by {abs(alone - together).max():.1e} at most")

# %%
batch = jax.device_put(pixels[:BATCH], jax.NamedSharding(mesh, split))
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
axes[0].plot(alone, lw=3, alpha=0.4, label="one device")
axes[0].plot(together, lw=1, label=f"{jax.device_count()} devices")
axes[0].set(xlabel="step", ylabel="loss", yscale="log")
axes[0].legend()
for shard in batch.addressable_shards:
    rows = shard.index[0].indices(BATCH)[:2]
    axes[1].barh(shard.device.id, rows[1] - rows[0], left=rows[0], color=f"C{shard.device.id}")
    axes[1].text(sum(rows) / 2, shard.device.id, f"rows {rows[0]} to {rows[1] - 1}", ha="center", va="center")
axes[1].set(yticks=range(jax.device_count()), ylabel="device", xlabel="row of the batch")
figure.savefig("data_parallel.png", dpi=120)

# %% [markdown]
# ![The loss on one device and on several, and the rows of each device](data_parallel.png)
