"""Adapters to brax, Craftax and Jumanji: beside small stand-ins for them, and beside the packages themselves."""

import dataclasses
import importlib.util
import sys
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs
from renga.envs import _brax, _craftax, _import, _jumanji


class Observation(NamedTuple):
    grid: Any
    step_count: Any
    action_mask: Any


class TimeStep(NamedTuple):
    step_type: Any
    reward: Any
    discount: Any
    observation: Any

    def last(self):
        return self.step_type == 2


class Choices:
    """As Jumanji has it: 2 × 3 choices, of which (1, 2) ends the episode; it is cut after `limit` steps."""

    def __init__(self, limit=3):
        self.limit = limit
        self.action_spec = types.SimpleNamespace(num_values=np.array([2, 3]), shape=(2,))

    def _timestep(self, n, action):
        won = jnp.all(action == jnp.array([1, 2]))
        seen = Observation(jnp.full((2, 2), n > 0), n, jnp.array([[True] * 3, [False, True, True]]))
        return TimeStep(jnp.where(won | (n == self.limit), 2, 1), action[1] * 1.0, jnp.where(won, 0.0, 1.0), seen)

    def reset(self, key):
        n = jnp.int32(0)
        return (n, key), self._timestep(n, jnp.zeros(2, jnp.int32))

    def step(self, state, action):
        n = state[0] + 1
        return (n, state[1]), self._timestep(n, action)


class Team(Choices):
    def _timestep(self, n, action):
        return super()._timestep(n, action)._replace(reward=jnp.zeros(3))


class Crowd(Choices):
    """Two agents with three choices each, and a mask for each of them."""

    def __init__(self):
        super().__init__()
        self.action_spec = types.SimpleNamespace(num_values=np.array([3, 3]), shape=(2,))


class Vast(Choices):
    def __init__(self):
        self.action_spec = types.SimpleNamespace(num_values=np.full(9, 9), shape=(9,))


class Counts(Choices):
    def __init__(self):
        self.action_spec = types.SimpleNamespace(shape=(2,), minimum=0, maximum=5, dtype=np.int32)


class BraxState(NamedTuple):
    x: Any
    obs: Any
    reward: Any
    done: Any


class Slider:
    """As brax has it: the action is a velocity; falls off at 2."""

    action_size = 1

    def __init__(self, speed=1.0):
        self.speed = speed

    def reset(self, key):
        return BraxState(jnp.float32(0), jnp.zeros(2), jnp.float32(0), jnp.float32(0))

    def step(self, state, action):
        x = state.x + self.speed * action[0]
        return BraxState(x, jnp.stack([x, action[0]]), x, jnp.where(x > 1.9, 1.0, 0.0))


@dataclasses.dataclass(frozen=True)
class CraftParams:
    max_timesteps: int = 4
    replace = dataclasses.replace


class Mine:
    """As Craftax has it: action 1 is deadly."""

    default_params = CraftParams()

    def action_space(self, params):
        return types.SimpleNamespace(n=2)

    def reset(self, key, params):
        return jnp.zeros(3), types.SimpleNamespace(timestep=0)

    def step(self, key, state, action, params):
        n = state.timestep + 1
        done = (action == 1) | (n >= params.max_timesteps)
        return jnp.full(3, n, jnp.float32), types.SimpleNamespace(timestep=n), jnp.float32(n), done, {}


jax.tree_util.register_pytree_node(
    types.SimpleNamespace, lambda x: ((x.timestep,), None), lambda _, x: types.SimpleNamespace(timestep=x[0])
)


@pytest.fixture(autouse=True)
def stand_ins(request, monkeypatch):
    """The stand-ins in place of the packages, but for tests that take the packages themselves."""
    loaders = [module._load for module in (_brax, _craftax, _jumanji)]
    if "package" not in request.fixturenames:
        worlds = {"Choices-v1": Choices, "Team-v1": Team, "Crowd-v1": Crowd, "Vast-v1": Vast, "Counts-v1": Counts}
        modules = {
            "jumanji": {"registered_environments": lambda: list(worlds), "make": lambda name, **kw: worlds[name](**kw)},
            "brax.envs": {"get_environment": lambda name, **kw: {"slider": Slider}[name](**kw)},
            "craftax.craftax_env": {"make_craftax_env_from_name": lambda name, auto_reset: Mine()},
        }
        for name, members in modules.items():
            monkeypatch.setitem(sys.modules, name.partition(".")[0], types.ModuleType(name.partition(".")[0]))
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
            vars(sys.modules[name]).update(members)
    for load in loaders:
        load.cache_clear()
    yield
    for load in loaders:
        load.cache_clear()


def played(env, actions):
    """The steps of a batch of one, compiled, over the ends of episodes."""
    batch = envs.Batch(env, 1)
    step = jax.jit(lambda state, action: batch.step(jax.random.key(1), state, action[None]))
    state, found = batch.reset(jax.random.key(0)), []
    for action in actions:
        state, after = step(state, jnp.asarray(action))
        found.append(jax.tree.map(lambda x: np.asarray(x[0]), after))
    return state, found


def test_jumanjis_choices_are_one_number_and_its_observation_one_array():
    env = envs.make("jumanji/Choices-v1")
    assert env.action_spec == envs.Discrete(6)
    assert (env.observation_spec.shape, env.observation_spec.dtype) == ((5,), np.float32)
    assert env.has_illegal_actions
    state = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(env.legal_actions(state), [True, True, True, False, True, True])
    np.testing.assert_array_equal(env.observe(state), [0, 0, 0, 0, 0])
    state, step = env.step(jax.random.key(1), state, 1)
    np.testing.assert_array_equal(step.observation, [1, 1, 1, 1, 1])
    assert (step.reward, bool(step.last)) == (1.0, False)


