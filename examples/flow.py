# %% [markdown]
# # A normalising flow
#
# A normalising flow is a distribution: a Gaussian transformed by invertible maps, with an exact density. Here
# four coupling layers alternately transform one coordinate by a spline whose knots depend on the other one.
# The splines are those of Durkan et al., "Neural Spline Flows", 2019.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from sklearn.datasets import make_moons

from renga import dist, nn, optim

STEPS = 3000  # quick: 2
BINS, WIDTH, COUPLINGS = 8, 32, 4

points = jnp.asarray(make_moons(3000, noise=0.06, random_state=0)[0], jnp.float32)
points = (points - points.mean(0)) / points.std(0)

# %% [markdown]
# The last layer of each conditioner is initialised to zero, so that every spline starts as the identity.


# %%
def flow():
    couplings = []
    for i in range(COUPLINGS):
        hidden = nn.Linear(
            WIDTH, w_init=nn.initializers.RandomNormal(), b_init=lambda *_: jnp.linspace(-2.0, 2.0, WIDTH)
        )
        out = nn.Linear(3 * BINS + 1, w_init=jnp.zeros)
        knots = lambda x, hidden=hidden, out=out: out(jnp.tanh(hidden(x)))[..., None, :]
        knots(jnp.zeros(1))  # makes the parameters, since the coupling calls it inside of a transformation of JAX
        spline = lambda θ: dist.RationalQuadraticSpline(θ, -4.0, 4.0, boundary_slopes="identity")
        couplings.append(dist.SplitCoupling(1, 1, knots, spline, swap=i % 2 == 1))
    noise = dist.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2))
    return dist.Transformed(noise, dist.Chain(couplings))


log_prob = nn.without_apply_rng(nn.transform(lambda x: flow().log_prob(x)))
sample = nn.transform(lambda n: flow().sample_and_log_prob(seed=nn.next_rng_key(), sample_shape=n))
loss_fn = lambda params, x: -log_prob.apply(params, x).mean()


# %%
optimiser = optim.adam(optim.cosine_decay_schedule(3e-3, STEPS))


def step(carry, key):
    params, state = carry
    x = jax.random.choice(key, points, (256,))
    loss, grads = jax.value_and_grad(loss_fn)(params, x)
    updates, state = optimiser.update(grads, state)
    return (optim.apply_updates(params, updates), state), loss


params = jax.jit(log_prob.init)(jax.random.key(0), points[:1])
keys = jax.random.split(jax.random.key(1), STEPS)
(params, _), losses = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))(
    (params, optimiser.init(params)), keys
)
print(f"nats a point: {losses[0]:.3f} as a Gaussian, {losses[-100:].mean():.3f} at the end")

# %% [markdown]
# Samples and densities come from the same object. The density is normalised: its integral over the plane is
# 1.

# %%
samples, _ = jax.jit(sample.apply, static_argnums=2)(params, jax.random.key(2), 1000)
axis = jnp.linspace(-4.5, 4.5, 121)
density = jnp.exp(jax.jit(log_prob.apply)(params, jnp.stack(jnp.meshgrid(axis, axis), -1)))
print(f"integral of the density: {density.sum() * (axis[1] - axis[0]) ** 2:.3f}")

figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True, sharey=True, layout="constrained")
for place, title, x in zip(axes, ("data", "samples"), (points[:1000], samples), strict=False):
    place.scatter(*x.T, s=2)
    place.set_title(title)
axes[2].contourf(axis, axis, density, 24)
axes[2].set(title="density", xlim=(-3, 3), ylim=(-3, 3))
figure.savefig("flow.png", dpi=100)

# %% [markdown]
# ![Data, samples and density](flow.png)
