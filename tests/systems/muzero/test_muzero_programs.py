"""Players that are programs of others: what they are told, and what their answers mean."""

import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs
from renga.loop import RunError, SettingError
from renga.systems.muzero import _judging, _opponents, _programs
from renga.systems.muzero._match import match, openings

pytest.importorskip("pgx")
HAS = {name: shutil.which(name) or shutil.which(f"/usr/games/{name}") for name in ("gnugo", "gnubg")}


@pytest.fixture(autouse=True)
def _as_pgx_needs():
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def go():
    return envs.make("pgx/go_9x9")


@pytest.fixture(scope="module")
def backgammon():
    return envs.make("pgx/backgammon")


class Spoken(_programs.Program):
    """Answers commands of the protocol from a list, and keeps what it was told."""

    def __init__(self, **answers):
        self.told, self._answers, self._last = [], answers, ""

    def say(self, line):
        self.told.append(line)
        self._last = line.split()[0]

    def lines(self):
        yield from (f"= {self._answers.get(self._last, '')}", "")


def _after(env, moves):
    step, state = jax.jit(env.step), env.reset(jax.random.key(0))
    for move in moves:
        state, _ = step(jax.random.key(0), state, move)
    return np.asarray(env.observe(state)), np.asarray(env.legal_actions(state))


def test_gnugo_is_told_the_board_before_the_last_move_and_that_move(go):
    program = Spoken(genmove="A9")
    # Black takes the upper left corner's stone: A8 and B9 around White's at A9.
    seen = _after(go, [9, 0, 1])
    assert _programs._go_move(program, *seen, seed=3) == 81, "A9 would be suicide; nothing else is named"
    assert program.told == [
        "clear_board",
        "set_random_seed 3",
        "play white A9",
        "play black A8",
        "play black B9",
        "genmove white",
        "undo",
        "top_moves_white",
    ]


def test_gnugo_is_told_of_a_pass_and_of_nothing_on_an_empty_board(go):
    program = Spoken(genmove="J1")
    assert _programs._go_move(program, *_after(go, []), seed=0) == 80
    assert program.told == ["clear_board", "set_random_seed 0", "genmove black"]
    program = Spoken(genmove="PASS")
    assert _programs._go_move(program, *_after(go, [81]), seed=0) == 81
    assert program.told[2:] == ["play black pass", "genmove white"]
    program = Spoken(genmove="E5")
    assert _programs._go_move(program, *_after(go, [0, 81]), seed=0) == 40
    assert program.told[2:] == ["play black A9", "play white pass", "genmove black"]


def test_the_next_best_move_that_is_legal_is_made_where_the_best_is_not(go):
    program = Spoken(genmove="A9", top_moves_white="A9 20.5 B9 7.0 C9 6.5")
    assert _programs._go_move(program, *_after(go, [0]), seed=0) == 1


def test_places_of_all_boards_have_names_and_come_back():
    for size in (9, 19):
        for place in range(size * size):
            assert _programs._place(_programs._vertex(*divmod(place, size), size), size) == place


def test_men_move_as_in_pgx(backgammon):
    """The first moves of all plays are pgx's legal moves of one man, but those that would waste a die."""
    env, count = backgammon, 16
    step = jax.jit(jax.vmap(env.step))
    random = _opponents.random_player(env)
    states = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(1), count))
    look = jax.jit(jax.vmap(lambda state: (env.observe(state), env.legal_actions(state))))
    key, seen = jax.random.key(2), 0
    for _ in range(60):
        observations, legal = look(states)
        for x, allowed in zip(np.asarray(observations), np.asarray(legal), strict=True):
            own, other, dice = _programs.sides(x)
            one = {a for die in set(dice) for a, *_ in _programs._moves(own, other, die)}
            assert one == set(np.flatnonzero(allowed)) or (not one and np.flatnonzero(allowed).max() < 6)
            assert set(_programs.plays(own, other, dice)) <= one
            seen += len(one) > 0
        key, key_move, key_step = jax.random.split(key, 3)
        states, out = step(jax.random.split(key_step, count), states, random(key_move, states))
        if bool(out.last.any()):
            break
    assert seen > 500


def test_a_turn_uses_all_dice_it_can_and_else_the_larger():
    men = lambda **where: tuple(where.get(f"p{i}", 0) for i in range(25))
    # The one man may move 1 or 2 and then nothing: both ends are blocked. He must move 2.
    other = men(p3=2)
    assert set(_programs.plays(men(p0=1, p24=0), other, (1, 2))) == {2 * 6 + 1}
    # Both dice can be played if the 1 goes first, so that the 2 alone is no play.
    found = _programs.plays(men(p0=1), men(p2=2), (1, 2))
    assert found == {2 * 6 + 0: {(men(p3=1), men(p2=2))}}
    # A man on the bar enters before others move, and a lone man of the other's is sent to its bar.
    found = _programs.plays(men(p5=1, p24=1), men(p1=1), (2,))
    assert found == {1 * 6 + 1: {(men(p5=1, p1=1), men(p24=1))}}
    assert _programs.plays(men(p24=1), men(p1=2), (2,)) == {}
    # Four men of a double, and men go off only when all are home.
    assert set(_programs.plays(men(p20=4), men(), (6, 6, 6, 6))) == {22 * 6 + 5}
    assert set(_programs.plays(men(p17=1, p20=1), men(), (6,))) == {19 * 6 + 5}


