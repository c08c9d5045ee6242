"""L-BFGS with a line search that reuses values and gradients, in a valley and on logistic regression."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax


def valley(w):
    return jnp.sum(100.0 * (w[1:] - w[:-1] ** 2) ** 2 + (1.0 - w[:-1]) ** 2)


class InfoState(NamedTuple):
    iter_num: chex.Numeric


def count_steps():
    def init_fn(params):
        del params
        return InfoState(iter_num=0)

    def update_fn(updates, state, params, *, value, grad, **extra_args):
        del params, value, grad, extra_args
        return updates, InfoState(iter_num=state.iter_num + 1)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def run_opt(init_params, fun, opt, max_iter, tol):
    value_and_grad_fun = optax.value_and_grad_from_state(fun)

    def step(carry):
        params, state = carry
        value, grad = value_and_grad_fun(params, state=state)
        updates, state = opt.update(grad, state, params, value=value, grad=grad, value_fn=fun)
        return optax.apply_updates(params, updates), state

    def continuing_criterion(carry):
        _, state = carry
        iter_num = optax.tree_utils.tree_get(state, "count")
        grad = optax.tree_utils.tree_get(state, "grad")
        err = optax.tree_utils.tree_l2_norm(grad)
        return (iter_num == 0) | ((iter_num < max_iter) & (err >= tol))

    run = lambda params: jax.lax.while_loop(continuing_criterion, step, (params, opt.init(params)))
    return jax.jit(run)(init_params)


def main():
    found = []
    params, state = run_opt(jnp.zeros(6), valley, optax.chain(count_steps(), optax.lbfgs()), 60, 1e-3)
    found += [jnp.round(params, 2), optax.tree_utils.tree_get(state, "iter_num") > 10]

    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3)).astype(np.float32)
    y = (x @ np.array([1.0, -2.0, 0.5]) + rng.normal(size=50) > 0).astype(np.float32)

    def logistic(w):
        return optax.sigmoid_binary_cross_entropy(x @ w["w"] + w["b"], y).mean() + 0.1 * jnp.sum(w["w"] ** 2)

    start = {"w": jnp.zeros(3), "b": jnp.zeros(())}
    search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=15, store_grad=True)
    for opt in (optax.lbfgs(), optax.lbfgs(linesearch=search)):
        params, state = run_opt(start, logistic, opt, 40, 1e-4)
        found += [jax.tree.map(lambda leaf: jnp.round(leaf, 3), params), logistic(params)]

    descent = optax.chain(optax.sgd(1.0), search)
    params, state, value_and_grad = start, descent.init(start), optax.value_and_grad_from_state(logistic)
    for _ in range(3):
        value, grad = value_and_grad(params, state=state)
        updates, state = descent.update(grad, state, params, value=value, grad=grad, value_fn=logistic)
        params = optax.apply_updates(params, updates)
    return [*found, params, optax.tree_utils.tree_get(state, "learning_rate")]
