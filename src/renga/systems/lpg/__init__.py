"""Learned policy gradients: an update rule for agents, learned by gradients through the updates of a thousand agents.

`_rules.py` has the rule, `_ladder.py` the meta-gradient, from one agent in one environment to many devices,
`_lifetimes.py` the start and end of lifetimes, `_config.py` the options. This file is the outer loop: in one step every
agent makes K updates, and the rule is updated by the meta-gradient.

Differs from Oh et al. 2020 (https://arxiv.org/abs/2007.08794):
  * values that the paper does not state are named defaults here: γ, β₀ to β₃, the values of learning rates and α_y,
    lengths of lifetimes; agents' gradients are clipped by their global norm, agents for images are MLPs;
  * at truncation by a time limit φ(y(s_{t+1})) is kept; at termination it is not;
  * the meta-gradient's advantages come from a separate critic for each agent, with λ = 0.95;
  * entropies in the meta-objective are those of the agents after each update.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from renga import optim
from renga.loop import SettingError, over_devices
from renga.systems.lpg import _pictures
from renga.systems.lpg._agents import Critic, Network, NetworkCritic, Perceptron, Table, TableCritic
from renga.systems.lpg._config import (
    PRESETS,
    STEPS,
    Config,
    agent_optimiser,
    check,
    contestants,
    group_for,
    meta_optimiser,
    rule_of,
)
from renga.systems.lpg._evolution import evolution_gradient
from renga.systems.lpg._experience import Inputs, Rollout, Targets
from renga.systems.lpg._export import load_rule, save_rule
from renga.systems.lpg._ladder import (
    Agent,
    Life,
    Setup,
    agent_loss,
    apply_update_rule,
    do_rollout,
    inner_update,
    meta_gradient,
    new_agent,
    outer_loss,
)
from renga.systems.lpg._lifetimes import Group, Population, begin, renew, returns
from renga.systems.lpg._meta_test import at_random, compete, optimum
from renga.systems.lpg._rules import A2C, LPG, REINFORCE, Rule
from renga.systems.lpg._train import play, train
from renga.systems.lpg._trained import LearnedRule, load

__all__ = [
    "A2C",
    "LPG",
    "PRESETS",
    "REINFORCE",
    "STEPS",
    "Agent",
    "Config",
    "Critic",
    "Group",
    "Inputs",
    "LearnedRule",
    "Life",
    "Network",
    "NetworkCritic",
    "Perceptron",
    "Population",
    "Rollout",
    "Rule",
    "Setup",
    "State",
    "Table",
    "TableCritic",
    "Targets",
    "agent_loss",
    "agent_optimiser",
    "apply_update_rule",
    "at_random",
    "compete",
    "contestants",
    "do_rollout",
    "evaluate",
    "export",
    "group_for",
    "inner_update",
    "load",
    "load_rule",
    "make",
    "meta_gradient",
    "new_agent",
    "optimum",
    "outer_loss",
    "pictures",
    "play",
    "returns",
    "rule_of",
    "save_rule",
    "train",
]


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    key: PRNGKeyArray
    step: Array
    eta: PyTree
    opt: PyTree
    populations: tuple[Population, ...]  # one a world; none with evolution, whose every step is whole lifetimes

    @property
    def split(self) -> tuple[str, ...]:
        """What is a batch, of which each device has a part: the optimiser's state if each agent has one."""
        return ("opt",) if all(x.ndim for x in jax.tree.leaves(self.opt)) else ()


