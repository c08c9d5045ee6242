"""State and parts: what the phases of a step share."""

from typing import Any, NamedTuple

from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from renga import envs, optim, search
from renga.data import PrioritisedSequenceReplay, PrioritisedSequenceState, SequenceReplay, SequenceState
from renga.loop import SettingError
from renga.systems._reinforcement import check_world
from renga.systems.muzero import _networks, _planning
from renga.systems.muzero._config import Config, check, stretch


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    split = ("env", "opening", "tree")  # the batch, of which each device has a part

    key: PRNGKeyArray
    step: Array
    params: PyTree
    searching: PyTree  # the parameters that search in training: copies of `params`, or their average
    opt: PyTree
    env: envs.Running
    opening: Int[Array, " B"]  # how many of the first moves of each game are drawn evenly
    replay: SequenceState | PrioritisedSequenceState
    tree: search.Tree | None = None  # what is known of the states at hand from the searches before


class System(NamedTuple):
    """The environment, the networks, the search in them and the replay: what the phases of a step share."""

    env: envs.Batch
    networks: _networks.Networks
    planner: _planning.Planner
    replay: Any  # SequenceReplay or PrioritisedSequenceReplay


def system_of(config: Config) -> System:
    """The parts that the phases of a step share: environment, networks, search and replay.

    Args:
      config: the settings.

    Raises:
      RunError: naming the field that cannot be, what it must be and what it is.

    Example:
      >>> system = system_of(Config(env="tic_tac_toe", num_envs=64))
      >>> system.env.num_envs, system.env.env.num_players
      (64, 2)
    """
    check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    check_world("muzero", config, env.env, num_players=2)
    networks = _networks.make(config, env.env)
    if config.chance and config.model == "true" and not env.env.num_outcomes:
        raise SettingError(
            "muzero: env must list its outcomes of chance with chance and model = true, as 2048 does, got "
            f"{config.env!r}; a learned model learns codes of them"
        )
    if networks.sampled is not None:
        for field, only in (("model", "learned"), ("tower", "dense"), ("keep_tree", False), ("chance", False)):
            if (got := getattr(config, field)) != only:
                raise SettingError(f"muzero: {field} must be {only} where actions are continuous, got {got}")
    seen = env.env.observation_spec.shape
    if config.tower == "conv" and len(seen) < 2:
        raise SettingError(
            "muzero: tower must be dense where observations are no boards or pictures, [H, W] or [H, W, C], got conv "
            f"with observations of shape {seen}"
        )
    size = config.replay_size // config.num_envs, stretch(config)
    replay = PrioritisedSequenceReplay(*size, config.priority_exponent) if config.prioritised else SequenceReplay(*size)
    return System(env, networks, _planning.planner(config, env.env, networks), replay)


def optimiser_of(config: Config) -> optim.GradientTransformation:
    """AdamW with the clipping and the learning rates of a config."""
    rate, steps = config.learning_rate, config.decay_steps * config.updates
    schedule = optim.cosine_decay_schedule(rate, steps, alpha=0.1) if steps else rate
    adamw = optim.adamw(schedule, weight_decay=config.weight_decay)
    return optim.chain(optim.clip_by_global_norm(config.max_gradient_norm), adamw)
