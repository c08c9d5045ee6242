"""Losses of action values and of their distributions, from what networks say of transitions."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from renga import rl
from renga.systems._reinforcement import Outputs, Transition, legal_only


def q(config: Any, atoms: Float[Array, " K"], outputs: Float[Array, "*B A L"]) -> Float[Array, "*B A"]:
    """The expected return of each action, from values, logits of atoms or quantiles."""
    if config.distribution == "categorical":
        return jnp.matmul(jax.nn.softmax(outputs), atoms)
    return jnp.mean(outputs, axis=-1)


def errors(
    config: Any, atoms: Float[Array, " K"], out: Outputs, batch: Transition
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Returns the loss of each transition, and the size of its error, from what the networks say of them."""
    a_tm1, r_t, discount_t = batch.a_tm1, batch.r_t, batch.discount_t
    if out.before is not None:
        return _munchausen(config, atoms, out, out.before, batch)
    q_select, out_select = legal_only(q(config, atoms, out.select), batch.legal_t), out.select
    if batch.legal_t is not None:  # an illegal action is never the best one
        out_select = jnp.where(batch.legal_t[..., None], out_select, -jnp.inf)
    if config.distribution == "categorical":
        loss = jax.vmap(rl.categorical_double_q_learning, in_axes=(None, 0, 0, 0, 0, None, 0, 0))(
            atoms, out.tm1, a_tm1, r_t, discount_t, atoms, out.t, q_select
        )
        return loss, loss
    if config.distribution in ("quantile", "implicit"):
        loss = jax.vmap(rl.quantile_q_learning, in_axes=(0, 0, 0, 0, 0, 0, 0, None))(
            _quantiles(out.tm1),
            _levels(out),
            a_tm1,
            r_t,
            discount_t,
            _quantiles(out_select),
            _quantiles(out.t),
            1.0,
        )
        return loss, loss
    if config.rescale:
        step = lambda q, a, q_t, a_t, r, d: rl.transformed_n_step_q_learning(
            q[None], a[None], q_t[None], a_t[None], r[None], d[None], 1, tx_pair=rl.SIGNED_HYPERBOLIC_PAIR
        )[0]
        td = jax.vmap(step)(out.tm1[..., 0], a_tm1, out.t[..., 0], jnp.argmax(q_select, -1), r_t, discount_t)
    else:
        td = jax.vmap(rl.double_q_learning)(out.tm1[..., 0], a_tm1, r_t, discount_t, out.t[..., 0], q_select)
    return rl.huber_loss(td), jnp.abs(td)


def _munchausen(
    config: Any, atoms: Float[Array, " K"], out: Outputs, before: Float[Array, "B A N"], batch: Transition
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """The losses for the target r + α [τ log π(a | s)] + γ Σₐ′ π(a′ | s′) (z(s′, a′) − τ log π(a′ | s′)).

    π = softmax(q/τ) of the target network, and [·] is cut off below.
    """
    a_tm1, discount_t = batch.a_tm1, batch.discount_t
    τ = config.munchausen_temperature
    log_pi = lambda out, legal: jax.nn.log_softmax(legal_only(q(config, atoms, out) / τ, legal))
    log_pi_a = jnp.take_along_axis(log_pi(before, batch.legal_tm1), a_tm1[:, None], axis=-1)[:, 0]
    r_t = batch.r_t + config.munchausen * jnp.clip(τ * log_pi_a, config.munchausen_clip, 0.0)
    log_pi_t = log_pi(out.t, batch.legal_t)
    pi_t = jnp.exp(log_pi_t)
    bonus_t = -τ * jnp.where(pi_t > 0, log_pi_t, 0.0)
    r_t, pi_t, bonus_t = jax.lax.stop_gradient((r_t, pi_t, bonus_t))
    if config.distribution == "categorical":
        learning = jax.vmap(rl.categorical_td_learning, in_axes=(None, None, 0, None, None, 0))  # over a′
        logits = jnp.take_along_axis(out.tm1, a_tm1[:, None, None], axis=1)[:, 0]
        losses = jax.vmap(learning, in_axes=(None, 0, 0, 0, None, 0))(
            atoms, logits, r_t[:, None] + discount_t[:, None] * bonus_t, discount_t, atoms, out.t
        )
        loss = jnp.sum(pi_t * losses, axis=-1)
        return loss, loss
    out_t = out.t + bonus_t[..., None]
    if config.distribution in ("quantile", "implicit"):
        loss = jax.vmap(rl.quantile_expected_sarsa, in_axes=(0, 0, 0, 0, 0, 0, 0, None))(
            _quantiles(out.tm1), _levels(out), a_tm1, r_t, discount_t, _quantiles(out_t), pi_t, 1.0
        )
        return loss, loss
    td = jax.vmap(rl.expected_sarsa)(out.tm1[..., 0], a_tm1, r_t, discount_t, out_t[..., 0], pi_t)
    return rl.huber_loss(td), jnp.abs(td)


def _quantiles(out: Float[Array, "B A K"]) -> Float[Array, "B K A"]:
    return jnp.moveaxis(out, -1, -2)  # rl has [K, A]


def even_levels(num: int) -> Float[Array, " K"]:
    """The middles of `num` equal parts of [0, 1]."""
    return (jnp.arange(num) + 0.5) / num


def _levels(out: Outputs) -> Float[Array, "B K"]:
    B, _, K = out.tm1.shape
    return jnp.broadcast_to(even_levels(K), (B, K)) if out.levels is None else out.levels
