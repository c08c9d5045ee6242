"""Programs as users write them, through Haiku and through `renga.nn`: names, logs, values, signatures."""

import contextlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

hk = pytest.importorskip("haiku")

pytestmark = pytest.mark.usefixtures("rank_promotion")

KEY = jax.random.key  # called late: no array is made at import
X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


def shapes(tree):
    return [(b, n, jnp.shape(x), str(jnp.result_type(x))) for b, v in tree.items() for n, x in v.items()]


def traced(lib, f, *args):
    """Trees of init, in order, and what Python sees in apply; nothing is computed."""
    pair, out = lib.transform_with_state(f), []

    def run(key, *args):
        params, state = pair.init(key, *args)
        out.append((shapes(params), shapes(state)))
        out.append(pair.apply(params, state, key, *args)[0])

    jax.eval_shape(run, KEY(0), *args)
    return out


def computed(lib, f, *args):
    pair = lib.transform_with_state(f)

    def run(key, *args):
        params, state = pair.init(key, *args)
        return params, pair.apply(params, state, jax.random.fold_in(key, 1), *args)

    return jax.jit(run)(KEY(3), *args)


# --- names and hooks -------------------------------------------------------------------------------


def names(lib):
    class Inner(lib.Module):
        def __call__(self, x):
            return self.helper(x)

        def helper(self, x):
            return lib.Linear(2)(x) + lib.get_parameter("hp", [2], init=jnp.zeros)

    class Model(lib.Module):
        def __init__(self, n, name="my_model"):
            super().__init__(name)
            self.a = lib.Linear(n)
            self.many = [lib.Linear(n, name=f"l_{i}") for i in range(2)]

        def encode(self, x):
            return lib.nets.MLP([3, 4], name="enc")(self.a(x))

        def __call__(self, x):
            with lib.name_scope("foo/bar", method_name="scoped"):
                y = lib.Linear(4)(self.encode(x)), lib.current_name()
            return y, Inner()(x), self.prop, self.seen_through(x), self.likewise(x)

        @property
        def prop(self):
            return lib.get_parameter("p", [], init=jnp.zeros)

        @lib.transparent
        def seen_through(self, x):
            return lib.Linear(2)(x)

        @lib.name_like("__call__")
        def likewise(self, x):
            return lib.Linear(2)(x)

    class GPT2Model(Model):
        pass

    class HTTPServer2D(Inner):
        pass

    class _Private(Inner):
        pass

    def f(x):
        model = Model(4)
        others = [Model(4), Model(4, name="other_3"), Model(4, name="other"), GPT2Model(3, name=None)]
        more = [HTTPServer2D(), _Private(), lib.Linear(3, name=lib.force_name("abs/path")), lib.to_module(inner)()]
        return [m(x) for m in [model, *others, *more]], model.encode(x), [m.module_name for m in others + more]

    def inner(x):
        return lib.Linear(3)(x)

    return f


def hooks(lib):
    log = []

    def creator(tag):
        def create(next_creator, shape, dtype, init, context):
            log.append(
                (tag, "create", context.full_name, context.module_name, context.name, type(context.module).__name__)
            )
            return next_creator(shape, dtype, init)

        return create

    def getter(tag):
        def get(next_getter, value, context):
            log.append((tag, "get", context.full_name, tuple(context.original_shape), str(context.original_dtype)))
            return next_getter(value)

        return get

    def setter(tag):
        def put(next_setter, value, context):
            log.append((tag, "set", context.full_name, str(jnp.dtype(context.original_dtype))))
            return next_setter(value)

        return put

    def intercept(tag):
        def call(next_f, args, kwargs, context):
            log.append((tag, context.method_name, context.orig_class.__name__, len(args), sorted(kwargs)))
            return next_f(*args, **kwargs)

        return call

    def f(x):
        log.clear()
        with contextlib.ExitStack() as stack:
            for tag in (1, 2):
                stack.enter_context(lib.custom_creator(creator(tag), state=tag == 1))
                stack.enter_context(lib.custom_getter(getter(tag), state=tag == 1))
                stack.enter_context(lib.custom_setter(setter(tag)))
                stack.enter_context(lib.intercept_methods(intercept(tag)))
            mlp = lib.nets.MLP([3, 2])
            y = mlp(x)
            mlp.reverse()(y)
            _ = lib.Embed(3, 2).embeddings
            lib.ExponentialMovingAverage(0.9)(x)
        return list(log)

    return f


