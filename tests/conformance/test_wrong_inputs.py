"""Every public function on inputs that do not fit: the right result, or an error of ours that says what came.

Each argument of each case of the matrix is changed in turn: an axis more or less, a longer axis, integers, bools,
numbers where there were integers. Functions are only traced, so this is quick. An error that JAX or NumPy raises is
a failure: it does not know which function and which argument of ours it speaks of.
"""

import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from . import cases
from .test_matrix import LIBRARIES, table

CHANGES = {
    "an axis more": lambda x: x[None],
    "an axis less": lambda x: x[0] if x.ndim and x.shape[0] else None,
    "a longer first axis": lambda x: np.concatenate([x, x[:1]]) if x.ndim and x.shape[0] else None,
    "a longer last axis": lambda x: np.concatenate([x, x[..., :1]], -1) if x.ndim > 1 and x.shape[-1] else None,
    "an empty first axis": lambda x: x[:0] if x.ndim and x.shape[0] else None,
    "integers": lambda x: x.astype(np.int32) if jnp.issubdtype(x.dtype, jnp.floating) else None,
    "bools": lambda x: x.astype(bool) if jnp.issubdtype(x.dtype, jnp.floating) else None,
    "floats": lambda x: x.astype(np.float32) if jnp.issubdtype(x.dtype, jnp.integer) else None,
}


ARRAYS = jax.Array | np.ndarray | jax.ShapeDtypeStruct


def arguments(library, case):
    """Those of a case; of layers, whose parameters would be computed, their shapes."""
    if not callable(case.args):
        return case.args
    return jax.eval_shape(case.args) if library == "nn" else case.args()


def changed(tree, change):
    """The tree with its first array changed, or None if there is none that can be."""
    leaves, structure = jax.tree.flatten(tree)
    for i, leaf in enumerate(leaves):
        is_array = isinstance(leaf, ARRAYS) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
        other = None
        if is_array:  # in NumPy, which compiles nothing
            shaped = isinstance(leaf, jax.ShapeDtypeStruct)
            other = change(np.zeros(leaf.shape, leaf.dtype) if shaped else np.asarray(jnp.asarray(leaf)))
        if other is not None:
            return jax.tree.unflatten(structure, [*leaves[:i], jnp.asarray(other), *leaves[i + 1 :]])
    return None


def raw_errors(library, case):
    """Which changes end in an error that is not ours."""
    args = arguments(library, case)
    for i, arg in enumerate(args):
        for name, change in CHANGES.items():
            other = changed(arg, change)
            if other is None:
                continue
            try:
                jax.eval_shape(case.fn, *args[:i], other, *args[i + 1 :])
            except Exception as error:
                frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
                # The innermost function that is not JAX's: of the case itself, a user's, its errors are its own.
                owner = next(name for name in reversed(frames) if "site-packages" not in name)
                if owner != cases.__file__.replace("__init__", library) and owner != frames[-1]:
                    yield f"argument {i} with {name}: {type(error).__name__}: {str(error).splitlines()[:1]}"


@pytest.fixture
def whole_tracebacks():
    """JAX takes its own frames out of tracebacks: then its errors look like ours."""
    before = jax.config.jax_traceback_filtering
    jax.config.update("jax_traceback_filtering", "off")
    yield
    jax.config.update("jax_traceback_filtering", before)


@pytest.mark.parametrize("library", LIBRARIES)
def test_inputs_that_do_not_fit_are_refused_in_our_words(library, unchecked, rank_promotion, whole_tracebacks):
    exempt = getattr(table(library), "RAW_ERRORS", {})
    found = {name: list(raw_errors(library, case)) for name, case in table(library).CASES.items()}
    raw = {name: errors for name, errors in found.items() if errors}
    assert not {name: errors for name, errors in raw.items() if name not in exempt}
    assert not set(exempt) - set(raw), "no longer needs an exemption"


def test_an_error_of_jax_counts_as_raw(whole_tracebacks):
    case = cases.Case(jax.grad(lambda x: (x**2).sum()), (jnp.ones(2),))
    assert any("with integers: TypeError" in text for text in raw_errors("rl", case))
