"""Environments of Gymnasium step inside compiled programs as they do in a plain loop of Gymnasium's."""

import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs
from renga.envs import _host, _import

gymnasium = pytest.importorskip("gymnasium")

NUM, STEPS = 3, 40
OWN = '''
import gymnasium, numpy as np

class Count(gymnasium.Env):
    """Counts to `end`; then the episode ends, or is cut if `cut`."""

    def __init__(self, end=3, cut=False):
        self.end, self.cut, self.resets = end, cut, 0
        self.observation_space = gymnasium.spaces.Box(-1.0, 99.0, (2,), np.float64)
        self.action_space = gymnasium.spaces.Discrete(3, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.resets = 0, self.resets + 1
        return np.array([self.place, self.resets], np.float64), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.place += 1
        over = self.place == self.end
        seen = np.array([self.place, self.resets], np.float64)
        return seen, float(action), over and not self.cut, over and self.cut, {}


class Turn(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(4, start=-1)
    action_space = gymnasium.spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 5.0]), dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        return np.int64(-1), {}

    def step(self, action):
        assert action in self.action_space, action
        return np.int64(2), action.sum(), False, False, {}


class Pair(Count):
    def __init__(self):
        super().__init__()
        self.action_space = gymnasium.spaces.MultiDiscrete([2, 2])
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_gymnasium.py").write_text(OWN)
    yield "own_gymnasium"
    sys.modules.pop("own_gymnasium", None)


def seeds_of(key, num):
    """The seeds that a batch gives its environments."""
    seed = int(jax.random.bits(key, (), jnp.uint32))
    return (np.random.SeedSequence(seed).generate_state(num) >> 1).tolist()


def test_a_batch_goes_step_by_step_as_gymnasiums_own_loop():
    # Left alone a pole falls after 8 to 10 steps: some episodes end and some are cut.
    batch = envs.Batch(envs.make("gymnasium/CartPole-v1", max_episode_steps=9), NUM)
    assert batch.observation_spec.shape == (4,)
    assert batch.action_spec == envs.Discrete(2)
    actions = np.random.default_rng(0).integers(0, 2, (STEPS, NUM)) | (np.arange(STEPS) % 25 < 12)[:, None]

    @jax.jit
    def play(key, actions):
        def step(state, action):
            before = batch.observe(state)
            state, step = batch.step(key, state, action)
            return state, (before, step, batch.observe(state))

        return jax.lax.scan(step, batch.reset(key), actions)

    key = jax.random.key(3)
    state, (before, step, after) = jax.device_get(play(key, jnp.asarray(actions, jnp.int32)))
    ends = cuts = 0
    for lane, seed in enumerate(seeds_of(key, NUM)):
        theirs, total, length = gymnasium.make("CartPole-v1", max_episode_steps=9), 0.0, 0
        seen, finished = theirs.reset(seed=seed)[0], [(0.0, 0)]
        for i in range(STEPS):
            np.testing.assert_array_equal(before[i, lane], seen)
            seen, reward, terminated, truncated, _ = theirs.step(actions[i, lane])
            total, length = total + reward, length + 1
            np.testing.assert_array_equal(step.observation[i, lane], seen)
            got = step.reward[i, lane], step.terminated[i, lane], step.truncated[i, lane]
            assert got == (reward, terminated, truncated)
            ends, cuts = ends + terminated, cuts + (truncated and not terminated)
            if terminated or truncated:
                seen = theirs.reset()[0]
                finished.append((total, length))
                total, length = 0.0, 0
            np.testing.assert_array_equal(after[i, lane], seen)
        counted = state.last_return[lane], state.last_length[lane], state.num_episodes[lane]
        assert counted == (*finished[-1], len(finished) - 1)
        assert (state.episode_return[lane], state.episode_length[lane]) == (total, length)
    assert ends
    assert cuts


def test_a_world_of_ones_own_has_its_types_in_32_bits_and_numbers_from_0(own):
    env = envs.make(f"{own}:Count", end=2, cut=True)
    assert env.observation_spec == envs.Box((2,), -1.0, 99.0)
    assert env.action_spec == envs.Discrete(3)
    with jax.enable_x64(True):
        batch = envs.Batch(env, 2)
        state = batch.reset(jax.random.key(0))
        for seen, final, cut in (([1, 1], [1, 1], False), ([0, 2], [2, 1], True), ([1, 2], [1, 2], False)):
            state, step = batch.step(jax.random.key(0), state, jnp.array([0, 2]))
            np.testing.assert_array_equal(step.observation, [final] * 2)
            np.testing.assert_array_equal(batch.observe(state), [seen] * 2)
            np.testing.assert_array_equal(step.reward, [1, 3])
            assert (step.truncated == cut).all()
            assert not step.terminated.any()
        assert not any(x.dtype.itemsize > 4 for x in jax.tree.leaves((state, step)))
    np.testing.assert_array_equal(batch.legal_actions(state), np.ones((2, 3)))

    turn = envs.make(f"{own}:Turn")
    assert turn.observation_spec == envs.Discrete(4)
    assert turn.action_spec == envs.Box((2,), (-1.0, 0.0), (1.0, 5.0))
    batch = envs.Batch(turn, 2)
    state = batch.reset(jax.random.key(0))
    np.testing.assert_array_equal(batch.observe(state), [0, 0])
    state, step = jax.jit(batch.step)(jax.random.key(0), state, jnp.array([[9.0, 9.0], [-9.0, -9.0]]))
    np.testing.assert_array_equal(step.reward, [6.0, -1.0])
    np.testing.assert_array_equal(step.observation, [3, 3])
    with pytest.raises(Exception, match=r"Gymnasium\.step: action must be in .*nan"):
        jax.block_until_ready(batch.step(jax.random.key(0), state, jnp.full((2, 2), jnp.nan)))
    with pytest.raises(ValueError, match=r"Gymnasium\.step: action must be in \["):
        turn.step(jax.random.key(0), turn.reset(jax.random.key(0)), np.array([2.0, 0.0]))


def test_integers_of_64_bits_that_do_not_fit_are_refused_when_they_come():
    def world():
        made = gymnasium.Env()
        made.observation_space = gymnasium.spaces.Box(0, 2**62, (2,), np.int64)
        made.action_space = gymnasium.spaces.Discrete(2)
        made.reset = lambda *, seed=None, options=None: (np.array([first, 0]), {})
        return made

    env = envs.Gymnasium("large", factory=world)
    assert np.max(env.observation_spec.high) == np.iinfo(np.int32).max
    first = 300
    assert env.observe(env.reset(jax.random.key(0))).tolist() == [300, 0]
    first = 3_000_000_000
    with pytest.raises(Exception, match=r"observations must fit in int32, got some in \[0, 3000000000\]"):
        jax.block_until_ready(env.reset(jax.random.key(0)))


def test_one_environment_goes_on_by_itself_or_with_auto_reset(own):
    env = envs.make(f"{own}:Count", end=2)
    state = env.reset(jax.random.key(0))
    for end in (False, True):
        state, step = env.step(jax.random.key(0), state, 1)
        assert (bool(step.terminated), float(step.reward)) == (end, 2.0)
    np.testing.assert_array_equal(env.observe(state), [2, 1])
    auto = envs.AutoReset(env)
    state = auto.reset(jax.random.key(0))
    for _ in range(3):
        state, step = jax.jit(auto.step)(jax.random.key(0), state, 1)
    np.testing.assert_array_equal(auto.observe(state), [1, 2])
    assert (float(state.last_return), int(state.num_episodes), step.reward.shape) == (4.0, 1, ())


def test_a_state_that_is_not_its_worlds_latest_cuts_its_episodes_and_says_so_once(own, monkeypatch):
    worlds = _host.Worlds()
    monkeypatch.setattr("renga.envs._gymnasium.WORLDS", worlds)
    batch, key, action = envs.Batch(envs.make(f"{own}:Count", end=5), 2), jax.random.key(0), jnp.array([0, 1])
    step_fn = jax.jit(batch.step)
    state, _ = step_fn(key, batch.reset(key), action)
    saved = jax.device_get(state)
    worlds.end(saved.state.world)  # as in a new process
    with pytest.warns(RuntimeWarning, match="does not hold the world itself, which cannot be saved"):
        state, step = jax.block_until_ready(step_fn(key, saved, action))
    for _ in range(2):
        assert step.truncated.all()
        assert not step.terminated.any()
        np.testing.assert_array_equal(step.reward, [0, 0])
        np.testing.assert_array_equal(step.observation, saved.state.observation)
        np.testing.assert_array_equal(batch.observe(state), [[0, 1]] * 2)
        np.testing.assert_array_equal(state.last_return, [1, 2])
        # A second step of the same state: its world has gone on since.
        state, step = step_fn(key, saved, action)
    state, step = step_fn(key, state, action)
    assert not step.last.any()
    np.testing.assert_array_equal(step.observation, [[1, 1]] * 2)
    assert len(worlds) == 1


def test_whole_episodes_are_played_and_their_world_is_closed(own):
    env, before = envs.make(f"{own}:Count", end=4), len(_host.WORLDS)
    act = lambda key, seen, memory: (seen[:, 0].astype(jnp.int32) % 3, memory)
    returns = jax.jit(lambda key: envs.episode_returns(env, act, key, 3, legal_actions=False))(jax.random.key(0))
    np.testing.assert_array_equal(returns, [1 + 2 + 3 + 1] * 3)
    jax.effects_barrier()
    assert len(_host.WORLDS) == before


def test_worlds_that_were_not_used_for_long_are_closed(own, monkeypatch):
    worlds = _host.Worlds()
    monkeypatch.setattr("renga.envs._gymnasium.WORLDS", worlds)
    monkeypatch.setattr(_host, "MOST", 2)
    env, key = envs.make(f"{own}:Count"), jax.random.key(0)
    states = [envs.Batch(env, 1).reset(key) for _ in range(3)]
    numbers = [int(jax.block_until_ready(state).state.world[0]) for state in states]
    assert [worlds.find(number, 0) is not None for number in numbers] == [False, True, True]


def test_batches_under_vmap_and_on_a_mesh_each_have_their_world(own):
    batch, key = envs.Batch(envs.make(f"{own}:Count", end=3), 2), jax.random.key(0)
    states = jax.jit(jax.vmap(batch.reset))(jax.random.split(key, 2))
    assert states.state.world[0, 0] != states.state.world[1, 0]
    actions = jnp.array([[0, 1], [2, 2]])
    for _ in range(3):
        states, step = jax.jit(jax.vmap(batch.step))(jax.random.split(key, 2), states, actions)
    np.testing.assert_array_equal(step.reward, [[1, 2], [3, 3]])
    assert step.terminated.all()
    np.testing.assert_array_equal(states.last_return, [[3, 6], [9, 9]])

    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("batch",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    state = jax.device_put(batch.reset(key), split)

    @jax.jit
    def play(state):
        return jax.lax.scan(lambda s, _: batch.step(key, s, jnp.array([0, 1])), state, None, 4)

    state, step = play(state)
    np.testing.assert_array_equal(step.reward, [[1, 2]] * 4)
    np.testing.assert_array_equal(step.observation[:, 0, 0], [1, 2, 3, 1])


def test_a_world_shared_by_processes_is_refused(own, monkeypatch):
    env = envs.make(f"{own}:Count")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(Exception, match="Gymnasium: a world on the host belongs to one process"):
        jax.block_until_ready(envs.Batch(env, 2).reset(jax.random.key(0)))


def test_what_cannot_be_made_is_said_in_one_line(own, monkeypatch, unchecked):
    for name, options, error, message in [
        ("gymnasium/Nothing-v0", {}, ValueError, "Gymnasium: cannot make 'Nothing-v0': .*Nothing"),
        ("gymnasium/CartPole-v1", {"size": 3}, ValueError, "Gymnasium: cannot make 'CartPole-v1': .*size"),
        ("gymnasium/CartPole-v1", {"sizes": [3]}, TypeError, "Gymnasium: options must be hashable"),
        ("gymnasium/CartPole-v1", {"vectorization": "most"}, ValueError, "Gymnasium: vectorization must be sync"),
        ("gymnasium/CartPole-v1", {"vectorization": "own"}, ValueError, 'SAME_STEP.; vectorization="sync" does for'),
        (f"{own}:Pair", {}, TypeError, "Gymnasium: actions of own_gymnasium:Pair must be Discrete, Box or Multi"),
        ("builtins:dict", {}, TypeError, "must make a renga.envs.Environment or a gymnasium.Env, got dict"),
    ]:
        with pytest.raises(error, match=message) as caught:
            envs.make(name, **options)
        assert "\n" not in str(caught.value)
    missing = lambda name: (_ for _ in ()).throw(ModuleNotFoundError(name, name=name))
    monkeypatch.setattr(_import.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"needs the package gymnasium: pip install 'renga\[envs\]'"):
        envs.make("gymnasium/CartPole-v1", max_episode_steps=77)


def test_a_world_shows_its_latest_state(own):
    pytest.importorskip("pygame")
    env = envs.make("gymnasium/CartPole-v1", render_mode="rgb_array")
    state = env.reset(jax.random.key(0))
    picture = env.draw(state)
    assert picture.shape[-1] == 3
    for _ in range(5):
        state, _ = env.step(jax.random.key(0), state, 1)
    assert not np.array_equal(env.draw(state), picture)
    with pytest.raises(ValueError, match=r"Gymnasium\.draw: the world must be made with render_mode"):
        env.draw(state._replace(clock=state.clock - 1))


def test_an_agent_learns_on_it_as_on_any_other():
    from renga.systems import actor_critic

    config = actor_critic.Config(
        env="gymnasium/CartPole-v1", num_envs=2, rollout_length=8, minibatches=1, epochs=1, units=(8,)
    )
    init, step = actor_critic.make(config)
    state, step_fn = jax.jit(init)(jax.random.key(0)), jax.jit(step)
    for _ in range(3):
        state, metrics = step_fn(state)
    assert np.isfinite(metrics["gradient_norm"])
    assert int(state.env.state.clock[0]) == 24


def test_a_lander_and_an_atari_game_run():
    pytest.importorskip("Box2D")
    pytest.importorskip("ale_py")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        lander = envs.make("gymnasium/LunarLander-v3")
        pong = envs.make("gymnasium/ALE/Pong-v5", frameskip=4, max_num_frames_per_episode=40)
    assert (lander.observation_spec.shape, lander.action_spec) == ((8,), envs.Discrete(4))
    assert pong.observation_spec == envs.Box((84, 84, 4), 0.0, 255.0, np.dtype(np.uint8))
    batch = envs.Batch(pong, 2)
    cut = 0
    state = batch.reset(jax.random.key(0))
    for _ in range(12):
        state, step = batch.step(jax.random.key(0), state, jnp.zeros(2, jnp.int32))
        assert step.observation.shape == batch.observe(state).shape == (2, 84, 84, 4)
        cut += int(step.truncated.sum())
        going_on = ~np.asarray(step.last)
        np.testing.assert_array_equal(step.observation[going_on], batch.observe(state)[going_on])
    assert cut >= 2
    batch = envs.Batch(lander, 2)
    state, step = batch.step(jax.random.key(0), batch.reset(jax.random.key(0)), jnp.zeros(2, jnp.int32))
    assert step.observation.dtype == jnp.float32


def test_nothing_of_gymnasium_is_imported_before_it_is_asked_for():
    code = "import sys, renga.envs; assert 'gymnasium' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
