"""Every public name of Haiku stands in a parity test; those that no program needs are compared here."""

import functools
import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

hk = pytest.importorskip("haiku")

pytestmark = pytest.mark.usefixtures("rank_promotion")

KEY = jax.random.key  # called late: no array is made at import
HERE = pathlib.Path(__file__)
SUBMODULES = ["nets", "initializers", "experimental", "pad", "testing", "mixed_precision", "data_structures", "config"]
X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)

# Names of types in annotations, and what draws graphs with a tracer that leaks on the JAX of today.
NOT_COMPARED = {"Initializer", "PadFn", "LayerStackTransparencyMapping", "to_dot", "abstract_to_dot"}


def public(module):
    return {n for n in dir(module) if not n.startswith("_") and not inspect.ismodule(getattr(module, n))}


def test_every_public_name_of_haiku_stands_in_a_parity_test():
    text = "\n".join(p.read_text() for p in [*HERE.parent.glob("test_*.py"), HERE.parents[2] / "nn/nn_catalogue.py"])
    used = set(re.findall(r"\.(\w+)", text)) | set(re.findall(r'"(?:\w+\.)?(\w+)[/"]', text))
    names = public(hk).union(*(public(getattr(hk, name)) for name in SUBMODULES))
    assert not names - used - NOT_COMPARED


@pytest.mark.parametrize("name", ["ResNet18", "ResNet34", "ResNet50", "ResNet101", "ResNet152", "ResNet200"])
def test_the_resnets_have_the_same_parameters(name):
    trees = []
    for lib in (nn, hk):
        init = lib.transform_with_state(
            lambda x, lib=lib: getattr(lib.nets, name)(10, resnet_v2=name in ("ResNet34", "ResNet200"))(x, True)
        ).init
        shapes = jax.eval_shape(init, jax.eval_shape(lambda: KEY(0)), jnp.zeros([1, 32, 32, 3]))
        trees.append(jax.tree.map(lambda x: (x.shape, x.dtype), shapes))
    assert trees[0] == trees[1]


def test_pairs_are_added_to_and_taken_from_as_in_haiku():
    found = []
    for lib in (nn, hk):

        def f(lib=lib):
            layers = [lib.Linear(2, name=n) for n in ("encode", "decode")]
            return lambda x: layers[1](layers[0](x)), tuple(layers)

        def counted(lib=lib):
            average = lib.ExponentialMovingAverage(0.5)
            return average, {"average": average, "seen": lambda x: (lib.get_params(), lib.get_current_state())}

        plain, stateful = lib.multi_transform(f), lib.multi_transform_with_state(counted)
        assert isinstance(plain, lib.MultiTransformed)
        assert isinstance(stateful, lib.MultiTransformedWithState)
        params = plain.init(KEY(1), X)
        state = stateful.init(None, X)[1]
        assert isinstance(lib.with_empty_state(lib.transform(lambda x: x)), lib.TransformedWithState)
        assert isinstance(lib.without_state(lib.transform_with_state(lambda x: x)), lib.Transformed)
        with pytest.raises(ValueError):
            lib.without_state(lib.transform_with_state(lambda x, counted=counted: counted()[0](x))).init(None, X)
        outs = [apply(params, None, X[:, :2] if i else X) for i, apply in enumerate(plain.apply)]
        later = stateful.apply["average"]({}, state, None, 3 * X)
        found.append((params, state, outs, later, stateful.apply["seen"]({}, later[1], None, X)))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), *found)


def test_the_first_and_the_last_state_of_a_call_are_those_of_haiku():
    def f(lib, x):
        lib.set_state("s", x + 1)
        states = lib.get_initial_state(), lib.get_current_state()
        return states, lib.get_channel_index("NCHW"), [lib.EmbedLookupStyle(1).name], lib.LSTMState(x, x)._fields

    ours, theirs = (
        lib.transform_with_state(lambda lib=lib: f(lib, 1.0)).apply({}, {"~": {"s": 5.0}}, None) for lib in (nn, hk)
    )
    assert ours == theirs


