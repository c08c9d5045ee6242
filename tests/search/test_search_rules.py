"""Rules of one node: the library's and the user's own are recognised by asking, and take the quick path."""

import ast
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import search
from renga.search._selections import rules_of

KEY = jax.random.key(0)
MUZERO, ROOT, INTERIOR = (
    search.muzero_action_selection,
    search.gumbel_muzero_root_action_selection,
    search.gumbel_muzero_interior_action_selection,
)
MIN_MAX = functools.partial(search.qtransform_by_min_max, min_value=-1.0, max_value=1.0)


class Ucb(search.Selection):
    """The upper confidence bound, with a weight for each action."""

    weight: jax.Array
    exponent: float = 0.5
    noisy = True

    def node_scores(self, node):
        bonus = jnp.log(1.0 + node.node_visits) / (1 + node.children_visits)
        unused = node.raw_values  # noqa: F841
        return node.qvalues + self.weight * bonus**self.exponent


class Ranked(search.Selection):
    """Sorts, which a kernel cannot."""

    def node_scores(self, node):
        return jnp.sort(node.children_prior_logits)[-1] - node.children_visits


class Squashed(search.QTransform):
    scale: float = 1.0

    def transform(self, node):
        return jnp.tanh(self.scale * node.qvalues) - jnp.max(node.qvalues)


def own(rng_key, tree, node_index, depth=0):
    return jnp.argmin(tree.children_visits[node_index])


def handed_on(rng_key, tree, node_index, depth=0):
    return MUZERO(rng_key, tree, node_index, depth, pb_c_init=2.0)


@pytest.mark.parametrize(
    ("root", "interior", "rules"),
    [
        (functools.partial(MUZERO, depth=0), MUZERO, (search.Puct(), search.Puct())),
        (
            functools.partial(ROOT, num_simulations=4, max_num_considered_actions=2),
            functools.partial(INTERIOR, qtransform=MIN_MAX),
            (search.GumbelRoot(4, 2), search.GumbelInterior(Squashed)),
        ),
        (handed_on, handed_on, (search.Puct(2.0), search.Puct(2.0))),
        (search.Puct(qtransform=Squashed()), search.Puct(qtransform=Squashed()), (search.Puct(), search.Puct())),
        (lambda key, tree, node: MUZERO(key, tree, node, 0), Ranked(), (search.Puct(), Ranked())),
    ],
)
def test_a_function_that_hands_on_its_arguments_is_the_rule_that_it_hands_them_to(root, interior, rules):
    found = rules_of(root, interior, KEY)
    assert [type(rule) for rule in found] == [type(rule) for rule in rules]
    if root is handed_on:
        assert found[0].pb_c_init == 2.0


def test_any_other_function_is_a_users_own():
    at_root = functools.partial(MUZERO, depth=0)
    for interior in (
        own,
        lambda key, tree, node, depth: MUZERO(key, tree, node, depth) + 0,
        lambda key, tree, node, depth: MUZERO(jax.random.fold_in(key, 1), tree, node, depth),
        lambda key, tree, node, depth: MUZERO(KEY, tree, node, depth),
        lambda key, tree, node, depth: MUZERO(key, tree, 0, depth),
        lambda key, tree, node, depth: MUZERO(key, tree, node, 0),
        lambda key, tree, node, depth: MUZERO(key, tree, node, depth, pb_c_init=1.0 + depth),
        lambda key, tree, node, depth: MUZERO(key, tree.replace(extra_data=None), node, depth),
        lambda key, tree, node, depth: own(key, tree, node) if depth == 3 else MUZERO(key, tree, node, depth),
        functools.partial(MUZERO, qtransform=lambda tree, node: tree.node_values[0] + tree.qvalues(node)),
        functools.partial(MUZERO, qtransform=lambda tree, node: 2 * MIN_MAX(tree, node)),
        jax.jit(MUZERO),
    ):
        assert rules_of(at_root, interior, KEY) is None
    assert rules_of(MUZERO, MUZERO, KEY) is None  # nobody tells the root's depth
    assert rules_of(at_root, MUZERO, jax.random.key(0, impl="rbg")) is None  # its noise is drawn by jax.random


def model(actions):
    def step(params, rng_key, action, state):
        state = jnp.sin(1.7 * state + action)
        logits = jnp.cos(jnp.outer(state, jnp.arange(1.0, actions + 1)))
        zeros = jnp.zeros(state.shape)
        return search.RecurrentFnOutput(
            reward=jnp.round(state, 1), discount=zeros + 0.9, prior_logits=logits, value=jnp.round(jnp.cos(state), 1)
        ), state

    return step


