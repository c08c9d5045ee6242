"""Assertions pass and fail where chex's do, over a table of arguments."""

import collections
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import testing

chex = pytest.importorskip("chex")

Pair = collections.namedtuple("Pair", "a b")
A, N = jnp.ones, np.ones
half = A(2, jnp.bfloat16)
shaped = [
    A(2),
    A((2, 3)),
    A(()),
    A(0),
    N((2, 3)),
    np.float32(1),
    1,
    1.0,
    True,
    None,
    "a",
    [1, 2],
    (A(2), A(2)),
    [A(2), 1],
]
SHAPES = [(), (2,), [2], (2, 3), (None, 3), (..., 3), (2, ...), (...,), ({1, 2}, 3), ({1, 2}, ...), (3,), [(2,), ()]]
RANKS = [0, 1, 2, {1, 2}, {0}, [1], [1, 0], [{0, 1}, {0, 1}], ()]
TYPES = [int, float, bool, jnp.float32, jnp.int32, np.float64, "float32", jnp.floating, [float, int], [float, float]]
scalars = [1, 0, -1.5, 0.5, A(()), np.float32(1), np.float64(1), True, None, "a", float("nan"), float("inf")]
trees = [
    {}, [], (), None, 1, 1.0, A(2), 2 * A(2), N(2), half, A(3), A((2, 1)), A(()), A(1), A(2, int), np.nan,
    [None, 1], [1, 1], (1, 1), {"a": A(2)}, {"b": A(2)}, {"a": A(2), "b": A(3)}, Pair(1, 2), Pair(1, 3),
    A(2).at[0].set(jnp.nan), True, np.inf, 1.0 + 1e-7, 1.0 + 1e-5, np.float32(1), collections.OrderedDict(a=A(2)),
]  # fmt: skip

ONE = {
    "assert_shape": [(x, s) for x in shaped for s in SHAPES],
    "assert_rank": [(x, r) for x in shaped for r in RANKS],
    "assert_size": [(x, r) for x in shaped for r in RANKS if not isinstance(r, set)],  # chex refuses a set alone
    "assert_type": [(x, t) for x in shaped for t in TYPES if x is not None],  # chex takes None for a float
    "assert_axis_dimension": [(x, a, n) for x in (A((2, 3)), 1.0, [1, 2]) for a in (-3, -1, 0, 1, 2) for n in (2, 3)],
    "assert_is_broadcastable": [
        (a, b) for a in ((), (1,), (2, 3), (1, 3), (3,), (0,)) for b in ((), (1,), (2, 3), (4, 2, 3), (0,))
    ],
    "assert_scalar_in": [(x, 0, 1, i) for x in scalars for i in (True, False)],
    "assert_is_divisible": [(a, b) for a in (4, 5, 0, -4, 4.5) for b in (1, 2, 1.5)],
    "assert_exactly_one_is_none": [(a, b) for a in (None, 0, A(2)) for b in (None, 0, A(2))],
    "assert_not_both_none": [(a, b) for a in (None, 0, A(2)) for b in (None, 0, A(2))],
    "assert_equal": [(a, b) for a in scalars for b in scalars],
}
ONE |= {f"assert_axis_dimension_{c}": [(A(2), 0, n) for n in (1, 2, 3)] for c in ("gt", "gteq", "lt", "lteq")}
ONE |= {f"assert_scalar{c}": [(x,) for x in scalars] for c in ("", "_positive", "_negative", "_non_negative")}
ONE |= {
    f"assert_tree_{c}": [(x,) for x in trees] for c in ("all_finite", "no_nones", "has_only_ndarrays", "is_on_host")
}
ONE |= {
    f"assert_tree_shape{c}": [(x, s) for x in trees for s in ((), (2,), (2, 1), (1,))]
    for c in ("", "_prefix", "_suffix")
}
ONE |= {
    f"assert_trees_all_{c}": [(x, y) for x in trees for y in trees]
    for c in ("close", "close_ulp", "equal", "equal_dtypes", "equal_shapes", "equal_sizes", "equal_structs")
}
ONE |= {f"assert_equal_{c}": [([x, y],) for x in shaped[:6] for y in shaped[:6]] for c in ("rank", "shape", "size")}
ONE |= {
    f"assert_equal_shape_{c}": [([x, y], n) for x in shaped[:5] for y in shaped[:5] for n in (-1, 0, 1, 2)]
    for c in ("prefix", "suffix")
}