def test_the_play_that_leaves_the_other_least_is_begun_and_a_won_game_is_won():
    observation = np.zeros(34, int)
    observation[[22, 23]], observation[0] = 1, -2
    observation[[28, 29]] = 1
    legal = np.ones(156, bool)
    asked = []

    def equities(boards):
        asked.extend(boards)
        return [-sum(mine) for mine, _ in boards]

    move = _programs._backgammon_move(equities, observation, legal)
    assert move in (24 * 6 + 1, 25 * 6 + 0)
    assert not asked, "a game that is won needs no judge"
    observation[[22, 23, 10]] = 0, 1, 1
    move = _programs._backgammon_move(lambda boards: [float(i) for i in range(len(boards))][::-1], observation, legal)
    assert move // 6 - 2 in (10, 11), "the man who is not home"


@pytest.mark.parametrize("game", ["pgx/backgammon", "tic_tac_toe"])
def test_openings_are_games_of_their_own_and_no_move_in_a_match_is_illegal(game):
    env = envs.make(game)
    begun = openings(env, 2)
    assert begun.moves.shape == (len(begun.gain), 2)
    legal = np.asarray(jax.jit(jax.vmap(env.legal_actions))(begun.states))
    assert legal.any(1).all()
    counted = []

    def player(key, states):
        moves = _opponents.random_player(env)(key, states)
        counted.append(np.asarray(jax.vmap(lambda legal, a: legal[a])(jax.vmap(env.legal_actions)(states), moves)))
        return moves

    score = match(env, player, player, games=8)
    assert score.games == 8
    assert np.stack(counted).all()
    assert len(counted) > (40 if game == "pgx/backgammon" else 2), "games are played to their end"


def test_what_is_not_installed_ends_or_does_not_fit_is_said(go, backgammon, monkeypatch):
    with pytest.raises(SettingError, match="gnugo plays pgx/go_9x9 and pgx/go_19x19 only"):
        _judging.opponent(backgammon, "gnugo:5")
    with pytest.raises(SettingError, match="gnubg plays pgx/backgammon only"):
        _judging.opponent(go, "gnubg:0")
    with pytest.raises(SettingError, match="levels from 1 to 10, got 11"):
        _judging.opponent(go, "gnugo:11")
    with pytest.raises(SettingError, match="from 0 to 2 plies ahead, got 3"):
        _judging.opponent(backgammon, "gnubg:3")
    with pytest.raises(SettingError, match="against must say which level, as gnugo:10, got 'gnugo'"):
        _judging.opponent(go, "gnugo")
    program = _programs.Program("Quitter", [sys.executable, "-c", "print('= hello')"], "quitter")
    lines = program.lines()
    assert next(lines) == "= hello"
    program.say("anybody?")
    with pytest.raises(RunError, match="Quitter has ended with exit code 0"):
        next(lines)
    monkeypatch.setattr(_programs.shutil, "which", lambda name, path: None)
    with pytest.raises(SettingError, match="GNU Go is not installed; `apt-get install gnugo` brings it"):
        _programs.Program("GNU Go", ["gnugo"], "gnugo")


@pytest.mark.skipif(not HAS["gnugo"], reason="gnugo is not installed")
def test_gnugo_beats_chance_and_gives_the_same_moves_for_the_same_key(go):
    player = _judging.opponent(go, "gnugo:1")
    states = openings(go, 1).states
    some = jax.tree.map(lambda x: x[:6], states)
    wanted = np.array([True, True, False, True, False, True])
    moves = player.some(jax.random.key(0), some, wanted)
    assert np.array_equal(moves, player.some(jax.random.key(0), some, wanted))
    assert np.array_equal(np.asarray(moves)[~wanted], [0, 0])
    legal = np.asarray(jax.vmap(go.legal_actions)(some))
    assert legal[np.arange(6), np.asarray(moves)][wanted].all()
    # White's stone in the middle has one liberty left: Black takes it.
    caught = _after(go, [31, 40, 39, 0, 41, 8])
    assert _programs._go_move(_programs.Program("GNU Go", _GO, "gnugo"), *caught, seed=0) == 49


_GO = ("gnugo", "--mode", "gtp", "--boardsize", "9", "--level", "1", "--chinese-rules")


@pytest.mark.skipif(not HAS["gnubg"], reason="gnubg is not installed")
def test_gnubg_opens_as_books_do(backgammon):
    player = _judging.opponent(backgammon, "gnubg:0")
    states = jax.vmap(backgammon.reset)(jax.random.split(jax.random.key(0), 40))
    dice = np.asarray(states.observation)[:, 28:34]
    three_one = np.flatnonzero((dice[:, 0] == 1) & (dice[:, 2] == 1))
    one = jax.tree.map(lambda x: x[three_one[:1]], states)
    step = jax.jit(jax.vmap(backgammon.step))
    for _ in range(2):  # 8/5 6/5, in either order
        move = player(jax.random.key(0), one)
        assert int(move[0]) in (18 * 6 + 2, 20 * 6 + 0)
        one, _ = step(jax.random.split(jax.random.key(1), 1), one, jnp.asarray(move))
