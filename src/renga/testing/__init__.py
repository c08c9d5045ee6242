"""Tests of programs that are transformed: assertions, checks, variants, dataclasses and the search for causes.

The public names of chex, and more. A program written for chex runs after one change:

    from renga import testing as chex
"""

import typing
from typing import Any

from renga import __version__ as __version__
from renga.testing._assertion import (
    disable_asserts,
    enable_asserts,
    value_asserts_in_jit,
)
from renga.testing._axes import (
    assert_axis_dimension,
    assert_axis_dimension_comparator,
    assert_axis_dimension_gt,
    assert_axis_dimension_gteq,
    assert_axis_dimension_lt,
    assert_axis_dimension_lteq,
    assert_is_broadcastable,
    assert_type,
)
from renga.testing._backends import (
    RestrictedBackendError,
    restrict_backends,
    set_n_cpu_devices,
)
from renga.testing._check import (
    CheckError,
    check,
    checked,
)
from renga.testing._chexify import (
    ChexifyChecks,
    block_until_chexify_assertions_complete,
    chexify,
    with_jittable_assertions,
)
from renga.testing._dataclass import (
    dataclass,
    mappable_dataclass,
    register_dataclass_type_with_jax_tree_util,
    static_field,
)
from renga.testing._devices import (
    assert_devices_available,
    assert_gpu_available,
    assert_tpu_available,
    assert_tree_is_on_device,
    assert_tree_is_on_host,
    assert_tree_is_sharded,
)
from renga.testing._dimensions import (
    Dimensions,
)
from renga.testing._fake import (
    FakeContext,
    fake_jit,
    fake_pmap,
    fake_pmap_and_jit,
)
from renga.testing._gradients import (
    assert_numerical_grads,
    check_gradients,
)
from renga.testing._laws import (
    assert_continuous_law,
    assert_discrete_law,
)
from renga.testing._leaks import (
    assert_no_leaks,
)
from renga.testing._leaves import (
    Tolerance,
    tolerances,
)
from renga.testing._nan import (
    NanReport,
    explain_nan,
)
from renga.testing._retrace import (
    explain_retrace,
)
from renga.testing._scalars import (
    assert_equal,
    assert_exactly_one_is_none,
    assert_is_divisible,
    assert_not_both_none,
    assert_scalar,
    assert_scalar_in,
    assert_scalar_negative,
    assert_scalar_non_negative,
    assert_scalar_positive,
    if_args_not_none,
)
from renga.testing._shapes import (
    assert_equal_rank,
    assert_equal_shape,
    assert_equal_shape_prefix,
    assert_equal_shape_suffix,
    assert_equal_size,
    assert_rank,
    assert_shape,
    assert_size,
)
from renga.testing._traces import (
    assert_max_traces,
    assert_traces,
    clear_trace_counter,
    traced,
)
from renga.testing._transforms import (
    check_transforms,
)
from renga.testing._trees import (
    assert_tree_has_only_ndarrays,
    assert_tree_no_nones,
    assert_tree_shape,
    assert_tree_shape_prefix,
    assert_tree_shape_suffix,
    assert_trees_all_equal_dtypes,
    assert_trees_all_equal_shapes,
    assert_trees_all_equal_shapes_and_dtypes,
    assert_trees_all_equal_sizes,
    assert_trees_all_equal_structs,
)
from renga.testing._types import (
    Array,
    ArrayBatched,
    ArrayDevice,
    ArrayDeviceTree,
    ArrayDType,
    ArrayNumpy,
    ArrayNumpyTree,
    ArraySharded,
    ArrayTree,
    Device,
    Numeric,
    PRNGKey,
    PyTreeDef,
    Scalar,
    Shape,
)
from renga.testing._values import (
    assert_tree_all_finite,
    assert_trees_all_close,
    assert_trees_all_close_ulp,
    assert_trees_all_equal,
    assert_trees_all_equal_comparator,
)
from renga.testing._variant_kinds import (
    ChexVariantType,
)
from renga.testing._variants import (
    all_variants,
    params_product,
    variants,
)
from renga.testing._warnings import (
    create_deprecated_function_alias,
    warn_deprecated_function,
    warn_keyword_args_only_in_future,
    warn_only_n_pos_args_in_future,
)

