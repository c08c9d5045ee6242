"""Learned policy gradients: an update rule for agents, learned by gradients through the updates of a thousand agents.

`_rules.py` holds the rule, `_ladder.py` the meta-gradient from one agent in one environment up to many devices,
`_lifetimes.py` how lives begin and end. This file is the outer loop: one step lets every agent make K updates, and moves
the rule by what that came to.

Differs from Oh et al. 2020 (https://arxiv.org/abs/2007.08794):
  * values that the paper does not state are named defaults here: γ, β₀ to β₃, the choices of learning rates and α_y, the
    lengths of lifetimes; agents' gradients are clipped by their global norm, agents for images are perceptrons;
  * an episode that is cut by its time limit keeps φ(y(s_{t+1})); one that ends does not;
  * the meta-gradient's advantages come from a critic of each agent's own, with λ = 0.95;
  * entropies in the meta-objective are those of the agents after each update.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from renga import envs, optim
from renga.loop import RunError, over_devices
from renga.systems.lpg import _pictures
from renga.systems.lpg._agents import Table, critic_for, network_for
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
from renga.systems.lpg._meta_test import Contestant, at_random, by_hand, compete, learned, optimum
from renga.systems.lpg._rules import A2C, LPG, REINFORCE, Rule
from renga.systems.lpg._train import play, train
from renga.systems.lpg._worlds import draw_from, example

STEPS = 10_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train lpg --help` is made from these comments."""

    worlds: tuple[str, ...] = ("grid/dense", "grid/sparse", "grid/long", "grid/longer", "grid/long_dense")
    actions: Literal[5, 9, 18] = 9  # of agents in grids
    num_agents: int = 960  # agents that learn at once, an equal part in each world
    num_envs: int = 64  # environments of each agent
    rollout_length: int = 20  # T, steps in each environment between updates
    num_updates: int = 5  # K, updates of an agent that a meta-gradient goes through
    lifetime: int = 2_343  # updates of an agent's life; in grids with random objects, ten times as many
    discount: float = 0.995  # γ
    trace_decay: float = 0.95  # λ of the critic's advantages

    cell: Literal["lstm", "gru"] = "lstm"  # the rule's recurrent cell
    units: int = 256  # its size
    prediction_size: int = 30  # M, size of the agents' predictions y
    sees_discount: bool = True  # whether the rule sees γ
    sees_lifetime: bool = False  # whether it sees how much of its life an agent has behind it
    bf16_products: bool = False  # whether the cell's products are of bfloat16 numbers; what it carries never is
    through_policy: bool = True  # whether the meta-gradient flows through π(a|s) where the rule sees it
    through_predictions: bool = True  # whether it flows through y where the rule sees it

    learning_rates: tuple[float, ...] = (20.0, 40.0, 80.0)  # choices of a lifetime, for agents that are tables
    network_learning_rates: tuple[float, ...] = (5e-4, 1e-3, 2e-3, 5e-3)  # and for those that are networks
    y_costs: tuple[float, ...] = (0.1, 0.5, 1.0)  # choices of α_y
    agent_optimiser: Literal["sgd", "adam", "rmsprop"] = "sgd"  # of agents that are tables; networks use Adam
    agent_max_norm: float = 0.5  # agents' gradients are clipped to this norm; 0 does not clip
    agent_units: tuple[int, ...] = (32,)  # hidden layers of agents that are networks, and of their critics
    critic_rate: float = 0.2  # how far a tabular critic moves to the mean of its targets in an update

    outer: Literal["mean", "per_agent", "evolution"] = "mean"  # Adam of the mean, mean of each agent's Adam, or evolution
    meta_learning_rate: float = 1e-4
    meta_learning_rate_decay: float = 1.0  # factor a step
    meta_max_norm: float = 0.0  # the meta-gradient is clipped to this norm; 0 does not clip
    stddev: float = 0.1  # σ of evolution
    policy_entropy: float = 0.01  # β₀
    prediction_entropy: float = 0.001  # β₁
    pi_hat_cost: float = 0.001  # β₂
    y_hat_cost: float = 0.001  # β₃

    micro_batch: int = 0  # agents of a world on a device that are taken at a time; 0 takes all
    remat: bool = True  # compute inner updates again on the way back, instead of keeping them


_GROOVE = Config(
    worlds=("grid/all",), actions=5, num_agents=512, lifetime=2_500, discount=0.99,
    cell="gru", prediction_size=8, sees_discount=False,
    learning_rates=(40.0,), network_learning_rates=(1e-3,), y_costs=(0.5,),
    policy_entropy=0.05, y_hat_cost=0.001, pi_hat_cost=0.005,
)  # fmt: skip

PRESETS: dict[str, tuple[Config, int]] = {
    "paper": (Config(), STEPS),
    "groove": (_GROOVE, STEPS),
    "small": (
        Config(
            worlds=("grid/small",), actions=5, num_agents=32, num_envs=16, lifetime=200, discount=0.99,
            cell="gru", units=48, prediction_size=8, meta_learning_rate=1e-3, agent_optimiser="sgd",
            learning_rates=(20.0, 40.0, 80.0), y_costs=(0.5,), micro_batch=16,
        ),
        4_000,
    ),
}  # fmt: skip


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    key: PRNGKeyArray
    step: Array
    eta: PyTree
    opt: PyTree
    populations: tuple[Population, ...]  # one a world; none with evolution, whose every step is whole lifetimes


