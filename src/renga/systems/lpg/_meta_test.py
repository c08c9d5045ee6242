"""Meta-testing: fresh agents in levels that nobody has seen, under the frozen rule and under rules found by hand.

Everyone makes the same number of updates from the same number of steps, in the same levels. The hand-made rules are
tuned by random search, and the learned one by the choices it was trained with, all on levels apart from those that
count.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs
from renga.systems.lpg._agents import Table
from renga.systems.lpg._ladder import Agent, Life, new_agent
from renga.systems.lpg._lifetimes import Group
from renga.systems.lpg._rules import A2C, REINFORCE, Rule
from renga.systems.lpg._train import play, train

NUM_EPISODES = 32  # that an agent's final policy is judged by


class Settings(NamedTuple):
    """What is tuned: a learning rate, α_y, and the rule itself, whose leaves are its hyperparameters; `[S]` each."""

    learning_rate: Float[Array, "*S"]
    y_cost: Float[Array, "*S"]
    rule: Rule


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A rule with its settings.

    Attributes:
      name: of the rule.
      group: of its agents; `group.setup.rule` is replaced by that of a setting.
      eta: its meta-parameters.
      settings: those to choose from.
    """

    name: str
    group: Group
    eta: PyTree
    settings: Settings


class Outcome(NamedTuple):
    """How fresh agents did, one in each of B levels.

    Attributes:
      final: mean return of episodes played by the policy that an agent ends with.
      curve: return of the episodes finished last, at each update.
      chosen: the setting that did best in tuning, in words.
    """

    final: Float[np.ndarray, " B"]
    curve: Float[np.ndarray, "B N"]
    chosen: str


def levels(group: Group, key: PRNGKeyArray, num_levels: int) -> envs.Environment:
    """The levels that agents of `live` with this key are put into."""
    return jax.vmap(lambda key: group.draw(jax.random.fold_in(key, 0)))(jax.random.split(key, num_levels))


def live(group: Group, eta: PyTree, settings: Settings, key: PRNGKeyArray, num_updates: int) -> tuple[Array, Array]:
    """One life: its final return and its curve `[N]`. Only the settings differ between contestants."""
    setup = dataclasses.replace(group.setup, rule=settings.rule)
    level = group.draw(jax.random.fold_in(key, 0))
    key_agent, key_train, key_play = jax.random.split(jax.random.fold_in(key, 1), 3)
    life = Life(level, settings.learning_rate, settings.y_cost, jnp.int32(num_updates), jnp.int32(0))
    agent: Agent = new_agent(setup, life, key_agent, group.num_envs)
    agent, curve = train(setup, eta, agent, key_train, num_updates)
    return jnp.mean(play(setup, agent, key_play, NUM_EPISODES)), curve.episode_return


def compete(contestants: list[Contestant], key: PRNGKeyArray, num_updates: int, num_levels: int) -> dict[str, Outcome]:
    """Tunes every contestant on some levels, and lets them meet on others.

    Args:
      contestants: several of one name are several families of settings, of which the best counts.
      key: decides the levels.
      num_updates: N.
      num_levels: B; a quarter as many, but at least 4, are for tuning.

    Returns:
      By name, how agents did under the best setting.
    """
    key_tune, key_test = jax.random.split(key)
    tuning = jax.random.split(key_tune, max(4, num_levels // 4))
    test = jax.random.split(key_test, num_levels)
    best: dict[str, tuple[float, Contestant, Settings, str]] = {}
    for one in contestants:

        def score(settings: Settings, one: Contestant = one) -> Array:
            return jnp.mean(jax.vmap(lambda k: live(one.group, one.eta, settings, k, num_updates)[0])(tuning))

        scores = np.asarray(jax.jit(jax.vmap(score))(one.settings))
        i = int(np.nanargmax(scores))
        setting = jax.tree.map(lambda x: x[i], one.settings)  # noqa: B023
        if one.name not in best or scores[i] > best[one.name][0]:
            best[one.name] = (float(scores[i]), one, setting, describe(one, setting))
    outcomes = {}
    for name, (_, one, setting, text) in best.items():
        lives = jax.jit(jax.vmap(lambda k: live(one.group, one.eta, setting, k, num_updates)))  # noqa: B023
        final, curve = lives(test)
        outcomes[name] = Outcome(np.asarray(final), np.asarray(curve), text)
    return outcomes


def describe(one: Contestant, setting: Settings) -> str:
    """A setting in words."""
    words = [f"learning rate {float(setting.learning_rate):.3g}", f"α_y {float(setting.y_cost):.3g}"]
    fields = {f.name: getattr(setting.rule, f.name) for f in dataclasses.fields(setting.rule)}  # pyrefly: ignore
    words += [f"{name} {float(x):.3g}" for name, x in fields.items() if isinstance(x, jax.Array)]
    return ", ".join(words)


def learned(group: Group, eta: PyTree) -> Contestant:
    """The learned rule, with the choices of its training."""
    rates, costs = jnp.asarray(group.arms, jnp.float32).T
    return Contestant("LPG", group, eta, Settings(rates, costs, group.setup.rule))


def by_hand(groups: dict[str, Group], name: str, num_settings: int, seed: int = 0) -> list[Contestant]:
    """A2C or REINFORCE with settings drawn at random, for each of several optimisers.

    Args:
      groups: by the name of an optimiser, the agents that have it.
      name: "A2C" or "REINFORCE".
      num_settings: how many for each optimiser.
      seed: of the draws.

    Returns:
      A contestant for each optimiser.
    """
    found = []
    for optimiser, group in groups.items():
        rng = np.random.default_rng(seed)
        tabular = isinstance(group.setup.network, Table)
        low, high = {"sgd": (5.0, 500.0), "adam": (0.01, 1.0) if tabular else (1e-4, 1e-2)}[optimiser]

        def draw(low: float, high: float, rng: np.random.Generator = rng) -> Array:
            return jnp.asarray(np.exp(rng.uniform(np.log(low), np.log(high), num_settings)), jnp.float32)

        rates, costs, entropy, decay = draw(low, high), draw(0.02, 2.0), draw(1e-3, 0.2), 1 - draw(0.01, 0.3)
        rule = A2C(decay, entropy) if name == "A2C" else REINFORCE(entropy)
        found.append(Contestant(name, group, (), Settings(rates, costs, rule)))
    return found


def at_random(group: Group, key: PRNGKeyArray, num_levels: int) -> Float[np.ndarray, " B"]:
    """What the uniform policy gets, in the levels of `compete`."""
    _, key_test = jax.random.split(key)

    def one(key: PRNGKeyArray) -> Array:
        life = Life(group.draw(jax.random.fold_in(key, 0)), *[jnp.float32(0)] * 2, *[jnp.int32(0)] * 2)
        agent = new_agent(group.setup, life, key, group.num_envs)
        agent = agent._replace(params=jax.tree.map(jnp.zeros_like, agent.params))
        return jnp.mean(play(group.setup, agent, key, NUM_EPISODES))

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(key_test, num_levels)))


def optimum(group: Group, key: PRNGKeyArray, num_levels: int) -> Any:
    """The best that can be had in the levels of `compete`, by dynamic programming; None where that is not exact."""
    if not isinstance(group.setup.network, Table):
        return None
    _, key_test = jax.random.split(key)
    return np.asarray(jax.jit(jax.vmap(envs.optimal_return))(levels(group, key_test, num_levels)))
