"""Settings and presets: what can be set, what is refused, and what was measured."""

import dataclasses
from typing import Any, Literal

import numpy as np

from renga.loop import check_config


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train muzero --help` is made from these comments."""

    env: str = "connect_four"  # a name of `renga list --envs`, or MODULE:NAME
    model: Literal["learned", "true"] = "true"  # learned: MuZero; true: search in the environment itself (AlphaZero)
    policy: Literal["gumbel", "puct"] = "gumbel"  # Gumbel MuZero's search, or MuZero's PUCT
    num_envs: int = 64  # games played in parallel
    moves: int = 8  # moves of each game per step
    simulations: int = 32  # simulations per move
    considered: int = 16  # maximum number of actions considered at the root (gumbel)
    max_depth: int = 0  # maximum depth of a simulation; 0: no limit
    waves: int = 1  # parallel simulations, whose leaves are evaluated in one batch
    chance: bool = False  # chance nodes in the search (Stochastic MuZero); a true model must list its outcomes (2048)
    codes: int = 32  # codes of chance that a learned model has
    lookahead: bool = False  # actions that end the game are known before they are searched, for a true model
    keep_tree: bool = False  # reuse the subtree of the chosen move for the next search
    root_noise: float = 0.25  # fraction of Dirichlet noise in the prior at the root (puct)
    root_alpha: float = 0.3  # α of the Dirichlet noise (puct)
    sampled_actions: int = 16  # candidates sampled at each node, for continuous actions (Sampled MuZero)
    even_share: float = 0.25  # fraction of the candidates sampled uniformly instead of from the policy
    value_scale: float = 0.1  # c_scale, scale of Q-values relative to logits (gumbel)
    rescale_values: bool = True  # Q-values of each node are first scaled to [0, 1]; off where values are in [-1, 1]
    temperature: float = 1.0  # initial temperature of the visit counts for sampling actions (puct)
    last_temperature: float = 1.0  # final temperature, reached linearly over decay_steps (puct)
    temperature_moves: int = 30  # moves after which the most visited action is taken (puct); 0: never
    random_opening: int = 12  # maximum number of uniformly random moves at the start of a game
    replay_size: int = 400_000  # capacity of the replay buffer, in moves
    warmup: int = 4_096  # moves before learning starts
    prioritised: bool = False  # prioritised replay, by the error of the search's value
    priority_exponent: float = 1.0  # α of prioritised replay
    importance_exponent: float = 1.0  # β of prioritised replay
    reanalyse: float = 0.0  # fraction of samples that are searched again with current parameters
    updates: int = 8  # gradient steps per step
    batch_size: int = 256  # sequences per gradient step
    symmetries: bool = True  # data augmentation by the symmetries of the environment, if it defines them
    unroll: int = 5  # K, moves for which the learned model is unrolled
    td_steps: int = 42  # n, rewards in an n-step value target
    td_lambda: float = 1.0  # λ of the value targets; 1: n-step returns
    bootstrap: Literal["search", "network"] = "search"  # values in targets: of the search when it moved, or of now
    discount: float = 1.0  # γ per move; the player to move determines its sign
    min_value: float = -1.0  # lowest value of the bins, after `value_transform`
    max_value: float = 1.0  # highest value of the bins
    value_bins: int = 21  # number of bins
    value_transform: Literal["none", "hyperbolic"] = "none"  # transform of values; hyperbolic for large returns
    tower: Literal["dense", "conv"] = "dense"  # type of the networks
    units: int = 256  # width of a layer, or channels
    blocks: int = 3  # residual blocks of each network
    bf16: bool = False  # matrix products in bfloat16
    learning_rate: float = 1e-3  # initial value; decays to a tenth, cosine schedule
    decay_steps: int = 5_000  # steps of the decay; 0: constant
    weight_decay: float = 1e-4  # of AdamW
    max_gradient_norm: float = 5.0  # global norm to which the gradient is clipped
    value_cost: float = 0.25  # weight of the value loss
    reward_cost: float = 1.0  # weight of the reward loss
    consistency_cost: float = 0.0  # weight of EfficientZero's consistency loss
    commitment_cost: float = 0.1  # weight of the distance between what is seen of chance and its code
    usage_cost: float = 0.3  # weight of the entropy of the codes' use in a batch, without which one code does for all
    target_period: int = 0  # steps between copies of the parameters for the search; 0: current parameters
    ema: float = 0.0  # decay of an average of the parameters, used for search and play; 0: none


_CONNECT_FOUR = Config(
    num_envs=256,  # a batch that the cores of a CPU share
    moves=2,
    warmup=11_008,
    lookahead=True,
    value_scale=0.5,
    rescale_values=False,
    random_opening=24,  # so that late positions are seen which two good players do not reach
    td_lambda=0.9,
    decay_steps=10_500,
)
_TIC_TAC_TOE = Config(
    env="tic_tac_toe",
    random_opening=6,
    td_steps=9,
    warmup=1_024,
    replay_size=100_000,
    units=128,
    blocks=2,
    decay_steps=400,
)
_ALONE = Config(
    model="learned",
    random_opening=0,
    num_envs=16,
    warmup=2_000,
    replay_size=100_000,
    batch_size=128,
    units=128,
    blocks=1,
    discount=0.99,
)
_CATCH = dataclasses.replace(
    _ALONE, env="catch", moves=9, simulations=8, td_steps=9, warmup=512, units=64, decay_steps=500
)
_CARTPOLE = dataclasses.replace(
    _ALONE,
    env="cartpole",
    simulations=16,
    value_scale=0.02,  # Q-values of two actions are 0 and 1 in every search: with more, targets follow their noise
    td_steps=10,
    ema=0.9,  # a single step of learning can forget what was learned; the average of ten does not
    replay_size=20_000,  # values that targets are bootstrapped from stay as they were found: old ones are too low
    value_transform="hyperbolic",
    min_value=0.0,
    max_value=12.0,
    value_bins=41,
    decay_steps=760,
)
_PENDULUM = dataclasses.replace(
    _ALONE,
    env="pendulum",
    moves=2,
    simulations=16,
    td_steps=5,
    bootstrap="network",  # the search's stay as they were found: at first 0, the best that can be
    ema=0.9,
    discount=0.97,
    value_transform="hyperbolic",
    min_value=-24.0,  # so that networks that know nothing say 0
    max_value=24.0,
    value_bins=97,
    decay_steps=1_600,
)
_GAME_2048 = Config(
    env="2048",
    chance=True,
    simulations=4,  # one look at each move: its reward and what its afterstate is worth
    considered=4,
    random_opening=0,
    num_envs=128,
    replay_size=32_000,  # values that targets are bootstrapped from are soon too low
    td_steps=20,
    discount=0.999,
    value_transform="hyperbolic",
    min_value=-240.0,  # so that networks that know nothing say 0
    max_value=240.0,
    value_bins=121,
    value_scale=0.5,
    value_cost=1.0,
    ema=0.9,
    blocks=2,
    decay_steps=800,
)

# Settings by game; `benchmarks/muzero_strength.py` trains and judges them.
PRESETS: dict[str, tuple[Config, int]] = {
    "tic_tac_toe": (_TIC_TAC_TOE, 400),
    "tic_tac_toe_learned": (
        dataclasses.replace(_TIC_TAC_TOE, model="learned", warmup=2_048, decay_steps=1_500),
        1_500,
    ),
    "catch": (_CATCH, 500),
    "cartpole": (_CARTPOLE, 760),
    "pendulum": (_PENDULUM, 1_600),
    "game_2048": (_GAME_2048, 800),
    "cpu": (_CONNECT_FOUR, 10_500),
    "connect_four_learned": (
        dataclasses.replace(_CONNECT_FOUR, model="learned", lookahead=False, warmup=12_288, decay_steps=4_400),
        4_400,
    ),
}


_NO_LOOKAHEAD = "False with a learned model and with chance, where the results of actions are not known"


def check(config: Config) -> None:
    """Refuses what makes no sense.

    Raises:
      RunError: naming the field, what it must be and what it is.
    """
    require = check_config("muzero", config)
    for field in dataclasses.fields(config):
        if field.type is int:
            require(not isinstance(getattr(config, field.name), float | np.floating), field.name, "an integer")
    choices: dict[str, tuple[Any, ...]] = {
        "model": ("learned", "true"),
        "policy": ("gumbel", "puct"),
        "bootstrap": ("search", "network"),
        "value_transform": ("none", "hyperbolic"),
        "tower": ("dense", "conv"),
    }
    for field, values in choices.items():
        require(getattr(config, field) in values, field, " or ".join(values))
    positive = ("num_envs", "moves", "simulations", "considered", "waves", "replay_size", "batch_size", "td_steps")
    require.numbers(*positive, "units", "blocks", low=1)
    require.numbers("max_depth", "temperature_moves", "random_opening", "updates", "unroll", "decay_steps", low=0)
    require.numbers("learning_rate", "max_gradient_norm", "root_alpha", "value_scale", above=0)
    require.numbers(
        "temperature",
        "last_temperature",
        "weight_decay",
        "priority_exponent",
        "value_cost",
        "reward_cost",
        "consistency_cost",
        "commitment_cost",
        "usage_cost",
        "target_period",
        low=0,
    )
    require.numbers("sampled_actions", "codes", low=2)
    require.numbers("even_share", low=0, below=1)
    require.numbers("root_noise", "td_lambda", "discount", "reanalyse", "importance_exponent", low=0, high=1)
    require.numbers("ema", low=0, below=1)
    require(not (config.ema and config.target_period), "ema", "0 where target_period is not: both say what searches")
    require.numbers("value_bins", low=2)
    require(config.min_value < config.max_value, "min_value", f"less than max_value = {config.max_value}")
    require(not (config.chance and config.keep_tree), "keep_tree", "False with chance")
    require(not config.lookahead or (config.model == "true" and not config.chance), "lookahead", _NO_LOOKAHEAD)
    require(config.simulations % config.waves == 0, "waves", f"a divisor of simulations = {config.simulations}")
    length = stretch(config)
    rows, fewest = config.replay_size // config.num_envs, config.num_envs * length
    least = f"at least num_envs · (unrolled moves + td_steps + 1) = {config.num_envs} · {length} = {fewest}"
    require(rows >= length, "replay_size", least)
    require(config.moves <= rows, "moves", f"at most replay_size // num_envs = {rows}")
    need = f"{least}, and at most replay_size = {config.replay_size}"
    require(fewest <= config.warmup <= rows * config.num_envs, "warmup", need)


def unrolled(config: Config) -> int:
    """K: how many moves the model is unrolled for in learning."""
    return config.unroll if config.model == "learned" else 0


def stretch(config: Config) -> int:
    """How many moves of a game learning looks at: K + n + 1."""
    return unrolled(config) + config.td_steps + 1


def has_codes(config: Config) -> bool:
    """Whether outcomes of chance are codes that are learned, and not those that the environment lists."""
    return config.chance and config.model == "learned"
