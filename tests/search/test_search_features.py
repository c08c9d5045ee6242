"""What goes beyond mctx: masks, players, kept trees, waves, gradients, budgets, inspection."""

import contextlib
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import search
from renga.search._keys import gumbel as gumbel_noise
from renga.search._keys import split_each, split_many, uniform_each
from renga.search._quick import _kernel

B, A = 3, 3
muzero = functools.partial(search.muzero_policy, dirichlet_fraction=0.0, temperature=0.0)
PARAMS = jnp.asarray(np.random.RandomState(0).normal(size=(A, 4, 4)), jnp.float32)


def heads(state):
    return 2 * state[:, :A], state[:, 3]


def step(params, rng_key, action, state, **explicit):
    state = jnp.tanh(jnp.einsum("bij,bj->bi", params[action], state))
    logits, value = heads(state)
    return search.RecurrentFnOutput(
        reward=state[:, 0], discount=jnp.full(value.shape, 0.9),
        prior_logits=logits, value=value, **explicit,
    ), state  # fmt: skip


def make_root(batch=B, **explicit):
    state = np.random.RandomState(1).normal(size=(batch, 4)).astype(np.float32)
    logits, value = heads(state)
    return search.RootFnOutput(prior_logits=logits, value=value, embedding=state, **explicit)


def run(simulations, policy=muzero, root=None, model=step, **options):
    root = make_root() if root is None else root
    call = lambda params, root: policy(params, jax.random.key(3), root, model, simulations, **options)
    # Compiling is nearly all the time. What is found is compared in NumPy, which compiles nothing.
    return jax.device_get(jax.jit(call, compiler_options={"xla_backend_optimization_level": 0})(PARAMS, root))


@jax.jit
def all_hold(tree):
    return functools.reduce(jnp.logical_and, (ok.all() for ok in search.invariants(tree).values()))


COMPARED = ("node_visits", "parents", "children_index", "children_visits")
COMPARED += ("node_values", "children_values", "children_rewards")


def assert_same_tree(a, b, rtol=1e-5):
    for name in COMPARED[:4]:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    for name in COMPARED[4:]:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def plain_tree():
    return run(20).search_tree


def test_keys_and_noise_are_bitwise_those_of_jax_random():
    for keys in (jax.random.split(jax.random.key(1), 5), jax.random.split(jax.random.PRNGKey(2), 5)):
        first, second = split_each(keys)
        expected = jax.vmap(jax.random.split)(keys)
        data = lambda k: jax.random.key_data(k)
        np.testing.assert_array_equal(data(first), data(expected[:, 0]))
        np.testing.assert_array_equal(data(second), data(expected[:, 1]))
        np.testing.assert_array_equal(data(split_many(keys[0], 7)), data(jax.random.split(keys[0], 7)))
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (11,)))(keys)
        np.testing.assert_array_equal(uniform_each(keys, 11), uniform)
        noise = jax.random.gumbel(keys[1], (7, 9), jnp.float32)
        np.testing.assert_array_equal(gumbel_noise(keys[1], (7, 9), jnp.float32), noise)
        half = gumbel_noise(keys[1], (2, 3), jnp.bfloat16)
        np.testing.assert_array_equal(half, jax.random.gumbel(keys[1], (2, 3), jnp.bfloat16))
    other = jax.random.split(jax.random.key(1, impl="rbg"), 2)
    assert uniform_each(other, 3).shape == (2, 3)


def test_replaced_phases_are_called_and_make_the_same_tree(plain_tree):
    called = []

    def spy(name):
        def phase(*args):
            called.append(name)
            return getattr(search, name)(*args)

        return phase

    tree = run(20, **{f"{name}_fn": spy(name) for name in ("simulate", "expand", "backward")}).search_tree
    assert set(called) == {"simulate", "expand", "backward"}
    assert_same_tree(plain_tree, tree)


def test_illegal_actions_are_never_selected_and_get_no_weight():
    def masked(params, rng_key, action, state):
        _, next_state = step(params, rng_key, action, state)
        return step(params, rng_key, action, state, invalid_actions=next_state[:, :A] > 0.2)

    root = make_root(invalid_actions=np.array([[True, False, False]] * B))
    for policy in (muzero, search.gumbel_muzero_policy):
        output = run(30, policy, root, masked)
        tree = output.search_tree
        visited = tree.children_visits > 0
        legal_somewhere = ~tree.children_invalid.all(-1, keepdims=True)
        assert not (visited & tree.children_invalid & legal_somewhere).any()
        np.testing.assert_array_equal(output.action_weights[:, 0], 0)
        assert (output.action != 0).all()


