"""How strong does MuZero become, how fast, and with every seed?

Trains a preset with several seeds, one after the other, and judges the agent on the way: in every position and against
every reply (tic-tac-toe), by a solver in positions that training never saw and against other players (Connect Four,
with --games), by the return of the greedy policy (one player).

    python benchmarks/muzero_strength.py tic_tac_toe
    python benchmarks/muzero_strength.py tic_tac_toe_learned
    python benchmarks/muzero_strength.py catch
    python benchmarks/muzero_strength.py cartpole
    python benchmarks/muzero_strength.py pendulum
    python benchmarks/muzero_strength.py game_2048
    python benchmarks/muzero_strength.py cpu --points 4     # Connect Four; needs bitbully and bitbully-databases
    python benchmarks/muzero_strength.py connect_four_learned --points 2 --seeds 1     # the same, in a learned model
    python benchmarks/muzero_strength.py cpu --points 4 --first 3 --seeds 1     # another seed beside those on record
    python benchmarks/muzero_strength.py perfect            # Connect Four: what a player scores that makes no mistake
    python benchmarks/muzero_strength.py plot               # figures for the documentation

Seconds are of training alone, with compilation, which is done once for all seeds and counted in each: on the clock, and
of processor time, summed over cores. Where the load of the machine is above 2, other work ran beside it, and the clock
says an upper bound.
"""

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from record import made, read, write

from renga import envs
from renga.systems import muzero
from renga.systems.muzero import _judging
from renga.systems.muzero._match import match

RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parents[1] / "docs" / "muzero"
# Simulations of the judged agent, and how many positions or games; against whom.
JUDGED = {
    "tic_tac_toe": [("random", 32, 144)],
    "tic_tac_toe_learned": [("random", 32, 144)],
    "catch": [("", 8, 100)],
    "cartpole": [("", 16, 100)],
    "pendulum": [("", 16, 100)],
    "game_2048": [("", 8, 100)],
    "cpu": [("solver", 64, 500), *((name, n, 98) for n in (64, 256) for name in ("alphabeta:5", "uct:1000"))],
}
JUDGED["connect_four_learned"] = JUDGED["cpu"]


def judge(name, config, state):
    """All measures of a state."""
    agent, found = muzero.Agent(config, muzero.played_by(config, state)), {}
    for against, simulations, count in JUDGED[name]:
        measures = _judging.judge(agent, against, simulations, count)
        if ":" in against:  # of several opponents
            measures = {f"points against {against}": measures[f"points against {against}"]} | {
                f"{key} against {against}": measures[key] for key in ("lost games", "repeated games")
            }
        more = f", {simulations} simulations" if simulations == 256 else ""
        found |= {key + more: value for key, value in measures.items()}
    return {key: round(value, 5) for key, value in found.items()}


def returns_in_pgx(agent, simulations, games):
    """What games of pgx's 2048 come to, whose boards the agent searches as states of its own environment."""
    import pgx

    theirs, act, key = pgx.make("2048"), agent.player(simulations), jax.random.key(20_201_207)
    step = jax.jit(jax.vmap(theirs.step))
    state = jax.jit(jax.vmap(theirs.init))(jax.random.split(key, games))
    over, total = np.zeros(games, bool), np.zeros(games)
    while not over.all():
        key, key_act, key_step = jax.random.split(key, 3)
        boards = envs.Game2048State(jnp.argmax(state.observation, -1).astype(jnp.int32))
        state = step(state, act(key_act, boards), jax.random.split(key_step, games))
        total += np.where(over, 0.0, np.asarray(state.rewards)[:, 0])
        over |= np.asarray(state.terminated)
    return total


def perfect(env):
    """A player of Connect Four that wins as soon as can be and loses as late; equal moves are drawn evenly."""
    import bitbully

    solver, rng = bitbully.BitBully(), np.random.default_rng(0)

    def best(board):
        if board.is_game_over():
            return 0  # of a game that is over, in which nobody looks at it
        scores = solver.score_all_moves(board)
        most = max(scores.values())
        return int(rng.choice([move for move, score in scores.items() if score == most]))

    def act(_, states):
        mine, theirs = np.moveaxis(np.asarray(jax.vmap(env.observe)(states)) > 0.5, -1, 0)
        count = (mine | theirs).sum((1, 2), keepdims=True)
        mover = 1 + count % 2  # the player of odd moves is 2
        return np.array([best(bitbully.Board(x.tolist())) for x in mine * mover + theirs * (3 - mover)])

    return act