def test_a_lifted_state_that_is_forgotten_is_refused_as_in_haiku():
    for lib in (nn, hk):

        def f(lib=lib):
            init, updater = lib.lift_with_state(lib.transform_with_state(lambda: None).init)
            assert isinstance(updater, lib.LiftWithStateUpdater)
            init(None)

        with pytest.raises(ValueError):
            lib.transform_with_state(f).init(None)
        lib.transform_with_state(lambda lib=lib: lib.lift_with_state(lambda rng: ({}, {}))[1].ignore_update()).init(
            None
        )


def test_contexts_of_hooks_have_the_fields_of_haiku():
    for name in ("GetterContext", "SetterContext", "MethodContext"):
        fields = [getattr(lib, name)._fields for lib in (nn, hk)]
        assert fields[0][: len(fields[1])] == fields[1]
    for name in ("Params", "State", "MutableParams", "MutableState", "RNNCore"):
        assert hasattr(nn, name)
    assert issubclass(nn.LSTM, nn.RNNCore)
    assert nn.experimental.ParamContext is nn.GetterContext


def test_summaries_see_the_same_calls():
    seen = []
    for lib in (nn, hk):
        f = lambda x, lib=lib: lib.nets.MLP([5, 2])(x)
        rows = lib.experimental.eval_summary(lib.transform(f))(X)
        assert all(isinstance(row, lib.experimental.MethodInvocation) for row in rows)
        assert isinstance(rows[0].module_details, lib.experimental.ModuleDetails)
        spec = lib.experimental.ArraySpec((2, 3), jnp.dtype("float32"))
        calls = [
            (r.module_details.module.module_name, r.module_details.method_name, sorted(r.module_details.params))
            for r in rows
        ]
        shapes = [(jax.tree.map(lambda s: (s.shape, s.dtype), (r.args_spec, r.output_spec))) for r in rows]
        table = lib.experimental.tabulate(f)(X)
        assert "mlp/~/linear_0" in table
        seen.append((calls, shapes, str(spec)))
    assert seen[0] == seen[1]


def test_settings_and_shapes_of_experimental_agree():
    def f(lib, x):
        with lib.config.context(check_jax_usage=True):
            return lib.Linear(2)(x)

    def drawn(lib):
        draw = lambda: [jax.random.uniform(lib.next_rng_key()) for _ in range(2)]
        return lib.experimental.optimize_rng_use(draw)() + draw()

    results = []
    for lib in (nn, hk):
        before = lib.experimental.rng_reserve_size(3), lib.experimental.module_auto_repr(False)
        try:
            run = lib.testing.transform_and_run(functools.partial(f, lib), seed=4)
            silent = lib.testing.transform_and_run(lambda lib=lib: repr(lib.Linear(3)).startswith("Linear(out"))()
            t = lib.transform(lambda x, lib=lib: lib.Linear(2)(x))
            shapes = lib.experimental.fast_eval_shape(t.init, KEY(0), X)
            keys = lib.transform(functools.partial(drawn, lib)).apply({}, KEY(4))
            results.append((run(X), silent, keys, [x.shape for x in jax.tree.leaves(shapes)]))
        finally:
            lib.experimental.rng_reserve_size(before[0])
            lib.experimental.module_auto_repr(before[1])
        lib.experimental.check_jax_usage(lib.experimental.check_jax_usage(True))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), *results)


@pytest.mark.parametrize("seed", [4, None])
def test_transform_and_run_gives_init_and_apply_the_same_keys(seed):
    found = []
    for lib in (nn, hk):
        drawn, mapped = [], []

        def f(lib=lib, drawn=drawn):
            drawn.append(lib.maybe_next_rng_key())
            return drawn[-1]

        def fold(key, mapped=mapped):
            mapped.append(key)
            return jax.random.fold_in(key, 1)

        run = lib.testing.transform_and_run(f, seed=seed, map_rng=fold)
        # Executed line by line, so that the key in `init` is seen too.
        with jax.disable_jit():
            found.append((run(), drawn, mapped))
    assert (found[0][0] is None) == (seed is None)
    jax.tree.map(np.testing.assert_array_equal, *found)
