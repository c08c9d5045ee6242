"""Whether a rule of the user's can be a part of a kernel: by the operations that it consists of."""

import jax
from jax.extend.core import Jaxpr, subjaxprs

from renga.search._quick._choices import Rules, masked_scores, row
from renga.search._tree import Tree

# What XLA compiles within a small call; not: sorting, calling out; at some of it the process ends.
_POINTWISE = """abs acos acosh add and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy copy_p cos
cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p logistic lt
max min mul ne neg nextafter not or population_count pow reduce_precision rem round rsqrt select_n shift_left
shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh xor"""
_SHAPES = "broadcast_in_dim concatenate dynamic_slice expand_dims gather iota pad reshape rev slice squeeze transpose"
_REDUCTIONS = """argmax argmin cumlogsumexp cummax cummin cumprod cumsum dot_general reduce_and reduce_max reduce_min
reduce_or reduce_prod reduce_sum"""
_CALLS = "closed_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr jit pjit remat remat2 checkpoint"
_ALLOWED = frozenset(" ".join((_POINTWISE, _SHAPES, _REDUCTIONS, _CALLS)).split())


def fits(rules: Rules, tree: Tree) -> bool:
    """Whether the selections consist of operations that a kernel can hold; the library's own do."""
    if not rules.own:
        return True

    def scores(tree: Tree, numbers: list[jax.Array]) -> list[jax.Array]:
        return [masked_scores(rule, row(tree, 0, 0), at == 0) for at, rule in enumerate(rules.join(numbers))]

    own = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in rules.by_tree]
    return _fit(jax.make_jaxpr(scores)(tree.replace(embeddings=None), own).jaxpr)


def _fit(jaxpr: Jaxpr) -> bool:
    calm = not jaxpr.effects and all(equation.primitive.name in _ALLOWED for equation in jaxpr.eqns)
    return calm and all(map(_fit, subjaxprs(jaxpr)))