def reprs(lib):
    def f(x):
        makers = [
            lib.Linear(3),
            lib.Conv2D(3, kernel_shape=(2, 2), with_bias=False),
            lib.nets.MLP([30] * 30),
            lib.LSTM(3),
        ]
        return [repr(m) for m in [*makers, lib.Linear(output_size=4, name="q" * 60), lib.ResetCore(makers[-1])]]

    return f


def trees(lib):
    d = lib.data_structures
    s = {"b": {"w": np.ones((2, 3)), "b": np.zeros(3)}, "a/~/l": {"w": np.ones(2), "z": np.ones(1)}}
    m = {"b": {"w": np.full((2, 3), 2.0)}, "c": {"q": np.ones(1)}}

    def f(x):
        parts = [*d.partition(lambda m, n, v: n == "w", s), *d.partition_n(lambda m, n, v: len(n + m) % 3, s, 3)]
        parts += [
            d.filter(lambda m, n, v: v.ndim > 1, s),
            d.map(lambda m, n, v: v * 2, s),
            d.merge(s, m),
            d.merge(m, s),
        ]
        parts += [d.to_mutable_dict(d.to_immutable_dict(s)), d.to_haiku_dict(s)]
        listed = [[(b, n, np.asarray(x).tolist()) for b, v in p.items() for n, x in v.items()] for p in parts]
        counts = [d.tree_size(s), d.tree_bytes(s), d.is_subset(subset=m, superset=s), d.is_subset(subset=s, superset=s)]
        return listed, counts, [(b, n) for b, n, _ in d.traverse(s)]

    return f


def padding(lib):
    p = lib.pad
    functions = [p.valid, p.same, p.full, p.causal, p.reverse_causal]

    def f(x):
        pairs = [tuple(g(k)) for g in functions for k in range(1, 7)]
        pairs += [p.create(p.full, 3, 1, 3), p.create([p.same, p.causal], kernel=[3, 4], rate=[1, 2], n=2)]
        pairs += [
            p.create_from_padfn([p.same], 3, 1, 2),
            p.create_from_tuple([(1, 2)], 2),
            p.create_from_tuple((1, 2), 3),
        ]
        return [[tuple(np.ravel(q)) for q in pair] for pair in map(list, pairs)], [
            p.is_padfn(g) for g in ["SAME", *functions]
        ]

    return f


def attributes(lib):
    def f(x):
        linear, embed, conv, norm = lib.Linear(3), lib.Embed(3, 4), lib.Conv2D(3, 3), lib.LayerNorm(-1, True, True)
        linear(x)
        found = [
            linear.input_size,
            linear.output_size,
            linear.with_bias,
            linear.name,
            embed.vocab_size,
            embed.embed_dim,
        ]
        found += [
            embed.lookup_style,
            conv.kernel_shape,
            conv.stride,
            conv.padding,
            conv.channel_index,
            norm.axis,
            norm.eps,
        ]
        return (
            [str(value) for value in found],
            isinstance(linear, lib.SupportsCall),
            isinstance(linear, lib.ModuleProtocol),
        )

    return f


@pytest.mark.parametrize("make", [names, hooks, reprs, trees, padding, attributes], ids=lambda m: m.__name__)
def test_python_sees_the_same(make):
    ours, theirs = (traced(lib, make(lib), X) for lib in (nn, hk))
    assert str(ours) == str(theirs).replace("haiku._src", "renga.nn")


# --- values ----------------------------------------------------------------------------------------


def weight_norm(lib):
    def getter(next_getter, value, context):
        if context.name != "w":
            return next_getter(value)
        g = lib.get_parameter("w_g", [value.shape[-1]], init=jnp.ones)
        return next_getter(g * value / jnp.linalg.norm(value, axis=0, keepdims=True))

    def do_not_store(next_creator, shape, dtype, init, context):
        return lib.DO_NOT_STORE if context.name == "b" else next_creator(shape, dtype, init)

    def fixed(next_getter, value, context):
        return jnp.full(context.original_shape, 7.0) if value is lib.DO_NOT_STORE else next_getter(value)

    def f(x):
        with lib.custom_getter(getter), lib.custom_creator(do_not_store), lib.custom_getter(fixed):
            return lib.nets.MLP([5, 2])(x)

    return f


