"""How many moves a second does pgx's AlphaZero example make in self-play, as published and with Renga's libraries?

    git clone https://github.com/sotetsuk/pgx
    python benchmarks/pgx_example.py pgx/examples/alphazero [--rounds 5]

The example (Koyamada et al. 2023) is run from its own files, in Connect Four, with residual networks of 5 blocks of 64
channels and 32 simulations: with mctx and Haiku; with `renga.search` in place of mctx; and with `renga.nn` in place of
Haiku too. Only what `import mctx` and `import haiku` find is changed. All have the same parameters and keys, and make
the same moves. Beside them is the phase `act` of `renga.systems.muzero` in the same game with a tower of that size,
which has layer norm in place of batch norm and other heads. Programs are called in turn in one process; medians over
rounds, of seconds on the clock and of the processor.

The example needs pydantic and omegaconf. Its logger and its baseline player, which it would download, are left out.
"""

import argparse
import os
import sys
import time
import types
from pathlib import Path

import haiku
import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pgx
import record

from renga import nn, search
from renga.systems import muzero

GAMES, MOVES, SIMULATIONS, CHANNELS, BLOCKS = 64, 2, 32, 64, 5
LIBRARIES = {
    "mctx and Haiku": {"mctx": mctx, "haiku": haiku},
    "renga.search and Haiku": {"mctx": search, "haiku": haiku},
    "renga.search and renga.nn": {"mctx": search, "haiku": nn},
}
SETTINGS = {
    "env_id": "connect_four",
    "num_channels": CHANNELS,
    "num_layers": BLOCKS,
    "selfplay_batch_size": GAMES,
    "num_simulations": SIMULATIONS,
    "max_num_steps": MOVES,
}


def example(directory, libraries):
    """The module `train` of the example, with these libraries."""
    before = dict(sys.modules), sys.argv, sys.path[:], pgx.make_baseline_model
    sys.modules |= libraries | {"wandb": types.ModuleType("wandb")}
    sys.argv = ["train.py", *(f"{name}={value}" for name, value in SETTINGS.items())]
    sys.path.insert(0, str(directory))
    pgx.make_baseline_model = lambda name: None
    module = types.ModuleType("train")
    module.__dict__["__file__"] = str(directory / "train.py")
    sys.modules["train"] = module
    try:
        exec(compile((directory / "train.py").read_text(), directory / "train.py", "exec"), module.__dict__)
    finally:
        for name in {*libraries, "network", "train", "wandb"}:
            sys.modules.pop(name, None)
            if name in before[0]:
                sys.modules[name] = before[0][name]
        _, sys.argv, sys.path[:], pgx.make_baseline_model = before
    return module


def ours():
    """The same number of moves of `renga.systems.muzero`."""
    config = muzero.Config(
        env="pgx/connect_four", num_envs=GAMES, simulations=SIMULATIONS, random_opening=0, tower="conv",
        units=CHANNELS, blocks=BLOCKS, warmup=64 * GAMES, replay_size=64 * GAMES,
    )  # fmt: skip
    system = muzero.system_of(config)
    running = system.env.reset(jax.random.key(0))
    params = system.networks.init(jax.random.key(1), system.env.observe(running))
    opening = jnp.zeros(GAMES, jnp.int32)
    start = muzero.State(jax.random.key(2), jnp.int32(0), params, params, (), running, opening, ())

    def run(state):
        one = lambda state, key: muzero.act(config, system, state, key)
        return jax.lax.scan(one, state, jax.random.split(state.key, MOVES))[1][0].action

    program = jax.jit(run).lower(start).compile()
    return lambda round_: program(start._replace(key=jax.random.key(round_)))


def main():
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    record.made()
    trains = {name: example(args.directory.resolve(), libraries) for name, libraries in LIBRARIES.items()}
    first = trains["mctx and Haiku"]
    seen = jax.vmap(first.env.init)(jax.random.split(jax.random.key(0), 2)).observation
    model = jax.tree.map(lambda x: x[None], first.forward.init(jax.random.PRNGKey(0), seen))
    calls = {
        name: lambda round_, train=train: train.selfplay(model, jax.random.split(jax.random.PRNGKey(round_), 1))
        for name, train in trains.items()
    }
    calls["renga.systems.muzero"] = ours()
    seconds, same = {name: [] for name in calls}, {name: [] for name in trains}
    for round_ in range(args.rounds + 1):  # the first compiles, and is not counted
        out = {}
        for name, call in calls.items():
            begin = np.array([time.perf_counter(), time.process_time()])
            out[name] = jax.block_until_ready(call(round_))
            seconds[name].append(np.array([time.perf_counter(), time.process_time()]) - begin)
        for name in trains:
            same[name].append(float(jnp.mean(out[name].obs == out["mctx and Haiku"].obs)))
    spent = {name: np.array(times)[1:] for name, times in seconds.items()}
    rows = []
    for name, times in spent.items():
        clock, cpu = np.median(times, axis=0)
        ratio = spent["mctx and Haiku"] / times
        rows.append({
            "program": name,
            "moves a second": round(GAMES * MOVES / clock, 1),
            "moves a CPU second": round(GAMES * MOVES / cpu, 1),
            "ratio of CPU seconds, median, least, largest": [
                round(float(x), 3) for x in np.percentile(ratio[:, 1], [50, 0, 100])
            ],
            **({"the same boards": round(float(np.mean(same[name])), 4)} if name in same else {}),
        })  # fmt: skip
        print(rows[-1], flush=True)
    options = {**SETTINGS, "rounds": args.rounds, "load": round(os.getloadavg()[0], 1), "pgx": pgx.__version__}
    record.write("pgx_example", "pgx_example.py pgx/examples/alphazero", settings=options, rows=rows)


if __name__ == "__main__":
    main()
