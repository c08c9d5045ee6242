"""`renga.testing` in the conformance matrix."""

import jax.numpy as jnp

from renga import testing

from . import Case

X = jnp.array([0.5, 1.5, 2.5])


def after(assertion, *args, first=lambda x: x):
    """An assertion that looks at no values, and then a function."""

    def fn(x):
        assertion(first(x), *args)
        return jnp.sin(x)

    return Case(fn, (X,))


def twice(assertion):
    """An assertion that compares trees by what is known when a function is traced."""

    def fn(x):
        assertion({"x": x}, {"x": x + 1})
        return jnp.sin(x)

    return Case(fn, (X,))


def checks(x):
    testing.check((x > 0).all(), "x must be positive", x=x)
    return jnp.sin(x)


def asserts_values(x):
    with testing.value_asserts_in_jit():
        testing.assert_tree_all_finite({"x": x})
        testing.assert_trees_all_close(x, x)
        testing.assert_trees_all_close_ulp(x, x)
        testing.assert_trees_all_equal(x, x)
    return jnp.sin(x)


def pair(x):
    return testing.dataclass(type("Point", (), {"__annotations__": {"a": object}}))(a=jnp.sin(x)).replace(a=x)["a"]


CASES = {
    "assert_axis_dimension": after(testing.assert_axis_dimension, 0, 3),
    "assert_equal_shape": after(testing.assert_equal_shape, first=lambda x: [x, x]),
    "assert_max_traces": Case(testing.assert_max_traces(lambda x: jnp.sin(x), n=10**6), (X,)),
    "assert_rank": after(testing.assert_rank, 1),
    "assert_shape": after(testing.assert_shape, (3,)),
    "assert_tree_all_finite": Case(asserts_values, (X,)),
    "assert_tree_no_nones": after(testing.assert_tree_no_nones),
    "assert_tree_shape_prefix": after(testing.assert_tree_shape_prefix, (3,)),
    "assert_trees_all_equal_shapes_and_dtypes": twice(testing.assert_trees_all_equal_shapes_and_dtypes),
    "assert_trees_all_equal_structs": twice(testing.assert_trees_all_equal_structs),
    "assert_type": after(testing.assert_type, float),
    "check": Case(checks, (X,)),
    "dataclass": Case(pair, (X,)),
    "traced": Case(testing.traced(lambda x: jnp.sin(x)), (X,)),
}

_OUTSIDE = "not a function of arrays: tested by tests/testing"
_SAME = "shares its code with an assertion of the table, and is tested by tests/parity/testing"

EXEMPT = {
    name: _SAME if name.startswith("assert_") else _OUTSIDE
    for name in testing.__all__
    if callable(getattr(testing, name)) and name not in CASES
}
EXEMPT["check_transforms"] = "it is what drives the matrix: tested by tests/testing"
