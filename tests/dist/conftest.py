"""One compilation for several checks: compiling is nearly all the time of these tests."""

import functools

import jax
import pytest

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


@pytest.fixture
def quick():
    """`jax.jit` that compiles fast."""
    return functools.partial(jax.jit, compiler_options=QUICK)
