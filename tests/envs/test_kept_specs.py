"""An environment that does not keep to what its specs say is refused, in its name, when it is first traced."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs
from renga.loop import RunError
from renga.systems import actor_critic, dqn, muzero, pqn, sac


class Count(envs.Environment):
    """An episode of three steps."""

    observation_spec = envs.Box((), -10.0, 10.0)
    action_spec = envs.Discrete(2)

    def reset(self, key):
        return jnp.int32(0)

    def observe(self, state):
        return jnp.full(self.observation_spec.shape, state).astype(self.observation_spec.dtype)

    def step(self, key, state, action):
        state = state + 1
        return state, self.changed(envs.Step(self.observe(state), 1.0 * state, jnp.bool_(False), state >= 3))

    def changed(self, step):
        return step


def changed(**parts):
    """An environment with other methods or specs."""
    return type("Changed", (Count,), parts)()


def traced(env):
    """What a batch gives when it is traced: shapes and types of a step."""
    batch = envs.Batch(env, 2)

    def run(key):
        state = batch.reset(key)
        batch.observe(state)
        return batch.step(key, state, jnp.zeros((2, *env.action_spec.shape), env.action_spec.dtype))[1]

    return jax.eval_shape(run, jax.random.key(0))


def field(name, make):
    return changed(changed=lambda self, step: step._replace(**{name: make(getattr(step, name))}))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (field("truncated", lambda x: x.astype(int)), r"step: truncated must be a bool of shape (), got int32 of"),
        (field("terminated", lambda x: 0.0), r"step: terminated must be a bool of shape (), got float32 of shape ()"),
        (
            field("terminated", lambda x: x[None]),
            r"step: terminated must be a bool of shape (), got bool of shape (1,)",
        ),
        (field("reward", lambda x: x[None]), r"step: reward must be a number of shape (), got float32 of shape (1,)"),
        (field("reward", lambda x: None), r"step: reward must be a number of shape (), got NoneType"),
        (
            field("terminated", lambda x: None),
            r"step: terminated must be a bool of shape (), got NoneType",
        ),
        (field("observation", lambda x: {"x": x}), r"step: observation must be an array of float32 of shape (), as "),
        (
            changed(observe=lambda self, state: jnp.ones(2)),
            r"observe: observation must be an array of float32 of shape",
        ),
        (
            changed(observation_spec=envs.Box((4,), 0, 255, np.uint8), observe=lambda self, state: jnp.ones(4)),
            r"observation must be an array of uint8 of shape (4,), as observation_spec says, got float32 of shape (4,)",
        ),
        (
            changed(observation_spec=envs.Box((4,), 0, 1, np.dtype(bool)), observe=lambda self, state: jnp.ones(4)),
            r"observation must be an array of bool of shape (4,), as observation_spec says, got float32 of shape (4,)",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_its_specs_do_not_say_is_refused(env, message):
    with pytest.raises(ValueError, match=rf"Changed\.(step|observe): .*{re.escape(message.split(': ')[-1])}"):
        traced(env)


@pytest.mark.usefixtures("unchecked")
def test_rewards_of_any_real_type_are_floats_and_ends_may_be_pythons():
    for reward in (3, True, np.int64(2), jnp.int8(1)):
        step = traced(field("reward", lambda x, reward=reward: reward))
        assert (step.reward.dtype, step.reward.shape) == (jnp.float32, (2,))
    assert traced(field("terminated", lambda x: False)).terminated.dtype == bool
    act = lambda key, s, memory: (jnp.zeros(len(s), jnp.int32), memory)
    returns, lengths, finished = envs.play_episodes(
        field("reward", lambda x: 1), act, jax.random.key(0), 2, max_steps=2
    )
    assert (returns.tolist(), lengths.tolist(), finished.tolist()) == ([2.0, 2.0], [2, 2], [False, False])


def test_actions_of_a_batch_are_one_for_each_and_whole_where_they_are_choices():
    batch = envs.Batch(Count(), 2)
    state = batch.reset(jax.random.key(0))
    for action, message in (
        (jnp.zeros(3, jnp.int32), r"action must have shape \(2,\), got \(3,\)"),
        (jnp.int32(0), r"action must have shape \(2,\), got \(\)"),
        (jnp.full(2, 0.7), "action must be an integer, got float32"),
        (None, "action must be an integer, got NoneType"),
        ("left", "action must be an integer, got str"),
        (jnp.array([0, 9]), r"action must be in \[0, 1\], got 9"),
    ):
        with pytest.raises(ValueError, match=rf"Count\.step: {message}"):
            batch.step(jax.random.key(0), state, action)
    with pytest.raises(ValueError, match=r"num_actions: Changed must have discrete actions of shape \(\), got"):
        envs.num_actions(changed(action_spec=envs.Discrete(3, (2,))))
    world = envs.to_gymnasium(envs.Catch(), render_mode="rgb_array")
    with pytest.raises(Exception, match="render must come after reset"):
        world.render()
    world.reset(seed=0)
    with pytest.raises(ValueError, match=r"Catch\.step: action must be an integer, got float"):
        world.step(1.7)


class Lamps(Count):
    """An action is three bits."""

    action_spec = envs.Box((3,), 0, 1, np.int8)


class Dials(Count):
    """An action is two numbers of three."""

    action_spec = envs.Discrete(3, (2,))


class Dark(Count):
    """There is nothing to see."""

    observation_spec = envs.Box((0,))


@pytest.mark.usefixtures("unchecked")
def test_worlds_that_no_system_can_learn_are_refused_with_what_to_do_about_it():
    for num in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match=rf"Discrete: num must be a positive integer, got {num}"):
            envs.Discrete(num)
    numbered = r"whose actions are one choice or real numbers, got '.*' with .* let a wrapper number its combinations"
    for world, advice in (
        (Lamps, numbered),
        (Dials, numbered),
        (Dark, r"whose observations have numbers, got .* let it be envs\.Box\(\(1,\), 0, 0\)"),
    ):
        for system, settings in (SYSTEMS[name] for name in ("dqn", "pqn", "actor_critic", "sac", "muzero")):
            config = dataclasses.replace(settings, env=f"{__name__}:{world.__name__}")
            with pytest.raises(RunError, match=f"env must be an environment {advice}"):
                jax.eval_shape(system.make(config)[0], jax.random.key(0))


REPLAY = {"num_envs": 2, "updates": 1, "replay_size": 32, "warmup": 16, "batch_size": 4, "units": (4,)}
ROLLOUT = {"num_envs": 2, "rollout_length": 4, "epochs": 1, "minibatches": 2, "units": (4,)}
SEARCH = {"model": "learned", "num_envs": 2, "moves": 1, "simulations": 2, "considered": 2, "td_steps": 2, "unroll": 1}
SYSTEMS = {
    "dqn": (dqn, dqn.Config(**REPLAY)),
    "dqn with memory": (dqn, dqn.Config(**REPLAY, memory="gru", memory_units=4, trace_length=2, burn_in=1)),
    "pqn": (pqn, pqn.Config(**ROLLOUT)),
    "actor_critic": (actor_critic, actor_critic.Config(**ROLLOUT)),
    "actor_critic with memory": (actor_critic, actor_critic.Config(**ROLLOUT, memory="gru", memory_units=4)),
    "sac": (sac, sac.Config(**REPLAY)),
    "muzero": (muzero, muzero.Config(**SEARCH, warmup=16, replay_size=64, batch_size=4, units=4, blocks=1)),
}


class Numbers(Count):
    """A state is told as a number that is no row of one."""


class Table(Count):
    """A state is told as three numbers of five."""

    observation_spec = envs.Discrete(5, (3,))


class Half(Count):
    """A state is told in 16 bits."""

    observation_spec = envs.Box((2,), -10.0, 10.0, jnp.float16)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_takes_observations_of_any_shape_and_width(name):
    system, config = SYSTEMS[name]
    for kind in (Numbers,) if name == "muzero" else (Numbers, Table, Half):
        if name == "actor_critic":
            config = dataclasses.replace(config, normalise_observations=kind is not Table)
        init, step = system.make(dataclasses.replace(config, env=f"{__name__}:{kind.__name__}"))
        state = jax.eval_shape(init, jax.random.key(0))
        after, _ = jax.eval_shape(step, state)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
