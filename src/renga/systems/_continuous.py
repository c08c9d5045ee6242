"""What systems for continuous actions share: the box that actions lie in, critics of actions, targets that follow."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs, nn, rl
from renga.loop import RunError
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

    def sample(self, key: PRNGKeyArray, num: int) -> Float[Array, "N ..."]:
        """Draws actions evenly."""
        return self.from_unit(jax.random.uniform(key, (num, *self.low.shape), minval=-1.0))


def action_box(system: str, config: Any, env: envs.Environment, bounded: bool = True) -> ActionBox:
    """The box of an environment's actions; an element without bounds is as it is if that may be.

    Raises:
      RunError: if the actions are not a box of real numbers, or a bound is missing.
    """
    spec = env.action_spec
    if not isinstance(spec, envs.Box) or not np.issubdtype(spec.dtype, np.floating):
        raise RunError(f"{system}: env must be a world with continuous actions, got {config.env!r} with {spec}")
    low, high = (np.broadcast_to(np.asarray(x, np.float32), spec.shape) for x in (spec.low, spec.high))
    finite = np.isfinite(low) & np.isfinite(high)
    if bounded and not finite.all():
        raise RunError(f"{system}: env must be a world whose actions have bounds, got {config.env!r} with {spec}")
    wide_low, wide_high = (np.where(finite, x.astype(np.float64), sign) for x, sign in ((low, -1.0), (high, 1.0)))
    if not (wide_low < wide_high).all():
        raise RunError(f"{system}: env must be a world whose actions can be chosen, got {config.env!r} with {spec}")
    middle, half = 0.5 * (wide_low + wide_high), 0.5 * (wide_high - wide_low)
    return ActionBox(low, high, middle.astype(np.float32), half.astype(np.float32))


class Critics(NamedTuple):
    """Several networks that each tell what an action is worth: Qᵢ(s, a).

    Attributes:
      network: one of them.
      num: how many there are; parameters have a leading axis of this size.
    """

    network: nn.Transformed
    num: int

    def init(self, key: PRNGKeyArray, s: Array, a: Array) -> PyTree:
        """Returns parameters, drawn apart for each."""
        return jax.vmap(self.network.init, in_axes=(0, None, None))(jax.random.split(key, self.num), s, a)

    def __call__(self, params: PyTree, s: Array, a: Array) -> Float[Array, "K B"]:
        """Returns what each says of actions `[B, ...]` in states `[B, ...]`."""
        return jax.vmap(self.network.apply, in_axes=(0, None, None))(params, s, a)

    def td_loss(self, params: PyTree, batch: Transition, v_t: Float[Array, " B"]) -> Float[Array, ""]:
        """Σᵢ ½ (r + γ v(s′) − Qᵢ(s, a))², a mean over the batch; targets are constants."""
        q_tm1 = self(params, batch.s_tm1, batch.a_tm1)
        errors = jax.vmap(jax.vmap(rl.td_learning), in_axes=(0, None, None, None))
        td = errors(q_tm1, batch.r_t, batch.discount_t, v_t)
        return jnp.sum(jnp.mean(rl.l2_loss(td), axis=1))


def critics(spec: envs.Discrete | envs.Box, box: ActionBox, units: tuple[int, ...], num: int) -> Critics:
    """Makes critics whose layers see the state and the action, in units of its box."""

    def q(s: Array, a: Array) -> Float[Array, " B"]:
        x = jnp.concatenate([encoded(spec, units[0], s), box.to_unit(a).reshape(len(a), -1)], axis=-1)
        return nn.Linear(1, name="value")(nn.nets.MLP(units, activate_final=True)(x))[:, 0]

    return Critics(nn.without_apply_rng(nn.transform(q)), num)


def actor(spec: envs.Discrete | envs.Box, box: ActionBox, units: tuple[int, ...], num: int) -> nn.Transformed:
    """Makes a network that tells `num` numbers for each of an action: `[B, ...]` to `[B, *shape, num]`."""

    def outputs(s: Array) -> Float[Array, "B *shape num"]:
        out = nn.Linear(box.size * num, name="policy")(features(spec, units, s))
        return out.reshape(-1, *box.low.shape, num)

    return nn.without_apply_rng(nn.transform(outputs))