def tic(params, rng_key, action, state, to_play=True, wrong=False):
    """Take one or two of the rest; who takes the last wins. State: rest, player."""
    rest, player = state[:, 0] - action - 1, state[:, 1]
    over = rest <= 0
    reward = jnp.where(over, 1.0, 0.0) * (-1 if wrong else 1)
    extra = {"to_play": 1 - player, "terminal": over, "invalid_actions": jnp.stack([rest < 1, rest < 2], -1)}
    discount = jnp.where(over, 0.0, 1.0 if to_play else -1.0)
    return search.RecurrentFnOutput(
        reward=reward, discount=discount, prior_logits=jnp.zeros((len(rest), 2)),
        value=jnp.where(over & wrong, -1.0, 0.0), **(extra if to_play else {}),
    ), jnp.stack([rest, 1 - player], -1)  # fmt: skip


def nim_root(rest, to_play=True):
    n = len(rest)
    state = np.stack([rest, np.zeros(n)], -1).astype(np.int32)
    extra = {"to_play": np.zeros(n, np.int32), "terminal": np.zeros(n, bool)} if to_play else {}
    zeros = np.zeros((n, 3), np.float32)
    return search.RootFnOutput(prior_logits=zeros[:, :2], value=zeros[:, 2], embedding=state, **extra)


def test_explicit_players_and_ends_find_the_winning_move_and_stay_legal():
    output = run(150, root=nim_root([4, 5, 7, 8]), model=tic, debug=True)
    # Leave a multiple of three to the other player.
    np.testing.assert_array_equal(output.action, [0, 1, 0, 1])
    assert (output.search_tree.node_values[:, 0] > 0.3).all()
    assert all_hold(output.search_tree)
    assert output.search_tree.terminal.any()


def test_check_signs_finds_planted_mistakes_and_passes_a_right_model():
    key = jax.random.key(0)
    root = nim_root([9] * 8)
    assert search.check_signs((), key, root, tic) == []
    twice = lambda *args: (lambda out, s: (out.replace(discount=-out.discount), s))(*tic(*args))
    assert "turns it twice" in search.check_signs((), key, root, twice)[0]
    implicit = nim_root([9] * 8, to_play=False)
    never = lambda *args: (lambda out, s: (out.replace(discount=jnp.abs(out.discount)), s))(*tic(*args, to_play=False))
    assert "never negative" in search.check_signs((), key, implicit, never)[-1]
    view = functools.partial(tic, to_play=False, wrong=True)
    assert any("same sign" in s for s in search.check_signs((), key, implicit, view))
    early = lambda *args: (lambda out, s: (out.replace(discount=0 * out.discount), s))(*tic(*args))
    assert any("not terminal" in s for s in search.check_signs((), key, root, early))
    silent = lambda *args: (lambda out, s: (out.replace(to_play=None), s))(*tic(*args))
    assert "not in the steps" in search.check_signs((), key, root, silent)[0]


def test_check_signs_finds_values_from_one_players_view():
    """Ten moves; each adds to a sum, and the sum's sign is the first player's result at the end."""

    def race(params, rng_key, action, state, first_players_view):
        total, left = state[:, 0] + jnp.where(left_turn(state), 1, -1) * (2 * action - 1), state[:, 1] - 1
        state = jnp.stack([total, left], -1)
        own = jnp.where(left_turn(state) | first_players_view, 1, -1) * total
        return search.RecurrentFnOutput(
            reward=jnp.zeros(len(total)), discount=jnp.where(left == 0, 0.0, -1.0),
            prior_logits=jnp.zeros((len(total), 2)), value=jnp.where(left == 0, 0.0, own),
        ), state  # fmt: skip

    left_turn = lambda state: state[:, 1] % 2 == 0
    state = jnp.stack([jnp.linspace(-9.0, 9.0, 40), jnp.full(40, 10.0)], -1)
    root = search.RootFnOutput(prior_logits=jnp.zeros((40, 2)), value=state[:, 0], embedding=state)
    check = lambda wrong: search.check_signs(
        (), jax.random.key(1), root, functools.partial(race, first_players_view=wrong)
    )
    assert check(False) == []
    assert "contradict each other" in check(True)[0]


