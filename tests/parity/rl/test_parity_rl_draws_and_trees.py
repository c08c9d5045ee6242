"""Random draws for the same key, functions of trees, and records: what they give is what rlax gives."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import rl as ours

rlax = pytest.importorskip("rlax")

pytestmark = [
    pytest.mark.usefixtures("rank_promotion"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

_rng = np.random.RandomState(0)
N = lambda *shape: jnp.asarray(_rng.normal(size=shape), jnp.float32)
LOGITS, PROBS, V, W = N(4, 3), jax.nn.softmax(N(4, 3)), N(4), N(4)
KEY, MASK = jnp.array([0, 7], jnp.uint32), jnp.array([True, False, True, False])
TREE = {"a": N(4, 2), "b": (N(4), N(4, 1, 3))}
OTHER = jax.tree.map(lambda x: 2 * x + 1, TREE)
BOX = types.SimpleNamespace(minimum=np.float32(-1), maximum=np.float32(3))

CALLS = {
    "categorical_sample": lambda L: L.categorical_sample(KEY, PROBS),
    "softmax": lambda L: L.softmax(0.5).sample(KEY, LOGITS),
    "epsilon_greedy": lambda L: L.epsilon_greedy(0.4).sample(KEY, LOGITS),
    "greedy": lambda L: L.greedy().sample(KEY, jnp.round(LOGITS)),
    "clipped_entropy_softmax": lambda L: L.clipped_entropy_softmax().sample(KEY, LOGITS),
    "gaussian_diagonal": lambda L: L.gaussian_diagonal(0.4).sample(KEY, LOGITS),
    "squashed_gaussian": lambda L: L.squashed_gaussian().sample(KEY, LOGITS, LOGITS, BOX),
    "add_gaussian_noise": lambda L: L.add_gaussian_noise(KEY, V, 0.3),
    "add_ornstein_uhlenbeck_noise": lambda L: L.add_ornstein_uhlenbeck_noise(KEY, V, W, 0.15, 0.2),
    "add_dirichlet_noise": lambda L: L.add_dirichlet_noise(KEY, PROBS, 0.3, 0.25),
    "sample_start_indices": lambda L: L.sample_start_indices(KEY, 3, 2, 5),
    "extract_subsequences": lambda L: L.extract_subsequences(LOGITS, jnp.array([[0], [2], [3]]), 2),
    "fix_step_type_on_interruptions": lambda L: L.fix_step_type_on_interruptions(
        jnp.array([[0, 1, 1, 0, 2, 0, 1], [1, 0, 0, 1, 1, 2, 1]]).T
    ),
    "tree_select": lambda L: L.tree_select(jnp.array(False), TREE, OTHER),
    "tree_map_zipped": lambda L: L.tree_map_zipped(lambda x, y: x * y, [TREE, OTHER]),
    "tree_split_key": lambda L: L.tree_split_key(KEY, TREE),
    "tree_split_leaves": lambda L: L.tree_split_leaves(TREE),
    "tree_split_leaves/axis": lambda L: L.tree_split_leaves({"x": LOGITS}, axis=-1, keepdim=True),
    "tree_fn": lambda L: L.tree_fn(lambda x, y, c: c * x + y, c=3.0)(TREE, OTHER),
    "transpose_first_axis_to_last": lambda L: L.transpose_first_axis_to_last(TREE),
    "transpose_last_axis_to_first": lambda L: L.transpose_last_axis_to_first(TREE),
    "replace_masked": lambda L: L.replace_masked(LOGITS, PROBS, MASK),
    "tree_replace_masked": lambda L: L.tree_replace_masked(TREE, OTHER, MASK),
    "tree_replace_masked/zeros": lambda L: L.tree_replace_masked(TREE, None, MASK),
    "unbiased_transform_pair": lambda L: L.unbiased_transform_pair(-3.0, 3.0, 7, L.SIGNED_HYPERBOLIC_PAIR).apply(9 * V),
    "unbiased_transform_pair/inverse": lambda L: L.unbiased_transform_pair(
        -3.0, 3.0, 3, L.SIGNED_HYPERBOLIC_PAIR
    ).apply_inv(PROBS),
    "AllSum": lambda L: jax.vmap(L.AllSum("i"), axis_name="i")(LOGITS),
    "popart": lambda L: tuple(L.popart(3, 0.1, 0.01, 9.0)[0]()),
    "art/over_devices": lambda L: tuple(
        jax.vmap(
            lambda x, i: L.art(L.PopArtState(jnp.zeros(2), jnp.ones(2), jnp.ones(2)), x, i, 0.1, 0.01, 9.0, "i"),
            axis_name="i",
        )(LOGITS, jnp.array([[0, 1, 1]] * 4))
    ),
    "vmpo/over_devices": lambda L: jax.vmap(
        lambda a, p: L.vmpo_loss(
            p, a, L.LagrangePenalty(0.7, 0.2), [(p**2, L.LagrangePenalty(0.5, 0.1))], axis_name="i"
        )[0],
        axis_name="i",
    )(LOGITS, PROBS),
}


@pytest.mark.parametrize("name", CALLS)
def test_results_are_those_of_rlax(name):
    got, expected = jax.jit(lambda: (CALLS[name](ours), CALLS[name](rlax)))()
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        # Upstream's parabola is off by rounding near zero.
        tolerance = 1e-3 if "unbiased" in name else 1e-5
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def test_memories_and_their_rewards_are_those_of_rlax():
    states = [None, None]
    for batch in (N(2, 3), N(2, 3), N(3, 3), 4 * N(2, 3)):
        rewards, memories = [], []
        for i, library in enumerate((ours, rlax)):
            reward, states[i] = library.episodic_memory_intrinsic_rewards(batch, 2, 0.5, states[i], max_memory_size=5)
            rewards.append(reward)
            memories.append(dict(states[i]))
        np.testing.assert_allclose(*rewards, rtol=1e-5)
        for key in memories[0]:
            np.testing.assert_allclose(memories[0][key], memories[1][key], rtol=1e-5)


def test_policy_targets_are_those_of_rlax():
    distrax = pytest.importorskip("distrax")
    policy = distrax.Categorical(logits=LOGITS)
    both = [library.constant_policy_targets(policy, KEY, 3, 0.5) for library in (ours, rlax)]
    for key in ("actions", "weights"):
        np.testing.assert_allclose(both[0][key], both[1][key])
    losses = [
        library.sampled_policy_distillation_loss(policy, t) for library, t in zip((ours, rlax), both, strict=True)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-6)
    assert not ours.zero_policy_targets(policy, KEY, 2).weights.any()


def test_records_read_like_those_of_rlax():
    both = [library.EmaMoments(mean=1.0, variance=2.0) for library in (ours, rlax)]
    for moments in both:
        assert dict(moments) == {"mean": 1.0, "variance": 2.0}
        assert moments.to_tuple() == (1.0, 2.0)
        assert moments.replace(mean=3.0)["mean"] == 3.0
        assert list(moments.keys()) == ["mean", "variance"]
        assert list(moments.values()) == [1.0, 2.0]
        assert type(moments).from_tuple((1.0, 2.0)) == moments
    for fields in ("LagrangePenalty", "PopArtState", "TxPair"):
        assert getattr(ours, fields)._fields == getattr(rlax, fields)._fields
