"""2048, beside plain Python, beside pgx, and turned around."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs

ENV = envs.Game2048()
LEGAL, AFTER = jax.jit(jax.vmap(ENV.legal_actions)), jax.jit(jax.vmap(ENV.afterstate))
AFTERSTATE, RESOLVE = jax.jit(ENV.afterstate), jax.jit(ENV.resolve)


def boards(num, seed=0):
    """Boards with few kinds of tiles, so that many merge, and full ones of many kinds, on which little moves."""
    rng = np.random.default_rng(seed)
    few, many = rng.integers(0, 4, (num // 2, 4, 4)), rng.integers(1, 18, (num - num // 2, 4, 4))
    return np.concatenate([few, many]).astype(np.int32)


def slid_left(row):
    """What a row becomes, and the reward."""
    tiles, out, reward = [x for x in row if x], [], 0
    while tiles:
        tile = tiles.pop(0)
        if tiles and tiles[0] == tile:
            tiles.pop(0)
            tile += 1
            reward += 2**tile
        out.append(tile)
    return out + [0] * (4 - len(out)), reward


def slid(board, action):
    turned = np.rot90(board, action)  # up is left after a quarter, and so on
    rows = [slid_left(row) for row in turned.tolist()]
    return np.rot90(np.array([row for row, _ in rows]), -action), sum(reward for _, reward in rows)


def test_tiles_slide_and_merge_as_in_plain_python():
    x = boards(60)
    may = np.asarray(LEGAL(envs.Game2048State(x)))
    for action in range(4):
        after, reward = AFTER(envs.Game2048State(x), np.full(60, action))
        expected = [slid(board, action) for board in x]
        np.testing.assert_array_equal(after.board, [board for board, _ in expected])
        np.testing.assert_array_equal(reward, [gained for _, gained in expected])
        np.testing.assert_array_equal(after.legal, (np.asarray(after.board) != x).any((1, 2)))
        np.testing.assert_array_equal(after.legal, may[:, action])
    assert 0.2 < may.mean() < 0.99


def test_chance_adds_a_2_or_a_4_at_any_empty_place():
    board = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 11], [12, 13, 14, 15]], np.int32)
    state = envs.Game2048State(jnp.asarray(board))
    after, _ = AFTERSTATE(state, 0)
    probs = np.asarray(jax.jit(ENV.outcomes)(after))
    at = [3, 11]  # both gaps close
    np.testing.assert_allclose(probs[at], 0.45, rtol=1e-6)
    np.testing.assert_allclose(probs[[16 + i for i in at]], 0.05, rtol=1e-6)
    np.testing.assert_allclose(probs.sum(), 1, rtol=1e-6)
    resolved = [np.asarray(RESOLVE(after, c)[0].board) for c in (3, 27)]
    changed = np.stack(resolved) - np.asarray(after.board)
    assert changed[0, 0, 3] == 1
    assert changed[1, 2, 3] == 2
    assert np.abs(changed).sum() == 3
    # `step` draws from these outcomes.
    many = jax.jit(lambda key: jax.vmap(lambda key: ENV.step(key, state, 0))(jax.random.split(key, 4_000)))
    stepped, step = many(jax.random.key(0))
    put = np.asarray(stepped.board) - np.asarray(after.board)
    frequencies = [(put[:, *place] == kind).mean() for place in ((0, 3), (2, 3)) for kind in (1, 2)]
    np.testing.assert_allclose(frequencies, [0.45, 0.05, 0.45, 0.05], atol=0.03)
    assert not step.terminated.any()


def test_what_is_not_legal_ends_the_game_and_so_does_a_board_that_is_stuck():
    state = envs.Game2048State(jnp.asarray([[1, 2, 3, 4]] + [[0] * 4] * 3, jnp.int32))
    play = jax.jit(ENV.step)
    for action, ends in ((0, True), (1, True), (2, True), (3, False)):
        after, step = play(jax.random.key(0), state, action)
        assert bool(step.terminated) is ends
        assert bool((after.board == state.board).all()) is ends
    stuck = np.array([[1, 2, 1, 2], [2, 1, 2, 1], [1, 2, 1, 2], [2, 1, 3, 4]], np.int32)
    nearly = stuck.copy()
    nearly[3] = [1, 3, 4, 0]  # slides to the right; what comes to the first place decides
    after, _ = AFTERSTATE(envs.Game2048State(jnp.asarray(nearly)), 2)
    ends = [bool(RESOLVE(after, c)[1].terminated) for c in (12, 28)]
    assert ends == [False, True]


def test_the_game_is_that_of_pgx(rank_promotion):
    pgx = pytest.importorskip("pgx")
    theirs, key = pgx.make("2048"), jax.random.key(0)
    num = 64
    board = lambda state: jnp.argmax(state.observation, -1).astype(jnp.int32)

    @jax.jit
    def go_on(state, key):
        key_action, key_step = jax.random.split(key)
        before = envs.Game2048State(board(state))
        may = LEGAL(before)
        action = jax.random.categorical(key_action, jnp.where(may, 0.0, -jnp.inf)).astype(jnp.int32)
        new = jax.vmap(theirs.step)(state, action, jax.random.split(key_step, num))
        after, reward = AFTER(before, action)
        stuck = ~LEGAL(envs.Game2048State(board(new))).any(1)
        seen = may, state.legal_action_mask, after.board, board(new), reward, new.rewards[:, 0], stuck, new.terminated
        return new, seen

    state = jax.jit(jax.vmap(theirs.init))(jax.random.split(key, num))
    assert ((np.asarray(state.observation).argmax(-1) > 0).sum((1, 2)) == 2).all()
    _, seen = jax.lax.scan(go_on, state, jax.random.split(key, 200))
    ended = np.zeros(num, bool)
    for row in zip(*map(np.asarray, seen), strict=True):
        may, legal, after, new, reward, rewards, stuck, over = (x[~ended] for x in row)
        np.testing.assert_array_equal(may, legal)
        added = new - after
        assert np.isin(added.sum((1, 2)), (1, 2)).all()
        assert ((added > 0).sum((1, 2)) == 1).all()
        assert (added >= 0).all()
        np.testing.assert_array_equal(reward, rewards)
        np.testing.assert_array_equal(over, stuck)
        ended[~ended] = over
    assert ended.sum() > num // 2


def test_a_board_that_is_turned_around_is_the_same_game():
    places, becomes = ENV.symmetries
    assert len({way.tobytes() for way in becomes}) == 8
    np.testing.assert_array_equal(places[0], np.arange(288))
    np.testing.assert_array_equal(becomes[0], np.arange(4))
    x = boards(6, seed=1)
    observe = jax.jit(jax.vmap(ENV.observe))
    seen = lambda board: np.asarray(observe(envs.Game2048State(board)))
    back = lambda flat: flat.reshape(-1, 4, 4, 18).argmax(-1).astype(np.int32)
    for way in range(8):
        turned = back(seen(x).reshape(6, -1)[:, places[way]])
        for action in range(4):
            after, reward = AFTER(envs.Game2048State(x), np.full(6, action))
            image, same = AFTER(envs.Game2048State(turned), np.full(6, becomes[way, action]))
            np.testing.assert_array_equal(back(seen(after.board).reshape(6, -1)[:, places[way]]), image.board)
            np.testing.assert_array_equal(reward, same)


def test_worlds_that_list_no_outcomes_say_so():
    cart = envs.make("cartpole")
    assert cart.num_outcomes == 0
    for call in (lambda: cart.afterstate(None, 0), lambda: cart.outcomes(None), lambda: cart.resolve(None, 0)):
        with pytest.raises(NotImplementedError, match="this environment lists no outcomes of chance"):
            call()