def make(config: Config) -> tuple[Callable[[Any], State], Callable[[State], tuple[State, dict[str, Any]]]]:
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    check(config)
    rule = rule_of(config)
    groups = [group_for(config, world, rule, config.num_agents // len(config.worlds)) for world in config.worlds]
    optimiser = meta_optimiser(config)
    per_agent, evolution = config.outer == "per_agent", config.outer == "evolution"
    updates = config.num_agents * (sum(g.lifetime for g in groups) / len(groups) if evolution else config.num_updates)
    env_steps = updates * config.num_envs * config.rollout_length

    def init(key: PRNGKeyArray) -> State:
        key, key_eta, *keys = jax.random.split(key, 2 + len(groups))
        eta = rule.init(key_eta)
        opt = optimiser.init(eta)
        if per_agent:
            opt = jax.tree.map(lambda x: jnp.broadcast_to(x, (config.num_agents, *jnp.shape(x))), opt)
        populations = () if evolution else tuple(begin(g, k) for g, k in zip(groups, keys, strict=True))
        return State(key, jnp.int32(0), eta, opt, populations)

    def gradients(
        group: Group, eta: PyTree, agents: Agent, key: PRNGKeyArray
    ) -> tuple[PyTree, Agent, dict[str, Array]]:
        """The meta-gradient of a group, its agents split over the devices."""

        def on_device(shared: PyTree, split: tuple[Agent, Array], axis: str | None):
            num = split[1].shape[0]
            grads, agents, metrics = meta_gradient(
                group.setup, shared, *split, micro_batch=config.micro_batch or num, per_agent=per_agent, axis_name=axis
            )
            return (metrics, (grads, agents)) if per_agent else ((grads, metrics), agents)

        reduced, split = over_devices(on_device)(eta, (agents, jax.random.split(key, group.num_agents)))
        return (*split, reduced) if per_agent else (reduced[0], split, reduced[1])

    def step(state: State) -> tuple[State, dict[str, Any]]:
        key, *keys = jax.random.split(state.key, 1 + 2 * len(groups))
        grads, populations, metrics = [], [], []
        for i, group in enumerate(groups):
            if evolution:
                found, seen = evolution_gradient(group, state.eta, keys[2 * i], config.stddev, group.num_agents // 2)
            else:
                population = state.populations[i]
                found, agents, seen = gradients(group, state.eta, population.agents, keys[2 * i])
                seen = {**seen, "return": {group.world: jnp.mean(returns(agents))}}
                populations.append(renew(group, population._replace(agents=agents), keys[2 * i + 1]))
            grads.append(found)
            metrics.append(seen)
        if per_agent:
            each = jax.tree.map(lambda *g: jnp.concatenate(g), *grads)
            updates, opt = jax.vmap(optimiser.update)(each, state.opt)
            mean = jax.tree.map(lambda g: jnp.mean(g, axis=0), each)
            updates = jax.tree.map(lambda u: jnp.mean(u, axis=0), updates)
        else:
            mean = jax.tree.map(lambda *g: sum(g) / len(g), *grads)
            updates, opt = optimiser.update(mean, state.opt, state.eta)
        seen = _together(metrics) | {"meta_gradient": optim.global_norm(mean), "env_steps": jnp.float32(env_steps)}
        eta = optim.apply_updates(state.eta, updates)
        return State(key, state.step + 1, eta, opt, tuple(populations)), seen

    return init, step


def _together(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over worlds, but for what is told of each world."""
    each = {k: v for m in metrics for k, v in m.pop("return", {}).items()}
    means = {name: sum(m[name] for m in metrics) / len(metrics) for name in metrics[0]}
    return ({"return": sum(each.values()) / len(each)} if each else {}) | means | ({"returns": each} if each else {})


CAPTIONS = {
    "learned_rule": "Outputs of the rule against its inputs: π̂ updates the policy, ŷ the prediction.",
    "level_of_": "A level of this environment, with its objects and its agent.",
    "meaning_of_y_in_": "The critic's value of each state against a linear regression on the agent's prediction y. "
    "Near the line, y encodes the value.",
}


def pictures(config: Config) -> Callable[[State], dict[str, np.ndarray]]:
    """Returns a function that makes the report's pictures of a state."""
    rule = rule_of(config)
    return _pictures.make([group_for(config, world, rule, 1) for world in config.worlds])


def evaluate(
    config: Config,
    state: State,
    *,
    world: tuple[str, ...] = (),
    levels: int = 16,
    settings: int = 16,
    updates: int = 0,
    seed: int = 0,
) -> dict[str, float | np.ndarray]:
    """Trains fresh agents with the frozen rule, beside A2C and REINFORCE, in levels that nobody has seen.

    Args:
      config: the config of the run.
      state: the state it has come to.
      world: the worlds to try; those of the run by default. Others may be named: `grid/NAME`, `chain/NAME`, `catch`,
        `cartpole`, `gymnax/NAME`.
      levels: how many levels of each, with an agent each.
      settings: how many settings of each hand-made rule are tried, for each optimiser.
      updates: updates of a lifetime; by default as in the run.
      seed: of the key that decides the levels.

    Returns:
      For each world the mean return of the agents' final policies under each rule, what a random policy gets, and where
      it can be computed the optimum; and a picture of their lifetimes.
    """
    for name, value, least in (
        ("levels", levels, 1),
        ("settings", settings, 1),
        ("updates", updates, 0),
        ("seed", seed, 0),
    ):
        if not least <= value < 2**31:
            raise SettingError(f"lpg: {name} must be in [{least}, 2³¹), got {value}")
    measures: dict[str, float | np.ndarray] = {}
    found, best, chance = {}, {}, {}
    for name in world or config.worlds:
        key = jax.random.fold_in(jax.random.key(20_201_207), seed)
        rivals = contestants(config, state.eta, name, settings)
        group = rivals[0].group
        found[name] = compete(rivals, key, updates or group.lifetime, levels)
        measures |= {f"{name} ({rival})": float(o.final.mean()) for rival, o in found[name].items()}
        chance[name] = float(at_random(group, key, levels).mean())
        measures[f"{name} (random)"] = chance[name]
        highest = optimum(group, key, levels)
        if highest is not None:
            best[name] = measures[f"{name} (optimum)"] = float(highest.mean())
    return measures | {"lifetimes": _pictures.picture_of_lives(found, best, chance)}


def export(config: Config, state: State, path: str | os.PathLike[str]) -> None:
    """Writes config and learned rule to a safetensors file, which `load` and `load_rule` read."""
    LearnedRule(config, rule_of(config), state.eta).save(path)
