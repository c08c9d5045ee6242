"""Opponents, matches and exact judges."""

import functools
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs, loop
from renga.systems import muzero
from renga.systems.muzero import _exact, _judging, _opponents
from renga.systems.muzero._match import Score, match, openings

TIC_TAC_TOE = envs.make("tic_tac_toe")


@pytest.fixture(scope="module")
def game():
    return _exact.solve(TIC_TAC_TOE)


def test_tic_tac_toe_has_4520_positions_to_move_in_and_is_a_draw(game):
    assert np.bincount(game.depth).tolist() == [1, 9, 72, 252, 756, 1140, 1372, 696, 222]
    assert game.value[0] == 0
    # After a corner, only the centre holds the draw.
    reply = game.following[0, 0]
    assert np.flatnonzero(game.action_value[reply] == 0).tolist() == [4]
    with pytest.raises(ValueError, match="solve: the game must have at most 100 positions"):
        _exact.solve(TIC_TAC_TOE, most=100)


def test_the_worst_case_is_that_of_a_plain_recursion(game):
    @functools.cache
    def worst(i, own_turn):
        """What the player gets at least; `moves` are its own, of position i."""
        results = []
        for a in [moves[i]] if own_turn else np.flatnonzero(game.legal[i]):
            won = game.reward[i, a] * (1 if own_turn else -1)
            j = game.following[i, a]
            results.append(won if j < 0 else worst(j, not own_turn))
        return min(results)

    for moves in (game.action_value.argmax(1), game.legal.argmax(1)):
        worst.cache_clear()
        assert _exact.worst_case(game, moves) == (worst(0, True), worst(0, False))
    best = game.action_value.argmax(1)
    assert _exact.worst_case(game, best) == (0, 0)
    assert _exact.optimal_share(game, best) == 1
    assert _exact.optimal_share(game, game.legal.argmax(1)) < 0.9


def test_plain_search_wins_where_it_can_and_blocks_where_it_must(game):
    act = _opponents.uct_player(TIC_TAC_TOE, 200)
    late = np.flatnonzero((game.depth == 6) | (game.depth == 7))[::8]
    states = jax.tree.map(lambda x: jnp.asarray(x[late]), game.states)
    moves = np.asarray(act(jax.random.key(0), states))
    chosen = game.action_value[late, moves]
    assert (chosen >= game.value[late]).mean() > 0.97


def plain_minimax(own, other, depth):
    moves = _opponents._moves(own | other)
    if not moves:
        return 0.0
    if any(_opponents._has_four(own | stone) for _, stone in moves):
        return 1.0 + depth
    if depth <= 1:
        return _opponents._open_lines(own, other)
    return max(-plain_minimax(other, own | stone, depth - 1) for _, stone in moves)


def test_alpha_beta_is_minimax_on_boards_of_the_environment():
    env = envs.make("connect_four")
    step = jax.jit(env.step)
    rng = np.random.default_rng(0)
    for length in (0, 6, 13):
        state = env.reset(jax.random.key(0))
        for _ in range(length):
            while True:
                a = rng.choice(np.flatnonzero(np.asarray(state.legal_action_mask)))
                after, out = step(jax.random.key(0), state, jnp.int32(a))
                if not bool(out.last):
                    state = after
                    break
        own, other = _opponents._bits(np.asarray(env.observe(state)) > 0.5)
        assert (own | other).bit_count() == length
        legal = sorted(c for c, _ in _opponents._moves(own | other))
        assert legal == np.flatnonzero(np.asarray(env.legal_actions(state))).tolist()
        assert _opponents._negamax(own, other, 4, -np.inf, np.inf) == plain_minimax(own, other, 4)
    for bits, four in ((0b1111, True), (0b111, False), (1 | 1 << 8 | 1 << 16 | 1 << 24, True), (0b1111 << 4, False)):
        assert _opponents._has_four(bits & ~(1 << 6)) is four
    with pytest.raises(loop.RunError, match="Connect Four only"):
        _opponents.alpha_beta_player(TIC_TAC_TOE, 2)