def test_jumanjis_episodes_end_by_a_discount_of_zero_and_are_cut_otherwise():
    state, found = played(envs.make("jumanji/Choices-v1"), [0, 5, 0, 0, 0, 0])
    assert [bool(step.terminated) for step in found] == [False, True, False, False, False, False]
    assert [bool(step.truncated) for step in found] == [False, False, False, False, True, False]
    assert found[4].observation[-1] == 3  # that of the state reached, not of the next episode
    assert int(state.num_episodes[0]) == 2
    _, found = played(envs.make("jumanji/Choices-v1", limit=1), [0])
    assert found[0].truncated


def test_a_body_of_brax_falls_or_is_cut_by_the_time_limit():
    env = envs.make("brax/slider", max_steps=3, speed=0.5)
    assert env.action_spec == envs.Box((1,), -1.0, 1.0)
    _, found = played(env, [[0.5], [1.0], [9.0], [0.0]])  # 9 is clipped under jit
    np.testing.assert_allclose([step.reward for step in found], [0.25, 0.75, 1.25, 0.0])
    assert [(bool(step.terminated), bool(step.truncated)) for step in found] == [
        (False, False), (False, False), (False, True), (False, False)
    ]  # fmt: skip
    _, found = played(envs.make("brax/slider"), [[1.0], [1.0]])
    assert (bool(found[1].terminated), bool(found[1].truncated)) == (True, False)
    env = envs.make("brax/slider")
    with pytest.raises(ValueError, match=r"action must be in \[-1.0, 1.0\]"):
        env.step(jax.random.key(0), env.reset(jax.random.key(0)), jnp.array([2.0]))


def test_an_episode_of_craftax_is_cut_at_its_limit_and_ends_before():
    env = envs.make("craftax/Craftax-Symbolic-v1", max_timesteps=2)
    _, found = played(env, [0, 0, 1])
    ends = [(bool(step.terminated), bool(step.truncated)) for step in found]
    assert ends == [(False, False), (False, True), (True, False)]
    assert [float(step.reward) for step in found] == [1.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("jumanji/Nothing-v1", {}, "Jumanji: name must be .*, got 'Nothing-v1'; there are Choices-v1, .*, Vast-v1"),
        ("jumanji/Choices-v1", {"bound": 1}, "Jumanji: cannot make 'Choices-v1' with {'bound': 1}: "),
        ("jumanji/Team-v1", {}, "must be an environment with one reward, got 'Team-v1', whose several agents have 3"),
        (
            "jumanji/Crowd-v1",
            {},
            "a flag for each action, got 'Crowd-v1' with 6 flags for 9 actions: its agents choose",
        ),
        ("jumanji/Vast-v1", {}, "Vast-v1 must have at most 1048576 combinations of choices, got 387420489"),
        ("jumanji/Counts-v1", {}, "actions of Counts-v1 must be choices or real numbers, got "),
        ("brax/nothing", {}, "Brax: brax has no environment of that name, got 'nothing'"),
        ("brax/slider", {"bound": 1}, "Brax: cannot make 'slider' with {'bound': 1}: "),
        ("craftax/Nothing-v1", {}, "Craftax: name must be .*, got 'Nothing-v1'; there are Craftax-Classic-Pixels-v1, "),
        ("craftax/Craftax-Pixels-v1", {"limit": 1}, "must be among max_timesteps, got limit"),
    ],
)
def test_what_the_packages_do_not_have_is_said(name, options, message):
    with pytest.raises(ValueError, match=message):
        envs.make(name, **options)


@pytest.mark.parametrize("name", ["brax/inverted_pendulum", "craftax/Craftax-Classic-Symbolic-v1", "jumanji/Snake-v1"])
@pytest.mark.parametrize("package", [None])
def test_the_packages_themselves_go_through_the_adapters(name, package):
    """Skipped where a package is not installed: they are no dependencies of the tests."""
    if not importlib.util.find_spec(name.partition("/")[0]):
        pytest.skip("the package is no dependency of the tests")
    env = envs.make(name)
    batch = envs.Batch(env, 2)
    state, step = jax.jit(batch.reset)(jax.random.key(0)), jax.jit(batch.step)
    for _ in range(3):
        action = jnp.zeros((2, *env.action_spec.shape), env.action_spec.dtype)
        state, after = step(jax.random.key(1), state, action)
    assert after.observation.shape == (2, *env.observation_spec.shape)
    assert after.observation.dtype == env.observation_spec.dtype
    assert np.isfinite(after.observation).all()
    assert np.isfinite(after.reward).all()


def test_the_bounds_that_gymnax_makes_in_jax_are_known_inside_of_jit():
    pytest.importorskip("gymnax")
    draw = lambda key: envs.make("gymnax/Reacher-misc").action_spec.sample(key)
    assert jax.jit(draw)(jax.random.key(0)).shape == (2,)


@pytest.mark.parametrize("name", ["gymnax/UmbrellaChain-bsuite", "gymnax/FrozenLake-misc"])
def test_environments_of_gymnax_whose_observations_are_not_of_the_state_are_refused(name):
    with pytest.raises(ValueError, match="Gymnax: observations must be functions of the state, those of"):
        envs.make(name)


def test_arrays_of_a_package_that_is_imported_inside_of_jit_are_of_no_trace(tmp_path, monkeypatch):
    (tmp_path / "makes_arrays.py").write_text("import jax.numpy as jnp\nTWO = jnp.ones(2)")
    monkeypatch.syspath_prepend(tmp_path)
    jax.jit(lambda: _import.import_package("makes_arrays").TWO)()
    assert np.sum(_import.import_package("makes_arrays").TWO) == 2