def outcome(fn, args, **kwargs):
    try:
        fn(*args, **kwargs)
    except Exception as error:
        return type(error)
    return None


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ONE)
def test_the_outcome_is_chexs_where_that_passes_or_fails_an_assertion(name):
    different = []
    for args in ONE[name]:
        want, got = outcome(getattr(chex, name), args), outcome(getattr(testing, name), args)
        if any(x is half for x in args) and name.endswith("ulp"):
            continue  # chex does not count the ulps of bfloat16 against others
        if want in (None, AssertionError) and got is not want:
            different.append((args, want, got))
    assert not different


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["assert_trees_all_close", "assert_trees_all_equal"])
def test_strict_is_chexs_but_for_narrow_floats(name):
    for x in trees:
        for y in trees:
            if x is half or y is half:
                continue  # chex widens them before it compares dtypes
            want = outcome(getattr(chex, name), (x, y), strict=True)
            assert outcome(getattr(testing, name), (x, y), strict=True) is want, (x, y)


def test_every_public_name_is_there_with_chexs_parameters_and_defaults():
    for name in (n for n in dir(chex) if not n.startswith("_")):
        theirs, ours = getattr(chex, name), getattr(testing, name)
        if not inspect.isfunction(theirs):
            continue
        want, got = inspect.signature(theirs).parameters, inspect.signature(ours).parameters
        assert [p for p in got if p in want] == list(want), name
        assert all(got[p].default == want[p].default or name == "chexify" for p in want), name


def test_types_are_chexs():
    for x in (A(2), N(2), np.float32(1), np.bool_(1), 1, 1.0, "a", None, [1]):
        for name in ("Array", "ArrayDevice", "ArrayNumpy", "Numeric", "Scalar", "PRNGKey"):
            assert isinstance(x, getattr(testing, name)) == isinstance(x, getattr(chex, name)), (x, name)


def make(module, **options):
    namespace = {"__annotations__": {"z": object, "a": object}, "a": 2, "__module__": __name__}
    return module.dataclass(type("Point", (), namespace), **options)


@pytest.mark.parametrize("options", [{}, {"frozen": True}, {"mappable_dataclass": False}, {"kw_only": True}])
def test_dataclasses_do_what_chexs_do(options):
    ours, theirs = make(testing, **options), make(chex, **options)
    uses = [
        lambda c: repr(c(z=1)), lambda c: c(1, 2).z, lambda c: c(z=1)["a"], lambda c: dict(**c(z=1)),
        lambda c: len(c(z=1)), lambda c: jax.tree.leaves(c(z=1)), lambda c: c(z=1).to_tuple(), lambda c: c(),
        lambda c: c(z=1).replace(a=5).a, lambda c: repr(jax.tree.map(lambda x: x + 1, c(z=1))),
        lambda c: setattr(c(z=1), "a", 3), lambda c: c(z=1) == c(z=1), lambda c: c(z=1).__getstate__(),
        lambda c: [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(c(z=1))],
        lambda c: list(c(z=1)), lambda c: c(z=1).get("a"), lambda c: str(inspect.signature(c)), lambda c: c(z=1, b=3),
    ]  # fmt: skip
    for i, use in enumerate(uses):
        results = []
        for cls in (ours, theirs):
            try:
                results.append(use(cls))
            except Exception as error:
                results.append(type(error))
        assert results[0] == results[1] or repr(results[0]) == repr(results[1]), (i, results)


def test_dimensions_are_chexs():
    for key in ("BT", "B*T", "(BT)2", "B_", "Q", "", "(*)", "B(T", "BTB"):
        results = []
        for module in (testing, chex):
            dims = module.Dimensions(B=3, T=5)
            for read in (lambda d, key=key: d[key], lambda d, key=key: d.size(key)):
                try:
                    results.append(read(dims))
                except Exception as error:
                    results.append(type(error))
        assert results[:2] == results[2:], key