def test_a_kept_subtree_is_a_fresh_search_with_the_same_visits(plain_tree):
    action = jnp.asarray(plain_tree.children_visits[:, 0].argmax(-1))
    kept = jax.device_get(jax.jit(search.reroot)(plain_tree, action))
    child = np.asarray(action)
    visits = plain_tree.children_visits[np.arange(B), 0, child]
    child = plain_tree.children_index[np.arange(B), 0, child]
    embedding = plain_tree.embeddings[np.arange(B), child]
    logits, value = heads(embedding)
    root = search.RootFnOutput(prior_logits=logits, value=value, embedding=embedding)
    # One program with room for the longer search makes the shorter one, too.
    fresh_search = jax.jit(lambda budgets: muzero(PARAMS, jax.random.key(3), root, step, 30, budgets=budgets))
    fresh = jax.device_get(fresh_search(visits - 1).search_tree)
    assert (fresh.node_visits[:, 21:] == 0).all()
    assert_same_tree(kept, {name: fresh[name][:, :21] for name in COMPARED})
    # And it goes on as if nothing had been between.
    going = lambda tree: search.search(
        PARAMS, jax.random.key(9), root=None, recurrent_fn=step, num_simulations=4,
        tree=search.reroot(tree, action, capacity=40),
        root_action_selection_fn=functools.partial(search.muzero_action_selection, depth=0),
        interior_action_selection_fn=search.muzero_action_selection,
    )  # fmt: skip
    more, full = jax.device_get((jax.jit(going)(plain_tree), fresh_search(visits + 3).search_tree))
    np.testing.assert_array_equal(more.node_visits[:, :24], full.node_visits[:, :24])
    assert all_hold(more)


def test_a_kept_tree_has_the_room_that_is_asked_for(plain_tree):
    action = jnp.asarray(plain_tree.children_visits[:, 0].argmax(-1))
    kept, all_of_it = jax.device_get(
        jax.jit(lambda tree: [search.reroot(tree, action, capacity=9, room=room) for room in (5, 0)])(plain_tree)
    )
    assert kept.node_visits.shape == (B, 9)
    np.testing.assert_array_equal((kept.node_visits > 0).sum(1), np.minimum((all_of_it.node_visits > 0).sum(1), 4))
    assert ((all_of_it.node_visits > 0).sum(1) > 4).any()
    np.testing.assert_array_equal(kept.node_visits[:, :4], all_of_it.node_visits[:, :4])
    held = search.invariants(kept)
    assert all(held[name].all() for name in ("visits", "links", "edges"))
    with pytest.raises(ValueError, match=r"reroot: room must be in \[0, 8\], got 9"):
        search.reroot(plain_tree, action, capacity=9, room=9)


def test_uneven_budgets_equal_searches_of_each_size(plain_tree):
    tree = run(20, budgets=np.array([20, 0, 7])).search_tree
    short = run(7).search_tree
    np.testing.assert_array_equal(tree.node_visits[0], plain_tree.node_visits[0])
    np.testing.assert_array_equal(tree.node_visits[1], np.eye(21)[0])
    np.testing.assert_array_equal(tree.node_visits[2, :8], short.node_visits[2])
    assert tree.node_visits[2, 8:].sum() == 0


def test_a_full_tree_leaves_simulations_out():
    tree = run(20, capacity=9).search_tree
    assert tree.node_visits.shape == (B, 9)
    assert (tree.node_visits[:, 0] == 9).all()
    assert all_hold(tree)


def test_waves_leave_no_trace_of_virtual_visits():
    sizes = []

    def model(params, rng_key, action, state):
        sizes.append(action.shape[0])
        return step(params, rng_key, action, state)

    tree = run(24, model=model, num_parallel=4, virtual_loss=1.0).search_tree
    assert 4 * B in sizes
    assert (tree.node_visits[:, 0] == 25).all()
    assert all_hold(tree)
    assert (jax.jit(search.statistics)(tree).num_nodes >= 23).all()