def run(rule, batch, actions=4, qtransform=None):
    """A search, and whether its selections are in a kernel."""
    state = jnp.arange(float(batch))
    root = search.RootFnOutput(prior_logits=jnp.zeros((batch, actions)), value=state, embedding=state)
    invalid = jnp.zeros((batch, actions)).at[:, 1].set(1)

    def call(key, weight):
        own = rule if qtransform is None else search.Puct(qtransform=qtransform)
        own = own(weight) if rule is Ucb else own
        select = {"root_action_selection_fn": own, "interior_action_selection_fn": own}
        return search.search(
            (), key, root=root, recurrent_fn=model(actions), num_simulations=14, invalid_actions=invalid, **select
        )

    program = jax.jit(call).lower(KEY, 1.0 + jnp.arange(actions))
    return program.compile()(KEY, 1.0 + jnp.arange(actions)), program.as_text().count("xla_cpu_small_call")


def opaque(rule):
    """The same selection as a function that has to be asked at every node."""

    def make(*arguments):
        return lambda key, tree, node, depth=0: rule(*arguments)(key, tree, node, depth) + 0

    return make


@pytest.mark.parametrize("batch", [2, 9], ids=["rows", "tiles"])
def test_a_rule_of_ones_own_is_quick_and_gives_the_trees_of_the_plain_path(batch, monkeypatch):
    tree, kernels = run(Ucb, batch)
    plain = opaque(Ucb)
    monkeypatch.setattr(f"{__name__}.Ucb", plain)
    expected, fewer = run(plain, batch)
    assert kernels == 2
    assert fewer == 1  # nothing is kept at the nodes; means are carried up all the same
    for name in ("children_index", "children_visits", "parents"):
        np.testing.assert_array_equal(tree[name], expected[name], err_msg=name)
    np.testing.assert_allclose(tree.node_values, expected.node_values, rtol=1e-5)
    assert (tree.children_visits[:, 0, 1] == 0).all()
    search.check_invariants(tree)


def test_a_qtransform_of_ones_own_is_quick_and_gives_the_trees_of_the_plain_path():
    tree, kernels = run(None, 9, qtransform=Squashed(0.5))
    expected, fewer = run(None, 9, qtransform=lambda tree, node: Squashed(0.5)(tree, node) + 0)
    assert (kernels, fewer) == (2, 1)
    np.testing.assert_array_equal(tree.children_index, expected.children_index)
    np.testing.assert_allclose(tree.node_values, expected.node_values, rtol=1e-5)


def test_a_rule_that_a_kernel_cannot_hold_takes_the_plain_path():
    tree, kernels = run(Ranked(), 2)
    assert kernels == 1
    search.check_invariants(tree)
    np.testing.assert_array_equal(tree.children_visits[:, 0], [[5, 0, 5, 4]] * 2)


def test_a_rule_is_a_pytree_and_a_node_says_what_it_has():
    rule = search.Puct(pb_c_init=jnp.float32(1.0), qtransform=MIN_MAX)
    assert float(jax.jit(lambda rule: rule.pb_c_init)(rule)) == 1.0
    assert len(jax.tree.leaves(Ucb(jnp.ones(2)))) == 2
    tree, _ = run(Ranked(), 2)
    one = jax.tree.map(lambda x: x[0], tree)
    np.testing.assert_array_equal(
        Ranked().scores(one, 0), jnp.max(one.children_prior_logits[0]) - one.children_visits[0]
    )
    with pytest.raises(AttributeError, match="a selection sees one node, which has no 'children_index'"):

        class Further(search.Selection):
            def node_scores(self, node):
                return node.children_index

        Further().scores(one, 0)
    with pytest.raises(NotImplementedError, match="must say node_scores"):
        search.Selection().scores(one, 0)


def imports_of(path, root):
    """Modules of the package that a file imports at its top level."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("renga.search"):
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                parts = name.split(".")[2:]
                file, package = root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py")
                found.add(file if file.exists() else package if package.exists() else file_of(node.module, root))
    return found - {path}


def file_of(module, root):
    path = root.joinpath(*module.split(".")[2:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_the_library_has_eight_floors_at_most_and_one_door_to_the_quick_form():
    root = Path(search.__file__).parent
    imports = {path: imports_of(path, root) for path in root.rglob("*.py")}

    @functools.cache
    def floor(path):
        return 1 + max(map(floor, imports[path]), default=0)

    assert max(map(floor, imports)) <= 7  # and one for renga._core
    inside = {path for path in imports if path.parent.name == "_quick"}
    assert {b.name for a in set(imports) - inside for b in imports[a] & inside} == {"__init__.py"}
    assert {a.name for a in set(imports) - inside if imports[a] & inside} == {"_search.py"}
