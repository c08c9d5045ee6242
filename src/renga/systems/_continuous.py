"""What actors and critics from replay share: the box that actions lie in, networks, the loss of values."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs, nn, rl
from renga.loop import Requirements
from renga.systems._reinforcement import Transition, encoded, features


class ActionBox(NamedTuple):
    """The box that actions lie in, and the box [−1, 1] that networks and noise think in.

        a = middle + half · u,   u ∈ [−1, 1]

    Attributes:
      low: lower bounds.
      high: upper bounds.
      middle: between them.
      half: half of what lies between them.
    """

    low: np.ndarray
    high: np.ndarray
    middle: np.ndarray
    half: np.ndarray

    @property
    def size(self) -> int:
        """How many numbers an action has."""
        return self.low.size

    def from_unit(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the action of a point of [−1, 1], inside of the box whatever is rounded."""
        low, high, middle, half = (jnp.broadcast_to(x, u.shape).astype(u.dtype) for x in self)
        return jnp.clip(middle + half * u, low, high)

    def to_unit(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the point of [−1, 1] of an action."""
        middle, half = (jnp.broadcast_to(x, a.shape).astype(a.dtype) for x in (self.middle, self.half))
        return (a - middle) / half

    def moved(self, a: Float[Array, "..."], by: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns an action moved by so much of half the box, as far as the box goes."""
        low, high, _, half = (jnp.broadcast_to(x, a.shape).astype(a.dtype) for x in self)
        return jnp.clip(a + half * by, low, high)

    def noisy(
        self, key: PRNGKeyArray, a: Float[Array, "..."], deviation: float, most: float = jnp.inf
    ) -> Float[Array, "..."]:
        """Returns a + half · clip(σ ε, −c, c) in the box of actions, with ε ~ N(0, 1)."""
        return self.moved(a, jnp.clip(deviation * jax.random.normal(key, a.shape, a.dtype), -most, most))

    def sample(self, key: PRNGKeyArray, num: int) -> Float[Array, "N ..."]:
        """Draws actions evenly."""
        return self.from_unit(jax.random.uniform(key, (num, *self.low.shape), minval=-1.0))


FOR_DISCRETE = "discrete actions are for actor_critic, dqn, mpo, muzero, pqn, sac"


def action_box(system: str, config: Any, env: envs.Environment, bounded: bool = True) -> ActionBox:
    """The box of an environment's actions; an element without bounds is as it is if that may be.

    Raises:
      RunError: if the actions are not a box of real numbers, or a bound is missing.
    """
    spec, require = env.action_spec, Requirements(system, config)
    is_real = isinstance(spec, envs.Box) and np.issubdtype(spec.dtype, np.floating)
    require(is_real, "env", "an environment with continuous actions", f" with {spec}; {FOR_DISCRETE}")
    assert isinstance(spec, envs.Box)
    low, high = (np.broadcast_to(np.asarray(x, np.float32), spec.shape) for x in (spec.low, spec.high))
    finite = np.isfinite(low) & np.isfinite(high)
    require(not bounded or bool(finite.all()), "env", "an environment whose actions have bounds", f" with {spec}")
    wide_low, wide_high = (np.where(finite, x.astype(np.float64), sign) for x, sign in ((low, -1.0), (high, 1.0)))
    is_wide = bool((wide_low < wide_high).all())
    require(is_wide, "env", "an environment whose actions can be chosen", f" with {spec}")
    middle, half = 0.5 * (wide_low + wide_high), 0.5 * (wide_high - wide_low)
    return ActionBox(low, high, middle.astype(np.float32), half.astype(np.float32))


class Critics(NamedTuple):
    """Several networks that each tell what actions are worth: Qᵢ(s, a), or Qᵢ(s) of all choices.

    Attributes:
      network: one of them.
      num: how many there are; parameters have a leading axis of this size.
    """

    network: nn.Transformed
    num: int

    def init(self, key: PRNGKeyArray, *inputs: Array) -> PyTree:
        """Returns parameters, drawn apart for each."""
        return jax.vmap(lambda key: self.network.init(key, *inputs))(jax.random.split(key, self.num))

    def __call__(self, params: PyTree, *inputs: Array) -> Float[Array, "K B *out"]:
        """Returns what each says of states `[B, ...]`, and of actions `[B, ...]` in them."""
        return jax.vmap(lambda params: self.network.apply(params, *inputs))(params)


def td_loss(q_tm1: Float[Array, "K B"], batch: Transition, v_t: Float[Array, " B"]) -> Float[Array, ""]:
    """Σᵢ ½ (r + γ v(s′) − Qᵢ(s, a))², a mean over the batch; targets are constants."""
    errors = jax.vmap(jax.vmap(rl.td_learning), in_axes=(0, None, None, None))
    return jnp.sum(jnp.mean(rl.l2_loss(errors(q_tm1, batch.r_t, batch.discount_t, v_t)), axis=1))


def critics(
    spec: envs.Discrete | envs.Box, box: ActionBox, units: tuple[int, ...], num: int, num_outputs: int = 1
) -> Critics:
    """Makes critics whose layers see the state and the action, in units of its box: [B], or [B, num_outputs]."""

    def q(s: Array, a: Array) -> Float[Array, "B *K"]:
        x = jnp.concatenate([encoded(spec, units[0], s), box.to_unit(a).reshape(len(a), -1)], axis=-1)
        out = nn.Linear(num_outputs, name="value")(nn.nets.MLP(units, activate_final=True)(x))
        return out[:, 0] if num_outputs == 1 else out

    return Critics(nn.without_apply_rng(nn.transform(q)), num)


def choice_critics(spec: envs.Discrete | envs.Box, num_actions: int, units: tuple[int, ...], num: int) -> Critics:
    """Makes critics of all choices at once: states `[B, ...]` to `[B, A]`."""

    def q(s: Array) -> Float[Array, "B A"]:
        return nn.Linear(num_actions, name="values")(features(spec, units, s))

    return Critics(nn.without_apply_rng(nn.transform(q)), num)


def actor(spec: envs.Discrete | envs.Box, box: ActionBox, units: tuple[int, ...], num: int) -> nn.Transformed:
    """Makes a network that tells `num` numbers for each of an action: `[B, ...]` to `[B, *shape, num]`."""

    def outputs(s: Array) -> Float[Array, "B *shape num"]:
        out = nn.Linear(box.size * num, name="policy")(features(spec, units, s))
        return out.reshape(-1, *box.low.shape, num)

    return nn.without_apply_rng(nn.transform(outputs))


def choice_actor(spec: envs.Discrete | envs.Box, num_actions: int, units: tuple[int, ...]) -> nn.Transformed:
    """Makes a network of logits of choices: `[B, ...]` to `[B, A]`."""

    def logits(s: Array) -> Float[Array, "B A"]:
        w_init = nn.initializers.VarianceScaling(0.01)  # all about equally likely
        return nn.Linear(num_actions, w_init=w_init, name="policy")(features(spec, units, s))

    return nn.without_apply_rng(nn.transform(logits))
