"""States of all optimisers: read by name, donated, sharded as the parameters, masked by trees that can be called."""
# ruff: noqa: E501, PT018

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from renga import optim

from .optimisers import ALL, OPTIMISERS, step

pytestmark = pytest.mark.usefixtures("rank_promotion")

PARAMS = {"w": jnp.ones((4, 6)), "b": jnp.ones(8)}


@pytest.fixture(scope="module")
def sharded():
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Auto,))
    return jax.device_put(PARAMS, NamedSharding(mesh, PartitionSpec("x")))


@pytest.mark.parametrize("name", ALL)
def test_states_are_sharded_as_the_parameters_and_can_be_donated_with_them(name, sharded):
    kept = {x.shape: x.sharding for x in sharded.values()}

    def strays(tree):
        leaves = [(jax.tree_util.keystr(p), x) for p, x in jax.tree_util.tree_leaves_with_path(tree)]
        return [p for p, x in leaves if x.shape in kept and not x.sharding.is_equivalent_to(kept[x.shape], x.ndim)]

    tx = ALL[name](optim, 0.1)
    state = tx.init(sharded)
    assert not strays(state)

    def stepped(g, p):
        u, state = step(tx, g, tx.init(p), p)
        return tx.init(p), optim.apply_updates(p, u), state

    assert not strays(jax.jit(stepped)(sharded, sharded))
    arrays = [x for x in jax.tree.leaves((sharded, state)) if not jnp.issubdtype(x.dtype, jax.dtypes.extended)]
    places = [shard.data.unsafe_buffer_pointer() for x in arrays for shard in x.addressable_shards[:1]]
    assert len(set(places)) == len(places)


def test_states_made_and_stepped_outside_of_jit_are_sharded_and_donated(sharded):
    for name in ("adam", "adafactor", "sm3", "contrib.prodigy", "sam"):
        tx = ALL[name](optim, 0.1)
        _, state = step(tx, sharded, tx.init(sharded), sharded)
        for x in jax.tree.leaves(state):
            assert x.shape not in ((4, 6), (8,)) or len(x.sharding.device_set) == 2, name
    tx = optim.adafactor(0.1)
    params = {"w": jnp.ones((4, 6))}
    update = jax.jit(tx.update, donate_argnums=1)
    with jax.log_compiles(False):
        update(params, tx.init(params), params)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_learning_rate_of_every_optimiser_can_be_read(name):
    tx = OPTIMISERS[name](optim, 0.25)
    state = tx.init(PARAMS)
    assert optim.read(state, "learning_rate") == 0.25
    after = jax.eval_shape(lambda s: step(tx, PARAMS, s, PARAMS)[1], state)
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_the_learning_rate_read_is_that_of_the_last_step():
    schedule = optim.linear_schedule(0.25, 0.0, 5)
    for name in ("sm3", "fromage", "contrib.muon", "contrib.prodigy"):
        tx = OPTIMISERS[name](optim, schedule)
        state, after = jax.jit(tx.init)(PARAMS), jax.jit(lambda state, tx=tx: step(tx, PARAMS, state, PARAMS)[1])
        for want in (0.25, 0.2):
            state = after(state)
            np.testing.assert_allclose(optim.read(state, "learning_rate"), want, rtol=1e-6)
    tx = optim.polyak_sgd(1.0, scaling=0.5)  # the rate is known in the step only: f / |s g|² = 2 / 8
    _, state = tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=2.0)
    np.testing.assert_allclose(optim.read(state, "learning_rate"), 0.5 * 2 / 8, rtol=1e-6)


