"""How many moves a second does MuZero's acting make, beside the same with mctx in place of `renga.search`?

    python benchmarks/muzero_speed.py [--rounds 5] [--simulations 64] [--num-envs 64]

Connect Four with the environment as the model, and Gumbel's search. Both programs are the phase `act` of the system
with the same networks, parameters and keys, called in turn in one process; medians over rounds. "Networks" is how long
the same number of evaluations of the same batches takes alone, in a program of its own. Seconds are on the clock, and
of the processor, summed over cores: where the load is above 2, other work ran beside it, and the latter say more.
"""

import argparse
import dataclasses
import functools
import os
import time

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import record

from renga.systems import muzero
from renga.systems.muzero import _planning

# Networks, and moves of each game in a call.
TOWERS = {
    "dense, 3 blocks of 256": ({"tower": "dense", "units": 256, "blocks": 3}, 4),
    "residual, 5 blocks of 64 channels": ({"tower": "conv", "units": 64, "blocks": 5}, 1),
}


class Mctx(_planning.Planner):
    """The same search by mctx. Players alternate in Connect Four: every discount turns the view."""

    def plan(self, params, key, root, legal, *, noise=1.0, simulations=None, **unused):
        def step(params, key, action, state):
            out, after = self.step(params, key, action, state)
            return mctx.RecurrentFnOutput(
                reward=out.reward, discount=-out.discount, prior_logits=out.prior_logits, value=out.value
            ), after

        config = self.config
        out = mctx.gumbel_muzero_policy(
            params,
            key,
            mctx.RootFnOutput(prior_logits=root.prior_logits, value=root.value, embedding=root.embedding),
            step,
            simulations or config.simulations,
            invalid_actions=~legal,
            max_num_considered_actions=config.considered,
            gumbel_scale=noise,
            qtransform=functools.partial(mctx.qtransform_completed_by_mix_value, value_scale=config.value_scale),
        )
        return _planning.Plan(out.action, out.action_weights, _planning._value(config, out), out.search_tree)


def now():
    """Seconds on the clock, and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def measure(tower, num_envs, simulations, rounds):
    """One row: moves a second of both, and the share of the networks."""
    options, moves = TOWERS[tower]
    config = dataclasses.replace(
        muzero.Config(num_envs=num_envs, simulations=simulations, warmup=64 * num_envs, replay_size=64 * num_envs),
        **options,
    )
    system = muzero.system_of(config)
    networks, env = system.networks, system.env
    running = env.reset(jax.random.key(0))
    observation = env.observe(running)
    params = networks.init(jax.random.key(1), observation)
    opening = jnp.zeros(num_envs, jnp.int32)
    start = muzero.State(jax.random.key(2), jnp.int32(0), params, params, (), running, opening, ())

    def acting(planner):
        def run(state):
            one = lambda state, key: muzero.act(config, system._replace(planner=planner), state, key)
            state, (made, _) = jax.lax.scan(one, state, jax.random.split(state.key, moves))
            return state, made.action

        return jax.jit(run).lower(start).compile()

    def evaluate(observation):
        def one(x, _):
            out = networks.predict(params, networks.represent(params, x))
            return x + 1e-6 * out.value[:, None, None, None] + 1e-6 * out.logits.sum(), None

        return jax.lax.scan(one, observation, length=moves * (simulations + 1))[0]

    runs = {"renga": acting(system.planner), "mctx": acting(Mctx(*system.planner))}
    alone = jax.jit(evaluate).lower(observation).compile()
    state, seconds, same = start, {"renga": [], "mctx": [], "networks": []}, []
    for round_ in range(rounds + 1):  # the first is not counted
        after, actions = {}, {}
        for name, run in runs.items():
            begin = now()
            after[name], actions[name] = jax.block_until_ready(run(state))
            seconds[name].append(now() - begin)
        begin = now()
        jax.block_until_ready(alone(observation))
        seconds["networks"].append(now() - begin)
        same.append(float(jnp.mean(actions["renga"] == actions["mctx"])))
        state = after["renga"]._replace(key=jax.random.key(100 + round_))
    clock, cpu = ({name: np.array(times)[1:, i] for name, times in seconds.items()} for i in (0, 1))
    made = moves * num_envs
    per_second = lambda times: round(made / float(np.median(times)), 1)
    ratio = lambda times: [round(float(x), 2) for x in np.percentile(times["mctx"] / times["renga"], [50, 0, 100])]
    return {
        "network": tower,
        "simulations": simulations,
        "games at once": num_envs,
        "renga, moves a second": per_second(clock["renga"]),
        "mctx, moves a second": per_second(clock["mctx"]),
        "renga, moves a CPU second": per_second(cpu["renga"]),
        "mctx, moves a CPU second": per_second(cpu["mctx"]),
        "ratio, median, least, largest": ratio(clock),
        "ratio of CPU seconds, median, least, largest": ratio(cpu),
        "networks, share of CPU seconds": round(float(np.median(cpu["networks"] / cpu["renga"])), 3),
        "the same moves": round(float(np.mean(same)), 4),
        "rounds": rounds,
        "load": round(os.getloadavg()[0], 1),
    }


def main():
    """Measures each tower; writes after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--simulations", type=int, default=64)
    parser.add_argument("--num-envs", type=int, default=64)
    args = parser.parse_args()
    record.made()
    rows = []
    for tower in TOWERS:
        rows.append(measure(tower, args.num_envs, args.simulations, args.rounds))
        print(rows[-1], flush=True)
        record.write("muzero_speed", "muzero_speed.py", rows=rows)


if __name__ == "__main__":
    main()
