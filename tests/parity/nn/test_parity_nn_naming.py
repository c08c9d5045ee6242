"""Names of modules, and what is refused outside of a transformed function, as in Haiku."""

import inspect

import jax
import jax.numpy as jnp
import pytest

from renga import nn

hk = pytest.importorskip("haiku")
X = jnp.ones((2, 4))


def names(lib, f):
    return list(lib.transform(lambda: f(lib, X)).init(jax.random.key(0)))


def linear(lib, x, name=None):
    return lib.Linear(4, name=name)(x)


def named(*asked):
    """Modules of these names; those behind "!" are forced."""

    def f(lib, x):
        for name in asked:
            linear(lib, x, lib.force_name(name[1:]) if name.startswith("!") else name)

    return f


NUMBERED = [
    ["a_01", "a_01"],
    ["a_01", "a", "a"],
    ["a_00", "a"],
    ["a_0", "a"],
    ["a_002", "a_2", "a"],
    ["!a", "a"],
    ["!a", "!a", "a", "a"],
    ["a", "!a", "a"],
    ["!a_3", "a"],
    ["a", "a_1", "!a_5", "a"],
    ["!a_2", "!a_1", "a"],
    ["!x/a", "a"],
    ["!a/~b/c", "!~", "!~a", "!~/a"],
]


@pytest.mark.parametrize("asked", NUMBERED, ids=",".join)
def test_numbers_agree(asked):
    assert names(hk, named(*asked)) == names(nn, named(*asked))


@pytest.mark.parametrize("name", ["", "1x", "a//b", "/a", "a/", "a b", "~~", "a~"])
def test_forced_names_that_are_no_path_are_refused(name):
    for lib in (hk, nn):
        with pytest.raises(ValueError, match="not a valid module name|cannot name a module"):
            names(lib, named(f"!{name}"))


@pytest.mark.parametrize("name", ["", "/", "/a", "a/", "a//b", "a b", "~", "a/~/b"])
def test_scopes_that_are_no_path_are_refused(name):
    for lib in (hk, nn):
        with pytest.raises(ValueError, match="must not start with|not a valid|cannot name a scope"):
            names(lib, lambda lib, x: lib.name_scope(name).__enter__())
    with pytest.raises(ValueError, match="no / may stand at the start or the end"):
        names(nn, lambda lib, x: lib.name_scope(name))


def deferred(lib, count=1):
    return [lib.Deferred(lambda: lib.Linear(4)) for _ in range(count)]


def in_constructor(lib, x):
    class M(lib.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = deferred(lib, 2)
            self.b = lib.Linear(4)

        def __call__(self, x):
            return self.c(self.b(self.a(lib.Linear(4)(x))))

        def encode(self, x):
            return linear(lib, self.a(x))

    m = M()
    return m(m.encode(x))


def in_scope(lib, x):
    with lib.name_scope("s"):
        (d, e), y = deferred(lib, 2), linear(lib, x)
    with lib.name_scope("t"):
        return linear(lib, e(d(y)))


def outside(lib, x):
    (d,) = deferred(lib)

    class M(lib.Module):
        def __call__(self, x):
            return d(x)

    return M()(linear(lib, x))


def liked(lib, x):
    class M(lib.Module):
        def __init__(self):
            super().__init__()
            self.a = lib.Linear(4)

        @lib.name_like("__init__")
        def encode(self, x):
            return linear(lib, self.a(x))

    return M().encode(x)


@pytest.mark.parametrize("f", [in_constructor, in_scope, outside, liked])
def test_names_of_deferred_and_liked_modules_agree(f):
    assert names(hk, f) == names(nn, f)


OUTSIDE = {
    "custom_creator": lambda lib: lib.custom_creator(print),
    "custom_getter": lambda lib: lib.custom_getter(print),
    "custom_setter": lambda lib: lib.custom_setter(print),
    "with_rng": lambda lib: lib.with_rng(jax.random.key(0)),
    "name_scope": lambda lib: lib.name_scope("a"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_hooks_are_refused_outside(name):
    for lib in (hk, nn):
        with pytest.raises(ValueError, match=name):
            OUTSIDE[name](lib)


def test_what_haiku_allows_outside_is_allowed(unchecked):
    core = lambda x, state: (x + state, state + 1)
    for lib in (hk, nn):
        with lib.intercept_methods(lambda f, args, kwargs, context: f(*(2 * x for x in args), **kwargs)):
            assert lib.transform(lambda lib=lib: lib.Flatten()(X)).apply({}, None)[0, 0] == 2
        assert lib.dynamic_unroll(core, X, 0.0)[1] == 2
        mapped = lib.vmap(lambda x: x + 1, split_rng=False)
        assert lib.transform(lambda mapped=mapped: mapped(X)).apply({}, None)[0, 0] == 2


def test_signatures_have_the_functions_own_parameters():
    def f(x: int, is_training=True, *, k=3) -> int:
        return x

    for make in (
        lambda lib: lib.transform(f),
        lambda lib: lib.transform_with_state(f),
        lambda lib: lib.without_apply_rng(lib.transform(f)),
    ):
        for part in ("init", "apply"):
            a, b = (list(inspect.signature(getattr(make(lib), part)).parameters) for lib in (hk, nn))
            assert a == b
    named_so = nn.transform(lambda rng, x: x)  # no two parameters have one name
    assert list(inspect.signature(named_so.init).parameters) == ["rng", "args", "kwargs"]
    assert named_so.apply({}, None, 1, x=2) == 2
    assert "x" in inspect.signature(nn.with_empty_state(nn.transform(jnp.sin)).init).parameters