if typing.TYPE_CHECKING:
    TestCase: type

__all__ = [
    "Array",
    "ArrayBatched",
    "ArrayDType",
    "ArrayDevice",
    "ArrayDeviceTree",
    "ArrayNumpy",
    "ArrayNumpyTree",
    "ArraySharded",
    "ArrayTree",
    "CheckError",
    "ChexVariantType",
    "ChexifyChecks",
    "Device",
    "Dimensions",
    "FakeContext",
    "NanReport",
    "Numeric",
    "PRNGKey",
    "PyTreeDef",
    "RestrictedBackendError",
    "Scalar",
    "Shape",
    "TestCase",
    "Tolerance",
    "all_variants",
    "assert_axis_dimension",
    "assert_axis_dimension_comparator",
    "assert_axis_dimension_gt",
    "assert_axis_dimension_gteq",
    "assert_axis_dimension_lt",
    "assert_axis_dimension_lteq",
    "assert_continuous_law",
    "assert_devices_available",
    "assert_discrete_law",
    "assert_equal",
    "assert_equal_rank",
    "assert_equal_shape",
    "assert_equal_shape_prefix",
    "assert_equal_shape_suffix",
    "assert_equal_size",
    "assert_exactly_one_is_none",
    "assert_gpu_available",
    "assert_is_broadcastable",
    "assert_is_divisible",
    "assert_max_traces",
    "assert_no_leaks",
    "assert_not_both_none",
    "assert_numerical_grads",
    "assert_rank",
    "assert_scalar",
    "assert_scalar_in",
    "assert_scalar_negative",
    "assert_scalar_non_negative",
    "assert_scalar_positive",
    "assert_shape",
    "assert_size",
    "assert_tpu_available",
    "assert_traces",
    "assert_tree_all_finite",
    "assert_tree_has_only_ndarrays",
    "assert_tree_is_on_device",
    "assert_tree_is_on_host",
    "assert_tree_is_sharded",
    "assert_tree_no_nones",
    "assert_tree_shape",
    "assert_tree_shape_prefix",
    "assert_tree_shape_suffix",
    "assert_trees_all_close",
    "assert_trees_all_close_ulp",
    "assert_trees_all_equal",
    "assert_trees_all_equal_comparator",
    "assert_trees_all_equal_dtypes",
    "assert_trees_all_equal_shapes",
    "assert_trees_all_equal_shapes_and_dtypes",
    "assert_trees_all_equal_sizes",
    "assert_trees_all_equal_structs",
    "assert_type",
    "block_until_chexify_assertions_complete",
    "check",
    "check_gradients",
    "check_transforms",
    "checked",
    "chexify",
    "clear_trace_counter",
    "create_deprecated_function_alias",
    "dataclass",
    "disable_asserts",
    "enable_asserts",
    "explain_nan",
    "explain_retrace",
    "fake_jit",
    "fake_pmap",
    "fake_pmap_and_jit",
    "if_args_not_none",
    "mappable_dataclass",
    "params_product",
    "register_dataclass_type_with_jax_tree_util",
    "restrict_backends",
    "set_n_cpu_devices",
    "static_field",
    "tolerances",
    "traced",
    "value_asserts_in_jit",
    "variants",
    "warn_deprecated_function",
    "warn_keyword_args_only_in_future",
    "warn_only_n_pos_args_in_future",
    "with_jittable_assertions",
]


def __getattr__(name: str) -> Any:
    """Imports absl where `TestCase` is asked for."""
    if name != "TestCase":
        raise AttributeError(f"module 'renga.testing' has no attribute {name!r}")
    from renga.testing._variants import make_test_case

    return make_test_case()
