"""Updates a second of the GAN, PPO and DQN, and one learning run of each to its bar."""

import functools
import time

import jax

from renga.systems import actor_critic, dqn, gan

from .timing import rows

# Name, system, changes to its default settings, the metric that is followed, its bar and the most updates to it.
# CartPole is solved at 475; Catch pays at most 1. A GAN has no return, so its run only has to stay finite.
RUNS = {
    "PPO on CartPole": (actor_critic, {"env": "cartpole"}, "episode_return", 475.0, 400),
    "DQN on Catch": (dqn, {"env": "catch"}, "episode_return", 0.9, 15000),
    "GAN on digits": (gan, {}, None, None, 5000),
}


def chunk(step, updates):
    """Compiles so many updates as one program that returns the state and the last metrics."""

    def run(state):
        return jax.lax.fori_loop(0, updates - 1, lambda _, state: step(state)[0], state)

    return jax.jit(lambda state: step(run(state)))


def run(tiny, done):
    def cells(name):
        system, changes, metric, bar, most = RUNS[name]
        if tiny:
            small = {"PPO on CartPole": {"num_envs": 2, "rollout_length": 4, "epochs": 1, "minibatches": 1}}
            small["DQN on Catch"] = {"num_envs": 2, "replay_size": 64, "warmup": 8, "batch_size": 4}
            small["GAN on digits"] = {"batch_size": 4, "gen_sizes": (4,), "disc_sizes": (4,)}
            units = {} if system is gan else {"units": (4,)}
            changes, most = changes | small[name] | units, 4
        config = system.Config(**changes)
        updates = 2 if tiny else max(1, most // 50)
        init, step = system.make(config)
        state = jax.block_until_ready(jax.jit(init)(jax.random.key(0)))
        program = chunk(step, updates).lower(state).compile()
        best, reached, taken, made = None, None, [], 0
        while made < most:
            start = time.perf_counter()
            state, metrics = jax.block_until_ready(program(state))
            taken.append(time.perf_counter() - start)
            made += updates
            if metric is None:
                continue
            value = float(metrics[metric])
            if value == value:  # not a number before the first episode ends
                best = value if best is None else max(best, value)
            if reached is None and value >= bar:
                reached = sum(taken)
        finite = all(bool(jax.numpy.all(jax.numpy.isfinite(x))) for x in jax.tree.leaves(metrics))
        seconds = sorted(taken)[len(taken) // 2] / updates
        found = {"us": round(1e6 * seconds, 1), "updates/s": round(1 / seconds, 1), "finite": finite, "updates": made}
        if hasattr(config, "num_envs"):
            frames = config.num_envs * getattr(config, "rollout_length", 1)
            found["env steps/s"] = round(frames / seconds)
        if metric is not None:
            found |= {"best": best and round(best, 3), "bar": bar, "seconds to the bar": reached and round(reached, 2)}
        return found

    yield from rows([(name, functools.partial(cells, name)) for name in RUNS], done)
