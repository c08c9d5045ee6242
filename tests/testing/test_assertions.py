"""Assertions say the argument, what was expected and what came, on values inside of compiled functions too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import testing


@pytest.fixture(autouse=True)
def asserts_are_on():
    yield
    testing.enable_asserts()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: testing.assert_rank([jnp.ones(2), 1.0], 1), r"assert_rank: inputs\[1\] must have rank 1, got 0"),
        (
            lambda: testing.assert_shape(jnp.ones((2, 3)), (..., 4)),
            r"inputs must have shape \(\.\.\., 4\), got \(2, 3\)",
        ),
        (lambda: testing.assert_size(jnp.ones(3), {1, 2}), r"inputs must have size 1 or 2, got 3 \(float32\[3\]\)"),
        (lambda: testing.assert_type(1.0, int), "inputs must be of type int, got float 1.0"),
        (
            lambda: testing.assert_equal_shape([jnp.ones(2), jnp.ones(3)]),
            r"inputs\[1\] must have the shape of inputs\[0\]",
        ),
        (
            lambda: testing.assert_axis_dimension_gt(jnp.ones((2, 3)), 1, 3),
            "axis 1 of tensor must have a size above 3, got 3",
        ),
        (lambda: testing.assert_axis_dimension(jnp.ones(2), 1, 3), r"tensor must have axis 1, got shape \(2,\)"),
        (lambda: testing.assert_axis_dimension(jnp.ones(2), 1.0, 3), r"axis must be an integer, got 1\.0"),
        (
            lambda: testing.assert_trees_all_close(jnp.ones(3), jax.random.key(0)),
            r"expected dtype key<fry>, got float32",
        ),
        (
            lambda: testing.assert_trees_all_equal(jax.random.key(0), jax.random.key(0, impl="rbg")),
            r"expected dtype key<rbg>, got key<fry>",
        ),
        (lambda: testing.assert_scalar_in(2, 0, 1), r"x must be in \[0, 1\], got 2"),
        (
            lambda: testing.assert_tree_shape_prefix({"a": jnp.ones(2)}, (3,)),
            r"tree\['a'\] must have a shape with the prefix",
        ),
        (lambda: testing.assert_tree_no_nones({"a": [None]}), r"tree\['a'\]\[0\] must not be None"),
        (
            lambda: testing.assert_trees_all_equal_dtypes([jnp.ones(1)], [jnp.ones(1, int)]),
            r"trees\[1\]\[0\] must have the dtype",
        ),
        (
            lambda: testing.assert_trees_all_equal_structs({"a": 1}, {"b": 1}),
            r"without \['a'\] and with surplus \['b'\]",
        ),
        (lambda: testing.assert_trees_all_equal_structs({"a": [1]}, {"a": (1,)}), r"\['a'\]: expected list, got tuple"),
        (lambda: testing.assert_tree_is_on_device(np.ones(2), platform="cpu"), "tree must be an array of JAX"),
        (lambda: testing.assert_devices_available(1, "gpu"), "there must be 1 devices of kind 'gpu', got 0"),
    ],
)
def test_the_message_names_the_argument_what_was_expected_and_what_came(call, message):
    with pytest.raises(AssertionError, match=message):
        call()


def test_the_first_differing_leaf_is_named_with_index_numbers_and_ulps():
    a = {"w": [jnp.ones(2), jnp.ones((2, 2)).at[1, 0].set(1.0 + 2**-20)]}
    b = {"w": [jnp.ones(2), jnp.ones((2, 2))]}
    where = r"trees\[0\]\['w'\]\[1\] \(against trees\[1\]\) at index \(1, 0\): expected 1.0, got 1.000001, "
    with pytest.raises(AssertionError, match=where + "off by 9.54e-07, 8 ulps of float32; 1 of 4 entries differ"):
        testing.assert_trees_all_equal(a, b)
    with pytest.raises(AssertionError, match="8 ulps of float32"):
        testing.assert_trees_all_close_ulp(a, b, maxulp=7)
    testing.assert_trees_all_close_ulp(a, b, maxulp=8)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, np.float64])
def test_an_ulp_is_a_step_of_the_dtype_across_zero_too(dtype):
    tiny = np.asarray(jnp.finfo(dtype).smallest_subnormal, dtype)
    testing.assert_trees_all_close_ulp(tiny, -tiny, maxulp=2)
    with pytest.raises(AssertionError, match="2 ulps"):
        testing.assert_trees_all_close_ulp(tiny, -tiny, maxulp=1)
    one = np.asarray(1, dtype)
    testing.assert_trees_all_close_ulp(one, np.asarray(1 + float(jnp.finfo(dtype).eps), dtype))
    with pytest.raises(AssertionError):
        testing.assert_trees_all_close_ulp(np.asarray(np.nan, dtype), one, maxulp=10**6)


def test_tolerances_follow_dtype_and_backend():
    assert testing.tolerances(jnp.float32, backend="gpu").rtol > testing.tolerances(jnp.float32, backend="cpu").rtol
    assert testing.tolerances(jnp.int32, backend="cpu") == (0, 0)
    half = jnp.bfloat16(1.0), jnp.bfloat16(1.0078125)
    with pytest.raises(AssertionError):
        testing.assert_trees_all_close(*half)
    testing.assert_trees_all_close(*half, rtol=None)
    with pytest.raises(AssertionError):
        testing.assert_trees_all_close(1.0, 1.0001, rtol=None, atol=None)
    with pytest.raises(ValueError, match="backend must be one of"):
        testing.tolerances(jnp.float32, backend="abacus")
    with pytest.raises(ValueError, match="rtol must be at least 0, got -1"):
        testing.assert_trees_all_close(1.0, 1.0, rtol=-1)


def test_strict_holds_dtypes_apart():
    testing.assert_trees_all_equal(jnp.ones(2), jnp.ones(2, jnp.bfloat16))
    with pytest.raises(AssertionError, match="expected dtype bfloat16, got float32"):
        testing.assert_trees_all_equal(jnp.ones(2), jnp.ones(2, jnp.bfloat16), strict=True)


def test_messages_and_exceptions_of_the_caller():
    with pytest.raises(KeyError, match="step 3.*first must equal second"):
        testing.assert_equal(1, 2, custom_message="step {}", custom_message_format_vars=[3], exception_type=KeyError)
    with pytest.raises(AssertionError, match=r"\Amine\Z"):
        testing.assert_equal(1, 2, custom_message="mine", include_default_message=False)


def test_static_assertions_work_on_tracers_and_value_assertions_say_how():
    @jax.jit
    def static(x):
        testing.assert_shape(x, (2,))
        testing.assert_type(x, float)
        testing.assert_trees_all_equal_structs([x], [x])
        return x

    static(jnp.ones(2))
    with pytest.raises(RuntimeError, match=r"Wrap the outermost function: chexify\(jax.jit\(fn\)\)"):
        jax.jit(lambda x: testing.assert_tree_all_finite(x))(1.0)


def test_chexify_finds_the_leaf_and_the_index_inside_of_jit():
    def fn(x, y):
        testing.assert_tree_all_finite({"x": x})
        testing.assert_trees_all_close([x], [y], rtol=0.0, atol=0.5, custom_message="mine")
        testing.assert_trees_all_close_ulp(x, x)
        testing.assert_is_divisible(jnp.int32(4), 2)
        return x + y

    checked = testing.chexify(jax.jit(fn), async_check=False)
    x = jnp.array([[1.0, 2.0]])
    np.testing.assert_array_equal(checked(x, x), 2 * x)
    with pytest.raises(AssertionError, match=r"tree\['x'\] must be finite, got nan at index \(0, 1\); 1 of 2"):
        checked(x.at[0, 1].set(jnp.nan), x)
    with pytest.raises(
        AssertionError, match=r"mine\n.*trees\[0\]\[0\] .* at index \(0, 1\): expected 3.0, got 2.0, \d+ ulps"
    ):
        checked(x, x.at[0, 1].set(3.0))


def test_chexify_raises_at_the_next_call_or_where_it_is_waited_for():
    checked = testing.chexify(jax.jit(lambda x: testing.assert_tree_all_finite(x)))
    checked(jnp.nan)
    with pytest.raises(AssertionError):
        checked(1.0)
    checked(jnp.nan)
    with pytest.raises(AssertionError):
        checked.wait_checks()
    checked(jnp.nan)
    with pytest.raises(AssertionError):
        testing.block_until_chexify_assertions_complete()
    testing.block_until_chexify_assertions_complete()
    with pytest.raises(RuntimeError, match="must be the outermost wrapper"):
        jax.jit(checked)(1.0)


def test_values_inside_of_jit_without_a_wrapper():
    @jax.jit
    def fn(x):
        with testing.value_asserts_in_jit():
            testing.assert_trees_all_equal(x, jnp.ones(2))
        return x

    fn(jnp.ones(2))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"at index \(1,\): expected 1.0, got 2.0"):
        jax.block_until_ready(fn(jnp.array([1.0, 2.0])))


def test_switched_off_assertions_do_nothing():
    testing.disable_asserts()
    testing.assert_rank()
    testing.assert_equal(1, 2)
    assert "debug_callback" not in str(jax.make_jaxpr(lambda x: testing.check(x > 0, "x") or x)(1.0))
    testing.enable_asserts()
    with pytest.raises(AssertionError):
        testing.assert_equal(1, 2)


def test_strings_keys_and_objects_are_compared_exactly():
    tree = {"s": "a", "k": jax.random.key(0), "o": None, "d": np.array(["x"], object)}
    testing.assert_trees_all_close(tree, dict(tree), strict=True)
    testing.assert_trees_all_equal(tree, dict(tree))
    with pytest.raises(AssertionError, match=r"trees\[0\]\['k'\]"):
        testing.assert_trees_all_equal(tree, tree | {"k": jax.random.key(1)})
    with pytest.raises(AssertionError, match=r"trees\[0\]\['s'\].*expected b, got a"):
        testing.assert_trees_all_close(tree, tree | {"s": "b"})


def test_devices_of_sharded_arrays():
    mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
    x = jax.device_put(jnp.ones(4), jax.NamedSharding(mesh, jax.P("x")))
    testing.assert_tree_is_sharded(x, devices=jax.devices()[:2])
    testing.assert_tree_is_on_host(x, allow_sharded_arrays=True)
    with pytest.raises(AssertionError, match="must be in one piece"):
        testing.assert_tree_is_on_host(x)
    with pytest.raises(AssertionError, match="must be sharded over"):
        testing.assert_tree_is_sharded(x, devices=jax.devices()[1::-1])
    with pytest.raises(AssertionError, match="must be on one device"):
        testing.assert_tree_is_on_device(x, platform="cpu")


def test_restricted_backends_do_not_compile():
    with testing.restrict_backends(forbidden=["cpu"]), pytest.raises(testing.RestrictedBackendError, match="'cpu'"):
        jax.jit(lambda x: x * 3.25)(1.0)
    with testing.restrict_backends(allowed=["cpu"]):
        assert jax.jit(lambda x: x * 3.25)(1.0) == 3.25
    with (
        pytest.raises(ValueError, match="both allowed and forbidden"),
        testing.restrict_backends(allowed=["cpu"], forbidden=["cpu"]),
    ):
        pass
