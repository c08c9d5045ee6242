"""Custom rules of differentiation that a program contains, each against differences of what it stands for."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga._core import cutting
from renga.testing._differences import central_difference, direction, is_inexact
from renga.testing._programs import Eqn, bind, closed_inside, core, run

_CUSTOM = ("custom_jvp_call", "custom_vjp_call")
# Of JAX itself; and the product of `renga._core.cutting`, which most formulas contain and which has tests of its own.
_TESTED_ELSEWHERE = (str(pathlib.Path(jax.__file__).parent), cutting.__file__)


def has_custom_rule(jaxpr: Any) -> bool:
    """Returns whether a program has a custom rule at any depth, those that are tested elsewhere apart."""
    return any(_is_custom(e) or any(map(has_custom_rule, closed_inside(e))) for e in _eqns(jaxpr))


def _is_custom(eqn: Eqn) -> bool:
    if eqn.primitive.name not in _CUSTOM:
        return False
    info = getattr(closed_inside(eqn)[0].jaxpr, "debug_info", None)
    source = str(getattr(info, "func_src_info", ""))
    return not any(path in source for path in _TESTED_ELSEWHERE)


def _eqns(jaxpr: Any) -> list[Eqn]:
    return getattr(jaxpr, "jaxpr", jaxpr).eqns


def wrong_rules(fn: Callable[..., Any], args: tuple, rtol: float = 2e-2) -> Iterator[str]:
    """Yields a text for each custom rule whose derivative is not that of its function.

    The rule is compared at the values it gets in the call, entry by entry. An entry where the function has a kink, or
    where rounding hides the derivative, is left out.
    """
    try:
        closed = jax.make_jaxpr(fn)(*args)
    except Exception:
        return  # a function that cannot be traced is for others to report
    if not has_custom_rule(closed):
        return
    for eqn, inputs in _calls(closed, jax.tree.leaves(args)):
        text = _check_rule(eqn, inputs, rtol)
        if text:
            yield text


def _calls(closed: Any, leaves: list) -> list[tuple[Eqn, list]]:
    """Returns each operation with a custom rule once, with the inputs that it gets in the call."""
    found: list[Eqn] = []

    def inputs_of(leaves: list) -> list:
        found.clear()
        given = []

        def visit(eqn: Eqn, inputs: list) -> None:
            if _is_custom(eqn) and not any(e is eqn for e in found):
                found.append(eqn)
                given.append(inputs)

        run(closed, leaves, visit)
        return given

    try:
        given = jax.jit(inputs_of)(leaves)  # much quicker than one operation after another
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError):
        given = inputs_of(leaves)  # a branch or a loop depends on a value
    return list(zip(found, given, strict=True))


def _check_rule(eqn: Eqn, inputs: list, rtol: float) -> str | None:
    closed = closed_inside(eqn)[0]
    primal = jax.jit(core().jaxpr_as_fun(closed))
    ruled = lambda *xs: tuple(bind(eqn, list(xs)))
    kind = eqn.primitive.name.removesuffix("_call")
    finite = lambda x: is_inexact(x) and np.isfinite(np.asarray(x, np.complex64)).all()
    # What the function closes over comes first, and is a constant to its rule.
    where = [i for i, x in enumerate(inputs) if i >= eqn.params.get("num_consts", 0) and finite(x)]
    if not where:
        return None
    inputs = [jnp.asarray(x) for x in inputs]
    at = {i: np.asarray(inputs[i]) for i in where}  # in NumPy, which compiles nothing
    v = {i: direction(x, seed=i).astype(x.dtype) for i, x in at.items()}
    # The tangent grows with the entry, so that no entry leaves its range; at 0 it is tried once more.
    with np.errstate(all="ignore"):
        directions = [{i: np.abs(x) * v[i] for i, x in at.items()}]
    if any((x == 0).any() for x in at.values()):
        directions.append({i: np.where(x == 0, v[i], directions[0][i]) for i, x in at.items()})

    @jax.jit
    def slopes(tangents: dict) -> tuple:
        full = tuple(tangents.get(i, _zero(x)) for i, x in enumerate(inputs))
        return jax.jvp(ruled, tuple(inputs), full)[1]

    for tangents in directions:
        text = _check_along(closed, primal, ruled, slopes, inputs, tangents, kind, rtol)
        if text:
            return text
    return None


def _check_along(
    closed: Any,
    primal: Callable,
    ruled: Callable,
    slopes: Callable,
    inputs: list,
    tangents: dict,
    kind: str,
    rtol: float,
) -> str | None:
    def moved(h: float) -> list:
        with np.errstate(all="ignore"):
            moves = {i: (h * t).astype(t.dtype) for i, t in tangents.items()}
            return [np.asarray(x) + moves[i] if i in moves else x for i, x in enumerate(inputs)]

    name = f"{getattr(closed.jaxpr.debug_info, 'func_name', None) or kind}"
    outputs = [k for k, y in enumerate(closed.out_avals) if is_inexact(y)]
    if kind == "custom_jvp":
        found = slopes(tangents)
        got = [np.asarray(found[k], np.float64) for k in outputs]
    else:
        got = None
    for position, k in enumerate(outputs):
        f = lambda h, k=k: np.asarray(primal(*moved(h))[k], np.float64)
        want, error, kink = central_difference(f, 0.03)
        if got is None:
            want, error, kink, mine = _cotangent_form(ruled, inputs, tangents, k, want, error, kink)
        else:
            mine = got[position]
        scale = np.maximum(np.abs(want), np.abs(mine))
        off = np.abs(mine - want)
        smooth = np.isfinite(off) & (kink <= 0.2 * scale + 1e-3) & (error <= 0.02 * scale + 1e-5)
        wrong = smooth & (off > rtol * scale + 4 * error + 1e-3)
        if wrong.any():
            i = int(np.argmax(np.where(wrong, off, -1)))
            return (
                f"the {kind} rule of {name} gives the derivative {mine.ravel()[i]:.6g} along a fixed direction, "
                f"differences {want.ravel()[i]:.6g}"
            )
    return None


def _zero(x: Any) -> Any:
    return np.zeros(np.shape(x), jax.dtypes.float0) if not is_inexact(x) else jnp.zeros_like(x)


def _cotangent_form(ruled: Callable, inputs: list, tangents: dict, k: int, want: Any, error: Any, kink: Any) -> tuple:
    """Reverse mode: sums over all outputs, with fixed weights."""
    w = direction(want, seed=77)
    floats = list(tangents)

    def scalar(xs: list) -> Any:
        filled = list(inputs)
        for i, x in zip(floats, xs, strict=True):
            filled[i] = x
        y = ruled(*filled)[k]
        return (y.astype(jnp.float32) * jnp.asarray(w, jnp.float32)).sum()

    gradient = jax.jit(jax.grad(scalar))([inputs[i] for i in floats])
    mine = sum(
        float((np.asarray(g, np.float64) * np.asarray(tangents[i], np.float64)).sum())
        for g, i in zip(gradient, floats, strict=True)
    )
    weigh = lambda x: np.asarray((np.abs(w) * x).sum())
    return np.asarray((w * want).sum()), weigh(error), weigh(kink), np.asarray(mine)
