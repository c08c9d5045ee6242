"""A small system for tests of the loop: noisy linear regression, with a key, momentum and a buffer in its state."""

import dataclasses
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from renga.loop import shard_batch


@dataclasses.dataclass(frozen=True)
class Config:
    """What the toy can be asked for."""

    batch_size: int = 8
    learning_rate: float = 0.05
    bad_step: int = -1  # at which step to take the logarithm of a negative number


class State(NamedTuple):
    key: jax.Array
    step: jax.Array
    w: jax.Array
    m: jax.Array
    buffer: dict
    seen: jax.Array  # [B]: of each place in the batch

    split = ("seen",)


def make(config):
    def init(key):
        key, key_w = jax.random.split(key)
        w = jax.random.normal(key_w, (3,))
        return State(
            key, jnp.int32(0), w, jnp.zeros(3), {"loss": jnp.zeros(7, jnp.bfloat16)}, jnp.zeros(config.batch_size)
        )

    def step(state):
        key, key_x = jax.random.split(state.key)
        x = shard_batch(jax.random.normal(key_x, (config.batch_size, 3)))

        def loss_fn(w):
            return jnp.mean((x @ (w - jnp.arange(3.0))) ** 2)

        loss, grad = jax.value_and_grad(loss_fn)(state.w)
        poison = jnp.where(state.step == config.bad_step, -1.0, 1.0)
        loss = loss + 0.0 * jnp.log(poison)
        m = 0.9 * state.m + grad
        buffer = {"loss": state.buffer["loss"].at[state.step % 7].set(loss.astype(jnp.bfloat16))}
        new = State(key, state.step + 1, state.w - config.learning_rate * m, m, buffer, state.seen + x[:, 0])
        return new, {"loss": loss, "norm": {"w": jnp.linalg.norm(grad)}}

    return init, step


if __name__ == "__main__":  # python toy.py DIRECTORY STEPS [--resume] [--seeds=n] [coordinator n i]
    from renga import loop

    directory, steps, *rest = sys.argv[1:]
    resume = "--resume" in rest
    seeds = next((int(r.partition("=")[2]) for r in rest if r.startswith("--seeds=")), None)
    rest = [r for r in rest if not r.startswith("--")]
    if rest:
        jax.config.update("jax_num_cpu_devices", 1)
        loop.join_processes(rest[0], int(rest[1]), int(rest[2]))
    result = loop.run(
        make, Config(), steps=int(steps), directory=directory, system="toy", resume=resume, checkpoint_seconds=0.05,
        seeds=seeds, pictures=lambda state: {"seen": 100 + np.asarray(state.seen).reshape(1, -1)}, num_pictures=2,
    )  # fmt: skip
    print("done", result.step, result.finished)
