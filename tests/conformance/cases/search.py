"""One tiny call of every public function of `renga.search`."""

import functools

import jax
import jax.numpy as jnp

from renga import search

from . import Case

LOGITS = jnp.array([[0.3, -0.2], [0.1, 0.4]])


def _step(params, rng_key, action, state):
    state = jnp.tanh(state * params[None] + action[:, None])
    return search.RecurrentFnOutput(
        reward=state[:, 0],
        discount=jnp.full(state.shape[:1], 0.9),
        prior_logits=LOGITS * state,
        value=state[:, 1],
    ), state


def _root(state):
    return search.RootFnOutput(prior_logits=LOGITS, value=state[:, 1], embedding=state)


@functools.cache
def _tree():
    """One searched tree of two elements: built once, an argument of the functions that read trees."""
    search_once = jax.jit(
        lambda state: (
            search.muzero_policy(
                jnp.ones(2), jax.random.key(0), _root(state), _step, 3, dirichlet_fraction=0.0
            ).search_tree
        )
    )
    return search_once(ARGS[1])


def TREE():
    return (_tree(),)


def ONE():
    return (jax.tree.map(lambda x: x[0], _tree()),)


def _policy(policy, **options):
    def call(params, state):
        output = policy(params, jax.random.key(1), _root(state), _step, 3, **options)
        return output.action_weights, output.search_tree.node_values

    return call


def _stochastic(params, state):
    def decide(params, rng_key, action, state):
        step, state = _step(params, rng_key, action, state)
        return search.DecisionRecurrentFnOutput(chance_logits=step.prior_logits, afterstate_value=step.value), state

    def chance(params, rng_key, outcome, state):
        step, state = _step(params, rng_key, outcome, state)
        return search.ChanceRecurrentFnOutput(
            action_logits=step.prior_logits,
            value=step.value,
            reward=step.reward,
            discount=step.discount,
        ), state

    return search.stochastic_muzero_policy(
        params, jax.random.key(1), _root(state), decide, chance, 3, dirichlet_fraction=0.0
    ).action_weights


def _sampled(params, state):
    def model(params, rng_key, action, state):
        step, state = _step(params, rng_key, action, state)
        return search.SampledRecurrentFnOutput(
            reward=step.reward,
            discount=step.discount,
            value=step.value,
            actions=jnp.zeros((2, 2)),
            prior_log_probs=LOGITS,
            proposal_log_probs=LOGITS,
        ), state

    root = search.SampledRootFnOutput(
        value=state[:, 1],
        embedding=state,
        actions=jnp.zeros((2, 2)),
        prior_log_probs=LOGITS,
        proposal_log_probs=LOGITS,
    )
    return search.sampled_muzero_policy(
        params, jax.random.key(1), root, model, 3, dirichlet_fraction=0.0
    ).action_weights


def _search(params, state):
    select = lambda key, tree, node, depth=0: jnp.argmin(tree.children_visits[node])
    return search.search(
        params,
        jax.random.key(0),
        root=_root(state),
        recurrent_fn=_step,
        root_action_selection_fn=select,
        interior_action_selection_fn=select,
        num_simulations=3,
    ).node_values


def _first_edge(state):
    return jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32)


def _numbers(fn):
    """A function of the numbers of a node's edges, in a tree whose shape is given."""

    def call(rewards, values, value):
        tree = ONE()[0]
        tree = tree.replace(children_rewards=rewards, children_values=values, raw_values=value, node_values=value)
        return fn(tree, 0)

    return call


def NUMBERS():
    tree = ONE()[0]
    spread = 0.1 * jnp.arange(8.0).reshape(4, 2)
    return tree.children_rewards + spread, tree.children_values - spread, tree.node_values


class _Rare(search.Selection):
    bonus: jax.Array

    def node_scores(self, node):
        return node.qvalues + self.bonus / (1 + node.children_visits)


class _Squashed(search.QTransform):
    scale: jax.Array

    def transform(self, node):
        return jnp.tanh(self.scale * node.qvalues)


def _own_rule(params, state):
    rule = _Rare(params[0])
    return search.search(
        params,
        jax.random.key(0),
        root=_root(state),
        recurrent_fn=_step,
        root_action_selection_fn=rule,
        interior_action_selection_fn=rule,
        num_simulations=3,
    ).node_values


ARGS = (jnp.array([0.5, -0.3]), jnp.array([[0.2, 0.1], [-0.4, 0.3]]))
BOUNDS = {"min_value": -1.0, "max_value": 1.0}
# A search decides by comparisons: its gradient is defined with `differentiable=True` only.
decision = functools.partial(Case, differentiable=False)

