"""Policies that are drawn from, over choices and over numbers of a box, and how far one is from another."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from renga import dist, envs, nn, rl
from renga.systems._continuous import ActionBox, action_box
from renga.systems._reinforcement import log_prob


class Choices:
    """Policies over the actions of a `Discrete` space: outputs are logits `[..., A]`."""

    def __init__(self, env: envs.Environment):
        self.num = envs.num_actions(env)

    def head(self, x: Array) -> Float[Array, "... A"]:
        return nn.Linear(self.num, w_init=nn.initializers.Orthogonal(0.01), name="policy")(x)

    def sample(self, key: PRNGKeyArray, logits: Array) -> Array:
        return jax.random.categorical(key, logits)

    def best(self, logits: Array) -> Array:
        return jnp.argmax(logits, axis=-1)

    def log_prob(self, logits: Array, a: Array) -> Array:
        return log_prob(logits, a)

    def action(self, a: Array) -> Array:
        return a

    def gradient_loss(self, logits: Float[Array, "T B A"], a: Array, adv: Float[Array, "T B"]) -> Float[Array, ""]:
        return jnp.mean(jax.vmap(rl.policy_gradient_loss, in_axes=1)(logits, a, adv, jnp.ones(adv.shape)))

    def entropy(self, logits: Float[Array, "T B A"]) -> Float[Array, ""]:
        return -jnp.mean(jax.vmap(rl.entropy_loss, in_axes=1)(logits, jnp.ones(logits.shape[:2])))

    def apart(self, old: Array, new: Array) -> tuple[Float[Array, "... A"], ...]:
        return (new,)

    def divergences(self, old: Float[Array, "... A"], new: Float[Array, "... A"]) -> tuple[Float[Array, "... 1"], ...]:
        log_p, log_q = jax.nn.log_softmax(old), jax.nn.log_softmax(new)
        apart = jnp.where(jnp.isfinite(log_p), log_p - jnp.where(jnp.isfinite(log_p), log_q, 0.0), 0.0)
        return (jnp.sum(jnp.exp(log_p) * apart, axis=-1, keepdims=True),)


class Numbers:
    """Policies over a box of numbers: outputs are two parameters of each number's distribution, `[..., *shape, 2]`.

    What is drawn, and what probabilities are of, is a point of the whole line (gaussian), of (−1, 1) (tanh) or of
    (0, 1) (beta); `action` makes an action of it.
    """

    def __init__(self, kind: str, box: ActionBox):
        self.kind, self.box = kind, box

    def head(self, x: Array) -> Float[Array, "... 2"]:
        shape = self.box.low.shape
        small = nn.initializers.Orthogonal(0.01)
        if self.kind == "beta":
            out = nn.Linear(2 * self.box.size, w_init=small, name="policy")(x)
            return out.reshape(*x.shape[:-1], *shape, 2)
        loc = nn.Linear(self.box.size, w_init=small, name="policy")(x).reshape(*x.shape[:-1], *shape)
        log_scale = nn.get_parameter("log_scale", shape, x.dtype, init=nn.initializers.Constant(0.0))
        return jnp.stack([loc, jnp.broadcast_to(log_scale, loc.shape)], axis=-1)

    def each(self, kind: str, out: Float[Array, "... 2"]) -> dist.Distribution:
        x, y = out[..., 0], out[..., 1]
        return {
            "gaussian": lambda: dist.Normal(x, jnp.exp(y)),
            "tanh": lambda: dist.TanhNormal(x, jnp.exp(y)),
            # Both above 1: one peak, and none at the ends.
            "beta": lambda: dist.Beta(1.0 + jax.nn.softplus(x), 1.0 + jax.nn.softplus(y)),
        }[kind]()

    def distribution(self, out: Float[Array, "... 2"]) -> dist.Independent:
        return dist.Independent(self.each(self.kind, out), self.box.low.ndim)

    def sample(self, key: PRNGKeyArray, out: Array) -> Array:
        return self.distribution(out).sample(seed=key)

    def best(self, out: Array) -> Array:
        if self.kind == "beta":
            return self.distribution(out).mean()
        return out[..., 0] if self.kind == "gaussian" else jnp.tanh(out[..., 0])

    def log_prob(self, out: Array, a: Array) -> Array:
        return self.distribution(out).log_prob(a)

    def action(self, a: Array) -> Array:
        return self.box.from_unit(2.0 * a - 1.0 if self.kind == "beta" else a)

    def gradient_loss(self, out: Array, a: Array, adv: Float[Array, "T B"]) -> Float[Array, ""]:
        return -jnp.mean(self.log_prob(out, a) * jax.lax.stop_gradient(adv))

    def entropy(self, out: Array) -> Float[Array, ""]:
        return jnp.mean(self.distribution(out).entropy())

    def apart(self, old: Float[Array, "... 2"], new: Float[Array, "... 2"]) -> tuple[Float[Array, "... 2"], ...]:
        """The policies that have one parameter of the new one, for each of the two: means apart from deviations."""
        (x, y), (x_new, y_new) = (jnp.moveaxis(out, -1, 0) for out in (old, new))
        return jnp.stack([x_new, y], axis=-1), jnp.stack([x, y_new], axis=-1)

    def divergences(self, old: Float[Array, "... 2"], new: Float[Array, "... 2"]) -> tuple[Float[Array, "... D"], ...]:
        """KL(old ‖ ·) of each of these, for each number. It is not changed by where tanh puts them."""
        each = lambda out: self.each("beta" if self.kind == "beta" else "gaussian", out)
        flat = lambda kl: kl.reshape(*kl.shape[: kl.ndim - self.box.low.ndim], self.box.size)
        return tuple(flat(each(old).kl_divergence(each(part))) for part in self.apart(old, new))


def policy_of(system: str, config: Any, env: envs.Environment) -> Choices | Numbers:
    """The policy for an environment's actions; `config.policy` is which, where they are numbers."""
    if isinstance(env.action_spec, envs.Discrete):
        return Choices(env)
    return Numbers(config.policy, action_box(system, config, env, bounded=config.policy != "gaussian"))


# ---------------------------------------------------------------- trust regions


class Duals(NamedTuple):
    """Multipliers that are learned, before `multiplier`.

    Attributes:
      temperature: η of the weights of actions.
      alphas: for each kind of divergence, of each number.
    """

    temperature: Float[Array, ""]
    alphas: tuple[Float[Array, " D"], ...]


def multiplier(x: ArrayLike) -> Array:
    """What a number that may be any stands for, softplus(x) + 10⁻⁸: always positive."""
    return jax.nn.softplus(jnp.asarray(x)) + 1e-8


def duals(policy: Choices | Numbers, temperature: float, alpha: tuple[float, ...]) -> Duals:
    """Multipliers to begin with."""
    raw = lambda x: x + jnp.log(-jnp.expm1(-jnp.float32(x)))  # the inverse of softplus
    sizes = (1,) if isinstance(policy, Choices) else (policy.box.size,) * 2
    return Duals(raw(temperature), tuple(jnp.full(n, raw(x)) for n, x in zip(sizes, alpha, strict=True)))


def constraints(
    duals: Duals, divergences: tuple[Float[Array, "*B D"], ...], bounds: tuple[float, ...]
) -> list[tuple[Array, rl.LagrangePenalty]]:
    """Divergences with what bounds them, each number by itself."""
    of = zip(divergences, duals.alphas, bounds, strict=True)
    return [(kl, rl.LagrangePenalty(alpha, bound, per_dimension=True)) for kl, alpha, bound in of]
