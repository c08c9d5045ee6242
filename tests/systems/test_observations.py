"""What agents see: integers such as pixels, and images of the size of an Atari game's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs
from renga._core.values import static, value
from renga.systems import actor_critic, d4pg, dqn, mpo, muzero, pqn, sac, td3
from renga.systems._reinforcement import as_floats

REPLAY = {"num_envs": 2, "replay_size": 32, "warmup": 4, "batch_size": 4, "units": (4,)}
ROLLOUT = {"num_envs": 2, "rollout_length": 2, "epochs": 1, "minibatches": 1, "units": (4,)}
CHOICES = {
    "actor_critic": (actor_critic, ROLLOUT),
    "actor_critic-shared": (actor_critic, {**ROLLOUT, "shared": True}),
    "actor_critic-gru": (actor_critic, {**ROLLOUT, "memory": "gru"}),
    "dqn": (dqn, REPLAY),
    "dqn-noisy": (dqn, {**REPLAY, "noisy": 0.5}),
    "mpo": (mpo, REPLAY),
    "muzero": (
        muzero,
        {"model": "learned", "num_envs": 2, "moves": 1, "simulations": 2, "replay_size": 64, "warmup": 16,
         "batch_size": 2, "units": 4, "blocks": 1, "unroll": 2, "td_steps": 2},
    ),
    "pqn": (pqn, ROLLOUT),
    "sac": (sac, REPLAY),
}  # fmt: skip
NUMBERS = {name: (system, REPLAY) for name, system in (("d4pg", d4pg), ("mpo", mpo), ("sac", sac), ("td3", td3))}
ALL = [("choices", name) for name in CHOICES] + [("numbers", name) for name in NUMBERS]


@value
class Pictures(envs.Environment):
    """Noise as pixels, from 0 to 255, or divided by 255 as floats; its first one says what is rewarded."""

    size: int = static(default=4)
    actions: str = static(default="choices")
    dtype: str = static(default="uint8")

    @property
    def observation_spec(self):
        return envs.Box((self.size, self.size, 2), 0, 255 if self.dtype == "uint8" else 1, np.dtype(self.dtype))

    @property
    def action_spec(self):
        return envs.Discrete(2) if self.actions == "choices" else envs.Box((1,), -1.0, 1.0)

    def reset(self, key):
        return jax.random.randint(key, (self.size, self.size, 2), 0, 256)

    def step(self, key, state, action):
        reward = jnp.float32(state[0, 0, 0] > 127) * jnp.squeeze(action)
        after = self.reset(key)
        return after, envs.Step(self.observe(after), reward, after[0, 0, 1] < 64, jnp.bool_(False))

    def observe(self, state):
        return state.astype(jnp.uint8) if self.dtype == "uint8" else state / jnp.float32(255)


def made(monkeypatch, actions, name, **options):
    """What a system makes for such an environment."""
    env = Pictures(actions=actions, **options)
    monkeypatch.setattr(envs, "make", lambda _: env)
    system, settings = (CHOICES if actions == "choices" else NUMBERS)[name]
    return system.make(system.Config(env="", **settings))


def learned(state):
    """Parameters, whatever a system calls them."""
    return state.online if hasattr(state, "online") else state.params


@pytest.mark.parametrize(("actions", "name"), ALL, ids=map("-".join, ALL))
def test_every_agent_takes_a_large_image_of_bytes(actions, name, monkeypatch):
    init, step = made(monkeypatch, actions, name, size=36)
    state = jax.eval_shape(init, jax.random.key(0))
    after, metrics = jax.eval_shape(step, state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert metrics
    if name != "muzero":  # its first layers are arguments
        found = [x.shape[-4:] for x in jax.tree.leaves(learned(state))]
        assert all(kernel in found for kernel in [(8, 8, 2, 32), (4, 4, 32, 64), (3, 3, 64, 64)])


@pytest.mark.parametrize(("actions", "name"), [("choices", "actor_critic"), ("choices", "pqn")])
def test_pixels_are_seen_as_the_same_floats(actions, name, monkeypatch):
    states = []
    for dtype in ("uint8", "float32"):
        init, step = made(monkeypatch, actions, name, dtype=dtype)
        states.append(jax.jit(lambda key, init=init, step=step: step(init(key))[0])(jax.random.key(0)))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), *map(learned, states))


def test_layers_in_common_are_fewer(monkeypatch):
    def kernels(name):
        state = jax.eval_shape(made(monkeypatch, "choices", name, size=36)[0], jax.random.key(0))
        return [x.shape for x in jax.tree.leaves(state.params) if x.ndim == 4]

    assert kernels("actor_critic") == 2 * kernels("actor_critic-shared")
    assert len(kernels("actor_critic-shared")) == 3


def test_integers_become_numbers_from_0_to_1_and_floats_stay():
    s = jnp.array([[0, 51, 255]], jnp.uint8)
    np.testing.assert_allclose(as_floats(envs.Box((3,), 0, 255, np.uint8), s), [[0.0, 0.2, 1.0]], rtol=1e-6)
    # Bounds of each by itself; one value only; and too many values for a share of them to tell much.
    spec = envs.Box((4,), (-4, 0, 7, -(2**31)), (4, 1, 7, 2**31 - 1), np.int32)
    found = as_floats(spec, jnp.array([2, 1, 7, -5]))
    np.testing.assert_allclose(found, [0.75, 1.0, 0.0, -5.0], rtol=1e-6)
    assert found.dtype == jnp.float32
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        found = as_floats(envs.Box((1,), 0, 1), jnp.array([0.5], dtype))
        assert (found.dtype, found.tolist()) == (jnp.float32, [0.5])
    np.testing.assert_array_equal(as_floats(envs.Box((2,), 0, 1, np.dtype(bool)), jnp.array([True, False])), [1.0, 0.0])
