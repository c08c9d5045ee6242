"""Eight minutes of learning Connect Four on one device, and what the agent is worth then."""

import dataclasses
import functools
import time

import jax

from renga.loop import RunError
from renga.systems import muzero

from .timing import optional, rows

# Set by the command: where the agent is kept, so that a later start can judge it, and the seconds that there are.
FOLDER, LIMIT = None, float("inf")
MINUTES = 8.0
CONFIG = muzero.Config(
    tower="conv",
    units=64,
    blocks=5,
    bf16=True,
    num_envs=1024,
    moves=8,
    replay_size=2**21,
    warmup=64 * 1024,
    updates=16,
    batch_size=1024,
    decay_steps=0,  # how many updates there will be is not known before: the rate falls by time
)
RATES = {0.0: 1e-3, 0.6: 3e-4, 0.85: 1e-4}  # learning rates, from which share of the time


def configured(tiny):
    if not tiny:
        return CONFIG, MINUTES
    small = {"num_envs": 4, "moves": 2, "warmup": 4 * 43, "replay_size": 256, "updates": 1, "batch_size": 4}
    return dataclasses.replace(CONFIG, units=4, blocks=1, simulations=2, considered=2, **small), 0.05


def training(tiny):
    """Learns, from the end of compiling on, and keeps the agent."""
    config, minutes = configured(tiny)
    begun = time.perf_counter()
    rates = {0.0: 1e-3} if tiny else RATES  # each is a program to compile
    systems = [muzero.make(dataclasses.replace(config, learning_rate=rate)) for rate in rates.values()]
    state = jax.block_until_ready(jax.jit(systems[0][0])(jax.random.key(0)))
    # The rates are constants of three programs with one state.
    programs = [jax.jit(step, donate_argnums=0).lower(state).compile() for _, step in systems]
    compiled = time.perf_counter() - begun
    minutes = min(minutes, (LIMIT - compiled - 45) / 60)  # starting and keeping take time too
    if minutes <= 0:
        raise RuntimeError(f"compiling took {compiled:.0f} s, which leaves no time to learn: start again with more")
    begun, updates, curve = time.perf_counter(), 0, []
    while (share := (time.perf_counter() - begun) / (60 * minutes)) < 1:
        program = next(p for p, least in reversed(list(zip(programs, rates, strict=True))) if share >= least)
        state, metrics = jax.block_until_ready(program(state))
        updates += 1
        if len(curve) <= 16 * share:
            curve.append([round(60 * minutes * share), round(float(metrics["policy_loss"]), 4)])
    taken = time.perf_counter() - begun
    muzero.Agent(config, state.params).save(FOLDER / "connect_four.safetensors")
    moves = updates * config.moves * config.num_envs
    return {
        "seconds": round(taken, 1),
        "seconds of compiling and warming up": round(compiled, 1),
        "steps": updates,
        "moves": moves,
        "moves/s": round(moves / taken),
        "simulations/s": round(moves * config.simulations / taken),
        "gradient steps": updates * config.updates,
        "policy loss by seconds": curve,
    }


def judged(against, tiny):
    """Plays against one opponent, or asks the solver."""
    if not (FOLDER / "connect_four.safetensors").exists():
        return {"skipped": "no agent was kept"}
    agent = muzero.load(FOLDER / "connect_four.safetensors")
    state = muzero.State(*[None] * len(muzero.State._fields))._replace(params=agent.params)
    try:
        found = muzero.evaluate(agent.config, state, against=against, simulations=64, games=8 if tiny else 200)
    except (RunError, ImportError) as missing:
        return {"skipped": str(missing)}
    return {name: round(value, 3) for name, value in found.items()}


def run(tiny, done):
    if optional("pgx") is None:
        yield from rows([("connect_four", lambda: {"skipped": "pgx is not installed"})], done)
        return
    cases = [("training on connect_four", functools.partial(training, tiny))]
    # The solver first; alpha-beta stands in where it is not installed.
    order = ("random", "solver") if tiny else ("solver", "alphabeta:5", "random", "uct:1000")
    cases += [(f"against {name}", functools.partial(judged, name, tiny)) for name in order]
    yield from rows(cases, done)
