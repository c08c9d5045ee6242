"""The report's pictures: levels, what the rule has come to say, and what agents' predictions have come to mean."""

import io
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from renga import envs
from renga.systems.lpg._agents import Table
from renga.systems.lpg._experience import Inputs, Targets
from renga.systems.lpg._lifetimes import Group, Population
from renga.systems.lpg._meta_test import Outcome
from renga.systems.lpg._rules import Rule

T = 20


def render(figure: Any) -> np.ndarray:
    """A figure as an image, `[H, W, 3]`."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _figure(columns: int, width: float = 4.2, height: float = 3.4) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def make(groups: list[Group]) -> Callable[[PyTree], dict[str, np.ndarray]]:
    """Returns a function from a state to its pictures."""

    def draw(state: PyTree) -> dict[str, np.ndarray]:
        images = {"learned_rule": picture_of_rule(groups[0].setup.rule, state.eta, groups[0].setup.discount)}
        for group, population in zip(groups, state.populations, strict=False):
            name = group.world.replace("/", "_")
            level = jax.tree.map(lambda x: x[0], population.agents.life.level)
            if isinstance(level, envs.Grid):
                at = jax.tree.map(lambda x: x[0, 0], population.agents.env.state)
                images[f"level_of_{name}"] = envs.draw_level(level, at)
            if isinstance(group.setup.network, Table):
                images[f"meaning_of_y_in_{name}"] = picture_of_predictions(group, population)
        return images

    return draw


@jax.jit
def _probe(rule: Rule, eta: PyTree, discount: Float[ArrayLike, ""], **changes: Array) -> Targets:
    """The rule's answer to rollouts `[B, T]` in which nothing happens but the changes."""
    B = next(iter(changes.values())).shape[0]
    M = rule.prediction_size
    inputs = Inputs(
        r_t=jnp.zeros((B, T)),
        terminated_t=jnp.zeros((B, T), bool),
        last_t=jnp.zeros((B, T), bool),
        log_pi=jnp.full((B, T), jnp.log(0.2)),
        y_tm1=jnp.zeros((B, T, M)),
        y_t=jnp.zeros((B, T, M)),
        discount=jnp.full(B, discount),
        update=jnp.full(B, 100),
        lifetime=jnp.full(B, 1000),
    )._replace(**changes)
    return jax.vmap(rule, in_axes=(None, 0))(eta, inputs)


def picture_of_rule(rule: Rule, eta: PyTree, discount: float) -> np.ndarray:
    """Draws π̂ and ŷ against what the rule sees: reward, probability, the reward's distance, the next prediction."""
    figure, axes = _figure(4)
    r = jnp.linspace(-2.0, 2.0, 41)
    rewards = jnp.zeros((41, T)).at[:, -1].set(r)
    end = jnp.zeros((41, T), bool).at[:, -1].set(True)
    for probability in (0.05, 0.2, 0.5, 0.95):
        log_pi = jnp.full((41, T), jnp.log(probability))
        found = _probe(rule, eta, discount, r_t=rewards, terminated_t=end, last_t=end, log_pi=log_pi)
        axes[0].plot(r, found.pi_hat[:, -1], label=f"π(a|s) = {probability}")
    axes[0].set(title="π̂ at an episode's last step", xlabel="reward", ylabel="π̂")
    axes[0].legend(fontsize=7)

    for sign in (1.0, -1.0):
        found = _probe(rule, eta, discount, r_t=sign * rewards[-1:] / 2.0, terminated_t=end[:1], last_t=end[:1])
        axes[1].plot(np.arange(T)[::-1], found.pi_hat[0], label=f"reward {sign:+.0f}")
    axes[1].set(title="π̂ before a reward that ends the episode", xlabel="steps until the reward")
    axes[1].legend(fontsize=7)

    found = _probe(rule, eta, discount, r_t=rewards, terminated_t=end, last_t=end)
    axes[2].imshow(
        found.y_hat[:, -1].T, aspect="auto", origin="lower", extent=(-2, 2, -0.5, rule.prediction_size - 0.5)
    )
    axes[2].set(title="ŷ at an episode's last step", xlabel="reward", ylabel="element of ŷ")

    sure = 8.0 * jnp.eye(rule.prediction_size)[:, None, :].repeat(T, axis=1)
    found = _probe(rule, eta, discount, y_t=sure)
    axes[3].bar(np.arange(rule.prediction_size), found.pi_hat[:, -1])
    axes[3].set(title="π̂ when y(s') is sure of one element", xlabel="element of y(s')")
    for axis in axes:
        axis.grid(alpha=0.25)
    return render(figure)


def regression(y: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, float]:
    """Least squares of values on predictions: the fitted values, and R², the share of variance that they explain."""
    x = np.concatenate([y, np.ones((len(y), 1))], axis=1)
    fitted = x @ np.linalg.lstsq(x, v, rcond=None)[0]
    variance = np.mean((v - v.mean()) ** 2)
    return fitted, 1.0 - float(np.mean((v - fitted) ** 2) / variance) if variance > 0 else 0.0


def picture_of_predictions(group: Group, population: Population, num_agents: int = 3) -> np.ndarray:
    """Draws, for the agents that have lived longest, the value of a state against the best linear guess from y(s)."""
    figure, axes = _figure(num_agents)
    ages = np.asarray(population.agents.update)
    for axis, i in zip(axes, np.argsort(-ages)[:num_agents], strict=False):
        table = np.asarray(population.agents.params["table"][i])[:, group.setup.network.num_actions :]  # pyrefly: ignore
        visited = np.any(table != 0.0, axis=1)
        axis.set(title=f"agent after {ages[i]} updates", xlabel="linear in y(s)", ylabel="critic's v(s)")
        if visited.sum() > group.setup.rule.prediction_size + 1:
            y = np.asarray(jax.nn.softmax(jnp.asarray(table[visited])))
            fitted, r2 = regression(y, np.asarray(population.agents.critic[i])[visited])
            axis.scatter(fitted, np.asarray(population.agents.critic[i])[visited], s=5, alpha=0.5)
            axis.set_title(f"agent after {ages[i]} updates: R² = {r2:.2f}")
        axis.grid(alpha=0.25)
    return render(figure)


def picture_of_lives(
    found: dict[str, dict[str, Outcome]], optimum: dict[str, float], chance: dict[str, float]
) -> np.ndarray:
    """Draws, for each world, the return over a lifetime under each rule."""
    figure, axes = _figure(len(found), 5.0, 3.8)
    for axis, (world, outcomes) in zip(axes, found.items(), strict=True):
        for name, outcome in outcomes.items():
            mean = outcome.curve.mean(0)
            spread = outcome.curve.std(0) / np.sqrt(len(outcome.curve))
            (line,) = axis.plot(mean, label=name)
            axis.fill_between(np.arange(len(mean)), mean - spread, mean + spread, alpha=0.2, color=line.get_color())
        if world in optimum:
            axis.axhline(optimum[world], color="black", linestyle="--", linewidth=1, label="optimum")
        axis.axhline(chance[world], color="gray", linestyle=":", linewidth=1, label="random")
        axis.set(title=f"{world}, {len(outcome.curve)} levels not seen before", xlabel="update", ylabel="return")
        axis.legend(fontsize=8)
        axis.grid(alpha=0.25)
    return render(figure)