def judge_perfect():
    """Matches of a perfect player against those of the table."""
    made()
    env = envs.make("connect_four")
    games = [(against, count) for against, _, count in JUDGED["cpu"] if against != "solver"]
    scores = {
        against: match(env, perfect(env), _judging.opponent(env, against), games=count) for against, count in games
    }
    found = {against: {**score._asdict(), "points": round(score.points, 5)} for against, score in scores.items()}
    write("muzero_strength_perfect", "muzero_strength.py perfect", matches=found)


def now():
    """Seconds on the clock, and of processor time."""
    return np.array([time.perf_counter(), time.process_time()])


def compiled(config, window):
    """What begins a run, what goes on for a window of steps, and how long compiling both took."""
    init, step = muzero.make(config)
    began, key = now(), jax.random.key(0)
    begin = jax.jit(init).lower(key).compile()
    steps = lambda state: jax.lax.scan(lambda state, _: (step(state)[0], None), state, length=window)[0]
    go_on = jax.jit(steps).lower(jax.eval_shape(init, key)).compile()
    return begin, go_on, now() - began


def train(name, seed, programs, points, window):
    """Trains from nothing; returns what was measured, with the seconds and all moves until then."""
    config, _ = muzero.PRESETS[name]
    begin, go_on, compiling = programs
    warmup = -(-config.warmup // config.num_envs) * config.num_envs
    spent, rows, began = compiling, [], now()
    state = jax.block_until_ready(begin(jax.random.key(seed)))
    for point in range(1, points + 1):
        state = jax.block_until_ready(go_on(state))
        spent = spent + now() - began
        seconds, cpu_seconds = spent.round(1).tolist()
        row = {
            "step": point * window,
            "moves": warmup + point * window * config.moves * config.num_envs,
            "seconds": seconds,
            "CPU seconds": cpu_seconds,
            "load": round(os.getloadavg()[1], 1),
            **judge(name, config, state),
        }
        if name == "game_2048" and point == points:
            agent = muzero.Agent(config, muzero.played_by(config, state))
            row["return in pgx"] = round(float(returns_in_pgx(agent, 8, 100).mean()), 1)
        rows.append(row)
        print(name, "seed", seed, row, flush=True)
        began = now()
    return rows


def main():
    """Trains, judges, writes after each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=[*JUDGED, "perfect", "plot"])
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed; runs of the seeds before it are kept")
    parser.add_argument("--points", type=int, default=10, help="judgements on the way")
    args = parser.parse_args()
    if args.preset in ("perfect", "plot"):
        {"perfect": judge_perfect, "plot": plot}[args.preset]()
        return
    config, steps = muzero.PRESETS[args.preset]
    of, name, window = made(), f"muzero_strength_{args.preset}", steps // args.points
    found = {"steps": window * args.points, "config": dataclasses.asdict(config)}
    before = read(name) if args.first else {}
    if before:  # an argument younger than the record: its default is what was done then
        before["config"] = {field.name: field.default for field in dataclasses.fields(config)} | before["config"]
    if before and any(before[field] != x for field, x in found.items()):
        raise SystemExit(f"runs of other settings are on record in {name}: train all seeds anew")
    programs = compiled(config, window)
    found["seconds of compiling"] = round(float(programs[2][0]), 1)
    found["runs"] = [run for run in before.get("runs", []) if run["seed"] < args.first]
    for seed in range(args.first, args.first + args.seeds):
        rows = train(args.preset, seed, programs, args.points, window)
        found["runs"].append({"seed": seed, **of, "rows": rows})
        write(name, f"muzero_strength.py {args.preset} --points {args.points}", **found)


CURVES = {
    "tic_tac_toe": ["optimal moves", "optimal moves without search"],
    "tic_tac_toe_learned": ["optimal moves", "optimal moves without search"],
    "catch": ["greedy return"],
    "cartpole": ["greedy return"],
    "pendulum": ["greedy return"],
    "game_2048": ["greedy return"],
    "cpu": ["mistakes begin-hard", "mistakes middle-medium", "mistakes end-easy"],
    "connect_four_learned": ["mistakes begin-hard", "mistakes middle-medium", "mistakes end-easy"],
}


def plot():
    """Draws a figure of each record: the measures against moves, a line for each seed."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    FIGURES.mkdir(parents=True, exist_ok=True)
    for name, measures in CURVES.items():
        path = RESULTS / f"muzero_strength_{name}.json"
        if not path.exists():
            continue
        runs = json.loads(path.read_text())["runs"]
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.subplots()
        for i, measure in enumerate(measures):
            for run in runs:
                x, y = zip(*((row["moves"], row[measure]) for row in run["rows"]), strict=True)
                axes.plot(x, y, color=f"C{i}", alpha=0.7, label=measure if run is runs[0] else None)
        axes.set_xlabel("moves")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.legend()
        axes.grid(alpha=0.3)
        figure.savefig(FIGURES / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