def test_a_match_plays_every_opening_from_both_seats(game):
    assert openings(TIC_TAC_TOE, 2).moves.shape == (72, 2)
    random = _opponents.random_player(TIC_TAC_TOE)
    score = match(TIC_TAC_TOE, random, random)
    assert score.games == 144
    assert 0.35 < score.points < 0.65

    def first_legal(key, states):
        return jnp.argmax(states.legal_action_mask, -1)

    repeated = match(TIC_TAC_TOE, first_legal, first_legal, plies=0)
    assert repeated.games == 2
    assert {repeated.wins, repeated.losses} == {1}
    assert match(TIC_TAC_TOE, random, random, games=10).games == 10
    elo, low, high = Score(50, 0, 50, 0, 0.0).elo()
    assert low < elo == 0 < high
    assert Score(4, 0, 0, 0, 0.0).elo()[0] == np.inf


def test_opponents_that_are_not_known_are_refused():
    for name, words in (("uct", "how many playouts, as uct:1000"), ("nobody", "path of an agent, got 'nobody'")):
        with pytest.raises(loop.RunError, match=words):
            _judging.opponent(TIC_TAC_TOE, name)
    for number in ("²", "٣", "-3", "9" * 5000, "0"):
        with pytest.raises(loop.SettingError, match="against must say how many playouts, as uct:1000, got 'uct:"):
            _judging.opponent(TIC_TAC_TOE, f"uct:{number}")


class Turn(NamedTuple):
    clock: Any
    player: Any


class Short(envs.Environment):
    """Two players; action 1 wins a point and action 0 loses one. The game ends after so many moves."""

    observation_spec, action_spec, num_players, moves = envs.Box((1,), 0.0, 9.0), envs.Discrete(2), 2, 1

    def reset(self, key):
        return Turn(jnp.int32(0), jnp.int32(0))

    def step(self, key, state, action):
        after = Turn(state.clock + 1, 1 - state.player)
        reward = jnp.where(action == 1, 1.0, -1.0)
        return after, envs.Step(self.observe(after), reward, after.clock == self.moves, jnp.bool_(False))

    def observe(self, state):
        return jnp.full(1, state.clock, jnp.float32)

    def to_play(self, state):
        return state.player


class Shorter(Short):
    moves = 2


def test_openings_are_shorter_where_every_game_is_over_by_then():
    for env, length in ((Short(), 0), (Shorter(), 1)):
        assert openings(env, 2).moves.shape == (2**length, length)
    win = lambda key, states: np.ones(len(states.clock), int)
    score = match(Shorter(), win, win)  # begun with 1 it is a draw, begun with 0 it is lost
    assert (score.games, score.wins, score.losses, score.lost_first) == (4, 1, 1, 1)
    assert match(Short(), win, win).games == 2


def test_an_agent_of_another_game_is_no_opponent(tmp_path):
    config = muzero.Config(env=f"{__name__}:Shorter", units=8, blocks=1, simulations=2)
    params = muzero.networks(config).init(jax.random.key(0), jnp.zeros((1, 1)))
    file = str(tmp_path / "agent.safetensors")
    muzero.Agent(config, params).save(file)
    with pytest.raises(loop.SettingError, match="against must be an agent of env = tic_tac_toe, got one of .*:Shorter"):
        _judging.judge(muzero.Agent(muzero.Config(env="tic_tac_toe"), ()), file, 2, 4)
    assert callable(_judging.opponent(Shorter(), file, config.env))


def test_arguments_of_an_evaluation_that_make_no_sense_are_refused(unchecked):
    state = types.SimpleNamespace(params=(), searching=())
    world = muzero.Config(env="catch", model="learned")
    for config, arguments, words in (
        (world, {"against": "nobody"}, "against must be random, the default, in a world for one player, got 'nobody'"),
        (world, {"games": 0}, "games must be an integer >= 1, got 0"),
        (muzero.Config(env="tic_tac_toe"), {"games": -5}, "games must be an integer >= 1, got -5"),
        (world, {"games": 2.5}, "games must be an integer >= 1, got 2.5"),
        (world, {"simulations": -1}, "simulations must be an integer >= 0, got -1"),
    ):
        with pytest.raises(loop.SettingError, match=words):
            muzero.evaluate(config, state, **arguments)
