"""Draws the pictures of the examples from their own code blocks, with more steps: python docs/dist/figures.py."""

import pathlib
import re

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = pathlib.Path(__file__).parent


def run(page: str, steps: int) -> dict:
    """Runs the blocks of a page, which set STEPS once, with another number of steps."""
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", (HERE / page).read_text(), re.S | re.M):
        exec(compile(re.sub(r"STEPS = \d+", f"STEPS = {steps}", block), page, "exec"), names)
    return names


def flow() -> None:
    """Data, samples and density of the flow."""
    names = run("flow.md", 3000)
    _, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True, sharey=True)
    for axis, title, x in zip(axes, ("data", "samples"), (names["points"][:1000], names["samples"]), strict=False):
        axis.scatter(*np.asarray(x).T, s=2)
        axis.set_title(title)
    line = np.asarray(names["axis"])
    axes[2].contourf(line, line, np.asarray(names["density"]), 24)
    axes[2].set(title="density", xlim=(-3, 3), ylim=(-3, 3))
    plt.savefig(HERE / "flow.png", dpi=64)
    print(f"flow: {names['start']:.3f} to {names['losses'][-100:].mean():.3f} nats a point")


def vae() -> None:
    """Pictures along the latent plane, and the bound."""
    names = run("vae.md", 5000)
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 4))
    rows = np.asarray(names["drawn"]).reshape(12, 12, 8, 8)
    left.imshow(rows.transpose(0, 2, 1, 3).reshape(96, 96), cmap="gray_r")
    left.axis("off")
    right.plot(np.convolve(np.asarray(names["bounds"]), np.ones(50) / 50, "valid"))
    right.set(xlabel="step", ylabel="bound, nats a picture")
    plt.savefig(HERE / "vae.png", dpi=64)
    print(f"vae: {names['held_out']:.2f} nats a picture held out")


if __name__ == "__main__":
    plt.rcParams.update({"figure.constrained_layout.use": True})
    flow()
    vae()
