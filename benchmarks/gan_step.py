"""Is the GAN as fast as the same step written by hand?

Three programs train the default players on the same digits, interleaved in one process, and the median time of a step
is compared:

  * renga:   `renga.loop.iterate` over `renga.systems.gan`'s step, as `renga train gan` does;
  * by hand: one jitted function in plain `jax.numpy`, with the same losses, penalty, Adam, moving average and metrics;
  * PyTorch: the same networks, losses, penalty and optimisers, eager (the way most PyTorch GANs are written), without
    the metrics.

    python benchmarks/gan_step.py
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from record import write

from renga import loop
from renga.data import load_images
from renga.systems import gan

CONFIG = gan.Config()
STEPS = 400  # a lap
LAPS = 9


def renga_lap():
    """Returns a function that runs one lap of the loop over Renga's step."""
    init, step = gan.make(CONFIG)
    state = jax.jit(init)(jax.random.key(0))
    # One generator for all laps, with a mark at each lap's end, so that every lap runs the same compiled program.
    marks = [STEPS * (i + 1) for i in range(LAPS + 2)]
    updates = loop.iterate(step, state, steps=marks[-1], window=STEPS // 10, marks=marks, seconds=1e9)
    ends = iter(marks)

    def lap():
        end = next(ends)
        for update in updates:
            if update.step >= end:
                return

    return lap


def by_hand_lap():
    """Returns a function that runs one lap of a step in plain JAX."""
    real = jnp.asarray(load_images("digits").train.reshape(-1, 64))
    b1, b2, eps = CONFIG.b1, CONFIG.b2, 1e-8

    def dense(key, n, m):
        w = jax.random.truncated_normal(key, -2, 2, (n, m)) / np.sqrt(n)
        return {"w": w, "b": jnp.zeros(m)}

    def mlp(params, x, activation):
        for layer in params[:-1]:
            x = activation(x @ layer["w"] + layer["b"])
        return x @ params[-1]["w"] + params[-1]["b"]

    def generate(g, z):
        return jnp.tanh(mlp(g, z, jax.nn.relu))

    def judge(d, x):
        return mlp(d, x, lambda x: jax.nn.leaky_relu(x, 0.2))[:, 0]

    def disc_loss(d, g, x, z):
        out = judge(d, jnp.concatenate([x, generate(g, z)]))
        a, b = out[: len(x)], out[len(x) :]
        return jnp.mean(jax.nn.softplus(a) - a) + jnp.mean(jax.nn.softplus(b))

    def penalty(d, x):
        slope = jax.grad(lambda x: judge(d, x).sum())(x)
        return CONFIG.r1 * 0.5 * jnp.mean(jnp.sum(slope**2, axis=1))

    def gen_loss(g, d, z):
        out = judge(d, generate(g, z))
        return jnp.mean(jax.nn.softplus(out) - out)

    def adam(params, grads, mu, nu, count, rate):
        rate = rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count, CONFIG.decay_steps) / CONFIG.decay_steps))
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, mu, grads)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, nu, grads)
        a, b = 1 - b1 ** (count + 1), 1 - b2 ** (count + 1)
        return jax.tree.map(lambda p, m, v: p - rate * (m / a) / (jnp.sqrt(v / b) + eps), params, mu, nu), mu, nu

    def norm(tree):
        return jnp.sqrt(sum(jnp.sum(x * x) for x in jax.tree.leaves(tree)))

    def cosine(a, b):
        dot = sum(jnp.sum(x * y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
        return dot / jnp.maximum(norm(a) * norm(b), 1e-30)

    @jax.jit
    def step(s):
        key, k_data, k_z, k_z2 = jax.random.split(s["key"], 4)
        x = real[jax.random.randint(k_data, (CONFIG.batch_size,), 0, len(real))]
        z = jax.random.normal(k_z, (CONFIG.batch_size, CONFIG.latent_size))
        loss_d, grads_loss = jax.value_and_grad(disc_loss)(s["d"], s["g"], x, z)
        loss_p, grads_penalty = jax.value_and_grad(penalty)(s["d"], x)
        gd = jax.tree.map(jnp.add, grads_loss, grads_penalty)
        d, mu_d, nu_d = adam(s["d"], gd, s["mu_d"], s["nu_d"], s["count"], CONFIG.disc_learning_rate)
        z = jax.random.normal(k_z2, (CONFIG.batch_size, CONFIG.latent_size))
        loss_g, gg = jax.value_and_grad(gen_loss)(s["g"], d, z)
        g, mu_g, nu_g = adam(s["g"], gg, s["mu_g"], s["nu_g"], s["count"], CONFIG.gen_learning_rate)
        decay = CONFIG.average_decay
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, s["average"], g)
        metrics = [loss_d, loss_p, loss_g, norm(grads_loss), norm(grads_penalty)]
        metrics += [norm(layer) for layer in gd + gg] + [cosine(gd, s["gd"]), cosine(gg, s["gg"])]
        new = {"key": key, "count": s["count"] + 1, "d": d, "g": g, "average": average, "gd": gd, "gg": gg}
        return new | {"mu_d": mu_d, "nu_d": nu_d, "mu_g": mu_g, "nu_g": nu_g}, metrics

    keys = jax.random.split(jax.random.key(0), 6)
    sizes_g, sizes_d = (CONFIG.latent_size, *CONFIG.gen_sizes, 64), (64, *CONFIG.disc_sizes, 1)
    g = [dense(k, n, m) for k, n, m in zip(keys[:3], sizes_g, sizes_g[1:], strict=False)]
    d = [dense(k, n, m) for k, n, m in zip(keys[3:], sizes_d, sizes_d[1:], strict=False)]
    zero_d, zero_g = (jax.tree.map(jnp.zeros_like, p) for p in (d, g))
    state = {"key": jax.random.key(1), "count": jnp.int32(0), "d": d, "g": g, "average": g, "gd": zero_d, "gg": zero_g}
    state |= {"mu_d": zero_d, "nu_d": zero_d, "mu_g": zero_g, "nu_g": zero_g}
    box = [state]

    def lap():
        state, total = box[0], None
        for _ in range(STEPS):
            state, metrics = step(state)
            total = metrics
        jax.block_until_ready((state["d"], total))
        box[0] = state

    return lap


def torch_lap():
    """Returns a function that runs one lap of the same training in PyTorch."""
    import torch
    from torch import nn

    real = torch.tensor(load_images("digits").train.reshape(-1, 64))

    def mlp(sizes, activation):
        layers = []
        for n, m in zip(sizes[:-2], sizes[1:-1], strict=True):
            layers += [nn.Linear(n, m), activation()]
        return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))

    g = nn.Sequential(mlp((CONFIG.latent_size, *CONFIG.gen_sizes, 64), nn.ReLU), nn.Tanh())
    d = mlp((64, *CONFIG.disc_sizes, 1), lambda: nn.LeakyReLU(0.2))
    opt_g = torch.optim.Adam(g.parameters(), CONFIG.gen_learning_rate, (CONFIG.b1, CONFIG.b2))
    opt_d = torch.optim.Adam(d.parameters(), CONFIG.disc_learning_rate, (CONFIG.b1, CONFIG.b2))
    softplus = nn.functional.softplus
    average = [p.detach().clone() for p in g.parameters()]

    def step():
        x = real[torch.randint(0, len(real), (CONFIG.batch_size,))]
        z = torch.randn(CONFIG.batch_size, CONFIG.latent_size)
        with torch.no_grad():
            fake = g(z)
        out = d(torch.cat([x, fake]))
        a, b = out[: len(x)], out[len(x) :]
        loss = (softplus(a) - a).mean() + softplus(b).mean()
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
        loss = loss + CONFIG.r1 * 0.5 * (slope**2).sum(1).mean()
        opt_d.zero_grad()
        loss.backward()
        opt_d.step()
        out = d(g(torch.randn(CONFIG.batch_size, CONFIG.latent_size)))
        loss = (softplus(out) - out).mean()
        opt_g.zero_grad()
        loss.backward()
        opt_g.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(g.parameters()), 1 - CONFIG.average_decay)

    def lap():
        for _ in range(STEPS):
            step()

    return lap


def main():
    """Times the three, interleaved, and writes the medians."""
    laps = {"renga": renga_lap(), "by hand": by_hand_lap(), "torch": torch_lap()}
    times = {name: [] for name in laps}
    for i in range(LAPS + 1):
        for name, lap in laps.items():
            began = time.perf_counter()
            lap()
            if i:  # the first lap compiles
                times[name].append((time.perf_counter() - began) / STEPS * 1e3)
    medians = {name: statistics.median(t) for name, t in times.items()}
    result = {
        "milliseconds_a_step": {name: round(m, 4) for name, m in medians.items()},
        "speed_of_by_hand": round(medians["by hand"] / medians["renga"], 3),
        "speed_of_torch": round(medians["torch"] / medians["renga"], 3),
    }
    for name, median in medians.items():
        print(f"{name:<8} {median:.3f} ms a step (of {LAPS} laps: {min(times[name]):.3f} to {max(times[name]):.3f})")
    print(
        f"renga runs at {result['speed_of_by_hand']:.1%} of the speed of the step by hand, "
        f"{result['speed_of_torch']:.2f} × PyTorch"
    )
    write("gan_step", "gan_step.py", laps=LAPS, **result)


if __name__ == "__main__":
    main()
