"""Where states lie: a batch is split over the devices between steps, and the numbers are those of one device."""

import dataclasses

import jax
import numpy as np
import pytest

from renga import loop
from renga.loop._devices import make_mesh
from renga.loop._places import places_of
from renga.loop._subject import Alone
from renga.systems import actor_critic, d4pg, dqn, lpg, mpo, muzero, pqn, sac

REPLAY = {"num_envs": 4, "updates": 1, "replay_size": 32, "warmup": 8, "batch_size": 8, "units": (8,)}
SMALL_AC = {"num_envs": 4, "rollout_length": 4, "epochs": 1, "minibatches": 2, "units": (8,), "decay_steps": 0}
CASES = {
    "ppo": (actor_critic, actor_critic.Config(env="pendulum", normalise_observations=True, **SMALL_AC)),
    "v-trace with memory": (actor_critic, actor_critic.Config(algorithm="vtrace", memory="lstm", **SMALL_AC)),
    "dqn": (dqn, dqn.Config(prioritised=True, n_step=2, decay_steps=0, repeat_exponent=2.0, **REPLAY)),
    "r2d2": (
        dqn,
        dqn.Config(
            memory="gru", memory_units=4, trace_length=2, burn_in=1, n_step=2, decay_steps=0,
            **{**REPLAY, "warmup": 24, "replay_size": 64},
        ),
    ),
    "pqn": (pqn, pqn.Config(normalise_observations=True, epsilon_steps=2, **SMALL_AC)),
    "sac": (sac, sac.Config(**REPLAY)),
    "mpo": (mpo, mpo.Config(num_samples=2, **REPLAY)),
    "muzero": (
        muzero,
        muzero.Config(
            env="catch", model="learned", num_envs=2, moves=2, simulations=2, considered=2, warmup=16, replay_size=32,
            updates=1, batch_size=4, unroll=1, td_steps=2, units=8, blocks=1, decay_steps=10,
        ),
    ),
}  # fmt: skip
PARTS = {  # by a part of an array's name, the axis along which it is split
    "env": 0, "first": 0, "memory": 0, "rewards/returns": 0, "opening": 0, "tree": 0, "recent": 1, "repeated": 0,
    "replay/items": 0,
}  # fmt: skip


BOTH_BEGIN = {"ppo", "dqn"}  # where two devices also make the first state, and not only learn from it


def two_ways(case):
    """The states after two steps on one device and on two: the second has its own beginning in some of the cases."""
    system, config = CASES[case]
    made = system.make(config)
    subjects, states = [], []
    for n in (1, 2):
        mesh = make_mesh(n)
        with jax.set_mesh(mesh):
            subject = Alone(lambda _: made, config, 0, mesh, debug_nans=False)
            begin = not states or case in BOTH_BEGIN
            states.append(subject.begin() if begin else jax.device_put(states[0], subject.sharding, may_alias=False))
            subjects.append(subject)
            if n == 1:
                subject.look_at(states[0])
            subject.names = subjects[0].names
    settings = {"steps": 2, "start": 0, "window": 1, "marks": (), "should_stop": lambda: 0}
    for n, subject, state in zip((1, 2), subjects, states, strict=True):
        with jax.set_mesh(make_mesh(n)):
            yield list(subject.updates(state, **settings))[-1]


def named(state):
    keys = lambda x: jax.random.key_data(x) if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    paths = jax.tree.leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): keys(x) for path, x in paths}


@pytest.mark.parametrize("case", CASES)
def test_each_device_has_its_part_of_the_batch_and_two_learn_what_one_does(case):
    system, _ = CASES[case]
    one, two = two_ways(case)
    first, second = named(one.state), named(two.state)
    split = 0
    for name, x in second.items():
        axis = next((a for part, a in PARTS.items() if name == part or name.startswith(part + "/")), None)
        if name.startswith("replay/") and (system is muzero or case == "r2d2"):
            axis = 1
        shape = list(x.shape)
        if axis is not None and x.ndim > axis:
            shape[axis] //= 2
            split += 1
        assert list(x.addressable_shards[0].data.shape) == shape, name
        tolerance = {"rtol": 1e-3, "atol": 1e-4} if np.issubdtype(x.dtype, np.floating) else {"rtol": 0, "atol": 0}
        np.testing.assert_allclose(np.asarray(first[name]), np.asarray(x), **tolerance, err_msg=name)
    assert split >= 3


def test_states_of_other_systems_say_what_their_batch_is():
    mesh = make_mesh(2)
    state = jax.eval_shape(d4pg.make(d4pg.Config(n_step=1, **REPLAY))[0], jax.random.key(0))
    places = places_of(state, mesh)
    part = lambda x, place: place.shard_shape(x.shape)[:2]
    assert part(state.recent.s_tm1, places.recent.s_tm1) == (1, 2)
    assert part(state.replay.items.r_t, places.replay.items.r_t) == (16,)
    config = dataclasses.replace(lpg.PRESETS["small"][0], outer="per_agent", num_agents=4, num_envs=2)
    state = jax.eval_shape(lpg.make(config)[0], jax.random.key(0))
    places = places_of(state, mesh)
    assert not any(place.is_fully_replicated for place in jax.tree.leaves((places.opt, places.populations[0].agents)))
    assert all(place.is_fully_replicated for place in jax.tree.leaves((places.eta, places.populations[0].bandit)))


def test_what_does_not_divide_stays_whole_and_large_parameters_are_split_if_asked_for(tmp_path):
    w = np.zeros((512, 3, 513), np.float32)

    def make(config):
        def init(key):
            return {"w": jax.numpy.asarray(w), "small": jax.numpy.zeros(4), "odd": jax.numpy.zeros((1 << 19) + 1)}

        def step(state):
            x = loop.shard_batch(jax.numpy.ones((4, 512)))
            loss = jax.numpy.mean((jax.numpy.tensordot(x, state["w"], 1) - 1.0) ** 2)
            return state | {"w": state["w"] + 0.5}, {"loss": loss}

        return init, step

    config = actor_critic.Config()
    settings = {"steps": 2, "seed": 0, "show": False, "num_devices": 2, "checkpoint_seconds": 1e4}
    whole = loop.run(make, config, directory=tmp_path / "whole", **settings).state
    parts = loop.run(make, config, directory=tmp_path / "parts", shard_parameters=True, **settings).state
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(whole))
    assert parts["w"].addressable_shards[0].data.shape == (256, 3, 513)
    assert all(parts[name].sharding.is_fully_replicated for name in ("small", "odd"))
    np.testing.assert_array_equal(np.asarray(whole["w"]), np.asarray(parts["w"]))
    # A checkpoint says nothing of where its arrays lay.
    settings = {**settings, "steps": 3}
    again = loop.run(make, config, directory=tmp_path / "whole", resume=True, shard_parameters=True, **settings).state
    assert again["w"].addressable_shards[0].data.shape == (256, 3, 513)
    assert float(again["w"][0, 0, 0]) == 1.5
