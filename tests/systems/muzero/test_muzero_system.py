"""The system: its phases, its models, resuming, what it learns."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs, loop
from renga.systems import muzero
from renga.systems.muzero import _exact, _networks, _planning

TINY = muzero.Config(
    env="tic_tac_toe",
    model="learned",
    num_envs=4,
    moves=2,
    simulations=4,
    warmup=64,
    replay_size=256,
    updates=1,
    batch_size=8,
    unroll=2,
    td_steps=3,
    units=8,
    blocks=1,
    decay_steps=10,
    random_opening=3,
    discount=0.9,
    consistency_cost=0.5,
    reanalyse=0.5,
    prioritised=True,
    target_period=2,
)
TRUE = dataclasses.replace(TINY, model="true", consistency_cost=0.0)
TRUE_AHEAD = dataclasses.replace(TRUE, lookahead=True)
KEPT = dataclasses.replace(
    TRUE, policy="puct", keep_tree=True, target_period=0, ema=0.75, temperature=2.0, last_temperature=0.0,
    random_opening=0, moves=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def compiled():
    """The system with a learned model, and in the game itself with trees that are kept: each is compiled once."""
    return {config.model: tuple(map(jax.jit, muzero.make(config))) for config in (TINY, KEPT)}


@pytest.fixture(scope="module")
def kept(compiled):
    """States of games in which trees are kept, one after each move, all but the first moved in at temperature 0."""
    init, step = compiled["true"]
    state = init(jax.random.key(0))._replace(step=jnp.int32(KEPT.decay_steps))
    states = [jax.device_put(state, jax.devices()[0])]
    for _ in range(12):
        states.append(step(states[-1])[0])
    return states


@pytest.fixture(scope="module")
def params():
    """Of networks of tic-tac-toe, just made."""
    return jax.jit(muzero.networks(TINY).init)(jax.random.key(0), jnp.zeros((1, 3, 3, 2)))


@pytest.fixture(scope="module")
def game():
    return _exact.solve(envs.make("tic_tac_toe"))


def test_two_times_two_steps_through_a_file_are_four_steps(compiled, tmp_path):
    init, step = compiled["learned"]
    # It lies where a loaded one will, so that one program serves both.
    state = start = jax.device_put(init(jax.random.key(0)), jax.devices()[0])
    for _ in range(4):
        state, metrics = step(state)
    assert all(np.isfinite(x) for x in metrics.values())
    again = start
    for _ in range(2):
        again, _ = step(again)
    files = loop.Checkpoints(tmp_path / "checkpoints")
    files.save(2, again)
    _, again = files.load_newest(jax.eval_shape(init, jax.random.key(0)))
    for _ in range(2):
        again, _ = step(again)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(*map(_numbers, (a, b))), state, again)


def _numbers(x):
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


def test_replay_holds_legal_moves_with_the_signs_of_turns(compiled):
    init, _ = compiled["learned"]
    kept = jax.device_get(init(jax.random.key(1)).replay.sequences)
    moves, last = kept.items, kept.last
    rows = kept.count
    assert rows == 16
    taken = np.take_along_axis(moves.legal[:rows], moves.action[:rows, :, None], -1)
    assert taken.all()
    np.testing.assert_allclose(moves.policy[:rows].sum(-1), 1, rtol=1e-5)
    assert not (moves.policy[:rows] * ~moves.legal[:rows]).any()
    np.testing.assert_allclose(moves.discount[:rows], np.where(last[:rows], 0, -TINY.discount))
    assert (last[:rows] == moves.terminated[:rows]).all()
    assert 0 < moves.random[:rows].mean() < 1


@pytest.mark.parametrize("config", [TINY, KEPT], ids=["learned", "true"])
def test_what_is_drawn_is_searched_anew_and_drawn_by_its_error(config, compiled):
    init, step = compiled[config.model]
    state, _ = step(jax.device_put(init(jax.random.key(0)), jax.devices()[0]))
    tree = np.asarray(state.replay.tree[0])
    assert len(np.unique(tree[tree > 0])) > 2
    system, key = system_of(config), jax.random.key(1)

    @jax.jit
    def drawn(state):
        moves = system.replay.sample(state.replay, key, config.batch_size).items
        return moves, muzero.reanalysed(config, system, state.searching, moves, key)

    moves, anew = drawn(state)
    K = 0 if config.model == "true" else config.unroll
    changed = (np.asarray(anew.policy) != np.asarray(moves.policy)).any(-1)
    assert changed[:, : K + 1].any(1).sum() <= config.batch_size // 2
    assert changed.any()
    assert not changed[:, K + 1 :].any()
    assert not np.asarray(anew.policy)[~np.asarray(moves.legal)].any()
    np.testing.assert_allclose(anew.policy.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("td_lambda", [1.0, 0.5])
def test_targets_may_be_bootstrapped_from_the_network_of_now(td_lambda, compiled):
    init, _ = compiled["learned"]
    state, key = jax.device_put(init(jax.random.key(0)), jax.devices()[0]), jax.random.key(1)
    old = dataclasses.replace(TINY, td_lambda=td_lambda, reanalyse=0.0, prioritised=False, consistency_cost=0.0)
    state = state._replace(replay=state.replay.sequences)
    system, config = system_of(old), dataclasses.replace(old, bootstrap="network")

    @jax.jit
    def drawn(state):
        moves = system.replay.sample(state.replay, key, 32).items
        seen = moves.observation.reshape(-1, 3, 3, 2)
        v = system.networks.predict(state.params, system.networks.represent(state.params, seen)).value
        wanted = [muzero.draw(c, system, state, key).targets.value for c in (old, config)]
        return moves, muzero.valued_anew(config, system, state.params, moves), v.reshape(moves.value.shape), wanted

    moves, anew, v, (before, after) = drawn(state)
    first = TINY.td_steps if td_lambda == 1 else 1
    kept = np.asarray(moves.random) | (np.arange(v.shape[1]) < first)
    assert kept[:, first:].any()
    assert not kept[:, first:].all()
    np.testing.assert_allclose(anew, np.where(kept, moves.value, v), rtol=1e-6)
    assert (np.abs(np.asarray(before) - after) > 1e-5).any()
    assert (np.asarray(before) == after).any()  # where the game ended before, and where a move was drawn evenly


def system_of(config):
    return muzero.system_of(config)


def test_losses_do_not_see_past_the_end_and_reach_every_parameter(params):
    system = system_of(TINY)
    rng = np.random.default_rng(0)
    K, B = TINY.unroll, 3
    params = jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), params)
    ones = jnp.ones((B, K + 1))
    want = muzero.Targets(
        actions=jnp.asarray(rng.integers(9, size=(B, K)), jnp.int32),
        policy=jnp.asarray(rng.dirichlet(np.ones(9), (B, K + 1)), jnp.float32),
        value=0.5 * ones,
        reward=0 * ones,
        turn=ones,
        policy_weight=ones.at[0, 1:].set(0),
        value_weight=ones.at[0, 1:].set(0),
        reward_weight=ones.at[:, 0].set(0).at[0].set(0),
        turn_weight=ones.at[:, 0].set(0).at[0].set(0),
        afterstate=0 * ones,
    )
    seen = jnp.asarray(rng.normal(size=(B, K + 1, 3, 3, 2)), jnp.float32)
    both = jax.jit(jax.value_and_grad(lambda p, b: muzero.loss_fn(TINY, system, p, b)[0]))
    ones = jnp.ones(B)
    _, first = both(params, muzero.Batch(seen, want, ones, ones))
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(first))
    # What is past the end of the first game may be anything.
    other = want._replace(
        actions=want.actions.at[0].set(8),
        value=want.value.at[0, 1:].set(-1),
        policy=want.policy.at[0, 1:].set(0.0),
        reward=want.reward.at[0, 1:].set(1),
        turn=want.turn.at[0, 1:].set(0),
    )
    _, second = both(params, muzero.Batch(seen.at[0, 1:].set(7.0), other, ones, ones))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), first, second)
    # Each stretch counts by its weight.
    loss = lambda w: both(params, muzero.Batch(seen, want, w, ones))[0]
    weights = jnp.array([0.5, 0.0, 2.0])
    alone = [loss(jnp.eye(B)[b]) for b in range(B)]
    np.testing.assert_allclose(loss(weights), 0.5 * alone[0] + 2 * alone[2], rtol=1e-5)


def forced_positions(game):
    """Positions of tic-tac-toe in which the game is won at once, or a threat must be met."""
    one_move = (game.reward > 0).any(1) & (game.legal.sum(1) > 2)
    only = (game.action_value == 0).sum(1) == 1
    must = ~one_move & only & (game.value == 0) & (game.legal.sum(1) > 2)
    return np.flatnonzero(one_move)[::97], np.flatnonzero(must)[::97]


@pytest.mark.parametrize(("policy", "lookahead"), [("gumbel", False), ("puct", False), ("gumbel", True)])
def test_search_in_the_game_itself_wins_at_once_and_meets_threats(policy, lookahead, game):
    wins, threats = forced_positions(game)
    config = dataclasses.replace(TRUE, policy=policy, lookahead=lookahead, rescale_values=not lookahead)
    params = jax.jit(muzero.networks(config).init)(jax.random.key(0), jnp.zeros((1, 3, 3, 2)))
    agent = muzero.Agent(config, params)
    for here, simulations in ((wins, 1), (threats, 16)) if lookahead else ((wins, 64), (threats, 512)):
        states = jax.tree.map(lambda x, here=here: jnp.asarray(x[here]), game.states)
        moves = np.asarray(agent.player(simulations)(jax.random.key(0), states))
        assert (game.action_value[here, moves] == game.value[here]).all()


def test_lookahead_adds_what_is_known_of_moves_that_end_a_game(game, params):
    states = jax.tree.map(lambda x: jnp.asarray(x[::9]), game.states)
    legal, reward = game.legal[::9], game.reward[::9]
    ends = legal & ((reward != 0) | (legal.sum(1, keepdims=True) == 1))
    assert 0.05 < ends.mean() < 0.95
    found = []
    for config in (TRUE, TRUE_AHEAD):
        system = system_of(config)
        observation = jax.vmap(system.env.env.observe)(states)
        found.append(jax.jit(system.planner.root)(params, jax.random.key(0), states, observation, jnp.asarray(legal)))
    plain, better = found
    v, logits = np.asarray(plain.value), np.asarray(plain.prior_logits)
    best = np.where(ends, reward, -np.inf).max(1)
    over = (ends == legal).all(1)
    np.testing.assert_allclose(better.value, np.where(over, best, np.maximum(v, best)), rtol=1e-6)
    expected = np.where(ends, logits + 50 * TRUE.value_scale * (reward - v[:, None]), logits)
    np.testing.assert_allclose(better.prior_logits, expected, rtol=1e-5)
    # What is drawn evenly at the start of a game ends it only where every move does.
    draw = jax.jit(lambda key: muzero._drawn_evenly(TRUE_AHEAD, system, key, states, jnp.asarray(legal)))
    for seed in range(3):
        drawn = np.asarray(draw(jax.random.key(seed)))[:, None]
        assert np.take_along_axis(legal, drawn, 1).all()
        assert (np.take_along_axis(ends, drawn, 1)[:, 0] == over).all()


def test_an_agent_acts_alone_as_in_a_batch_and_only_legally(params):
    config = dataclasses.replace(TINY, simulations=8)
    agent = muzero.Agent(config, params)
    x = jnp.asarray(np.random.default_rng(0).random((5, 3, 3, 2)), jnp.float32)
    many = agent.think(x)
    one = agent.think(x[2])
    np.testing.assert_allclose(one.policy, many.policy[2], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one.value, many.value[2], rtol=1e-3, atol=1e-5)
    legal = np.zeros(9, bool)
    legal[4] = True
    forced = agent.think(x[0], legal)
    assert int(forced.action) == 4 == agent.act(x[0], legal, simulations=0)
    act = lambda x: agent.act(x, simulations=0)
    assert type(act(x[1])) is int
    every = act(x)
    assert every.dtype == jnp.int32
    np.testing.assert_array_equal(jax.jit(act)(x[1]), act(x[1]))
    np.testing.assert_array_equal(jax.vmap(act)(x), every)
    np.testing.assert_array_equal(forced.policy, legal.astype(np.float32))
    with pytest.raises(ValueError, match=r"legal must have shape \(1, 9\)"):
        agent.act(x[0], legal[:8])
    with pytest.raises(ValueError, match=r"observation must have shape \(3, 3, 2\)"):
        agent.act(x[0, 0])
    blind = muzero.Agent(dataclasses.replace(config, model="true"), params)
    with pytest.raises(ValueError, match="state must be given"):
        blind.act(x[0])


def test_states_and_simulations_that_cannot_be_are_refused_by_name(params, game, unchecked):
    agent = muzero.Agent(TRUE, params)
    states = jax.tree.map(lambda x: x[:3], game.states)
    one, two = (jax.tree.map(lambda x, at=at: x[at], states) for at in (0, slice(2)))
    x = jnp.zeros((2, 3, 3, 2))
    batch = "Agent.act: state must be a batch of 2 states of tic_tac_toe"
    for observation, state, error, words in (
        (x[0], 3, TypeError, r"Agent.act: state must be a state of tic_tac_toe, .* got builtins.int"),
        (x[0], jax.eval_shape(envs.make("connect_four").reset, jax.random.key(0)), TypeError, "got pgx.connect_four"),
        (x, one, ValueError, rf"{batch}.* of shape \(2,\), got \(\)"),
        (x, states, ValueError, rf"{batch}.* of shape \(2,\), got \(3,\)"),
        (x[0], two, ValueError, r"Agent.act: state must be a state of .* of shape \(\), got \(2,\)"),
        (x[0], one.replace(rewards=np.zeros(2, int)), TypeError, r"with state.rewards of float32, got int32"),
        (x[0], one.replace(rewards="no"), TypeError, "with an array at state.rewards, got str"),
        (x[:0], states, ValueError, r"Agent.act: observation must be .* got an empty batch"),
    ):
        with pytest.raises(error, match=words):
            agent.act(observation, None, state)
    for simulations, error, got in ((-1, ValueError, ">= 0, got -1"), (2.5, TypeError, "an int or None, got 2.5")):
        for method in (agent.act, agent.think, agent.search):
            with pytest.raises(error, match=f"^Agent.{method.__name__}: simulations must be {got}"):
                method(x[0], None, one, simulations=simulations)
    with pytest.raises(TypeError, match="simulations must be an int or None, got True"):
        agent.player(True)
    assert agent.act(x[0], None, "not used", simulations=np.int64(0)) in range(9)


def test_an_agent_is_kept_in_a_file(params, tmp_path):
    muzero.Agent(TINY, params).save(tmp_path / "agent.safetensors")
    back = muzero.load(tmp_path / "agent.safetensors")
    assert back.config == TINY
    jax.tree.map(np.testing.assert_array_equal, params, back.params)
    with pytest.raises(loop.RunError, match="directory of a run, or a file"):
        muzero.load(tmp_path / "nothing")


REFUSED = {
    "simulations": 0,
    "td_lambda": 1.5,
    "warmup": 8,
    "replay_size": 8,
    "max_value": -1.0,
    "waves": 3,
    "learning_rate": float("nan"),
    "lookahead": True,  # with a learned model
    "moves": 65,  # more than replay keeps of a game
    "target_period": 1.5,
    "considered": 4.0,
}


@pytest.mark.parametrize("field", REFUSED)
def test_settings_that_make_no_sense_are_refused(field, unchecked):
    with pytest.raises(loop.RunError, match=f"muzero: {'min_value' if field == 'max_value' else field} must be"):
        muzero.make(dataclasses.replace(TINY, **{field: REFUSED[field]}))


def test_convolutions_need_a_board_or_a_picture():
    with pytest.raises(loop.RunError, match=r"muzero: tower must be dense .* got conv with .* shape \(4,\)"):
        muzero.make(dataclasses.replace(TINY, env="cartpole", tower="conv"))
    muzero.system_of(dataclasses.replace(TINY, env="catch", tower="conv"))  # [H, W] is a board


def test_the_sign_of_the_discount_follows_who_moves_where_a_player_moves_twice():
    config = dataclasses.replace(
        TINY, env="pgx/backgammon", num_envs=8, warmup=80, consistency_cost=0.0, simulations=1, random_opening=1000
    )
    system = system_of(config)
    env = system.env
    params = jax.jit(system.networks.init)(jax.random.key(0), jnp.zeros((1, 34)))
    running = jax.jit(env.reset)(jax.random.key(0))
    opening = jnp.full(8, 1000, jnp.int32)
    state = muzero.State(jax.random.key(0), jnp.int32(0), params, params, (), running, opening, ())
    act = jax.jit(lambda s, k: muzero.act(config, system, s, k))
    turns = []
    for i in range(12):
        before = np.asarray(env.to_play(state.env))
        state, (move, last) = act(state, jax.random.key(i))
        after = np.asarray(env.to_play(state.env))
        sign = np.where(np.asarray(last), 0, np.where(before == after, 1, -1))
        np.testing.assert_array_equal(np.sign(move.discount), sign)
        turns.append(before == after)
    assert 0.1 < np.mean(turns) < 0.95


def trained(name, steps, enough, every, **changes):
    """The preset of a name: what its first state comes to, and a later one that is enough, or that of the last step."""
    config = dataclasses.replace(muzero.PRESETS[name][0], **changes)
    init, step = muzero.make(config)
    state, step = jax.jit(init)(jax.random.key(0)), jax.jit(step, donate_argnums=0)
    before = after = muzero.evaluate(config, state, games=72)
    for i in range(1, steps + 1):
        state, _ = step(state)
        if i % every == 0 and enough(after := muzero.evaluate(config, state, games=72)):
            break
    return before, after


def test_tic_tac_toe_is_learned_in_the_game_itself():
    bars = {"optimal moves": 0.97, "optimal moves without search": 0.85, "points against random": 0.85}
    enough = lambda found: all(found[name] > bar for name, bar in bars.items())
    before, after = trained("tic_tac_toe", 60, enough, every=10)
    assert before["optimal moves without search"] < 0.7
    assert enough(after), after


def test_catch_is_learned_with_a_learned_model():
    enough = lambda found: found["greedy return"] > 0.9
    before, after = trained("catch", 600, enough, every=20, unroll=2, units=32, batch_size=64)
    assert before["greedy return"] < 0
    assert enough(after), after


def test_trees_are_kept_an_average_searches_and_the_temperature_falls(kept):
    mix = lambda old, new: 0.75 * old + 0.25 * new
    for before, state in itertools.pairwise(kept):
        replay = state.replay.sequences
        made, last = jax.tree.map(lambda x, row=int(replay.count) - 1: np.asarray(x[row]), (replay.items, replay.last))
        best = np.take_along_axis(made.policy, made.action[:, None], 1)[:, 0]
        np.testing.assert_array_equal(best, made.policy.max(-1))  # temperature 0 takes a most visited action
        known = np.asarray(state.tree.node_visits[:, 0])
        assert not known[last].any()
        children = np.asarray(before.tree.children_visits[:, 0])
        assert (known >= np.take_along_axis(children, made.action[:, None], 1)[:, 0])[~last].all()
        for searched, is_so in zip(
            jax.tree.leaves(state.tree.embeddings), jax.tree.leaves(state.env.state), strict=True
        ):
            np.testing.assert_array_equal(np.asarray(searched)[known > 0, 0], np.asarray(is_so)[known > 0])
        jax.tree.map(
            lambda old, new, got: np.testing.assert_allclose(got, mix(np.asarray(old), new), rtol=1e-5, atol=1e-7),
            before.searching,
            state.params,
            state.searching,
        )
    assert muzero.played_by(KEPT, state) is state.searching


def test_a_tree_in_which_chance_chose_otherwise_starts_anew(kept):
    system = system_of(KEPT)
    env_step = jax.jit(system.env.step)

    def moved(before):
        """Goes on with what was searched most; None where nothing was, or a game ends."""
        visits = np.asarray(before.tree.children_visits[:, 0])
        action = jnp.asarray(visits.argmax(1), jnp.int32)
        after, out = env_step(jax.random.key(3), before.env, action)
        return (before, action, after) if visits.any(1).all() and not out.last.any() else None

    before, action, after = next(filter(None, map(moved, kept)))
    other = jax.tree.map(lambda now, then: now.at[0].set(then[0]), after.state, before.env.state)
    tree = jax.jit(system.planner.kept)(before.tree, action, other, jnp.zeros(4, bool).at[1].set(True))
    np.testing.assert_array_equal(tree.node_visits[:, 0] > 0, [False, False, True, True])


class Corridor(envs.Environment):
    """One player, who can only go on: one legal action of three."""

    observation_spec, action_spec = envs.Box((1,), 0.0, 1.0), envs.Discrete(3)

    def reset(self, key):
        return jnp.int32(0)

    def step(self, key, state, action):
        return state + 1, envs.Step(self.observe(state + 1), jnp.float32(0), state == 99, jnp.bool_(False))

    def observe(self, state):
        return jnp.full(1, state / 100)

    def legal_actions(self, state):
        return jnp.arange(3) == 1


@pytest.mark.parametrize("policy", ["puct", "gumbel"])
def test_every_search_in_a_kept_tree_makes_all_its_simulations(policy):
    config = dataclasses.replace(KEPT, policy=policy, simulations=5)
    env, legal, key = Corridor(), jnp.array([[False, True, False]]), jax.random.key(0)
    networks = _networks.make(config, env)
    planner = _planning.planner(config, env, networks)
    params = networks.init(key, jnp.zeros((1, 1)))

    def move(state, tree):
        root = planner.root(params, key, state, state[:, None] / 100, legal)
        plan = planner.plan(params, key, root, legal, tree=tree)
        kept = planner.kept(plan.tree, plan.action, state + 1, jnp.zeros(1, bool))
        return state + 1, kept, jnp.sum(plan.tree.node_visits > 0), plan.tree.node_visits[0, 0]

    state = jnp.zeros(1, jnp.int32)
    tree = muzero._nothing_like(jax.eval_shape(lambda: move(state, None))[1])
    move = jax.jit(move)
    for _ in range(4):
        before = tree
        state, tree, nodes, visits = move(state, tree)
        nodes_before = int(jnp.sum(before.node_visits > 0))
        assert nodes_before <= config.simulations + 1
        assert int(nodes) == max(nodes_before, 1) + config.simulations  # a new node each
        assert int(visits) == max(int(before.node_visits[0, 0]), 1) + config.simulations
        assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, before)
    assert nodes_before == config.simulations + 1


def test_what_cannot_go_well_is_said_with_numbers():
    config = dataclasses.replace(TINY, unroll=5, random_opening=20)
    said = muzero.advise(config, {"episode_length": 4.0, "beyond_support": 0.25})
    assert set(said) == {"support", "unroll", "random_opening"}
    assert "25% of the value targets are beyond [-1, 1]" in said["support"]
    assert "unroll is 5, and games take 4.0 moves" in said["unroll"]
    assert muzero.advise(config, {"episode_length": 0.0, "beyond_support": 0.0}) == {}
