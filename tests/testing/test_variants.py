"""Variants for absl and pytest, and stand-ins for `jit` and `pmap`."""

import unittest

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from renga import testing

SEEN = []


@testing.all_variants
def test_a_function_of_pytest_takes_the_variant_as_a_parameter(variant):
    out = variant(lambda x, n: jnp.asarray(x) * n, static_argnums=1)(jnp.arange(3.0), 2)
    np.testing.assert_array_equal(out, [0.0, 2.0, 4.0])


class TestInAClassOfPytest:
    @testing.variants(with_jit=True, without_device=True)
    def test_a_method_takes_it_too(self, variant):
        kinds = []
        variant(lambda x: kinds.append(type(x)) or x)(jnp.ones(2))
        assert (kinds[0] is np.ndarray) == (variant.type is testing.ChexVariantType.WITHOUT_DEVICE)


class Cases(testing.TestCase):
    @testing.variants(with_jit=True, without_jit=True, with_device=True, without_device=True, with_pmap=True)
    def test_kinds(self):
        @self.variant
        def fn(x):
            SEEN.append((self._testMethodName, isinstance(x, jax.core.Tracer), isinstance(x, jax.Array)))
            return 2 * x

        np.testing.assert_array_equal(fn(np.ones(2)), [2, 2])

    @testing.variants(with_jit=True, without_jit=True)
    @parameterized.named_parameters(("one", 1), ("two", 2))
    def test_named(self, n):
        SEEN.append((self._testMethodName, n))

    @testing.variants(with_pmap=True)
    def test_pmap(self):
        fn = self.variant(lambda x, y: jax.lax.psum(x, "i") + y, in_axes=(0, None), reduce_fn=None)
        SEEN.append(fn(jnp.ones(3), 1.0).shape)


def test_absl_test_cases_run_in_all_variants():
    SEEN.clear()
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Cases).run(result)
    assert result.testsRun == 10
    assert result.wasSuccessful()
    with pytest.raises(RuntimeError, match="there is no variant"):
        Cases("test_kinds__with_jit").variant(lambda x: x)
    assert ("test_kinds__with_jit", True, True) in SEEN
    assert ("test_kinds__without_jit", False, False) in SEEN
    assert ("test_kinds__with_device", False, True) in SEEN
    assert ("test_kinds__without_device", False, False) in SEEN
    assert ("test_named_two__with_jit", 2) in SEEN
    assert (jax.device_count(), 3) in SEEN


def test_wrong_uses_are_refused():
    with pytest.raises(ValueError, match="at least one variant"):
        testing.variants(lambda self: None)
    with pytest.raises(TypeError, match="is a class"):
        testing.all_variants(Cases)
    with pytest.raises(RuntimeError, match="variants belong to the methods of"):
        testing.all_variants(lambda self: None)()
    with pytest.raises(TypeError, match="must begin with a name"):
        testing.params_product([(1, 2)], named=True)


def test_fake_jit_runs_python_and_stops():
    types = []
    jitted = jax.jit(lambda x: types.append(isinstance(x, jax.core.Tracer)) or x)
    with testing.fake_jit():
        jitted(1.0)
        jax.jit(lambda x, n: x if n else None, static_argnums=1)(1.0, 0)
    jitted(1.0)
    assert types == [False, True]
    context = testing.fake_pmap_and_jit()
    pmap = jax.pmap
    context.start()
    assert jax.pmap is not pmap
    context.stop()
    assert jax.pmap is pmap
    with testing.fake_pmap(False):
        assert jax.pmap is pmap


def test_fake_pmap_has_axes_collectives_and_static_arguments():
    x = jnp.arange(3.0)
    with testing.fake_pmap():
        fn = jax.pmap(
            lambda s, x, y: jax.lax.psum(x, "i") + y if s == "sum" else None,
            axis_name="i", in_axes=(None, 0, None), static_broadcasted_argnums=0, donate_argnums=1,
        )  # fmt: skip
        np.testing.assert_array_equal(fn("sum", x, 1.0), [4, 4, 4])
        assert jax.pmap(lambda x: x, out_axes=1)(jnp.ones((3, 2))).shape == (2, 3)
    with testing.fake_pmap(jit_result=True, ignore_axis_index_groups=True):
        groups = jax.pmap(lambda x: jax.lax.pmean(x, "i", axis_index_groups=[[0, 1], [2]]), axis_name="i")
        np.testing.assert_array_equal(groups(x), [1, 1, 1])
    with testing.fake_pmap(fake_parallel_axis=True):
        np.testing.assert_array_equal(jax.pmap(lambda x: jax.lax.psum(x, "i"), axis_name="i")(x), x)
