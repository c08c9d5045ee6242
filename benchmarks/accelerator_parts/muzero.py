"""Acting of AlphaZero and MuZero agents: simulations and moves a second, and the share of time in the networks."""

import functools

import jax
import jax.numpy as jnp
import paired

from renga import envs
from renga.systems import muzero

from .timing import alone, optional, peaks, rows, seconds

TOWERS = {
    "dense 3 × 256": {"tower": "dense", "units": 256, "blocks": 3},
    "residual 5 × 64": {"tower": "conv", "units": 64, "blocks": 5},
    "residual 6 × 128": {"tower": "conv", "units": 128, "blocks": 6},
}
# Environment, model, network, in order of worth. Breakout stands in where pgx is missing.
TABLE = [
    ("connect_four", "true", "dense 3 × 256"),
    ("connect_four", "learned", "dense 3 × 256"),
    ("connect_four", "true", "residual 5 × 64"),
    ("breakout", "true", "residual 5 × 64"),
    ("go_9x9", "true", "residual 5 × 64"),
    ("connect_four", "true", "residual 6 × 128"),
    ("go_9x9", "true", "residual 6 × 128"),
    ("connect_four", "learned", "residual 5 × 64"),
    ("go_9x9", "true", "dense 3 × 256"),
]
SIMULATIONS, BATCH = 32, 1024
GOAL = 1e6  # simulations a second, of dense networks


def agent(env, model, tower, tiny):
    """Returns an agent that has learned nothing."""
    small = {"units": 8, "blocks": 1} if tiny else {}
    config = muzero.Config(env=env, model=model, bf16=True, **TOWERS[tower] | small)
    spec = envs.make(env).observation_spec
    params = jax.jit(muzero.networks(config).init)(jax.random.key(0), jnp.zeros((1, *spec.shape)))
    return muzero.Agent(config, params)


def networks_alone(agent, observation, num):
    """Compiles what the networks of a search with so many simulations compute, and nothing else."""
    networks, learned = muzero.networks(agent.config), agent.config.model == "learned"

    def run(params, seen):
        h = networks.represent(params, seen)
        out = networks.predict(params, h)

        def once(_, carry):
            seen, h, out = carry
            if learned:
                h = networks.dynamics(params, h, jnp.argmax(out.logits, -1).astype(jnp.int32)).state
            else:  # a state that depends on the last answer, so that nothing is computed once for all
                away = 1e-6 * out.value.reshape(-1, *[1] * (seen.ndim - 1))
                h = networks.represent(params, seen + away)
            return seen, h, networks.predict(params, h)

        return jax.lax.fori_loop(0, num, once, (seen, h, out))[2]

    return paired.compile_with(run, agent.params, observation)


def acting(env, model, tower, tiny):
    """Times a search and a move in every game."""
    batch, num = (4, 4) if tiny else (BATCH, SIMULATIONS)
    player = agent(env, model, tower, tiny)
    act, world = player.player(num), player.env
    states = jax.jit(jax.vmap(world.reset))(jax.random.split(jax.random.key(1), batch))

    def move(key, states):
        key_act, key_env = jax.random.split(key)
        action = act(key_act, states)
        return jax.vmap(world.step)(jax.random.split(key_env, batch), states, action)[0], action

    rounds = 3 if tiny else 9
    found = alone(paired.compile_with(move, jax.random.key(2), states)[1], rounds)
    program, call = networks_alone(player, jax.jit(jax.vmap(world.observe))(states), num)
    alone_s, _, _ = seconds(call, rounds)
    # The compiler counts the loop once: the first evaluation and one of the others.
    flops = paired.cost(program, "flops") * (num + 1) / 2
    median = 1e-6 * found["us"]
    cells = {
        **found,
        "simulations/s": round(batch * num / median),
        "moves/s": round(batch / median),
        "share in the networks": round(min(1.0, alone_s / median), 3),
        "TFLOP/s in the networks": round(flops / alone_s / 1e12, 3),
        "share of measured peak there": round(flops / alone_s / peaks(tiny)["bfloat16 FLOP/s"], 4),
        "games": batch,
    }
    if tower.startswith("dense"):
        cells["goal, simulations/s"] = GOAL
    return cells


def whole(tiny):
    """Times a step of the system: acting, replay, learning."""
    config = muzero.Config(bf16=True, num_envs=BATCH, warmup=44 * BATCH, batch_size=1024, **TOWERS["residual 5 × 64"])
    init, step = muzero.make(config)
    state = jax.block_until_ready(jax.jit(init)(jax.random.key(0)))
    program = jax.jit(step, donate_argnums=0).lower(state).compile()
    held = [state]

    def call():
        held[0] = jax.block_until_ready(program(held[0])[0])

    found = alone(call, 9)
    moves = config.num_envs * config.moves
    return {**found, "moves/s": round(1e6 * moves / found["us"]), "gradient steps": config.updates, "games": BATCH}


def run(tiny, done):
    missing = None if optional("pgx") else {"skipped": "pgx is not installed"}
    cases = []
    for env, model, tower in [TABLE[3]] if tiny else TABLE:
        key = f"{env}, {model} model, {tower}, {SIMULATIONS} simulations"
        away = missing if env != "breakout" else None
        cases.append(
            (key, functools.partial(dict, away) if away else functools.partial(acting, env, model, tower, tiny))
        )
    if tiny and not missing:
        cases.append(
            ("connect_four, learned model", functools.partial(acting, "connect_four", "learned", "dense 3 × 256", tiny))
        )
    if not tiny:
        key = "connect_four, whole step of learning, residual 5 × 64"
        cases.append((key, functools.partial(dict, missing) if missing else functools.partial(whole, tiny)))
    yield from rows(cases, done)
