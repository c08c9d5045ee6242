"""The functions of `renga.optim.tree` under their older names."""

from functools import partial

import jax.numpy as jnp

from renga.optim._moments import (
    bias_correction as tree_bias_correction,
)
from renga.optim._moments import (
    update_infinity_moment as tree_update_infinity_moment,
)
from renga.optim._moments import (
    update_moment as tree_update_moment,
)
from renga.optim._moments import (
    update_moment_per_elem_norm as tree_update_moment_per_elem_norm,
)
from renga.optim._search import (
    NamedTupleKey,
    tree_map_params,
)
from renga.optim._search import (
    get as tree_get,
)
from renga.optim._search import (
    get_all_with_path as tree_get_all_with_path,
)
from renga.optim._search import (
    set as tree_set,
)
from renga.optim._tree import add as tree_add
from renga.optim._tree import add_scale as tree_add_scale
from renga.optim._tree import allclose as tree_allclose
from renga.optim._tree import clip as tree_clip
from renga.optim._tree import div as tree_div
from renga.optim._tree import max as tree_max
from renga.optim._tree import min as tree_min
from renga.optim._tree import mul as tree_mul
from renga.optim._tree import norm as tree_norm
from renga.optim._tree import scale as tree_scale
from renga.optim._tree import size as tree_size
from renga.optim._tree import sub as tree_sub
from renga.optim._tree import sum as tree_sum
from renga.optim._tree import vdot as tree_vdot
from renga.optim._tree_make import batch_shape as tree_batch_shape
from renga.optim._tree_make import cast as tree_cast
from renga.optim._tree_make import cast_like as tree_cast_like
from renga.optim._tree_make import conj as tree_conj
from renga.optim._tree_make import dtype as tree_dtype
from renga.optim._tree_make import full_like as tree_full_like
from renga.optim._tree_make import ones_like as tree_ones_like
from renga.optim._tree_make import random_like as tree_random_like
from renga.optim._tree_make import real as tree_real
from renga.optim._tree_make import split_key_like as tree_split_key_like
from renga.optim._tree_make import unwrap_random_key_data as tree_unwrap_random_key_data
from renga.optim._tree_make import where as tree_where
from renga.optim._tree_make import zeros_like as tree_zeros_like

tree_add_scalar_mul = tree_add_scale
tree_scalar_mul = tree_scale
# The sum of the absolute values of all leaves.
tree_l1_norm = partial(tree_norm, ord=1)
tree_l2_norm = tree_norm
# The largest absolute value of all leaves.
tree_linf_norm = partial(tree_norm, ord=jnp.inf)

__all__ = [
    "NamedTupleKey",
    "tree_add",
    "tree_add_scalar_mul",
    "tree_add_scale",
    "tree_allclose",
    "tree_batch_shape",
    "tree_bias_correction",
    "tree_cast",
    "tree_cast_like",
    "tree_clip",
    "tree_conj",
    "tree_div",
    "tree_dtype",
    "tree_full_like",
    "tree_get",
    "tree_get_all_with_path",
    "tree_l1_norm",
    "tree_l2_norm",
    "tree_linf_norm",
    "tree_map_params",
    "tree_max",
    "tree_min",
    "tree_mul",
    "tree_norm",
    "tree_ones_like",
    "tree_random_like",
    "tree_real",
    "tree_scalar_mul",
    "tree_scale",
    "tree_set",
    "tree_size",
    "tree_split_key_like",
    "tree_sub",
    "tree_sum",
    "tree_unwrap_random_key_data",
    "tree_update_infinity_moment",
    "tree_update_moment",
    "tree_update_moment_per_elem_norm",
    "tree_vdot",
    "tree_where",
    "tree_zeros_like",
]
