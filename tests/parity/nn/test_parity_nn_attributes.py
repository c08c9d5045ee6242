"""Every public attribute of Haiku's objects is there, with the same value where values can be compared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

hk = pytest.importorskip("haiku")

MODULES = {
    "AvgPool": (2, 2, "SAME"),
    "BatchApply": (jnp.sin,),
    "BatchNorm": (True, True, 0.9),
    "Bias": (),
    "Conv1D": (3, 2),
    "Conv1DLSTM": ((4,), 3, 2),
    "Conv1DTranspose": (3, 2),
    "Conv2D": (3, 2),
    "Conv2DLSTM": ((4, 4), 3, 2),
    "Conv2DTranspose": (3, 2),
    "Conv3D": (3, 2),
    "Conv3DLSTM": ((4, 4, 4), 3, 2),
    "Conv3DTranspose": (3, 2),
    "ConvND": (2, 3, 2),
    "ConvNDTranspose": (2, 3, 2),
    "DeepRNN": ([],),
    "DepthwiseConv1D": (3, 2),
    "DepthwiseConv2D": (3, 2),
    "DepthwiseConv3D": (3, 2),
    "EMAParamsTree": (0.9,),
    "Embed": (4, 3),
    "ExponentialMovingAverage": (0.9,),
    "Flatten": (),
    "GRU": (3,),
    "GroupNorm": (2,),
    "IdentityCore": (),
    "InstanceNorm": (True, True),
    "LSTM": (3,),
    "LSTMState": (1, 2),
    "LayerNorm": (-1, True, True),
    "Linear": (3,),
    "MaxPool": (2, 2, "SAME"),
    "Module": (),
    "MultiHeadAttention": (2, 3, 1.0),
    "PRNGSequence": (1,),
    "RMSNorm": (-1,),
    "Reshape": ((2, 3),),
    "SNParamsTree": (),
    "SeparableDepthwiseConv2D": (3, 2),
    "Sequential": ([],),
    "SpectralNorm": (),
    "VanillaRNN": (3,),
    "nets.MLP": ([3],),
    "nets.MobileNetV1": (),
    "nets.ResNet": ((1, 1, 1, 1), 10),
    "nets.ResNet101": (10,),
    "nets.ResNet152": (10,),
    "nets.ResNet18": (10,),
    "nets.ResNet200": (10,),
    "nets.ResNet34": (10,),
    "nets.ResNet50": (10,),
    "nets.VectorQuantizer": (3, 4, 0.25),
    "nets.VectorQuantizerEMA": (3, 4, 0.25, 0.9),
}
SPECIAL = {
    "Deferred": lambda lib: lib.Deferred(lambda: lib.Linear(2)),
    "RNNCore": lambda lib: type("Core", (lib.RNNCore,), {"__call__": None, "initial_state": None})(),
    "ResetCore": lambda lib: lib.ResetCore(lib.GRU(2)),
    "LiftWithStateUpdater": lambda lib: lib.lift_with_state(lambda: ({}, {}))[1],
    "GetterContext": lambda lib: lib.GetterContext("a/b", None, jnp.float32, (2,), None, None),
    "SetterContext": lambda lib: lib.SetterContext("a/b", None, jnp.float32, (2,), None),
    "MethodContext": lambda lib: lib.MethodContext(None, "f", print, object),
}


def found(lib, attribute):
    for part in attribute.split("."):
        lib = getattr(lib, part)
    return lib


def make(lib, name):
    return SPECIAL[name](lib) if name in SPECIAL else found(lib, name)(*MODULES[name])


def facts(lib, name):
    """Names of the public attributes, and the values of those that can be compared."""
    out = {}

    def f():
        value = make(lib, name)
        for key in dir(value):
            if not key.startswith("_"):
                attribute = getattr(type(value), key, None)
                out[key] = None if isinstance(attribute, property) else getattr(value, key)
        if name == "LiftWithStateUpdater":
            value.ignore_update()

    lib.transform_with_state(f).init(jax.random.key(0))
    return out


def plain(value):
    """Whether a value is made of numbers, names and tuples of such."""
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return all(map(plain, value))
    return value is None or isinstance(value, (bool, int, float, str, np.dtype, slice))


@pytest.mark.parametrize("name", [*MODULES, *SPECIAL])
def test_public_attributes_are_there_and_equal(name, unchecked):
    theirs, ours = facts(hk, name), facts(nn, name)
    assert not set(theirs) - set(ours)
    differing = {k: (v, ours[k]) for k, v in theirs.items() if plain(v) and plain(ours[k]) and v != ours[k]}
    assert not differing


def test_every_module_is_in_the_table():
    public = {n for n in dir(hk) if isinstance(getattr(hk, n), type) and issubclass(getattr(hk, n), hk.Module)}
    public |= {f"nets.{n}" for n in dir(hk.nets) if isinstance(getattr(hk.nets, n), type)}
    assert public <= set(MODULES) | set(SPECIAL) | {"BatchApply"}


@pytest.mark.parametrize("kind", ["transform", "transform_with_state", "multi_transform", "multi_transform_with_state"])
def test_transformed_functions_have_the_same_attributes(kind):
    one = lambda x: 2 * x
    f = (lambda: (one, (one,))) if kind.startswith("multi") else one
    a, b = (getattr(lib, kind)(f) for lib in (hk, nn))
    assert not {n for n in dir(a) if not n.startswith("__")} - set(dir(b))
    assert a._fields == b._fields


CALLS = {
    "Conv2D": lambda lib: lib.Conv2D(3, 2)(jnp.ones((1, 4, 4, 2))),
    "ResNet": lambda lib: lib.nets.ResNet((1, 1, 1, 1), 2, channels_per_group=(4,) * 4)(jnp.ones((1, 8, 8, 3)), True),
    "VectorQuantizer": lambda lib: lib.nets.VectorQuantizer(3, 4, 0.25)(jnp.ones((2, 3)), True),
    "GRU": lambda lib: (lambda c: c(jnp.ones((2, 3)), c.initial_state(2)))(lib.GRU(2)),
    "BatchNorm": lambda lib: lib.BatchNorm(True, True, 0.9)(jnp.ones((2, 3)), True),
}


@pytest.mark.parametrize("name", CALLS)
def test_interceptors_see_the_same_modules(name, rank_promotion):
    seen = []
    for lib in (hk, nn):
        calls = []

        def note(f, args, kwargs, context, calls=calls):
            if context.method_name == "__call__":
                calls.append(context.module.module_name)
            return f(*args, **kwargs)

        with lib.intercept_methods(note):
            jax.eval_shape(lib.transform_with_state(lambda lib=lib: CALLS[name](lib)).init, jax.random.key(0))
        seen.append(calls)
    assert seen[0] == seen[1]