def _check(config: Config) -> None:
    def require(condition: bool, field: str, expected: str) -> None:
        if not condition:
            raise RunError(f"lpg: {field} must be {expected}, got {getattr(config, field)!r}")

    for field in ("num_envs", "rollout_length", "num_updates", "units", "prediction_size"):
        require(getattr(config, field) >= 1, field, "at least 1")
    for field in ("meta_learning_rate", "stddev", "critic_rate"):
        require(getattr(config, field) > 0, field, "positive")
    for field in ("discount", "trace_decay", "meta_learning_rate_decay"):
        require(0 <= getattr(config, field) <= 1, field, "in [0, 1]")
    for field in ("agent_max_norm", "meta_max_norm", "micro_batch"):
        require(getattr(config, field) >= 0, field, "0 or positive")
    for field in ("worlds", "learning_rates", "network_learning_rates", "y_costs"):
        require(len(getattr(config, field)) >= 1, field, "one or more")
    require(config.lifetime >= config.num_updates, "lifetime", f"at least num_updates = {config.num_updates}")
    count = len(config.worlds) * (2 if config.outer == "evolution" else 1)
    require(config.num_agents % count == 0 and config.num_agents > 0, "num_agents", f"a multiple of {count}")


def rule_of(config: Config) -> LPG:
    """The rule that a config trains."""
    return LPG(
        config.cell,
        config.units,
        config.prediction_size,
        config.sees_discount,
        config.sees_lifetime,
        config.bf16_products,
    )


_OPTIMISERS: dict[str, Callable[[Any], optim.GradientTransformation]] = {
    "sgd": optim.sgd,
    "adam": optim.adam,
    "rmsprop": optim.rmsprop,
}


def agent_optimiser(name: str, max_norm: float) -> Callable[[Any], optim.GradientTransformation]:
    """Returns a function from a learning rate to an agent's optimiser, which clips by the global norm first."""
    make = _OPTIMISERS[name]
    return (lambda rate: optim.chain(optim.clip_by_global_norm(max_norm), make(rate))) if max_norm else make


def group_for(config: Config, world: str, rule: Rule, num_agents: int) -> Group:
    """The agents of one world, under any rule."""
    draw = draw_from(world, config.actions)
    env = example(draw)
    network = network_for(env, rule.prediction_size, config.agent_units)
    tabular = isinstance(network, Table)
    setup = Setup(
        rule=rule,
        network=network,
        critic=critic_for(env, config.agent_units, (config.critic_rate, 1e-3)),
        optimiser=agent_optimiser(config.agent_optimiser if tabular else "adam", config.agent_max_norm),
        rollout_length=config.rollout_length,
        num_updates=config.num_updates,
        discount=config.discount,
        trace_decay=config.trace_decay,
        policy_entropy=config.policy_entropy,
        prediction_entropy=config.prediction_entropy,
        pi_hat_cost=config.pi_hat_cost,
        y_hat_cost=config.y_hat_cost,
        through_policy=config.through_policy,
        through_predictions=config.through_predictions,
        remat=config.remat,
    )
    rates = config.learning_rates if tabular else config.network_learning_rates
    arms = tuple((rate, cost) for rate in rates for cost in config.y_costs)
    lifetime = config.lifetime * (10 if world.startswith("grid/random") else 1)
    return Group(world, draw, setup, num_agents, config.num_envs, lifetime, arms)


def meta_optimiser(config: Config) -> optim.GradientTransformation:
    """Adam, after clipping if there is any."""
    rate: Any = config.meta_learning_rate
    if config.meta_learning_rate_decay < 1:
        rate = optim.exponential_decay(rate, 1, config.meta_learning_rate_decay)
    adam = optim.adam(rate)
    return optim.chain(optim.clip_by_global_norm(config.meta_max_norm), adam) if config.meta_max_norm else adam


def make(config: Config) -> tuple[Callable[[Any], State], Callable[[State], tuple[State, dict[str, Any]]]]:
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
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

    def gradients(group: Group, eta: PyTree, agents: Agent, key: PRNGKeyArray) -> tuple[PyTree, Agent, dict[str, Array]]:
        """The meta-gradient of a group, its agents split over the devices."""

        def on_device(shared: PyTree, split: tuple[Agent, PRNGKeyArray], axis: str | None):
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
                seen["return"] = {group.world: jnp.mean(returns(agents))}
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
        seen = _together(metrics) | {"meta_gradient": optim.global_norm(mean), "env_steps": env_steps}
        eta = optim.apply_updates(state.eta, updates)
        return State(key, state.step + 1, eta, opt, tuple(populations)), seen

    return init, step


def _together(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over worlds, but for what is told of each world."""
    each = {k: v for m in metrics for k, v in m.pop("return", {}).items()}
    means = {name: sum(m[name] for m in metrics) / len(metrics) for name in metrics[0]}
    return ({"return": sum(each.values()) / len(each)} if each else {}) | means | ({"returns": each} if each else {})


def contestants(config: Config, eta: PyTree, world: str, num_settings: int) -> list[Contestant]:
    """The learned rule, A2C and REINFORCE, with what each is tuned over."""
    rule = rule_of(config)
    group = group_for(config, world, rule, 1)
    tabular = isinstance(group.setup.network, Table)

    def groups(rule: Rule) -> dict[str, Group]:
        """A hand-made rule's agents are not clipped."""
        optimisers: tuple[Any, ...] = ("sgd", "adam") if tabular else ("adam",)
        make = lambda name: dataclasses.replace(config, agent_optimiser=name, agent_max_norm=0.0)
        return {name: group_for(make(name), world, rule, 1) for name in optimisers}

    hand = [by_hand(groups(r), name, num_settings) for r, name in ((A2C(), "A2C"), (REINFORCE(), "REINFORCE"))]
    return [learned(group, eta), *hand[0], *hand[1]]


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
    """Writes the learned rule to a file for `load_rule`."""
    save_rule(path, rule_of(config), state.eta)
