"""Values of an optimiser's state found and set by name: counts, moments, learning rates, states of one class."""

import jax
import jax.numpy as jnp
import optax


def main():
    params = {"w": jnp.arange(4.0), "b": jnp.ones(2)}
    gradient = jax.tree.map(jnp.cos, params)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1e-1, 3, 10)
    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.inject_hyperparams(optax.adamw)(learning_rate=schedule, weight_decay=1e-2),
        optax.contrib.reduce_on_plateau(factor=0.5, patience=1, cooldown=0),
    )
    state = tx.init(params)
    for value in (1.0, 2.0, 2.0, 2.0):
        updates, state = tx.update(gradient, state, params, value=jnp.float32(value))
        params = optax.apply_updates(params, updates)
    find = optax.tree_utils.tree_get
    found = [params, state[1].hyperparams["learning_rate"], find(state, "mu"), find(state, "scale")]
    found += [value for _, value in optax.tree_utils.tree_get_all_with_path(state, "count")]
    moments = find(state, "ScaleByAdamState")
    found += [moments.mu, moments.nu, find(state, "nothing_of_the_kind", default=jnp.zeros(()))]

    def of_adam(path, value):
        return any(getattr(key, "tuple_name", None) == "ScaleByAdamState" for key in path)

    found.append(find(state, "count", filtering=of_adam))
    state = optax.tree_utils.tree_set(state, mu=jax.tree.map(jnp.zeros_like, params))
    state = optax.tree_utils.tree_set(state, weight_decay=jnp.float32(0.5))
    updates, state = tx.update(gradient, state, params, value=jnp.float32(1.0))
    found += [updates, optax.tree_utils.tree_l2_norm(updates)]
    other = optax.adam(schedule)
    counted = find(other.update(gradient, other.init(params))[1], "ScaleByScheduleState").count
    return [*found, counted]