def keys(lib):
    def f(x):
        ks = [lib.next_rng_key(), *lib.next_rng_keys(3)]
        lib.reserve_rng_keys(4)
        ks += [lib.maybe_next_rng_key()]
        state = lib.maybe_get_rng_sequence_state()
        ks += [lib.next_rng_key()]
        lib.replace_rng_sequence_state(state)
        with lib.with_rng(jax.random.key(7)):
            ks += [lib.next_rng_key()]
            y = lib.Linear(2, name="inner")(x)
        sequence = lib.PRNGSequence(lib.next_rng_key())
        ks += [*sequence.take(2)]
        sequence.reserve(2)
        return [jax.random.key_data(k) for k in [*ks, next(sequence)]], y, lib.Linear(3)(x)

    return f


def initial_values(lib):
    i = lib.initializers
    inits = [i.Constant(np.arange(4.0)), i.RandomNormal(2.0, 1.0), i.RandomUniform(-1, 2), i.Orthogonal(2.0, axis=0)]
    inits += [
        i.TruncatedNormal(2.0, -1.0, lower=-1.0, upper=0.5),
        i.Orthogonal(),
        i.Identity(3.0),
        i.UniformScaling(2.0),
    ]
    inits += [i.VarianceScaling(1.5, mode, "normal") for mode in ("fan_in", "fan_out", "fan_avg")]
    inits += [i.VarianceScaling(1.5, "fan_avg", kind) for kind in ("uniform", "truncated_normal")]
    inits += [i.VarianceScaling(2.0, "fan_in", "normal", fan_in_axes=[0])]

    def f(x):
        return [lib.get_parameter(f"w{n}", [3, 4], init=init) for n, init in enumerate(inits)]

    return f


def stacks(lib):
    class Map:
        def stacked_to_flat(self, name, scan_idx):
            return name.replace("linear", f"linear_{scan_idx}")

        def flat_to_stacked(self, name):
            return ("linear", int(name[-1])) if name.startswith("linear_") else None

    def f(x):
        y = lib.layer_stack(3, transparent=True, transparency_map=Map(), name="t")(lambda h: lib.Linear(6)(h))(x)
        z = lib.layer_stack(2, name="two")(lambda a, b: (lib.Linear(6)(a) + b, b * 2))(x, x)
        vmapped = lib.vmap(lambda h, b: h.sum() + b, in_axes=(0, None), split_rng=True)(x, 1.0)
        return y, z, vmapped

    return f


@pytest.mark.parametrize("make", [weight_norm, keys, initial_values, stacks], ids=lambda m: m.__name__)
def test_the_same_numbers(make):
    ours, theirs = (computed(lib, make(lib), X) for lib in (nn, hk))
    assert jax.tree.structure(ours) == jax.tree.structure(jax.tree.map(lambda x: x, theirs))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


# --- signatures ------------------------------------------------------------------------------------


def parameters(function):
    """Names, kinds and defaults; of the sentinels only that there is one."""
    shown = lambda p: "object" if type(p.default) is object else repr(p.default)
    return [(p.name, p.kind.name, shown(p)) for p in inspect.signature(function).parameters.values()]


def public(module):
    return [n for n in dir(module) if not n.startswith("_") and not inspect.ismodule(getattr(module, n))]


SUBMODULES = ["nets", "initializers", "experimental", "pad", "testing", "mixed_precision", "data_structures", "config"]


@pytest.mark.parametrize("name", ["", *SUBMODULES])
def test_every_public_name_has_the_parameters_of_haiku(name):
    theirs, ours = (getattr(lib, name) if name else lib for lib in (hk, nn))
    problems = []

    def compare(path, a, b):
        expected, found = parameters(a), parameters(b)
        more = found[len(expected) :]
        if found[: len(expected)] != expected or any(kind != "KEYWORD_ONLY" for _, kind, _ in more):
            problems.append(f"{path}: {found}, expected {expected}")

    for n in public(theirs):
        a, b = getattr(theirs, n), getattr(ours, n)
        if inspect.isclass(a):
            for method in [m for m in dir(a) if not m.startswith("_") or m in ("__init__", "__call__")]:
                if inspect.isfunction(inspect.getattr_static(a, method)):
                    compare(f"{n}.{method}", getattr(a, method), getattr(b, method))
        elif inspect.isfunction(a):
            compare(n, a, b)
    assert not problems
