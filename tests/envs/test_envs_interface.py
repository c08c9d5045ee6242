"""Every environment keeps the interface: it resets, steps, obeys its specs, and depends on its keys alone."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs

# Other worlds and chains are the same program with other numbers, and are played beside a reference in their own tests.
LIKE_OTHERS = ("grid/", "chain/")
OWN = ["chain/distraction", "chain/long_noisy", "grid/all", "grid/dense", "grid/random_small"]
# These are played in tests of their own, and their types are held in `test_types.py`.
ALONE = ("acrobot", "cartpole_", "deep_sea", "memory_chain", "mountain_car", "reacher")
OWN += [name for name in envs.names() if not name.startswith((*LIKE_OTHERS, *ALONE))]
PLAYED = [*OWN, "gymnax/Breakout-MinAtar", "gymnax/MountainCar-v0", "gymnax/Pendulum-v1", "pgx/tic_tac_toe"]
# These take long to compile: their specs only.
LOOKED_AT = [
    *(name for name in envs.names() if name not in OWN and not name.startswith(ALONE)),
    *(f"gymnax/{name}-MinAtar" for name in ("Asterix", "Freeway", "Seaquest", "SpaceInvaders")),
    *(f"gymnax/{name}" for name in ("Acrobot-v1", "CartPole-v1", "Catch-bsuite", "MountainCarContinuous-v0")),
    *(f"pgx/{name}" for name in ("connect_four", "go_9x9", "kuhn_poker", "minatar-breakout", "minatar-seaquest")),
]


def random_action(key, spec, num):
    if isinstance(spec, envs.Discrete):
        return jax.random.randint(key, (num,), 0, spec.num)
    return jax.random.uniform(key, (num, *spec.shape), minval=spec.low, maxval=spec.high)


@pytest.mark.parametrize("name", PLAYED)
def test_an_environment_resets_steps_and_obeys_its_specs(name, rank_promotion):
    env = envs.make(name)
    batch = envs.Batch(env, 3)

    @jax.jit
    def play(key):
        key_reset, key_actions = jax.random.split(key)
        start = batch.reset(key_reset)

        def step(state, key):
            key_action, key_step = jax.random.split(key)
            action = random_action(key_action, env.action_spec, 3)
            state, step = batch.step(key_step, state, action)
            return state, (step, batch.observe(state), action)

        return start, *jax.lax.scan(step, start, jax.random.split(key_actions, 40))

    start, state, (step, seen, action) = play(jax.random.key(0))
    for observation in (step.observation, seen):
        assert all(
            env.observation_spec.contains(x) for x in np.asarray(observation).reshape(-1, *env.observation_spec.shape)
        )
    assert all(env.action_spec.contains(x) for x in np.asarray(action).reshape(-1, *env.action_spec.shape))
    assert step.reward.dtype == jnp.float32
    assert step.terminated.dtype == step.truncated.dtype == bool
    assert step.reward.shape == step.terminated.shape == step.truncated.shape == (40, 3)
    # The state keeps its type, so that it can be carried by a loop, and an episode goes on where nothing ended it.
    assert jax.tree.map(jnp.shape, start) == jax.tree.map(jnp.shape, state)
    going_on = np.asarray(~step.last)
    np.testing.assert_allclose(np.asarray(step.observation)[going_on], np.asarray(seen)[going_on], rtol=1e-5)
    np.testing.assert_array_equal(state.num_episodes, step.last.sum(axis=0))
    # The same key gives the same, another one something else.
    again, other = play(jax.random.key(0)), play(jax.random.key(1))
    same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), (start, step), (again[0], again[2][0]))
    assert all(jax.tree.leaves(same))
    assert not np.array_equal(action, other[2][2])
    if isinstance(env.action_spec, envs.Discrete):
        assert batch.legal_actions(state).shape == (3, env.action_spec.num)


@pytest.mark.parametrize("name", LOOKED_AT)
def test_an_environment_of_another_package_has_the_specs_it_says(name, rank_promotion):
    env = envs.make(name)
    state = jax.eval_shape(env.reset, jax.random.key(0))
    after, step = jax.eval_shape(
        env.step, jax.random.key(0), state, jnp.zeros(env.action_spec.shape, env.action_spec.dtype)
    )
    assert jax.tree.structure(state) == jax.tree.structure(after)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(state)] == [(x.shape, x.dtype) for x in jax.tree.leaves(after)]
    assert step.observation.shape == env.observation_spec.shape
    assert step.observation.dtype == env.observation_spec.dtype


def test_an_episode_that_is_over_hands_out_its_last_observation_and_goes_on_with_the_next():
    env = envs.AutoReset(envs.Catch(rows=3, columns=3))
    state = env.reset(jax.random.key(0))
    for i in range(2):
        state, step = env.step(jax.random.key(i), state, 1)
    assert step.terminated
    assert step.observation[-1].sum() >= 1
    assert step.observation[0].sum() == 0
    assert env.observe(state)[0].sum() == 1, "the next ball is in the first row"
    assert state.episode_return == 0
    assert state.last_return == step.reward
    assert state.last_length == 2


def test_a_cut_is_no_end():
    env = envs.CartPole(max_steps=2)
    state = env.reset(jax.random.key(0))
    for i in range(2):
        state, step = env.step(jax.random.key(i), state, i)
    assert step.truncated
    assert not step.terminated
    assert step.last


def test_names_and_options_that_are_not_known_are_said(unchecked):
    lists = r" `renga list --envs` lists all names"
    for name, said in {
        "pong": "." + lists,
        "cath": r"; did you mean catch\?" + lists,
        " catch": r"; did you mean catch\?" + lists,
        "CartPole-v1": r"; did you mean gymnasium/CartPole-v1 or cartpole\?" + lists,
        "ALE/Pong-v5": r"; did you mean gymnasium/ALE/Pong-v5\?" + lists,
        "Breakout-MinAtar": r"; did you mean gymnax/Breakout-MinAtar or breakout\?" + lists,
        "chess": r"; did you mean pgx/chess\?" + lists,
        "grid/denses": r"; did you mean grid/dense or .*\?" + lists,
    }.items():
        with pytest.raises(ValueError, match=f"make: name must be that of an environment, got {name!r}{said}$"):
            envs.make(name)
    with pytest.raises(ValueError, match="Pgx: name must be that of an environment, got 'nothing'; there are 2048, "):
        envs.make("pgx/nothing")
    with pytest.raises(TypeError, match="make: name must be a str, got a Catch"):
        envs.make(envs.Catch())


def test_what_is_no_random_key_is_said(unchecked):
    """Where it would be used; an environment that draws nothing takes anything."""
    catch, board = envs.Catch(), envs.Game2048()
    said = "key must be a random key such as jax.random.key(0), got "
    for method, args, message in (
        (catch.reset, (0,), f"Catch.reset: {said}0"),
        (catch.reset, (jnp.zeros(3),), f"Catch.reset: {said}float32 of shape (3,)"),
        (envs.Batch(catch, 2).reset, (None,), f"Batch.reset: {said}None"),
        (envs.AutoReset(catch).reset, (1,), f"Catch.reset: {said}1"),
        (board.step, (0, board.reset(jax.random.key(0)), 1), f"Game2048.step: {said}0"),
    ):
        with pytest.raises(TypeError, match=re.escape(message)):
            method(*args)
    assert envs.make("chain/short").reset(0).time == 0


def test_names_and_options_that_gymnax_does_not_know_are_said(unchecked):
    pytest.importorskip("gymnax")
    with pytest.raises(ValueError, match="Gymnax: name must be that of an environment, .*did you mean 'CartPole-v1'"):
        envs.make("gymnax/Cartpole")
    with pytest.raises(ValueError, match="options of CartPole-v1 must be among .*gravity"):
        envs.make("gymnax/CartPole-v1", gravitas=1.0)
    with pytest.raises(ValueError, match="num_actions: Gymnax must have discrete actions"):
        envs.num_actions(envs.make("gymnax/Pendulum-v1"))


def test_players_take_turns_and_rewards_are_those_of_the_one_who_moved():
    env = envs.make("pgx/tic_tac_toe")
    state = env.reset(jax.random.key(3))
    first = int(env.to_play(state))
    step_fn = jax.jit(env.step)
    for i, action in enumerate([0, 3, 1, 4, 2]):  # the first player fills the first row
        assert int(env.to_play(state)) == (first + i) % 2
        assert bool(env.legal_actions(state)[action])
        state, step = step_fn(jax.random.key(0), state, action)
        assert not bool(env.legal_actions(state)[action]) or bool(step.terminated)
    assert step.terminated
    assert step.reward == 1.0


def test_a_batch_of_different_carts_is_one_environment():
    carts = jax.tree.map(lambda *x: jnp.stack(x), envs.CartPole(), envs.CartPole(gravity=1.6))

    @jax.jit
    @jax.vmap
    def fall(cart):
        state = cart.reset(jax.random.key(0))
        return jax.lax.fori_loop(0, 9, lambda i, s: cart.step(jax.random.key(0), s, 1)[0], state).theta

    on_earth, on_the_moon = fall(carts)
    assert abs(on_earth) > abs(on_the_moon) > 0


@pytest.mark.parametrize(
    "name", ["breakout", "catch", "cartpole", "chain/short", "grid/dense", "gymnax/CartPole-v1", "pgx/tic_tac_toe"]
)
def test_actions_out_of_range_are_refused(name):
    env = envs.make(name)
    state = env.reset(jax.random.key(0))
    for bad in (-1, envs.num_actions(env)):
        with pytest.raises(ValueError, match=r"step: action must be in \[0, \d+\]"):
            env.step(jax.random.key(1), state, bad)


def test_traced_actions_out_of_range_stay_within_bounds():
    env = envs.Catch(rows=4, columns=9)
    state = env.reset(jax.random.key(0))
    moved = jax.vmap(lambda action: env.step(jax.random.key(1), state, action)[0].paddle)(jnp.array([-9, 0, 1, 2, 9]))
    np.testing.assert_array_equal(moved, [3, 3, 4, 5, 5])


def test_games_say_how_many_play():
    assert envs.Catch().num_players == envs.make("pgx/minatar-breakout").num_players == 1
    assert envs.AutoReset(envs.make("pgx/tic_tac_toe")).num_players == 2


@pytest.mark.parametrize("name", ["tic_tac_toe", "connect_four", "othello", "go_9x9"])
def test_a_game_that_is_turned_around_is_the_same_game(name, rank_promotion):
    pytest.importorskip("pgx")
    env = envs.make(name)
    ways, spec = env.symmetries, env.observation_spec
    assert len(ways.action) == {"connect_four": 2, "othello": 4}.get(name, 8)
    assert len({way.tobytes() for way in ways.action}) == len(ways.action)
    key, moves = jax.random.key(0), 7
    step, rng = jax.jit(jax.vmap(env.step, (None, 0, 0))), np.random.default_rng(0)
    states = jax.tree.map(lambda x: jnp.stack([x] * len(ways.action)), env.reset(key))  # one game for each way
    for _ in range(moves):
        action = rng.choice(np.flatnonzero(np.asarray(env.legal_actions(jax.tree.map(lambda x: x[0], states)))))
        states, out = step(key, states, jnp.asarray(ways.action[:, action], jnp.int32))
        seen = np.asarray(out.observation).reshape(len(ways.action), -1)
        legal = np.asarray(jax.vmap(env.legal_actions)(states))
        for turned, may, places, becomes in zip(seen, legal, *ways, strict=True):
            np.testing.assert_array_equal(turned, seen[0][places])
            np.testing.assert_array_equal(may[becomes], legal[0])
    assert spec.contains(np.asarray(out.observation)[0])


def test_an_environment_of_ones_own_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_world.py").write_text("from renga.envs import Catch\nsmall = lambda: Catch(rows=4)\nnone = 3\n")
    (tmp_path / "own_broken.py").write_text("import a_package_that_is_not_there\n")
    assert envs.make("own_world:small").observation_spec.shape == (4, 5)
    assert envs.make("own_world:Catch", rows=7).observation_spec.shape == (7, 5)
    for name, error, message in [
        ("own_other:World", ValueError, "there is no module 'own_other'"),
        ("own_world:World", ValueError, "own_world must have a class or function 'World'"),
        ("own_world:none", ValueError, "own_world must have a class or function 'none'"),
        ("builtins:dict", TypeError, "builtins:dict must make a renga.envs.Environment or a gymnasium.Env, got dict"),
        ("own_broken:World", ModuleNotFoundError, "a_package_that_is_not_there"),
    ]:
        with pytest.raises(error, match=message):
            envs.make(name)