def test_leaves_of_one_tree_are_evaluated_on_all_devices():
    mesh = jax.make_mesh((2,), ("leaf",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec

    def sharded(params, rng_key, action, state):
        if action.shape[0] % 2:
            return step(params, rng_key, action, state)
        return jax.shard_map(
            lambda a, s: step(params, rng_key, a, s), mesh=mesh,
            in_specs=spec("leaf"), out_specs=spec("leaf"), check_vma=False,
        )(action, state)  # fmt: skip

    root = make_root(1)
    one = run(8, root=root, num_parallel=4).search_tree
    assert_same_tree(run(8, root=root, model=sharded, num_parallel=4).search_tree, one)


def test_gradients_through_the_search_are_those_of_finite_differences():
    with jax.enable_x64(True):
        params = jnp.asarray(PARAMS, jnp.float64)
        state = jnp.asarray(make_root().embedding, jnp.float64)
        direction = jnp.asarray(np.random.RandomState(4).normal(size=params.shape))

        def targets(params, state, differentiable):
            """A sum of root values, one of action weights, and the decisions."""
            logits, value = heads(state)
            root = search.RootFnOutput(prior_logits=2 * logits, value=value, embedding=state)
            output = search.gumbel_muzero_policy(
                params, jax.random.key(3), root, step, 30, differentiable=differentiable
            )
            tree = output.search_tree
            values = jnp.sum(tree.node_values[:, 0] * jnp.arange(1.0, B + 1))
            weights = jnp.sum(output.action_weights * jnp.arange(B * A).reshape(B, A))
            return jnp.stack([values, weights]), tree.children_index, search.statistics(tree).max_depth

        plain = jax.jit(functools.partial(targets, differentiable=False))
        of_both = jax.jacrev(lambda *args: targets(*args, differentiable=True)[0], (0, 1))
        by_params, by_state = jax.jit(of_both)(params, state)
        _, children, depth = plain(params, state)
        assert (depth >= 6).all()
        eps = 1e-6
        along = jnp.sin(jnp.arange(state.size)).reshape(state.shape)
        for move, expected in (
            ((direction, 0 * state), jnp.sum(by_params * direction[None], (1, 2, 3))),
            ((0 * params, along), jnp.sum(by_state * along[None], (1, 2))),
        ):
            above, below = (plain(params + s * move[0], state + s * move[1]) for s in (eps, -eps))
            for shifted in (above, below):
                np.testing.assert_array_equal(shifted[1], children)
            assert (jnp.abs(expected) > 1e-3).all()
            np.testing.assert_allclose((above[0] - below[0]) / (2 * eps), expected, rtol=1e-6)


def test_statistics_text_json_and_graphviz_tell_the_same(plain_tree):
    plain_tree = jax.tree.map(jnp.asarray, plain_tree)
    stats = jax.jit(search.statistics)(plain_tree)
    np.testing.assert_array_equal(stats.num_nodes, 21)
    np.testing.assert_allclose(stats.utilisation, 1.0)
    names = ["a", 'b"', "c"]
    top = json.loads(search.to_json(plain_tree, 1, action_names=names))

    def count(node):
        return 1 + sum(map(count, node["children"]))

    def depth(node):
        return 1 + max(map(depth, node["children"]), default=-1)

    assert count(top) == 21
    assert depth(top) == stats.max_depth[1]
    assert top["visits"] == 21
    dot = search.to_graphviz(plain_tree, 1, action_names=names)
    assert dot.count("->") == 20
    assert '\\"' in dot
    text = search.describe(plain_tree, 1, action_names=names, max_depth=1)
    assert text.splitlines()[0].startswith("root  N=21")
    for write in (search.describe, search.to_json, search.to_graphviz):
        with pytest.raises(ValueError, match=rf"^{write.__name__}: batch_index must be in \[0, 3\), got 9"):
            write(plain_tree, 9)
        with pytest.raises(ValueError, match=f"^{write.__name__}: action_names must have one name for each of 3"):
            write(plain_tree, action_names=["a"])
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16 if x.dtype == jnp.float32 else None), plain_tree)
    assert count(json.loads(search.to_json(half, 1))) == 21
    assert search.to_graphviz(half, 1).count("->") == 20
    assert search.describe(half, 1).splitlines()[0] == f"root  N=21  V={float(half.node_values[1, 0]):.2f}"


def test_broken_trees_are_told(plain_tree):
    search.check_invariants(plain_tree)
    tree = jax.tree.map(jnp.asarray, plain_tree)
    changed = lambda name, at, value: tree.replace(**{name: tree[name].at[at].set(value)})
    broken = changed("node_visits", (1, 0), 3)
    with pytest.raises(ValueError, match=r"'visits' in trees \[1\]"):
        search.check_invariants(broken)
    for name in ("node_values", "children_prior_logits", "children_rewards"):
        nan = changed(name, (0, 2), jnp.nan)
        with pytest.raises(ValueError, match=r"'finite' in trees \[0\]"):
            search.check_invariants(nan)


def test_a_priors_nan_is_told_under_jit_in_debug_mode():
    nan = lambda *args: (lambda out, s: (out.replace(prior_logits=jnp.nan * out.prior_logits), s))(*step(*args))
    with pytest.raises(Exception, match="the search tree breaks 'finite'"):
        jax.block_until_ready(run(2, model=nan, debug=True))


