"""Mixed precision beside Haiku's. (Its `to_dot` leaks a tracer on the JAX of today, so there is nothing to compare.)"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

hk = pytest.importorskip("haiku")
jmp = pytest.importorskip("jmp")


@pytest.mark.parametrize("policy", ["params=float32,compute=bfloat16,output=float32", "half"])
def test_a_policy_casts_as_in_haiku(policy):
    policy = jmp.get_policy(policy)
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)

    class OursLinear(nn.Linear):
        pass

    class TheirsLinear(hk.Linear):
        pass

    results = []
    for lib, cls in ((nn, OursLinear), (hk, TheirsLinear)):
        lib.mixed_precision.set_policy(cls, policy)
        try:
            t = lib.without_apply_rng(lib.transform(lambda x, cls=cls: cls(3, name="linear")(x)))
            params = t.init(jax.random.key(1), x)
            out, gradient = t.apply(params, x), jax.grad(lambda p, t=t: t.apply(p, x).astype(jnp.float32).sum())(params)
            results.append((params, out, gradient))
        finally:
            lib.mixed_precision.clear_policy(cls)
    for ours, theirs in zip(*map(jax.tree.leaves, results), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(np.asarray(ours, np.float32), np.asarray(theirs, np.float32), rtol=1e-2)


def test_policies_are_found_by_class_name_and_context_as_in_haiku():
    for lib in (nn, hk):
        assert lib.mixed_precision.current_policy() is None
        policy = jmp.get_policy("half")
        assert lib.mixed_precision.get_policy(lib.Linear) is None
        lib.mixed_precision.set_policy(lib.Linear, policy)
        assert lib.mixed_precision.get_policy(lib.Linear) == policy
        with lib.mixed_precision.push_policy(lib.Linear, jmp.get_policy("full")):
            assert lib.mixed_precision.get_policy(lib.Linear) == jmp.get_policy("full")
        assert lib.mixed_precision.get_policy(lib.Linear) == policy
        lib.mixed_precision.clear_policy(lib.Linear)
        assert lib.mixed_precision.get_policy(lib.Linear) is None
