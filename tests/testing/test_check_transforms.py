"""`check_transforms` passes what composes and says what does not, where and by how much."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga._core.varying import _axes
from renga.testing import check_transforms


def test_a_function_of_trees_keys_and_integers_passes():
    def fn(key, x, i):
        noise = jax.random.normal(key, x["a"].shape)
        return {"y": x["a"] * noise, "index": i + 1, "key": jax.random.split(key)[0]}

    check_transforms(fn, jax.random.key(0), {"a": jnp.arange(3.0)}, jnp.int32(1))
    check_transforms(fn, jax.random.PRNGKey(0), {"a": jnp.arange(3.0)}, jnp.int32(1))


@pytest.mark.parametrize("eager", [True, False])
def test_a_python_branch_on_a_value_is_reported_under_jit(eager):
    with pytest.raises(AssertionError, match=r"check_transforms\(branch\): jit raised TracerBool"):

        def branch(x):
            return x if x > 0 else -x

        check_transforms(branch, 1.0, eager=eager)


@pytest.mark.parametrize("eager", [True, False])
def test_a_wrong_batching_rule_is_reported_under_vmap_with_the_leaf_and_the_error(eager):
    @jax.custom_batching.custom_vmap
    def double(x):
        return 2 * x

    @double.def_vmap
    def _(axis_size, in_batched, x):
        return 3 * x, True

    with pytest.raises(AssertionError, match=r"vmap: \['y'\] is off by 2 at \(0, 1\) \(plain 4, got 6"):
        check_transforms(lambda x: {"y": double(x)}, jnp.array([0.0, 2.0]), differentiable=False, eager=eager)


def test_a_wrong_gradient_is_reported():
    @jax.custom_jvp
    def square(x):
        return x**2

    @square.defjvp
    def _(primals, tangents):
        return square(primals[0]), 2 * jnp.nan * primals[0] * tangents[0]

    with pytest.raises(AssertionError, match="grad is not finite"):
        check_transforms(square, jnp.array([1.0, 2.0]))


def test_reverse_mode_is_held_against_forward_mode():
    def transposed_wrongly(b):
        return jax.lax.custom_linear_solve(
            lambda x: 2.0 * x, b, solve=lambda _, b: b / 2.0, transpose_solve=lambda _, b: b / 3.0
        )

    with pytest.raises(AssertionError, match="grad: reverse mode gives .* forward mode"):
        check_transforms(transposed_wrongly, jnp.arange(1.0, 4.0))


def test_a_custom_vjp_without_forward_mode_passes():
    @jax.custom_vjp
    def identity(x):
        return x

    identity.defvjp(lambda x: (x, None), lambda _, g: (g,))
    check_transforms(identity, jnp.arange(3.0))


@pytest.mark.parametrize("eager", [True, False])
def test_a_function_that_depends_on_the_kind_of_key_is_reported(eager):
    def kind(key):
        return jnp.float32(jnp.issubdtype(key.dtype, jax.dtypes.prng_key)) + jax.random.uniform(key)

    with pytest.raises(AssertionError, match=r"with the other kind of key\): the plain call: the result is off by 1"):
        check_transforms(kind, jax.random.key(0), eager=eager)


def test_a_result_of_another_dtype_is_reported():
    calls = []

    def second_call_differs(x):
        calls.append(x)
        return x if len(calls) == 1 else x.astype(jnp.bfloat16)

    with pytest.raises(AssertionError, match="jit: the result is bfloat16"):
        check_transforms(second_call_differs, np.float32(1.0))


@pytest.mark.parametrize("is_wrong", [False, True])
def test_what_jax_refuses_all_at_once_is_run_apart(is_wrong):
    met = set()

    def fn(x):
        is_batch = type(x).__name__ == "BatchTracer"
        is_batch_of_batches = is_batch and type(x.val).__name__ == "BatchTracer"
        is_on_devices = bool(_axes(x))
        if is_batch and is_on_devices:
            raise NotImplementedError("no batches on several devices")
        met.add((is_batch_of_batches, is_on_devices))
        return 2.0 * x + (is_wrong and is_batch_of_batches)

    if is_wrong:
        with pytest.raises(AssertionError, match="vmap of vmap: the result is off by 1"):
            check_transforms(fn, jnp.arange(3.0))
    else:
        check_transforms(fn, jnp.arange(3.0))
        assert met == {(False, False), (True, False), (False, True)}
