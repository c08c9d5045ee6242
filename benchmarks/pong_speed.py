"""Is PPO on ALE's Pong as fast as that of Stable-Baselines3, with 16 games at a time?

Two programs train with equal settings (those of the preset `atari`) and the same layers, in pairs in one process; each
lap is one update, from stepping the games to the last gradient step, and frames of the game a second are compared:

  * renga: `renga.systems.actor_critic` compiled, which steps ALE's own vector environment through a callback;
  * stable-baselines3: its PPO with `CnnPolicy` in PyTorch, on its own Atari wrappers around one game after the other.

A step is four frames for both. Stable-Baselines3 is no dependency of the benchmarks. With those of Renga installed:

    pip install --no-deps --target ../peers stable-baselines3 opencv-python-headless pandas cloudpickle
    PYTHONPATH=../peers python benchmarks/pong_speed.py
"""

import json
from importlib.metadata import version
from typing import Any

import ale_py
import gymnasium
import jax
import torch
from paired import compare
from record import made, write

from renga.systems import actor_critic

PAIRS, FRAMES = 7, 4


def ours(config: Any) -> Any:
    """Returns a function that goes on for an update at each call, and one that counts parameters."""
    init, step = actor_critic.make(config)
    update = jax.jit(lambda state: step(state)[0], donate_argnums=0)
    state = jax.jit(init)(jax.random.key(0))

    def go_on() -> None:
        nonlocal state
        state = jax.block_until_ready(update(state))

    return go_on, lambda: sum(x.size for x in jax.tree.leaves(state.params))


def theirs(config: Any) -> Any:
    """The same of Stable-Baselines3."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    gymnasium.register_envs(ale_py)
    env = VecFrameStack(make_atari_env("PongNoFrameskip-v4", n_envs=config.num_envs, seed=0), n_stack=4)
    steps = config.num_envs * config.rollout_length
    model = PPO(
        "CnnPolicy",
        env,
        n_steps=config.rollout_length,
        batch_size=steps // config.minibatches,
        n_epochs=config.epochs,
        learning_rate=config.learning_rate,
        gamma=config.discount,
        gae_lambda=config.trace_decay,
        clip_range=config.clip,
        ent_coef=config.entropy_cost,
        vf_coef=config.value_cost,
        max_grad_norm=config.max_gradient_norm,
        seed=0,
        device="cpu",
    )
    return lambda: model.learn(steps, reset_num_timesteps=False), lambda: sum(
        x.numel() for x in model.policy.parameters()
    )


def main() -> None:
    """Compares, and keeps what came of it."""
    of, (config, _) = made(), actor_critic.PRESETS["atari"]
    go_on, size = ours(config)
    go_on_theirs, their_size = theirs(config)
    row = compare(go_on, go_on_theirs, PAIRS, at_least=0.0)
    frames = FRAMES * config.num_envs * config.rollout_length
    rows = [
        {
            "environment": "ALE/Pong-v5",
            "num_envs": config.num_envs,
            "parameters": [size(), their_size()],
            "frames_per_second": dict(
                zip(("renga", "stable-baselines3"), (round(1e6 * frames / us) for us in row["us"]), strict=True)
            ),
            "ratio": row["ratio"],
            "ratio_95%": row["ratio_95%"],
            "threads of PyTorch": torch.get_num_threads(),
            "stable-baselines3": version("stable-baselines3"),
            **of,
        }
    ]
    print(json.dumps(rows), flush=True)
    question = "frames a second of PPO on Pong with 16 games; ratio: renga / stable-baselines3"
    write("pong_speed", "pong_speed.py", question=question, rows=rows)


if __name__ == "__main__":
    main()
