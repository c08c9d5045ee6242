"""Arithmetic of trees, and finding and replacing parts of them by name."""

from renga.optim._moments import (
    bias_correction,
    update_infinity_moment,
    update_moment,
    update_moment_per_elem_norm,
)
from renga.optim._search import (
    NamedTupleKey,
    get,
    get_all_with_path,
    set,
)
from renga.optim._search import (
    tree_map_params as map_params,
)
from renga.optim._tree import add, add_scale, allclose, clip, div, max, min, mul, norm, scale, size, sub, sum, vdot
from renga.optim._tree_make import (
    batch_shape,
    cast,
    cast_like,
    conj,
    dtype,
    full_like,
    ones_like,
    random_like,
    real,
    split_key_like,
    unwrap_random_key_data,
    where,
    zeros_like,
)

__all__ = [
    "NamedTupleKey",
    "add",
    "add_scale",
    "allclose",
    "batch_shape",
    "bias_correction",
    "cast",
    "cast_like",
    "clip",
    "conj",
    "div",
    "dtype",
    "full_like",
    "get",
    "get_all_with_path",
    "map_params",
    "max",
    "min",
    "mul",
    "norm",
    "ones_like",
    "random_like",
    "real",
    "scale",
    "set",
    "size",
    "split_key_like",
    "sub",
    "sum",
    "unwrap_random_key_data",
    "update_infinity_moment",
    "update_moment",
    "update_moment_per_elem_norm",
    "vdot",
    "where",
    "zeros_like",
]
