"""What policies do at the root: noise before a search, an action and weights after it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Shaped

from renga._core.checks import check_shapes
from renga._core.ranges import check_integer, check_range
from renga.search._expand import mask_logits
from renga.search._keys import gumbel
from renga.search._qtransforms import QTransformFn
from renga.search._selections import considered_scores, masked_argmax
from renga.search._start import Mask, OwnRoot, as_floats
from renga.search._tree import ROOT_INDEX, Tree
from renga.search._types import PolicyOutput, RootFnOutput

Scalar = Shaped[ArrayLike, ""]
Logits = Array

# Defaults of all policies.
DIRICHLET_FRACTION = 0.25
DIRICHLET_ALPHA = 0.3
TEMPERATURE = 1.0
MAX_NUM_CONSIDERED_ACTIONS = 16
GUMBEL_SCALE = 1.0


def gumbel_output(tree: Tree, noise: Logits, qtransform: QTransformFn) -> PolicyOutput:
    """The action and the improved policy at the root of a finished search."""
    visits = tree.summary().visit_counts
    if tree.extra_data.visits_before is not None:
        visits = visits - tree.extra_data.visits_before
    logits = tree.children_prior_logits[:, ROOT_INDEX]
    completed = jax.vmap(qtransform, in_axes=(0, None))(tree, ROOT_INDEX)
    most_visits = jnp.max(visits, axis=-1)
    scores = jax.vmap(considered_scores)(most_visits, noise, logits, completed, visits)
    return PolicyOutput(
        action=masked_argmax(scores, tree.root_invalid_actions != 0),
        action_weights=jax.nn.softmax(logits + completed),
        search_tree=tree,
    )


def root_of(function: str, root: RootFnOutput | None, tree: Tree | None) -> RootFnOutput:
    """The root as given, or that of a tree to go on with."""
    if root is not None:
        return root
    if tree is None:
        raise ValueError(f"{function}: root must be given, unless there is a tree to go on with; got None")
    return OwnRoot(
        prior_logits=tree.children_prior_logits[:, ROOT_INDEX], value=tree.raw_values[:, ROOT_INDEX], embedding=None
    )


def sample_visits(rng_key: Array, weights: Logits, temperature: Scalar) -> Array:
    """Samples in proportion to weights^{1/T}; T = 0 takes one of the largest."""
    logits = _log_probs(weights)
    logits = logits - jnp.max(logits, axis=-1, keepdims=True)
    logits = logits / jnp.maximum(jnp.finfo(logits.dtype).tiny, temperature)
    return jnp.argmax(gumbel(rng_key, logits.shape, logits.dtype) + logits, axis=-1)


def visit_weights(tree: Tree) -> Logits:
    """Shares of the visits of legal actions at the root; equal ones where there was no visit."""
    illegal = tree.root_invalid_actions != 0
    counts = jnp.where(illegal, 0, tree.children_visits[:, ROOT_INDEX]).astype(tree.node_values.dtype)
    total = jnp.sum(counts, axis=-1, keepdims=True)
    # Where no action is legal there is no right answer; all are alike then.
    legal = jnp.where(jnp.all(illegal, axis=-1, keepdims=True), True, ~illegal).astype(counts.dtype)
    return jnp.where(total > 0, counts / jnp.maximum(total, 1), legal / jnp.sum(legal, axis=-1, keepdims=True))


def check_noise(
    function: str, fraction: Scalar, alpha: Scalar, temperature: Scalar, pb_c_init: Scalar, pb_c_base: Scalar
) -> None:
    """Checks the options of MuZero's selection."""
    check_range(function, low=0, high=1, dirichlet_fraction=fraction)
    check_range(function, above=0, dirichlet_alpha=alpha, pb_c_base=pb_c_base)
    check_range(function, low=0, temperature=temperature)
    check_range(function, pb_c_init=pb_c_init)


def check_gumbel(function: str, max_num_considered_actions: int, gumbel_scale: Scalar) -> None:
    """Checks the options of Gumbel MuZero's selection."""
    check_integer(function, low=1, max_num_considered_actions=max_num_considered_actions)
    check_range(function, low=0, gumbel_scale=gumbel_scale)


def masked(logits: Shaped[ArrayLike, "B A"], invalid_actions: Mask | None) -> Array:
    """Logits with the lowest number for invalid actions."""
    if invalid_actions is None:
        return jnp.asarray(logits)
    check_shapes("search", prior_logits=(logits, "B A"), invalid_actions=(invalid_actions, "B A"))
    return mask_logits(as_floats(logits), jnp.asarray(invalid_actions) != 0)


def noisy_logits(
    rng_key: Array, logits: Shaped[ArrayLike, "B A"], fraction: Scalar, alpha: Scalar, illegal: Array | None
) -> Logits:
    """Mixes Dirichlet noise over the legal actions into a prior, and masks the others."""
    logits = as_floats(logits)
    if isinstance(fraction, int | float) and fraction == 0:  # nothing to draw, nor to compile
        mixed = jnp.result_type(logits, jnp.result_type(float))  # as with noise, which is not of half precision
        return masked(_log_probs(jax.nn.softmax(logits).astype(mixed)), illegal)
    probs = jax.nn.softmax(masked(logits, illegal))
    if illegal is None:
        noise = jax.random.dirichlet(rng_key, jnp.full(probs.shape[-1:], alpha), shape=probs.shape[:-1])
    else:  # the marginal law of some of the shares: gamma variables, normalised
        log_gamma = jax.random.loggamma(rng_key, jnp.full(probs.shape[-1:], alpha), shape=probs.shape)
        noise = jax.nn.softmax(jnp.where(illegal, jnp.finfo(log_gamma.dtype).min, log_gamma))
    return masked(_log_probs(jnp.asarray((1 - fraction) * probs + fraction * noise)), illegal)


def _log_probs(probs: Logits) -> Logits:
    return jnp.log(jnp.maximum(probs, jnp.finfo(probs.dtype).tiny))