def test_a_state_with_a_learning_rate_is_the_tuple_without_it():
    state = optim.adam(optim.linear_schedule(0.1, 0.0, 5)).init(PARAMS)[1]
    assert isinstance(state, optim.ScaleByScheduleState)
    assert len(state) == 1 and state._fields == ("count",) and type(state).__name__ == "ScaleByScheduleState"
    assert state._replace(count=3).count == 3
    assert len(jax.tree.leaves(state._replace(count=3))) == 2
    for same in (pickle.loads(pickle.dumps(state)), copy.deepcopy(state), jax.tree.map(lambda x: x, state)):
        assert jax.tree.structure(same) == jax.tree.structure(state)
        np.testing.assert_allclose(same.effective_learning_rate, 0.1)
    plain = type(state)(jnp.array(7))  # as a loader of checkpoints makes it, from the fields
    assert jax.tree.structure(plain) == jax.tree.structure(state)
    assert optim.sgd(0.1).init(PARAMS) == (optim.EmptyState(), optim.EmptyState())


def test_states_are_found_and_set_by_the_names_of_their_classes():
    tree = optim.tree_utils
    state = optim.chain(optim.adam(optim.constant_schedule(0.1)), optim.trace(0.9)).init(PARAMS)
    found = tree.tree_get(state, "ScaleByScheduleState")
    assert isinstance(found, optim.ScaleByScheduleState)
    only = lambda path, _: getattr(path[-1], "tuple_name", None) == "ScaleByScheduleState"
    assert tree.tree_get(state, "count", filtering=only) == 0
    assert tree.tree_set(state, only, count=5)[0][1].count == 5
    assert tree.tree_set(state, TraceState="new")[1] == "new"
    nested = {"a": {"a": 1}, "b": {"a": 2}}
    assert tree.tree_set(nested, a=0) == {"a": 0, "b": {"a": 0}}
    state = optim.MultiSteps(optim.adam(0.1), 2).init(PARAMS)
    monitored = optim.monitor({"norm": optim.global_norm})
    seen = optim.tree_map_params(monitored, lambda x: x, monitored.init(PARAMS))
    assert seen.measurements["norm"] == 0


@jax.tree_util.register_pytree_node_class
class Model:
    """A module as libraries write them: a tree that can be called."""

    def __init__(self, a, b):
        self.a, self.b = a, b

    def __call__(self, *_):
        raise AssertionError("the model was called")

    def tree_flatten(self):
        return (self.a, self.b), None

    @classmethod
    def tree_unflatten(cls, _, parts):
        return cls(*parts)


MASK = Model(True, False)
MASKED = {
    "masked": lambda: optim.masked(optim.sgd(1.0), MASK),
    "freeze": lambda: optim.freeze(MASK),
    "selective_transform": lambda: optim.selective_transform(optim.sgd(1.0), freeze_mask=MASK),
    "partition": lambda: optim.partition({"x": optim.sgd(1.0), "y": optim.set_to_zero()}, Model("x", "y")),
    "multi_transform": lambda: optim.multi_transform(
        {"x": optim.sgd(1.0), "y": optim.set_to_zero()}, lambda _: Model("x", "y")
    ),
    "add_decayed_weights": lambda: optim.add_decayed_weights(0.1, MASK),
    "adadelta": lambda: optim.adadelta(0.1, weight_decay=0.1, weight_decay_mask=MASK),
    "adafactor": lambda: optim.adafactor(0.1, weight_decay_rate=0.1, weight_decay_mask=MASK),
    "adamaxw": lambda: optim.adamaxw(0.1, mask=MASK, weight_decay=0.1),
    "adamw": lambda: optim.adamw(0.1, mask=MASK, weight_decay=0.1),
    "adan": lambda: optim.adan(0.1, mask=MASK, weight_decay=0.1),
    "lamb": lambda: optim.lamb(0.1, mask=MASK, weight_decay=0.1),
    "lars": lambda: optim.lars(0.1, weight_decay_mask=MASK, trust_ratio_mask=MASK),
    "lion": lambda: optim.lion(0.1, mask=MASK, weight_decay=0.1),
    "galore": lambda: optim.contrib.galore(0.1, weight_decay=0.1, mask=MASK),
    "muon": lambda: optim.contrib.muon(0.1, weight_decay=0.1, weight_decay_mask=MASK),
    "prodigy": lambda: optim.contrib.prodigy(0.1, weight_decay=0.1, weight_decay_mask=MASK),
    "a function of the class of a tree": lambda: optim.masked(
        optim.sgd(1.0), jax.tree_util.Partial(lambda keep, p: jax.tree.map(lambda _: keep, p), True)
    ),
}


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_or_labels_that_could_be_called_are_not(name):
    params = Model(jnp.ones(2), jnp.ones(2))
    tx = MASKED[name]()
    updates = jax.eval_shape(lambda p: tx.update(p, tx.init(p), p)[0], params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)


