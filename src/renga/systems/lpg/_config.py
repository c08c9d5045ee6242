"""Settings and presets, and what follows from them: the rule, the groups of agents, the optimisers."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from jaxtyping import PyTree

from renga import optim
from renga.loop import check_config
from renga.systems.lpg._agents import Table, critic_for, network_for
from renga.systems.lpg._ladder import Setup
from renga.systems.lpg._lifetimes import Group
from renga.systems.lpg._meta_test import Contestant, by_hand, learned
from renga.systems.lpg._rules import A2C, LPG, REINFORCE, Rule
from renga.systems.lpg._worlds import draw_from, example

STEPS = 10_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train lpg --help` is made from these comments."""

    worlds: tuple[str, ...] = ("grid/dense", "grid/sparse", "grid/long", "grid/longer", "grid/long_dense")
    actions: Literal[5, 9, 18] = 9  # number of actions in grid worlds
    num_agents: int = 960  # agents that learn in parallel, an equal share in each environment
    num_envs: int = 64  # environments of each agent
    rollout_length: int = 20  # T, steps in each environment between updates
    num_updates: int = 5  # K, updates of an agent that a meta-gradient is taken through
    lifetime: int = 2_343  # updates of an agent's lifetime; in grids with random objects, ten times as many
    discount: float = 0.995  # γ
    trace_decay: float = 0.95  # λ of the critic's advantages

    cell: Literal["lstm", "gru"] = "lstm"  # the rule's recurrent cell
    units: int = 256  # its size
    prediction_size: int = 30  # M, size of the agents' predictions y
    sees_discount: bool = True  # whether the rule sees γ
    sees_lifetime: bool = False  # whether the rule sees the elapsed fraction of an agent's lifetime
    bf16_products: bool = False  # whether the cell's matrix products are in bfloat16; its state is not
    through_policy: bool = True  # whether the meta-gradient flows through the input π(a|s) of the rule
    through_predictions: bool = True  # whether it flows through the input y of the rule

    learning_rates: tuple[float, ...] = (20.0, 40.0, 80.0)  # learning rates of tabular agents, chosen for each lifetime
    network_learning_rates: tuple[float, ...] = (5e-4, 1e-3, 2e-3, 5e-3)  # learning rates of network agents
    y_costs: tuple[float, ...] = (0.1, 0.5, 1.0)  # values of α_y, chosen for each lifetime
    agent_optimiser: Literal["sgd", "adam", "rmsprop"] = "sgd"  # of tabular agents; network agents use Adam
    agent_max_norm: float = 0.5  # norm to which agents' gradients are clipped; 0: no clipping
    agent_units: tuple[int, ...] = (32,)  # hidden layers of network agents and of their critics
    critic_rate: float = 0.2  # step size of a tabular critic towards the mean of its targets

    outer: Literal["mean", "per_agent", "evolution"] = (
        "mean"  # Adam on the mean gradient, mean of each agent's Adam update, or an evolution strategy
    )
    meta_learning_rate: float = 1e-4
    meta_learning_rate_decay: float = 1.0  # decay factor per step
    meta_max_norm: float = 0.0  # norm to which the meta-gradient is clipped; 0: no clipping
    stddev: float = 0.1  # σ of the evolution strategy
    policy_entropy: float = 0.01  # β₀
    prediction_entropy: float = 0.001  # β₁
    pi_hat_cost: float = 0.001  # β₂
    y_hat_cost: float = 0.001  # β₃

    micro_batch: int = 0  # agents of an environment processed at a time on a device; 0: all
    remat: bool = True  # recompute inner updates in the backward pass instead of storing them


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
            worlds=("grid/small", "grid/small_sparse"), actions=5, num_agents=32, num_envs=16, lifetime=200,
            discount=0.97, cell="gru", units=48, prediction_size=8, y_costs=(0.5,),
            agent_optimiser="adam", learning_rates=(0.05, 0.1, 0.2), agent_max_norm=0.0,
            meta_learning_rate=1e-3, meta_learning_rate_decay=0.9992, meta_max_norm=0.05, policy_entropy=0.03,
        ),
        2_500,
    ),
}  # fmt: skip


def check(config: Config) -> None:
    """Raises a `RunError` that says which field cannot be, and what it must be."""
    require = check_config("lpg", config)
    require.numbers("num_envs", "rollout_length", "num_updates", "units", "prediction_size", low=1)
    require.numbers("meta_learning_rate", "stddev", "critic_rate", above=0)
    require.numbers("discount", "trace_decay", "meta_learning_rate_decay", low=0, high=1)
    costs = ("policy_entropy", "prediction_entropy", "pi_hat_cost", "y_hat_cost")
    require.numbers("agent_max_norm", "meta_max_norm", "micro_batch", *costs, low=0)
    for field in ("worlds", "learning_rates", "network_learning_rates", "y_costs"):
        require(len(getattr(config, field)) >= 1, field, "one or more")
    require.numbers("learning_rates", "network_learning_rates", above=0)
    require.numbers("y_costs", low=0)
    require.numbers("agent_units", low=1)
    require.numbers("critic_rate", high=1)
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
