"""Every public function in 16 bits and at the ends of the range of float32: right wherever the right number exists.

Each array of floats among the arguments is scaled by 1e30 and by 1e-30 in turn, and the result in float32 is compared
with the same computation in float64; all of them in float16 and in bfloat16 are compared with the same numbers in
float32. Where the right number lies beyond the range of the dtype, the result may be anything that is not finite.
What a change of the inputs in their last digits does to the right number is allowed as an error.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from .test_matrix import LIBRARIES, table

SCALES = (1e30, 1e-30)
HALVES = {"float16": 2e-2, "bfloat16": 1e-1}


def is_float(x):
    is_array = isinstance(x, jax.Array | np.ndarray) and not jnp.issubdtype(x.dtype, jax.dtypes.extended)
    return is_array and jnp.issubdtype(x.dtype, jnp.floating)


# What is made of the inputs is made in NumPy: a program for each shape and dtype would take longer than the functions.
def of_floats(change, tree):
    """The tree with its arrays of floats changed."""
    with np.errstate(all="ignore"):
        return jax.tree.map(lambda x: np.asarray(change(np.asarray(x))) if is_float(x) else x, tree)


def floats_to(tree, dtype):
    return of_floats(lambda x: x.astype(jnp.dtype(dtype)), tree)


DRAWS = ("random_bits", "random_split", "random_gamma", "threefry2x32")


class Runs:
    """Runs a case: in one program for float64 and one for all narrower dtypes, for compiling is nearly all the time."""

    def __init__(self, fn, args):
        self.fn, self.programs, self.draws = fn, {}, False
        self.narrow = {"float32": args} | {dtype: floats_to(args, dtype) for dtype in HALVES}

    def _program(self, *inputs):
        traced = jax.jit(lambda *inputs: [self.fn(*args) for args in inputs]).trace(*inputs)
        text = str(traced.jaxpr)
        self.draws |= any(name in text for name in DRAWS)  # random numbers, which other dtypes draw anew
        return traced.lower().compile()

    def __call__(self, args, dtype):
        inputs = {dtype: args} if dtype == "float64" else self.narrow | {dtype: args}
        if len(inputs) not in self.programs:
            self.programs[len(inputs)] = self._program(*inputs.values())
        outputs = self.programs[len(inputs)](*inputs.values())
        leaves = jax.tree.leaves(dict(zip(inputs, outputs, strict=True))[dtype])
        return [np.asarray(x, np.float64) for x in leaves if is_float(x)]


def nudged(tree, dtype):
    """The tree with its floats changed in their last digits, up and down."""
    eps = 4 * float(jnp.finfo(dtype).eps)
    up = np.random.default_rng(0)
    return of_floats(lambda x: x * (1 + eps * up.choice([-1, 1], x.shape)).astype(x.dtype), tree)


def wrong(got, right, near, dtype, tolerance, compare):
    """What is not as it should be in one leaf of a result, or None; near is right for inputs that are nudged."""
    limits = jnp.finfo(dtype)
    exists = np.isfinite(right) & (np.abs(right) < 0.01 * float(limits.max))  # sums may reach further
    got, right, near = (np.where(exists, x, 0) for x in (got, right, near))
    bad = ~np.isfinite(got)
    if compare:
        allowed = tolerance * (np.abs(right) + 1e-2 * np.abs(right).max(initial=0)) + float(limits.tiny)
        bad |= ~(np.abs(np.where(bad, 0, got) - right) <= allowed + 8 * np.abs(near - right))
    if bad.any():
        place = np.argmax(bad.ravel())
        return f"{got.ravel()[place]:.6g} for {right.ravel()[place]:.6g}"
    return None


def findings(case):
    """What a case does wrong, one line each."""
    args = case.args() if callable(case.args) else case.args
    leaves, structure = jax.tree.flatten(args)
    if not any(is_float(x) for x in leaves):
        return
    run = Runs(case.fn, args)

    def compared(inputs, dtype, wide, tolerance):
        got = run(inputs, dtype)
        with jax.enable_x64(wide == "float64"):
            inputs = floats_to(inputs, wide)
            right, near = run(inputs, wide), run(nudged(inputs, dtype), wide)
        notes = (wrong(*leaf, dtype, tolerance, not run.draws) for leaf in zip(got, right, near, strict=True))
        return next(filter(None, notes), None)

    for i, leaf in enumerate(leaves):
        for scale in SCALES if is_float(leaf) else ():
            scaled = of_floats(lambda x, s=scale: (x.astype(np.float32) * np.float32(s)).astype(x.dtype), leaf)
            inputs = jax.tree.unflatten(structure, [*leaves[:i], scaled, *leaves[i + 1 :]])
            if note := compared(inputs, "float32", "float64", 1e-3):
                yield f"leaf {i} times {scale:g}: {note}"
    for dtype, tolerance in HALVES.items():
        if note := compared(floats_to(args, dtype), dtype, "float32", tolerance):
            yield f"{dtype}: {note}"


CASES = [pytest.param(library, name, id=f"{library}.{name}") for library in LIBRARIES for name in table(library).CASES]


@pytest.mark.parametrize(("library", "name"), CASES)
def test_function_is_right_over_the_range_of_floats(library, name, unchecked, rank_promotion):
    exempt = getattr(table(library), "FLOAT_RANGE", {})
    by_compiler = getattr(table(library), "BY_COMPILER", ())
    found = list(findings(table(library).CASES[name]))
    assert not found or name in exempt, found
    assert found or name not in exempt or name in by_compiler, "no longer needs an exemption"