def test_without_the_mark_of_a_kernel_results_are_the_same(monkeypatch):
    root = make_root(10)
    marked = run(12, root=root)
    unmarked = []
    monkeypatch.setattr(_kernel, "mark", lambda **_: unmarked.append(1) or contextlib.nullcontext())
    assert_same_tree(run(12, root=root).search_tree, marked.search_tree)
    assert unmarked


def test_leaves_of_a_wave_do_not_meet_while_other_edges_are_free():
    tree = run(6, num_parallel=3, budgets=np.array([6, 5, 0])).search_tree
    np.testing.assert_array_equal(tree.node_visits[:, 0], [7, 6, 1])
    # The first wave takes each of the three actions once.
    np.testing.assert_array_equal(np.sort(tree.action_from_parent[:2, 1:4], axis=-1), [[0, 1, 2]] * 2)
    np.testing.assert_array_equal(tree.parents[:2, 1:4], 0)
    search.check_invariants(tree)


def test_gumbel_halves_what_each_tree_may_spend():
    gumbel = functools.partial(search.gumbel_muzero_policy, max_num_considered_actions=3)
    uneven = run(16, gumbel, budgets=np.array([16, 5, 9]))
    even = run(5, gumbel)
    np.testing.assert_array_equal(uneven.search_tree.children_visits[1, 0], even.search_tree.children_visits[1, 0])
    np.testing.assert_array_equal(uneven.action[1], even.action[1])
    # A tree that was kept is halved by its new visits.
    top = jnp.asarray(even.search_tree.children_visits[:, 0].argmax(-1))

    @jax.jit
    def going(tree):
        kept = search.reroot(tree, top, capacity=20)
        more = gumbel(PARAMS, jax.random.key(5), None, step, 6, tree=kept)
        return more.search_tree.children_visits[:, 0] - kept.children_visits[:, 0]

    np.testing.assert_array_equal(np.sort(going(even.search_tree), axis=-1), [[1, 2, 3]] * B)


@pytest.mark.usefixtures("unchecked")
def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"root.value must have shape \[B\] with B = 3"):
        run(2, root=make_root().replace(value=jnp.zeros(4)))
    with pytest.raises(ValueError, match=r"root.embedding.* first axis of size 3"):
        run(2, root=make_root().replace(embedding=jnp.zeros((4, 1))))
    with pytest.raises(ValueError, match="capacity must be at least 1"):
        run(2, capacity=0)
    with pytest.raises(ValueError, match="invalid_actions must have shape"):
        run(2, invalid_actions=jnp.zeros((B, A + 1)))
    narrow = lambda *args: (lambda out, s: (out, s[:, :2]))(*step(*args))
    with pytest.raises(ValueError, match=r"embedding must have shape \[M, 4,?\], got \(3, 2\)"):
        run(2, model=narrow)
    named = lambda *args: (lambda out, s: (out, {"s": s}))(*step(*args))
    with pytest.raises(ValueError, match="must have the structure of the root's"):
        run(2, model=named)
    with pytest.raises(ValueError, match="num_parallel must divide"):
        run(5, num_parallel=2)
    with pytest.raises(ValueError, match="differentiable=True needs num_parallel = 1"):
        run(4, num_parallel=2, differentiable=True)
    with pytest.raises(ValueError, match="root must be given"):
        search.muzero_policy(PARAMS, jax.random.key(0), None, step, 4)
    wide = lambda *args: (lambda out, s: (out.replace(value=jnp.zeros((B, 1))), s))(*step(*args))
    with pytest.raises(ValueError, match="recurrent_fn: value"):
        run(2, model=wide)
    with pytest.raises(ValueError, match="num_simulations"):
        run(0, search.gumbel_muzero_policy)
    with pytest.raises(ValueError, match=r"root.to_play must be given"):
        run(2, root=nim_root([4]).replace(to_play=None), model=tic)


def test_search_composes_with_vmap_and_scan():
    keys = jax.random.split(jax.random.key(0), 2)
    policy = lambda key: search.muzero_policy(PARAMS, key, make_root(), step, 6).search_tree.node_visits
    mapped = jax.jit(jax.vmap(policy))(keys)
    scanned = jax.jit(lambda keys: jax.lax.scan(lambda c, k: (c, policy(k)), 0, keys)[1])(keys)
    np.testing.assert_array_equal(mapped, scanned)
