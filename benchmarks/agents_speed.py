"""Are DQN, PQN, SAC and TD3 as fast as those of rejax, a public package of agents; and D4PG and MPO as by hand?

Two programs train on one environment of gymnax with equal settings, network sizes and numbers of gradient steps, in
pairs in one process; each lap is one call of a compiled program, and environment steps a second are compared:

  * renga: `renga.systems`, one `fori_loop` over its step;
  * rejax: one `fori_loop` over `train_iteration`, without evaluation;
  * by hand: plain JAX, for agents that rejax does not have (`off_policy_by_hand.py`).

rejax 0.1.3 is written for environments whose step gives one `done`; those of gymnax 1.0 tell an end from a time limit,
so rejax gets them with the two put together. What differs: Renga bootstraps where a time limit cuts an episode.

rejax is no dependency of the benchmarks. With those of Renga installed:

    pip install --no-deps --target ../peers rejax
    PYTHONPATH=../peers python benchmarks/agents_speed.py          # all; about 10 minutes on two idle cores
    PYTHONPATH=../peers python benchmarks/agents_speed.py sac td3  # these; the others' rows are kept
    python benchmarks/agents_speed.py d4pg mpo                     # needs no rejax
"""

import copy
import json
import sys
from importlib.metadata import version
from typing import Any

import gymnax
import jax
import off_policy_by_hand
from paired import compare
from record import made, read, write

from renga.systems import d4pg, dqn, mpo, pqn, sac, td3

UNITS = (64, 64)  # those of rejax
REPLAY, WARMUP, PAIRS = 50_000, 1_000, 21
OFF_POLICY = {"buffer_size": REPLAY, "fill_buffer": WARMUP, "normalize_rewards": False}
RELU = {"activation": "relu"}
# Environment, our system and settings, rejax's agent and settings, environment steps a lap.
TASKS: dict[str, tuple[str, Any, dict[str, Any], str, dict[str, Any], int]] = {
    "dqn": (
        "CartPole-v1",
        dqn,
        {"num_envs": 8, "batch_size": 128, "n_step": 1, "dueling": False, "prioritised": False, "target_rate": 0.01,
         "decay_steps": 0, "max_gradient_norm": 10.0, "replay_size": REPLAY, "warmup": WARMUP},
        "DQN",
        {"num_envs": 8, "batch_size": 128, "polyak": 0.99, "target_update_freq": 1, "learning_rate": 1e-3,
         "max_grad_norm": 10.0, "agent_kwargs": RELU, **OFF_POLICY},
        8_000,
    ),
    "pqn": (
        "CartPole-v1",
        pqn,
        {"num_envs": 32, "rollout_length": 32, "epochs": 4, "minibatches": 8, "decay_steps": 0,
         "normalise_rewards": False},
        "PQN",
        {"num_envs": 32, "num_steps": 32, "num_epochs": 4, "num_minibatches": 8, "td_lambda": 0.95,
         "learning_rate": 1e-3, "max_grad_norm": 10.0, "agent_kwargs": RELU},
        16_384,
    ),
    "sac": (
        "Pendulum-v1",
        sac,
        {"num_envs": 1, "batch_size": 256, "replay_size": REPLAY, "warmup": WARMUP},
        "SAC",
        {"num_envs": 1, "batch_size": 256, "polyak": 0.995, "learning_rate": 1e-3, "agent_kwargs": RELU, **OFF_POLICY},
        500,
    ),
    "td3": (
        "Pendulum-v1",
        td3,
        {"num_envs": 1, "batch_size": 256, "replay_size": REPLAY, "warmup": WARMUP},
        "TD3",
        {"num_envs": 1, "batch_size": 256, "polyak": 0.995, "learning_rate": 1e-3, "policy_delay": 2,
         "actor_kwargs": RELU, "critic_kwargs": dict(RELU), **OFF_POLICY},
        500,
    ),
}  # fmt: skip
# Our system, the peer, environment steps a lap; on Pendulum, with our default settings besides.
BY_HAND = {"d4pg": (d4pg, off_policy_by_hand.d4pg, 500), "mpo": (mpo, off_policy_by_hand.mpo, 100)}


def with_one_done(env: Any) -> Any:
    """An environment of gymnax 1.0 whose step gives one `done`."""

    class OneDone(type(env)):
        def step(self, *args: Any) -> Any:
            seen, state, reward, terminated, truncated, info = super().step(*args)
            return seen, state, reward, terminated | truncated, info

    env.__class__ = OneDone
    return env


def trainer(state: Any, update: Any, updates: int) -> tuple[Any, Any]:
    """Returns a function that goes on for a lap at each call, and one that looks at the state."""
    lap = jax.jit(lambda state: jax.lax.fori_loop(0, updates, lambda _, s: update(s), state), donate_argnums=0)

    def go_on() -> None:
        nonlocal state
        state = jax.block_until_ready(lap(state))

    return go_on, lambda: state


