"""Experience: what agents go through, and what an update rule sees of it, in one environment; callers vmap."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int


class Rollout(NamedTuple):
    """T steps of one agent in one environment.

    Attributes:
      s_tm1: observations in which the actions were taken, `[T, ...]`.
      a_tm1: the actions.
      r_t: the rewards.
      s_t: the observations reached, the last ones of their episodes included, `[T, ...]`.
      terminated_t: whether the episode ended in s_t: it has no future.
      last_t: whether the episode ended in s_t or was cut there: what follows is another episode.
    """

    s_tm1: Array
    a_tm1: Int[Array, "*B T"]
    r_t: Float[Array, "*B T"]
    s_t: Array
    terminated_t: Bool[Array, "*B T"]
    last_t: Bool[Array, "*B T"]


class Inputs(NamedTuple):
    """What an update rule sees of a rollout: no states and no actions, so that it fits any agent in any environment.

    Attributes:
      r_t: the rewards.
      terminated_t: whether the episode ended in s_t.
      last_t: whether it ended there or was cut.
      log_pi: log π(a_tm1 | s_tm1).
      y_tm1: the agent's predictions of s_tm1, before the softmax where there is one.
      y_t: its predictions of s_t.
      discount: γ.
      update: n, how many updates the agent has behind it.
      lifetime: N, how many it will make in all.
    """

    r_t: Float[Array, " T"]
    terminated_t: Bool[Array, " T"]
    last_t: Bool[Array, " T"]
    log_pi: Float[Array, " T"]
    y_tm1: Float[Array, "T M"]
    y_t: Float[Array, "T M"]
    discount: Float[Array, ""]
    update: Int[Array, ""]
    lifetime: Int[Array, ""]


class Targets(NamedTuple):
    """What an update rule tells an agent.

    Attributes:
      pi_hat: π̂, how much more likely each action should become.
      y_hat: ŷ, what the predictions of s_tm1 should be.
    """

    pi_hat: Float[Array, "*B T"]
    y_hat: Float[Array, "*B T M"]
