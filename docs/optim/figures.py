"""Draws the pictures of the tutorial from its own code blocks: python docs/optim/figures.py."""

import pathlib
import re

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

HERE = pathlib.Path(__file__).parent


def main() -> None:
    """Runs the blocks and saves three pictures beside them."""
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", (HERE / "index.md").read_text(), re.S | re.M):
        exec(compile(block, "index.md", "exec"), names)
    plt.rcParams.update({"figure.figsize": (6, 3), "svg.hashsalt": "renga", "figure.constrained_layout.use": True})

    plt.figure()
    plt.loglog(names["rates"], names["curves"][:, -1], ".-")
    plt.xlabel("learning rate")
    plt.ylabel("loss after 60 steps")
    plt.savefig(HERE / "population.svg", metadata={"Date": None})

    plt.figure()
    plt.semilogy(names["history"], ".-")
    plt.xlabel("meta step")
    plt.ylabel("loss after 20 steps")
    plt.savefig(HERE / "hypergradient.svg", metadata={"Date": None})

    _, (left, right) = plt.subplots(1, 2)
    left.semilogy(names["norms"])
    left.set(xlabel="step", ylabel="norm of the gradient")
    right.semilogy(names["ratios"])
    right.set(xlabel="step", ylabel="‖step‖ / ‖w1‖")
    plt.savefig(HERE / "observed.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