def test_masks_of_zeros_and_ones_are_masks():
    tx = optim.masked(optim.sgd(1.0), {"w": 1, "b": 0})
    updates, _ = tx.update(PARAMS, tx.init(PARAMS))
    assert updates["w"][0, 0] == -1 and updates["b"][0] == 1


def test_accumulated_steps_have_the_dtype_the_optimiser_gives():
    grads, params = jnp.full(2, 0.5, jnp.bfloat16), jnp.ones(2)
    for make, dtype in ((optim.adam, "float32"), (optim.sgd, "bfloat16")):
        tx = optim.MultiSteps(make(0.1), 2)
        state = tx.init(params)
        for _ in range(2):
            updates, state = tx.update(grads, state, params)
            assert updates.dtype == dtype and state.acc_grads.dtype == "float32"


def test_a_transformation_is_the_pair_of_its_functions():
    tx = optim.adam(0.1)
    assert tx._fields == optim.GradientTransformation._fields == ("init", "update")
    assert (tx.index(tx.update), tx.count(tx.init), len(tx + (1,))) == (1, 1, 3)
    pair = optim.GradientTransformation._make([lambda p: 7, lambda u, s, p=None: (u, s)])
    assert isinstance(pair, optim.GradientTransformation) and pair.init(None) == 7


def test_injected_numbers_keep_their_digits_beside_16_bits_and_under_jit():
    params = {"w": jnp.ones((200, 200), jnp.bfloat16)}
    tx = optim.inject_hyperparams(optim.adamw)(0.1)
    state = tx.init(params)
    assert state.hyperparams["b2"] == jnp.float32(0.999)
    updates, _ = tx.update(params, state, params)
    np.testing.assert_allclose(np.asarray(updates["w"][0, 0], float), -0.1, rtol=1e-2)
    tx = optim.inject_hyperparams(optim.adafactor)(0.1)
    state = jax.jit(tx.init)(params)
    assert state.inner_state[0].v_row["w"].shape == (200,)
    noisy = optim.inject_hyperparams(optim.noisy_sgd)(0.1, seed=3)
    jax.eval_shape(lambda p: noisy.update(p, noisy.init(p), p), params)


def shown(state):
    """Names of classes and fields, as a program sees them."""
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state).__name__, {name: shown(getattr(state, name)) for name in state._fields}
    if isinstance(state, dict):
        return {name: shown(part) for name, part in state.items()}
    return [shown(part) for part in state] if isinstance(state, tuple | list) else None


NUMBERS_ONLY = ("contrib.schedule_free_adamw", "contrib.schedule_free_sgd", "inject_hyperparams", "polyak_sgd", "rprop", "schedule_free", "sm3")  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_states_have_the_names_of_optax(name):
    optax = pytest.importorskip("optax")
    pytest.importorskip("optax.contrib")
    for rate in (lambda o: 0.1, lambda o: o.linear_schedule(0.1, 0.0, 5)):
        if name in NUMBERS_ONLY and rate(optim) != 0.1:
            continue
        ours, theirs = ALL[name](optim, rate(optim)), ALL[name](optax, rate(optax))
        assert shown(jax.eval_shape(ours.init, PARAMS)) == shown(jax.eval_shape(theirs.init, PARAMS))
