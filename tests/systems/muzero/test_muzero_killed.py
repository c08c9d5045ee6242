"""A process that is killed in the middle of a game."""

import dataclasses
import os
import subprocess
import sys

import numpy as np

from loop.running import assert_same_bits, wait_for
from renga import loop
from renga.systems import muzero

TINY = muzero.Config(
    env="catch", num_envs=2, moves=2, simulations=2, considered=2, warmup=16, replay_size=4096, updates=1,
    batch_size=4, td_steps=2, units=8, blocks=1, decay_steps=10,
)  # fmt: skip


def run(directory, steps, **options):
    return loop.run(
        muzero.make, TINY, steps=steps, directory=directory, system="muzero", num_devices=1, show=False, **options
    )


def test_no_move_of_replay_before_the_last_checkpoint_is_lost(tmp_path):
    given = {
        field.name: getattr(TINY, field.name)
        for field in dataclasses.fields(TINY)
        if getattr(TINY, field.name) != field.default
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    command = [sys.executable, "-m", "renga.cli", "train", "muzero", *flags, "--devices=1", "--steps=100000000"]
    command += ["--window=3", "--checkpoint-seconds=0", "--no-evaluate", "--quiet", f"--directory={tmp_path / 'run'}"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    kept = loop.Checkpoints(tmp_path / "run" / "checkpoints")
    try:
        wait_for(lambda: process.poll() is not None or kept.steps(), seconds=300.0)
    finally:
        process.kill()
    _, errors = process.communicate()
    assert kept.steps(), errors
    saved = kept.steps()[-1]
    resumed, whole = run(tmp_path / "run", saved + 5, resume=True), run(tmp_path / "whole", saved + 5)
    assert (np.asarray(whole.state.env.episode_length) > 0).any()
    assert int(resumed.state.replay.count) == min(8 + 2 * (saved + 5), 2048)
    assert_same_bits(resumed.state, whole.state)
