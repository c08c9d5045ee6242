"""Does PPO learn LunarLander and Pong, and a PPO written by hand Breakout, how fast, and with every seed?

Trains a system on an environment with several seeds, one after the other, with the system's default settings and those
given here, and keeps learning curves, the return of the greedy policy afterwards (over 100 episodes, or 16 of Pong,
which take minutes), and the seconds from nothing (compilation included) to there. Many seeds of the smaller tasks:
`cartpole_seeds.py`, `classic_control.py`, `pendulum.py`, `minatar.py`.

    python benchmarks/learning.py breakout          # PPO by hand on MinAtar's Breakout, 3 seeds; ours: minatar.py
    python benchmarks/learning.py lunar_lander      # PPO on Gymnasium's LunarLander, 10 seeds
    python benchmarks/learning.py pong              # PPO on ALE's Pong, one seed, about 45 minutes on two idle cores
    python benchmarks/learning.py plot              # figures for the documentation
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import jax
import ppo_by_hand
from record import made, read, write
from seeds import summary

from renga import loop
from renga.systems import actor_critic

RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parents[1] / "docs" / "reinforcement"


def settings(system, preset):
    """Returns the settings of a preset, but for the length of its schedule."""
    return {k: v for k, v in dataclasses.asdict(system.PRESETS[preset][0]).items() if k != "decay_steps"}


# What purejaxrl publishes for MinAtar (examples/brax_minatar.ipynb): 10 million steps, the rate falling to zero.
BREAKOUT = settings(actor_critic, "minatar")
ATARI, ATARI_UPDATES = settings(actor_critic, "atari"), actor_critic.PRESETS["atari"][1]
LANDER, LANDER_UPDATES = settings(actor_critic, "lunar_lander"), actor_critic.PRESETS["lunar_lander"][1]
EPISODES = {"pong": 16}  # that are played afterwards; else 100
# Name, system, changes to its default settings, updates, seeds.
RUNS = {
    "breakout": ("PPO by hand", ppo_by_hand, BREAKOUT, 1220, 3),
    "lunar_lander": ("PPO", actor_critic, LANDER, LANDER_UPDATES, 10),
    "pong": ("PPO", actor_critic, ATARI, ATARI_UPDATES, 1),
}


def frames_per_update(config):
    """Returns how many environment steps an update takes."""
    return config.num_envs * getattr(config, "rollout_length", 1)


def train(system, config, steps, seed, episodes):
    """Trains from nothing; returns curve, evaluation and seconds."""
    began = time.perf_counter()
    init, step = system.make(config)
    state = jax.jit(init)(jax.random.key(seed))
    curve = []
    for update in loop.iterate(step, state, steps=steps, window=max(1, steps // 40)):
        curve += [[row[0] * frames_per_update(config), round(row[1]["episode_return"], 3)] for row in update.rows]
        state = update.state
    trained = time.perf_counter() - began
    return {
        "seed": seed,
        "curve": curve,
        **system.evaluate(config, state, episodes=episodes),
        "seconds of training": round(trained, 1),
        "seconds in all": round(time.perf_counter() - began, 1),
    }


def train_by_hand(config, steps, seed):
    """Trains `ppo_by_hand` with the settings that purejaxrl publishes; returns curve and seconds."""
    began = time.perf_counter()
    init, update = ppo_by_hand.make(config.env.removeprefix("gymnax/"), config, value_clip=True)
    window = max(1, steps // 40)

    @jax.jit
    def lap(state):
        def one(state, _):
            state = update(state)
            return state, state.last_return.mean()

        state, returns = jax.lax.scan(one, state, None, length=window)
        return state, returns.mean()

    state, curve = jax.jit(init)(jax.random.key(seed)), []
    for i in range(steps // window):
        state, mean_return = lap(state)
        curve.append([(i + 1) * window * frames_per_update(config), round(float(mean_return), 3)])
    return {"seed": seed, "curve": curve, "seconds in all": round(time.perf_counter() - began, 1)}


def run(question, first, seeds):
    """Trains some seeds of what a question asks for; keeps those on record before them, and writes after each."""
    name, system, changes, steps, all_seeds = RUNS[question]
    by_hand, episodes = system is ppo_by_hand, EPISODES.get(question, 100)
    config = (actor_critic if by_hand else system).Config(**{"decay_steps": steps, **changes})
    of, kept = made(), []
    if first:
        (before,) = read(f"learning_{question}")["results"]
        # An argument younger than the record: its default is what was done then.
        defaults = {field.name: field.default for field in dataclasses.fields(config)}
        as_read = json.loads(json.dumps([defaults | before["config"], dataclasses.asdict(config)]))
        if as_read[0] != as_read[1] or before["updates"] != steps:
            raise SystemExit(f"runs of other settings are on record in learning_{question}: train all seeds anew")
        then = {name: before[name] for name in of if name in before}  # in records that have no commit for each seed
        kept = [then | run for run in before["runs"] if run["seed"] < first]
    entry = {"system": name, "config": dataclasses.asdict(config), "updates": steps, "runs": kept}
    for seed in range(first, first + (seeds or all_seeds - first)):
        one = train_by_hand(config, steps, seed) if by_hand else train(system, config, steps, seed, episodes)
        entry["runs"].append(one | of)
        if not by_hand:
            entry |= summary([run["greedy return"] for run in entry["runs"]])
        print(name, {k: v for k, v in one.items() if k != "curve"}, flush=True)
        write(f"learning_{question}", f"learning.py {question}", results=[entry])


def plot():
    """Draws every curve that there is."""
    from matplotlib.figure import Figure

    FIGURES.mkdir(exist_ok=True)
    records = {question: f"learning_{question}" for question in RUNS}
    for question, name in {**records, "cartpole": "cartpole_seeds", "pendulum": "pendulum"}.items():
        path = RESULTS / f"{name}.json"
        if not path.exists():
            continue
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.subplots()
        entries = json.loads(path.read_text())["results"]
        if question == "breakout":
            entries += [entry for entry in read("minatar")["results"] if entry["system"] == "PPO, Breakout"]
        for i, entry in enumerate(entries):
            for j, one in enumerate(entry["runs"]):
                frames, returns = zip(*one["curve"], strict=True)
                label = f"{entry['system']}, {len(entry['runs'])} seeds" if j == 0 else None
                axes.plot([f / 1e3 for f in frames], returns, color=f"C{i}", linewidth=1, alpha=0.6, label=label)
        axes.set_xlabel("thousand environment steps")
        axes.set_ylabel("return while learning")
        axes.legend()
        axes.grid(alpha=0.3)
        figure.savefig(FIGURES / f"{question}.svg", metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=[*RUNS, "plot"])
    parser.add_argument("--first", type=int, default=0, help="the first seed; runs of the seeds before it are kept")
    parser.add_argument("--seeds", type=int, default=0, help="how many; all by default")
    args = parser.parse_args()
    plot() if args.question == "plot" else run(args.question, args.first, args.seeds)
