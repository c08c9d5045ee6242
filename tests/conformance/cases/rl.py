"""One tiny call of every public function of `renga.rl`."""

import functools

import jax.numpy as jnp

from renga import rl

from . import Case

Q, NEXT = jnp.array([1.0, 2.0, 4.0]), jnp.array([3.0, 1.0, 0.5])
PROBS = jnp.array([0.2, 0.5, 0.3])
A, R, G, V, W = jnp.int32(1), jnp.float32(0.7), jnp.float32(0.9), jnp.float32(1.5), jnp.float32(-0.5)
SIX = jnp.array([0.2, 0.6, 0.9])

CASES = {
    "batched_index": Case(rl.batched_index, (Q[None], jnp.array([1]))),
    # Integers have no gradient.
    "one_hot": Case(functools.partial(rl.one_hot, num_classes=3), (jnp.array([0, 2]),), differentiable=False),
    "lhs_broadcast": Case(rl.lhs_broadcast, (Q, jnp.ones((3, 2)))),
    "l2_loss": Case(rl.l2_loss, (Q, NEXT)),
    "huber_loss": Case(rl.huber_loss, (Q - 2.2,)),
    "likelihood": Case(rl.likelihood, (PROBS, SIX)),
    "log_loss": Case(rl.log_loss, (PROBS, SIX)),
    "expectile_loss": Case(functools.partial(rl.expectile_loss, expectile=0.3), (Q, NEXT)),
    "td_learning": Case(rl.td_learning, (V, R, G, W)),
    "sarsa": Case(rl.sarsa, (Q, A, R, G, NEXT, A)),
    "expected_sarsa": Case(rl.expected_sarsa, (Q, A, R, G, NEXT, PROBS)),
    "q_learning": Case(rl.q_learning, (Q, A, R, G, NEXT)),
    "double_q_learning": Case(rl.double_q_learning, (Q, A, R, G, NEXT, Q)),
    "persistent_q_learning": Case(rl.persistent_q_learning, (Q, A, R, G, NEXT, jnp.float32(0.3))),
    "qv_learning": Case(rl.qv_learning, (Q, A, R, G, V)),
    "qv_max": Case(rl.qv_max, (V, R, G, Q)),
}
EXEMPT: dict[str, str] = {}