def size(params: Any) -> int:
    """How many numbers there are."""
    return sum(x.size for x in jax.tree.leaves(params))


def run_by_hand(task: str, pairs: int = PAIRS, shorter: int = 1) -> dict[str, Any]:
    """Compares ours with the peer by hand; laps may be `shorter` so many times."""
    system, peer, steps = BY_HAND[task]
    steps //= shorter
    ours = {"replay_size": REPLAY, "warmup": WARMUP}
    config = system.Config(env="gymnax/Pendulum-v1", units=UNITS, **ours)
    init, step = system.make(config)
    go_on, our_state = trainer(jax.jit(init)(jax.random.key(0)), lambda state: step(state)[0], steps)
    init, update = peer(config)
    go_on_theirs, their_state = trainer(jax.jit(init)(jax.random.key(0)), update, steps)
    row = compare(go_on, go_on_theirs, pairs, at_least=0.0)
    # How far both have come; MPO's laps are too few to learn the task.
    returns = [float(our_state().env.last_return.mean()), float(their_state().last_return)]
    return {
        "agent": task.upper(),
        "environment": "Pendulum-v1",
        "settings": ours,
        "last_returns_after_all_laps": returns,
        **rates("by hand", steps, row),
    }


def rates(peer: str, steps: int, row: dict[str, Any]) -> dict[str, Any]:
    """Environment steps a second of both sides, and how they compare."""
    seen = (round(1e6 * steps / us) for us in row["us"])
    return {
        "steps_per_second": dict(zip(("renga", peer), seen, strict=True)),
        "ratio": row["ratio"],
        "ratio_95%": row["ratio_95%"],
    }


def run(task: str, pairs: int = PAIRS, shorter: int = 1) -> dict[str, Any]:
    """Compares ours with rejax on one task; laps may be `shorter` so many times."""
    import rejax

    name, system, ours, agent, theirs, steps = TASKS[task]
    steps //= shorter
    config = system.Config(env=f"gymnax/{name}", units=UNITS, **ours)
    init, step = system.make(config)
    frames = config.num_envs * getattr(config, "rollout_length", 1)
    go_on, _ = trainer(jax.jit(init)(jax.random.key(0)), lambda state: step(state)[0], steps // frames)

    env, params = gymnax.make(name)
    given = copy.deepcopy(theirs)  # rejax changes what it is given
    algorithm = getattr(rejax, agent).create(env=with_one_done(env), env_params=params, **given)
    first = jax.jit(algorithm.init_state)(jax.random.PRNGKey(0))
    once = jax.eval_shape(algorithm.train_iteration, first)
    assert jax.tree.structure(once) == jax.tree.structure(first)
    before = int(first.global_step)  # read now: a lap takes the state over
    frames = int(jax.jit(algorithm.train_iteration)(first).global_step) - before
    go_on_theirs, their_state = trainer(first, algorithm.train_iteration, steps // frames)
    while int(their_state().global_step) < WARMUP + 2 * steps:  # replay is filled, and all is compiled
        go_on_theirs()
    learner = lambda state: getattr(state, "q_ts", None) or state.critic_ts
    begun, at = int(learner(their_state()).step), int(their_state().global_step)
    go_on_theirs()
    gradient_steps = (int(learner(their_state()).step) - begun) / (int(their_state().global_step) - at)
    expected = getattr(config, "epochs", 1) * getattr(config, "minibatches", 1) / (
        config.num_envs * getattr(config, "rollout_length", 1)
    )  # fmt: skip
    if abs(gradient_steps - expected) > 1e-6:
        raise SystemExit(f"{task}: rejax takes {gradient_steps} gradient steps an environment step, not {expected}")
    row = compare(go_on, go_on_theirs, pairs, at_least=0.0)
    return {
        "agent": agent,
        "environment": name,
        "rejax": version("rejax"),
        "settings": ours,
        "settings of rejax": theirs,
        "gradient steps an environment step": gradient_steps,
        "parameters of rejax's critics": size(learner(their_state()).params),
        **rates("rejax", steps, row),
    }


def main() -> None:
    """Runs the tasks and keeps their rows."""
    made()
    rows = {row["agent"]: row for row in read("agents_speed").get("rows", [])}
    for task in sys.argv[1:] or [*TASKS, *BY_HAND]:
        row = (run_by_hand if task in BY_HAND else run)(task)
        print(json.dumps({name: row[name] for name in row if "settings" not in name}), flush=True)
        rows[row["agent"]] = row | made()
        question = "environment steps a second with equal settings; ratio: renga / peer"
        write("agents_speed", "agents_speed.py", question=question, rows=list(rows.values()))


if __name__ == "__main__":
    main()
