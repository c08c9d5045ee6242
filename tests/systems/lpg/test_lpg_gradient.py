"""The meta-gradient is the derivative of the meta-objective, whatever is stopped, however agents learn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import optim
from renga.systems import lpg
from systems.lpg import lpg_small as small

OPTIMISERS = {
    "sgd": optim.sgd,
    "clipped sgd": lambda rate: optim.chain(optim.clip_by_global_norm(0.05), optim.sgd(4 * rate)),
    "adam": lambda rate: optim.adam(0.1 * rate),
    "rmsprop": lambda rate: optim.rmsprop(0.1 * rate),
}


def as_f64(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def problem(rule="gru", optimiser="sgd", **changes):
    setup = small.setup(small.RULES[rule], OPTIMISERS[optimiser], **changes)

    @small.jit
    def make():
        agent = as_f64(small.agent(setup, jax.random.key(5), num_envs=2))
        eta = as_f64(setup.rule.init(jax.random.key(1)))
        drawn = lambda seed: jax.tree.map(lambda x: jax.random.normal(jax.random.key(seed), x.shape, x.dtype), eta)
        return agent, jax.tree.map(lambda x, noise: x + 0.3 * noise, eta, drawn(2)), drawn(9)

    agent, eta, direction = make()
    return setup, agent, *jax.device_get((eta, direction))


def central_differences(f, eta, direction, step=1e-4):
    """The derivative of f along a direction, to fourth order."""
    at = lambda t: float(f(jax.tree.map(lambda x, d: x + t * d, eta, direction)))
    return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)


def objective(setup, eta, agent, key, stopped, seen):
    """−J written out, with loops. Where the meta-gradient is `stopped`, the rule sees what agents `seen` would show."""
    rule, network = setup.rule, setup.network
    each = lambda params, s: jax.vmap(jax.vmap(network, (None, 0)), (None, 0))(params, s)
    log_prob = lambda logits, a: jnp.take_along_axis(jax.nn.log_softmax(logits), a[..., None], -1)[..., 0]
    entropy = lambda x: -jnp.mean(jnp.sum(jax.nn.softmax(x) * jax.nn.log_softmax(x), -1))
    params, opt, env, critic = agent.params, agent.opt, agent.env, agent.critic
    optimiser = setup.optimiser(agent.life.learning_rate)
    key_last, *keys = jax.random.split(key, setup.num_updates + 1)
    regular, history = 0.0, []
    for n, key in enumerate([*keys, key_last]):
        history.append(params)
        keys_env = jax.random.split(key, env.num_episodes.shape[0])
        env, r = jax.vmap(lpg.do_rollout, (None, None, 0, None, 0))(setup, params, keys_env, agent.life.level, env)
        v_tm1, v_t = critic[r.s_tm1], critic[r.s_t]
        adv, running = jnp.zeros_like(v_t), jnp.zeros(v_t.shape[0])
        for t in reversed(range(setup.rollout_length)):
            delta = r.r_t[:, t] + setup.discount * (1.0 - r.terminated_t[:, t]) * v_t[:, t] - v_tm1[:, t]
            running = delta + setup.discount * setup.trace_decay * (1.0 - r.last_t[:, t]) * running
            adv = adv.at[:, t].set(running)
        if n == setup.num_updates:
            break
        critic = setup.critic.update(critic, r.s_tm1.reshape(-1), (adv + v_tm1).reshape(-1))
        shown = jax.tree.map(lambda x, then: jnp.where(stopped, then, x), params, seen[n])
        policy = each(params if setup.through_policy else shown, r.s_tm1)[0]
        predict = lambda s: each(params if setup.through_predictions else shown, s)[1]  # noqa: B023
        whole = (jnp.asarray(setup.discount), jnp.int32(n), agent.life.length)
        log_pi, y_tm1, y_t = log_prob(policy, r.a_tm1), predict(r.s_tm1), predict(r.s_t)
        sees = lambda *x: rule(eta, lpg.Inputs(*x, *whole))  # noqa: B023
        targets = jax.vmap(sees)(r.r_t, r.terminated_t, r.last_t, log_pi, y_tm1, y_t)

        def loss(params):
            logits, y = each(params, r.s_tm1)  # noqa: B023
            kl = jnp.sum(jax.nn.softmax(y) * (jax.nn.log_softmax(y) - jnp.log(targets.y_hat)), -1)  # noqa: B023
            return jnp.mean(agent.life.y_cost * kl - log_prob(logits, r.a_tm1) * targets.pi_hat)  # noqa: B023

        updates, opt = optimiser.update(jax.grad(loss)(params), opt, params)
        params = optim.apply_updates(params, updates)
        logits, y = each(params, r.s_tm1)
        gained = setup.policy_entropy * entropy(logits) + setup.prediction_entropy * entropy(y)
        paid = setup.pi_hat_cost * jnp.mean(targets.pi_hat**2)
        paid += setup.y_hat_cost * jnp.mean(jnp.sum(targets.y_hat**2, -1))
        regular += (gained - paid) / setup.num_updates
    gain = jnp.mean(log_prob(each(params, r.s_tm1)[0], r.a_tm1) * adv)
    return -(gain + regular), history


# Compiling is nearly all the time.
@pytest.mark.parametrize(
    ("rule", "optimiser", "stops"),
    [
        ("gru", "sgd", (True, True)),
        ("lstm", "clipped sgd", (True, False)),
        ("ta", "adam", (False, True)),
        ("gru", "rmsprop", (False, False)),
    ],
)
def test_the_meta_gradient_agrees_with_central_differences(rule, optimiser, stops, x64):
    # Weights of the regularisers are large enough to matter.
    weights = {"policy_entropy": 0.1, "prediction_entropy": 0.1, "pi_hat_cost": 0.1, "y_hat_cost": 0.1}
    setup, agent, eta, direction = problem(
        rule, optimiser, through_policy=stops[0], through_predictions=stops[1], **weights
    )
    key = jax.random.key(7)
    program = small.jit(lambda eta, stopped, seen: objective(setup, eta, agent, key, stopped, seen))
    nothing = [agent.params] * (setup.num_updates + 1)
    unstopped = lambda eta: program(eta, False, nothing)[0]
    _, history = program(eta, False, nothing)
    written_out = lambda eta: program(eta, True, history)[0]
    expected = central_differences(written_out, eta, direction)
    for remat in (False, True) if stops == (True, True) else (False,):
        variant = dataclasses.replace(setup, remat=remat)
        (value, _), grads = small.jit(jax.value_and_grad(lpg.outer_loss, argnums=1, has_aux=True))(
            variant, eta, agent, key
        )
        np.testing.assert_allclose(value, written_out(eta), rtol=1e-12)
        got = sum(np.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (grads, direction)), strict=True))
        assert abs(got - expected) < 1e-6 * abs(expected), (remat, got, expected)
    if stops == (False, False):  # what is stopped makes a difference
        whole = central_differences(unstopped, eta, direction)
        assert abs(whole - expected) > 1e-3 * abs(whole)