CASES = {
    "backward": decision(lambda t: search.backward(t, jnp.array([1, 2])).node_values, TREE),
    "expand": decision(
        lambda p, t: search.expand(p, jax.random.key(0), t, _step, *_first_edge(t), jnp.array([1, 1])).raw_values,
        lambda: (ARGS[0], _tree()),
    ),
    "gumbel_muzero_interior_action_selection": decision(
        lambda t: search.gumbel_muzero_interior_action_selection(jax.random.key(0), t, 0, 1), ONE
    ),
    "GumbelInterior": decision(lambda t: search.GumbelInterior().scores(t, 0), ONE),
    "GumbelRoot": decision(
        lambda t: search.GumbelRoot(num_simulations=4, max_num_considered_actions=2).scores(
            t.replace(extra_data=search.GumbelMuZeroExtraData(root_gumbel=jnp.array([0.2, 0.1]))), 0
        ),
        ONE,
    ),
    "Puct": decision(lambda t: search.Puct()(jax.random.key(0), t, 0), ONE),
    "QTransform": Case(
        lambda scale, *numbers: _numbers(_Squashed(scale))(*numbers), lambda: (jnp.array(0.7), *NUMBERS())
    ),
    "Selection": decision(_own_rule, ARGS),
    "gumbel_muzero_policy": decision(_policy(search.gumbel_muzero_policy), ARGS),
    "gumbel_muzero_policy/differentiable": Case(_policy(search.gumbel_muzero_policy, differentiable=True), ARGS),
    "gumbel_muzero_root_action_selection": decision(
        lambda t: search.gumbel_muzero_root_action_selection(
            jax.random.key(0),
            t.replace(extra_data=search.GumbelMuZeroExtraData(root_gumbel=jnp.array([0.2, 0.1]))),
            0,
            num_simulations=4,
            max_num_considered_actions=2,
        ),
        ONE,
    ),
    "invariants": decision(lambda t: search.invariants(t), TREE),
    "muzero_action_selection": decision(lambda t: search.muzero_action_selection(jax.random.key(0), t, 0, 0), ONE),
    "muzero_policy": decision(_policy(search.muzero_policy), ARGS),
    "muzero_policy/differentiable": Case(_policy(search.muzero_policy, differentiable=True), ARGS),
    "qtransform_by_min_max": Case(_numbers(lambda t, n: search.qtransform_by_min_max(t, n, **BOUNDS)), NUMBERS),
    "qtransform_by_parent_and_siblings": Case(_numbers(search.qtransform_by_parent_and_siblings), NUMBERS),
    "qtransform_completed_by_mix_value": Case(_numbers(search.qtransform_completed_by_mix_value), NUMBERS, rtol=1e-4),
    "reroot": decision(lambda t: search.reroot(t, jnp.array([0, 1])).node_values, TREE),
    "sampled_muzero_policy": decision(_sampled, ARGS),
    "search": decision(_search, ARGS),
    "simulate": decision(
        lambda t: search.simulate(
            jax.random.key(0),
            t,
            lambda key, tree, node, depth: jnp.argmin(tree.children_visits[node]),
            3,
        ),
        TREE,
    ),
    "statistics": decision(lambda t: search.statistics(t), TREE),
    "stochastic_muzero_policy": decision(_stochastic, ARGS),
}

_RECORD = "a record of arrays"
_ON_HOST = "reads concrete arrays and returns text or raises"
_ALIAS = "a type, for annotations"
EXEMPT = {
    "ChanceRecurrentFnOutput": _RECORD,
    "DecisionRecurrentFnOutput": _RECORD,
    "GumbelMuZeroExtraData": _RECORD,
    "InteriorActionSelectionFn": _ALIAS,
    "LoopFn": _ALIAS,
    "Node": "what selections see of a tree; they have cases",
    "PolicyOutput": _RECORD,
    "RecurrentFn": _ALIAS,
    "RecurrentState": _ALIAS,
    "RecurrentFnOutput": _RECORD,
    "RootActionSelectionFn": _ALIAS,
    "RootFnOutput": _RECORD,
    "SampledPolicyOutput": _RECORD,
    "SampledRecurrentFnOutput": _RECORD,
    "SampledRootFnOutput": _RECORD,
    "SearchSummary": _RECORD,
    "StochasticRecurrentState": _RECORD,
    "Tree": _RECORD,
    "TreeStatistics": _RECORD,
    "check_invariants": _ON_HOST,
    "check_signs": _ON_HOST,
    "describe": _ON_HOST,
    "to_graphviz": _ON_HOST,
    "to_json": _ON_HOST,
}

# Errors of JAX that are left: a tree is what `search` returned, and these take its arrays apart.
_TREE = "a tree whose arrays do not fit each other is none that search returned"
RAW_ERRORS = {
    "GumbelInterior": _TREE,
    "GumbelRoot": _TREE,
    "Puct": _TREE,
    "QTransform": _TREE,
    "backward": _TREE,
    "expand": _TREE,
    "gumbel_muzero_interior_action_selection": _TREE,
    "gumbel_muzero_root_action_selection": _TREE,
    "invariants": _TREE,
    "muzero_action_selection": _TREE,
    "qtransform_by_min_max": _TREE,
    "qtransform_by_parent_and_siblings": _TREE,
    "qtransform_completed_by_mix_value": _TREE,
    "reroot": _TREE,
}
